"""Raw bytes: what is opened how, what is refused, and that a change is noticed."""

import bz2
import gzip
import hashlib
import lzma
import os
import resource
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_eraser.errors import InputError, TemporaryFolderFull
from bulk_eraser.sources.file import BLOCK, InputFile
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Path]

TEXT = "customerKey;note\r\nk1;Åsa €\r\nk2;\r\n"
ROWS = [("k1", 2), ("k2", 3)]
ROW_BYTES = 1 << 10


# ── kinds ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["keys.csv.gz", "KEYS.CSV.GZ", "keys.txt.gz"])
def test_gzip_is_unpacked(read: Read, name: str) -> None:
    """A .gz file is read as what is in it, of several members as well."""
    data = TEXT.encode()
    assert read(gzip.compress(data), name) == ROWS
    assert read(gzip.compress(data[:9]) + gzip.compress(data[9:]) + b"\0" * 512, name) == ROWS


PACKED = gzip.compress(b"customerKey\n" + b"".join(b"k%d\n" % n for n in range(9000)), mtime=0)


@pytest.mark.parametrize("size", [3, 10, 12, 5000, len(PACKED) - 9, len(PACKED) - 1])
@pytest.mark.parametrize("name", ["keys.csv.gz", "keys.ndjson.gz"])
def test_a_truncated_gzip_file_is_refused(read: Read, size: int, name: str) -> None:
    """Wherever it was cut, the rows that can still be unpacked are not taken for all."""
    with pytest.raises(InputError, match=f"{name} is truncated or damaged"):
        read(PACKED[:size], name)


@pytest.mark.parametrize(
    "content",
    [PACKED[:5000] + b"\0" + PACKED[5001:], PACKED[:-5] + b"\0\0\0\0\0", PACKED + b"garbage"],
)
def test_a_damaged_gzip_file_is_refused(read: Read, content: bytes) -> None:
    """Wrong data, a wrong checksum, or something else behind it."""
    with pytest.raises(InputError, match="is truncated or damaged"):
        read(content, "keys.csv.gz")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("keys.csv", b"", "is empty"),
        ("keys.ndjson", b"", "is empty"),
        ("keys.csv.gz", b"", "is empty"),
        ("keys.csv.gz", gzip.compress(b"", mtime=0), "holds no rows"),
        ("keys.csv.gz", TEXT.encode(), "is not a gzip file"),
        ("keys.csv", gzip.compress(TEXT.encode(), mtime=0), "gzip file but is not named .gz"),
        ("keys.csv", b"\x28\xb5\x2f\xfd....", "Zstandard"),
        ("keys.csv", b"PK\x03\x04....", "ZIP or Excel"),
        ("keys.csv", bz2.compress(TEXT.encode()), "bzip2"),
        ("keys.csv", lzma.compress(TEXT.encode()), "xz"),
        ("keys.csv", b"\xd0\xcf\x11\xe0....", "xls"),
        ("keys.csv.gz", b"\x28\xb5\x2f\xfd....", "Zstandard"),
    ],
)
def test_an_unusable_file_is_refused(read: Read, name: str, content: bytes, why: str) -> None:
    """Empty, of another kind, or not of the kind that its name says."""
    with pytest.raises(InputError, match=why):
        read(content, name)


@pytest.mark.parametrize("name", ["missing.csv", ".", "keys.csv/child.csv"])
def test_a_path_that_cannot_be_read_is_refused(write: Write, name: str) -> None:
    """Nothing there, a folder, or a path through a file: one sentence with the reason."""
    path = write(TEXT).parent / name
    with pytest.raises(InputError, match=r"cannot be read: (No such|Is a|Not a)"):
        InputFile(str(path))


def test_a_disk_that_fails_is_no_internal_error() -> None:
    """A file that can be opened but not read is an unusable input."""
    reader = InputReader("/proc/self/mem", Reading(format="csv"))
    with pytest.raises(InputError, match="mem cannot be read: Input/output error"):
        next(reader.survey_rows())


@pytest.mark.parametrize(
    "name", ["my keys.csv", "Schlüssel.csv", "-keys.csv", "a\nb.csv", "'$x.csv"]
)
def test_a_name_is_only_a_name(read: Read, name: str) -> None:
    """Blanks and everything else that a path may hold."""
    assert read(TEXT, name) == ROWS


def test_a_name_that_is_not_unicode_can_be_recorded(tmp_path: Path) -> None:
    """A file name with broken bytes is read, and its name can be written into the ledger."""
    path = os.path.join(os.fsencode(tmp_path), b"k\xff.csv")
    with open(path, "wb") as file:
        file.write(TEXT.encode())
    reader = InputReader(os.fsdecode(path), Reading())
    assert len(list(reader.survey_rows())) == 2
    assert reader.file.name.encode() == b"k?.csv"


# ── pipes ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in this test."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def write_and_close(fd: int, content: bytes) -> None:
    with open(fd, "wb") as pipe:
        pipe.write(content)


@pytest.mark.parametrize("room", [None, 0, 5000])
def test_no_room_for_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool_folder: Path, room: int | None
) -> None:
    """A temporary folder that is missing or full is no fault of the input: TMPDIR is named."""
    path, before = tmp_path / "fifo", resource.getrlimit(resource.RLIMIT_FSIZE)
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    os.write(fd, b"customerKey\n" * 1000)
    folder = str(spool_folder if room is not None else tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", folder)
    try:
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        with pytest.raises(TemporaryFolderFull, match=rf"{folder} cannot be written: .* TMPDIR"):
            InputFile(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.close(fd)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["fifo", "process substitution"])
def test_a_pipe_is_read_like_a_file(
    tmp_path: Path, spool_folder: Path, kind: str, packed: bool
) -> None:
    """A FIFO or `<(…)` of several blocks gives all rows, twice, and leaves no file behind."""
    rows = 3 * BLOCK // ROW_BYTES
    content = ("customerKey\n" + f"{'k' * (ROW_BYTES - 1)}\n" * rows).encode()
    sent = gzip.compress(content) if packed else content
    reading_end, path = -1, str(tmp_path / "my fifo")
    if kind == "fifo":
        os.mkfifo(path)
        writer = threading.Thread(target=Path(path).write_bytes, args=(sent,))
    else:
        reading_end, writing_end = os.pipe()
        path = f"/dev/fd/{reading_end}"
        writer = threading.Thread(target=write_and_close, args=(writing_end, sent))
    writer.start()
    reader = InputReader(path, Reading(format="csv"))
    writer.join()
    if reading_end >= 0:
        os.close(reading_end)
    surveyed = list(reader.survey_rows())
    assert len(surveyed) == rows
    reader.file.must_be_unchanged()
    assert list(reader.checked_rows()) == surveyed
    assert reader.file.fingerprint.sha256 == hashlib.sha256(sent).hexdigest()
    assert list(spool_folder.iterdir()) == []
    reader.file.close()


STDIN = """
from bulk_eraser.errors import InputError
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
try:
    reader = InputReader("-", Reading(format="csv"))
    rows = list(reader.survey_rows())
    assert list(reader.checked_rows()) == rows
    print(reader.file.name, [row.key for row in rows])
except InputError as error:
    print(error)
"""


def test_stdin_is_read_like_a_file(write: Write) -> None:
    """`-` reads a pipe, and a file that stdin was redirected from."""
    command = [sys.executable, "-c", STDIN]
    run = subprocess.run(command, input=TEXT.encode(), stdout=subprocess.PIPE, check=True)
    assert run.stdout == b"stdin ['k1', 'k2']\n"
    with open(write(TEXT), "rb") as file:
        run = subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True)
    assert run.stdout == b"stdin ['k1', 'k2']\n"


def test_a_closed_stdin_is_refused() -> None:
    """`-` without a stdin is an unusable input, not an internal error."""
    run = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, STDIN],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert b"cannot be read: Bad file descriptor" in run.stdout


# ── the same file twice ─────────────────────────────────────────────────────────────────────


def content_of(blocks: float) -> bytes:
    """CSV of so many blocks, each row 1 KiB; row 0 is the header."""
    rows = [b"customerKey,note", *(b"k%d," % n for n in range(1, int(blocks * ROW_BYTES)))]
    return b"".join(row.ljust(ROW_BYTES - 1, b"x") + b"\n" for row in rows).replace(
        b"notex", b"note "
    )


@pytest.fixture
def surveyed(write: Write) -> InputReader:
    """A reader that has surveyed a file of three and a half blocks."""
    reader = InputReader(str(write(content_of(3.5))), Reading(key_field="customerKey"))
    assert sum(1 for _ in reader.survey_rows()) == 3.5 * ROW_BYTES - 1
    return reader


def in_place(path: Path) -> None:
    """Change one byte in the third block, and put the old time back."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(2 * BLOCK + 5 * ROW_BYTES)
        file.write(b"X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """Another file takes the name; its first two blocks are the same."""
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes()[: 2 * BLOCK] + content_of(1.5))
    other.replace(path)


def appended(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"late,\n")


def truncated(path: Path) -> None:
    os.truncate(path, 2 * BLOCK + 5 * ROW_BYTES)


def truncated_between_blocks(path: Path) -> None:
    os.truncate(path, 2 * BLOCK)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def deleted(path: Path) -> None:
    path.unlink()


CHANGES = [
    (in_place, 2),
    (replaced, 2),
    (appended, 3),
    (truncated, 2),
    (truncated_between_blocks, 2),
    (emptied, 0),
    (deleted, 0),
]


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced_by_a_copy(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


@pytest.mark.parametrize(("change", "good_blocks"), CHANGES)
def test_no_row_of_a_changed_part_is_handed_out(
    surveyed: InputReader, change: Callable[[Path], None], good_blocks: int
) -> None:
    """The second reading stops before the block that is not as surveyed, with 65."""
    change(Path(surveyed.file.path))
    lines = []
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        lines.extend(row.line for row in surveyed.checked_rows())
    assert lines == list(range(2, good_blocks * ROW_BYTES + 1))


@pytest.mark.parametrize(("change", "good_blocks"), [c for c in CHANGES if c[0] is not deleted])
def test_a_change_during_the_second_reading_is_noticed(
    surveyed: InputReader, change: Callable[[Path], None], good_blocks: int
) -> None:
    """What is still to be read is compared when it is read, not when reading began.

    A file that was replaced by its name alone is still open here; that is for the other look.
    """
    rows = surveyed.checked_rows()
    lines = [next(rows).line]
    change(Path(surveyed.file.path))
    if change is replaced:
        assert len(list(rows)) == 3.5 * ROW_BYTES - 2
    else:
        with pytest.raises(InputError, match="was changed after it was surveyed"):
            lines.extend(row.line for row in rows)
        assert lines == list(range(2, max(1, good_blocks) * ROW_BYTES + 1))
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        list(surveyed.checked_rows())


@pytest.mark.parametrize("change", [c[0] for c in CHANGES if c[0] is not in_place])
def test_the_cheap_look_notices_a_change(
    surveyed: InputReader, change: Callable[[Path], None]
) -> None:
    """Before each group of keys, size, time and place of the file tell."""
    surveyed.file.must_be_unchanged()
    change(Path(surveyed.file.path))
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        surveyed.file.must_be_unchanged()


@pytest.mark.parametrize("same", [touched, replaced_by_a_copy])
def test_the_same_content_is_no_change(
    surveyed: InputReader, same: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was touched or copied is read once more, found the same, and goes on."""
    same(Path(surveyed.file.path))
    surveyed.file.must_be_unchanged()
    assert sum(1 for _ in surveyed.checked_rows()) == 3.5 * ROW_BYTES - 1
    monkeypatch.setattr(surveyed.file, "open_raw", lambda: pytest.fail("read again"))
    surveyed.file.must_be_unchanged()


@pytest.mark.parametrize("change", [touched, in_place, replaced, appended, truncated, deleted])
def test_a_change_during_the_survey_is_noticed(
    write: Write, change: Callable[[Path], None]
) -> None:
    """What was counted for consent is one state of the file, not two halves."""
    reader = InputReader(str(write(content_of(3.5))), Reading(key_field="customerKey"))
    rows = reader.survey_rows()
    next(rows)
    if change is in_place:
        os.utime(reader.file.path, ns=(1, 1))
    change(Path(reader.file.path))
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        list(rows)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
@pytest.mark.parametrize("end", [b"\n", b"x"])
def test_a_file_that_ends_beside_a_block_is_unchanged(write: Write, size: int, end: bytes) -> None:
    """With or without a newline at its end, at any size, a file is equal to itself."""
    content = (content_of(2)[: size - 1] + end) if size > 1 else end
    reader = InputReader(str(write(content)), Reading(key_field="customerKey"))
    surveyed = list(reader.survey_rows())
    assert list(reader.checked_rows()) == surveyed
    assert reader.file.fingerprint.size == size
    assert reader.file.fingerprint.sha256 == hashlib.sha256(content).hexdigest()


# ── memory ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["keys.csv", "keys.csv.gz", "keys.ndjson", "keys.ndjson.gz"])
@pytest.mark.parametrize("size", [50_000_000, pytest.param(200_000_000, marks=pytest.mark.soak)])
def test_a_line_without_end_costs_no_memory(tmp_path: Path, size: int, name: str) -> None:
    """A line of 200 MB, also as a gzip bomb of 200 KB, is one rejected row in flat memory."""
    json = "ndjson" in name
    before, after = (
        (b'{"customerKey":"k1"}\n', b'\n{"customerKey":"k2"}') if json else (b"key\nk1\n", b"\nk2")
    )
    path = tmp_path / name
    with open(path, "wb") as raw:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1) as file:
                file.write(before)
                for _ in range(size // BLOCK):
                    file.write(bytes(BLOCK))
                file.write(after)
        else:
            raw.write(before)
            raw.seek(size, os.SEEK_CUR)
            raw.write(after)
    reader = InputReader(str(path), Reading())
    tracemalloc.start()
    try:
        rows = [r.key if isinstance(r, KeyRow) else r.error for r in reader.survey_rows()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == ["k1", "line_too_long", "k2"]
    assert peak < 24 << 20

"""Packed inputs: whole, undamaged and what their name says, or not one key of them counts."""

import gzip
import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from bulk_eraser.errors import InputError
from bulk_eraser.sources import text
from bulk_eraser.sources.compression import unpacked, without_packing
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Path]

CSV = b"customerKey\n" + b"".join(b"k-%d-%x\n" % (n, n * 7919) for n in range(40))
KEYS = [(line.decode(), n) for n, line in enumerate(CSV.split()[1:], 2)]
TRUNCATED = r"keys\.csv\.(zst|gz) is truncated or damaged"
SKIPPED = (0x184D2A5E).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"note"
"""A frame that holds no data, as pzstd and seekable archives have."""


def zst(content: bytes, **options: int) -> bytes:
    """One Zstandard frame, with a checksum as the `zstd` command makes it."""
    named = {zstd.CompressionParameter[name]: value for name, value in options.items()}
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1} | named)
    return packer.compress(content) + packer.flush()


PACKERS = pytest.mark.parametrize(
    ("name", "pack"), [("keys.csv.gz", gzip.compress), ("keys.csv.zst", zst)], ids=["gz", "zst"]
)


# ── whole ───────────────────────────────────────────────────────────────────────────────────────


@PACKERS
@pytest.mark.parametrize("size", [0, 1, 7, 100, len(CSV)])
def test_several_frames_are_one_file(
    read: Read, name: str, pack: Callable[[bytes], bytes], size: int
) -> None:
    """Files packed one by one and put together are read to the end of the last one."""
    assert read(pack(CSV[:size]) + pack(CSV[size:]), name) == KEYS


@pytest.mark.parametrize("first", range(0x50, 0x60))
def test_frames_without_data_are_passed_over(read: Read, first: int) -> None:
    """In front, between and behind the others, with any of their sixteen numbers."""
    skipped = bytes([first]) + SKIPPED[1:]
    content = skipped + zst(CSV[:50]) + skipped * 2 + zst(CSV[50:]) + skipped
    assert read(content, "keys.csv.zst") == KEYS


@pytest.mark.parametrize(
    "content",
    [
        zstd.compress(CSV),
        zst(CSV, checksum_flag=0, content_size_flag=0),
        zst(CSV, compression_level=19),
        zst(CSV, compression_level=-5),
        zst(CSV, window_log=27),
    ],
)
def test_the_ways_of_packing(read: Read, content: bytes) -> None:
    """With and without checksum and size, weakly and strongly packed, with a large window."""
    assert read(content, "keys.csv.zst") == KEYS


@PACKERS
def test_a_pipe_needs_no_extension(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """What comes through a pipe is unpacked by its first bytes, and read twice all the same."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = (SKIPPED if pack is zst else b"") + pack(CSV)
    with subprocess.Popen(
        [sys.executable, "-c", f"open({str(pipe)!r}, 'wb').write({content!r})"]
    ) as writer:
        reader = InputReader(str(pipe), Reading(format="csv"))
        assert writer.wait() == 0
    for rows in (reader.survey_rows(), reader.checked_rows()):
        assert [(row.key, row.line) for row in rows] == KEYS  # type: ignore[union-attr]
    reader.file.close()


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("keys.csv.gz", "keys.csv"),
        ("keys.csv.ZST", "keys.csv"),
        ("keys.csv", "keys.csv"),
        ("a.gz/keys.csv", "a.gz/keys.csv"),
        ("keys.csv.zst.gz", "keys.csv.zst"),
        (".gz", ""),
        ("gz", "gz"),
    ],
)
def test_the_name_of_what_is_packed(name: str, plain: str) -> None:
    """One extension is taken off, at the end of the name alone."""
    assert without_packing(name) == plain


# ── cut or damaged ──────────────────────────────────────────────────────────────────────────────


@PACKERS
def test_a_cut_file_is_refused_wherever_it_is_cut(
    read: Read, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """A download that ended too early, at any byte, must not pass for a shorter list."""
    content = pack(CSV)
    for size in range(1, len(content)):
        with pytest.raises(InputError, match=f"{TRUNCATED}|is not a .* file"):
            read(content[:size], name)
    behind = pack(CSV[:100]) + content
    for size in range(len(behind) - len(content) + 1, len(behind), 7):
        with pytest.raises(InputError, match=TRUNCATED):
            read(behind[:size], name)


@PACKERS
def test_a_damaged_byte_never_gives_another_key(
    read: Read, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """Checksums are looked at: a damaged file is refused, or the byte did not matter."""
    content, chance, refused = pack(CSV), random.Random(3), 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        try:
            assert read(bytes(damaged), name) == KEYS
        except InputError:
            refused += 1
    assert refused > 0.9 * len(content)


@PACKERS
@pytest.mark.parametrize("rest", [b"x", b"k-41\n", b"\x28\xb5", b"\x1f\x8b", CSV])
def test_what_follows_the_end_is_refused(
    read: Read, name: str, pack: Callable[[bytes], bytes], rest: bytes
) -> None:
    """Something was appended, or the end was overwritten: the file is not what was packed."""
    with pytest.raises(InputError, match=TRUNCATED):
        read(pack(CSV) + rest, name)


def test_zeros_behind_gzip_are_padding(read: Read) -> None:
    """As from a tape, and as gzip itself takes them; Zstandard has no such thing."""
    assert read(gzip.compress(CSV) + bytes(512), "keys.csv.gz") == KEYS
    with pytest.raises(InputError, match=TRUNCATED):
        read(zst(CSV) + bytes(512), "keys.csv.zst")


def test_what_needs_a_dictionary_is_refused(read: Read) -> None:
    """What needs a dictionary cannot be unpacked without it."""
    samples = [CSV[n : n + 90] for n in range(0, 200, 3)]
    dictionary = zstd.train_dict(samples, 500)
    with pytest.raises(InputError, match=TRUNCATED):
        read(zstd.compress(CSV, zstd_dict=dictionary), "keys.csv.zst")


@pytest.mark.parametrize("log", [28, 31])
def test_a_huge_window_is_refused_with_what_to_do(read: Read, log: int) -> None:
    """A file packed with --long needs that much memory to unpack: it is not damaged."""
    content = zst(CSV, window_log=log, enable_long_distance_matching=1)
    with pytest.raises(
        InputError, match=r"window of more than 128 MiB\. Decompress it first: zstd -d"
    ):
        read(content, "keys.csv.zst")


# ── named wrongly ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("keys.csv.zst", CSV, "is not a Zstandard file"),
        ("keys.csv.zst", b"\x28\xb5\x2f", "is not a Zstandard file"),
        ("keys.csv.zst", b"P*M", "is not a Zstandard file"),
        ("keys.csv.zst", b"`*M\x18", "is not a Zstandard file"),
        ("keys.csv.zst", gzip.compress(CSV, mtime=0), "is a gzip file but is not named .gz"),
        ("keys.csv.gz", CSV, "is not a gzip file"),
        ("keys.csv.gz", b"\x1f", "is not a gzip file"),
        ("keys.csv.gz", zst(CSV), "is a Zstandard file but is not named .zst"),
        ("keys.csv", zst(CSV), "is a Zstandard file but is not named .zst"),
        ("keys.csv", SKIPPED + zst(CSV), "is a Zstandard file but is not named .zst"),
        ("keys.csv", gzip.compress(CSV, mtime=0), "is a gzip file but is not named .gz"),
        ("keys.ndjson", gzip.compress(CSV, mtime=0), "is a gzip file but is not named .gz"),
    ],
)
def test_a_name_that_says_something_else_is_refused(
    read: Read, name: str, content: bytes, why: str
) -> None:
    """Probably it is another file than the one that was meant."""
    with pytest.raises(InputError, match=rf"{name} {why}\. Rename it, or use the file"):
        read(content, name)


@pytest.mark.parametrize("name", ["keys.csv.gz", "keys.csv.zst"])
def test_nothing_is_empty_whatever_its_name(read: Read, name: str) -> None:
    """No bytes, no bytes packed, and a frame without data are all nothing to erase."""
    with pytest.raises(InputError, match="is empty"):
        read(b"", name)
    nothing = [zst(b""), SKIPPED] if name.endswith("zst") else [gzip.compress(b"")]
    for content in nothing:
        with pytest.raises(InputError, match="holds no rows"):
            read(content, name)


# ── beside the data ─────────────────────────────────────────────────────────────────────────────


def test_without_the_extra_the_refusal_helps(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no Zstandard is installed, the sentence says how to get it, or do without."""
    for module in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'bulk-eraser\[zstd\]'\. Or .*: zstd -d\."):
        read(zst(CSV), "keys.csv.zst")
    assert read(gzip.compress(CSV), "keys.csv.gz") == KEYS


@PACKERS
def test_an_error_of_the_disk_stays_one(name: str, pack: Callable[[bytes], bytes]) -> None:
    """A disk that cannot be read does not make the file a damaged one."""

    class Disk(io.RawIOBase):
        """Gives the first bytes of a file, then fails."""

        def __init__(self) -> None:
            self.parts = [pack(CSV)[:40]]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.parts:
                raise OSError(5, "Input/output error")
            part = self.parts.pop()
            buffer[: len(part)] = part
            return len(part)

    with pytest.raises(OSError, match="Input/output error"):
        unpacked(io.BufferedReader(Disk()), name, named=True).read()


@PACKERS
def test_a_bomb_stays_flat(
    write: Write, name: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """200 MB of one line, packed into some KB, are passed by in the memory of a few blocks."""
    path = write(pack(b"customerKey\nk1\n") + pack(b"k" * (1 << 20)) * 200 + pack(b"\nk2\n"), name)
    assert path.stat().st_size < 300_000
    script = (
        "import resource, sys\n"
        "from bulk_eraser.sources.reader import InputReader\n"
        "from bulk_eraser.sources.rows import Reading\n"
        "def rows(path): return [r[:2] for r in InputReader(path, Reading()).survey_rows()]\n"
        f"rows({str(write(pack(CSV), 'small-' + name))!r})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"print(rows({str(path)!r}))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    rows, grown = done.stdout.splitlines()
    assert rows == "[('k1', 2), ('line_too_long', 3), ('k2', 4)]"
    assert int(grown) < 20_000


@pytest.mark.parametrize("name", ["keys.csv.gz", "keys.ndjson.gz"])
def test_blank_lines_do_not_go_on_for_ever(
    read: Read, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Ten kilobytes can unpack to hundreds of millions of them, which would take minutes."""
    start = b"customerKey\nk1" if "csv" in name else b'{"customerKey": "k1"}'
    content = gzip.compress(b"\n" * 50 + start + b"\n" * 51, mtime=0)
    monkeypatch.setattr(text, "MOST_BLANK_LINES", 100)
    assert [key for key, _ in read(content, name)] == ["k1"]
    monkeypatch.setattr(text, "MOST_BLANK_LINES", 99)
    with pytest.raises(InputError, match=r"keys\..* has more than 99 blank lines"):
        read(content, name)

"""The ledger's file on a real disk: rights, lock, order of the syncs, and every way to fail."""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bulk_eraser.errors import (
    BulkEraserError,
    LedgerBusy,
    LedgerDamaged,
    LedgerWriteError,
    TemporaryFolderFull,
)
from bulk_eraser.key_partitions import KeyPartitions
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import KeyHistory
from bulk_eraser.records import Sent

AT = "2024-03-01T12:00:01.000Z"
TORN = b'{"type":"se'


@contextmanager
def opened(path: Path | str, *, readonly: bool = False) -> Iterator[LedgerFile]:
    file = LedgerFile(str(path), readonly=readonly)
    try:
        yield file
    finally:
        file.close()


@pytest.fixture
def content(groups: list[bytes]) -> bytes:
    return b"".join(groups)


@pytest.fixture
def next_group(sent: Callable[[str], Sent]) -> Callable[[LedgerFile], bytes]:
    """A group of some hundred bytes that follows what the file holds."""
    return lambda file: encode_group(file.head, [sent("n1"), sent("n2")], AT)[0]


# ── rights and places ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=[0o000, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_ledger_and_tail_are_for_the_owner_alone(path: Path, content: bytes) -> None:
    """Mode 0600 whatever the umask says: for a new ledger, an open one and what is moved aside."""
    with opened(path) as file:
        file.begin()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(content + TORN)
    path.chmod(0o666)
    with opened(path) as file:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666, "opening changes nothing"
        (told,) = file.begin()
    for name in (path.name, told.file):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def a_read_only_file(path: Path) -> None:
    path.touch(0o444)


def a_read_only_folder(path: Path) -> None:
    path.parent.chmod(0o555)


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def a_path_through_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "directory": (Path.mkdir, "Is a directory"),
    "fifo": (os.mkfifo, "not a regular file"),
    "full device": (lambda path: path.symlink_to("/dev/full"), "not a regular file"),
    "null device": (lambda path: path.symlink_to("/dev/null"), "not a regular file"),
    "no folder": (lambda path: path.parent.rmdir(), "does not exist"),
    "file as folder": (a_path_through_a_file, "Not a directory"),
    "dangling link": (a_link_to_nothing, "a link to a file that does not exist"),
    "read-only file": (a_read_only_file, "Permission denied"),
    "read-only folder": (a_read_only_folder, r"The folder of the ledger, folder, cannot"),
}


@pytest.mark.parametrize(("make", "reason"), PLACES.values(), ids=PLACES.keys())
def test_a_place_that_cannot_hold_a_ledger_is_found_out_at_once(
    make: Callable[[Path], Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 74 before anything else is done, with the path and what to do; nothing appears."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    path = Path("folder", "keys.ledger.ndjson")
    path.parent.mkdir()
    make(path)
    before = sorted(tmp_path.rglob("*"))
    rights = as_nobody if make in (a_read_only_file, a_read_only_folder) else nullcontext
    with rights(), pytest.raises(LedgerWriteError, match=reason) as refused:
        LedgerFile(str(path))
    assert refused.value.exit_code == 74
    assert str(path.parent) in str(refused.value)
    assert re.search(r"[Nn]ame (a file|another)|Repair", str(refused.value))
    assert sorted(tmp_path.rglob("*")) == before


def test_opening_creates_nothing(path: Path) -> None:
    """A ledger comes into being with `begin`, not with a look."""
    with opened(path) as file:
        assert not file.exists
        assert not path.exists()
        assert file.begin() == []
        assert path.read_bytes() == b""


def test_a_ledger_behind_a_link_is_written_where_it_is(
    path: Path, content: bytes, next_group: Callable[[LedgerFile], bytes]
) -> None:
    """A link as the ledger's path stays a link."""
    real = path.with_name("elsewhere.ndjson")
    real.write_bytes(content)
    path.symlink_to(real)
    with opened(path) as file:
        file.begin()
        group = next_group(file)
        file.append(group)
    assert path.is_symlink()
    assert real.read_bytes() == content + group


def test_a_name_that_is_not_utf8_can_be_recovered(tmp_path: Path, content: bytes) -> None:
    """The `recovered` line of such a ledger can be written, and nearly names the file."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.ledger.ndjson"
    Path(os.fsdecode(path)).write_bytes(content + TORN)
    with opened(os.fsdecode(path)) as file:
        (told,) = file.begin()
    assert msgspec.json.decode(msgspec.json.encode(told))["file"].startswith("caf\\xe9.ledger")
    assert len(list(tmp_path.glob("*.tail"))) == 1


def test_a_link_in_the_place_of_the_tail_is_not_followed(path: Path, content: bytes) -> None:
    """What is moved aside never overwrites another file."""
    path.write_bytes(content + TORN)
    with opened(path) as file:
        (told,) = file.begin()
    other = path.with_name("other.txt")
    other.write_text("mine")
    tail = path.with_name(told.file)
    tail.unlink()
    tail.symlink_to(other)
    path.write_bytes(content + TORN)
    with opened(path) as file, pytest.raises(LedgerWriteError):
        file.begin()
    assert other.read_text() == "mine"
    assert path.read_bytes() == content + TORN


# ── one writer at a time ────────────────────────────────────────────────────────────────────────

HOLD = """
import sys
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.ledger.file import LedgerFile
try:
    file = LedgerFile(sys.argv[1])
    file.begin()
    print("held", flush=True)
    sys.stdin.read()
except BulkEraserError as error:
    print(type(error).__name__, int(error.exit_code), flush=True)
"""


@contextmanager
def another_process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that opens the ledger and holds it, and the line that it says then."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("tail", [b"", TORN], ids=["clean", "torn"])
def test_a_second_process_is_turned_away_and_writes_nothing(
    path: Path, content: bytes, tail: bytes
) -> None:
    """It ends with 75; neither recovery nor a change of mode happens under the first one."""
    path.write_bytes(content + tail)
    with opened(path):
        before = path.stat()
        with another_process(path) as (process, said):
            assert said == "LedgerBusy 75"
            assert process.wait(20) == 0
        assert path.stat() == before
        assert path.read_bytes() == content + tail
        assert list(path.parent.iterdir()) == [path]


def test_the_lock_goes_with_the_process_that_held_it(path: Path, content: bytes) -> None:
    """After SIGKILL the ledger is free again; no lock file has to be removed."""
    path.write_bytes(content)
    with another_process(path) as (process, said):
        assert said == "held"
        with pytest.raises(LedgerBusy):
            LedgerFile(str(path))
        process.kill()
        process.wait(20)
        with opened(path) as file:
            assert file.exists


@pytest.mark.parametrize("ended", [False, True], ids=["still writing", "ended"])
def test_of_two_that_would_create_it_one_does(
    ended: bool, path: Path, next_group: Callable[[LedgerFile], bytes]
) -> None:
    """Both saw no ledger; the slower one is turned away and the other's file stays as it is."""
    with opened(path) as first, opened(path) as second:
        first.begin()
        group = next_group(first)
        first.append(group)
        if ended:
            first.close()
        with pytest.raises(LedgerBusy):
            second.begin()
        assert path.read_bytes() == group


def test_whoever_locks_a_new_file_first_keeps_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the moment between creating the file and locking it."""
    with opened(path) as slow:
        lock, others = fcntl.flock, []

        def overtaken(fd: int, how: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            others.append(LedgerFile(str(path)))
            lock(fd, how)

        monkeypatch.setattr(fcntl, "flock", overtaken)
        with pytest.raises(LedgerBusy):
            slow.begin()
        others[0].begin()
        others[0].close()


def test_reading_only_takes_no_lock_and_changes_nothing(path: Path, content: bytes) -> None:
    """A dry run can look at a ledger in use, and cannot begin."""
    path.write_bytes(content + TORN)
    path.chmod(0o640)
    before = path.stat()
    with opened(path, readonly=True) as reader, opened(path), opened(path, readonly=True):
        assert reader.exists
        with pytest.raises(LedgerWriteError):
            reader.begin()
    assert path.stat() == before
    assert path.read_bytes() == content + TORN
    with opened(path.with_name("none"), readonly=True) as reader:
        with pytest.raises(LedgerWriteError):
            reader.begin()
        assert not path.with_name("none").exists()


# ── somebody else touches it ────────────────────────────────────────────────────────────────────


def renamed(path: Path) -> None:
    path.rename(path.with_name("other"))


def replaced(path: Path) -> None:
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def deleted(path: Path) -> None:
    path.unlink()


def appended_to(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def folder_renamed(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("begun", [True, False], ids=["while writing", "while asking"])
@pytest.mark.parametrize("tail", [b"", TORN], ids=["clean", "torn"])
@pytest.mark.parametrize(
    "touch", [renamed, replaced, deleted, appended_to, truncated, folder_renamed]
)
def test_a_ledger_touched_while_in_use_is_noticed_before_the_next_write(
    touch: Callable[[Path], None],
    tail: bytes,
    begun: bool,
    tmp_path: Path,
    content: bytes,
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """74, and not a byte goes into a file that nobody will look into, or behind foreign bytes."""
    path = tmp_path / "folder" / "keys.ledger.ndjson"
    path.parent.mkdir()
    path.write_bytes(content + tail)
    with opened(path) as file:
        if begun:
            file.begin()
            file.append(next_group(file))
        touch(path)
        before = contents(tmp_path)
        step = partial(file.append, next_group(file)) if begun else file.begin
        with pytest.raises(LedgerWriteError):
            step()
        assert contents(tmp_path) == before


@pytest.mark.parametrize("touch", [renamed, replaced, deleted, appended_to, folder_renamed])
def test_a_ledger_touched_at_the_moment_of_writing_is_noticed(
    touch: Callable[[Path], None],
    tmp_path: Path,
    content: bytes,
    next_group: Callable[[LedgerFile], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look at the file and the write as well: such a group does not count, and so
    none of its requests leaves."""
    path = tmp_path / "folder" / "keys.ledger.ndjson"
    path.parent.mkdir()
    path.write_bytes(content)
    write = os.write

    def touched_first(fd: int, view: memoryview) -> int:
        touch(path)
        return write(fd, view)

    with opened(path) as file:
        file.begin()
        monkeypatch.setattr(os, "write", touched_first)
        with pytest.raises(LedgerWriteError, match="while it was in use"):
            file.append(next_group(file))


# ── what reaches the disk, and in which order ───────────────────────────────────────────────────


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the calls that change or sync a file, as they happen, all carried out."""
    log: list[str] = []
    kind = {True: "folder", False: "file"}

    def watch(name: str) -> None:
        real = getattr(os, name)

        def logged(fd: int, *args: Any) -> Any:
            result = real(fd, *args)
            log.append(f"{name} {kind[stat.S_ISDIR(os.fstat(fd).st_mode)]}")
            return result

        monkeypatch.setattr(os, name, logged)

    for name in ("write", "fsync", "fdatasync", "ftruncate"):
        watch(name)
    return log


def test_a_new_ledger_is_in_its_folder_on_disk_before_it_is_used(
    path: Path, calls: list[str], next_group: Callable[[LedgerFile], bytes]
) -> None:
    """File, then folder are synced; every group is written, then synced."""
    with opened(path) as file:
        file.begin()
        file.append(next_group(file))
    assert calls == ["fsync file", "fsync folder", "write file", "fdatasync file"]


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "with commits"])
def test_an_existing_ledger_is_in_its_folder_on_disk_before_it_is_used(
    path: Path, calls: list[str], groups: list[bytes], content: bytes | None
) -> None:
    """Whoever created it may have been killed before the folder was synced."""
    path.write_bytes(b"".join(groups) if content is None else content)
    with opened(path) as file:
        file.begin()
    assert calls == ["fdatasync file", "fsync folder"]


def test_a_tail_is_on_disk_beside_the_ledger_before_it_is_cut_off(
    path: Path, content: bytes, calls: list[str]
) -> None:
    """The copy, then its folder are synced before the only other copy is given up."""
    path.write_bytes(content + TORN)
    with opened(path) as file:
        file.begin()
    steps = ["write file", "fsync file", "fsync folder", "ftruncate file", "fdatasync file"]
    assert calls == [*steps, "fsync folder"]


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(
    path: Path,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """A short write is no error and no loss, for a group as for a tail."""
    path.write_bytes(content + TORN)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: write(fd, bytes(view[:7])))
    with opened(path) as file:
        (told,) = file.begin()
        group = next_group(file)
        file.append(group)
    assert path.read_bytes() == content + group
    assert path.with_name(told.file).read_bytes() == TORN


# ── the disk fails ──────────────────────────────────────────────────────────────────────────────

FULL = """
import json, os, resource, sys
from bulk_eraser.errors import LedgerWriteError
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.records import Sent
path, limit = sys.argv[1], int(sys.argv[2])
calls = []
def watch(name):
    real = getattr(os, name)
    def logged(*args):
        calls.append(name)
        return real(*args)
    setattr(os, name, logged)
file = LedgerFile(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for name in ("write", "fdatasync", "ftruncate"):
    watch(name)
try:
    recovered = file.begin()
    calls.clear()
    records = [*recovered, *(Sent(key=f"n{n}", line=n, attempt=1) for n in range(9))]
    file.append(encode_group(file.head, records, "2024-03-01T12:00:01.000Z")[0])
except LedgerWriteError as error:
    print(json.dumps({"code": error.exit_code, "text": str(error), "calls": calls}))
"""


def on_a_full_disk(path: Path, limit: int) -> dict[str, Any]:
    """What a process reports whose files cannot grow beyond `limit` bytes."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("room", [0, 1, 200, 600])
def test_a_disk_full_in_the_middle_of_a_record_leaves_a_valid_prefix(
    path: Path,
    content: bytes,
    room: int,
    verify: Callable[[bytes], str],
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """74, what fitted stays as a tail, nothing is synced after it, and the next run goes on."""
    path.write_bytes(content)
    reported = on_a_full_disk(path, len(content) + room)
    assert reported["code"] == 74
    assert "File too large" in reported["text"]
    assert reported["calls"] == ["write"] * (2 if room else 1)
    left = path.read_bytes()
    assert left.startswith(content)
    assert len(left) == len(content) + room
    with opened(path) as file:
        assert [told.bytes for told in file.begin()] == ([room] if room else [])
        file.append(next_group(file))
    assert verify(path.read_bytes())


def test_a_disk_too_full_for_the_tail_leaves_the_ledger_as_it_was(
    path: Path, content: bytes, verify: Callable[[bytes], str]
) -> None:
    """A tail that cannot be copied is not cut off; with space again, recovery is whole."""
    tail = b"x" * 5000
    path.write_bytes(content + tail)
    reported = on_a_full_disk(path, 1000)
    assert reported["code"] == 74
    assert "ftruncate" not in reported["calls"]
    assert path.read_bytes() == content + tail
    with opened(path) as file:
        (told,) = file.begin()
    assert path.with_name(told.file).read_bytes() == tail
    assert verify(path.read_bytes())


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EFBIG, "Raise the limit"),
        (errno.EIO, "Repair that"),
        (errno.EROFS, "Repair that"),
        (None, "input/output error"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_failed_write_or_sync_is_an_error_of_the_ledger_and_not_repeated(
    call: str,
    number: int | None,
    advice: str,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """One call, one error with the exit code 74, and never another attempt."""
    failed = []

    def fail(*_args: object) -> None:
        failed.append(call)
        raise OSError(number, "key-of-a-customer") if number else OSError("key-of-a-customer")

    with opened(path) as file:
        file.begin()
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(LedgerWriteError, match=advice) as raised:
            file.append(next_group(file))
    assert failed == [call]
    assert "key-of-a-customer" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_disk_that_takes_nothing_is_full(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """A write of zero bytes ends in an error, not in an endless loop."""
    with opened(path) as file:
        file.begin()
        monkeypatch.setattr(os, "write", lambda _fd, _view: 0)
        with pytest.raises(LedgerWriteError, match="No space left"):
            file.append(next_group(file))


@pytest.mark.parametrize(
    ("owner", "name", "fails_in"),
    [
        (os, "fsync", "begin"),
        (os, "fdatasync", "begin"),
        (os, "fchmod", "begin"),
        (os, "ftruncate", "begin"),
        (fcntl, "flock", "open"),
        (os, "pread", "open"),
    ],
)
def test_whatever_fails_before_the_first_write_is_an_error_of_the_ledger(
    owner: object,
    name: str,
    fails_in: str,
    path: Path,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not an internal error, and not a word of what the operating system knows of the data."""
    path.write_bytes(content + TORN)

    def fail(*_args: object) -> None:
        raise OSError(errno.EIO, "secret")

    if fails_in == "open":
        monkeypatch.setattr(owner, name, fail)
        with pytest.raises(LedgerWriteError, match="Input/output error"):
            LedgerFile(str(path), [KeyHistory()])
    else:
        with opened(path) as file:
            monkeypatch.setattr(owner, name, fail)
            with pytest.raises(LedgerWriteError, match="Input/output error"):
                file.begin()
    monkeypatch.undo()
    with opened(path) as file:
        file.begin()
    assert path.read_bytes() == content


def test_a_full_temporary_folder_is_no_error_of_the_ledger(
    path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as what it is, and the ledger is let go."""
    path.write_bytes(content + TORN)

    def fail(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "secret")

    monkeypatch.setattr(KeyPartitions, "extend", fail)
    with pytest.raises(TemporaryFolderFull, match="No space left"):
        LedgerFile(str(path), [KeyHistory()])
    monkeypatch.undo()
    with opened(path) as file:
        file.begin()
    assert path.read_bytes() == content


def test_a_refused_ledger_is_let_go(path: Path, content: bytes) -> None:
    """After a refusal the file is closed and its lock is free."""
    path.write_bytes(content.replace(b"timeout", b"TIMEOUT"))
    for _ in range(2):
        with pytest.raises(LedgerDamaged) as refused:
            LedgerFile(str(path))
        assert isinstance(refused.value, BulkEraserError)
        assert refused.value.exit_code == 79


def test_a_tail_is_seen(path: Path, content: bytes) -> None:
    """What stands behind the last commit is known as soon as the file is open."""
    path.write_bytes(content)
    with opened(path) as file:
        assert not file.has_tail
    path.write_bytes(content + TORN)
    with opened(path) as file:
        assert file.has_tail
        file.begin()
        assert not file.has_tail

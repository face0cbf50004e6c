"""A disk that fails and loses power on command, under a ledger that does not know.

What a process sees are real files in a folder (the page cache); what a power loss leaves is kept
beside them (the platter) and put in their place by `power_loss`. The rules, where real disks and
file systems differ the harshest one:

- A page (4 KiB) that was written is dirty until a sync; the kernel may write it back sooner.
  A power loss keeps any of the dirty pages, or any of their sectors (512 bytes), and loses the
  others: there stands what was on the platter before, zeros where nothing was.
- The size of a file goes to the platter in the order in which it changed, with or without the
  bytes: a file may be shorter than what was written, or longer and full of zeros.
- The name of a new file is on the platter when its folder was synced, and not before.
- A sync that fails leaves any of the dirty pages on the platter and takes all of them for clean:
  the next sync succeeds without them, reading still shows them, and a page that nobody needs is
  dropped and then read as the platter has it (PostgreSQL's lesson of 2018).
"""

import errno
import os
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path

from bulk_eraser.ledger.disk import Disk

PAGE = 4096
SECTOR = 512


class Crash(BaseException):
    """The process ends here. No `except Exception` may hold it up."""


@dataclass
class Platter:
    """What is known of one file on the platter, and which pages of the cache are not there.

    `sizes` are changes of the size that wait for their turn; `lost` pages look clean but differ.
    """

    path: str
    content: bytearray = field(default_factory=bytearray)
    size: int = 0
    sizes: list[int] = field(default_factory=list)
    dirty: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    def settle_sizes(self, count: int) -> None:
        """The oldest `count` changes of the size reach the platter."""
        for size in self.sizes[:count]:
            if size < self.size:
                del self.content[-(-size // PAGE) * PAGE :]  # these blocks are given back
            self.size = size
        del self.sizes[:count]

    def put(self, offset: int, piece: bytes) -> None:
        end = offset + len(piece)
        self.content.extend(bytes(max(0, end - len(self.content))))
        self.content[offset:end] = piece

    def as_read(self) -> bytes:
        return bytes(self.content[: self.size]).ljust(self.size, b"\0")


class SimulatedDisk(Disk):
    """The disk under all ledgers of one folder; outlives the processes that use it.

    `calls` names the calls of the present process. `fail_at` and `crash_at` count them from 1.
    `share` of the dirty pages survive, and every size; None: both are drawn by chance.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = str(folder)
        self.chance = random.Random(seed)
        self.platters: dict[int, Platter] = {}
        self.nameless: set[str] = set()
        self.short_writes = 0.0
        self.write_back = 0.0
        self.share: float | None = None
        self._fds: dict[int, str] = {}
        self.be_calm()

    # ── what is to happen ───────────────────────────────────────────────────────────────────

    def be_calm(self) -> None:
        """A new process, for which nothing fails."""
        self.calls: list[str] = []
        self._dead = False
        self._crash_at = self._fail_from = self._fail_until = 0
        self._errno = 0
        self._failing_call = ""

    def crash_at(self, call: int) -> None:
        """The process ends in the middle of this call: before, after, or half way."""
        self._crash_at = call

    def fail_at(self, call: int, number: int = errno.EIO, *, for_good: bool = False) -> None:
        """This call fails with the error `number`; `for_good`: and every one after it."""
        self._fail_from, self._fail_until = call, 1 << 60 if for_good else call
        self._errno = number

    def fail_next(self, name: str, number: int = errno.EIO) -> None:
        """The next call of this name fails, once."""
        self._failing_call, self._errno = name, number

    def end_process(self) -> None:
        """As after SIGKILL or an exit: descriptors and locks go, the page cache stays."""
        for fd in list(self._fds):
            os.close(fd)
        self._fds.clear()
        for platter in self.platters.values():
            self._drop_some_lost_pages(platter)
        self.be_calm()

    def power_loss(self) -> None:
        """The machine stops; afterwards the files hold what the platter holds."""
        self.end_process()
        for platter in self.platters.values():
            self._lose(platter)
        for path in sorted(self.nameless):
            if self.chance.random() < 0.5:
                del self.platters[os.stat(path).st_ino]
                os.unlink(path)
        self.nameless.clear()

    # ── the calls ───────────────────────────────────────────────────────────────────────────

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._call("open")
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        fd = super().open(path, flags, mode)
        self._fds[fd] = path
        state = os.fstat(fd)
        if stat.S_ISREG(state.st_mode):
            platter = self.platters.setdefault(state.st_ino, Platter(path))
            if is_new:
                self.nameless.add(os.path.realpath(path))
            elif flags & os.O_TRUNC:
                self._was_cut(platter, 0)
        self._may_crash_now()
        return fd

    def close(self, fd: int) -> None:
        """The descriptor is gone even when the call fails, as on Linux."""
        self._begin("close")
        del self._fds[fd]
        super().close(fd)
        if self._must_fail() or self._is_last():
            self._fail_or_crash()

    def lock(self, fd: int) -> None:
        self._call("lock")
        super().lock(fd)
        self._may_crash_now()

    def chmod(self, fd: int, mode: int) -> None:
        self._call("chmod")
        super().chmod(fd, mode)
        self._may_crash_now()

    def fstat(self, fd: int) -> os.stat_result:
        self._call("fstat")
        return super().fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        self._call("stat")
        return super().stat(path)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._call("read")
        return super().read(fd, size, offset)

    def write(self, fd: int, content: bytes | memoryview) -> int:
        self._begin("write")
        if self._must_fail() or self._is_last():
            self._put(fd, content[: self.chance.randint(0, len(content))])
            self._fail_or_crash()
        if self.chance.random() < self.short_writes:
            content = content[: self.chance.randint(1, len(content))]
        return self._put(fd, content)

    def write_again(self, fd: int, content: bytes, offset: int) -> None:
        self._begin("write_again")
        fails = self._must_fail() or self._is_last()
        size = self.chance.randint(0, len(content)) if fails else len(content)
        super().write_again(fd, content[:size], offset)
        if size:
            self._was_written(self._platter(fd), offset, offset + size)
        if fails:
            self._fail_or_crash()

    def sync(self, fd: int) -> None:
        self._sync("sync", fd)

    def sync_content(self, fd: int) -> None:
        self._sync("sync_content", fd)

    def cut(self, fd: int, size: int) -> None:
        self._call("cut")
        super().cut(fd, size)
        self._was_cut(self._platter(fd), size)
        self._may_crash_now()

    # ── how they end ────────────────────────────────────────────────────────────────────────

    def _begin(self, name: str) -> None:
        if self._dead:
            raise Crash
        self.calls.append(name)
        for platter in self.platters.values():
            if self.chance.random() < self.write_back:
                self._write_some_back(platter)

    def _call(self, name: str) -> None:
        """A call that is carried out as a whole, or not at all."""
        self._begin(name)
        if self._must_fail() or (self._is_last() and self.chance.random() < 0.5):
            self._fail_or_crash()

    def _must_fail(self) -> bool:
        if self.calls[-1] == self._failing_call:
            self._failing_call = ""
            return True
        return self._fail_from <= len(self.calls) <= self._fail_until

    def _is_last(self) -> bool:
        return len(self.calls) == self._crash_at

    def _may_crash_now(self) -> None:
        if self._is_last():
            self._fail_or_crash()

    def _fail_or_crash(self) -> None:
        if self._is_last():
            self._dead = True
            raise Crash
        raise OSError(self._errno, os.strerror(self._errno))

    # ── cache and platter ───────────────────────────────────────────────────────────────────

    def _platter(self, fd: int) -> Platter:
        return self.platters[os.fstat(fd).st_ino]

    def _put(self, fd: int, content: bytes | memoryview) -> int:
        if not content:
            return 0
        platter, before = self._platter(fd), os.fstat(fd).st_size
        written = super().write(fd, content)
        end = os.lseek(fd, 0, os.SEEK_CUR)
        self._was_written(platter, end - written, end)
        if end > before:
            platter.sizes.append(end)
        return written

    def _was_written(self, platter: Platter, begin: int, end: int) -> None:
        pages = set(range(begin // PAGE, (end - 1) // PAGE + 1))
        platter.dirty |= pages
        platter.lost -= pages

    def _was_cut(self, platter: Platter, size: int) -> None:
        """Whole pages behind the new end are forgotten, the rest of its own page is zeroed."""
        whole = -(-size // PAGE)
        platter.dirty = {page for page in platter.dirty if page < whole}
        platter.lost = {page for page in platter.lost if page < whole}
        if size % PAGE:
            self._was_written(platter, size, size + 1)
        platter.sizes.append(size)

    def _sync(self, name: str, fd: int) -> None:
        self._begin(name)
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        if self._must_fail():
            if is_file:
                self._half_sync(self._platter(fd))
            self._fail_or_crash()
        if self._is_last() and self.chance.random() < 0.5:
            self._fail_or_crash()
        if is_file:
            platter = self._platter(fd)
            platter.settle_sizes(len(platter.sizes))
            for page in platter.dirty:
                platter.put(page * PAGE, self._cached(platter, page))
            platter.dirty.clear()
        else:
            folder = os.path.realpath(self._fds[fd])
            self.nameless = {path for path in self.nameless if os.path.dirname(path) != folder}
        self._may_crash_now()

    def _half_sync(self, platter: Platter) -> None:
        """Some pages arrive, in whole or in part, and all are taken for clean."""
        platter.settle_sizes(self.chance.randint(0, len(platter.sizes)))
        self._write_torn(platter)
        platter.lost |= platter.dirty
        platter.dirty.clear()

    def _write_some_back(self, platter: Platter) -> None:
        platter.settle_sizes(self.chance.randint(0, len(platter.sizes)))
        if not any(size < platter.size for size in platter.sizes):  # else its blocks are in use
            for page in sorted(platter.dirty):
                if self.chance.random() < 0.5:
                    platter.put(page * PAGE, self._cached(platter, page))
                    platter.dirty.discard(page)

    def _write_torn(self, platter: Platter) -> None:
        """Any of the dirty pages, or any of their sectors, reach the platter."""
        drawn = self.chance.choice([0.0, 0.2, 0.5, 0.9, 1.0])
        share = drawn if self.share is None else self.share
        step = self.chance.choice([PAGE, SECTOR])
        for page in sorted(platter.dirty):
            cached = self._cached(platter, page)
            for offset in range(0, len(cached), step):
                if self.chance.random() < share:
                    platter.put(page * PAGE + offset, cached[offset : offset + step])

    def _lose(self, platter: Platter) -> None:
        if platter.sizes or platter.dirty or platter.lost:
            last = len(platter.sizes)
            kept = self.chance.choice([0, last, self.chance.randint(0, last)])
            self._write_torn(platter)
            platter.settle_sizes(kept if self.share is None else last)
            del platter.content[platter.size :]  # no file system shows again what was behind it
            Path(platter.path).write_bytes(platter.as_read())
            platter.sizes.clear()
            platter.dirty.clear()
            platter.lost.clear()

    def _drop_some_lost_pages(self, platter: Platter) -> None:
        """They are read from the platter again, at the length that the file has by now."""
        for page in sorted(platter.lost):
            if self.share is None and self.chance.random() < 0.3:
                platter.lost.discard(page)
                begin, size = page * PAGE, os.path.getsize(platter.path)
                there = bytes(platter.content[begin : begin + PAGE]).ljust(PAGE, b"\0")
                with Path(platter.path).open("r+b") as file:
                    file.seek(begin)
                    file.write(there[: size - begin])

    def _cached(self, platter: Platter, page: int) -> bytes:
        """The page as processes see it; zeros behind the end of the file."""
        with Path(platter.path).open("rb") as file:
            file.seek(page * PAGE)
            return file.read(PAGE).ljust(PAGE, b"\0")

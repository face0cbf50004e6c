"""The ledger's file: lock, recovery, append of one synced group.

What each gap between two steps leaves behind, and what the next run makes of it:

| the process or the machine stops … | on disk | the next run |
| --- | --- | --- |
| after creating the file, before the first commit | empty, or a torn first group | begins anew; a torn group is moved aside |
| while a group is written, or before it is synced | a torn or unproven tail | tail moved aside into a `.tail` file, `recovered` line; its `sent` requests had not left, its outcomes are asked for again |
| after the sync, before the requests leave | `sent` is the key's last line | the key is sent again |
| while requests are in flight | `sent` is the key's last line | the key is sent again; a second removal job is harmless |
| after an answer, before its outcome is committed | `sent` is the key's last line | as above |
| after the outcome's commit | the outcome | the key is settled |
| after the tail was copied aside, before it was cut off | both | the same tail is copied to the same name again, then cut off |
| after the tail was cut off, before `recovered` is committed | `.tail` file without a line | goes on; the file beside the ledger is the evidence |

Not promised: that an edit within the very last group can be told from a crash (both look like a
tail that proves nothing, and its keys are sent again); that a ledger cut off exactly behind a
commit, or rewritten as a whole, is noticed (compare the head that the run printed).
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from hashlib import sha256

from bulk_eraser.errors import LedgerBusy, LedgerDamaged, LedgerWriteError
from bulk_eraser.ledger.chain import GENESIS
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.settled import History
from bulk_eraser.records import Recovered

__all__ = ["LedgerFile"]

BLOCK = 1 << 20
FIRST_LINES = (b'{"type":"run_started"', b'{"type":"recovered"')


class LedgerFile:
    """One ledger on disk, held by one process. Not for use by two threads at once.

    Opening reads and proves what is there but changes nothing; `begin` makes it ready to append.
    `readonly` neither locks nor allows `begin` (for a dry run).

    Raises on opening: `LedgerBusy` when another process holds it, `LedgerDamaged` when it fails
    verification, `LedgerWriteError` when it cannot be opened for writing.
    """

    def __init__(self, path: str, *, readonly: bool = False) -> None:
        self.path = path
        self.head = GENESIS
        self.history = History()
        self._torn = False
        self._size = 0
        self._fd = self._open(readonly)
        if self._fd >= 0:
            self._prove()

    @property
    def exists(self) -> bool:
        """Is there a ledger with at least one commit?"""
        return self.head != GENESIS

    def begin(self) -> list[Recovered]:
        """Create the file, or move its unproven tail aside. Returns what to tell of it.

        Raises `LedgerWriteError`; `LedgerBusy` when another process created it meanwhile.
        """
        try:
            if self._fd < 0:
                self._create()
                return []
            os.fchmod(self._fd, 0o600)
            recovered = [self._move_tail_aside()] if self._torn else []
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._write_error(error) from None
        return recovered

    def append(self, group: bytes) -> None:
        """Write one group and sync it; returns when it is on disk.

        Raises `LedgerWriteError`. After that the file must not be written again by this process:
        neither the write nor the sync is repeated, because a second sync may report success
        although the pages are gone.
        """
        try:
            self._must_be_in_place()
            view = memoryview(group)
            while view:
                written = os.write(self._fd, view)
                if written == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                view = view[written:]
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._write_error(error) from None
        self._size += len(group)

    def close(self) -> None:
        """Release the lock. Does not write."""
        self.history.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, readonly: bool) -> int:
        flags = os.O_CLOEXEC | (os.O_RDONLY if readonly else os.O_RDWR | os.O_APPEND)
        try:
            fd = os.open(self.path, flags | os.O_NONBLOCK)
        except FileNotFoundError:
            self._parent_must_exist()
            return -1
        except OSError as error:
            raise self._write_error(error) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise LedgerWriteError(
                    f"The ledger {self.path} is not a regular file. Name another with --ledger."
                )
            if not readonly:
                self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _parent_must_exist(self) -> None:
        parent = os.path.dirname(self.path) or "."
        if not os.path.isdir(parent):
            raise LedgerWriteError(
                f"The folder of the ledger, {parent}, does not exist. Create it, or name another "
                "place with --ledger."
            )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise LedgerWriteError(
                f"The folder of the ledger, {parent}, cannot be written. Name another place with "
                "--ledger."
            )

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o600)
        except FileExistsError:
            raise LedgerBusy(
                f"The ledger {self.path} was created by another process a moment ago. Run the "
                "same command again when that one has ended."
            ) from None
        self._lock(self._fd)
        os.fchmod(self._fd, 0o600)
        os.fsync(self._fd)
        self._sync_folder()

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerBusy(
                f"The ledger {self.path} is in use by another process. Nothing was sent or "
                "written. Run the same command again when that one has ended."
            ) from None

    def _prove(self) -> None:
        scan = LedgerScan()
        try:
            self.history.replay(scan.groups(self._blocks()))
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise
        self.head, self._torn, self._size = scan.head, scan.torn, scan.valid_bytes
        if self._torn and scan.commits == 0 and not self._begins_like_a_ledger():
            os.close(self._fd)
            self._fd = -1
            raise LedgerDamaged(
                f"{self.path} is not a ledger of bulk-eraser. Nothing was written. Name another "
                "file with --ledger."
            )

    def _begins_like_a_ledger(self) -> bool:
        """A first group torn by a crash begins like one, or is all zeros after a power loss."""
        start = os.pread(self._fd, 64, 0)
        return not start.strip(b"\0") or any(
            start.startswith(first[: len(start)]) for first in FIRST_LINES
        )

    def _blocks(self) -> Iterator[bytes]:
        offset = 0
        while block := os.pread(self._fd, BLOCK, offset):
            yield block
            offset += len(block)

    def _move_tail_aside(self) -> Recovered:
        digest = sha256()
        size = 0
        tail = b""
        while block := os.pread(self._fd, BLOCK, self._size + size):
            digest.update(block)
            tail += block
            size += len(block)
        name = f"{self.path}.{self._size}-{digest.hexdigest()[:12]}.tail"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            view = memoryview(tail)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        self._sync_folder()
        os.ftruncate(self._fd, self._size)
        self._torn = False
        return Recovered(bytes=size, sha256=digest.hexdigest(), file=os.path.basename(name))

    def _sync_folder(self) -> None:
        fd = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _must_be_in_place(self) -> None:
        """The path must still name the file that is written, or the evidence would be lost."""
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise LedgerWriteError(
                f"The ledger {self.path} was renamed, replaced or deleted while it was in use. "
                "Nothing further was sent. Put the file back, then run the same command again."
            )
        if mine.st_size != self._size:
            raise LedgerWriteError(
                f"The ledger {self.path} was changed by another program while it was in use. "
                "Nothing further was sent. Restore it from a copy before you run again."
            )

    def _write_error(self, error: OSError) -> LedgerWriteError:
        advice = {
            errno.ENOSPC: "Free some space, then run the same command again.",
            errno.EDQUOT: "Free some space, then run the same command again.",
            errno.EFBIG: "Raise the limit for file sizes, then run the same command again.",
            errno.EISDIR: "Name a file with --ledger.",
        }.get(error.errno or 0, "Repair that, then run the same command again.")
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return LedgerWriteError(
            f"The ledger {self.path} cannot be written: {reason}. Nothing (further) was sent. "
            f"{advice}"
        )

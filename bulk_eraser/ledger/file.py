"""The ledger's file: lock, recovery, append of one synced group.

What each gap between two steps leaves behind, and what the next run makes of it:

| the process or the machine stops … | on disk | the next run |
| --- | --- | --- |
| after creating the file, before the first commit | empty, or a torn first group | begins anew (and syncs the folder again); a torn group is moved aside |
| while a group is written, or before it is synced | a torn or unproven tail | tail moved aside into a `.tail` file, `recovered` line; its `sent` requests had not left, its outcomes are asked for again |
| after the sync, before the requests leave | `sent` is the key's last line | the key is sent again |
| after a sync that failed, whatever part of the group arrived | the group, or a torn tail | a whole group is written again over itself before it counts; else as above, without a second sync |
| while requests are in flight | `sent` is the key's last line | the key is sent again; a second removal job is harmless |
| after an answer, before its outcome is committed | `sent` is the key's last line | as above |
| after the outcome's commit | the outcome | the key is settled |
| after the tail was copied aside, before it was cut off | both | the same tail is copied to the same name again, then cut off |
| after the tail was cut off, before `recovered` is committed | `.tail` file without a line | goes on; the file beside the ledger is the evidence |

Not promised: that an edit within the very last group can be told from a crash (both look like a
tail that proves nothing, and its keys are sent again); that a changed time in a commit line is
noticed (no digest covers it); that a ledger cut off exactly behind a commit, or rewritten as a
whole, is noticed (compare the head that the run printed).
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256

from bulk_eraser.errors import LedgerBusy, LedgerDamaged, LedgerWriteError
from bulk_eraser.ledger.chain import GENESIS
from bulk_eraser.ledger.disk import Disk
from bulk_eraser.ledger.recovery import LedgerScan, begins_like_a_ledger
from bulk_eraser.ledger.replay import Fold, replay
from bulk_eraser.records import Recovered

__all__ = ["LedgerFile"]

BLOCK = 1 << 20


class LedgerFile:
    """One ledger on disk, held by one process. Not for use by two threads at once.

    Opening reads and proves what is there, once, and hands it to `folds`; it changes nothing.
    `begin` makes the file ready to append. `readonly` neither locks nor allows `begin` (for a dry
    run). Every byte goes through `disk`.

    Raises on opening: `LedgerBusy` when another process holds it, `LedgerDamaged` when it fails
    verification or is no ledger, `LedgerWriteError` when it cannot be opened for writing or read,
    and what the folds raise.
    """

    def __init__(
        self,
        path: str,
        folds: Sequence[Fold] = (),
        *,
        readonly: bool = False,
        disk: Disk | None = None,
    ) -> None:
        self.path = path
        self.readonly = readonly
        self.head = GENESIS
        self.lines = 0
        """Those that the last commit proves, with all commit lines."""
        self._disk = disk or Disk()
        self._size = 0
        self._tail_bytes = 0
        self._last_group = b""
        self._fd = self._open()
        if self._fd >= 0:
            self._prove(folds)

    @property
    def exists(self) -> bool:
        """Is there a ledger with at least one commit?"""
        return self.head != GENESIS

    @property
    def size(self) -> int:
        """Its length in bytes, with what stands behind the last commit."""
        return self._size

    @property
    def has_tail(self) -> bool:
        """Does something stand behind the last commit?"""
        return self._tail_bytes > 0

    def begin(self) -> list[Recovered]:
        """Create the file, or move its unproven tail aside. Returns what to tell of it.

        Raises `LedgerWriteError`, also when the file was changed since it was opened;
        `LedgerBusy` when another process created it meanwhile.
        """
        if self.readonly:
            raise LedgerWriteError(f"The ledger {self.path} was opened for reading only.")
        try:
            # 1. A new ledger.
            if self._fd < 0:
                self._create()
                return []
            # 2. One that is there: what the last run left unproven goes aside, and what it left
            #    unsynced is made sure of, before anything is built on it.
            self._must_be_in_place()
            self._disk.chmod(self._fd, 0o600)
            recovered = [self._move_tail_aside()] if self._tail_bytes else []
            self._write_last_group_again()
            self._disk.sync_content(self._fd)
            self._sync_folder(os.path.realpath(self.path))  # its name may be elsewhere than a link
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
            self._disk.write_all(self._fd, group)
            self._disk.sync_content(self._fd)
            self._size += len(group)
            self._must_be_in_place()  # still: or another's line may have come in between
        except OSError as error:
            raise self._write_error(error) from None

    def close(self) -> None:
        """Release the lock. Does not write."""
        if self._fd >= 0:
            self._let_go(self._fd)
            self._fd = -1

    def _let_go(self, fd: int) -> None:
        """Whatever must be on disk was synced before, so an error of closing is none."""
        with suppress(OSError):
            self._disk.close(fd)

    def _open(self) -> int:
        flags = os.O_RDONLY if self.readonly else os.O_RDWR | os.O_APPEND
        try:
            fd = self._disk.open(self.path, flags | os.O_NONBLOCK)
        except FileNotFoundError:
            self._must_be_creatable()
            return -1
        except OSError as error:
            raise self._write_error(error) from None
        try:
            if not stat.S_ISREG(self._disk.fstat(fd).st_mode):
                raise LedgerWriteError(
                    f"The ledger {self.path} is not a regular file. Name another."
                )
            if not self.readonly:
                self._lock(fd)
        except OSError as error:
            self._let_go(fd)
            raise self._write_error(error) from None
        except BaseException:  # the descriptor is given back, whatever it was
            self._let_go(fd)
            raise
        return fd

    def _must_be_creatable(self) -> None:
        if os.path.islink(self.path):
            raise LedgerWriteError(
                f"The ledger {self.path} is a link to a file that does not exist. Put that file "
                "back, or name another ledger."
            )
        parent = os.path.dirname(self.path) or "."
        if not os.path.isdir(parent):
            raise LedgerWriteError(
                f"The folder of the ledger, {parent}, does not exist. Create it, or name another "
                "place."
            )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise LedgerWriteError(
                f"The folder of the ledger, {parent}, cannot be written. Name another place for "
                "the ledger."
            )

    def _create(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        try:
            self._fd = self._disk.open(self.path, flags, 0o600)
        except FileExistsError:
            raise LedgerBusy(
                f"The ledger {self.path} was created by another process a moment ago. Run the "
                "same command again when that one has ended."
            ) from None
        self._lock(self._fd)
        self._disk.chmod(self._fd, 0o600)
        self._disk.sync(self._fd)
        self._sync_folder(self.path)

    def _lock(self, fd: int) -> None:
        try:
            self._disk.lock(fd)
        except BlockingIOError:
            raise LedgerBusy(
                f"The ledger {self.path} is in use by another process. Nothing was sent or "
                "written. Run the same command again when that one has ended."
            ) from None

    def _prove(self, folds: Sequence[Fold]) -> None:
        scan = LedgerScan()
        try:
            size = self._disk.fstat(self._fd).st_size
            if not begins_like_a_ledger(self._read, size):
                raise LedgerDamaged(
                    f"{self.path} is not a ledger of bulk-eraser, or its first line was changed. "
                    "Nothing was written. Name the ledger of a run (*.ledger.ndjson), or restore it "
                    "from a copy."
                )
            replay(scan, self._blocks(), folds)
        except OSError as error:
            self.close()
            raise self._write_error(error, "read") from None
        except BaseException:  # the descriptor is given back, whatever it was
            self.close()
            raise
        self.head, self.lines, self._tail_bytes = scan.head, scan.valid_lines, scan.tail_bytes
        self._last_group = b"".join(scan.last_group)
        self._size = scan.valid_bytes + scan.tail_bytes

    def _read(self, size: int, offset: int) -> bytes:
        return self._disk.read(self._fd, size, offset)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on. Raises `LedgerWriteError` where the disk cannot."""
        try:
            return self._read(size, offset)
        except OSError as error:
            raise self._write_error(error, "read") from None

    def _blocks(self, offset: int = 0) -> Iterator[bytes]:
        while block := self._read(BLOCK, offset):
            yield block
            offset += len(block)

    def _move_tail_aside(self) -> Recovered:
        begin, size = self._size - self._tail_bytes, self._tail_bytes
        digest = sha256()
        for block in self._blocks(begin):
            digest.update(block)
        name = f"{self.path}.{begin}-{digest.hexdigest()[:12]}.tail"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        fd = self._disk.open(name, flags, 0o600)
        try:
            self._disk.chmod(fd, 0o600)
            for block in self._blocks(begin):
                self._disk.write_all(fd, block)
            self._disk.sync(fd)
        finally:
            self._let_go(fd)
        self._sync_folder(self.path)
        self._disk.cut(self._fd, begin)
        self._size, self._tail_bytes = begin, 0
        return Recovered(bytes=size, sha256=digest.hexdigest(), file=_as_text(name))

    def _write_last_group_again(self) -> None:
        """Make sure that what was read is on disk, and not only in the page cache.

        After a failed sync the pages of a group may look clean: they are read as written, the
        next sync succeeds without them, and later they are gone, in the middle of the ledger.
        Only the last group can be such a one. See https://wiki.postgresql.org/wiki/Fsync_Errors
        """
        group, self._last_group = self._last_group, b""
        self._disk.write_again(self._fd, group, self._size - len(group))

    def _sync_folder(self, path: str) -> None:
        """Have the name of the file on disk."""
        fd = self._disk.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            self._disk.sync(fd)
        finally:
            self._let_go(fd)

    def _must_be_in_place(self) -> None:
        """The path must still name the file that is written, or the evidence would be lost; and
        nobody else may have written to it, or the chain is broken."""
        mine = self._disk.fstat(self._fd)
        try:
            there = self._disk.stat(self.path)
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

    def _write_error(self, error: OSError, what: str = "written") -> LedgerWriteError:
        advice = {
            errno.ENOSPC: "Free some space, then run the same command again.",
            errno.EDQUOT: "Free some space, then run the same command again.",
            errno.EFBIG: "Raise the limit for file sizes, then run the same command again.",
            errno.EISDIR: "Name a file.",
        }.get(error.errno or 0, "Repair that, then run the same command again.")
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return LedgerWriteError(
            f"The ledger {self.path} cannot be {what}: {reason}. Nothing (further) was sent. "
            f"{advice}"
        )


def _as_text(path: str) -> str:
    """The file's name as it can stand in UTF-8, even if it is not valid in that."""
    return os.fsencode(os.path.basename(path)).decode(errors="backslashreplace")

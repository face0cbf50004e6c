"""The plan of shards that run together, beside their ledgers, and locked while they are to run.

One file says three things to every worker: what is to be sent, that its folder is the one that is
meant, and, by its lock, that whoever began is still there and has not stopped. The kernel lets go
of a lock however its process ends.
"""

import os
from contextlib import suppress
from hashlib import sha256

from bulk_eraser.errors import LedgerBusy, LedgerWriteError
from bulk_eraser.ledger.disk import Disk
from bulk_eraser.survey.plan import must_be_free

__all__ = ["HeldPlan"]


class HeldPlan:
    """Puts the plan there and locks it. `close` removes it, which stops the shards.

    Raises `LedgerBusy` while another process holds it, `LedgerWriteError` where it cannot be
    written, `UsageError` if something else is there.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self.sha256 = sha256(content).hexdigest()
        self._disk = Disk()
        with suppress(FileNotFoundError):
            if os.stat(path).st_size:
                must_be_free(path)
        try:
            self._fd = self._disk.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            self._lock()
            self._disk.cut(self._fd, 0)
            self._disk.write_all(self._fd, content)
            self._disk.sync(self._fd)
        except OSError as error:
            raise LedgerWriteError(
                f"The plan {path} cannot be written: {error.strerror}. Nothing was sent. Repair "
                "that, or name another place with --ledger."
            ) from None

    def _lock(self) -> None:
        try:
            self._disk.lock(self._fd)
            there, mine = self._disk.stat(self.path), self._disk.fstat(self._fd)
            if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
                raise BlockingIOError  # another process has ended a moment ago, and removed it
        except (BlockingIOError, FileNotFoundError):
            self._disk.close(self._fd)
            raise LedgerBusy(
                f"These shards are being run by another process, which holds {self.path}. Nothing "
                "was sent. Run the same command again when that one has ended."
            ) from None

    def touch(self) -> None:
        """Where its lock does not hold, this tells workers that it is still held."""
        if self._fd >= 0:
            os.utime(self._fd)

    def close(self) -> None:
        """The shards stop. May be called twice."""
        if self._fd >= 0:
            with suppress(OSError):
                os.unlink(self.path)
            self._disk.close(self._fd)
            self._fd = -1

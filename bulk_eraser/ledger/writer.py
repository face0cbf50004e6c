"""The ledger's face: hand it records, wait for the commit where the order matters.

One task owns the file. All that waits is written as one group with one sync: new keys, due
repeats and outcomes ride together. Outcomes linger for a few milliseconds to find company.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import aiofiles.os

from bulk_eraser.errors import BulkEraserError, LedgerWriteError
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.records import Record, time_text

__all__ = ["LedgerWriter"]

LINGER_S = 0.008


class LedgerWriter:
    """The writing end of a ledger whose file was made ready with `LedgerFile.begin`.

    `on_commit` is called with each group once it is on disk, `on_failure` once, when the file
    can no longer be written; from then on `append` and `commit` raise that error. After `close`
    they raise as well: nothing that is handed over may be lost in silence.
    """

    def __init__(
        self,
        file: LedgerFile,
        on_commit: Callable[[Sequence[Record]], None],
        on_failure: Callable[[BulkEraserError], None],
    ) -> None:
        self.head = file.head
        self._file = file
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._pending: list[Record] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._error: BulkEraserError | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._append_synced = aiofiles.os.wrap(file.append)
        self._task = asyncio.create_task(self._write_groups(), name="ledger")

    def append(self, record: Record) -> None:
        """Have `record` committed soon. Raises `LedgerWriteError` if that is no longer possible."""
        self._must_be_writable()
        self._pending.append(record)
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self._wake.set)

    async def commit(self, records: Sequence[Record] = ()) -> None:
        """Return once `records`, and all that was appended before, are on disk.

        Raises `LedgerWriteError`. Cancelling the caller does not take the records back.
        """
        self._must_be_writable()
        self._pending.extend(records)
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    async def close(self) -> None:
        """Commit what waits and end the writer. Raises `LedgerWriteError` if that failed."""
        self._closing = True
        self._wake.set()
        await asyncio.shield(self._task)  # a cancelled caller must not cut a group short
        self._thread.shutdown()
        if self._error is not None:
            raise self._error

    def _must_be_writable(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise BulkEraserError("Internal error: a record came after the ledger was closed.")

    async def _write_groups(self) -> None:
        while self._error is None and (self._pending or self._waiters or not self._closing):
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            # All that waits by now rides in this group; what comes meanwhile waits for the next.
            records, self._pending = self._pending, []
            waiters, self._waiters = self._waiters, []
            try:
                if records:
                    await self._write(records)
            except LedgerWriteError as error:
                self._fail(error, waiters)
            except Exception as bug:  # the writer must never end silently
                self._fail(_internal_error(bug), waiters)
            else:
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    async def _write(self, records: Sequence[Record]) -> None:
        at = time_text()
        group, head = encode_group(self.head, records, at)
        await self._append_synced(group, executor=self._thread)
        # Only what is on disk is counted and shown.
        self.head = head
        self._on_commit(records)

    def _fail(self, error: BulkEraserError, waiters: list[asyncio.Future[None]]) -> None:
        self._error = error
        for waiter in waiters + self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters = []
        self._on_failure(error)


def _internal_error(bug: Exception) -> BulkEraserError:
    """Only the kind of the bug is told: its text may hold a customer key."""
    return BulkEraserError(
        f"Internal error: {type(bug).__name__} while the ledger was written. Run the same command "
        "again, and please report this line."
    )

"""What a command that writes a ledger goes through, once for all of them:

    lock ─► begin ─► run_started ─► requests … ─► result ─► run_finished ─► close

The ledger is locked and proven when it is opened, before this begins. Whatever ends the requests,
the ledger is closed with a line that says how; only one that can no longer be written has none.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import loopback_target
from bulk_eraser.elevate.route import Route
from bulk_eraser.errors import BulkEraserError, LedgerWriteError, internal_error
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.pacing.punctual import sleep_punctually
from bulk_eraser.records import Record, RunFinished, RunStarted
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.request import FollowResult, ProbeResult, RunResult
from bulk_eraser.sending.signals import Signals
from bulk_eraser.sending.work import Work
from bulk_eraser.settings import RunSettings

if TYPE_CHECKING:
    from bulk_eraser.simulator.server import Simulator

__all__ = ["Batch", "Observe", "Progress", "Session", "carry_out"]


class Progress(Protocol):
    """How far it is: how much there is to do, how much is done, and what came of it in words."""

    @property
    def to_send(self) -> int: ...

    @property
    def settled(self) -> int: ...

    def summary(self) -> list[str]: ...


Observe = Callable[[Progress, Pool, Pace], AbstractContextManager[None]]
"""Entered while requests are on their way, to show how far they are."""

R_co = TypeVar("R_co", RunResult, FollowResult, ProbeResult, covariant=True)


class Batch(Progress, Protocol[R_co]):
    """What a command has of its own, in the order in which it is asked for."""

    def started(self) -> RunStarted:
        """The first line of the run."""

    def simulator(self, api_key: str) -> "Simulator | None":
        """The service of a rehearsal; None for the real one."""

    async def send(self, session: "Session") -> BulkEraserError | None:
        """Make the requests; returns why it ended early, if it did. May raise that as well."""

    def committed(self, records: Sequence[Record]) -> BulkEraserError | None:
        """Records are on disk; returns why to stop, if they say so."""

    async def result(self, error: BulkEraserError | None, session: "Session") -> R_co:
        """What came of it, and the exit code; `error` is what ended it early."""


class Session:
    """A ledger that is written, a client, and the requests on their way.

    `requests` and `retries` count those of all pools, `elapsed_s` is the time since the first.
    """

    def __init__(
        self,
        batch: Batch[Any],
        file: LedgerFile,
        settings: RunSettings,
        observe: Observe,
        signals: Signals,
    ) -> None:
        self.requests = 0
        self.retries = 0
        self.client: ElevateClient  # once it is connected
        self.ledger = LedgerWriter(file, on_commit=self._committed, on_failure=self._stop)
        self._batch = batch
        self._settings = settings
        self._observe = observe
        self._signals = signals
        self._pool: Pool | None = None
        self._first_request_at: float | None = None

    def new_pace(self) -> Pace:
        settings = self._settings
        return Pace(
            settings.rate,
            settings.max_outage,
            settings.concurrency,
            time.monotonic,
            asyncio.sleep,
            sleep_punctually,
        )

    async def perform(self, work: Work, pace: Pace) -> Pool:
        """Make all calls of `work`; returns when their outcomes are on disk.

        Raises `LedgerWriteError`; for whatever else stops it, see `stopped_by` of the pool.
        """
        pool = self._pool = Pool(work, self.client, pace, self._settings)
        self._signals.attach(self, pool)
        try:
            with self._observe(self._batch, pool, pace):
                await pool.run()
            await self.ledger.commit()
        finally:
            self.requests += pool.requests
            self.retries += pool.retries
            self._first_request_at = self._first_request_at or pace.first_request_at
        return pool

    @property
    def elapsed_s(self) -> float:
        return (
            round(time.monotonic() - self._first_request_at, 3) if self._first_request_at else 0.0
        )

    def _committed(self, records: Sequence[Record]) -> None:
        if why := self._batch.committed(records):
            self._stop(why)

    def _stop(self, why: BulkEraserError) -> None:
        if self._pool is not None:
            self._pool.stop(why)


async def carry_out(
    batch: Batch[R_co],
    file: LedgerFile,
    settings: RunSettings,
    route: Route,
    api_key: str,
    observe: Observe,
    signals: Signals | None = None,
) -> R_co:
    """From `begin` to the closed ledger. `signals` are those of all that run side by side.

    Raises what makes the start impossible: the errors of `LedgerFile.begin`.
    """
    # Before anything is written: from here on they stop it in an orderly way.
    signals = signals or Signals()
    first_lines: list[Record] = [*file.begin()]
    session = Session(batch, file, settings, observe, signals)
    ledger = session.ledger
    started = batch.started()
    error: BulkEraserError | None = None
    try:
        # On disk before anything else happens: whatever follows has a run that it belongs to.
        await ledger.commit([*first_lines, started])
        async with _connected(settings, route, api_key, batch.simulator(api_key)) as session.client:
            error = await batch.send(session)
    except BulkEraserError as failure:
        error = failure
    except Exception as bug:  # how it ended must be on record, whatever it was
        error = internal_error(bug)
    # The result is decided before the last line, which states it.
    result = await batch.result(error, session)
    try:
        if not isinstance(error, LedgerWriteError):
            ledger.append(
                RunFinished(
                    run=started.run,
                    outcome=result.outcome,
                    exit_code=result.exit_code,
                    counts=result.counts,
                    elapsed_s=result.elapsed_s,
                )
            )
        await ledger.close()
    except BulkEraserError as failure:  # the last group is not on disk, so it did not end well
        result.fail(failure, begun=True)
    result.head = ledger.head
    return result


@asynccontextmanager
async def _connected(
    settings: RunSettings, route: Route, api_key: str, simulator: "Simulator | None"
) -> AsyncIterator[ElevateClient]:
    """A client of the target, or of `simulator`, which is started and stopped with it."""
    target = settings.target
    async with simulator or nullcontext():
        if simulator is not None:
            target = loopback_target(simulator.origin, target.name)
        async with ElevateClient(
            target,
            settings.api_version,
            api_key,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            route=route,
        ) as client:
            yield client

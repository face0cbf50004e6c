"""The main job: producer → bounded queue → workers → ledger.

    survey ─► producer ─ commits `sent` ─► queue ─► workers ─ one POST each ─► outcome to the ledger
                                                       │ again?
                                                       └─► repeat (tenacity): budget, `sent`, POST

A request leaves only when its `sent` line is on disk. A key that must be repeated gives its slot
back while it waits. Whatever concerns one key is recorded; whatever concerns all stops the run:
nothing further leaves, what is in flight is waited for (drained), the rest keeps `sent`.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.retrying import AgainError, repeat_until_settled
from bulk_eraser.elevate.verdict import Answer, Kind, Verdict, classify, evidence
from bulk_eraser.errors import BulkEraserError, LedgerWriteError, ServiceDown
from bulk_eraser.ledger.ledger import Ledger
from bulk_eraser.pacing.pace import OUTSTANDING, Pace
from bulk_eraser.records import (
    Accepted,
    Duplicate,
    Excluded,
    Failed,
    Record,
    Rejected,
    Sent,
    Unknown,
)
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.rows import KeyRow, RejectedRow
from bulk_eraser.sources.survey import Fate, RowFate, Survey
from bulk_eraser.tally import Tally

__all__ = ["Erasure"]

DRAIN_S = 5.0
REPEATING = 64
"""Keys that may wait for a repeat before no new ones are begun."""
GROUP = 1000
LOOK_S = 0.25


@dataclass(slots=True)
class Job:
    """A customer key on its way. `attempt` counts the `sent` lines, `counted` those that count;
    `goods` is how many good answers the pool had seen at the last failure; `whose` is what each
    of its ledger lines begins with."""

    key: str
    whose: dict[str, Any]
    attempt: int = 1
    counted: int = 0
    goods: int = 0
    perhaps: bool = False
    began: float = 0.0
    detail: str | None = None


class Erasure:
    """One run over a decided survey. `run` returns when every key is settled or the run stopped.

    `stopped_by` says why it ended early; `stop` may be called from outside (a signal).
    """

    def __init__(
        self,
        survey: Survey,
        recorded_until: int,
        ledger: Ledger,
        client: ElevateClient,
        pace: Pace,
        tally: Tally,
        settings: RunSettings,
    ) -> None:
        self.stopped_by: BulkEraserError | None = None
        self.requests = 0
        self.retries = 0
        self.in_flight: dict[asyncio.Task[Any] | None, Job] = {}
        self._survey = survey
        self._recorded_until = recorded_until
        self._ledger = ledger
        self._client = client
        self._pace = pace
        self._tally = tally
        self._settings = settings
        ahead = OUTSTANDING * settings.concurrency
        self._waiting = ahead - settings.concurrency  # each worker holds one more at the gate
        self._most_unsettled = ahead + REPEATING
        self._queue: asyncio.Queue[Job] = asyncio.Queue(self._waiting)
        self._unsettled = 0
        self._produced = False
        self._room = asyncio.Event()
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ── the way of a key ────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Settle every key, or stop. Does not raise for what stops a run; see `stopped_by`."""
        if self.stopped_by is None:
            self._start(self._produce(), "producer")
            for number in range(self._settings.concurrency):
                self._start(self._work(), f"worker-{number}")
            self._start(self._watch(), "watch")
        await self._ended.wait()
        await self._drain()

    async def _produce(self) -> None:
        """Hand out the keys in order, each after its `sent` line was committed."""
        await self._record_rows_not_sent()
        sendable = (row for row in self._survey.second_reading() if row.fate.is_sent)
        rows = islice(sendable, self._settings.limit)
        batch_size = (self._waiting + 1) // 2
        while batch := await asyncio.to_thread(_take, rows, batch_size):
            await self._wait_for_room(len(batch))
            self._survey.reader.file.must_be_unchanged()
            jobs = [
                Job(row.row.key, self._whose(row.row))
                for row in batch
                if isinstance(row.row, KeyRow)
            ]
            for row in batch:
                self._tally.expect(row.row.line, row.fate)
            self._unsettled += len(jobs)
            await self._ledger.commit([Sent(**job.whose, attempt=1) for job in jobs])
            for job in jobs:
                self._queue.put_nowait(job)
        self._produced = True
        self._end_if_all_settled()

    async def _work(self) -> None:
        """Take keys and make their first attempt, without the cost of a retry engine."""
        task = asyncio.current_task()
        while self.stopped_by is None:
            job = await self._queue.get()
            self._tell_of_room()
            with self._settled_or_left(job):
                verdict = await self._attempt(job, task)
                if verdict.kind is Kind.AGAIN and not self._spent(job):
                    self._start(self._repeat(job, verdict), "repeat")
                else:
                    self._settle(job, verdict)

    async def _repeat(self, job: Job, first: Verdict) -> None:
        """Attempts from the second one on; each is a `sent` line of its own."""

        task = asyncio.current_task()

        last = first

        async def attempt_again() -> Verdict:
            nonlocal last
            if not (first.at_once and job.attempt == 1):
                await self._pace.afford_repeat(throttled=last.is_throttled)
            sent = Sent(**job.whose, attempt=job.attempt + 1)
            await self._ledger.commit([sent])
            job.attempt += 1
            last = await self._attempt(job, task)
            return last

        with self._settled_or_left(job):
            try:
                verdict = await repeat_until_settled(
                    first, attempt_again, lambda: self._spent(job), self._pace.sleep
                )
            except AgainError as spent:
                verdict = spent.verdict
            self._settle(job, verdict)

    async def _attempt(self, job: Job, task: asyncio.Task[Any] | None) -> Verdict:
        """One request, from the gate to the verdict."""
        async with self._pace.slot() as slot:
            if self.stopped_by is not None:
                raise asyncio.CancelledError
            perhaps_before, job.perhaps = job.perhaps, True  # until the verdict says otherwise
            job.began = job.began or time.monotonic()
            self.in_flight[task] = job
            self.requests += 1
            self.retries += job.attempt > 1
            try:
                came = await self._client.create_removal_job(job.key)
            finally:
                del self.in_flight[task]
            verdict = classify(came, self._settings.api_version)
            slot.came_back(accepted=verdict.kind is Kind.ACCEPTED, loaded=verdict.is_load)
        job.perhaps = perhaps_before or verdict.perhaps
        if verdict.kind is not Kind.ACCEPTED:
            job.detail = evidence(came.body, job.key) if isinstance(came, Answer) else None
        self._note(job, verdict, probe=slot.is_probe)
        return verdict

    def _note(self, job: Job, verdict: Verdict, *, probe: bool) -> None:
        """What the attempt means for the pool, and whether it counts against the key."""
        if verdict.kind is Kind.STOP:
            self.stop(verdict.stop or BulkEraserError("internal error: a stop without a reason"))
        elif verdict.kind is not Kind.AGAIN:
            self._pace.saw_good()
        elif verdict.at_once and job.attempt == 1 and not probe:
            job.counted += 1  # a keep-alive connection that died is not held against the service
        else:
            was_open = self._pace.breaker.is_open
            why = self._pace.saw_bad(job.key, verdict.error, verdict.retry_after, probe=probe)
            if why is not None:
                self.stop(why)
            if self._pace.breaker.is_open and not was_open:
                self._client.close_idle()
            if self._counts(job, verdict):
                job.counted += 1
            job.goods = self._pace.outage.goods

    def _counts(self, job: Job, verdict: Verdict) -> bool:
        """Is a failed attempt held against the key?

        Not without a connection, nor while the pool as a whole is throttled. Not in an outage, nor
        when several keys fail and nothing was answered well since this key's last attempt: that
        may be the beginning of one. When no new key is left to tell, it is held against the key.
        """
        if verdict.connecting or (verdict.is_throttled and self._pace.is_pool_throttled):
            return False
        outage = self._pace.outage
        untold = outage.several_fail and job.counted and outage.goods == job.goods
        new_keys = not self._produced or not self._queue.empty()
        return not outage.is_on and not (untold and new_keys)

    def _spent(self, job: Job) -> bool:
        """Is this key not to be tried again in this run?"""
        return self.stopped_by is not None or job.counted >= self._settings.max_attempts

    # ── outcomes ────────────────────────────────────────────────────────────────────────────

    def _settle(self, job: Job, verdict: Verdict) -> None:
        """Record the key's outcome."""
        if verdict.kind is Kind.ACCEPTED:
            self._ledger.append(
                Accepted(
                    **job.whose,
                    jid=verdict.jid,
                    status=verdict.status,
                    http_status=200,
                    attempts=job.attempt,
                    elapsed_ms=round((time.monotonic() - job.began) * 1000),
                )
            )
        elif verdict.kind is Kind.REFUSED or (self.stopped_by is None and not verdict.perhaps):
            self._ledger.append(self._failed(job, verdict))
        elif self.stopped_by is None:
            self._ledger.append(Unknown(**job.whose, error=verdict.error, attempts=job.attempt))
        else:
            self._leave(job, "interrupted")
            return
        self._settled()

    def _failed(self, job: Job, verdict: Verdict) -> Failed:
        return Failed(
            **job.whose,
            error=verdict.error,
            http_status=verdict.http_status,
            detail=job.detail,
            attempts=job.attempt,
            permanent=verdict.kind is Kind.REFUSED,
            possible_job=job.perhaps,
        )

    @contextmanager
    def _settled_or_left(self, job: Job) -> Iterator[None]:
        """Whatever ends the work on a key, its state is right in the ledger."""
        try:
            yield
        except asyncio.CancelledError:
            self._leave(job, "interrupted")
            raise
        except BulkEraserError:  # the ledger cannot be written
            raise
        except Exception:  # a bug, raised on to end the run; this key may have been carried out
            self._leave(job, "internal_error")
            raise

    def _leave(self, job: Job, error: str) -> None:
        """The run ends before this key is settled.

        An attempt that may have been carried out makes it `unknown`; otherwise, and when the
        service was down for all, `sent` stays its last line. Both are sent again by the next run.
        """
        if job.perhaps and not isinstance(self.stopped_by, ServiceDown | LedgerWriteError):
            self._ledger.append(Unknown(**job.whose, error=error, attempts=job.attempt))

    def _settled(self) -> None:
        self._unsettled -= 1
        self._tell_of_room()
        self._end_if_all_settled()

    def _end_if_all_settled(self) -> None:
        if self._produced and not self._unsettled:
            self._ended.set()

    def _tell_of_room(self) -> None:
        """Wake the producer when half of the waiting keys are gone, not for each one."""
        if self._queue.qsize() <= self._waiting // 2:
            self._room.set()

    async def _wait_for_room(self, wanted: int) -> None:
        """Until so many keys may be committed: ahead of their turn, and beside repeated ones."""
        while (
            self._queue.qsize() + wanted > self._waiting
            or self._unsettled + wanted > self._most_unsettled
        ):
            self._room.clear()
            await self._room.wait()

    async def _record_rows_not_sent(self) -> None:
        """Book rejected and duplicate rows once per input, excluded ones once per run."""
        survey = self._survey
        excluded = survey.fates[Fate.EXCLUDED] > 0
        if not excluded and survey.last_line_not_sent <= self._recorded_until:
            return
        records = (record for row in survey.second_reading() if (record := self._not_sent(row)))
        while batch := await asyncio.to_thread(_take, records, GROUP):
            await self._ledger.commit(batch)

    def _not_sent(self, row: RowFate) -> Record | None:
        line = row.row.line
        if isinstance(row.row, RejectedRow):
            known = line <= self._recorded_until
            return None if known else Rejected(line=line, error=row.row.error)
        if row.fate is Fate.DUPLICATE:
            if line <= self._recorded_until:
                return None
            return Duplicate(**self._whose(row.row), first_line=row.first_line)
        return Excluded(**self._whose(row.row)) if row.fate is Fate.EXCLUDED else None

    def _whose(self, row: KeyRow) -> dict[str, Any]:
        """What every ledger line about this row's key begins with."""
        whose: dict[str, Any] = {"key": self._survey.naming.name_of(row.key), "line": row.line}
        if row.received is not None:
            whose["received"] = row.received
        if row.reference is not None:
            whose["reference"] = row.reference
        return whose

    # ── stopping ────────────────────────────────────────────────────────────────────────────

    def stop(self, why: BulkEraserError, *, hurry: bool = False) -> None:
        """Let nothing further leave. The first reason stays; `hurry` gives up what is in flight."""
        if hurry or isinstance(why, LedgerWriteError):
            self._hurry.set()
        if self.stopped_by is not None:
            return
        self.stopped_by = why
        self._ended.set()

    async def _drain(self) -> None:
        """Wait for what is in flight, 5 s at most, then give it up; all else ends at once."""
        await asyncio.sleep(0)  # a task that never began could not record how its key was left
        for task in self._tasks:
            if task not in self.in_flight:
                task.cancel()
        hurry = asyncio.create_task(self._hurry.wait())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        while self.in_flight and not hurry.done() and loop.time() < deadline:
            await asyncio.wait(
                {hurry, *(task for task in self.in_flight if task is not None)},
                timeout=deadline - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        hurry.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(hurry, *self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Stop when there was no good answer for too long."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_S)
            late = time.monotonic() - before - LOOK_S
            if late > LOOK_S:
                self._pace.stood_still(late)
            if why := self._pace.expired():
                self.stop(why)

    def committed(self, records: Sequence[Record]) -> None:
        """Records are on disk: count them, and stop if too many keys failed."""
        self._tally.fold(records)
        limit = self._settings.max_failures
        failures, settled = self._tally.refusals, self._tally.settled
        if limit.is_exceeded(failures, settled):
            self.stop(
                ServiceDown(
                    f"{failures} of {settled} keys failed, more than --max-failures {limit.text} "
                    "allows. Look at the errors, then run the same command again, with a higher "
                    "--max-failures if these keys are meant."
                )
            )

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(self._guarded(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        """No task ends unseen: an error stops the run, a bug as an internal error (70)."""
        try:
            await work
        except BulkEraserError as error:
            self.stop(error)
        except Exception as bug:
            self.stop(internal_error(bug))


def internal_error(bug: BaseException) -> BulkEraserError:
    """What to tell of a bug: its kind and place, not its text, which may hold a customer key."""
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
    return BulkEraserError(
        f"Internal error: {type(bug).__name__}{place}. The ledger is in order; run the same "
        "command again, and please report this line."
    )


_T = TypeVar("_T")


def _take(items: Iterator[_T], count: int) -> list[_T]:
    return list(islice(items, count))

"""Requests on their way: bounded queue → workers → one call each → its outcome.

    producer ─► queue ─► workers ─ one call each ─► outcome
                            │ again?
                            └─► repeat (tenacity): budget, call

What the calls are, and what becomes of their outcomes, say `erase` (removal jobs) and `follow` (job
status). Here stands what they share: at most so many in flight, every attempt through the gate of
`pacing`, and two rules. Whatever concerns one key is an outcome; whatever concerns all stops the
run: nothing further leaves, what is in flight is waited for (drained).
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.retrying import AgainError, repeat_until_settled
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, Verdict, printable_detail
from bulk_eraser.errors import BulkEraserError, LedgerWriteError, internal_error
from bulk_eraser.ledger.writer import Ledger
from bulk_eraser.pacing.pace import OUTSTANDING, Pace
from bulk_eraser.settings import RunSettings

__all__ = ["Dispatch", "Job"]

DRAIN_S = 5.0
REPEATING = 64
"""Keys that may wait for a repeat before no new ones are begun."""
LOOK_S = 0.25


@dataclass(slots=True)
class Job:
    """One call on its way: a customer key, or a jid. `whose` is what its ledger lines begin with.

    `attempt` counts the calls begun, `counted` those that are held against it; `successes` is how
    many good answers the pool had seen at the last failure; `maybe_done` if one may have been
    carried out.
    """

    key: str
    whose: dict[str, Any]
    attempt: int = 1
    counted: int = 0
    successes: int = 0
    maybe_done: bool = False
    began: float = 0.0
    detail: str | None = None


class Dispatch(ABC):
    """Calls for many keys. `run` returns when every one is settled, or the run stopped.

    `stopped_by` says why it ended early; `stop` may be called from outside (a signal).
    """

    def __init__(
        self, ledger: Ledger, client: ElevateClient, pace: Pace, settings: RunSettings
    ) -> None:
        self.stopped_by: BulkEraserError | None = None
        self.requests = 0
        self.retries = 0
        self.in_flight: dict[asyncio.Task[Any] | None, Job] = {}
        self._ledger = ledger
        self._client = client
        self._pace = pace
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
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ── what the calls are ──────────────────────────────────────────────────────────────────

    @abstractmethod
    async def _produce(self) -> None:
        """Put every call into the queue, in order; `_all_produced` at the end."""

    @abstractmethod
    async def _announce(self, job: Job, attempt: int) -> None:
        """Return once the ledger knows of the repeat that is about to leave."""

    @abstractmethod
    async def _call(self, job: Job) -> Answer | NetworkFault:
        """Make one call."""

    @abstractmethod
    def _judge(self, job: Job, came: Answer | NetworkFault) -> Verdict:
        """What came of it."""

    @abstractmethod
    def _settle(self, job: Job, verdict: Verdict) -> None:
        """Record the outcome, then say `_settled`; or leave it, where the run was stopped."""

    @abstractmethod
    def _leave(self, job: Job, error: str) -> None:
        """The run ends before this call is settled: record what must be known of it."""

    # ── the way of a call ───────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Settle every key, or stop. Does not raise for what stops a run; see `stopped_by`."""
        if self.stopped_by is None:
            self._start(self._produce(), "producer")
            for number in range(self._settings.concurrency):
                self._start(self._work(), f"worker-{number}")
            self._start(self._watch(), "watch")
        await self._ended.wait()
        await self._drain()

    async def _work(self) -> None:
        """Take keys and make their first attempt, without the cost of a retry engine."""
        task = asyncio.current_task()
        while self.stopped_by is None:
            job = await self._queue.get()
            self._tell_of_room()
            try:
                verdict = await self._attempt(job, task)
                if verdict.kind is Kind.AGAIN and not self._spent(job):
                    self._start(self._repeat(job, verdict), "repeat")
                else:
                    self._settle(job, verdict)
            except BaseException as error:
                self._leave_for(job, error)
                raise

    async def _repeat(self, job: Job, first: Verdict) -> None:
        """Attempts from the second one on, each paid from the budget."""
        task = asyncio.current_task()
        last = first

        async def attempt_again() -> Verdict:
            nonlocal last
            if not (first.at_once and job.attempt == 1):
                await self._pace.afford_repeat(throttled=last.is_throttled)
            await self._announce(job, job.attempt + 1)
            job.attempt += 1
            last = await self._attempt(job, task)
            return last

        try:
            try:
                verdict = await repeat_until_settled(
                    first, attempt_again, lambda: self._spent(job), self._pace.sleep
                )
            except AgainError as spent:
                verdict = spent.verdict
            self._settle(job, verdict)
        except BaseException as error:
            self._leave_for(job, error)
            raise

    async def _attempt(self, job: Job, task: asyncio.Task[Any] | None) -> Verdict:
        """One request, from the gate to the verdict."""
        async with self._pace.slot() as slot:
            if self.stopped_by is not None:
                raise asyncio.CancelledError
            maybe_done_before = job.maybe_done
            job.maybe_done = True  # until the verdict says otherwise
            job.began = job.began or time.monotonic()
            self.in_flight[task] = job
            self.requests += 1
            self.retries += job.attempt > 1
            try:
                came = await self._call(job)
            finally:
                del self.in_flight[task]
            verdict = self._judge(job, came)
            slot.came_back(accepted=verdict.kind is Kind.ACCEPTED, loaded=verdict.is_load)
        job.maybe_done = maybe_done_before or verdict.maybe_done
        if verdict.kind is not Kind.ACCEPTED:
            job.detail = printable_detail(came.body, job.key) if isinstance(came, Answer) else None
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
            job.successes = self._pace.outage.successes

    def _counts(self, job: Job, verdict: Verdict) -> bool:
        """Is a failed attempt held against the key?

        Not without a connection, nor while the pool as a whole is throttled. Not in an outage, nor
        when several keys fail and nothing was answered well since this key's last attempt: that
        may be the beginning of one. When no new key is left to tell, it is held against the key.
        """
        if verdict.connecting or (verdict.is_throttled and self._pace.is_pool_throttled):
            return False
        outage = self._pace.outage
        untold = outage.several_fail and job.counted and outage.successes == job.successes
        new_keys = not self._produced or not self._queue.empty()
        return not outage.is_on and not (untold and new_keys)

    def _spent(self, job: Job) -> bool:
        """Is this key not to be tried again in this run?"""
        return self.stopped_by is not None or job.counted >= self._settings.max_attempts

    # ── settled, or not ─────────────────────────────────────────────────────────────────────

    def _leave_for(self, job: Job, error: BaseException) -> None:
        """Whatever ends the work on a key, its state is right in the ledger."""
        if isinstance(error, asyncio.CancelledError):
            self._leave(job, "interrupted")
        elif isinstance(error, Exception) and not isinstance(error, BulkEraserError):
            # A bug, raised on to end the run; this key may have been carried out.
            self._leave(job, "internal_error")

    def _settled(self) -> None:
        self._unsettled -= 1
        self._tell_of_room()
        self._end_if_all_settled()

    def _all_produced(self) -> None:
        self._produced = True
        self._end_if_all_settled()

    def _end_if_all_settled(self) -> None:
        if self._produced and not self._unsettled:
            self._ended.set()

    def _tell_of_room(self) -> None:
        """Wake the producer when half of the waiting keys are gone, not for each one."""
        if self._queue.qsize() <= self._waiting // 2:
            self._room.set()

    def _hand_out(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._queue.put_nowait(job)

    async def _wait_for_room(self, wanted: int) -> None:
        """Until so many keys may be committed: ahead of their turn, and beside repeated ones."""
        while (
            self._queue.qsize() + wanted > self._waiting
            or self._unsettled + wanted > self._most_unsettled
        ):
            self._room.clear()
            await self._room.wait()

    # ── stopping ────────────────────────────────────────────────────────────────────────────

    def stop(self, why: BulkEraserError, *, hurry: bool = False) -> None:
        """Let nothing further leave. The first reason stays; `hurry` gives up what is in flight."""
        if hurry or isinstance(why, LedgerWriteError):
            self._hurry.set()
        if self.stopped_by is not None:
            return
        self.stopped_by = why
        self._stopping.set()
        self._ended.set()

    async def stopped_within(self, seconds: float) -> bool:
        """Wait so long, or until it is stopped; True if it is."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

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

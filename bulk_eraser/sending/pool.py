"""Requests on their way: bounded queue → workers → one call each → its outcome.

    producer ─► queue ─► workers ─ one call each ─► outcome
                            │ again?
                            └─► repeat (tenacity): budget, call

What the calls are, what an answer means and what is recorded, says the `Work` that a pool is given:
`creation` (jobs), `asking` (their status) or `downloading` (results of exports). Here stands what
they share: at most so many in flight, every attempt through the one gate of `pacing`, and two
rules. Whatever concerns one key is an outcome; whatever concerns all stops the run: nothing further
leaves, what is in flight is waited for (drained).
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from bulk_eraser.elevate.blackout import printable_detail
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.retrying import AgainError, repeat_until_settled
from bulk_eraser.elevate.verdict import ACCEPTED, AGAIN, STOP, Answer, Verdict
from bulk_eraser.errors import BulkEraserError, LedgerWriteError, internal_error
from bulk_eraser.pacing.pace import OUTSTANDING, Pace, Slot
from bulk_eraser.sending.work import Call, Work
from bulk_eraser.settings import RunSettings

__all__ = ["Pool"]

DRAIN_S = 5.0
REPEATING = 64
"""Keys that may wait for a repeat before no new ones are begun."""
MOST_SPARED = 4
"""Attempts of a key that a limiter refused while its limit was being learnt."""
LOOK_S = 0.25
ASK_S = 1.0
"""Between two questions whether the service is up."""
SURE = 2
"""Good answers in a row to such questions."""


class Pool:
    """Workers for all calls of some work. `run` returns when each is settled, or the run stopped.

    `stopped_by` says why it ended early; `stop` may be called from outside (a signal). `errors`
    counts attempts that failed, by error word.
    """

    def __init__(
        self, work: Work, client: ElevateClient, pace: Pace, settings: RunSettings
    ) -> None:
        self.stopped_by: BulkEraserError | None = None
        self.requests = 0
        self.retries = 0
        self.errors: Counter[str] = Counter()
        self.in_flight: dict[asyncio.Task[Any] | None, Call] = {}
        self._work = work
        self._client = client
        self._pace = pace
        self._settings = settings
        # Keys are committed ahead of their turn, so that no worker waits for the disk; how many is
        # bounded, since each of them may have to be taken back.
        ahead = OUTSTANDING * settings.concurrency
        self._waiting = ahead - settings.concurrency  # each worker holds one more at the gate
        self._most_unsettled = ahead + REPEATING
        self._queue: deque[Call] = deque()  # bounded by `_wait_for_room`
        self._filled = asyncio.Event()
        self._unsettled = 0
        self._produced = False
        self._ask_at = 0.0
        self._good_questions = 0
        self._room = asyncio.Event()
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopping = asyncio.Event()
        self._announced: list[Call] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Settle every call, or stop. Does not raise for what stops a run; see `stopped_by`."""
        if self.stopped_by is None:
            self._start(self._produce(), "producer")
            for number in range(self._settings.concurrency):
                self._start(self._work_off(), f"worker-{number}")
            self._start(self._watch(), "watch")
        await self._ended.wait()
        await self._drain()

    # ── the way of a call ───────────────────────────────────────────────────────────────────

    async def _produce(self) -> None:
        """Hand out the calls in order, each once the ledger knows of its first attempt."""
        while calls := await self._work.next_calls((self._waiting + 1) // 2):
            await self._wait_for_room(len(calls))
            self._unsettled += len(calls)
            self._announced = calls  # a commit goes on when who waits for it is cancelled
            await self._work.announce(calls)
            self._queue.extend(calls)
            self._filled.set()
            self._announced = []
        self._produced = True
        self._end_if_all_settled()

    async def _work_off(self) -> None:
        """Take keys and make their first attempt, without the cost of a retry engine."""
        task = asyncio.current_task()
        while self.stopped_by is None:
            while not self._queue:
                self._filled.clear()
                await self._filled.wait()
            call = self._queue.popleft()
            self._tell_of_room()
            try:
                verdict = await self._attempt(call, task)
                # A repeat waits for its turn in a task of its own: this worker takes the next key.
                if verdict.kind is AGAIN and not self._spent(call):
                    self._start(self._repeat(call, verdict), "repeat")
                else:
                    self._settle(call, verdict)
            except BaseException as error:
                self._leave_for(call, error)
                raise

    async def _repeat(self, call: Call, first: Verdict) -> None:
        """Attempts from the second one on, each paid from the budget."""
        task = asyncio.current_task()
        last = first

        async def attempt_again() -> Verdict:
            nonlocal last
            if not (first.at_once and call.attempt == 1):
                await self._pace.afford_repeat(throttled=call.throttled)
            await self._work.announce([call])
            last = await self._attempt(call, task)
            return last

        try:
            try:
                verdict = await repeat_until_settled(
                    first, attempt_again, lambda: self._spent(call), self._pace.sleep
                )
            except AgainError as spent:
                verdict = spent.verdict
            self._settle(call, verdict)
        except BaseException as error:
            self._leave_for(call, error)
            raise

    async def _attempt(self, call: Call, task: asyncio.Task[Any] | None) -> Verdict:
        """One request, from the gate to the verdict."""
        with self._pace.free_slot() or await self._pace.slot() as slot:
            # The run may have been stopped while this call waited. Up to here nothing left.
            if self.stopped_by is not None:
                raise asyncio.CancelledError
            maybe_done_before = call.maybe_done
            call.maybe_done = True  # until the verdict says otherwise
            call.has_left = False
            call.attempt += 1
            call.began = call.began or time.monotonic()
            self.in_flight[task] = call
            self.requests += 1
            self.retries += call.attempt > 1
            try:
                came = await self._work.call(call)
            except asyncio.CancelledError:
                if not call.has_left:  # it was about to connect: no attempt at all
                    call.maybe_done = maybe_done_before
                    self.requests -= 1
                    self.retries -= call.attempt > 1
                    call.attempt -= 1
                raise
            finally:
                del self.in_flight[task]
            verdict = self._work.classify(call, came)
            slot.came_back(
                accepted=verdict.kind is ACCEPTED,
                loaded=verdict.is_load,
                error=verdict.error,
            )
        call.maybe_done = maybe_done_before or verdict.maybe_done
        call.anew = verdict.at_once  # where one kept connection was dead, the others may be as well
        if verdict.kind is not ACCEPTED:
            call.detail = (
                printable_detail(came.body, call.key) if isinstance(came, Answer) else None
            )
        call.throttled = slot.is_throttled
        self._note(call, verdict, slot)
        return verdict

    def _note(self, call: Call, verdict: Verdict, slot: Slot) -> None:
        """What the attempt means for the pool, and whether it counts against the key."""
        if verdict.error:
            self.errors[verdict.error] += 1
        if verdict.kind is STOP:
            self.stop(verdict.stop or BulkEraserError("internal error: a stop without a reason"))
        elif verdict.kind is not AGAIN:
            self._good_questions = 0
            self._pace.saw_good(slot)
        elif verdict.at_once and call.attempt == 1 and not slot.is_probe:
            call.counted += 1  # a keep-alive connection that died is not held against the service
        else:
            was_open = self._pace.breaker.is_open
            why = self._pace.saw_bad(
                call.key, verdict.error, verdict.retry_after, probe=slot.is_probe, slot=slot
            )
            if why is None and not self._pace.outage.ever_good:
                why = verdict.stop
            if why is not None:
                self.stop(why)
            if self._pace.breaker.is_open and not was_open:
                self._client.close_idle()
            if self._is_spared(call, slot):
                call.spared += 1
            elif self._counts(call, verdict):
                call.counted += 1
            call.successes = self._pace.outage.successes

    def _is_spared(self, call: Call, slot: Slot) -> bool:
        """Was it refused because the right rate is just being found out? That ends soon, so a key
        that meets it again and again is spared no longer."""
        return call.throttled and call.spared < MOST_SPARED and self._pace.is_learning(slot)

    def _counts(self, call: Call, verdict: Verdict) -> bool:
        """Is a failed attempt held against the key?

        Not without a connection, nor while the pool as a whole is throttled. Not in an outage, nor
        when several keys fail and nothing was answered well since this key's last attempt: that
        may be the beginning of one. When no new key is left to tell, it is held against the key;
        what then looks like an outage is told from one by questions (`_ask_if_it_is_up`).
        """
        # 1. Without a connection nothing is said of any key.
        if verdict.connecting:
            return False
        # 2. The service is up, whatever it says of the calls that are left.
        if self._good_questions >= SURE:
            return True
        # 3. The pool as a whole is too fast.
        if call.throttled and self._pace.is_pool_throttled:
            return False
        # 4. An outage, or what may be the beginning of one.
        outage = self._pace.outage
        untold = outage.several_fail and call.counted and outage.successes == call.successes
        return not outage.is_on and not (untold and self._has_new_calls)

    @property
    def _has_new_calls(self) -> bool:
        return not self._produced or bool(self._queue)

    def _spent(self, call: Call) -> bool:
        """Is this key not to be tried again in this run?"""
        return self.stopped_by is not None or call.counted >= self._settings.max_attempts

    # ── settled, or not ─────────────────────────────────────────────────────────────────────

    def _leave_for(self, call: Call, error: BaseException) -> None:
        """Whatever ends the work on a key, its state is right in the ledger."""
        if isinstance(error, asyncio.CancelledError):
            self._work.leave(call, "interrupted", self.stopped_by)
        elif isinstance(error, Exception) and not isinstance(error, BulkEraserError):
            # A bug, raised on to end the run; whatever is noted, it may have been carried out.
            call.ever_left = call.attempt > 0
            self._work.leave(call, "internal_error", self.stopped_by)

    def _settle(self, call: Call, verdict: Verdict) -> None:
        self._work.record(call, verdict, self.stopped_by)
        self._unsettled -= 1
        self._tell_of_room()
        self._end_if_all_settled()

    def _end_if_all_settled(self) -> None:
        if self._produced and not self._unsettled:
            self._ended.set()

    def _tell_of_room(self) -> None:
        """Wake the producer when half of the waiting keys are gone, not for each one."""
        if len(self._queue) <= self._waiting // 2:
            self._room.set()

    async def _wait_for_room(self, wanted: int) -> None:
        """Until so many keys may be committed: ahead of their turn, and beside repeated ones."""
        while (
            len(self._queue) + wanted > self._waiting
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
        """Wait for what has left, 5 s at most, then give it up; all else ends at once."""
        await asyncio.sleep(0)  # a task that never began could not record how its key was left
        # 1. Whatever waits (for the gate, the budget, the ledger) ends at once.
        for task in self._tasks:
            # What still connects would leave after the stop.
            if task not in self.in_flight or not self.in_flight[task].has_left:
                task.cancel()
        # 2. What is in flight may be carried out by now, so its answer is worth some seconds.
        hurry = asyncio.create_task(self._hurry.wait())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        while self.in_flight and not hurry.done() and loop.time() < deadline:
            await asyncio.wait(
                {hurry, *(task for task in self.in_flight if task is not None)},
                timeout=deadline - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        # 3. The rest is given up; each of these keys is recorded as what is known of it.
        hurry.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(hurry, *self._tasks, return_exceptions=True)
        self._leave_what_was_not_begun()

    def _leave_what_was_not_begun(self) -> None:
        """Calls that wait in the queue, or were on their way into it."""
        left = [*self._announced, *self._queue]
        self._queue.clear()
        with suppress(BulkEraserError):  # a ledger that can be written no more: it is told already
            for call in left:
                self._work.leave(call, "interrupted", self.stopped_by)

    async def _watch(self) -> None:
        """Stop when there was no good answer for too long."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_S)
            late = time.monotonic() - before - LOOK_S
            if late > LOOK_S:  # the process stood still (SIGSTOP, a sleeping laptop)
                self._pace.stood_still(late)
            if why := self._pace.expired():
                self.stop(why)
            if self._is_to_ask(before) and self._pace.may_ask():
                self._ask_at = float("inf")  # one question at a time
                self._start(self._ask_if_it_is_up(), "question")

    def _is_to_ask(self, now: float) -> bool:
        only_failing = self._pace.outage.is_on and not self._has_new_calls
        has_room = len(self.in_flight) < self._settings.concurrency
        return only_failing and has_room and now >= self._ask_at

    async def _ask_if_it_is_up(self) -> None:
        """Only failing calls are left: are they the matter, or the service?

        Two good answers, and none to a call in between: it is the calls, so from then on attempts
        count against their keys. (Of a service that throttles, or is just coming back, some call
        would have got an answer.)
        """
        verdict = await self._work.ask()
        if verdict is None:
            return  # and it is not asked again
        is_up = verdict.kind is ACCEPTED
        self._good_questions = self._good_questions + 1 if is_up else 0
        if is_up:
            self._pace.saw_good()
        self._ask_at = time.monotonic() + ASK_S

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

"""The one gate before every request. It asks, in this order:

1. window: may one more be in flight? (a loaded service: 5xx, timeouts, latency)
2. pause: did the service ask to wait? (`Retry-After`)
3. breaker: do most requests fail? Then one key is tried at a time.
4. rate: --rate, and what a limiter leaves of it (429, or a 503 that looks like a limiter's)

Beside it stand the budget that repeats are paid from, and the outage that ends a run (69). All of
them are plain bookkeeping; clock and sleep are injected here.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

import msgspec

from bulk_eraser.errors import BulkEraserError, ServiceDown
from bulk_eraser.pacing.breaker import Breaker
from bulk_eraser.pacing.budget import RetryBudget
from bulk_eraser.pacing.limiter import Limiter
from bulk_eraser.pacing.outage import Outage, Silence
from bulk_eraser.pacing.rate import RateLimit
from bulk_eraser.pacing.throttle import FREE, SendRate, Sent
from bulk_eraser.pacing.window import Window

__all__ = ["OUTSTANDING", "Pace", "Slot"]

OUTSTANDING = 4
"""Times --concurrency: how many keys may be committed ahead of their turn."""

RETRY_AFTER_CAP_S = 300.0
THROTTLED_PAUSE_S = (0.75, 1.25)
"""After a 429 without Retry-After."""
THROTTLED_KEYS = 5
"""So many different keys among the latest 429s: then it is the pool, not a key."""
LATEST = 20
RETURN_S = 0.5
"""Over so long the pool comes back after a pause, not as a wave."""
LOOK_AGAIN_S = 0.25
PUNCTUAL_BELOW_S = 0.02
"""Sends at the edge of a limit that are closer than this need a better timer than the loop's."""


class Slot(msgspec.Struct):
    """One request's place in flight, which `with` gives back.

    `is_probe` if it is sent to see whether the service is back. Say `came_back` before it ends;
    from then on `is_throttled` tells whether a limiter refused it.
    """

    _pace: "Pace"
    number: int
    sent_at: float
    sent: Sent
    is_probe: bool
    is_throttled: bool = False
    took: float | None = None
    _accepted: bool = False
    _loaded: bool = False

    def came_back(self, *, accepted: bool, loaded: bool, error: str = "") -> None:
        """`loaded` for 5xx and timeouts. Refusals say nothing of how long a job takes to make."""
        self.is_throttled = self._pace._is_throttled(self, error)
        self._accepted, self._loaded = accepted, loaded and not self.is_throttled

    def __enter__(self) -> "Slot":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took = self.took if self._accepted else None
        self._pace._give_back(self.number, took, loaded=self._loaded)


class Pace:
    """Shared by all workers of a run. `rate` in requests a second (0: no limit)."""

    def __init__(
        self,
        rate: float,
        max_outage: float,
        concurrency: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sleep_punctually: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.outage = Outage(max_outage, OUTSTANDING * concurrency)
        self.window = Window(concurrency)
        self.breaker = Breaker(OUTSTANDING * concurrency)
        self.first_request_at: float | None = None
        self.sleep = sleep
        self._sleep_punctually = sleep_punctually or sleep
        self._clock = clock
        self._limited = rate > 0
        self._rate = rate
        self._rate_limit = RateLimit(rate)
        self._throttle = SendRate()
        self._limiter = Limiter()
        self._throttled: deque[str] = deque(maxlen=LATEST)
        self._suspects: deque[str] = deque(maxlen=LATEST)
        self._was_misled = False
        self._budget = RetryBudget(clock(), OUTSTANDING * concurrency)
        self._paused_until = clock()
        self._asked_until = clock()
        self._return_until = float("-inf")
        self._next_return = float("-inf")
        self._answered_since_pause = True
        self._turn = asyncio.Lock()
        self._waiting: deque[asyncio.Future[int]] = deque()

    # ── before a request ────────────────────────────────────────────────────────────────────

    def free_slot(self) -> Slot | None:
        """A place for a request that may leave at once, as in good weather; else None."""
        now = self._clock()
        if self._waiting or not self.window.has_room or not self._is_free(now):
            return None
        return self._leaving(self.window.leave(), now)

    async def slot(self) -> Slot:
        """A place for a request that is to leave now, once there is one."""
        # 1. A place in flight, first come first served: nobody overtakes who waits already.
        at_once = self.window.has_room and not self._waiting
        number = self.window.leave() if at_once else await self._room()
        # 2. A moment to leave; in good weather without a limit there is nothing to wait for.
        if not self._is_free(self._clock()):
            try:
                await self._wait_for_turn()
            except BaseException:  # whatever ended the wait, the place is given back
                self._give_back(number, None, loaded=False)
                raise
        return self._leaving(number, self._clock())

    def _leaving(self, number: int, now: float) -> Slot:
        if self.first_request_at is None:
            self.first_request_at = now
            self.outage.begin(now)
        is_probe = self.breaker.take(now)
        return Slot(self, number, now, self._throttle.take(now), is_probe)

    async def afford_repeat(self, *, throttled: bool) -> None:
        """Return when the budget has paid for one repeat; that of a 429 is paid by the pause."""
        if throttled:
            return
        while (wait := self._budget.take(self._clock())) > 0:
            await self.sleep(min(wait, 1.0) * random.uniform(1.0, 1.2))  # noqa: S311 jitter

    async def _room(self) -> int:
        """A place in the window when there is one again, first come first served."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given, and is not taken
                self.window.back(turn.result(), self._clock(), None, loaded=False)
                self._give_room()
            raise

    async def _wait_for_turn(self) -> None:
        async with self._turn:  # one at a time, or two would take the same slot of the schedule
            while (wait := self._wait(self._clock())) > 0:
                is_near = self._throttle.is_limited and wait < PUNCTUAL_BELOW_S
                await (self._sleep_punctually if is_near else self.sleep)(wait)
            now = self._clock()  # a sleep may end late
            self._rate_limit.take(now)
            if now < self._return_until:
                self._next_return = now + RETURN_S / self.window.ceiling

    def _is_free(self, now: float) -> bool:
        """Does nothing but the window hold requests back?"""
        return not (
            self._limited
            or now < self._return_until
            or self.breaker.is_open
            or self._throttle.is_limited
        )

    def _wait(self, now: float) -> float:
        wait = max(
            self._paused_until - now,
            self._rate_limit.delay(now),
            self._throttle.delay(now),
        )
        if now < self._return_until and not self._throttle.is_limited:
            wait = max(wait, self._next_return - now)
        # A good answer may close the breaker long before its next probe is due.
        if probe := self.breaker.delay(now):
            wait = max(wait, min(probe, LOOK_AGAIN_S))
        return wait

    # ── after a request ─────────────────────────────────────────────────────────────────────

    def _give_back(self, number: int, took: float | None, *, loaded: bool) -> None:
        self.window.back(number, self._clock(), took, loaded=loaded)
        if self._waiting:
            self._give_room()

    def _give_room(self) -> None:
        """Let in who has waited longest, as far as there is room."""
        while self._waiting and self.window.has_room:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self.window.leave())

    def _is_throttled(self, slot: Slot, error: str) -> bool:
        """Did a limiter refuse it?"""
        now = self._clock()
        slot.took = now - slot.sent_at
        if error == "http_503":
            is_limiter = not self._throttle.puts_up_with(now) and not self.breaker.is_open
            return is_limiter and self._limiter.refused(now, slot.took)
        return error == "http_429"

    def saw_good(self, slot: Slot | None = None) -> None:
        """An answer about a key arrived."""
        now = self._clock()
        self._note_answer(now)
        self.outage.saw_good(now)
        self.breaker.saw_good()
        self._suspects.clear()
        self._was_misled = False
        self._throttle.answered(now, slot.sent if slot else None)
        if slot is not None and slot.took is not None:
            self._limiter.saw_good(now, slot.took)
        self._budget.earn()

    def saw_bad(
        self,
        key: str,
        error: str,
        retry_after: float | None,
        *,
        probe: bool = False,
        slot: Slot | None = None,
    ) -> BulkEraserError | None:
        """An attempt calls for another; returns why the whole run must stop, if it must."""
        now = self._clock()
        is_throttled = slot.is_throttled if slot else error == "http_429"
        self._note_answer(now)
        why = self.outage.saw_bad(key, error)
        # 1. Throttled: the service is there and asks for less. Its own wish goes before ours.
        is_asked = retry_after is not None
        if is_throttled:
            self._saw_throttled(key, error, now, retry_after, slot)
            if not is_asked and not self.outage.ever_good:  # nothing is known of any rate
                retry_after = random.uniform(*THROTTLED_PAUSE_S)  # noqa: S311 jitter
        # 2. No answer of Elevate's: several of them end the run, and soon.
        elif error == "bad_answer":
            self.breaker.saw_other(now, probe=probe)
        # 3. Bad weather.
        else:
            self._saw_trouble(key, now, probe=probe)
        if why is None and retry_after is not None:
            why = self.expired()  # now, or one pause after the other would put it off for ever
        if why is None and retry_after is not None:
            if retry_after > RETRY_AFTER_CAP_S:
                return ServiceDown(
                    f"The service asks for a pause of {retry_after:.0f} s (Retry-After), and a "
                    f"run waits {RETRY_AFTER_CAP_S:.0f} s at most. Run the same command again "
                    "after that time."
                )
            jitter = random.uniform(0.0, min(1.0, 0.1 * retry_after))  # noqa: S311 jitter
            self._pause(now, retry_after + jitter)
            if is_asked:
                self._asked_until = max(self._asked_until, now + retry_after)
        return why

    def _saw_trouble(self, key: str, now: float, *, probe: bool) -> None:
        """A failure; what was taken for a limiter's since the last good answer was one as well."""
        while self._suspects:
            self.breaker.saw_bad(self._suspects.popleft(), now, probe=False)
        self.breaker.saw_bad(key, now, probe=probe)
        if self._was_misled and self.breaker.is_open:
            self._was_misled = False
            self._throttle.forget(now)

    def _saw_throttled(
        self, key: str, error: str, now: float, retry_after: float | None, slot: Slot | None
    ) -> None:
        if error == "http_429":
            self.breaker.saw_alive()
        else:  # should it turn out to be no limiter's after all
            self._suspects.append(key)
            self._was_misled = True
        self._throttled.append(key)
        self._throttle.refused(now, slot.sent if slot else None, pause=retry_after or 0.0)

    def expired(self) -> BulkEraserError | None:
        """Why to stop for want of a good answer. A pause the service asked for is waited out."""
        now = self._clock()
        # In a pause, and until something came after it, nobody can know whether it is over.
        if now < self._paused_until or not self._answered_since_pause:
            return None
        return self.outage.expired(now)

    def stood_still(self, seconds: float) -> None:
        """This process did not run for so long (SIGSTOP, a sleeping laptop): that is no outage."""
        self.outage.forgive(seconds)

    def may_ask(self) -> bool:
        """May a question be sent now, beside the requests that wait for their turn? It counts as
        one of them for --rate; a pause that the service asked for holds it back as well."""
        now = self._clock()
        if now < self._asked_until or self._rate_limit.delay(now) > 0:
            return False
        self._rate_limit.take(now)
        return True

    @property
    def pause_left(self) -> float:
        """Seconds of the pause that the service asked for; 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def silence(self) -> Silence | None:
        """How long the service gave no good answer; None when it is not down."""
        return self.outage.silence(self._clock())

    @property
    def throttled_to(self) -> float | None:
        """Requests a second that a throttled service leaves; None when that is no limit."""
        allowed = self._throttle.allowed(self._clock())
        return allowed if allowed < (self._rate or FREE) else None

    @property
    def is_pool_throttled(self) -> bool:
        """Is the rate cut, and for many keys? Then a 429 says nothing about the key that met it."""
        return self.throttled_to is not None and len(set(self._throttled)) >= THROTTLED_KEYS

    def is_learning(self, slot: Slot) -> bool:
        """Did this request leave while it was being found out what a limiter leaves?"""
        return self._throttle.is_learning(self._clock(), slot.sent)

    def _pause(self, now: float, seconds: float) -> None:
        if seconds <= 0:
            return
        until = now + seconds
        if until > self._paused_until:  # a shorter one is part of the pause that is on
            self._paused_until = until
            self._return_until = until + RETURN_S
            self._answered_since_pause = False

    def _note_answer(self, now: float) -> None:
        if now >= self._paused_until:
            self._answered_since_pause = True

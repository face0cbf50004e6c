"""The one gate before every request: pause, rate, retry budget, outage; clock injected."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from bulk_eraser.errors import BulkEraserError, ServiceDown
from bulk_eraser.pacing.budget import RetryBudget
from bulk_eraser.pacing.outage import Outage
from bulk_eraser.pacing.rate import RateGate

__all__ = ["OUTSTANDING", "Pace"]

OUTSTANDING = 4
"""Times --concurrency: how many keys may be committed ahead of their turn."""

RETRY_AFTER_CAP_S = 300.0
LOOK_AGAIN_S = 1.0


class Pace:
    """Shared by all workers of a run. `rate` in requests a second (0: no limit)."""

    def __init__(
        self,
        rate: float,
        max_outage: float,
        concurrency: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.outage = Outage(max_outage, OUTSTANDING * concurrency)
        self.first_request_at: float | None = None
        self._clock = clock
        self.sleep = sleep
        self._limited = rate > 0
        self._gate = RateGate(rate)
        self._budget = RetryBudget(clock(), OUTSTANDING * concurrency)
        self._paused_until = float("-inf")
        self._answered_since_pause = True
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Return when a request may leave now: no pause, and within the rate."""
        if self._limited or self._clock() < self._paused_until:
            async with self._turn:
                while (wait := self._wait(self._clock())) > 0:
                    await self.sleep(wait)
                self._gate.take(self._clock())
        if self.first_request_at is None:
            self.first_request_at = self._clock()
            self.outage.begin(self.first_request_at)

    async def may_begin_key(self) -> None:
        """Return when a new key may be tried: at once, or in an outage from the budget."""
        while self.outage.is_on and (wait := self._budget.take(self._clock())) > 0:
            await self.sleep(min(wait, LOOK_AGAIN_S))

    async def afford_repeat(self) -> None:
        """Return when the budget has paid for one repeat."""
        while (wait := self._budget.take(self._clock())) > 0:
            await self.sleep(min(wait, LOOK_AGAIN_S) * random.uniform(1.0, 1.2))  # noqa: S311 jitter

    def saw_good(self) -> None:
        """An answer about a key arrived."""
        now = self._clock()
        self._note_answer(now)
        self.outage.saw_good(now)
        self._budget.earn()

    def saw_bad(self, key: str, error: str, retry_after: float | None) -> BulkEraserError | None:
        """An attempt calls for another; returns why the whole run must stop, if it must."""
        now = self._clock()
        self._note_answer(now)
        why = self.outage.saw_bad(key, error)
        if why is None and retry_after is not None:
            why = self.expired()  # now, or one pause after the other would put it off for ever
        if why is None and retry_after is not None:
            if retry_after > RETRY_AFTER_CAP_S:
                return ServiceDown(
                    f"The service asks to wait {retry_after:.0f} s (Retry-After), longer than "
                    f"the {RETRY_AFTER_CAP_S:.0f} s that a run waits. Run the same command again "
                    "after that time."
                )
            jitter = random.uniform(0.0, min(1.0, 0.1 * retry_after))  # noqa: S311 jitter
            until = now + retry_after + jitter
            if until > self._paused_until:
                self._paused_until = until
                self._answered_since_pause = False
        return why

    def expired(self) -> BulkEraserError | None:
        """Why to stop for want of a good answer. A pause the service asked for is waited out."""
        now = self._clock()
        if now < self._paused_until or not self._answered_since_pause:
            return None
        return self.outage.expired(now)

    def stood_still(self, seconds: float) -> None:
        """This process did not run for so long (SIGSTOP, a sleeping laptop): that is no outage."""
        self.outage.forgive(seconds)

    @property
    def pause_left(self) -> float:
        """Seconds of the pause that the service asked for; 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    def _note_answer(self, now: float) -> None:
        if now >= self._paused_until:
            self._answered_since_pause = True

    def _wait(self, now: float) -> float:
        return max(self._paused_until - now, self._gate.delay(now))

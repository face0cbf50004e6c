"""How long exchanges may take: one timer for all of them, which costs a tenth of one for each."""

import asyncio
from typing import Protocol

__all__ = ["TimeLimits", "Wait"]

CLOCK_ERROR_S = 0.001
"""By so much a timer may be early (uvloop counts in milliseconds)."""

LATE_S = 0.02
CATCH_UP_S = 0.1
"""After a timer that late: then this process stood still (SIGSTOP, a sleeping laptop), and answers
that came meanwhile are read before anything is given up."""


class Wait(Protocol):
    """What an exchange waits for, until `deadline` at most."""

    @property
    def deadline(self) -> float: ...

    def expire(self) -> None:
        """Its time is up."""


class TimeLimits:
    """Ends each wait at its deadline, by the clock of `loop`, and none that was over before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waits: set[Wait] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")

    def begin(self, wait: Wait) -> None:
        self._waits.add(wait)
        # Mostly a later deadline than that of the timer, which then stands as it is.
        if wait.deadline < self._due:
            self._set_timer(wait.deadline)

    def end(self, wait: Wait) -> None:
        self._waits.discard(wait)  # the timer stays: to move it would cost what it saves

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, when: float) -> None:
        self.close()
        self._due = when
        self._timer = self._loop.call_at(when, self._expire_due)

    def _expire_due(self) -> None:
        """End what is over, and set the timer for the next one."""
        now = self._loop.time() + CLOCK_ERROR_S
        if now - self._due > LATE_S:
            self._set_timer(now + CATCH_UP_S)
            return
        for wait in [wait for wait in self._waits if wait.deadline <= now]:
            self._waits.discard(wait)
            wait.expire()
        self._due = float("inf")
        if self._waits:
            self._set_timer(min(wait.deadline for wait in self._waits))

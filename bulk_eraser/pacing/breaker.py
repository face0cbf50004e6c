"""The breaker: while most requests fail, one key at a time is tried, and the others wait.

It opens on the share of failures among the latest answers, each failing key counted once, so a key
that always fails never opens it. Open, it lets a probe through now and then, with longer waits in
between; any good answer closes it. How long an outage may last is not decided here (`outage`).
"""

from collections import deque

__all__ = ["Breaker"]

SHARE = 0.5
MANY_KEYS = 10
"""The latest answers looked at are twice as many; so many different keys must have failed."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0


class Breaker:
    """`outstanding` is how many keys are under way at the most; with few, few failures are many."""

    def __init__(self, outstanding: int) -> None:
        self._many = min(MANY_KEYS, outstanding)
        self._latest: deque[str | None] = deque(maxlen=round(self._many / SHARE))
        self._ever_good = False
        self._wait = FIRST_WAIT_S
        self._probe_at = float("inf")
        self.is_open = False

    def saw_good(self) -> None:
        """An answer about a key: accepted or refused. Closes the breaker."""
        self._ever_good = True
        self.saw_alive()
        self._latest.append(None)

    def saw_alive(self) -> None:
        """The service throttles: that is not good, but it is there. Closes the breaker."""
        if self.is_open:
            self.is_open = False  # what failed before says nothing about now
            self._wait = FIRST_WAIT_S
            self._latest.clear()

    def saw_bad(self, key: str, now: float, *, probe: bool) -> None:
        """An attempt failed. Opens the breaker if it is one of many, or if none ever went well.

        `probe` is what `take` said of it: what left before the breaker opened is no probe.
        """
        # Open already: a probe failed, so the next one waits longer. What left before the breaker
        # opened tells nothing new.
        if self.is_open:
            if probe:
                self._wait = min(LONGEST_WAIT_S, 2 * self._wait)
                self._probe_at = now + self._wait
            return
        self._latest.append(key)
        # Different keys: one that always fails is that key's trouble.
        failing = len({key for key in self._latest if key is not None})
        self.is_open = failing >= (self._many if self._ever_good else 1)
        if self.is_open:
            self._probe_at = now + self._wait

    def saw_other(self, now: float, *, probe: bool) -> None:
        """An answer that is no sign of an outage, nor good: the next probe may leave at once."""
        if self.is_open and probe:
            self._probe_at = now

    def delay(self, now: float) -> float:
        """Seconds until a request may be tried; 0 when it may."""
        return max(0.0, self._probe_at - now) if self.is_open else 0.0

    def take(self, now: float) -> bool:
        """A request is tried; is it a probe? Then it is the only one until it is answered, or
        until the longest wait is over."""
        if self.is_open:  # bounded, since a probe that is cancelled never reports back
            self._probe_at = now + LONGEST_WAIT_S
        return self.is_open

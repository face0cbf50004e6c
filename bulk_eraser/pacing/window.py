"""How many requests may be in flight: a loaded service is given fewer at a time.

Additive increase, multiplicative decrease, as in Netflix' concurrency-limits. It starts at the
ceiling, is decided about once per round (about as many answers as may be in flight), grows only
while it is used, and never falls below one. Load shows as 5xx or timeouts, when they are more than
some in a round (a few come in good weather, too), or as answers that take several times as long as
they used to.
"""

from math import exp

__all__ = ["Window"]

SHARE = 0.2
"""Of a round's answers: more 5xx and timeouts mean load."""
SMALLEST_ROUND = 8
DECREASE = 0.7
DECREASE_WHEN_SLOW = 0.9
SLOW = 3.0
"""Times the usual latency."""
SLOW_FROM_S = 0.1
GETS_USUAL_S = 3.0
"""In so many seconds the latency that counts as usual grows e-fold, so a new normal is learnt."""
IN_VAIN = 0.7
NO_QUICKER = 0.8
"""With so much of the window left, answers take so much of the time they did: it is not the load
that makes them slow."""
INCREASE_SHARE = 1 / 16


class Window:
    """`limit` is how many may be in flight, `ceiling` is --concurrency."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.in_flight = 0
        self._limit = float(ceiling)
        self._sent = 0
        self._decided_at = 0
        self._usual: float | None = None
        self._usual_at = 0.0
        self._slow_from: tuple[float, float] | None = None
        self._begin_round()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def has_room(self) -> bool:
        return self.in_flight + 1 <= self._limit

    def leave(self) -> int:
        """A request leaves. Returns its number, for `back`."""
        self.in_flight += 1
        self._sent += 1
        if 2 * self.in_flight >= self._limit:
            self._used = True
        return self._sent

    def back(self, number: int, now: float, latency: float | None, *, loaded: bool) -> None:
        """It came back; `latency` in seconds of a good answer, else None; `loaded`: 5xx, timeout.

        What left before the window was last made smaller says nothing about its size now.
        """
        self.in_flight -= 1
        if number <= self._decided_at:  # it left into a larger window
            return
        self._answers += 1
        self._loaded += loaded
        if latency is not None:
            self._timed += 1
            self._latency += latency
        round_ = max(SMALLEST_ROUND, self.limit)
        # 1. Load shows: at once, without waiting for the rest of the round.
        if self._loaded > SHARE * round_:
            self._decrease(DECREASE)
        # 2. A round is full: slower than usual, or room for more?
        elif self._answers >= round_:
            self._decide(now)

    def _decide(self, now: float) -> None:
        if self._is_slow(now):
            self._decrease(DECREASE_WHEN_SLOW)
            return
        if self._used:  # a window that is not filled proves nothing about a larger one
            self._limit = min(self.ceiling, self._limit + max(1.0, INCREASE_SHARE * self._limit))
        self._begin_round()

    def _decrease(self, factor: float) -> None:
        self._limit = max(1.0, self._limit * factor)
        self._decided_at = self._sent
        self._begin_round()

    def _is_slow(self, now: float) -> bool:
        """Compare this round's latency with the usual one, and learn from it."""
        if not self._timed:
            return False
        latency = self._latency / self._timed
        if self._usual is None or latency < self._usual:
            self._usual, self._usual_at = latency, now
            return False
        # What is usual rises slowly by itself, so that a service that stays slow is accepted.
        # (Bounded: after an outage of an hour the power would be too large for a float.)
        self._usual *= exp(min(100.0, (now - self._usual_at) / GETS_USUAL_S))
        self._usual = min(self._usual, latency)
        self._usual_at = now
        if latency <= max(SLOW * self._usual, SLOW_FROM_S):
            self._slow_from = None
            return False
        # Under load, fewer in flight are answered sooner. What gets no quicker is the new normal.
        limit, at_first = self._slow_from = self._slow_from or (self._limit, latency)
        if self._limit <= IN_VAIN * limit and latency >= NO_QUICKER * at_first:
            self._usual, self._slow_from = latency, None
            return False
        return True

    def _begin_round(self) -> None:
        self._answers = self._loaded = self._timed = 0
        self._latency = 0.0
        self._used = False

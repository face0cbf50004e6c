"""The rate: sends spaced evenly, at most `rate` + 1 in any one second."""

from math import floor

__all__ = ["RateLimit"]


class RateLimit:
    """A virtual schedule (GCRA): each send moves the next slot on by one interval.

    A late send may be caught up by one interval (less for a rate that is no whole number), so
    any half-open second holds at most rate + 1 sends. `rate` in sends a second, 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._tolerance = (floor(rate) + 1 - rate) / rate if rate > 0 else 0.0
        self._next = float("-inf")

    def delay(self, now: float) -> float:
        """Seconds until a send is allowed; 0 when it is."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Note a send at `now`."""
        # Catching up is bounded by the tolerance: after a long wait no burst follows.
        self._next = max(self._next, now - self._tolerance) + self._interval

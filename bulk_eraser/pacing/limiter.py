"""Is a 503 the refusal of a limiter, or of a service in trouble?

A limiter refuses at once, while good answers are as quick as ever and keep coming in between. A
service in trouble gets slow, or refuses everything.
"""

from math import exp

__all__ = ["Limiter"]

GOOD_WITHIN_S = 2.0
AT_ONCE_S = 0.005
SLOW = 3.0
SLOW_FROM_S = 0.1
"""As in `window`: so many times the usual latency is slow, and at least this."""
LATEST = 1 / 8
GETS_USUAL_S = 30.0


class Limiter:
    """Learns from good answers how long they take."""

    def __init__(self) -> None:
        self._good_at = float("-inf")
        self._latest = 0.0
        self._usual = 0.0

    def saw_good(self, now: float, took: float) -> None:
        """A request was accepted after `took` seconds."""
        if self._good_at == float("-inf"):
            self._latest = self._usual = took
        self._latest += LATEST * (took - self._latest)
        grown = self._usual * exp(min(100.0, (now - self._good_at) / GETS_USUAL_S))
        self._usual = min(self._latest, grown)
        self._good_at = now

    def refused(self, now: float, took: float) -> bool:
        """A 503 came after `took` seconds: does it look like a limiter's?"""
        goes_well = now - self._good_at <= GOOD_WITHIN_S
        is_slow = self._latest > max(SLOW * self._usual, SLOW_FROM_S)
        return goes_well and not is_slow and took <= max(self._usual, AT_ONCE_S)

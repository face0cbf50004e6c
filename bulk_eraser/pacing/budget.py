"""The retry budget: an outage should see little more than the plain load."""

__all__ = ["RetryBudget"]

EARNED_PER_SUCCESS = 0.2
EARNED_PER_SECOND = 1.0
AT_START = 10.0


class RetryBudget:
    """Tokens that repeats are paid from; earned by success and, slowly, by time.

    An empty budget delays a repeat, it never ends a key. `capacity` is how many repeats can wait
    at the same time, so that the last ones of a run in good weather find theirs paid.
    """

    def __init__(self, now: float, capacity: float) -> None:
        self._tokens = AT_START
        self._capacity = max(capacity, AT_START)
        self._at = now

    def earn(self) -> None:
        """A request was answered well."""
        self._tokens = min(self._capacity, self._tokens + EARNED_PER_SUCCESS)

    def take(self, now: float) -> float:
        """0 when a token was taken, else the seconds until there may be one."""
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * EARNED_PER_SECOND)
        self._at = now
        # Time earns as well, or a run without any success could never try again.
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / EARNED_PER_SECOND

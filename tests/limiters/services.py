"""Services and the limiters in front of them, as plain models: a time in, an answer out."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = [
    "Came",
    "CountsAll",
    "FixedWindow",
    "Leaky",
    "Limiter",
    "TokenBucket",
    "allowed_between",
    "changing",
]


class Came(NamedTuple):
    """What came of a request, and after how many seconds. `status` 0: no connection."""

    status: int
    after: float
    retry_after: float | None = None


Limiter = Callable[[float], bool]
"""Is a request that arrives at this time let through?"""


class Leaky:
    """nginx' limit_req with `nodelay`: so many a second, and a burst of so many beyond.

    It counts in whole milliseconds, as nginx does. Without a burst it refuses whatever comes
    closer to the one before than its interval.
    """

    def __init__(self, rate: float, burst: float = 0) -> None:
        self.rate, self.burst = rate, burst
        self._excess, self._last = 0.0, float("-inf")

    def __call__(self, now: float) -> bool:
        tick = int(now * 1000 + 1e-6)
        elapsed = max(0.0, tick - self._last)
        excess = max(0.0, self._excess - self.rate * elapsed / 1000 + 1.0)
        if excess > self.burst + 1e-9 and self._last > float("-inf"):
            return False
        self._excess = 0.0 if self._last == float("-inf") else excess
        self._last = tick
        return True


class TokenBucket:
    """So many tokens a second, kept up to `capacity`."""

    def __init__(self, rate: float, capacity: float | None = None) -> None:
        self.rate = rate
        self._capacity = max(1.0, rate if capacity is None else capacity)
        self._tokens, self._at = self._capacity, 0.0

    def __call__(self, now: float) -> bool:
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class FixedWindow:
    """So many in each calendar second."""

    def __init__(self, rate: float, seconds: float = 1.0) -> None:
        self.rate, self._seconds = rate, seconds
        self._window, self._used = -1, 0

    def __call__(self, now: float) -> bool:
        window = int(now / self._seconds)
        if window != self._window:
            self._window, self._used = window, 0
        if self._used >= self.rate * self._seconds:
            return False
        self._used += 1
        return True


class CountsAll:
    """haproxy's http_req_rate(1s): what is refused counts as well, over a sliding second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._second, self._count, self._before = 0, 0, 0

    def __call__(self, now: float) -> bool:
        second = int(now)
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
        self._count += 1
        return self._count + self._before * (1 - (now - second)) <= self.rate


def changing(kind: Callable[[float], Limiter], rates: list[tuple[float, float]]) -> Limiter:
    """A limiter of this kind whose limit is another from a time on: (from, rate), in order."""
    limiters = [(since, kind(rate)) for since, rate in rates]

    def limit(now: float) -> bool:
        return next(limiter for since, limiter in reversed(limiters) if now >= since)(now)

    return limit


def allowed_between(rates: list[tuple[float, float]], began: float, ended: float) -> float:
    """How many requests such a limit allows in that time."""
    ends = [since for since, _ in rates[1:]] + [float("inf")]
    return sum(
        rate * max(0.0, min(end, ended) - max(since, began))
        for (since, rate), end in zip(rates, ends, strict=True)
    )

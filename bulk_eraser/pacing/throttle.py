"""The rate that a throttled service leaves: 429 is answered by sending more slowly.

As the adaptive mode of the AWS SDKs: on being throttled, the rate drops to 0.7 of what was answered
well of late, and comes back along a cubic curve that is flat where the limit was met. Three things
are different, each because an experiment asked for it: one 429 alone changes nothing (several
within two seconds do), the rate drops at most once a second, and what was answered well is the best
second of the last three. Both are seconds of sending: each 429 pauses the pool for about a second,
so with the pauses counted no 429 would seem to follow another, and each cut would be too deep.
"""

from collections import deque

__all__ = ["SendRate"]

BETA = 0.7
"""What is left of the measured rate after a cut."""
CURVE = 0.4
"""Requests a second per cubed second, as in the SDKs."""
SOONEST_BACK_S = 5.0
"""To the rate at the cut: a low one would be passed in a moment on the curve made for high ones."""
SEVERAL = 3
WITHIN_S = 2.0
SHARE = 0.05
SHARE_WHEN_CUT = 0.02
"""Of the answers of a second: fewer 429s are not meant for the rate."""
BETWEEN_LONE_S = 10.0
"""So seldom a 429 that is not meant for the rate pauses the pool."""
BETWEEN_CUTS_S = 1.0
SLOWEST = 1.0
"""Requests a second."""
FORGOTTEN = 10.0
"""Times the rate at the cut: from there on the curve is no limit any more."""
_BUCKETS_A_SECOND = 10
_REMEMBERED_S = 3


class SendRate:
    """Spaces sends while the service throttles; no limit before, and after it is long over."""

    def __init__(self) -> None:
        self._throttled: deque[float] = deque(maxlen=200)
        self._lone_at = float("-inf")
        self._answered: deque[list[int]] = deque(maxlen=_BUCKETS_A_SECOND * _REMEMBERED_S)
        self._cut_at = self._cut_at_active = float("-inf")
        self._limit_met = float("inf")
        self._flat_after = 0.0
        self._curve = CURVE
        self._next = float("-inf")

    def allowed(self, now: float) -> float:
        """Requests a second; infinite while nothing limits them."""
        if self._limit_met == float("inf"):
            return float("inf")
        rate = self._curve * (now - self._cut_at - self._flat_after) ** 3 + self._limit_met
        if rate > FORGOTTEN * self._limit_met:
            self._limit_met = float("inf")
            return float("inf")
        return max(SLOWEST, rate)

    def delay(self, now: float) -> float:
        """Seconds until a send is allowed; 0 when it is."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Note a send at `now`."""
        if self._limit_met != float("inf"):
            self._next = max(self._next, now) + 1.0 / self.allowed(now)

    def answered(self, active: float) -> None:
        """A request was answered well. `active` is the time without the pauses."""
        bucket = int(active * _BUCKETS_A_SECOND)
        if self._answered and self._answered[-1][0] == bucket:
            self._answered[-1][1] += 1
        else:
            self._answered.append([bucket, 1])

    def throttled(self, now: float, active: float, *, asked: bool) -> bool:
        """A 429 came: is the pool to pause for it? Cuts the rate if several came of late.

        Few among many good answers are no throttling but come in any weather, unless they ask for
        a pause (`asked`): they change nothing, and pause the pool only now and then.
        """
        self._throttled.append(active)
        limited = self._limit_met != float("inf")
        meant = asked or self._share(active) >= (SHARE_WHEN_CUT if limited else SHARE)
        several = len(self._throttled) >= SEVERAL and active - self._throttled[-SEVERAL] <= WITHIN_S
        if several and meant and active - self._cut_at_active >= BETWEEN_CUTS_S:
            self._limit_met = max(SLOWEST, min(self._best_second(active), self.allowed(now)))
            lost = self._limit_met * (1 - BETA)
            self._curve = min(CURVE, lost / SOONEST_BACK_S**3)
            self._flat_after = (lost / self._curve) ** (1 / 3)
            self._cut_at, self._cut_at_active = now, active
            self._answered.clear()  # what came at a higher rate says nothing any more
        if not meant and active - self._lone_at < BETWEEN_LONE_S:
            return False
        self._lone_at = active
        return True

    def _share(self, active: float) -> float:
        """Of 429s among the answers of the last second."""
        throttled = sum(active - at <= 1.0 for at in self._throttled)
        newest = int(active * _BUCKETS_A_SECOND)
        good = sum(n for bucket, n in self._answered if bucket > newest - _BUCKETS_A_SECOND)
        return throttled / (throttled + good)

    def _best_second(self, active: float) -> float:
        """The most good answers in any one of the last three seconds."""
        newest = int(active * _BUCKETS_A_SECOND)
        oldest = newest - _BUCKETS_A_SECOND * _REMEMBERED_S
        counts = {bucket: count for bucket, count in self._answered if bucket > oldest}
        return max(
            (
                sum(counts.get(start + tenth, 0) for tenth in range(_BUCKETS_A_SECOND))
                for start in counts
            ),
            default=0,
        )

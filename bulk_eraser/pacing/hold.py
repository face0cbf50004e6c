"""All hold, since a limiter lets nothing through for a moment; one request after another asks."""

__all__ = ["ASK_AFTER_S", "Hold"]

ASK_AFTER_S = 0.025
ASK_AFTER_SENDS = 2
"""Seconds, or sends at the rate that was too high: until the first one asks."""
ASK_OFTEN_S = 0.2
ASK_OFTEN_FOR_S = 1.5
ASK_SELDOM_S = 1.0


class Hold:
    """Since when, at what rate it was met (and how much was let through), and when to ask."""

    __slots__ = ("_wait", "ask_at", "asked_at", "flow", "rate", "since")

    def __init__(self, now: float, rate: float, flow: float) -> None:
        self.since = self.asked_at = now
        self.rate, self.flow = rate, flow
        self._wait = min(ASK_OFTEN_S, max(ASK_AFTER_S, ASK_AFTER_SENDS / rate))
        self.ask_at = now + self._wait

    def asked(self, now: float) -> None:
        """A request asks: the next one does so after twice the wait, up to a bound."""
        self.asked_at = now
        most = ASK_OFTEN_S if now - self.since < ASK_OFTEN_FOR_S else ASK_SELDOM_S
        self._wait = min(most, 2 * self._wait)
        self.ask_at = now + self._wait

"""A service whose behaviour changes every few seconds, as a process of its own, for the soak.

    python benchmarks/weather_service.py SECONDS_OF_RETRY_AFTER

Prints its port. The weather begins with the first request, and a line of JSON for every request is
kept in memory until SIGTERM, when the counts by phase and second are printed as one JSON object.
"""

import asyncio
import random
import sys
import time
from collections import Counter, defaultdict
from typing import NamedTuple

from raw_http import ok, serve

LATENCY_S = 0.02


class Phase(NamedTuple):
    """Seconds it lasts, and what is wrong: at most one thing at a time."""

    name: str
    seconds: float
    throttle: int = 0
    slower: float = 1.0
    down: bool = False
    resets: float = 0.0


PHASES = (
    Phase("calm", 5),
    Phase("throttled to 200/s", 15, throttle=200),
    Phase("calm", 5),
    Phase("10 x slower", 15, slower=10),
    Phase("calm", 5),
    Phase("down", 30, down=True),
    Phase("calm", 5),
    Phase("5 % resets", 15, resets=0.05),
)
POISONED_SHARE = 0.01
"""Of the keys: their first two requests are answered with 500."""


def phase_at(seconds: float) -> Phase:
    """The weather at that time; it begins again after the last phase."""
    seconds %= sum(phase.seconds for phase in PHASES)
    for phase in PHASES:
        if seconds < phase.seconds:
            return phase
        seconds -= phase.seconds
    return PHASES[-1]


class Weather:
    """Decides about each request, and counts."""

    def __init__(self, retry_after: int) -> None:
        self.began: float | None = None
        self.by_second: dict[int, Counter[str]] = defaultdict(Counter)
        self.seen: Counter[str] = Counter()
        self._retry_after = f"Retry-After: {retry_after}\r\n" if retry_after else ""
        self._tokens = 0.0
        self._filled = 0.0
        self._chance = random.Random(7)

    def answer(self, key: str) -> tuple[float, bytes | None]:
        """How long it takes, and the answer; None: the connection breaks."""
        now = time.monotonic()
        self.began = self.began or now
        at = now - self.began
        phase = phase_at(at)
        self.seen[key] += 1
        kind = self._kind(key, phase, now)
        self.by_second[int(at)][kind] += 1
        if kind in ("down", "reset"):
            return 0.0, None
        wait = LATENCY_S * phase.slower
        if kind == "200":
            body = b'{"jid":"job-%d","status":"created"}' % self.seen.total()
            return wait, ok(body)
        more = self._retry_after if kind == "429" else ""
        head = f"HTTP/1.1 {kind} No\r\nContent-Length: 0\r\n{more}\r\n"
        return 0.001 if kind == "429" else wait, head.encode()

    def counts(self) -> dict[str, object]:
        """When it began, the answers by second and kind, how many requests, keys, poisoned keys."""
        return {
            "began": self.began,
            "by_second": self.by_second,
            "poisoned": sum(hash_share(key) < POISONED_SHARE for key in self.seen),
            "requests": self.seen.total(),
            "keys": len(self.seen),
        }

    def _kind(self, key: str, phase: Phase, now: float) -> str:
        if phase.down:
            return "down"
        if phase.throttle:
            self._tokens += (now - self._filled) * phase.throttle
            self._tokens = min(self._tokens, phase.throttle / 10)
            self._filled = now
            if self._tokens < 1:
                return "429"
            self._tokens -= 1
        if self._chance.random() < phase.resets:
            return "reset"
        if self.seen[key] <= 2 and hash_share(key) < POISONED_SHARE:
            return "500"
        return "200"


def hash_share(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone."""
    return random.Random(key).random()


if __name__ == "__main__":
    asyncio.run(serve(Weather(int(sys.argv[1]))))

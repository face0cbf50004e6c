"""What must not be taken for a limiter: services that are down, slow, or broken by chance."""

import random
from collections.abc import Callable

import pytest
from sending import Outcome, Service, send
from services import Came

from bulk_eraser.errors import ServiceDown

TAKES_S = 0.02
AT_ONCE_S = 0.001
BEGINS, ENDS = 10.0, 40.0


class Weather:
    """Good, but from ten to forty seconds after the first request it is as `bad` says."""

    def __init__(self, bad: Callable[[], Came], ends: float = ENDS) -> None:
        self._bad, self._ends = bad, ends
        self._began: float | None = None

    def __call__(self, key: str, now: float) -> Came:
        self._began = self._began or now
        is_bad = BEGINS <= now - self._began < self._ends
        return self._bad() if is_bad else Came(200, TAKES_S)


def sometimes(share: float, bad: Came, good: Came) -> Callable[[], Came]:
    chance = random.Random(3)
    return lambda: bad if chance.random() < share else good


GOOD = Came(200, TAKES_S)
SLOW = Came(200, 0.5)


def sent_in_trouble(out: Outcome) -> int:
    return len(out.between(BEGINS, ENDS))


TROUBLE: dict[str, tuple[Callable[[], Came], int]] = {
    "at once": (lambda: Came(503, AT_ONCE_S), 40),
    "same time": (lambda: Came(503, TAKES_S), 50),
    "slow": (lambda: Came(503, 1.0), 50),
    "pause": (lambda: Came(503, AT_ONCE_S, 1.0), 40),
    "500": (lambda: Came(500, AT_ONCE_S), 60),
    "refused": (lambda: Came(0, AT_ONCE_S), 110),
    "slow half": (sometimes(0.5, Came(503, 0.05), GOOD), 400),
    "brown-out": (sometimes(0.5, Came(503, 0.3), SLOW), 220),
    "brown-out, at once": (sometimes(0.5, Came(503, AT_ONCE_S), SLOW), 260),
    "nine tenths": (sometimes(0.9, Came(503, AT_ONCE_S), GOOD), 250),
    "half": (sometimes(0.5, Came(503, AT_ONCE_S), GOOD), 800),
}
"""What comes for half a minute, and how many requests it may see then."""
QUICK = [("at once", 0.0), ("half", 0.0), ("brown-out, at once", 400.0)]


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        pytest.param(name, rate, marks=() if (name, rate) in QUICK else pytest.mark.soak)
        for name in TROUBLE
        for rate in (0.0, 400.0)
    ],
)
def test_a_service_in_trouble_is_spared(name: str, rate: float):
    """Half a minute of it: few requests, and afterwards all keys are accepted, in little time."""
    bad, most = TROUBLE[name]
    out = send(Weather(bad), 20_000, rate=rate, seconds=200.0)
    assert sent_in_trouble(out) <= most
    assert out.good == 20_000
    assert out.spent == []
    calm = 20_000 / (rate or 32 / TAKES_S)
    assert out.seconds <= calm + 30 + 20


@pytest.mark.parametrize(("code", "most"), [(503, 60), (429, 360)])
def test_a_service_that_refuses_everything_is_left(code: int, most: int):
    """--max-outage after the last good answer: 69, and no key is failed."""
    weather = Weather(lambda: Came(code, AT_ONCE_S), ends=1e9)
    out = send(weather, 100_000, seconds=400.0)
    assert isinstance(out.stopped_by, ServiceDown)
    assert len(out.between(BEGINS, 1e9)) <= most
    assert out.spent == []
    assert 305 <= out.seconds <= 325


@pytest.mark.parametrize(
    "code", [503, *[pytest.param(code, marks=pytest.mark.soak) for code in (429, 500)]]
)
def test_one_in_a_hundred_that_is_refused_by_chance_slows_nothing(code: int):
    """1 % of any of them: no slower than the calm run, but for the last repeats."""
    weather = Weather(sometimes(0.01, Came(code, AT_ONCE_S), GOOD), ends=1e9)
    out = send(weather, 20_000, rate=400.0)
    assert out.good == 20_000
    assert out.seconds <= 1.05 * 20_000 / 400


@pytest.mark.parametrize(("code", "keys"), [(503, 1), (503, 12), (429, 12)])
def test_keys_that_always_fail_are_found(code: int, keys: int):
    """S6, S12: however quick their 503s or 429s are, they end, and only they."""
    poisoned = {f"key-{7 * number + 3}" for number in range(keys)}

    def serve(key: str, _now: float) -> Came:
        return Came(code, AT_ONCE_S) if key in poisoned else GOOD

    service: Service = serve
    out = send(service, 3000, rate=400.0, seconds=600.0)
    assert set(out.spent) == poisoned
    assert out.good == 3000 - keys
    assert max(out.attempts.values()) <= 15

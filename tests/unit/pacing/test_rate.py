"""The rate: never more in any one second, and no less than is allowed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.pacing.rate import RateLimit

RATES = [0.5, 1, 2.5, 10, 33.3, 50, 200, 1000]


def most_in_a_second(times: list[float]) -> int:
    """The largest number of times in any half-open second; rounding counts in favour."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1 - 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


def sends(limit: RateLimit, amount: int, late) -> list[float]:
    """The times of so many sends, each of which wakes up `late()` seconds after it could."""
    now = 1000.0
    times = []
    for _ in range(amount):
        if (wait := limit.delay(now)) > 0:
            now += wait + late()
        assert limit.delay(now) <= 1e-9
        limit.take(now)
        times.append(now)
    return times


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lateness", [0.0, 0.3, 1.0, 1.7, 20.0], ids="late{}".format)
def test_no_second_holds_more_than_the_rate(rate: float, lateness: float):
    """However late the wake-ups are (in intervals), no second holds more than rate + 1 sends."""
    chance = random.Random(1)
    times = sends(RateLimit(rate), 3000, lambda: chance.uniform(0, lateness / rate))
    assert most_in_a_second(times) <= rate + 1


@pytest.mark.parametrize("rate", [10, 33.3, 50, 200, 1000])
def test_the_rate_is_used_up(rate: float):
    """With wake-ups up to half an interval late, N sends take at most 1.01 x N / rate."""
    chance = random.Random(2)
    times = sends(RateLimit(rate), 2000, lambda: chance.uniform(0, 0.5 / rate))
    assert times[-1] - times[0] <= 1.01 * 2000 / rate


@given(
    rate=st.sampled_from(RATES),
    gaps=st.lists(st.floats(0, 3, allow_nan=False), min_size=2, max_size=80),
)
def test_pauses_are_not_saved_up(rate: float, gaps: list[float]):
    """Time in which nothing was to be sent buys no burst afterwards."""
    limit, now, times = RateLimit(rate), 0.0, []
    for gap in gaps:
        now += gap if gap > 1.5 else 0.0
        now += limit.delay(now)
        limit.take(now)
        times.append(now)
    assert most_in_a_second(times) <= rate + 1


def test_no_rate_is_no_limit():
    """A rate of 0 lets everything through at once."""
    limit = RateLimit(0)
    for _ in range(100):
        assert limit.delay(5.0) == 0
        limit.take(5.0)


def test_the_first_send_does_not_wait():
    """Nothing was sent before the first one, so it leaves at once; the second has its distance,
    less what may be caught up."""
    limit = RateLimit(4)
    assert limit.delay(0.0) == 0
    limit.take(0.0)
    assert limit.delay(0.0) <= 0.25

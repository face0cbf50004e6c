"""The rate that a throttled service leaves."""

import heapq
import random
from itertools import count

import pytest

from bulk_eraser.pacing.throttle import BETA, SLOWEST, SendRate

FREE = float("inf")


def measured(per_second: int, until: float = 10.0) -> SendRate:
    """A rate that has seen so many good answers a second, evenly."""
    rate = SendRate()
    for number in range(int(per_second * until)):
        rate.answered(number / per_second)
    return rate


def throttle(rate: SendRate, now: float, amount: int = 15, active: float | None = None) -> None:
    for _ in range(amount):
        rate.throttled(now, now if active is None else active, asked=False)


def test_nothing_limits_before_a_429():
    """Without a 429 there is no limit, whatever was sent."""
    rate = measured(200)
    for _ in range(100):
        rate.take(10.0)
    assert rate.allowed(10.0) == FREE
    assert rate.delay(10.0) == 0


@pytest.mark.parametrize("times", [[10.0], [10.0, 10.1], [10.0, 11.0, 12.1], [10.0, 12.0, 14.0]])
def test_a_lone_429_changes_nothing(times: list[float]):
    """One or two, or three that are not within two seconds, cut no rate."""
    rate = measured(200)
    for now in times:
        rate.throttled(now, now, asked=False)
    assert rate.allowed(times[-1]) == FREE


@pytest.mark.parametrize(("amount", "cut"), [(9, False), (11, True)])
def test_a_few_among_many_good_answers_are_no_throttling(amount: int, cut: bool):
    """Below a twentieth of a second's answers they come in any weather."""
    rate = measured(200)
    pauses = [rate.throttled(10.0, 10.0, asked=False) for _ in range(amount)]
    assert (rate.allowed(10.0) < FREE) is cut
    assert pauses[:9] == [True] + [False] * 8  # the first one pauses the pool all the same
    assert pauses[-1] is cut


def test_a_lone_429_pauses_the_pool_now_and_then():
    """Not more often than once in ten seconds of sending, while few come."""
    rate = measured(200, until=40.0)
    pauses = [rate.throttled(float(at), float(at), asked=False) for at in range(40)]
    assert 1 <= sum(pauses) <= 4


def test_a_429_that_asks_for_a_pause_is_always_meant():
    """With Retry-After the pool pauses, and three of them cut the rate, however many were good."""
    rate = measured(200)
    assert [rate.throttled(10.0, 10.0, asked=True) for _ in range(3)] == [True] * 3
    assert rate.allowed(10.0) < 200


def test_several_cut_to_a_share_of_what_was_answered():
    """More than a few among the good ones: 0.7 of the best second of the last three."""
    rate = measured(200)
    throttle(rate, 10.0)
    assert rate.allowed(10.0) == pytest.approx(200 * BETA, rel=0.02)


def test_a_pause_does_not_make_the_next_cut_deeper():
    """What counts is the time of sending: before a pause of a minute is a moment ago."""
    rate = measured(200)
    throttle(rate, 70.0, active=10.0)
    assert rate.allowed(70.0) == pytest.approx(200 * BETA, rel=0.02)
    late = measured(200)
    throttle(late, 14.0)
    assert late.allowed(14.0) == SLOWEST


def test_pauses_in_between_do_not_hide_that_several_came():
    """A 429 after each pause, with half a second of sending in between, is throttling."""
    rate = measured(200)
    for number in range(3):
        rate.throttled(10.0 + 1.5 * number, 10.0 + 0.5 * number, asked=True)
    assert rate.allowed(13.0) < 200


def test_it_is_not_cut_twice_within_a_second():
    """A burst of answers to what was already on its way counts once."""
    rate = measured(200)
    throttle(rate, 10.0, 50)
    throttle(rate, 10.9, 50)
    assert rate.allowed(10.9) > 200 * BETA
    throttle(rate, 11.0)
    assert rate.allowed(11.0) < 200 * BETA


def test_it_comes_back_flat_where_the_limit_was_met_then_faster():
    """Cubic: back at the limit after cbrt(0.3 x limit / 0.4) s, slow around it, free in the end."""
    rate = measured(200)
    throttle(rate, 10.0)
    back = 10.0 + (200 * (1 - BETA) / 0.4) ** (1 / 3)
    assert rate.allowed(back) == pytest.approx(200, rel=0.02)
    assert rate.allowed(back + 1) - rate.allowed(back) < 1
    assert rate.allowed(back + 10) == pytest.approx(600, rel=0.02)
    assert rate.allowed(back + 60) == FREE
    assert rate.allowed(back + 61) == FREE


@pytest.mark.parametrize("limit", [1, 5, 50])
def test_a_low_rate_is_not_passed_in_a_moment(limit: int):
    """However low: five seconds until the limit is met again, and little more soon after."""
    rate = measured(limit)
    for _ in range(limit + 3):
        rate.throttled(10.0, 10.0, asked=False)
    assert rate.allowed(15.1) <= limit + 0.5
    assert rate.allowed(19.0) < 1.2 * limit


def test_sends_are_spaced_by_what_is_allowed():
    """While a limit holds, each send moves the next one on; none is caught up."""
    rate = measured(100)
    throttle(rate, 10.0)
    rate.take(10.0)
    assert rate.delay(10.0) == pytest.approx(1 / (100 * BETA), rel=0.02)
    rate.take(10.5)
    assert rate.delay(10.5) > 0.01


def served(limit: int, *, seconds: float, in_flight: int = 64, latency: float = 0.02) -> list[int]:
    """Good answers and 429s of a pool that obeys the rate, at a service with this limit."""
    rate, chance, order = SendRate(), random.Random(1), count()
    now, paused, free, tokens, filled, pauses = 0.0, 0.0, in_flight, float(limit), 0.0, 0.0
    counts, back = [0, 0], []
    while now < seconds:
        send = max(now, paused, now + rate.delay(now)) if free else FREE
        if back and back[0][0] <= send:
            now, _, good = heapq.heappop(back)
            free += 1
            counts[not good] += 1
            active = now - pauses + max(0.0, paused - now)
            if good:
                rate.answered(active)
                continue
            if not rate.throttled(now, active, asked=False):
                continue
            until = max(paused, now + chance.uniform(0.75, 1.25))
            pauses, paused = pauses + until - max(now, paused), until
            continue
        now = send
        rate.take(now)
        free -= 1
        tokens, filled = min(limit, tokens + (now - filled) * limit), now
        good = tokens >= 1
        tokens -= good
        heapq.heappush(back, (now + latency, next(order), good))
    return counts


@pytest.mark.parametrize("limit", [200, 1000])
def test_a_throttled_service_is_used_and_not_pestered(limit: int):
    """In two minutes at a service with a limit: most of what it gives, under 1 % of 429s."""
    good, throttled = served(limit, seconds=120)
    assert good / 120 > 0.85 * limit
    assert throttled / (good + throttled) < 0.01

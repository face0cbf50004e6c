"""The rate that a limiter leaves, step by step. How it fares in a run: tests/limiters."""

import pytest

from bulk_eraser.pacing.throttle import DIP, FREE, SERIES, SLOWEST, SendRate, Sent


def met(per_second: int, refused: int = 3, seconds: float = 5.0) -> tuple[SendRate, float]:
    """So many good answers a second, evenly, then so many refusals in a row; and when that was."""
    rate, now = SendRate(), 0.0
    for number in range(int(per_second * seconds)):
        now = number / per_second
        rate.answered(now, rate.take(now))
    for _ in range(refused):
        rate.refused(now, rate.take(now))
    return rate, now


def limited(per_second: int) -> tuple[SendRate, float]:
    """It holds, asks, and goes on a moment later."""
    rate, now = met(per_second)
    now += rate.delay(now)
    sent = rate.take(now)
    rate.answered(now + 0.01, sent)
    return rate, now + 0.01


def test_nothing_limits_before_a_refusal():
    """Without one there is no limit, whatever was sent."""
    rate, now = met(200, refused=0)
    assert rate.allowed(now) == FREE
    assert rate.delay(now) == 0
    assert not rate.is_limited


@pytest.mark.parametrize("amount", [1, 2])
def test_one_or_two_refusals_change_nothing(amount: int):
    """Few refusals come in any weather."""
    rate, now = met(200, refused=amount)
    assert rate.allowed(now) == FREE


def test_several_in_a_row_hold_everybody_and_ask():
    """One asks after a fortieth of a second, then with longer waits in between."""
    rate, now = met(200)
    waits = []
    for _ in range(16):
        waits.append(rate.delay(now))
        now += waits[-1]
        rate.refused(now, rate.take(now))
    assert waits[:4] == pytest.approx([0.025, 0.05, 0.1, 0.2])
    assert waits[-1] == 1.0


def test_answers_to_what_left_before_do_not_end_a_hold():
    """Only a good answer to a request that asked lets the others go on."""
    rate, now = met(200, refused=0)
    early = rate.take(now)
    for _ in range(3):
        rate.refused(now, rate.take(now))
    rate.answered(now, early)
    assert rate.delay(now) > 0.02


def test_it_goes_on_at_what_was_let_through():
    """About the good answers of the last second, and sends are spaced by it."""
    rate, now = limited(200)
    assert rate.allowed(now) == pytest.approx(200, rel=0.05)
    rate.take(now)
    assert rate.delay(now) == pytest.approx(1 / 200, rel=0.05)


def test_while_the_limit_is_looked_for_good_answers_raise_the_rate():
    """By a tenth each at most, twofold at most in the time of an answer, until one is refused."""
    rate, now = limited(20)
    before = rate.allowed(now)
    for _ in range(20):
        now += 1 / rate.allowed(now)
        rate.answered(now, rate.take(now))
    assert 2 * before < rate.allowed(now) <= before * 1.1**20
    grown = rate.allowed(now)
    for _ in range(2):
        rate.refused(now, rate.take(now))
        rate.answered(now, rate.take(now))
    assert 0.8 * grown < rate.allowed(now) < grown


def test_it_comes_back_flat_and_goes_beyond_ever_faster():
    """A few per cent below the limit, at it after three seconds, far beyond after fifteen."""
    rate, now = limited(200)
    for _ in range(2):
        rate.refused(now, rate.take(now))
    met_at, began = rate.allowed(now) / (1 - DIP), now
    assert rate.allowed(began + 3) == pytest.approx(met_at, rel=0.01)
    assert rate.allowed(began + 6) == pytest.approx(met_at * (1 + DIP), rel=0.01)
    assert rate.allowed(began + 15) > 10 * met_at


def test_a_rate_far_beyond_what_is_sent_is_forgotten():
    """Then nothing limits any more."""
    rate, now = limited(200)
    for _ in range(2):
        rate.refused(now, rate.take(now))
    for _ in range(200 * 30):
        now += 1 / 200
        rate.answered(now, rate.take(now))
    assert rate.allowed(now) == FREE


def test_each_refusal_that_costs_a_pause_counts():
    """With Retry-After one is enough, and the limit is met again much later."""
    rate, now = met(200, refused=0)
    rate.refused(now, rate.take(now), pause=1.0)
    assert rate.is_limited
    rate.refused(now, rate.take(now), pause=1.0)
    low = rate.allowed(now)
    assert rate.allowed(now + 11) < 1.04 * low


def test_refusals_that_the_rate_does_not_matter_to_are_put_up_with():
    """Every other one is refused, however slowly is sent: the rate does not fall without end."""
    rate, now = limited(200)
    lowest = FREE
    for number in range(3000):
        now += max(rate.delay(now), 1e-4)
        sent = rate.take(now)
        (rate.refused if number % 2 else rate.answered)(now, sent)
        lowest = min(lowest, rate.allowed(now))
    assert rate.puts_up_with(now) == pytest.approx(0.5, abs=0.2)
    assert lowest > 200 * 0.4 ** (SERIES + 1)
    assert lowest >= SLOWEST


def test_it_can_be_forgotten():
    """What was no limiter leaves no trace."""
    rate, now = met(200)
    rate.forget(now)
    assert rate.allowed(now) == FREE
    assert rate.delay(now + 0.01) == 0


def test_what_left_before_a_cut_says_nothing_about_the_rate_after_it():
    """Answers to requests in flight at the cut are not judged."""
    rate, now = limited(200)
    for _ in range(2):
        rate.refused(now, rate.take(now))
    after = rate.allowed(now)
    for _ in range(50):
        rate.refused(now, Sent(1, FREE))
    assert rate.allowed(now) == after

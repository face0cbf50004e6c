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
    """A few per cent below the limit, at it after 240 sends, four times that soon after."""
    rate, now = limited(200)
    for _ in range(2):
        rate.refused(now, rate.take(now))
    met_at, began = rate.allowed(now) / (1 - DIP), now
    back = 240 / met_at
    assert rate.allowed(began + back / 2) == pytest.approx(met_at, rel=0.01)
    assert rate.allowed(began + back) == pytest.approx(met_at, rel=0.001)
    assert rate.allowed(began + 1.1 * back) == pytest.approx(met_at, rel=0.04)
    assert rate.allowed(began + 1.7 * back) > 4 * met_at


def test_a_rate_far_beyond_what_is_sent_is_forgotten():
    """Then nothing limits any more."""
    rate, now = limited(200)
    for _ in range(2):
        rate.refused(now, rate.take(now))
    for _ in range(200 * 30):
        now += 1 / 200
        rate.answered(now, rate.take(now))
    assert rate.allowed(now) == FREE


def paused(limit: float, seconds: float, *, burst: int = 20) -> tuple[list[float], list[float]]:
    """When a limiter with `Retry-After: 1` refused, and what it was sent in each of the seconds."""
    rate, now, tokens, wait = SendRate(), 0.0, float(burst), 1 / 400
    refused: list[float] = []
    sent = [0.0] * (int(seconds) + 1)
    while now < seconds:
        number = rate.take(now)
        sent[int(now)] += 1
        tokens -= 1
        if tokens < 0:
            tokens = 0
            refused.append(now)
            rate.refused(now, number, pause=1.0)
            wait = 1.0
        else:
            rate.answered(now, number)
            wait = max(rate.delay(now), 1 / 400)
        now += wait
        tokens = min(burst, tokens + wait * limit)
    return refused, sent


def test_each_refusal_that_costs_a_pause_counts():
    """With Retry-After one is enough: what is sent stays near the limit, and it is seldom met."""
    refused, sent = paused(100, 120)
    assert len(refused) <= 15
    assert refused[-1] - refused[-2] > 10
    assert sum(sent[60:120]) > 0.9 * 60 * 100


def refuse(rate: SendRate, now: float, after: float) -> float:
    """All go on, and so many seconds later one is refused; when the pause that it costs is over."""
    rate.take(now)
    rate.refused(now + after, rate.take(now + after), pause=1.0)
    return now + after + 1


def known(per_second: int) -> tuple[SendRate, float]:
    """It is found from below, twice."""
    rate, now = met(per_second, refused=0)
    for _ in range(3):
        now = refuse(rate, now, 1.5)
    return rate, now


def test_a_rate_that_is_refused_soon_after_each_pause_falls_ever_deeper():
    """By 8 % first, then 16 %, then 20 %: each time costs a pause."""
    rate, now = known(200)
    steps = []
    for _ in range(4):
        before = rate.allowed(now + 2)
        now = refuse(rate, now, 2.0)
        steps.append(rate.allowed(now - 1) / (1 - DIP) / before)
    assert steps == pytest.approx([0.92, 0.84, 0.8, 0.8], abs=0.01)


def test_a_rate_that_is_refused_at_once_after_a_pause_is_far_too_high():
    """A quarter of it, from where the limit is looked for from below."""
    rate, now = met(400, refused=0)
    now = refuse(rate, now, 0.0)
    before = rate.allowed(now)
    now = refuse(rate, now, 0.005)
    assert rate.allowed(now) == pytest.approx(before / 4, rel=0.03)


def test_a_limit_that_rose_is_found_although_each_refusal_costs_a_pause():
    """What was let through beyond the double of what was known is believed."""
    rate, now = known(200)
    before = rate.allowed(now)
    while rate.allowed(now) < 4 * before:
        now += rate.delay(now)
        rate.answered(now, rate.take(now))
    rate.refused(now, rate.take(now), pause=1.0)
    assert rate.allowed(now) > 1.5 * before


def test_what_is_put_up_with_does_not_bring_the_rate_down_from_no_limit():
    """Even if it was forgotten meanwhile: more than that begins where good answers came."""
    rate, now = limited(200)
    for number in range(300):
        now += max(rate.delay(now), 1e-4)
        sent = rate.take(now)
        (rate.refused if number % 2 else rate.answered)(now, sent)
    assert rate.puts_up_with(now) > 0.3
    rate.forget(now)
    for _ in range(300):
        now += 1 / 300
        rate.answered(now, rate.take(now))
    while not rate.is_limited:
        now += 1e-3
        rate.refused(now, rate.take(now))
    assert 10 <= rate.allowed(now) < 200


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

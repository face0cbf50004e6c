"""One key at a time while most requests fail."""

import pytest

from bulk_eraser.pacing.breaker import LONGEST_WAIT_S, Breaker


def good_then(bad_keys: list[str], successes: int = 100, outstanding: int = 128) -> Breaker:
    breaker = Breaker(outstanding)
    for _ in range(successes):
        breaker.saw_good()
    for key in bad_keys:
        breaker.saw_bad(key, 0.0, probe=False)
    return breaker


def keys(amount: int) -> list[str]:
    return [f"key-{number}" for number in range(amount)]


def test_a_service_that_was_never_good_is_tried_with_one_key():
    """Before any good answer the first failure opens it."""
    assert good_then(keys(1), successes=0).is_open


def test_it_opens_when_half_of_the_latest_answers_are_failures():
    """Ten different keys of the latest twenty answers, not nine."""
    assert not good_then(keys(9)).is_open
    assert good_then(keys(10)).is_open


def test_a_share_is_looked_at_not_a_count():
    """As many failures as one likes among enough good answers open nothing."""
    breaker = Breaker(128)
    for number in range(10_000):
        breaker.saw_good()
        breaker.saw_good()
        breaker.saw_bad(f"key-{number}", 0.0, probe=False)
    assert not breaker.is_open


def test_a_poisoned_key_never_opens_it():
    """One key that always fails is one failure, however often it is repeated."""
    assert not good_then(["poisoned"] * 1000).is_open


@pytest.mark.parametrize(("outstanding", "many"), [(4, 4), (8, 8), (128, 10)])
def test_with_few_in_flight_few_failures_are_many(outstanding: int, many: int):
    """No more keys can fail than are under way."""
    assert not good_then(keys(many - 1), outstanding=outstanding).is_open
    assert good_then(keys(many), outstanding=outstanding).is_open


def test_open_it_lets_one_probe_through():
    """After half a second one request may leave, and no other until it is answered."""
    breaker = good_then(keys(10))
    assert breaker.delay(0.0) == 0.5
    assert breaker.delay(0.5) == 0.0
    assert breaker.take(0.5)
    assert breaker.delay(0.6) > 10


def test_probes_that_fail_come_more_and_more_seldom():
    """1, 2, 4, 8, then 15 s; failures of what left before count for nothing."""
    breaker, now, waits = good_then(keys(10)), 0.5, []
    for _ in range(6):
        breaker.take(now)
        breaker.saw_bad("late", now, probe=False)
        breaker.saw_bad("probe", now, probe=True)
        waits.append(breaker.delay(now))
        now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, LONGEST_WAIT_S, LONGEST_WAIT_S]


@pytest.mark.parametrize("what", ["saw_good", "saw_alive"])
def test_a_sign_of_life_closes_it(what: str):
    """A good answer, or a 429: all keys are let go, and the next outage is judged afresh."""
    breaker = good_then(keys(10))
    getattr(breaker, what)()
    assert not breaker.is_open
    assert breaker.delay(0.0) == 0
    assert not breaker.take(0.0)
    for key in keys(9):
        breaker.saw_bad(key, 0.0, probe=False)
    assert not breaker.is_open


def test_a_probe_that_got_lost_is_not_waited_for_without_end():
    """A probe whose task was ended gives way to another one after the longest wait."""
    breaker = good_then(keys(10))
    breaker.take(0.5)
    assert breaker.delay(0.5 + LONGEST_WAIT_S) == 0

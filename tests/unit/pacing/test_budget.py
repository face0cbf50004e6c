"""The retry budget: earned by success and by time, and never overdrawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.pacing.budget import AT_START, RetryBudget


def drain(budget: RetryBudget, now: float) -> int:
    """How many repeats it pays for at this moment."""
    paid = 0
    while budget.take(now) == 0:
        paid += 1
        assert paid < 1_000_000
    return paid


def test_a_run_begins_with_a_few():
    """The first repeats are paid without any success."""
    assert drain(RetryBudget(0.0, 128), 0.0) == AT_START


def test_a_success_earns_a_fifth():
    """Five good answers pay for one repeat."""
    budget = RetryBudget(0.0, 128)
    drain(budget, 0.0)
    for paid in (0, 0, 0, 0, 1):
        budget.earn()
        assert drain(budget, 0.0) == paid


def test_time_earns_at_least_one_a_second():
    """Without any success one repeat a second is paid, and the wait for it is told."""
    budget = RetryBudget(0.0, 128)
    drain(budget, 0.0)
    assert budget.take(0.0) == pytest.approx(1.0)
    assert budget.take(0.25) == pytest.approx(0.75)
    assert budget.take(1.0) == 0
    assert drain(budget, 11.0) == 10


def test_no_more_is_saved_than_can_wait():
    """What is earned beyond the capacity is lost, and a small pool keeps what it began with."""
    for capacity, saved in ((40, 40), (4, AT_START)):
        budget = RetryBudget(0.0, capacity)
        for _ in range(10_000):
            budget.earn()
        assert drain(budget, 1e6) == saved


@given(
    events=st.lists(st.tuples(st.sampled_from(["good", "repeat"]), st.floats(0, 5)), max_size=200)
)
def test_an_outage_sees_little_more_than_the_plain_load(events: list[tuple[str, float]]):
    """Over any history, repeats <= start + 0.2 x successes + seconds."""
    budget, now, good, paid = RetryBudget(0.0, 128), 0.0, 0, 0
    for what, gap in events:
        now += gap
        if what == "good":
            good += 1
            budget.earn()
        else:
            paid += budget.take(now) == 0
    assert paid <= AT_START + 0.2 * good + now + 1e-6


@given(gaps=st.lists(st.floats(0, 3), min_size=1, max_size=50))
def test_the_wait_that_is_told_is_enough(gaps: list[float]):
    """After the seconds that `take` names, and no sooner, there is a token."""
    budget, now = RetryBudget(0.0, 128), 0.0
    for gap in gaps:
        now += gap
        if wait := budget.take(now):
            assert 0 < wait <= 1
            now += wait + 1e-9
            assert budget.take(now) == 0

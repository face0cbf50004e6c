"""Is a 503 a limiter's, or that of a service in trouble?"""

import pytest

from bulk_eraser.pacing.limiter import Limiter


def used_to(took: float, seconds: float = 10.0) -> Limiter:
    """Good answers that took so long, up to so many seconds from now."""
    limiter = Limiter()
    for number in range(int(seconds * 20)):
        limiter.saw_good(number / 20, took)
    return limiter


@pytest.mark.parametrize(
    ("took", "expected"), [(0.001, True), (0.05, True), (0.06, False), (1.0, False)]
)
def test_a_limiters_refusal_comes_at_once(took: float, expected: bool):
    """As quick as good answers, or quicker; trouble takes its time."""
    assert used_to(0.05).refused(10.0, took) is expected


def test_behind_a_very_fast_service_a_few_milliseconds_are_at_once():
    """Good answers of half a millisecond are no measure."""
    assert used_to(0.0005).refused(10.0, 0.004)


@pytest.mark.parametrize(("after", "expected"), [(1.5, True), (2.5, False)])
def test_good_answers_keep_coming_at_a_limiter(after: float, expected: bool):
    """Two seconds without one are trouble, and so is a service that was never good."""
    assert used_to(0.05).refused(10.0 + after, 0.001) is expected
    assert not Limiter().refused(0.0, 0.001)


def test_good_answers_that_get_slow_are_trouble():
    """Ten times as slow as usual: the service is loaded, whatever its 503s look like."""
    limiter = used_to(0.05)
    for number in range(10):
        limiter.saw_good(10.0 + number / 20, 0.5)
    assert not limiter.refused(10.5, 0.001)

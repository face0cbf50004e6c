"""Is it the key or the service? And when is the service left?"""

import pytest

from bulk_eraser.errors import ContractBroken, ServiceDown
from bulk_eraser.pacing.outage import Outage


def outage(limit: float = 300.0, outstanding: int = 128, *, good_at: float | None = None) -> Outage:
    found = Outage(limit, outstanding)
    found.begin(0.0)
    if good_at is not None:
        found.saw_good(good_at)
    return found


def fail(of: Outage, amount: int, error: str = "http_500", start: int = 0) -> list[object]:
    return [of.saw_bad(f"key-{number}", error) for number in range(start, start + amount)]


def test_good_weather_is_no_outage():
    """Without a failure there is none, however long ago the last answer was."""
    assert not outage().is_on
    assert outage().expired(1e9) is None
    assert outage(good_at=5.0).expired(1e9) is None


def test_before_the_first_request_no_time_runs():
    """What passes before a request has left is not held against the service."""
    early = Outage(300.0, 128)
    fail(early, 1)
    assert early.expired(1e9) is None


def test_a_service_that_was_never_good_is_down_at_the_first_failure():
    """With no good answer yet, one failure is an outage."""
    never = outage()
    fail(never, 1)
    assert never.is_on


@pytest.mark.parametrize(("outstanding", "many"), [(128, 10), (4, 4), (40, 10), (8, 8)])
def test_several_keys_in_a_row_are_an_outage(outstanding: int, many: int):
    """After a good answer it takes ten different keys, or as many as can be out at a time."""
    found = outage(outstanding=outstanding, good_at=1.0)
    fail(found, many - 1)
    assert not found.is_on
    fail(found, 1, start=many)
    assert found.is_on


def test_one_key_is_never_an_outage():
    """A poisoned key may fail as often as it likes once the service was seen good."""
    found = outage(good_at=1.0)
    for _ in range(1000):
        assert found.saw_bad("poisoned", "http_500") is None
    assert not found.is_on


def test_a_good_answer_ends_it():
    """One good answer ends an outage, and counting starts over."""
    found = outage(good_at=1.0)
    fail(found, 50)
    found.saw_good(2.0)
    assert not found.is_on
    fail(found, 9)
    assert not found.is_on


def test_it_is_left_when_there_was_no_good_answer_for_too_long():
    """At --max-outage after the last good answer, not before; 69, and the reason is named."""
    found = outage(300.0, good_at=50.0)
    fail(found, 2, "http_503")
    fail(found, 1, "timeout")
    fail(found, 1, "connection_refused")
    assert found.expired(349.9) is None
    why = found.expired(350.0)
    assert isinstance(why, ServiceDown)
    assert "nothing is listening there, HTTP 503, timeout" in str(why)


def test_two_failures_are_no_outage_however_long_ago_the_last_answer_was():
    """Where few requests are sent (a low rate, a long pause), few failures end no run."""
    found = outage(300.0, good_at=50.0)
    fail(found, 1)
    assert found.expired(1e6) is None
    fail(found, 1)
    assert found.expired(1e6) is None
    found.saw_good(1e6)
    fail(found, 2)
    assert found.expired(2e6) is None
    fail(found, 1)
    assert isinstance(found.expired(2e6), ServiceDown)


@pytest.mark.parametrize(("limit", "expected"), [(300.0, 30.0), (12.0, 12.0)])
def test_it_is_left_sooner_when_it_was_never_good(limit: float, expected: float):
    """30 s, or --max-outage if that is less, from the first request on."""
    found = outage(limit)
    fail(found, 1, "connection_refused")
    assert found.expired(expected - 0.1) is None
    assert isinstance(found.expired(expected), ServiceDown)


def test_answers_that_are_not_elevates_stop_it():
    """Ten different keys in a row with bad answers: 76; the same key again does not count."""
    found = outage(good_at=1.0)
    assert fail(found, 9, "bad_answer") == [None] * 9
    assert [found.saw_bad("key-3", "bad_answer") for _ in range(50)] == [None] * 50
    assert isinstance(found.saw_bad("another", "bad_answer"), ContractBroken)


@pytest.mark.parametrize("between", ["good", "http_500"])
def test_another_answer_between_bad_ones_starts_over(between: str):
    """A good answer, or another failure, breaks the row of bad answers."""
    found = outage(good_at=1.0)
    fail(found, 9, "bad_answer")
    if between == "good":
        found.saw_good(2.0)
    else:
        found.saw_bad("x", between)
    assert fail(found, 9, "bad_answer", start=100) == [None] * 9


def test_a_few_keys_with_nothing_but_bad_answers_are_76_too():
    """When the time is up and all answers were bad ones, the contract is broken, not the service
    down."""
    found = outage(good_at=None)
    fail(found, 2, "bad_answer")
    assert isinstance(found.expired(30.0), ContractBroken)
    fail(found, 1, "timeout", start=7)
    assert isinstance(found.expired(30.0), ServiceDown)


def test_how_long_it_lasts_can_be_told():
    """Since the last good answer, until --max-outage, or 30 s where there never was one."""
    never, was_good = outage(), outage(good_at=10.0)
    assert never.silence(5.0) is None
    fail(never, 1, "connection_refused")
    assert never.silence(4.0) == (4.0, 30.0, "nothing is listening there")
    fail(was_good, 9)
    assert was_good.silence(14.0) is None
    fail(was_good, 1, "http_503", start=9)
    assert was_good.silence(14.0) == (4.0, 300.0, "HTTP 500, HTTP 503")
    was_good.saw_good(15.0)
    assert was_good.silence(16.0) is None

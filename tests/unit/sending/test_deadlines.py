"""Days, deadlines and margins by the calendar, with the times given."""

from datetime import UTC, date, datetime

import pytest

from bulk_eraser.records import time_text
from bulk_eraser.sending.deadlines import SLOW_DAYS, Calendar, deadline_of, is_at_risk


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2024-05-01 00:00:00", "2024-05-02 00:00:00"),
        ("2024-05-01 00:00:01", "2024-05-02 00:00:00"),
        ("2024-05-01 23:59:59.999", "2024-05-02 00:00:00"),
        ("2024-02-28 12:00:00", "2024-02-29 00:00:00"),
        ("2024-12-31 12:00:00", "2025-01-01 00:00:00"),
    ],
)
def test_the_next_check_is_at_the_begin_of_the_next_day(now: str, due: str):
    """At 00:00 UTC, so that a run once a day finds each job due, however its minute drifts."""
    assert Calendar().next_check_at(at(now)) == at(due)


def test_a_short_day_is_counted_like_a_long_one():
    """For a simulated service a day of two seconds begins every two seconds."""
    assert Calendar(2.0).next_check_at(100.0) == 102.0
    assert Calendar(2.0).next_check_at(101.9) == 102.0


@pytest.mark.parametrize(
    ("received", "deadline"),
    [
        ("2024-05-01", "2024-06-01"),
        ("2024-01-31", "2024-02-29"),
        ("2023-01-31", "2023-02-28"),
        ("2024-12-31", "2025-01-31"),
        ("2024-11-30", "2024-12-30"),
        ("2024-03-31", "2024-04-30"),
    ],
)
def test_the_deadline_is_one_month_later(received: str, deadline: str):
    """The same day of the next month, or its last day (Article 12(3))."""
    assert deadline_of(date.fromisoformat(received)) == date.fromisoformat(deadline)


def test_near_is_a_week_and_over_is_not_near():
    """At risk from seven days before on; the day itself is still in time."""
    deadline = date(2024, 6, 10)
    risky = [day for day in range(1, 13) if is_at_risk(deadline, date(2024, 6, day))]
    assert risky == [4, 5, 6, 7, 8, 9, 10]


def test_slow_is_later_than_the_archive_and_a_margin():
    """Nine days after its creation, not before."""
    days = Calendar()
    assert days.slow_before(at("2024-05-10 09:59:59")) < at("2024-05-01 10:00:00")
    assert days.slow_before(at("2024-05-10 10:00:00")) == at("2024-05-01 10:00:00")
    assert SLOW_DAYS * Calendar(2.0).day_s == 18.0


def test_a_time_is_written_as_in_the_ledger():
    """RFC 3339, UTC, milliseconds."""
    assert time_text(at("2024-05-02 00:00:00")) == "2024-05-02T00:00:00.000Z"

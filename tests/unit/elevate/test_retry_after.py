"""Retry-After is read strictly: digits, or a date in the form of RFC 9110, and only once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.elevate.verdict import parse_retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
DATE = "Thu, 01 Jan 2026 12:00:00 GMT"


def parsed(*values: str, date: str | None = None) -> float | None:
    return parse_retry_after(list(values), date, NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("007", 7.0),
        (" 7\t", 7.0),
        ("300", 300.0),
        ("301", 301.0),
        ("1000000000", 1e9),
        ("999999999999", 999999999999.0),
        ("Thu, 01 Jan 2026 12:00:09 GMT", 9.0),
        ("Thu, 01 Jan 2026 11:59:59 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Fri, 02 Jan 2026 12:00:00 GMT", 86_400.0),
        (
            "Fri, 31 Dec 9999 23:59:59 GMT",
            (datetime(9999, 12, 31, 23, 59, 59) - datetime(2026, 1, 1, 12)).total_seconds(),
        ),
    ],
)
def test_what_is_taken(value: str, seconds: float) -> None:
    """Digits are seconds, a date is the time until then, and one in the past is no time."""
    assert parsed(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "+1",
        "1.5",
        "1,5",
        "1e3",
        "1_0",
        "0x10",
        "1 0",
        "7s",
        "7;",
        "7, 7",
        "7,8",
        "٣",
        "７",
        "³",
        "\x0b7",
        "7\n",
        "\xa07",
        "1" * 13,
        "1" * 5000,
        "nan",
        "inf",
        "Infinity",
        "None",
        "soon",
        # other forms of a date
        "Sun Nov  6 08:49:37 1994",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "2026-01-01T12:00:09Z",
        "Thu, 01 Jan 2026 12:00:09 UTC",
        "Thu, 01 Jan 2026 12:00:09 +0000",
        "Thu, 01 Jan 2026 12:00:09",
        "Thu, 1 Jan 2026 12:00:09 GMT",
        "thu, 01 jan 2026 12:00:09 gmt",
        "Thu, 01 Jan 26 12:00:09 GMT",
        "Thu, 01 Jan 2026 12:00:09 GMT+1",
        "Thu, 01 Jan 2026 12:00:09 GMT, 7",
        "Thu, ٠١ Jan 2026 12:00:09 GMT",
        # dates that are none
        "Thu, 99 Jan 2026 12:00:09 GMT",
        "Thu, 31 Feb 2026 12:00:09 GMT",
        "Thu, 00 Jan 2026 12:00:09 GMT",
        "Thu, 01 Abc 2026 12:00:09 GMT",
        "Thu, 01 Jan 0000 12:00:09 GMT",
        "Thu, 01 Jan 2026 24:00:09 GMT",
        "Thu, 01 Jan 2026 12:60:09 GMT",
        "Thu, 01 Jan 2026 12:00:61 GMT",
    ],
)
def test_what_is_ignored(value: str) -> None:
    """What is neither of the two forms is ignored, and never an error."""
    assert parsed(value) is None


@pytest.mark.parametrize("values", [(), ("7", "7"), ("7", "8"), ("7", DATE), ("", "7")])
def test_one_header_and_no_other_number(values: tuple[str, ...]) -> None:
    """Without the header, or with two of them, there is nothing to follow."""
    assert parsed(*values) is None


@pytest.mark.parametrize(
    "value", ["Thu, 01 Jan 2026 12:00:09 GMT", "Wed, 01 Jan 2025 00:00:09 GMT"]
)
def test_a_date_is_measured_by_the_answers_own_clock(value: str) -> None:
    """A date is measured against the answer's `Date`, so that our clock may be wrong."""
    sent = value.replace(":09 ", ":00 ")
    assert parsed(value, date=sent) == 9.0


@pytest.mark.parametrize("date", [None, "", "now", "Thu, 01 Jan 26 12:00:00 GMT", "0"])
def test_without_a_usable_date_our_clock_counts(date: str | None) -> None:
    """Without a `Date`, or with one that is none, our own clock is the measure."""
    assert parsed("Thu, 01 Jan 2026 12:00:09 GMT", date=date) == 9.0


def test_seconds_do_not_depend_on_dates() -> None:
    """Seconds are seconds, whatever `Date` says."""
    assert parsed("7", date="Sun, 06 Nov 1994 08:49:37 GMT") == 7.0


@given(
    st.text(max_size=40)
    | st.from_regex(r"\A[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\Z")
)
def test_anything(value: str) -> None:
    """Whatever stands there, the result is a finite number that is not negative, or nothing."""
    for date in (None, DATE, value):
        seconds = parsed(value, date=date)
        assert seconds is None or 0 <= seconds < 1e12


@given(st.integers(0, 10**6))
def test_dates_and_seconds_agree(seconds: int) -> None:
    """The same wait is read from seconds and from the date that they lead to."""
    then = (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert parsed(str(seconds)) == parsed(then) == float(seconds)

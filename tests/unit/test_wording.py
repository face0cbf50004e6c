"""What is said to people: singular and plural, lines, times, reasons."""

from datetime import UTC, date, datetime, timedelta

import pytest

from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.errors import Attention
from bulk_eraser.sending.counts import COUNTS, SUMMED
from bulk_eraser.survey.warnings import LookAlikes, Suspects
from bulk_eraser.wording import (
    SUSPECTS,
    attempt_error,
    attention_table,
    calendar_day,
    counted,
    counts_table,
    duration,
    lines_of,
    moment,
    suspect,
    target_in_words,
)

NOW = datetime(2026, 11, 24, 22, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (2000, "key", "2,000 keys"),
        (1, "retry", "1 retry"),
        (3, "retry", "3 retries"),
    ],
)
def test_singular_and_plural(number: int, noun: str, said: str):
    """Also of nouns that end in y."""
    assert counted(number, noun) == said


@pytest.mark.parametrize(
    ("lines", "count", "said"),
    [
        ([2], 1, "line 2"),
        ([2, 3], 2, "lines 2 and 3"),
        ([2, 3, 1700], 3, "lines 2, 3 and 1,700"),
        ([2, 3, 7], 4, "lines 2, 3, 7, …"),
        ([2], 2, "lines 2, …"),
    ],
)
def test_lines(lines: list[int], count: int, said: str):
    """The first few are named, and it shows if there are more."""
    assert lines_of(lines, count) == said


def test_what_needs_attention_is_aligned():
    """The numbers end in one column; of more lines than are named, the first come first."""
    items = [Attention("empty_key", 2, [4, 9]), Attention("interrupted", 1032, [51, 30, 9])]
    first, second = attention_table(items).splitlines()
    assert first == "      2  empty_key: the key is empty or blank (lines 4 and 9)"
    assert second.startswith("  1,032  interrupted: ")
    assert second.endswith(" (lines 9, 30, 51, …)")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "less than 1 s"), (1.2, "1 s"), (119, "119 s"), (7200, "2 h 0 min")],
)
def test_how_long(seconds: float, said: str):
    """No time is `0 s`."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (timedelta(0), "now"),
        (timedelta(minutes=5), "today (24 Nov, from 22:20 UTC)"),
        (timedelta(hours=1, minutes=45), "tomorrow (25 Nov, from 00:00 UTC)"),
        (timedelta(days=8), "on 2 Dec (from 22:15 UTC)"),
    ],
)
def test_when_something_may_begin(later: timedelta, said: str):
    """In words as far as they are shorter, with the exact time."""
    assert moment(NOW + later, NOW) == said


def test_a_calendar_day():
    """Without a leading zero."""
    assert calendar_day(date(2026, 12, 4)) == "4 Dec 2026"


def test_why_an_attempt_failed():
    """The word, and what it means; of a status, the status."""
    assert attempt_error("dns") == "dns: the service's name could not be resolved"
    assert attempt_error("http_503") == "http_503: the service answered 503"


@pytest.mark.parametrize("word", SUSPECTS)
def test_what_is_odd_about_keys(word: str):
    """Of one key and of several."""
    one, several = suspect(word, [3], 1), suspect(word, [3, 4], 2)
    assert one.split()[0] in ("contains", "looks", "is", "differs")
    assert several.split()[0] in ("contain", "look", "are", "differ")
    assert "(line 3)" in one
    assert "(lines 3 and 4)" in several


def test_there_are_words_for_all_that_is_odd():
    """Each kind that the survey counts can be told, and no other."""
    suspects, alike = Suspects(), LookAlikes()
    uuid = "12345678-1234-1234-1234-123456789abc"
    for key in (*[uuid] * 6, "a@b", "NULL", "24.11.26", "4,01E+15", "C-1;A"):
        suspects.counts[suspects.flags_of(key, 1)] += 1
    alike.close()
    assert {*suspects.found(), "look_alike"} == set(SUSPECTS)


def test_counts_as_a_table():
    """What is 0 is left out, and the sum is that of one row or of several."""
    counts = dict.fromkeys(COUNTS, 0)
    assert counts_table(counts | {"rows": 1, "failed": 1}, JobKind.REMOVAL) == (
        "  1  failed: refused, or out of attempts\n  1  row in all"
    )
    lines = counts_table(dict.fromkeys(COUNTS, 1) | {"rows": 1008}, JobKind.EXPORT).splitlines()
    assert len(lines) == len(SUMMED) + 1
    assert lines[-1] == "  1,008  rows in all"
    assert "      1  accepted: the service created an export job" in lines


def test_only_a_cluster_is_called_one():
    """A base URL is an address; neither does anything to a terminal."""
    assert target_in_words("w1234abcd") == "cluster w1234abcd"
    assert target_in_words("http://127.0.0.1:8080") == "http://127.0.0.1:8080"
    assert target_in_words("w\x1b[31m") == "cluster w�[31m"

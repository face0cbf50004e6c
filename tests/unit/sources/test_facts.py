"""What a row says of its request beside the key: when the person asked, and under which number."""

import csv
import io
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading, RejectedRow, Row, with_facts

Write = Callable[..., Path]
Facts = Callable[..., list[Any]]

BOTH = {"received_field": "asked", "reference_field": "ticket"}


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    content = io.StringIO()
    writer = csv.DictWriter(content, ["customerKey", "asked", "ticket"])
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode()


def as_ndjson(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_xlsx(rows: list[dict[str, Any]]) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["customerKey", "asked", "ticket"])
    for row in rows:
        book.active.append([row.get(name) for name in ("customerKey", "asked", "ticket")])
    for cells in book.active.iter_rows(min_row=2):
        for cell in cells:
            if isinstance(cell.value, str):
                cell.data_type = "s"  # text, as in a cell that is formatted as such
    book.save(content)
    return content.getvalue()


FORMATS = {"keys.csv": as_csv, "keys.ndjson": as_ndjson, "keys.xlsx": as_xlsx}
ANY_FORMAT = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture
def rows_of(write: Write) -> Callable[..., list[Row]]:
    """The rows of a file, which both readings must agree on."""

    def rows_of(content: str | bytes, name: str, **asked: Any) -> list[Row]:
        reader = InputReader(str(write(content, name)), Reading(**(asked or BOTH)))
        rows = list(reader.survey_rows())
        assert list(reader.checked_rows()) == rows
        return rows

    return rows_of


@pytest.fixture
def facts(rows_of: Callable[..., list[Row]]) -> Facts:
    """Of each row (received, reference), or the word with which it was rejected."""

    def facts(content: str | bytes, name: str, **asked: Any) -> list[Any]:
        return [
            row.error if isinstance(row, RejectedRow) else (row.received, row.reference)
            for row in rows_of(content, name, **asked)
        ]

    return facts


# ── in every format ─────────────────────────────────────────────────────────────────────────────


@ANY_FORMAT
@pytest.mark.parametrize(
    ("asked", "received"),
    [
        ("2026-10-01", "2026-10-01"),
        (" 2026-10-01\u00a0", "2026-10-01"),
        ("2026-10-01 09:30", "2026-10-01"),
        ("2026-10-01T23:59:59.999Z", "2026-10-01"),
        ("2026-10-01T00:30:00+14:00", "2026-10-01"),
        ("2024-02-29", "2024-02-29"),
        ("0001-01-01", "0001-01-01"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_the_received_date_is_kept(facts: Facts, name: str, asked: Any, received: Any) -> None:
    """The day as it is written, without its time; an empty one is none."""
    content = FORMATS[name]([{"customerKey": "k1", "asked": asked, "ticket": "T-1"}])
    assert facts(content, name) == [(received, "T-1")]


@ANY_FORMAT
def test_dates_in_the_form_that_was_named(facts: Facts, name: str) -> None:
    """A form goes for text in every format, and for nothing but that form; a cell of a workbook
    that is a date needs none."""
    days = ["01.10.2026", "2026-10-01", None]
    if name == "keys.xlsx":
        days.append(date(2026, 10, 2))
    rows = [{"customerKey": f"k{n}", "asked": day, "ticket": "T"} for n, day in enumerate(days)]
    expected = [("2026-10-01", "T"), "bad_received", (None, "T"), ("2026-10-02", "T")]
    found = facts(FORMATS[name](rows), name, **BOTH, received_format="%d.%m.%Y")
    assert found == expected[: len(days)]


@ANY_FORMAT
@pytest.mark.parametrize(
    "asked",
    [
        *("01.10.2026", "10/01/2026", "2026/10/01", "26-10-01", "2026-10-1", "20261001", "2026-10"),
        *("2026-W40-4", "2026-274", "yesterday", "2026-10-01x", "2026-10-01T", "2026-10-01 at 9"),
        *("2026-02-30", "2026-13-01", "2026-00-10", "0000-01-01", "2023-02-29", "12026-10-01"),
        *("2026-10-01T25:00", "2026-10-01T09:60", "2026-10-01+", "٢٠٢٦-١٠-٠١", "２０２６-10-01"),
        *("2026-10-01\n", "2026-10-01 \n09:30", "=TODAY()", "#N/A", "null", "-"),
    ],
)
def test_a_date_that_is_none_rejects_its_row(
    rows_of: Callable[..., list[Row]], name: str, asked: str
) -> None:
    """Day and month in an unknown order, or no date: it is not guessed, and the key is not sent
    with a wrong one."""
    good = {"customerKey": "k2", "asked": "2026-10-01", "ticket": "T"}
    rows = rows_of(FORMATS[name]([{"customerKey": "k1", "asked": asked}, good]), name)
    first = 1 if name == "keys.ndjson" else 2
    assert rows[0] == RejectedRow("bad_received", first)
    assert isinstance(rows[1], KeyRow)
    assert (rows[1].key, rows[1].received) == ("k2", "2026-10-01")


@ANY_FORMAT
@pytest.mark.parametrize(
    ("ticket", "reference"),
    [
        ("T-1", "T-1"),
        (" DSR 2026/17 ", "DSR 2026/17"),
        ("00012", "00012"),
        ("1e5", "1e5"),
        ("=1+1", "=1+1"),
        ("é😀" * 100, "é😀" * 100),
        ("x" * 200, "x" * 200),
        ("x" * 201, "bad_reference"),
        ("a\nb", "bad_reference"),
        ("a\tb", "bad_reference"),
        ("", None),
        (" \u200b", None),
        (None, None),
    ],
)
def test_the_reference_is_kept_as_text(
    facts: Facts, name: str, ticket: Any, reference: Any
) -> None:
    """Up to 200 characters as they stand, blanks around them apart."""
    content = FORMATS[name]([{"customerKey": "k1", "asked": "2026-10-01", "ticket": ticket}])
    expected = reference if reference == "bad_reference" else ("2026-10-01", reference)
    assert facts(content, name) == [expected]


@ANY_FORMAT
def test_a_bad_key_is_the_first_word(facts: Facts, name: str) -> None:
    """A row without a key is rejected for that, whatever else is wrong with it; the date comes
    before the reference."""
    rows = [
        {"customerKey": " ", "asked": "x", "ticket": "a\nb"},
        {"customerKey": "k", "asked": "x", "ticket": "a\nb"},
        {"customerKey": "k", "asked": "2026-10-01", "ticket": "a\nb"},
    ]
    assert facts(FORMATS[name](rows), name) == ["empty_key", "bad_received", "bad_reference"]
    assert {"bad_received", "bad_reference"} <= ROW_ERRORS.keys()


@ANY_FORMAT
@pytest.mark.parametrize("only", BOTH)
def test_one_of_them_can_be_asked_for(facts: Facts, name: str, only: str) -> None:
    """A column that is not named is not looked at: neither kept nor a reason to reject."""
    row = {"customerKey": "k1", "asked": "2026-10-01", "ticket": "T-1"}
    row["ticket" if only == "received_field" else "asked"] = "a\nb"
    expected = ("2026-10-01", None) if only == "received_field" else (None, "T-1")
    assert facts(FORMATS[name]([row]), name, **{only: BOTH[only]}) == [expected]


@ANY_FORMAT
def test_without_a_name_nothing_is_kept(rows_of: Callable[..., list[Row]], name: str) -> None:
    """Columns of that kind are the input's own business."""
    content = FORMATS[name]([{"customerKey": "k1", "asked": "2026-10-01", "ticket": "T-1"}])
    line = 1 if name == "keys.ndjson" else 2
    rows = rows_of(content, name, key_field="customerKey")
    assert rows == [KeyRow("k1", line, stripped=False, received=None, reference=None)]


@ANY_FORMAT
def test_the_key_can_be_its_own_reference(facts: Facts, name: str) -> None:
    """One column may serve twice."""
    content = FORMATS[name]([{"customerKey": "k1", "asked": "2026-10-01"}])
    assert facts(content, name, reference_field="customerKey") == [(None, "k1")]


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["keys.csv", "keys.xlsx"])
@pytest.mark.parametrize(
    ("field", "option"), [("received_field", "--received"), ("reference_field", "--reference")]
)
def test_a_column_that_is_not_there_is_refused(
    facts: Facts, name: str, field: str, option: str
) -> None:
    """A mistyped name must not leave the evidence out; the columns that are there are listed."""
    content = FORMATS[name]([{"customerKey": "k1", "asked": "2026-10-01", "ticket": "T-1"}])
    with pytest.raises(InputError, match=rf"no column Asked.*customerKey, asked, ticket.*{option}"):
        facts(content, name, **{field: "Asked"})
    twice = content.replace(b"ticket", b"asked") if name == "keys.csv" else None
    if twice is not None:
        with pytest.raises(InputError, match=f"the column asked twice.*{option}"):
            facts(twice, name, **{field: "asked"})


def test_short_rows_say_nothing(facts: Facts) -> None:
    """A CSV row that ends before such a column has none; one that is quoted over lines is bad."""
    text = (
        'customerKey,asked,ticket\nk1\nk2,2026-10-01\nk3,,T-3\nk4,,"a\nb"\nk5,"2026-10-01","T,5"\n'
    )
    assert facts(text, "keys.csv") == [
        (None, None),
        ("2026-10-01", None),
        (None, "T-3"),
        "bad_reference",
        ("2026-10-01", "T,5"),
    ]


def test_columns_by_number(facts: Facts) -> None:
    """Without a header, these columns are named by their numbers, as the key's is."""
    numbers = {"header": False, "key_field": "2", "received_field": "1", "reference_field": "3"}
    assert facts("2026-10-01;k1;T-1\n;k2;\n", "keys.csv", **numbers) == [
        ("2026-10-01", "T-1"),
        (None, None),
    ]
    for wrong in ("0", "4", "asked", "-1"):
        with pytest.raises(InputError, match=r"3 columns and no header.*--received-field"):
            facts("2026-10-01;k1;T-1\n", "keys.csv", **numbers | {"received_field": wrong})


# ── workbooks ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cell", "received"),
    [
        (date(2026, 10, 1), "2026-10-01"),
        (datetime(2026, 10, 1, 23, 59, 59), "2026-10-01"),
        (datetime(1999, 12, 31), "1999-12-31"),
        (time(9, 30), "bad_received"),
        (timedelta(days=2), "bad_received"),
        (46296, "bad_received"),
        (20261001, "bad_received"),
        (True, "bad_received"),
        (0, "bad_received"),
    ],
)
@pytest.mark.parametrize("macintosh", [False, True])
def test_dates_of_a_workbook(facts: Facts, cell: Any, received: str, macintosh: bool) -> None:
    """A date cell is the day that the sheet shows, counted from 1900 or 1904; a number is none."""
    book, content = openpyxl.Workbook(), io.BytesIO()
    if macintosh:
        book.epoch = CALENDAR_MAC_1904
    for row in (["customerKey", "asked", "ticket"], ["k1", cell, "T-1"]):
        book.active.append(row)
    book.save(content)
    expected = received if received == "bad_received" else (received, "T-1")
    assert facts(content.getvalue(), "keys.xlsx") == [expected]


@pytest.mark.parametrize(
    ("cell", "reference"),
    [
        (12, "12"),
        (12.0, "12"),
        (0, "0"),
        (-7, "-7"),
        (999_999_999_999_999, "999999999999999"),
        (1_000_000_000_000_000, "bad_reference"),
        (1234567890123456, "bad_reference"),
        (1e22, "bad_reference"),
        (12.5, "bad_reference"),
        (True, "bad_reference"),
        (date(2026, 10, 1), "bad_reference"),
        (time(9, 30), "bad_reference"),
        (timedelta(days=2), "bad_reference"),
    ],
)
def test_numbers_of_a_workbook(facts: Facts, cell: Any, reference: str) -> None:
    """A ticket's number is a whole one of at most 15 digits, as a spreadsheet keeps no more."""
    content = as_xlsx([{"customerKey": "k1", "asked": date(2026, 10, 1), "ticket": cell}])
    expected = reference if reference == "bad_reference" else ("2026-10-01", reference)
    assert facts(content, "keys.xlsx") == [expected]


def test_an_error_is_no_fact(facts: Facts) -> None:
    """A failed look-up does not pass for an empty cell."""
    book, content = openpyxl.Workbook(), io.BytesIO()
    rows = [["customerKey", "asked", "ticket"], ["k1", "#N/A", "T"], ["k2", None, "#REF!"]]
    for row in [*rows, ["k3", None, None]]:
        book.active.append(row)
    for place in ("B2", "C3"):
        book.active[place].data_type = "e"
    book.save(content)
    assert facts(content.getvalue(), "keys.xlsx") == ["bad_received", "bad_reference", (None, None)]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("behind", ["", ',"e":"\\n"', ',"n":' + "[" * 30 + "]" * 30])
@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("7", "7"),
        ("-7", "-7"),
        ("7.0", "7"),
        ("1e3", "1000"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "bad_reference"),
        ("1e15", "bad_reference"),
        ("0.5", "bad_reference"),
        ("true", "bad_reference"),
        ("false", "bad_reference"),
        ("[]", "bad_reference"),
        ('{"ticket":"T"}', "bad_reference"),
        ('"\\u0000"', "bad_reference"),
        ("null", None),
    ],
)
def test_values_of_json(facts: Facts, value: str, reference: Any, behind: str) -> None:
    """An integer is kept to its last digit, a fraction only if it is a whole number; nothing
    depends on what else the object holds."""
    line = f'{{"customerKey":"k1","ticket":{value}{behind}}}'
    expected = reference if reference == "bad_reference" else (None, reference)
    assert facts(line, "keys.ndjson", reference_field="ticket") == [expected]


@pytest.mark.parametrize(
    "value", ["20261001", "1790812800", "true", "[2026,10,1]", '["2026-10-01"]']
)
def test_a_date_in_json_is_a_string(facts: Facts, value: str) -> None:
    """A number may be a day or a second of some era: it is not guessed."""
    line = f'{{"customerKey":"k1","asked":{value}}}'
    assert facts(line, "keys.ndjson", received_field="asked") == ["bad_received"]


@pytest.mark.parametrize(
    "line",
    [
        '{"customerKey":"k1","asked":"2026-10-01","asked":"2026-10-02"}',
        '{"customerKey":"k1","asked":"2026-10-01","\\u0061sked":"2026-10-01"}',
        '{"ticket":"T","customerKey":"k1","ticket":"T"}',
        '{"ticket":"T","customerKey":"k1","ticket":null}',
    ],
)
def test_a_fact_that_stands_twice_rejects_its_row(facts: Facts, line: str) -> None:
    """Which of them is meant is not known."""
    assert facts(line, "keys.ndjson") == ["duplicate_member"]


def test_members_that_are_not_there(facts: Facts) -> None:
    """An object without such a member says nothing; of the same name deeper down is another."""
    lines = ['{"customerKey":"k1"}', '{"customerKey":"k2","n":{"ticket":"T","asked":"x"}}']
    assert facts("\n".join(lines), "keys.ndjson") == [(None, None), (None, None)]


def test_a_name_that_cannot_be_a_member_is_a_wrong_option(facts: Facts) -> None:
    """The same names as for the key are refused."""
    for field in BOTH:
        for wrong in ('a"b', "a\\b", "a\nb"):
            with pytest.raises(UsageError, match="--received-field and --reference-field"):
                facts('{"customerKey":"k1"}', "keys.ndjson", **{field: wrong})


# ── the function ────────────────────────────────────────────────────────────────────────────────


def test_a_rejected_row_stays_as_it_is() -> None:
    """Nothing is added to a row that is not sent."""
    row = RejectedRow("empty_key", 3)
    assert with_facts(row, "2026-10-01", "T") is row


@pytest.mark.parametrize("value", [object(), b"2026-10-01", 1j, float("inf"), float("nan"), {}])
def test_whatever_else_is_neither(value: object) -> None:
    """Values that no format gives today would be rejected, too."""
    row = KeyRow("k", 1, stripped=False)
    assert with_facts(row, value, None) == RejectedRow("bad_received", 1)
    assert with_facts(row, None, value) == RejectedRow("bad_reference", 1)

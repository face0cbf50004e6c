"""Parquet: every row counts, types are taken at their word, and only what was surveyed is read."""

import io
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources import parquet_rows
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import HoldListReading, KeyRow, KeyRows, Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Path]
MIB = 1 << 20

AS_TEXT = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
]
NO_KEYS: dict[pa.DataType, Any] = {
    pa.float64(): 5.0,
    pa.decimal128(10, 0): 5,
    pa.bool_(): True,
    pa.date32(): date(2026, 1, 5),
    pa.timestamp("ns"): datetime(2026, 1, 5),
    pa.binary(2): b"ab",
    pa.list_(pa.string()): ["a"],
    pa.struct({"key": pa.string()}): {"key": "a"},
}


@pytest.fixture
def read_parquet(read: Read) -> Read:
    """The rows of a file that is Parquet by its name."""
    return partial(read, name="keys.parquet")


def saved(table: pa.Table | dict[str, Any], **how: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), content, **how)
    return content.getvalue()


# ── keys ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", AS_TEXT, ids=str)
def test_text_is_read_however_it_is_kept(read_parquet: Read, kind: pa.DataType):
    """NULL is an empty cell; spaces and a repeated column name are treated as anywhere else."""
    values = ["k-1", None, "", " k-4 ", "customerKey", "a\nb", "ö"]
    assert read_parquet(saved({"customerKey": pa.array(values, kind)})) == [
        ("k-1", 1),
        ("!empty_key", 2),
        ("!empty_key", 3),
        ("k-4", 4),
        ("!repeated_header", 5),
        ("!control_character", 6),
        ("ö", 7),
    ]


@pytest.mark.parametrize("pack", [pa.Array.dictionary_encode, lambda array: array])
def test_whole_numbers_are_their_digits(read_parquet: Read, pack: Any):
    """They are exact here, and neither zero nor the largest one is lost."""
    numbers = pa.array([0, None, -7, 2**63 - 1], pa.int64())
    assert read_parquet(saved({"customerKey": pack(numbers)})) == [
        ("0", 1),
        ("!empty_key", 2),
        ("-7", 3),
        ("9223372036854775807", 4),
    ]


@pytest.mark.parametrize("kind", NO_KEYS, ids=str)
def test_a_column_of_another_type_refuses_the_file(read_parquet: Read, kind: pa.DataType):
    """What would have to be made into text might become somebody else's key."""
    with pytest.raises(InputError, match=r"column customerKey of keys\.parquet is of type .*CAST"):
        read_parquet(saved({"customerKey": pa.array([NO_KEYS[kind]], kind)}))


def test_bytes_that_are_no_text_are_rejected(read_parquet: Read):
    """Also in a column that claims to be text; the rows beside them are read."""
    raw = pa.array([b"a", b"\xff", None], pa.binary())
    for array in (raw, raw.view(pa.string())):
        rows = read_parquet(saved({"customerKey": array}))
        assert rows == [("a", 1), ("!wrong_type", 2), ("!empty_key", 3)]


def test_lines_go_on_through_row_groups(write: Write, monkeypatch: pytest.MonkeyPatch):
    """Plain rows come in groups; the line is the number of the row in the file."""
    monkeypatch.setattr(parquet_rows, "BATCH", 4)
    keys = [f"k{n}" for n in range(25)]
    path = write(saved({"customerKey": keys, "n": range(25)}, row_group_size=10), "keys.parquet")
    groups = list(InputReader(str(path), Reading()).survey_groups())
    assert all(isinstance(group, KeyRows) for group in groups)
    lines = [line for group in groups for line in range(group.line, group.line + len(group.keys))]
    assert lines == list(range(1, 26))
    assert [key for group in groups for key in group.keys] == keys


def test_values_that_unpack_without_end_are_refused(
    read_parquet: Read, monkeypatch: pytest.MonkeyPatch
):
    """A long value is kept once and meant in every row."""
    monkeypatch.setattr(parquet_rows, "MOST_IN_BATCH", MIB)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int8()), ["x" * 50_000])
    content = saved({"customerKey": long.cast(pa.string())})
    assert len(content) < MIB / 5
    with pytest.raises(InputError, match="values of many thousand characters"):
        read_parquet(content)


# ── columns ─────────────────────────────────────────────────────────────────────────────────


def test_the_column_is_found_by_its_name(read_parquet: Read):
    """Dots are part of a name, and an only column needs none that is known."""
    nested = {"a.b": ["x"], "a": [{"b": 1}], "a.b.c": ["y"]}
    assert read_parquet(saved(nested), key_field="a.b") == [("x", 1)]
    assert read_parquet(saved({"id": ["x"]})) == [("x", 1)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["id", "mail"], "has no column customerKey. Columns there: id, mail. Use --key-field"),
        (["customer_key", "x"], "Did you mean customer_key"),
        (["customerKey", "customerKey"], "has the column customerKey twice"),
        (["C-10023", "anna@example.com"], "names look like a row, so they are not shown"),
        (["C-1"], "name of its only column looks like a customer key"),
        (["c9f0f895fb98ab9159f51fd0297e236d"], "name of its only column looks like a customer key"),
    ],
)
def test_a_column_that_cannot_be_told(read_parquet: Read, names: list[str], words: str):
    """The columns are listed, unless they may be a row; no option is named that is not for it."""
    table = pa.Table.from_arrays([pa.array(["C-2", "C-3"])] * len(names), names=names)
    with pytest.raises(InputError, match=words) as caught:
        read_parquet(saved(table))
    assert not {"--delimiter", "--no-header"} & set(str(caught.value).split())


def test_dates_and_references(write: Write):
    """A time is left out, in UTC where it has a zone; a ticket that became 12.0 is 12."""
    late = datetime(2026, 1, 5, 23, 59, 59, 999_999)
    table = pa.table(
        {
            "customerKey": ["a", "b", "c", "d"],
            "day": pa.array([late, None, datetime(1960, 5, 1), late], pa.timestamp("ns")),
            "ticket": [12.0, None, 1.0, 2.5],
            "zoned": pa.array([late.replace(tzinfo=UTC)] * 4, pa.timestamp("us", "Asia/Tokyo")),
        }
    )
    path = write(saved(table), "keys.parquet")
    asked = Reading(received_field="day", reference_field="ticket")
    rows = list(InputReader(str(path), asked).survey_rows())
    assert rows[:3] == [
        KeyRow("a", 1, False, "2026-01-05", "12"),
        KeyRow("b", 2, False),
        KeyRow("c", 3, False, "1960-05-01", "1"),
    ]
    assert (rows[3].line, rows[3].error) == (4, "bad_reference")  # type: ignore[union-attr]
    asked = Reading(received_field="zoned")
    days = [row.received for row in InputReader(str(path), asked).survey_rows()]  # type: ignore[union-attr]
    assert days == ["2026-01-05"] * 4
    with pytest.raises(InputError, match="dates must be dates or text"):
        list(InputReader(str(path), Reading(received_field="ticket")).survey_rows())


def test_a_hold_list_is_not_refused_for_its_reasons(write: Write):
    """Reasons that cannot be read as text are left out; the hold counts."""
    for reasons, expected in ((["court", None], "court"), ([["a"], ["b"]], None)):
        path = write(saved({"customerKey": ["a", "b"], "Reason": reasons}), "hold.parquet")
        rows = list(InputReader(str(path), HoldListReading()).survey_rows())
        assert rows == [KeyRow("a", 1, False, None, expected), KeyRow("b", 2, False)]


# ── the file ────────────────────────────────────────────────────────────────────────────────

KEYS = {"customerKey": [f"key-{n}" for n in range(1000)]}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda raw: raw[:-20], "is truncated"),
        (lambda raw: raw[:4], "is truncated or damaged"),
        (lambda raw: raw[:-100] + b"\xff" * 90 + raw[-10:], "is truncated or damaged"),
        (lambda raw: raw.replace(b"key-77", b"key-78"), "is truncated or damaged"),
        (lambda raw: b"PARE" + raw[4:], "is encrypted"),
        (lambda raw: raw[:-4] + b"PARE", "is encrypted"),
        (lambda raw: b"customerKey\nk\n", "is not a Parquet file"),
        (lambda raw: b"", "is empty"),
    ],
    ids=["end", "head", "footer", "checksum", "encrypted", "footer encrypted", "CSV", "empty"],
)
def test_a_broken_file_is_refused(read_parquet: Read, spoil: Any, words: str):
    """With words that say what to do, whatever is wrong with it."""
    raw = saved(KEYS, compression="none", use_dictionary=False, write_page_checksum=True)
    with pytest.raises(InputError, match=words):
        read_parquet(spoil(raw))


@pytest.mark.parametrize("number", [2, -1])
def test_a_word_that_is_not_in_its_dictionary(
    read_parquet: Read, monkeypatch: pytest.MonkeyPatch, number: int
):
    """As damage can leave it: neither an internal error nor the key of somebody else."""
    array = pa.DictionaryArray.from_arrays(
        pa.array([0, number], pa.int8()), pa.array(["a", "b"]), safe=False
    )
    broken = pa.RecordBatch.from_arrays([array], names=["customerKey"])
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: iter([broken]))
    with pytest.raises(InputError, match="is truncated or damaged"):
        read_parquet(saved({"customerKey": ["a", "b"]}))


def test_no_rows(read_parquet: Read):
    assert read_parquet(saved({"customerKey": pa.array([], pa.string())})) == []


def test_what_changed_after_the_survey_is_not_read(write: Write):
    """Neither a part that is read again, nor a file that was cut; the error is our own."""
    big = {"customerKey": [f"key-{n:07}" for n in range(400_000)]}
    raw = saved(big, compression="none", use_dictionary=False, row_group_size=50_000)
    assert len(raw) > 5 * MIB
    path = write(raw, "keys.parquet")
    reader = InputReader(str(path), Reading())
    assert sum(len(group.keys) for group in reader.survey_groups()) == 400_000  # type: ignore[union-attr]
    path.write_bytes(raw.replace(b"key-0300007", b"key-9300007"))
    seen: list[str] = []
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        seen.extend(row.key for row in reader.checked_rows())  # type: ignore[union-attr]
    assert 0 < len(seen) <= 300_007
    assert seen == big["customerKey"][: len(seen)]
    path.write_bytes(raw[: 3 * MIB])
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        list(reader.checked_rows())


def test_only_the_columns_that_are_needed_are_read(write: Write, monkeypatch: pytest.MonkeyPatch):
    """The second reading leaves the blocks of other columns alone."""
    other = [f"{n:0100}" for n in range(100_000)]
    table = {"a": other, "customerKey": [f"k{n}" for n in range(100_000)], "z": other}
    path = write(saved(table, compression="none", use_dictionary=False), "keys.parquet")
    reader = InputReader(str(path), Reading())
    list(reader.survey_groups())
    touched: set[int] = set()
    compare = reader.file._compare
    monkeypatch.setattr(
        reader.file, "_compare", lambda index, block: (touched.add(index), compare(index, block))
    )
    assert len(list(reader.checked_rows())) == 100_000
    assert len(touched) <= 4 < len(reader.file.fingerprint.blocks) // 4


# ── options and the extra ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "reading", "words"),
    [
        ("keys.parquet", {"header": False}, "Parquet names its columns"),
        ("keys.parquet", {"header_row": 2}, "Parquet names its columns"),
        ("keys.parquet.gz", {}, "compressed within.*Unpack keys.parquet.gz"),
    ],
)
def test_what_parquet_has_no_use_for(read: Read, name: str, reading: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        read(saved(KEYS), name=name, **reading)


def test_a_file_that_is_named_otherwise(read: Read):
    """The name is believed no more than elsewhere, but --format is."""
    with pytest.raises(InputError, match=r"is a Parquet file\. Name it \.parquet"):
        read(saved(KEYS))
    assert read(saved(KEYS), name="keys.bin", format="parquet")[0] == ("key-0", 1)


def test_without_the_extra(read_parquet: Read, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'bulk-eraser\[parquet\]'"):
        read_parquet(saved(KEYS))

"""Readers and survey against naive models, for whatever Hypothesis comes up with."""

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import InputError
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.sources import csv_rows, parquet_rows
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading, RejectedRow, clean_key
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.survey import Survey

MANY = settings(max_examples=examples(300), deadline=None)
FEWER = settings(max_examples=examples(100), deadline=None)

keys = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60).filter(
    lambda text: isinstance(row := clean_key(text, 1), KeyRow) and row.key == text
)
notes = st.text("abc,;|\t\"' \n", max_size=12).map(str.strip)


def rows_of(content: bytes, name: str, reading: Reading) -> list[KeyRow | RejectedRow]:
    """The rows of a file with this content, which both readings agree on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
        reader = InputReader(str(path), reading)
        rows = list(reader.survey_rows())
        assert list(reader.checked_rows()) == rows
        return rows


@MANY
@given(
    rows=st.lists(st.tuples(keys, notes, notes), max_size=20),
    place=st.integers(0, 2),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ends_with_newline=st.booleans(),
    packed=st.booleans(),
)
def test_keys_written_as_csv_come_back(
    rows: list[tuple[str, str, str]],
    place: int,
    delimiter: str,
    quoting: int,
    end: str,
    encoding: str,
    ends_with_newline: bool,
    packed: bool,
) -> None:
    """Keys beside notes, in any dialect and encoding: unchanged, and on the lines where they are.

    Nothing is said of the dialect: the delimiter is found, and notes may run over lines.
    """
    out = io.StringIO()
    write = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerow
    header = ["a", "b"]
    header.insert(place, "customerKey")
    write(header)
    expected = []
    for key, *others in rows:
        others.insert(place, key)
        expected.append(KeyRow(key, out.getvalue().count("\n") + 1, stripped=False))
        write(others)
    text = out.getvalue() if ends_with_newline else out.getvalue().removesuffix(end)
    name = "keys.csv.gz" if packed else "keys.csv"
    assert rows_of(text.encode(encoding), name, Reading()) == expected


@MANY
@given(
    rows=st.lists(keys, min_size=1, max_size=20),
    delimiter=st.sampled_from([",", ";", "\t", "|", ":", "é"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    header=st.booleans(),
    blank_lines=st.integers(0, 2),
)
def test_keys_alone_come_back(
    rows: list[str], delimiter: str, quoting: int, end: str, header: bool, blank_lines: int
) -> None:
    """Keys in an only column, with or without header, with the delimiter that they were given."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([[key] for key in (["customerKey"] if header else []) + rows])
    content = (end * blank_lines + out.getvalue()).encode()
    reading = Reading(header=header, delimiter=delimiter)
    first = 1 + blank_lines + header
    assert rows_of(content, "keys.csv", reading) == [
        KeyRow(key, line, stripped=False) for line, key in enumerate(rows, first)
    ]


@MANY
@given(
    values=st.lists(st.none() | keys | st.integers(-(10**18), 10**18).map(str), max_size=30),
    kind=st.sampled_from(["text", "dictionary", "bytes"]),
    row_group=st.integers(1, 40),
    batch=st.integers(1, 9),
)
@example(["a", None, "customerKey", " a", ""], "text", 2, 3)
def test_parquet_and_csv_give_the_same(
    values: list[str | None], kind: str, row_group: int, batch: int
) -> None:
    """The same rows with the same keys and rejections; only the lines are other ones."""
    types = {"dictionary": pa.dictionary(pa.int32(), pa.string()), "bytes": pa.binary()}
    table = {"note": ["x"] * len(values), "customerKey": pa.array(values, types.get(kind))}
    if not values:
        table["customerKey"] = pa.array([], pa.string())
    packed, plain = io.BytesIO(), io.StringIO()
    pq.write_table(pa.table(table), packed, row_group_size=row_group)
    csv.writer(plain).writerows([["note", "customerKey"], *(["x", it] for it in values)])
    with mock.patch.object(parquet_rows, "BATCH", batch):
        found = rows_of(packed.getvalue(), "keys.parquet", Reading())
    other = rows_of(plain.getvalue().encode(), "keys.csv", Reading())
    assert found == [row._replace(line=n) for n, row in enumerate(other, 1)]


def outcome(content: bytes, reading: Reading) -> list[KeyRow | RejectedRow] | str:
    """The rows, or why there are none."""
    try:
        return rows_of(content, "keys.csv", reading)
    except InputError as error:
        return str(error)


cells = st.sampled_from(
    [
        "k1",
        "customerKey",
        "a b",
        ' "x',
        "x\ny",
        " k",
        "k ",
        "4E+5",
        "1,5",
        "k;x",
        "k|",
        '"k"',
        'k"',
        '"',
        "",
        " ",
    ]
) | st.text("ak1 .;|,\t\"'\r\x00\x7f\u00a0\u200bé", max_size=5)


@settings(max_examples=examples(1500), deadline=None)
@given(
    lines=st.lists(st.lists(cells, min_size=1, max_size=3), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    named=st.sampled_from(["customerKey", "customerKey,note", "note;customerKey", "k0"]),
    last=st.sampled_from(["", "\n", "k9"]),
    reading=st.sampled_from([Reading(), Reading(header=False), Reading(delimiter=",")]),
    group=st.sampled_from([1, 6, 12]),
)
@example([["a;b"]], ",", "\n", "customerKey", "\n", Reading(), 1)
@example([["k1", ""], ["k2"]], ",", "\n", "customerKey", "\n", Reading(), 1)
@example([["k1", ' "x']], ",", "\n", "customerKey,note", "\n", Reading(), 1)
@example([["k1", '"x'], ['y"', "k2"]], ",", "\n", "customerKey,note", "\n", Reading(), 1)
@example([["k1", "a"], ["k2", "b"], ["k3", "c"]], ",", "\n", "customerKey,note", "k9", Reading(), 6)
def test_plain_rows_are_what_the_long_way_makes_of_them(
    lines: list[list[str]],
    delimiter: str,
    end: str,
    named: str,
    last: str,
    reading: Reading,
    group: int,
) -> None:
    """Rows without anything odd are read in groups, and come to the same as one by one."""
    text = end.join([named, *(delimiter.join(line) for line in lines)]) + last
    with mock.patch.object(csv_rows, "_GROUP", group):
        in_groups = outcome(text.encode(), reading)
    with mock.patch.object(csv_rows, "are_plain_keys", return_value=False):
        assert in_groups == outcome(text.encode(), reading)


members = st.dictionaries(
    st.text('abKey\\"{é', max_size=6),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
        | st.just("customerKey"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "customerKey"]), inner, max_size=2)
        ),
        max_leaves=6,
    ),
    max_size=3,
)


@MANY
@given(
    rows=st.lists(st.tuples(keys, members, members, st.booleans()), max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\n \n", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_keys_written_as_ndjson_come_back(
    rows: list[tuple[str, dict[str, object], dict[str, object], bool]], end: str, encoding: str
) -> None:
    """Keys among other members, escaped or not: unchanged, and on the lines where they are."""
    lines, expected = [], []
    for number, (key, before, behind, escape) in enumerate(rows):
        whole = {**before, "customerKey": key, **behind}
        lines.append(json.dumps(whole, ensure_ascii=escape))
        expected.append(KeyRow(key, 1 + number * end.count("\n"), stripped=False))
    content = (end.join(lines) + end).encode(encoding)
    assert rows_of(content, "keys.ndjson", Reading()) == expected


json_pieces = st.sampled_from(
    (
        *'{}[]:,"\\ \t',
        *('{"customerKey":"k', '"customerKey"', '"customerKey":', '"customer\\u004bey":', '"x":'),
        *('"k"', '"k"}', '"k",', '"\\"', "null", "1.5e3", "-01"),
    )
)


@MANY
@given(line=st.lists(json_pieces, max_size=12).map("".join))
@example(line='{"customerKey":"a","customer\\u004bey":"b"}')
@example(line='{"customerKey":"\\"","x":{"customerKey":"}')
def test_an_ndjson_line_is_what_json_says(line: str) -> None:
    """A line gives a key exactly when Python's own parser finds one string of that name in it."""
    rows = rows_of(b'{"customerKey":"first"}\n' + line.encode(), "keys.ndjson", Reading())[1:]
    if not line.strip():
        assert rows == []
        return
    pairs: list[tuple[str, object]] = []

    def keep(found: list[tuple[str, object]]) -> dict[str, object]:
        pairs[:] = found  # the outermost object is the last one that is finished
        return dict(found)

    try:
        value = json.loads(line, object_pairs_hook=keep)
    except ValueError:
        value = None
    named = [key for name, key in pairs if name == "customerKey"] if isinstance(value, dict) else []
    if len(named) == 1 and isinstance(named[0], str):
        assert rows == [clean_key(named[0], 2)]
    else:
        assert isinstance(rows[0], RejectedRow)


KEPT = ("IN_PROGRESS", "ERASED", "EXPORTED", "REFUSED", "JOB_FAILED")
row = st.sampled_from(["k1", "k2", "k3", "k4", " k1", "k2\u00a0", "K1", "", "  ", "a\x00", None])


@MANY
@given(
    rows=st.lists(row, max_size=30),
    as_csv=st.booleans(),
    hold_list=st.none() | st.sets(st.sampled_from(["k1", "k2", "K1", "elsewhere"])),
    states=st.dictionaries(
        st.sampled_from(["k1", "k2", "k3", "K1", "elsewhere"]), st.sampled_from(KeyState)
    ),
    retry_failed=st.booleans(),
)
def test_every_row_is_treated_as_a_simple_model_gives(
    rows: list[str | None],
    as_csv: bool,
    hold_list: set[str] | None,
    states: dict[str, KeyState],
    retry_failed: bool,
) -> None:
    """Survey and second reading agree, row by row and in sum, with twenty lines of naive code."""
    rows = ["k3", *rows]  # an input without any usable key is refused
    if as_csv:
        lines = ["note,customerKey", *("x" if key is None else f"x,{key}" for key in rows)]
    else:
        lines = ["", *(json.dumps({} if key is None else {"customerKey": key}) for key in rows)]
    held = None if hold_list is None else HoldList("hold.csv")
    for line, key in enumerate(hold_list or (), 2):
        assert held is not None
        held.add(key, line)

    expected, first_lines, seen = [], [], {}
    for line, raw in enumerate(rows, 2):
        key = (raw or "").strip(" \u00a0")
        first_lines.append(0)
        if not key or "\x00" in key:
            expected.append("REJECT")
        elif key in seen:
            expected.append("DUPLICATE")
            first_lines[-1] = seen[key]
        else:
            seen[key] = line
            state = states.get(key, KeyState.NOT_SENT).name
            if hold_list and key in hold_list:
                expected.append("EXCLUDE")
            elif state in (KEPT[:3] if retry_failed else KEPT):
                expected.append("KEEP")
            else:
                expected.append("SEND")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.csv" if as_csv else "keys.ndjson")
        path.write_text("\n".join(lines))
        survey = Survey(InputReader(str(path), Reading()))
        survey.read()
        survey.hold_list = held
        survey.decide(
            lambda part: {
                digest_of(key): state for key, state in states.items() if digest_of(key)[0] == part
            },
            retry_failed=retry_failed,
        )
        second = list(survey.second_reading())
    counts = Counter(expected)
    assert [row.decision.action.name for row in second] == expected
    assert [row.first_line for row in second] == first_lines
    assert [row.row.line for row in second] == list(range(2, len(rows) + 2))
    assert {action: survey.count(action=Action[action]) for action in counts} == dict(counts)
    assert survey.decisions.total() == len(rows)
    assert survey.errors.total() == counts["REJECT"]
    facts = survey.facts()
    assert facts.rows == len(rows)
    assert facts.rows == facts.keys + facts.rejected + facts.duplicate
    assert (facts.rejected, facts.duplicate) == (counts["REJECT"], counts["DUPLICATE"])
    survey.close()
    if held is not None:
        held.close()


@FEWER
@given(
    entries=st.lists(
        st.tuples(
            st.integers(0, 3).map(str).map(digest_of) | st.binary(min_size=16, max_size=16),
            st.integers(0, 255),
            st.integers(0, 2**64 - 1),
        ),
        max_size=200,
    ),
    allowance=st.integers(0, 400),
)
def test_partitions_on_disk_are_those_in_memory(
    entries: list[tuple[bytes, int, int]], allowance: int
) -> None:
    """However little memory is allowed, every partition reads the same as with plenty."""
    small, large = KeyPartitions("BQ", allowance), KeyPartitions("BQ")
    for entry in entries:
        small.add(*entry)
        large.add(*entry)
    assert len(small) == len(large) == len(entries)
    for part in range(PARTITIONS):
        expected = [entry for entry in entries if entry[0][0] == part]
        assert list(small.read(part)) == list(large.read(part)) == expected
    small.close()
    large.close()

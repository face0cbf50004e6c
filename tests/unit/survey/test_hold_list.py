"""The hold list: who is on it is not sent, and a hold that would not take effect is refused."""

import gzip
import io
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from backports import zstd
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import InputError
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import HoldListReading, KeyRow, Reading
from bulk_eraser.survey import hold_list, survey
from bulk_eraser.survey import warnings as suspects
from bulk_eraser.survey.checks import Allow, Intake, must_be_usable, survey_of
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.hold_list import HoldList, read_hold_list
from bulk_eraser.survey.survey import Survey
from bulk_eraser.survey.warnings import folded

Write = Callable[..., Path]


@pytest.fixture
def on_hold(write: Write) -> Callable[..., set[bytes]]:
    """The digests that a hold list with this content holds."""

    def on_hold(content: str | bytes, name: str = "hold.csv", **options: Any) -> set[bytes]:
        allow = options.pop("allow_numeric_like", False)
        reader = InputReader(str(write(content, name)), Reading(**options))
        with closing(read_hold_list(reader, allow_numeric_like=allow)) as held:
            return {digest for n in range(PARTITIONS) for digest in held.match(n, {}, {})}

    return on_hold


@pytest.fixture
def held_back(write: Write) -> Iterator[Callable[..., Survey]]:
    """The survey of these keys (from line 2 on) with a hold list of those (from line 2 on), open
    until the next one."""
    with ExitStack() as surveys:

        def held_back(keys: list[str], holds: list[str]) -> Survey:
            surveys.close()
            readers = [
                InputReader(str(write("\n".join(["customerKey", *lines]) + "\n", name)), Reading())
                for lines, name in ((keys, "keys.csv"), (holds, "hold.csv"))
            ]
            return surveys.enter_context(closing(survey_of(Intake(*readers))))

        yield held_back


def sent(surveyed: Survey) -> list[str]:
    """The keys that are sent, in their order."""
    return [
        row.row.key
        for row in surveyed.second_reading()
        if row.decision.is_sent and isinstance(row.row, KeyRow)
    ]


def refusal(surveyed: Survey) -> str | None:
    """What the gate says of the hold list, None if it lets the input through."""
    try:
        must_be_usable(surveyed, Intake(surveyed.reader, allowed=frozenset(Allow)))
    except InputError as error:
        return str(error)
    return None


# ── reading it ──────────────────────────────────────────────────────────────────────────────────


def test_a_hold_list_is_read_like_an_input(on_hold: Callable[..., set[bytes]]) -> None:
    """Excel's ways, blanks and duplicates are no obstacle to a hold."""
    text = "\ufeffsep=;\r\nname;customerKey\r\nBo; k1 \r\n;k1\r\n;;\r\nÅsa;k2\r\n"
    assert on_hold(text) == {digest_of("k1"), digest_of("k2")}
    assert on_hold("customerKey\n") == set()


def workbook(*keys: object) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for key in ("customerKey", *keys):
        book.active.append([key])
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("hold.ndjson", '{"customerKey":"k1"}\n\n{"customerKey":"k2","n":1}', {}),
        ("hold.json", '{"c":{"k":"k1"}}\n{"c.k":"k2"}', {"key_field": "c.k"}),
        ("hold.csv", "k1\nk2\n", {"header": False}),
        ("hold.csv.gz", gzip.compress(b"customerKey\nk1\nk2\n", mtime=0), {}),
        ("hold.csv.zst", zstd.compress(b"customerKey\nk1\nk2\n"), {}),
        ("hold.txt", "x\tcustomerKey\n\tk1\n\tk2\n".encode("utf-16"), {}),
        ("hold.xlsx", workbook("k1", None, "k2"), {}),
    ],
)
def test_in_any_format(
    on_hold: Callable[..., set[bytes]], name: str, content: str | bytes, options: dict[str, Any]
) -> None:
    """Whatever can be an input can be a hold list."""
    assert on_hold(content, name, **options) == {digest_of("k1"), digest_of("k2")}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("x;", "empty_key"),
        ("x", "missing_field"),
        ("x;a\x00b", "control_character"),
        (f"x;{'k' * 3000}", "key_too_long"),
        ("x;k;k", "too_many_fields"),
        ('x;"a"b', "malformed_csv"),
        ("x;4,01235E+15", "rounded by a spreadsheet"),
        ('x;"=""0012"""', "rounded by a spreadsheet"),
    ],
)
def test_a_hold_that_cannot_be_read_is_not_passed_over(
    on_hold: Callable[..., set[bytes]], row: str, why: str
) -> None:
    """One bad row in a hold list refuses the run: it may be somebody who must not be erased."""
    with pytest.raises(InputError, match=rf"hold\.csv has a row .* on line 3 \({why}\)"):
        on_hold(f"name;customerKey\n;k1\n{row}\n;k2\n")


@pytest.mark.parametrize(
    ("name", "content", "line", "why"),
    [
        ("hold.ndjson", '{"customerKey":"k1"}\n{"customerKey":2}\n', 2, "wrong_type"),
        ("hold.ndjson", '{"customerKey":"k1"}\n{"customerKey":"a","customerKey":"b"}', 2, "dup"),
        ("hold.xlsx", workbook("k1", None, 40123), 4, "wrong_type"),
    ],
)
def test_nor_in_another_format(
    on_hold: Callable[..., set[bytes]], name: str, content: str | bytes, line: int, why: str
) -> None:
    """A number where a key should be may be a key that lost its zeros."""
    with pytest.raises(InputError, match=rf"a row without a usable key on line {line} \({why}"):
        on_hold(content, name)


def test_a_hold_that_looks_rounded_can_be_meant(on_hold: Callable[..., set[bytes]]) -> None:
    """Where such keys are right in the input, they are right in its hold list."""
    text = "customerKey\n4E+15\n"
    assert on_hold(text, allow_numeric_like=True) == {digest_of("4E+15")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hold.csv", ""),
        ("hold.csv", "id;name\n1;2\n"),
        ("hold.csv", 'customerKey\n"k1\nk2\nk3\n'),
        ("hold.csv", b"customerKey\nk\xe9\n"),
        ("hold.csv.zst", zstd.compress(b"customerKey\nk1\nk2\n")[:-1]),
        ("hold.csv.gz", gzip.compress(b"customerKey\nk1\nk2\n", mtime=0)[:-1]),
        ("hold.xlsx", workbook("k1")[:-1]),
    ],
)
def test_an_unusable_hold_list_is_refused(
    on_hold: Callable[..., set[bytes]], name: str, content: str | bytes
) -> None:
    """Empty, of another kind, or damaged: what was on hold is not known."""
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        on_hold(content, name)


def test_a_list_that_changes_while_it_is_read_is_refused(write: Write) -> None:
    """What was read of it may be neither the old list nor the new one."""
    path = write("customerKey\nk1\nk2\n", "hold.csv")
    reader = InputReader(str(path), Reading())
    path.write_text("customerKey\nk1\n")
    with pytest.raises(InputError, match=r"hold\.csv was changed"):
        read_hold_list(reader)


def test_the_digest_is_the_files(write: Write) -> None:
    """The ledger names the list by what `sha256sum` says of it, packed as it is."""
    content = gzip.compress(b"customerKey\nk1\n")
    reader = InputReader(str(write(content, "hold.csv.gz")), Reading())
    with closing(read_hold_list(reader)) as held:
        assert (held.name, held.sha256) == ("hold.csv.gz", sha256(content).hexdigest())


@pytest.mark.parametrize("text", ["customerKey\nk1\nk2\n", "customerKey,n\nk1,1\n,2\n"])
def test_nothing_is_left_behind(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Read or refused, neither a file nor a descriptor stays; what spills has no name."""
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    monkeypatch.setattr(hold_list, "KeyPartitions", partial(KeyPartitions, allowance=1))
    before = sorted(Path("/proc/self/fd").iterdir())
    reader = InputReader(str(write(text, "hold.csv")), Reading())
    try:
        held = read_hold_list(reader)
    except InputError:
        pass
    else:
        assert len(sorted(Path("/proc/self/fd").iterdir())) == len(before) + 2
        held.close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert list(spool.iterdir()) == []


# ── reasons ─────────────────────────────────────────────────────────────────────────────────────


def reasons_of(surveyed: Survey) -> dict[str, str | None]:
    """Key → reason, of the rows that are on hold."""
    return {
        row.row.key: row.reason
        for row in surveyed.second_reading()
        if row.decision.action is Action.EXCLUDE and isinstance(row.row, KeyRow)
    }


@pytest.fixture
def held_for(write: Write) -> Iterator[Callable[..., dict[str, str | None]]]:
    """The reasons for which k1 to k9 are on hold by a list with this content."""
    with ExitStack() as surveys:

        def held_for(content: str | bytes, name: str = "hold.csv") -> dict[str, str | None]:
            rows = "".join(f"k{n}-7a1f-5e17\n" for n in range(1, 10))
            source = InputReader(str(write(f"customerKey\n{rows}", "keys.csv")), Reading())
            hold = InputReader(str(write(content, name)), HoldListReading())
            surveyed = surveys.enter_context(closing(survey_of(Intake(source, hold))))
            return {key[:2]: reason for key, reason in reasons_of(surveyed).items()}

        yield held_for


def workbook_with_reasons() -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["customerKey", "REASON"])
    book.active.append(["k1-7a1f-5e17", "court"])
    book.active.append(["k2-7a1f-5e17", 117])
    book.active.append(["k3-7a1f-5e17"])
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "hold.csv",
            "Reason;customerKey\n court ;k1-7a1f-5e17\n117;k2-7a1f-5e17\n ;k3-7a1f-5e17\n",
        ),
        (
            "hold.ndjson",
            '{"customerKey":"k1-7a1f-5e17","reason":"court"}\n'
            '{"customerKey":"k2-7a1f-5e17","reason":117}\n'
            '{"customerKey":"k3-7a1f-5e17","reason":null}\n',
        ),
        ("hold.xlsx", workbook_with_reasons()),
    ],
)
def test_a_hold_list_may_give_reasons(
    held_for: Callable[..., dict[str, str | None]], name: str, content: str | bytes
) -> None:
    """In its column `reason`, whatever the format; a hold without one is a hold."""
    assert held_for(content, name) == {"k1": "court", "k2": "117", "k3": None}


def test_without_the_column_there_are_none(held_for: Callable[..., dict[str, str | None]]) -> None:
    assert held_for("customerKey,why\nk1-7a1f-5e17,court\n") == {"k1": None}
    assert held_for('{"customerKey":"k1-7a1f-5e17"}\n', "hold.ndjson") == {"k1": None}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"two\nlines\tand  more"', "two lines and more"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("not K1-7A1F-5e17!", "not ███!"),
        (f"{'x' * 195} k1-7a1f-5e17", f"{'x' * 195} ███"),
        ("other-k2-7a1f-5e17", "other-k2-7a1f-5e17"),
        ("\x1b[31m<b>=1+1", "[31m<b>=1+1"),
    ],
)
def test_a_reason_is_one_short_line_without_the_key(
    held_for: Callable[..., dict[str, str | None]], text: str, told: str
) -> None:
    """No hold is refused for its words: they are cut at 200 characters, and the key is blacked out,
    also where the cut would have left its beginning."""
    assert held_for(f"customerKey,reason\nk1-7a1f-5e17,{text}\n") == {"k1": told}


def test_a_short_key_is_blacked_out_where_it_stands_alone(write: Write) -> None:
    """`7` is part of many words and numbers."""
    reader = InputReader(
        str(write("customerKey,reason\n7,case 7 of 17\n", "hold.csv")), HoldListReading()
    )
    source = InputReader(str(write("customerKey\n7\n8\n", "keys.csv")), Reading())
    with closing(survey_of(Intake(source, reader))) as surveyed:
        assert reasons_of(surveyed) == {"7": "case ███ of 17"}


def test_of_several_reasons_the_first_counts(
    held_for: Callable[..., dict[str, str | None]],
) -> None:
    """A key may stand on the list twice; each key has its own, however many there are."""
    rows = "".join(f"k{n}-7a1f-5e17,{reason}\n" for n in (1, 2, 3) for reason in ("", f"r{n}", "z"))
    assert held_for(f"customerKey,reason\n{rows}") == {"k1": "r1", "k2": "r2", "k3": "r3"}


def test_two_columns_of_reasons_are_refused(
    held_for: Callable[..., dict[str, str | None]],
) -> None:
    with pytest.raises(InputError, match=r"hold\.csv has the column reason twice"):
        held_for("customerKey,reason,Reason\nk1-7a1f-5e17,a,b\n")


# ── holding back ────────────────────────────────────────────────────────────────────────────────


def test_who_is_on_it_is_not_sent(held_back: Callable[..., Survey]) -> None:
    """Every row of such a key is excluded or a duplicate, whoever else the list names."""
    surveyed = held_back(["k1", "k2", "k1", "k3", "k2"], ["k2", "x", "k1", "k2", "y"])
    assert sent(surveyed) == ["k3"]
    assert surveyed.count(action=Action.EXCLUDE) == 2
    assert surveyed.count(action=Action.DUPLICATE) == 2
    held = surveyed.hold_list
    assert held is not None
    assert (held.entries, held.unknown, held.near_misses) == (4, 2, [])
    assert refusal(surveyed) is None


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("abc", "ABC"),
        ("ABC", "abc"),
        ("aBc", "AbC"),
        ("zoé", "zoe\u0301"),
        ("zoe\u0301", "zoé"),
        ("ZOÉ", "zoe\u0301"),
        ("straße", "STRASSE"),
        ("ab", "a\u200bb"),
        ("a\u00adb", "ab"),
        ("a\u200db", "a\ufeffb"),
        ("a b", "a\u00a0b"),
        ("k-1", "\u212a-1"),
        ("１２", "12"),
        ("ΐ", "Ϊ\u0301"),
        ("é", "e\u200d\u0301"),
    ],
)
def test_a_hold_in_another_spelling_is_refused(
    held_back: Callable[..., Survey], key: str, entry: str
) -> None:
    """It would hold nobody, and most likely somebody is meant: the line of the list is named."""
    surveyed = held_back(["other", key], ["x", "y", entry])
    assert surveyed.hold_list is not None
    assert surveyed.hold_list.near_misses == [4]
    assert surveyed.hold_list.unknown == 3
    said = refusal(surveyed)
    assert said is not None
    assert "hold.csv has entries that the input has in another spelling only" in said
    assert "line 4)" in said
    assert key not in said


@pytest.mark.parametrize(
    ("keys", "entries", "left"),
    [
        (["abc", "ABC"], ["abc"], ["ABC"]),
        (["abc", "ABC"], ["ABC"], ["abc"]),
        (["aBc", "ABC"], ["ABC"], ["aBc"]),
        (["abc", "ABC"], ["abc", "ABC"], []),
        (["zoé", "zoe\u0301"], ["zoe\u0301"], ["zoé"]),
        (["abc"], ["abcd", "ab"], ["abc"]),
        (["a-b"], ["ab", "a‐b"], ["a-b"]),
        (["a"], ["а", "ä"], ["a"]),
    ],
)
def test_a_hold_as_it_is_spelled_is_no_near_miss(
    held_back: Callable[..., Survey], keys: list[str], entries: list[str], left: list[str]
) -> None:
    """An entry that is a key of the input holds that one, and leaves its look-alikes to be sent."""
    surveyed = held_back(keys, entries)
    assert surveyed.hold_list is not None
    assert surveyed.hold_list.near_misses == []
    assert refusal(surveyed) is None
    assert sent(surveyed) == left


def test_one_near_miss_beside_exact_ones_is_enough(held_back: Callable[..., Survey]) -> None:
    """`ABC` and `abc` on the list, only `abc` in the input: the other may be another customer."""
    surveyed = held_back(["abc", "k"], ["abc", "ABC"])
    assert surveyed.hold_list is not None
    assert (surveyed.hold_list.near_misses, surveyed.hold_list.unknown) == ([3], 1)
    assert refusal(surveyed) is not None


def test_the_first_near_misses_are_named(held_back: Callable[..., Survey]) -> None:
    """Of many, the first three lines, whatever partition they fall into."""
    keys = [f"key-{n}" for n in range(200)]
    surveyed = held_back(keys, ["x", *map(str.upper, reversed(keys))])
    assert surveyed.hold_list is not None
    assert surveyed.hold_list.near_misses == [3, 4, 5]
    assert "lines 3, 4 and 5)" in str(refusal(surveyed))


def test_a_rejected_row_is_nobody_on_hold(held_back: Callable[..., Survey]) -> None:
    """A row of the input without a usable key matches no entry."""
    surveyed = held_back(["k", '"a\tb"'], ["ab"])
    assert refusal(surveyed) is None
    assert surveyed.hold_list is not None
    assert surveyed.hold_list.unknown == 1


@pytest.fixture(params=[None, 150], ids=["memory", "spilled"])
def spilling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with all in memory, once with next to nothing there."""
    if request.param is not None:
        for module in (hold_list, suspects, survey):
            few = partial(KeyPartitions, allowance=request.param)
            monkeypatch.setattr(module, "KeyPartitions", few)


names = st.sampled_from(
    [a + b for a in ("k", "K", "\u212a", "é", "e\u0301", "É", "ß", "ss") for b in "1aA"]
    + ["x", "X"]
)


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.lists(names, min_size=1, max_size=20), entries=st.lists(names, max_size=12))
def test_a_hold_list_is_as_a_plain_comparison_says(
    spilling: None, held_back: Callable[..., Survey], keys: list[str], entries: list[str]
) -> None:
    """Who is sent, which entries are unknown and which are near misses, in memory or not."""
    surveyed = held_back(keys, entries)
    held = surveyed.hold_list
    assert held is not None
    assert sent(surveyed) == [key for key in dict.fromkeys(keys) if key not in entries]
    assert (held.entries, held.unknown) == (len({*entries}), len({*entries} - {*keys}))
    folds = {folded(key) for key in keys}
    missed = [n for n, e in enumerate(entries, 2) if e not in keys and folded(e) in folds]
    assert held.near_misses == missed[:3]
    assert (refusal(surveyed) is not None) is bool(missed)


def test_a_long_list_spills_without_a_difference(
    held_back: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of holds on disk hold the same customers as in memory."""
    keys = [f"{n:x}-é" for n in range(3000)]
    holds = [*keys[::3], *(f"none-{n}" for n in range(500)), unicodedata.normalize("NFD", keys[1])]
    results = []
    for allowance in (1 << 20, 4000):
        few = partial(KeyPartitions, allowance=allowance)
        monkeypatch.setattr(hold_list, "KeyPartitions", few)
        surveyed = held_back(keys, holds)
        held = surveyed.hold_list
        assert held is not None
        results.append((sent(surveyed), held.entries, held.unknown, held.near_misses))
    assert results[0] == results[1]
    assert results[0][1:] == (1501, 501, [1502])
    assert len(results[0][0]) == 2000


def test_an_empty_list_holds_nobody(held_back: Callable[..., Survey]) -> None:
    """A list with a header alone is read, and nothing is unknown in it."""
    surveyed = held_back(["k1"], [])
    assert surveyed.hold_list is not None
    assert (surveyed.hold_list.entries, surveyed.hold_list.unknown) == (0, 0)
    assert sent(surveyed) == ["k1"]


def test_a_list_can_be_built_by_hand() -> None:
    """`match` counts as it goes: each partition is asked for once."""
    with closing(HoldList("hold.csv")) as held:
        held.add("k1", 2)
        held.add("K1", 3)
        digest = digest_of("k1")
        for partition in range(PARTITIONS):
            keys = {digest: 9} if partition == digest[0] else {}
            found = held.match(partition, keys, {})
            assert (digest in found) is (partition == digest[0])
        assert (held.entries, held.unknown, held.near_misses) == (2, 1, [3])

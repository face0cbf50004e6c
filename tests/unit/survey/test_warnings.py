"""What is odd about keys: each word, counted by key, and the lines that are named."""

import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from examples import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading, is_numeric_like
from bulk_eraser.survey import warnings as suspects
from bulk_eraser.survey.survey import Survey
from bulk_eraser.survey.warnings import Finding, LookAlikes, Suspects, folded

Write = Callable[..., Path]
Found = dict[str, tuple[int, list[int]]]


def uuids(count: int) -> list[str]:
    return [str(UUID(int=n * 0x123456789ABCDEF01)) for n in range(1, count + 1)]


@pytest.fixture
def found_in(write: Write) -> Iterator[Callable[[list[str]], Found]]:
    """What the survey of these keys, one a line from line 1 on, finds odd."""
    surveys = []

    def found_in(keys: list[str]) -> Found:
        rows = [key.replace('"', '""') for key in keys]
        text = "".join(f'"{row}"\n' for row in rows)
        survey = Survey(InputReader(str(write(text)), Reading(header=False)))
        surveys.append(survey)
        survey.read()
        survey.decide(lambda _partition: dict[bytes, KeyState]())
        return dict(survey.suspects)

    yield found_in
    for survey in surveys:
        survey.close()


# ── single keys ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("personal", "ann@example.com"),
        ("personal", "@"),
        ("personal", "null@"),
        ("personal", "4E+15@"),
        *[
            ("placeholder", key)
            for key in ("NULL", "null", "(null)", "nil", "None", "NaN", "n/a", "undefined", "\\N")
        ],
        *[
            ("placeholder", f"#{key}")
            for key in ("N/A", "n/a", "REF!", "VALUE!", "NAME?", "DIV/0!")
        ],
        *[("placeholder", f"#{key}") for key in ("NV", "BEZUG!", "VÄRDEFEL!", "DIVISION/0!")],
        *[
            ("dates", key)
            for key in (
                *("2026-11-24", "1964/2/9", "2026-11-24T10:00:00Z", "2026-11-24 10:00:00.000"),
                *("24.11.2026", "9.2.64", "11/24/2026", "24-11-26", "24.11.2026 10:00"),
                *("24-Nov-2026", "24 nov 26", "9. März 1964", "9.Februar 1964", "31/Dez/99"),
            )
        ],
        *[("numeric_like", key) for key in ("4,01235E+15", "4E+15", "-1.5e+9", '="0012"')],
    ],
)
def test_an_odd_key_has_its_word(
    found_in: Callable[[list[str]], Found], word: str, key: str
) -> None:
    """Each of these is counted under one word, with its line."""
    odd = found_in(["k-1", key, "k-2"])
    assert odd == {word: (1, [2])}
    assert is_numeric_like(key) is (word == "numeric_like")


@pytest.mark.parametrize(
    "key",
    [
        *(
            "nullable",
            "null-1",
            "none.1",
            "nullnull",
            "undefine",
            "N/A/1",
            "#1!",
            "#!",
            "#a",
            "TRUE",
        ),
        *("2026-13-24", "2026-1124", "2026-11/24", "32.11.2026", "1.2.3.4", "1-2-3", "20261124"),
        *("12-abc-2024", "10-mark-7", "2026-11-24-1", "3026-11-24", "24-nov", "11.2026", "1:30"),
        *("4E15", "4E-15", "4.5", "E+15", "4,0,1E+15", "0x4E+15", "4 E+15", "0", "-", "?", "at"),
    ],
)
def test_an_unusual_key_is_not_odd(found_in: Callable[[list[str]], Found], key: str) -> None:
    """A word too many costs the warnings their worth."""
    assert found_in(["k-1", key]) == {}
    assert not is_numeric_like(key)


@pytest.mark.parametrize("key", ["C-1;Anna", "C-1|Anna"])
def test_a_separator_within_a_key_is_odd(found_in: Callable[[list[str]], Found], key: str) -> None:
    """Two columns may have been read as one."""
    assert found_in(["k-1", key]) == {"separator": (1, [2])}


def test_keys_are_counted_and_rows_are_named(found_in: Callable[[list[str]], Found]) -> None:
    """A key that stands ten times is one key; the first three lines of each word are named."""
    keys = ["k-1", "a@b", "NULL", "a@b", "4E+15", "a@b", "c@d", "c@d", "null", "nil", "NULL", "k-1"]
    assert found_in(keys) == {
        "personal": (2, [2, 4, 6]),
        "placeholder": (3, [3, 9, 10]),
        "numeric_like": (1, [5]),
        "look_alike": (2, [3, 9, 11]),
    }


@pytest.mark.parametrize(
    ("plain", "others", "said"),
    [(3, 2, True), (2, 2, False), (1, 2, False), (0, 2, False), (3, 0, False), (1, 0, False)],
)
def test_not_a_uuid_where_most_are(
    found_in: Callable[[list[str]], Found], plain: int, others: int, said: bool
) -> None:
    """Said only if more than half of the different keys are UUIDs, however often one stands."""
    strange = [f"K-{n}" for n in range(others)]
    keys = uuids(plain) + strange + strange + (uuids(1) * 5 if plain else [])
    expected = {"not_uuid": (others, [plain + 1, plain + 2, plain + 3])} if said else {}
    assert found_in(keys) == expected


@pytest.mark.parametrize(
    ("key", "is_uuid"),
    [
        ("7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c", True),
        ("7F3C2A10-5D1E-4B7A-9C42-0E6D8F1A2B3C", True),
        ("00000000-0000-0000-0000-000000000000", True),
        ("7f3c2a105d1e4b7a9c420e6d8f1a2b3c", False),
        ("{7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c}", False),
        ("7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3", False),
        ("7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3g", False),
        ("7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c0", False),
        ("7f3c2a10‐5d1e‐4b7a‐9c42‐0e6d8f1a2b3c", False),
        ("٧f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c", False),
    ],
)
def test_what_a_uuid_is(found_in: Callable[[list[str]], Found], key: str, is_uuid: bool) -> None:
    """In capitals as well, with its four plain hyphens, and nothing around it."""
    assert ("not_uuid" in found_in([*uuids(4), key])) is not is_uuid


def test_a_placeholder_among_uuids_is_both(found_in: Callable[[list[str]], Found]) -> None:
    """What is personal or a placeholder is not a UUID either."""
    keys = [*uuids(4), "#n/a", "7@7"]
    assert found_in(keys) == {
        "personal": (1, [6]),
        "placeholder": (1, [5]),
        "not_uuid": (2, [5, 6]),
    }


def test_words_are_not_those_of_rejected_rows() -> None:
    """A suspect is sent, a rejected row is not: no word means both."""
    judge = Suspects()
    for line, key in enumerate([*uuids(9), "a@b", "null", "4E+15", "K"]):
        judge.counts[judge.flags_of(key, line)] += 1
    assert judge.found().keys() == {"personal", "placeholder", "numeric_like", "not_uuid"}
    assert not judge.found().keys() & ROW_ERRORS.keys()


# ── keys that look alike ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abc", "ABC"),
        ("zoé", "zoe\u0301"),
        ("zoé", "ZOE\u0301"),
        ("straße", "STRASSE"),
        ("ǆ", "ǅ"),
        ("ΐ", "Ϊ\u0301"),
        ("σ", "ς"),
        ("ﬁ", "FI"),
        ("k", "\u212a"),
        ("å", "\u212b"),
        ("１２", "12"),
        ("a b", "a\u00a0b"),
        ("ab", "a\u200bb"),
        ("ab", "a\u00adb"),
        ("ab", "\u200eab\u200f"),
        ("ab", "a\ufeffb"),
        ("é", "e\u200d\u0301"),
        ("한", "\u1112\u1161\u11ab"),
    ],
)
def test_keys_that_fold_together(one: str, other: str) -> None:
    """Case, Unicode form and invisible characters do not count, in whatever combination."""
    assert folded(one) == folded(other) == folded(one + "x")[:-1]
    assert folded(one.upper()) == folded(unicodedata.normalize("NFD", other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "b"), ("a", "ä"), ("a", "а"), ("ab", "a b"), ("a-b", "a‐b"), ("0", "O"), ("a", "aa")],
)
def test_keys_that_do_not(one: str, other: str) -> None:
    """Other letters, whatever they look like, are other keys."""
    assert folded(one) != folded(other)


@settings(max_examples=examples(300), deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=6))
@example("\u0345\u0301")
@example("İ\u200d\u0307")
def test_what_is_folded_stays_so(key: str) -> None:
    """Folding twice changes nothing, and neither does another Unicode form before it."""
    fold = folded(key)
    assert folded(fold) == fold
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, key)) == fold


@pytest.fixture(params=[None, 200], ids=["memory", "spilled"])
def spilling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with all in memory, once with next to nothing there."""
    if request.param is not None:
        few = partial(KeyPartitions, allowance=request.param)
        monkeypatch.setattr(suspects, "KeyPartitions", few)


alike = st.sampled_from(
    [a + b for a in ("k", "K", "\u212a", "é", "e\u0301", "É", "ß", "ss", "SS") for b in "1aA"]
    + ["x", "X", "x\u200b", "x\u200by", "xy", ""]
)


def naive(keys: list[str]) -> Finding:
    """The same without partitions: compare every key with every other one."""
    groups: dict[str, set[str]] = {}
    for key in keys:
        groups.setdefault(folded(key), set()).add(key)
    odd = {key for group in groups.values() if len(group) > 1 for key in group}
    named = [
        line
        for line, key in enumerate(keys)
        if key in odd and (key != folded(key) or key not in keys[:line])
    ]
    return Finding(len(odd), named[:3])


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(keys=st.lists(alike, max_size=40))
def test_look_alikes_are_as_a_plain_comparison_finds_them(spilling: None, keys: list[str]) -> None:
    """Counted per different key, over all partitions, with the first lines; in memory or not."""
    look_alikes = LookAlikes()
    plain: list[dict[bytes, int]] = [{} for _ in range(PARTITIONS)]
    for line, key in enumerate(keys):
        digest = digest_of(key)
        plain[digest[0]].setdefault(digest, line)
        look_alikes.add(key, digest, line)
    groups: dict[bytes, set[bytes]] = {}
    for partition in range(PARTITIONS):
        of_partition = look_alikes.groups(partition, plain[partition])
        assert not groups.keys() & of_partition.keys()
        groups |= of_partition
    look_alikes.close()
    assert Finding(look_alikes.keys, look_alikes.lines) == naive(keys)
    for key in keys:
        if folded(key) != key:
            same = {digest_of(other) for other in keys if folded(other) == folded(key)}
            assert groups[digest_of(folded(key))] == same


def test_look_alikes_of_a_survey(found_in: Callable[[list[str]], Found]) -> None:
    """Thousands of keys of which few look alike: the few are counted and named."""
    keys = [f"key {n}" for n in range(3000)]
    keys[700], keys[1500], keys[2900] = "Key 20", "K\u0065\u0301y 20", "KEY 20"
    assert found_in(keys) == {"look_alike": (3, [21, 701, 2901])}

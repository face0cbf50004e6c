"""Dotted paths in NDJSON: the one value that they lead to, or the row is rejected."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from examples import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import UsageError
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources.json_exact import MAX_DIGITS
from bulk_eraser.sources.ndjson_rows import MAX_NESTING
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Any]


@pytest.fixture
def read_nested(read: Read) -> Read:
    """The rows of NDJSON whose key is the member `key` of the member `customer`."""
    return partial(read, name="keys.ndjson", key_field="customer.key")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"customer":{"key":"k"}}', "k"),
        ('{"n":[1],"customer":{"n":{},"key":" k "},"m":null}', "k"),
        ('{"customer":{"key":"a\\u00e9\\ud83d\\ude00"}}', "aé😀"),
        ('{"cust\\u006fmer":{"k\\u0065y":"k"}}', "k"),
        ('{"customer":{"key":"k","customer":{"key":"inner"}}}', "k"),
        ('{"order":{"key":"o","customer":{"key":"o"}},"customer":{"key":"k"}}', "k"),
        ('{"key":"top","customer":{"key":"k"}}', "k"),
        ('{"customer":{"key":"customer"},"n":"key"}', "customer"),
        ('{"l":[{"customer":{"key":"a"}},{"customer":{"key":"b"}}],"customer":{"key":"k"}}', "k"),
        ('{"n":' + "9" * MAX_DIGITS + ',"customer":{"key":"k"}}', "k"),
        ('{"customer.key":"k"}', "k"),
        ('{"customer.key":"k","customer":{}}', "k"),
        ('{"customer.key":"k","customer":null}', "k"),
        ('{"customer.key":"k","customer":"x"}', "k"),
        ('{"customer.k\\u0065y":"k"}', "k"),
        ('{"customer":{"key":"k"},"n":{"customer.key":"inner"}}', "k"),
    ],
)
def test_the_path_leads_to_one_value(read_nested: Read, line: str, key: str) -> None:
    """Of members with these names it is the one on the path from the object itself, whatever else
    the line holds; a member may have a name with dots as well."""
    first = '{"customer":{"key":"k0"}}'
    assert read_nested(f"{first}\n{line}\n{first}\n") == [("k0", 1), (key, 2), ("k0", 3)]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{}", "missing_field"),
        ('{"customer":{}}', "missing_field"),
        ('{"customer":null}', "missing_field"),
        ('{"customer":"k"}', "missing_field"),
        ('{"customer":7}', "missing_field"),
        ('{"customer":[{"key":"k"}]}', "missing_field"),
        ('{"customer":{"Key":"k"}}', "missing_field"),
        ('{"customer":{"n":{"key":"k"}}}', "missing_field"),
        ('{"key":"k","customer":{"n":1}}', "missing_field"),
        ('{"n":{"customer":{"key":"k"}}}', "missing_field"),
        ('{"n":{"customer.key":"k"}}', "missing_field"),
        ('{"customer":{"key":7}}', "wrong_type"),
        ('{"customer":{"key":null}}', "wrong_type"),
        ('{"customer":{"key":true}}', "wrong_type"),
        ('{"customer":{"key":{"key":"k"}}}', "wrong_type"),
        ('{"customer":{"key":["k"]}}', "wrong_type"),
        ('{"customer.key":7}', "wrong_type"),
        ('[{"customer":{"key":"k"}}]', "wrong_type"),
        ('"customer.key"', "wrong_type"),
        ('{"customer":{"key":"k","key":"l"}}', "duplicate_member"),
        ('{"customer":{"key":"k","k\\u0065y":"k"}}', "duplicate_member"),
        ('{"customer":{"key":"k"},"customer":{"key":"l"}}', "duplicate_member"),
        ('{"customer":{"key":"k"},"customer":{}}', "duplicate_member"),
        ('{"customer":{},"customer":{"key":"k"}}', "duplicate_member"),
        ('{"customer":{"key":"k"},"customer":null}', "duplicate_member"),
        ('{"customer":7,"cust\\u006fmer":{"key":"k"}}', "duplicate_member"),
        ('{"customer.key":"k","customer":{"key":"l"}}', "duplicate_member"),
        ('{"customer.key":"k","customer":{"key":"k"}}', "duplicate_member"),
        ('{"customer.key":7,"customer":{"key":"k"}}', "duplicate_member"),
        ('{"customer.k\\u0065y":"k","customer":{"key":"k"}}', "duplicate_member"),
        ('{"customer.key":"k","customer.key":"l"}', "duplicate_member"),
        ('{"customer":{"key":"\\ud800"}}', "lone_surrogate"),
        ('{"customer.key":"\\ud800"}', "lone_surrogate"),
        ('{"customer":{"key":"k","n":"\\ud800"}}', "malformed_json"),
        ('{"customer":{"key":"k"}', "malformed_json"),
        ('{"customer":{"key":"k"}}}', "malformed_json"),
        ('{"customer":{"key":"k"},"n":' + "1" * (MAX_DIGITS + 1) + "}", "malformed_json"),
        (
            '{"customer":{"key":"k","n":' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}}",
            "malformed_json",
        ),
        ('{"customer":' * 5000 + "1" + "}" * 5000, "malformed_json"),
        ('{"customer":{"key":""}}', "empty_key"),
        ('{"customer":{"key":"a\\nb"}}', "control_character"),
        ('{"customer":{"key":"' + "k" * 2049 + '"}}', "key_too_long"),
    ],
    ids=lambda value: value[:50],
)
def test_a_path_that_does_not_lead_to_one_key(read_nested: Read, line: str, error: str) -> None:
    """Nothing there, not text, or more than one of what it could be: the right word, and the lines
    around it are read."""
    first = '{"customer":{"key":"k0"}}'
    assert read_nested(f"{first}\n{line}\n{first}\n") == [("k0", 1), (f"!{error}", 2), ("k0", 3)]
    assert error in ROW_ERRORS


@pytest.mark.parametrize("depth", [1, 2, 3, 20])
def test_paths_of_any_length(read: Read, depth: int) -> None:
    """As many members within members as the path has names."""
    path = [f"m{n}" for n in range(depth)]
    line = "".join(f'{{"{name}":' for name in path) + '"k"' + "}" * depth
    assert read(line, name="keys.ndjson", key_field=".".join(path)) == [("k", 1)]
    error = "!wrong_type" if depth > 1 else "!missing_field"
    assert read(line, name="keys.ndjson", key_field=".".join(path[:-1]) or "n") == [(error, 1)]
    assert read(line, name="keys.ndjson", key_field=".".join([*path, "n"])) == [
        ("!missing_field", 1)
    ]


@pytest.mark.parametrize("field", [".", ".key", "customer.", "a..b", "é.ü", "a b.c-d", "$.@"])
def test_names_are_taken_to_the_letter(read: Read, field: str) -> None:
    """A name may be empty, or hold what would mean something elsewhere."""
    nested: Any = "k1"
    for name in reversed(field.split(".")):
        nested = {name: nested, "n": 1}
    lines = [json.dumps(row) for row in (nested, {field: "k2"}, {"n": ""})]
    assert read("\n".join(lines), name="keys.ndjson", key_field=field) == [
        ("k1", 1),
        ("k2", 2),
        ("!missing_field", 3),
    ]


@pytest.mark.parametrize("field", ['a."b"', "a\\.b", "a.b\n", "a.\udcff"])
def test_names_that_cannot_be_are_refused(read: Read, field: str) -> None:
    """A name that JSON would have to escape is a wrong option, also within a path."""
    with pytest.raises(UsageError, match="--key-field, --received-field and --reference-field"):
        read('{"a":{"b":"k"}}', name="keys.ndjson", key_field=field)


# ── beside the key ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (("c.key", "c.asked", "c.no"), '{"c":{"key":"k","asked":"2026-10-01","no":7}}'),
        (("c.key", "asked", "no"), '{"c":{"key":"k"},"asked":"2026-10-01","no":"7"}'),
        (("key", "r.asked", "r.no"), '{"key":"k","r":{"asked":"2026-10-01","no":7.0}}'),
        (
            ("c.key", "r.asked", "r.x.no"),
            '{"c":{"key":"k"},"r":{"asked":"2026-10-01","x":{"no":7}}}',
        ),
        (("a.b", "b.a", "a.a"), '{"a":{"b":"k","a":7},"b":{"a":"2026-10-01","b":"x"}}'),
        (("c.key", "r.asked", "r.no"), '{"c.key":"k","r.asked":"2026-10-01","r.no":7}'),
        (("c.key", "r.asked", "r.no"), '{"c":{"key":"k"},"r.asked":"2026-10-01","r":{"no":7}}'),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_key_and_facts_have_paths(
    write: Write, fields: tuple[str, str, str], line: str, escaped: bool
) -> None:
    """Each has its own, in one object or in several, and they do not get in each other's way."""
    key_field, received_field, reference_field = fields
    reading = Reading(
        key_field=key_field, received_field=received_field, reference_field=reference_field
    )
    text = line.replace('"k"', '"\\u006b"') if escaped else line
    reader = InputReader(str(write(text, "keys.ndjson")), reading)
    expected = [KeyRow("k", 1, stripped=False, received="2026-10-01", reference="7")]
    assert list(reader.survey_rows()) == list(reader.checked_rows()) == expected
    assert reader.reading.key_field == key_field


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"c":{"key":"k"}}', None),
        ('{"c":{"key":"k"},"r":{}}', None),
        ('{"c":{"key":"k"},"r":null}', None),
        ('{"c":{"key":"k"},"r":"x"}', None),
        ('{"c":{"key":"k"},"r":[{"no":"T"}]}', None),
        ('{"c":{"key":"k"},"r":{"no":null}}', None),
        ('{"c":{"key":"k"},"r":{"no":"T"}}', "T"),
        ('{"c":{"key":"k"},"r.no":"T","r":{}}', "T"),
        ('{"c":{"key":"k"},"r":{"no":{}}}', "bad_reference"),
        ('{"c":{"key":"k"},"r":{"no":"T","no":"T"}}', "duplicate_member"),
        ('{"c":{"key":"k"},"r":{"no":"T"},"r":{}}', "duplicate_member"),
        ('{"c":{"key":"k"},"r.no":"T","r":{"no":"T"}}', "duplicate_member"),
        ('{"r":{"no":"T"}}', "missing_field"),
        ('{"c":{"key":7},"r":{"no":"T"}}', "wrong_type"),
    ],
)
def test_facts_may_be_missing_on_their_path(write: Write, line: str, found: str | None) -> None:
    """Where the path leads to nothing, the row says nothing; what stands twice rejects it."""
    reading = Reading(key_field="c.key", reference_field="r.no")
    (row,) = InputReader(str(write(line, "keys.ndjson")), reading).survey_rows()
    assert (row.reference if isinstance(row, KeyRow) else row.error) == found


@pytest.mark.parametrize(
    ("key_field", "received_field"),
    [
        ("a", "a.b"),
        ("a.b", "a"),
        ("a.b.c", "a.b"),
        ("a.b", "a.b.c.d"),
        ("customerKey", "customerKey.x"),
    ],
)
def test_one_within_another_is_a_wrong_option(
    write: Write, key_field: str, received_field: str
) -> None:
    """A value cannot be text and hold members at the same time."""
    reading = Reading(key_field=key_field, received_field=received_field)
    reader = InputReader(str(write('{"a":{"b":"k"}}', "keys.ndjson")), reading)
    with pytest.raises(UsageError, match="none of them inside another"):
        list(reader.survey_rows())


# ── against a plain reader ──────────────────────────────────────────────────────────────────────

names = st.sampled_from(["customer", "key", "customer.key", "n"])
values = st.recursive(
    st.sampled_from(["k", "l", "", "key", '"customer"', "é\\", 7, 1.5, None, True]),
    lambda inner: (
        st.lists(st.tuples(names, inner), max_size=3) | st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=6,
)


def written(value: Any, *, escape: bool) -> str:
    """JSON in which lists of pairs are objects, so that members may stand twice."""
    if isinstance(value, list):
        members = (f"{written(n, escape=escape)}:{written(v, escape=escape)}" for n, v in value)
        return "{" + ",".join(members) + "}"
    if isinstance(value, tuple):
        return "[" + ",".join(written(inner, escape=escape) for inner in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("k", "\\u006b") if escape and isinstance(value, str) else text


def expected(value: Any) -> str:
    """What a plain reader makes of it, by the words of the README."""
    if not isinstance(value, list):
        return "!wrong_type"
    outer = [inner for name, inner in value if name == "customer"]
    inner = [v for one in outer if isinstance(one, list) for name, v in one if name == "key"]
    found = inner + [v for name, v in value if name == "customer.key"]
    if len(outer) > 1 or len(found) > 1:
        return "!duplicate_member"
    if not found:
        return "!missing_field"
    if not isinstance(found[0], str):
        return "!wrong_type"
    return found[0] or "!empty_key"


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(values, min_size=1, max_size=8), escape=st.booleans())
@example(rows=[[("customer", [("key", "k")]), ("customer", None)]], escape=False)
def test_any_object_is_read_as_a_plain_reader_does(
    read_nested: Read, rows: list[Any], escape: bool
) -> None:
    """However members are nested, doubled or escaped, the quick way and the careful one agree."""
    text = "\n".join(written(row, escape=escape) for row in rows)
    assert read_nested(text) == [(expected(row), line) for line, row in enumerate(rows, 1)]

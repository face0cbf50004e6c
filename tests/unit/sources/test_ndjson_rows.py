"""NDJSON: one object a line, and the right word for whatever else a line is."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from bulk_eraser.errors import UsageError
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources.json_exact import MAX_DIGITS
from bulk_eraser.sources.ndjson_rows import MAX_NESTING
from bulk_eraser.sources.text import MAX_LINE

Read = Callable[..., list[tuple[str, int]]]


@pytest.fixture
def read_json(read: Read) -> Read:
    """The rows of a file that is NDJSON by its name."""
    return partial(read, name="keys.ndjson")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"customerKey":"k"}', "k"),
        (' { "n" : 1 , "customerKey" : "k" } ', "k"),
        ('{"customerKey":"k","n":{"customerKey":"inner"},"l":[{"customerKey":1}]}', "k"),
        ('{"n":{"customerKey":"inner"},"customerKey":"k"}', "k"),
        ('{"n":"customerKey","customerKey":"k"}', "k"),
        ('{"customer\\u004bey":"k"}', "k"),
        ('{"customerKey":"a\\u00e9\\ud83d\\ude00"}', "aé😀"),
        ('{"customerKey":"+ # & % / ? = \\" \\\\ é😀"}', '+ # & % / ? = " \\ é😀'),
        ('{"customerKey":"\\\\ud800"}', "\\ud800"),
        ('{"n":"a,\\"customerKey\\":\\"x\\"","customerKey":"k"}', "k"),
        ('{"customerKey":" k\\u00a0"}', "k"),
        ('{"customerKey":"k\u00a0l","n":"\u2028\x7f\x85"}', "k\u00a0l"),
        ('{"n":1e999,"m":-0.0,"customerKey":"k","e":"\\n"}', "k"),
        ('{"n":' + "9" * MAX_DIGITS + ',"customerKey":"k"}', "k"),
        ('{"n":' + "[" * (MAX_NESTING - 1) + "]" * (MAX_NESTING - 1) + ',"customerKey":"k"}', "k"),
        ('{"n":"' + "[{" * MAX_NESTING + '","customerKey":"k"}', "k"),
        ('{"n":"\\"' + "[{" * MAX_NESTING + '\\\\","customerKey":"k"}', "k"),
        ('{"n":[' + "[]," * MAX_NESTING + '{}],"customerKey":"k"}', "k"),
    ],
    ids=lambda value: value[:30],
)
def test_the_key_is_the_objects_own_member(read_json: Read, line: str, key: str) -> None:
    """Whatever else the object holds, the key is its one member of that name, unescaped."""
    text = f'{{"customerKey":"k0"}}\n{line}\n'
    assert read_json(text) == [("k0", 1), (key, 2)]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"customerKey":1}', "wrong_type"),
        ('{"customerKey":null}', "wrong_type"),
        ('{"customerKey":true}', "wrong_type"),
        ('{"customerKey":{"customerKey":"k"}}', "wrong_type"),
        ('{"customerKey":["k"]}', "wrong_type"),
        ('{"customerKey":12345678901234567890123}', "wrong_type"),
        ('{"customerKey":' + "1" * 5000 + "}", "wrong_type"),
        ('{"customerKey":"k","n":' + "1" * 5000 + "}", "malformed_json"),
        ('{"customerKey":"k","n":-' + "1" * 5000 + ',"e":"\\n"}', "malformed_json"),
        ('["k"]', "wrong_type"),
        ('"k"', "wrong_type"),
        ("1", "wrong_type"),
        ("null", "wrong_type"),
        ("{}", "missing_field"),
        ('{"customerkey":"k"}', "missing_field"),
        ('{"n":{"customerKey":"k"}}', "missing_field"),
        ('{"customerKey":"k","customerKey":"l"}', "duplicate_member"),
        ('{"customerKey":"k","customerKey":"k"}', "duplicate_member"),
        ('{"customerKey":"k","customer\\u004bey":"l"}', "duplicate_member"),
        ('{"\\u0063ustomerKey":"k","customer\\u004bey":"l"}', "duplicate_member"),
        ("k", "malformed_json"),
        ('{"customerKey":"k"', "malformed_json"),
        ('{"customerKey":"k"} {"customerKey":"l"}', "malformed_json"),
        ('{"customerKey":"k"},', "malformed_json"),
        ("{'customerKey':'k'}", "malformed_json"),
        ('{"customerKey":"k","n":NaN}', "malformed_json"),
        ('{"customerKey":"k","n":01}', "malformed_json"),
        ('{"customerKey":"a\tb"}', "malformed_json"),
        ('\ufeff{"customerKey":"k"}', "malformed_json"),
        ('{"customerKey":"k"}\r{"customerKey":"l"}', "malformed_json"),
        ('{"customerKey":"k","n":' + "[" * 5000 + "]" * 5000 + "}", "malformed_json"),
        ('{"customerKey":"k","n":' + '{"a":' * 5000 + "1" + "}" * 5001, "malformed_json"),
        ('{"customerKey":"k","n":' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}", "malformed_json"),
        ("[" * 900_000, "malformed_json"),
        ('{"customerKey":"\\ud800"}', "lone_surrogate"),
        ('{"customerKey":"\\udc00\\ud800"}', "lone_surrogate"),
        ('{"customerKey":"k","n":"\\ud800"}', "malformed_json"),
        ('{"customerKey":""}', "empty_key"),
        ('{"customerKey":" \\t\\u00a0"}', "empty_key"),
        ('{"customerKey":"a\\u0000b"}', "control_character"),
        ('{"customerKey":"a\\nb"}', "control_character"),
        ('{"customerKey":"k\\n"}', "control_character"),
        ('{"customerKey":"a\u2028b"}', "control_character"),
        ('{"customerKey":"' + "k" * 2049 + '"}', "key_too_long"),
        ('{"customerKey":"' + "k" * MAX_LINE + '"}', "line_too_long"),
    ],
    ids=lambda value: value[:40],
)
def test_a_bad_line_is_rejected_and_the_rest_goes_on(
    read_json: Read, line: str, error: str
) -> None:
    """The line that is wrong is named by number and word; the lines around it are read."""
    text = f'{{"customerKey":"k1"}}\r\n\n  \n{line}\n{{"customerKey":"k2"}}'
    assert read_json(text) == [("k1", 1), (f"!{error}", 4), ("k2", 5)]
    assert error in ROW_ERRORS


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_longest_line_is_exact(read_json: Read, end: str, over: int) -> None:
    """A line of 1,048,576 characters is read, whatever ends it; one more is too many."""
    line = '{"customerKey":"k"}'
    text = line + " " * (MAX_LINE + over - len(line)) + end
    assert read_json(text) == [("!line_too_long" if over else "k", 1)]


@pytest.mark.parametrize("name", ["id", "Kunden-Id", "é", "type", "a b", "😀"])
def test_the_member_can_be_named(read_json: Read, name: str) -> None:
    """--key-field is taken to the letter, and found escaped or not."""
    lines = [{name: "k1", "customerKey": "no"}, {"customerKey": "no"}]
    text = "\n".join(json.dumps(line, ensure_ascii=escape) for line in lines for escape in (1, 0))
    assert read_json(text, key_field=name) == [
        ("k1", 1),
        ("k1", 2),
        ("!missing_field", 3),
        ("!missing_field", 4),
    ]
    escaped, plain = (json.dumps(name, ensure_ascii=escape) for escape in (True, False))
    twice = f'{{{escaped}:"k",{plain}:"l"}}'
    assert read_json(twice, key_field=name) == [("!duplicate_member", 1)]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\udcff"])
def test_a_member_that_cannot_be_named_is_refused(read_json: Read, name: str) -> None:
    """A name that JSON would have to escape is a wrong option, not an internal error."""
    with pytest.raises(UsageError, match="--key-field"):
        read_json('{"customerKey":"k"}', key_field=name)


def test_lines_end_at_newlines_only(read_json: Read) -> None:
    """Other characters that Unicode calls line ends are part of a line."""
    inside = "\x85\u2028\u2029"
    text = f'{{"customerKey":"k1","n":"{inside}"}}\n{{"customerKey":"k2"}}\n'
    assert read_json(text) == [("k1", 1), ("k2", 2)]


@pytest.mark.parametrize("mark", ["", "\n \n", "\ufeff"])
def test_the_name_of_the_sister_product(read_json: Read, mark: str) -> None:
    """discoveryKey is the field where the first row has no customerKey; then it is for all."""
    text = f'{mark}{{"discoveryKey":"d1"}}\n{{"customerKey":"k2"}}\n{{"discoveryKey":"d3"}}\n'
    line = mark.count("\n")
    expected = [("d1", line + 1), ("!missing_field", line + 2), ("d3", line + 3)]
    assert read_json(text) == expected
    both = '{"discoveryKey":"d1","customerKey":"k1"}\n{"discoveryKey":"d2"}\n'
    assert read_json(both) == [("k1", 1), ("!missing_field", 2)]

"""What JSONTestSuite and its like try, put into NDJSON, against a strict reader of RFC 8259.

The cases are made here: small ones by name, and all short mixtures of the characters that matter.
Each stands as a whole line, as the value of another member, and as the key itself. A line that is
not JSON is rejected as such, one that is gives its own key; the lines around it are always read.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.errors import InputError
from bulk_eraser.records import ROW_ERRORS

Found = list[tuple[str, int]]
Read = Callable[..., Found]
Write = Callable[..., Path]

HEX = "0123456789abcdefABCDEF"


# ── the strict reader ───────────────────────────────────────────────────────────────────────


class Members(list[tuple[str, Any]]):
    """An object's members in order, equal names kept apart."""


def strict(line: str) -> Any:
    """The value of a line. Raises `ValueError` where RFC 8259 has none, unlike `json.loads`."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    return json.loads(line, object_pairs_hook=Members, parse_constant=no_constant)


def rightly(line: str) -> set[str]:
    """What may become of a line: its key, or words for why there is none."""
    try:
        value = strict(line)
    except ValueError:
        return {"!malformed_json"}
    if not isinstance(value, Members):
        return {"!wrong_type"}
    keys = [value for name, value in value if name == "customerKey"]
    if not keys:
        return {"!missing_field"}
    if len(keys) > 1:
        kinds = {type(key) for key in keys}
        return {"!duplicate_member"} if kinds == {str} else {"!duplicate_member", "!wrong_type"}
    key = keys[0]
    if not isinstance(key, str):
        return {"!wrong_type"}
    if re.search("[\ud800-\udfff]", key):
        return {"!lone_surrogate"}
    if not (key := key.strip(" \t\u00a0\ufeff\u200b")):
        return {"!empty_key"}
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", key):
        return {"!control_character"}
    return {"!key_too_long"} if len(key.encode()) > 2048 else {key}


def must_be_right(read: Read, lines: Iterable[str]) -> Found:
    """Each line is what it is, however the lines around it are broken."""
    lines = list(lines)
    text = "".join(f'{{"customerKey":"g{n}"}}\n{line}\n' for n, line in enumerate(lines))
    found = read(text, "keys.ndjson")
    assert found[::2] == [(f"g{n}", 2 * n + 1) for n in range(len(lines))]
    assert [line for _, line in found[1::2]] == list(range(2, 2 * len(lines) + 1, 2))
    for (key, _), line in zip(found[1::2], lines, strict=True):
        assert key in rightly(line), line
        assert key[0] != "!" or key[1:] in ROW_ERRORS
    return found[1::2]


def around(case: str) -> list[str]:
    """The places of a case: the line, another member's value before and behind the key, the key."""
    return [
        case,
        f'{{"customerKey":"k-1","other":{case}}}',
        f'{{"other":{case},"customerKey":"k-1"}}',
        f'{{"customerKey":{case}}}',
    ]


# ── by name ─────────────────────────────────────────────────────────────────────────────────


def cases(text: str) -> list[str]:
    """The cases of a block of lines, set apart by ` ¦ `."""
    return [case for line in text.strip("\n").split("\n") for case in line.split(" ¦ ")]


# fmt: off
NOT_JSON = {
    "array": cases("""
[1,] ¦ [,1] ¦ [1,,2] ¦ [,] ¦ [1 2] ¦ [1 ¦ [ ¦ [[ ¦ ] ¦ [1]] ¦ [1], ¦ [x] ¦ ["x" ¦ ["x":1] ¦ [}
[1} ¦ {"a":[} ¦ [3[4]] ¦ [true null] ¦ [*] ¦ [1\x0c]
"""),
    "object": cases("""
{"a"} ¦ {"a":} ¦ {:"b"} ¦ {"a":1,} ¦ {,"a":1} ¦ {"a":1,,"b":2} ¦ {"a" 1} ¦ {a:1} ¦ {'a':1}
{1:1} ¦ {null:1} ¦ {"a":1 "b":2} ¦ {"a":1 ¦ {"a" ¦ { ¦ {"a"::1} ¦ {] ¦ {"a":1}} ¦ {"a":1}x
{"a":1}# ¦ {"a":1}// ¦ {"a":1}/**/ ¦ {"a":/*c*/1} ¦ {"": ¦ {"a","b"} ¦ {[1]:1} ¦ {😀} ¦ {"a":1}{}
{"a":1}, ¦ {"a":"b" 1} ¦ {"\ta":1}
"""),
    "number": cases("""
01 ¦ -01 ¦ 00 ¦ -00.0 ¦ 1. ¦ .5 ¦ -.5 ¦ 1.e1 ¦ 1e ¦ 1e+ ¦ 1E- ¦ 1.0e ¦ +1 ¦ - 1 ¦ --1 ¦ 1+2
0x1 ¦ 1_000 ¦ 1 000 ¦ 1,000 ¦ 0.1.2 ¦ 1eE2 ¦ 1e1.5 ¦ 1e0x ¦ - ¦ 1- ¦ NaN ¦ -NaN ¦ Infinity
-Infinity ¦ Inf ¦ nan ¦ １ ¦ ٢ ¦ 1٢ ¦ ½ ¦ 1L ¦ 1f ¦ 0b1
"""),
    "string": cases("""
'a' ¦ " ¦ "a ¦ a" ¦ "a"b" ¦ “a” ¦ "a\tb" ¦ "a\x00b" ¦ "a\x1fb" ¦ "a\rb" ¦ `a` ¦ "\\" ¦ "\\
"\\x41" ¦ "\\a" ¦ "\\'" ¦ "\\0" ¦ "\\ " ¦ "\\\t" ¦ "\\😀" ¦ "\\U0041" ¦ "\\u" ¦ "\\u1" ¦ "\\u00A"
"\\u00G0" ¦ "\\u{41}" ¦ "\\uD834\\uDd" ¦ "\\uD800\\" ¦ "\\uD800\\u" ¦ "\\uD800\\u1" ¦ "\\u 041"
"\\u+041" ¦ "a" "b" ¦ "a""b" ¦ a ¦ \\u0041
"""),
    "structure": cases("""
tru ¦ TRUE ¦ True ¦ nul ¦ None ¦ undefined ¦ truee ¦ null null ¦ 1 2 ¦ 1,2 ¦ () ¦ : ¦ <x> ¦ #c
// c ¦ /* c */1 ¦ * ¦ = ¦ & ¦ , ¦ [1]\x00 ¦ \x00 ¦ \x1e{} ¦ \ufeff{} ¦ \u2060 ¦ [\xa0] ¦ \xa0[]
[\u2028] ¦ [\u200b] ¦ é ¦ [1]\x85 ¦ []\x1a ¦ \x7f
"""),
}
JSON = {
    "array": cases("""
[] ¦ [ ] ¦ [[]   ] ¦ [1,null,true,[],{}] ¦  [1] ¦ [2]  ¦ [1\t] ¦ [""] ¦ [\r]
"""),
    "object": cases("""
{} ¦ {"":0} ¦ {"a":1} ¦ {"a":1,"a":2} ¦ {"a":1,"a":1} ¦ {"\\u0000":1} ¦ {"a":{}}
"""),
    "number": cases("""
0 ¦ -0 ¦ 0.0 ¦ 0e1 ¦ 0E+1 ¦ 1e-2 ¦ 1E22 ¦ 123.456e78 ¦ -1 ¦ 42 ¦ 123e65 ¦ 20e1
-0.000000000000000000000000000000000000000000000000000000000000000000001 ¦ 1.0e+28
123e-10000000 ¦ 1.5e+9999 ¦ -1e+9999 ¦ 0.4e0066999999999999999999999999999999996
100000000000000000000 ¦ -123123123123123123123123123123 ¦ 18446744073709551616
"""),
    "string": cases("""
"" ¦ " " ¦ "a" ¦ "a " ¦ "\\"" ¦ "\\\\" ¦ "\\/" ¦ "\\b\\f\\n\\r\\t" ¦ "\\u0060\\u012a"
"\\\\u0000" ¦ "\\\\n" ¦ "a/*b*/c//d" ¦ "\\u0012" ¦ "\\u0000" ¦ "\\uFFFF" ¦ "\\u2028"
"\\ud83d\\ude39\\ud83d\\udc8d" ¦ "\\uDBFF\\uDFFF" ¦ "\\uD834\\uDd1e" ¦ "\\u005C\\u0022"
"\U0010ffff" ¦ "\uffff" ¦ "\ue000" ¦ "π" ¦ "€𝄞" ¦ "\x7f" ¦ "\x85" ¦ "\u2028" ¦ "\u2060"
"\\u200B" ¦ "\\uFEFF" ¦ "\ufeff" ¦ "\\u00A0a" ¦ "customerKey" ¦ "{\\"customerKey\\":1}"
"""),
    "literal": cases("""
true ¦ false ¦ null ¦ \ttrue\r ¦ [true] ¦ {"a":null}
"""),
}
HALF_PAIRS = cases("""
\\ud800 ¦ \\ud800abc ¦ \\udfaa ¦ \\udd1e\\ud834 ¦ \\ud800\\ud800\\n ¦ \\ud888\\u1234
\\ud800\\n ¦ \\udd1ea ¦ a\\ud83d ¦ \\ud83d\\ud83d\\ude00
""")
# fmt: on


@pytest.mark.parametrize("family", NOT_JSON)
def test_what_is_not_json_is_rejected_as_such(read: Read, family: str) -> None:
    """Wherever it stands, the line is `malformed_json`; no key comes from it, and none is lost."""
    lines = [line for case in NOT_JSON[family] for line in around(case)]
    assert {key for key, _ in must_be_right(read, lines)} == {"!malformed_json"}


@pytest.mark.parametrize("family", JSON)
def test_what_is_json_stands_in_no_keys_way(read: Read, family: str) -> None:
    """Beside any JSON value the key is read; as the key, only a clean string is one."""
    found = must_be_right(read, [line for case in JSON[family] for line in around(case)])
    assert {key for key, _ in found[1::4] + found[2::4]} == {"k-1"}
    assert not any("malformed" in key for key, _ in found)


def test_the_cases_are_what_they_are_said_to_be() -> None:
    """The strict reader agrees with the families, so neither can be wrong alone."""
    assert {word for cases in NOT_JSON.values() for case in cases for word in rightly(case)} == {
        "!malformed_json"
    }
    assert all(strict(case) is not ... for cases in JSON.values() for case in cases)


@pytest.mark.parametrize("half", HALF_PAIRS)
def test_half_a_surrogate_pair_is_never_a_key(read: Read, half: str) -> None:
    """As the key it has its own word; beside the key, the row gives that key or none."""
    lines = [f'{{"customerKey":"{half}"}}', f'{{"customerKey":"k","n":"{half}"}}']
    lines += [f'{{"n":["{half}"],"customerKey":"k"}}', f'{{"{half}":0,"customerKey":"k"}}']
    found = read("\n".join([*lines, '{"customerKey":"k2"}']), "keys.ndjson")
    assert [line for _, line in found] == [1, 2, 3, 4, 5]
    assert (found[0][0], found[4][0]) == ("!lone_surrogate", "k2")
    assert {key for key, _ in found[1:4]} <= {"k", "!malformed_json"}


# ── all short mixtures ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_every_short_number(read: Read, length: int) -> None:
    """Of all mixtures of the characters of numbers, only the numbers of RFC 8259 pass."""
    number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
    cases = ["".join(mixed) for mixed in itertools.product("01-+.e", repeat=length)]
    lines = [f'{{"n":{case},"customerKey":"k{n}"}}' for n, case in enumerate(cases)]
    assert read("\n".join(lines), "keys.ndjson") == [
        (f"k{n}" if number.fullmatch(case) else "!malformed_json", n + 1)
        for n, case in enumerate(cases)
    ]


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_short_structure(read: Read, length: int) -> None:
    """Of all mixtures of brackets, commas and values, each is what the strict reader says."""
    tokens = ["[", "]", "{", "}", ",", ":", '"a"', "1"]
    cases = ["".join(mixed) for mixed in itertools.product(tokens, repeat=length)]
    places = around("{}") if length < 4 else around("{}")[1:2]
    must_be_right(read, [place.replace("{}", case, 1) for place in places for case in cases])


def test_every_escape(read: Read) -> None:
    """Behind a backslash only nine characters may follow, and u with four hex digits."""
    escapes = [f"\\{chr(code)}" for code in range(0x100) if code != 10]
    escapes += [f"\\u{''.join(four)}" for four in itertools.product("0aFg7 ", repeat=4)]
    found = must_be_right(read, [f'{{"customerKey":"k-1","n":"{e}"}}' for e in escapes])
    assert sum(key == "k-1" for key, _ in found) == 8 + 4**4


def test_every_raw_character(read: Read) -> None:
    """Control characters do not stand in strings, and nothing but four blanks between tokens."""
    characters = [chr(code) for code in [*range(0x180), 0x2028, 0x2060, 0x3000, 0xFEFF, 0x1F600]]
    characters.remove("\n")
    for place in [
        '{{"customerKey":"k","n":"{}"}}',
        '{{"customerKey":"a{}b"}}',
        '{{{}"customerKey":"k"}}',
    ]:
        must_be_right(read, [place.format(character) for character in characters])


# ── large, deep, double ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("depth", [600, 1_000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("[", ""), ('{"":', "}"), ('[{"a":', "}]"), ("]", "[")]
)
def test_deep_nesting_is_one_bad_line(read: Read, depth: int, opening: str, closing: str) -> None:
    """However deep, it is that line alone, and no crash."""
    case = opening * depth + "1" * bool(closing) + closing * depth
    text = "\n".join(['{"customerKey":"k1"}', *around(case), '{"customerKey":"k2"}'])
    assert read(text, "keys.ndjson") == [
        ("k1", 1),
        *(("!malformed_json", n) for n in range(2, 6)),
        ("k2", 6),
    ]


@pytest.mark.parametrize(
    ("number", "beside"),
    [
        ("1" * 10_000, "!malformed_json"),
        ("-" + "1" * 10_000, "!malformed_json"),
        ("1." + "1" * 10_000, "k-1"),
        ("1" * 10_000 + ".0", "k-1"),
        ("1" * 10_000 + "e1", "k-1"),
        ("0." + "0" * 10_000 + "1", "k-1"),
        ("1e" + "9" * 10_000, "k-1"),
        ("0" + "1" * 10_000, "!malformed_json"),
    ],
    ids=lambda text: text[:5] + text[-3:],
)
def test_numbers_of_ten_thousand_digits(read: Read, number: str, beside: str) -> None:
    """As another value they cost at most their own row, as the key always."""
    text = "\n".join(['{"customerKey":"k1"}', *around(number), '{"customerKey":"k2"}'])
    found = read(text, "keys.ndjson")
    assert [line for _, line in found] == [1, 2, 3, 4, 5, 6]
    assert [key for key, _ in found[2:4]] == [beside, beside]
    assert {found[1][0], found[4][0]} <= {"!wrong_type", "!malformed_json"}
    assert (found[0][0], found[5][0]) == ("k1", "k2")


def spellings() -> list[str]:
    """The key's name plain, with one character escaped (in two ways), and with all."""
    name = "customerKey"
    each = [
        name[:n] + form.format(ord(name[n])) + name[n + 1 :]
        for n in range(len(name))
        for form in ("\\u{:04x}", "\\u{:04X}")
    ]
    return [name, *each, "".join(f"\\u{ord(char):04x}" for char in name)]


@pytest.mark.parametrize("spelling", spellings())
def test_a_name_is_the_same_however_it_is_spelled(read: Read, spelling: str) -> None:
    """It is found, and beside the plain one the key is named twice, in whichever order."""
    twice = [f'"{spelling}":"k"', '"n":1', '"customerKey":"l"']
    lines = [f'{{"n":1,"{spelling}":"k"}}', f'{{"customerKe":"j","{spelling}":"k"}}']
    lines += [f"{{{','.join(mixed)}}}" for mixed in itertools.permutations(twice)]
    lines += [f'{{"n":{{"{spelling}":"j"}},"customerKey":"k"}}']
    expected = ["k", "k", *["!duplicate_member"] * 6, "k"]
    assert [key for key, _ in must_be_right(read, lines)] == expected


@pytest.mark.parametrize(
    "name",
    ["customerkey", "customerKey ", "customer\u212aey", "customerKey\\u0000", "ｃustomerKey", ""],
)
def test_a_similar_name_is_another_name(read: Read, name: str) -> None:
    """Neither case nor blanks nor look-alikes make a member the key."""
    lines = [f'{{"{name}":"j"}}', f'{{"{name}":"j","customerKey":"k"}}']
    assert [key for key, _ in must_be_right(read, lines)] == ["!missing_field", "k"]


# ── bytes ───────────────────────────────────────────────────────────────────────────────────

BAD_BYTES = {
    "lone continuation": b"\x81",
    "Latin-1": b"\xe9",
    "never a byte of it": b"\xff",
    "cut short": b"\xe2\x82",
    "overlong slash": b"\xc0\xaf",
    "overlong by three": b"\xe0\x80\xaf",
    "overlong by four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\xbf\xbf\xbf",
    "five bytes": b"\xf8\x88\x80\x80\x80",
}
PLACES = {
    "whole line": b"@",
    "in the key": b'{"customerKey":"k@"}',
    "in another value": b'{"customerKey":"k","n":"a@b"}',
    "in a name": b'{"n@":1,"customerKey":"k"}',
    "in a number": b'{"customerKey":"k","n":1e1@}',
    "between": b'{"customerKey":"k"@}',
    "in an escape": b'{"customerKey":"k","n":"\\u00@"}',
    "behind": b'{"customerKey":"k"}@',
}


@pytest.mark.parametrize("bad", BAD_BYTES.values(), ids=BAD_BYTES)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_bytes_that_are_no_utf8_refuse_the_file(read: Read, bad: bytes, place: bytes) -> None:
    """Nothing is replaced: the file is refused, and the first bad byte named by line and offset."""
    before, after = place.split(b"@")
    before = '{"customerKey":"é"}\n'.encode() + before
    with pytest.raises(InputError, match=rf"line 2, byte offset {len(before)}\b"):
        read(before + bad + after + b'\n{"customerKey":"k2"}\n', "keys.ndjson")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_last_character_cut_short_refuses_the_file(read: Read, cut: int) -> None:
    """Also where the file just ends, and where a block of the reader does."""
    first, bad, block = b'{"customerKey":"k1"}', "😀".encode()[:cut], 1 << 20
    with pytest.raises(InputError, match=r"line 2, byte offset 21\b"):
        read(first + b"\n" + bad, "keys.ndjson")
    padded = first.ljust(block - cut - 1) + b"\n"
    with pytest.raises(InputError, match=rf"line 2, byte offset {block - cut}\b"):
        read(padded + bad + b"x\n", "keys.ndjson")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16(read: Read, encoding: str) -> None:
    """With its mark it is read; without one, cut or broken, it gives no key."""
    text = '{"customerKey":"å😀"}\n\n{"customerKey":"\\u010a"}\n{"customerKey":"ਊ"}\n'
    expected = [("å😀", 1), ("Ċ", 3), ("ਊ", 4)]
    marked = f"\ufeff{text}".encode(encoding)
    assert read(marked, "keys.ndjson") == expected
    assert read(text.encode(encoding), "keys.ndjson", encoding=encoding) == expected
    for broken in (marked[:-1], marked + "\ud800".encode(encoding, "surrogatepass")):
        with pytest.raises(InputError, match="is not UTF-16"):
            read(broken, "keys.ndjson")
    for unmarked in (text.encode(encoding), f"\ufeff{text}".encode(encoding.replace("16", "32"))):
        try:
            found = read(unmarked, "keys.ndjson")
        except InputError:
            continue
        assert found
        assert all(key[0] == "!" for key, _ in found)


def test_a_byte_order_mark_is_one_at_the_start_only(read: Read) -> None:
    """Before another line it is no JSON, around a key it is a blank."""
    line = '{"customerKey":"k"}\n'
    assert read(f"\ufeff{line}\ufeff{line}{line}", "keys.ndjson") == [
        ("k", 1),
        ("!malformed_json", 2),
        ("k", 3),
    ]
    assert read(f"\ufeff\ufeff{line}", "keys.ndjson") == [("!malformed_json", 1)]
    assert read("\ufeff", "keys.ndjson") == []
    text = '{"customerKey":"\ufeffk"}\n{"customerKey":"k\\ufeff"}\n{"customerKey":"\\ufeff"}'
    assert read(text, "keys.ndjson") == [("k", 1), ("k", 2), ("!empty_key", 3)]


def test_zeros_are_no_line_ends_and_no_blanks(read: Read) -> None:
    """A file whose tail was lost in a crash shows it; NUL in a string is rejected in both forms."""
    text = '{"customerKey":"k1"}\n{"customerKey":"a\0b"}\n{"customerKey":"a\\u0000b"}\n\0\n\0\0\0\0'
    assert read(text, "keys.ndjson") == [
        ("k1", 1),
        ("!malformed_json", 2),
        ("!control_character", 3),
        ("!malformed_json", 4),
        ("!malformed_json", 5),
    ]


# ── the command itself ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "code", "rows", "rejected"),
    [
        pytest.param(
            "".join(
                f'{{"customerKey":"k{row}","n":{n}}}\n' for row, n in enumerate(JSON["number"])
            ),
            0,
            21,
            0,
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "\n".join(['{"customerKey":"k"}', *NOT_JSON["structure"]]),
            3,
            34,
            33,
            marks=pytest.mark.soak,
        ),
        ('{"customerKey":"k"}\n{"n":' + "[" * 100_000 + "\n" + "[" * 100_000, 3, 3, 2),
        pytest.param("\n".join(NOT_JSON["object"]), 65, 0, 0, marks=pytest.mark.soak),
        pytest.param(
            b'{"customerKey":"k"}\n{"customerKey":"\xe9"}\n', 65, 0, 0, marks=pytest.mark.soak
        ),
    ],
    ids=["numbers", "structure", "deep", "nothing usable", "Latin-1"],
)
def test_the_command(
    write: Write, content: str | bytes, code: int, rows: int, rejected: int
) -> None:
    """A dry run ends with the right code and count, and never with a traceback."""
    path = write(content, "keys.ndjson")
    command = [sys.executable, "-m", "bulk_eraser", "run", str(path), "--cluster-id", "acme"]
    ended = subprocess.run(
        [*command, "--dry-run", "--json"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    counts = json.loads(ended.stdout)["counts"]
    assert (counts["rows"], counts["rejected"]) == (rows, rejected)
    assert counts["rows"] == sum(counts.values()) - counts["rows"]
    assert list(path.parent.iterdir()) == [path]

"""What public collections of awkward CSV files try, against a careful reader of RFC 4180.

The files are made here, in the manner of csv-spectrum, csv-test-data, Papa Parse, CSV on the Web,
Frictionless, Excel's exports and lists of naughty strings. A key is what the careful reader says
it is, or its row is rejected, or the file is refused: never another key, never a row less.
"""

import csv
import encodings
import io
import json
import pkgutil
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.records import ROW_ERRORS

Found = list[tuple[str, int]]
Read = Callable[..., Found]
Write = Callable[..., Path]

BLANKS = " \t\u00a0\ufeff\u200b\u3000"
REFUSED: Found = [("refused", 0)]


# ── the careful reader ──────────────────────────────────────────────────────────────────────


class Record(NamedTuple):
    """A record as RFC 4180 has it; `flawed` if its quoting has no one meaning."""

    line: int
    fields: list[str]
    flawed: bool


def careful(text: str, delimiter: str = ",", blanks: str = "") -> list[Record]:
    """The records with a field that is not empty.

    A quote within an unquoted field is a character; `blanks` may stand before an opening one. A
    CR alone ends a line only where nothing else does, and elsewhere has no one meaning.
    """
    end = "\r" if "\r" in text[:-1] and "\n" not in text else "\n"
    text = re.sub(r"\r+(?=\n|\Z)", "", text) if end == "\n" else text
    records, place, line = [], 0, 1
    while place < len(text):
        fields, flawed, start, more = [], False, line, True
        while more:
            quoted = place + len(taken(f"([{blanks}]*)" if blanks else "()", text, place)[1])
            inner = ""
            if is_quoted := text[quoted : quoted + 1] == '"':
                body, closing = taken(r'"((?:[^"]|"")*)("?)', text, quoted).groups()
                place = quoted + 1 + len(body) + len(closing)
                line += body.count(end)
                inner = body.replace('""', '"')
                flawed |= not closing
            rest = taken(f"([^{delimiter}{end}]*)", text, place)[1]
            behind = (rest.strip(blanks) if blanks else rest) if is_quoted else ""
            flawed |= bool(behind) or (end == "\n" and "\r" in rest)
            fields.append(inner + rest)
            place += len(rest)
            more = text[place : place + 1] == delimiter
            place += 1
        line += 1
        if any(fields):
            records.append(Record(start, fields, flawed))
    return records


def taken(pattern: str, text: str, place: int) -> re.Match[str]:
    match = re.compile(pattern).match(text, place)
    assert match is not None
    return match


def must_be_faithful(found: Found, records: list[Record], column: int, width: int) -> None:
    """Each record once, on its line: with its own key, or rejected with a word."""
    assert [line for _, line in found] == [record.line for record in records]
    for (key, _), (_, fields, flawed) in zip(found, records, strict=True):
        if not key.startswith("!"):
            assert not flawed
            assert key == fields[column].strip(BLANKS)
            assert not any(fields[width:])
        else:
            assert key[1:] in ROW_ERRORS


def result(read: Read, content: str | bytes, **reading: object) -> Found:
    try:
        return read(content, **reading)
    except InputError:
        return REFUSED


# ── the collections ─────────────────────────────────────────────────────────────────────────

SPECTRUM: dict[str, tuple[str | bytes, dict[str, Found]]] = {
    "comma_in_quotes": (
        'first,street,town,zip\nÅsa,Kungsgatan 3,"Umeå, SE",09031\n',
        {"zip": [("09031", 2)], "town": [("Umeå, SE", 2)]},
    ),
    "empty": (
        'a,b,c\n1,"",""\n2,3,4\n',
        {"a": [("1", 2), ("2", 3)], "b": [("!empty_key", 2), ("3", 3)]},
    ),
    "empty_crlf": (
        'a,b,c\r\n1,"",""\r\n2,3,4\r\n',
        {"a": [("1", 2), ("2", 3)], "c": [("!empty_key", 2), ("4", 3)]},
    ),
    "escaped_quotes": (
        'a,b\n1,"so ""so"" so"\n3,4\n',
        {"a": [("1", 2), ("3", 3)], "b": [('so "so" so', 2), ("4", 3)]},
    ),
    "json": (
        'key,val\n1,"{""kind"": ""Point"", ""at"": [59.3, 18.1]}"\n',
        {"key": [("1", 2)], "val": [('{"kind": "Point", "at": [59.3, 18.1]}', 2)]},
    ),
    "location_coordinates": (
        "Phone,Place,Town\n0811,59°20'3.5\"N 18°4'1.2\"E,Stockholm",
        {"Phone": [("0811", 2)], "Place": [("59°20'3.5\"N 18°4'1.2\"E", 2)]},
    ),
    "newlines": (
        'a,b,c\n1,2,3\n"Once upon \na time",5,6\n7,8,9\n',
        {
            "a": [("1", 2), ("!control_character", 3), ("7", 5)],
            "c": [("3", 2), ("6", 3), ("9", 5)],
        },
    ),
    "newlines_crlf": (
        'a,b,c\r\n1,2,3\r\n"Once upon \r\na time",5,6\r\n7,8,9\r\n',
        {
            "a": [("1", 2), ("!control_character", 3), ("7", 5)],
            "c": [("3", 2), ("6", 3), ("9", 5)],
        },
    ),
    "newlines_cr": (
        'a,b,c\r1,2,3\r"Once upon \ra time",5,6\r7,8,9\r',
        {
            "a": [("1", 2), ("!control_character", 3), ("7", 5)],
            "c": [("3", 2), ("6", 3), ("9", 5)],
        },
    ),
    "quotes_and_newlines": (
        'a,b\n1,"so \n""so"" \nso"\n3,4\n',
        {"a": [("1", 2), ("3", 5)], "b": REFUSED},
    ),
    "simple": ("a,b,c\n1,2,3\n", {"a": [("1", 2)], "c": [("3", 2)]}),
    "simple_crlf": ("a,b,c\r\n1,2,3\r\n", {"a": [("1", 2)], "c": [("3", 2)]}),
    "utf8": ("a,b,c\n1,2,3\n4,5,ʤ\n", {"a": [("1", 2), ("4", 3)], "c": [("3", 2), ("ʤ", 3)]}),
    "latin1": ("a,b\nSão,1\n".encode("latin-1"), {"a": REFUSED, "b": REFUSED}),
    "null": (
        'a,b,c\n1,,2\n3,"NULL",4\n5,NULL,6\n',
        {
            "a": [("1", 2), ("3", 3), ("5", 4)],
            "b": [("!empty_key", 2), ("NULL", 3), ("NULL", 4)],
        },
    ),
    "newlines_as_ctrl_chars": ("a\x01b\x02\n1\x01x\x02\n2\x01y\x02\n", {"a": REFUSED}),
}

TEST_DATA: dict[str, tuple[str | bytes, dict[str, Found]]] = {
    "all-empty": ("a,b,c\n,,\n,,\n", {"a": []}),
    "bad-header-less-fields": ("a,b\nx,y,z\n", {"a": [("!too_many_fields", 2)]}),
    "bad-header-more-fields": ("a,b,c,d\nx,y,z\n", {"a": [("x", 2)], "d": [("!missing_field", 2)]}),
    "bad-header-no-header": ("x,y,z\n1,2,3\n", {"a": REFUSED}),
    "bad-missing-quote": ('a,b\nx,"y\nz,w\n', {"a": REFUSED, "b": REFUSED}),
    "bad-quotes-with-unescaped-quote": (
        'a,b\nx,"y "z" w"\nq,r\n',
        {"a": [("!malformed_csv", 2), ("q", 3)], "b": [("!malformed_csv", 2), ("r", 3)]},
    ),
    "bad-unescaped-quote": ('a,b\nx,y "z" w\n', {"a": [("x", 2)], "b": [('y "z" w', 2)]}),
    "empty": (b"", {"a": REFUSED}),
    "empty-field": ("a,b,c\nx,,z\n", {"a": [("x", 2)], "b": [("!empty_key", 2)]}),
    "empty-one-column": ("a\n\n\n\n", {"a": []}),
    "header-no-rows": ("a,b,c\n", {"a": []}),
    "header-no-rows-no-end": ("a,b,c", {"a": []}),
    "leading-space": ("a,b\n x, y\n", {"a": [("x", 2)], "b": [("y", 2)]}),
    "trailing-space": ("a,b \nx ,y\t\n", {"a": [("x", 2)], "b": [("y", 2)]}),
    "one-column": ("a\nx\ny\n", {"a": [("x", 2), ("y", 3)]}),
    "quotes-empty": ('a,b\n"",y\n"",""\n', {"a": [("!empty_key", 2)], "b": [("y", 2)]}),
    "quotes-with-comma": ('a,b\n"x,1",y\n', {"a": [("x,1", 2)]}),
    "quotes-with-space": ('a,b\n" x ",y\n', {"a": [("x", 2)]}),
    "trailing-newlines": ("a,b\nx,y\n\n\n", {"a": [("x", 2)]}),
    "trailing-newline-one-field": ("a\nx\n\n", {"a": [("x", 2)]}),
}

PAPA_PARSE: dict[str, tuple[str | bytes, dict[str, Found]]] = {
    "delimiter in quotes": ('a,b\n"x,x",1\n', {"a": [("x,x", 2)]}),
    "quotes at the boundaries": ('a,b\n"""x""",1\n', {"a": [('"x"', 2)]}),
    "quotes around the delimiter": ('a,b\n""",""",1\n', {"a": [('","', 2)]}),
    "quotes right of the delimiter": ('a,b\n",""",1\n', {"a": [(',"', 2)]}),
    "quotes left of the delimiter": ('a,b\n""",",1\n', {"a": [('",', 2)]}),
    "five quotes": ('a,b\n"n="""",m=""""",1\n', {"a": [('n="",m=""', 2)]}),
    "quote at the end of a bare field": ('a,b\nx",1\n', {"a": [('x"', 2)]}),
    "blanks around quotes": ('a,b\n1, "x" \n2,y\n', {"b": [("!malformed_csv", 2), ("y", 3)]}),
    "blanks behind quotes": (
        'a,b,c\n1,"x" ,2\n3,"y"  \n4,z,5\n',
        {"b": [("!malformed_csv", 2), ("!malformed_csv", 3), ("z", 4)]},
    ),
    "quote behind the delimiter": (
        'a,b\n"x,"y,z"\n1,2\n',
        {"b": [("!malformed_csv", 2), ("2", 3)]},
    ),
    "quote that closes nothing": ('a,b\nx,"y,"z\n1,2\n', {"a": [("!malformed_csv", 2), ("1", 3)]}),
    "quote before the delimiter": (
        'a,b,c\nx,"y"z,1\n2,3,4\n',
        {"a": [("!malformed_csv", 2), ("2", 3)]},
    ),
    "quote behind a newline": ('a,b\nx,"y,z\n1"2,3\n', {"a": REFUSED}),
    "quoted to the end of the file": ('a,b\nx,"y"', {"b": [("y", 2)]}),
    "delimiters and newlines in quotes": ('a,b\nx,"y,z\nw, v"\n', {"a": [("x", 2)]}),
    "empty at the end": ('a,b\nx,""\ny,""', {"a": [("x", 2), ("y", 3)]}),
    "many empty": ("a,,,b,c\n,,x,,y\n", {"b": [("!empty_key", 2)], "c": [("y", 2)]}),
    "nothing but delimiters": (",,\n,,,", {"a": REFUSED}),
    "nothing but a text": ("Abc def", {"a": REFUSED}),
    "a comment first": ("# Comment!\na,b\nx,y\n", {"a": REFUSED}),
    "a comment between": (
        "n,a\n1,x\n# Comment\n2,y\n",
        {"a": [("x", 2), ("!missing_field", 3), ("y", 4)]},
    ),
    "blank lines": ("\na,b\n\nx,y\n \nz,w\n\n", {"a": [("x", 4), ("!empty_key", 5), ("z", 6)]}),
    "mixed line ends": ("a,b\nx,y\rz,w\n1,2\n", {"a": [("!malformed_csv", 2), ("1", 3)]}),
    "a CR at the very end": ("a,b\r\nx,y\r", {"a": [("x", 2)], "b": [("y", 2)]}),
    "too few fields": ("n,a\n1\n2,x\n", {"a": [("!missing_field", 2), ("x", 3)]}),
    "too many fields": ("a,b\nx,y,z,w\nv,u\n", {"a": [("!too_many_fields", 2), ("v", 3)]}),
    "blanks in the header": ("  a , b\r\nx,y \r\n", {"a": [("x", 2)], "b": [("y", 2)]}),
    "first field empty": (
        'n,a\r\n1,"x"\r\n,"y"\r\n',
        {"a": [("x", 2), ("y", 3)], "n": [("1", 2), ("!empty_key", 3)]},
    ),
    "newlines in the header": ('"n\r\nn","a"\n"1","x"\n', {"a": [("x", 3)]}),
    "single quotes": ("a,b\n'x,y',z\n'w',v\n", {"a": [("!too_many_fields", 2), ("'w'", 3)]}),
    "backslashes": (
        'a,b\nx\\y,1\n"x\\"y",2\n"z\\",3\n',
        {"a": [("x\\y", 2), ("!malformed_csv", 3), ("z\\", 4)]},
    ),
    "equal names": ("n,n,a\n1,2,x\n", {"a": [("x", 2)], "n": REFUSED}),
}

EXCEL_AND_WEB: dict[str, tuple[str | bytes, dict[str, Found]]] = {
    "sep= line": ('sep=;\r\na;b\r\n"x;1";y\r\n', {"a": [("x;1", 3)]}),
    "delimiters dropped behind the 16th row": (
        "a;b;c\r\n" + "x;;\r\n" * 16 + "y\r\nz;;\r\n",
        {"a": [*(("x", n) for n in range(2, 18)), ("y", 18), ("z", 19)]},
    ),
    "newline in a cell": ('a;b\r\nx;"two\nlines"\r\ny;\r\n', {"a": [("x", 2), ("y", 4)]}),
    "Unicode text": ("a\tb\r\n0012\tå\r\n".encode("utf-16"), {"a": [("0012", 2)]}),
    "no-break blanks": ("a;b\r\n\u00a0x\u00a0;1\r\n", {"a": [("x", 2)]}),
    "apostrophe": ("a,b\n'0012,1\n", {"a": [("'0012", 2)]}),
    "end of file of DOS": ("n,a\r\n1,x\r\n\x1a", {"a": [("x", 2), ("!missing_field", 3)]}),
    "zeros of a crash": ("n,a\n1,x\n" + "\0" * 50, {"a": [("x", 2), ("!missing_field", 3)]}),
    "NUL in another field": (
        "a,b\nx,1\x002\n",
        {"a": [("x", 2)], "b": [("!control_character", 2)]},
    ),
    "NUL before the header": ("\0a,b\nx,y\n", {"a": REFUSED, "b": [("y", 2)]}),
    "titles above the header": ("Report of May\n\na,b\nx,y\n", {"a": REFUSED}),
    "a header twice": ("a,b\nx,y\na,b\n", {"a": [("x", 2), ("!repeated_header", 3)]}),
    "blank label": ("a,,b\nx,1,y\n", {"a": [("x", 2)], "b": [("y", 2)]}),
    "extra label": ("a,b,c\nx,y\n", {"a": [("x", 2)]}),
    "byte order mark twice": ("\ufeff\ufeffa,b\nx,y\n", {"a": REFUSED, "b": [("y", 2)]}),
    "byte order mark between": ("a,b\nx,y\n\ufeffz,w\n", {"a": [("x", 2), ("z", 3)]}),
    "byte order mark and quotes between": (
        'n,a,b\n1,x,y\n\ufeff"Doe, John",z,\n',
        {"a": [("x", 2), ("!malformed_csv", 3)]},
    ),
    "byte order mark and quoted key between": (
        'a,b\nx,y\n\ufeff"z","w"\n',
        {"a": [("x", 2), ("!malformed_csv", 3)]},
    ),
    "quote behind a tab": (
        'n,a,b\n\t"Doe, John",z,\n1,x,2\n',
        {"a": [("!malformed_csv", 2), ("x", 3)]},
    ),
    "quote behind a no-break blank": (
        'n,a,b\n\u00a0"Doe, John",z,\n1,x,2\n',
        {"a": [("!malformed_csv", 2), ("x", 3)]},
    ),
    "quote behind a blank, newline within": ('a,b\nx, "Doe\nmore words"\ny,\n', {"a": REFUSED}),
    "quote behind a blank, row within": ('n,a,b\n "Doe\nmore, words",x\n1,y,2\n', {"a": REFUSED}),
    "quote behind a blank, one column": ('a\n "x\ny"\nz\n', {"a": REFUSED}),
    "lone CR, row within quotes": ('a,b\nx,y\rz" w,"v\nk9,u\nt"\ns,\n', {"a": REFUSED}),
    "lone CR and nothing else": ("a,b\nx,y\rz\nk,v\n", {"a": [("!malformed_csv", 2), ("k", 3)]}),
}

FILES = {
    f"{collection}: {name}": file
    for collection, files in {
        "csv-spectrum": SPECTRUM,
        "csv-test-data": TEST_DATA,
        "Papa Parse": PAPA_PARSE,
        "Excel and the Web": EXCEL_AND_WEB,
    }.items()
    for name, file in files.items()
}
TEXTS = {name: content for name, (content, _) in FILES.items() if isinstance(content, str)}


@pytest.mark.parametrize(("content", "expected"), FILES.values(), ids=FILES)
def test_a_file_of_the_collections(
    read: Read, content: str | bytes, expected: dict[str, Found]
) -> None:
    """Whichever column holds the key: the rows that a careful reader sees, with their lines."""
    for key_field, rows in expected.items():
        assert result(read, content, key_field=key_field) == rows


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_column_may_be_the_key(read: Read, text: str) -> None:
    """With a header or without one, no column gives a key that is not in it, and no row is gone."""
    delimiter = ";" if ";\r\n" in text or ";b" in text else ","
    body = text.removeprefix("\ufeff").removeprefix("sep=;\r\n")
    skipped = text.count("\n") - body.count("\n")
    records = [r._replace(line=r.line + skipped) for r in careful(body, delimiter)]
    if not records or any("\0" in field for field in records[0].fields):
        return
    names = records[0].fields
    for column, name in enumerate(names):
        reading = {"delimiter": delimiter, "key_field": name.strip() or "?"}
        found = result(read, text, **reading)
        if found != REFUSED:
            must_be_faithful(found, records[1:], column, len(names))
        found = result(read, text, **reading | {"key_field": str(column + 1), "header": False})
        if found != REFUSED:
            must_be_faithful(found, records, column, len(names))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be with its mark"])
def test_the_encoding_changes_nothing(read: Read, encoding: str) -> None:
    """The same rows, or the same refusal, from every text in another encoding."""
    for text in TEXTS.values():
        if text.startswith("\ufeff"):
            continue
        content = (
            ("\ufeff" + text).encode("utf-16-be") if "be" in encoding else text.encode(encoding)
        )
        for key_field in "ab":
            plain = result(read, text, key_field=key_field)
            assert result(read, content, key_field=key_field) == plain


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_the_line_end_changes_nothing(read: Read, end: str) -> None:
    """The same rows, or the same refusal, from every text with other line ends."""
    for text in TEXTS.values():
        if "\r" in text or text.count("\n") < 2:
            continue
        for key_field in "ab":
            plain = result(read, text, key_field=key_field)
            assert result(read, text.replace("\n", end), key_field=key_field) == plain


# ── whatever else comes ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "characters",
    [
        'kab19,,,"" \n\n;',
        'kab19,,"" \n\n\r;',
        'k1,,"" \n\n\t\u00a0\ufeff\u200b',
        'a,"\n\n',
        "k,n\n\n'\\#\0\x1a",
    ],
)
@pytest.mark.parametrize("mixtures", [150, pytest.param(2000, marks=pytest.mark.soak)])
def test_random_mixtures(read: Read, mixtures: int, characters: str) -> None:
    """No mixture of the awkward characters gives another key or a row less.

    Where a reader that allows blanks before a quote would find another key, there is none.
    """
    draw = random.Random(characters)
    keys = 0
    for _ in range(mixtures):
        header = draw.choice(["k,n", "n,k", "n,k,m", "k"])
        body = "".join(draw.choices(characters, k=draw.choice([4, 10, 25])))
        text = f"{header}\n{body}"
        found = result(read, text, key_field="k", delimiter=",")
        if found == REFUSED:
            continue
        names = header.split(",")
        column = names.index("k")
        must_be_faithful(found, careful(text)[1:], column, len(names))
        tolerant = {record.line: record for record in careful(text, blanks=BLANKS)}
        for key, line in found:
            if key[0] != "!":
                keys += 1
                other = tolerant.get(line)
                if other and not other.flawed and len(other.fields) > column:
                    assert key == other.fields[column].strip(BLANKS)
    assert keys > mixtures // 12


WORDS = r"""
undefined null NULL (null) nil true FALSE None hasOwnProperty __proto__ constructor
\ \\ \n \N \x00 \u0000 0 1.00 $1.00 1/2 1E2 -1E+02 1/0 -0 0..0 . 0,00 0,,0 , --1 - -, NaN -Infinity
1#QNAN 0x0 0xffffffff 1,000,000.00 1'000.00 01000 08 2.2250738585072011e-308 99999999999999999999
٠١٢٣ １２３ ⁰⁴⁵ ₀₁₂ ½ Ω≈ç√ ЁЂЃ ¡™£¢∞§¶ ⅛⅜ `⁄€‹› 田中さん 찦차를 𠜎𠜱 ﷽ ＜script＞ ǰ ﬁ ẞ İ ß
😍 👩🏽 0️⃣ 🇺🇸🇷🇺 ❤️ ✋🏿 Z̮̞̠͙͔ͅḀ̗ ɯnɹpǝl 𝐓𝐡𝐞 𝕿𝖍𝖊 ⒯⒣⒠
' " '' "" '"' "'"'" “x” ”x“ `x' ,./;'[]\-= <>?:"{}|_+ !@#$%^&*()`~ "a", ;; || {"a":1} [1]
${HOME} $(x) `ls` %d%s%n {0} %00 ../../etc/passwd%00 http://a/%%30%30 &#39; CON NUL COM1 A:
-- --help =1+1 @SUM(A1) +1 -1 #N/A #REF! a=b&c=d a;b a|b k, <script>alert(1)</script> ::error:: *_k_
"""
NAUGHTY = [
    *WORDS.split(),
    *["x y", "1 000,00", "a\u00a0b", "a\u3000b", '"><img src=x onerror=y>', "DROP TABLE users; --"],
    *["' OR '1'='1", "DCC SEND 0 0 0", "\ue000", "\uffff", "\U0010ffff", "\u00ad", "\u202ek\u202c"],
    *[
        "e\u0301",
        "a\ufeffb",
        "a\u200db",
        "\u2066k\u2069",
        "t\u2060t",
        "\u0645\u064f",
        "\u05d1\u05b0",
    ],
]
UNUSABLE = [
    "a\tb",
    "a\x00b",
    "\x1b[31mk",
    "a\x7fb",
    "a\x85b",
    "a\x0bb",
    "a\u2028b",
    "\x07",
    "a\x1ab",
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("columns", [1, 2])
def test_naughty_strings_in_csv(read: Read, quoting: int, delimiter: str, columns: int) -> None:
    """Whatever a program wrote as CSV comes back to the letter, and control characters do not."""
    rows = [*NAUGHTY, *UNUSABLE]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
    for key in ["customerKey", *rows]:
        writer.writerow([key, "x"][:columns])
    expected = [(key, n) for n, key in enumerate(NAUGHTY, 2)]
    expected += [("!control_character", n) for n in range(expected[-1][1] + 1, len(rows) + 2)]
    assert read(out.getvalue(), delimiter=delimiter) == expected


@pytest.mark.parametrize("ascii_only", [True, False])
def test_naughty_strings_in_ndjson(read: Read, ascii_only: bool) -> None:
    """Whatever a program wrote as JSON comes back to the letter, escaped or not."""
    rows = [*NAUGHTY, *UNUSABLE, "\ud800", "k\udfff"]
    lines = [json.dumps({"customerKey": key, key: key}, ensure_ascii=ascii_only) for key in rows]
    text = "\n".join(lines if ascii_only else lines[:-2])
    expected = [(key, n) for n, key in enumerate(NAUGHTY, 1)]
    expected += [("!control_character", len(expected) + n + 1) for n in range(len(UNUSABLE))]
    if ascii_only:
        expected += [("!lone_surrogate", len(rows) - 1), ("!lone_surrogate", len(rows))]
    assert read(text, "keys.ndjson") == expected


@pytest.mark.parametrize(
    "bad",
    [b"\xff", b"\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe9"],
)
@pytest.mark.parametrize("line", ["{}k,1", "k,{}", '"{}",1', '"k\n{}",1', "k,1\n{}"])
def test_bytes_that_are_no_utf8_refuse_the_file(read: Read, bad: bytes, line: str) -> None:
    """Nothing is replaced or left out: line and byte offset of the first bad byte are named."""
    before, after = (f"a,b\nx,y\n{line}\nz,w\n".encode()).split(b"{}")
    number = before.count(b"\n") + 1
    with pytest.raises(InputError, match=rf"line {number}, byte offset {len(before)}\b"):
        read(before + bad + after, key_field="a")


def test_a_separator_line_that_names_the_quote_is_refused(read: Read) -> None:
    """What quotes cannot separate as well; --delimiter says what does."""
    assert result(read, 'sep="\na"b\nx"y\n', key_field="a") == REFUSED
    assert read('sep="\na,b\nx,y\n', key_field="a", delimiter=",") == [("x", 3)]


ENCODINGS = sorted(
    {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"mbcs", "oem"}
)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "no such", "é", "x" * 300])
def test_whichever_encoding_is_asked_for(read: Read, encoding: str) -> None:
    """A file in another encoding is refused or read as that encoding says; no other error comes."""
    contents = [
        b"a,b\nx,y\n",
        "a,b\nå€,y\n".encode(),
        "a,b\nå,y\n".encode("cp1252"),
        "a,b\nx,y\n".encode("utf-16"),
        "a,b\nx,y\n".encode("utf-16-le"),
        b"a,b\n\x1b$~{+AOQ-xn--a\n",
    ]
    for content in contents:
        try:
            found = read(content, key_field="a", encoding=encoding)
        except (InputError, UsageError):
            continue
        text = content.decode("utf-16" if content[:2] == b"\xff\xfe" else encoding)
        assert [key for key, _ in found if key[0] != "!"] in (
            [text.split("\n")[1].split(",")[0]],
            [],
        )


# ── the command itself ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "options", "code", "rows", "rejected"),
    [
        (SPECTRUM["newlines"][0], ["--key-field", "a"], 3, 3, 1),
        pytest.param(
            SPECTRUM["quotes_and_newlines"][0],
            ["--key-field", "b"],
            65,
            0,
            0,
            marks=pytest.mark.soak,
        ),
        pytest.param(SPECTRUM["latin1"][0], ["--key-field", "a"], 65, 0, 0, marks=pytest.mark.soak),
        pytest.param(SPECTRUM["json"][0], ["--key-field", "val"], 0, 1, 0, marks=pytest.mark.soak),
        pytest.param(
            TEST_DATA["all-empty"][0], ["--key-field", "a"], 65, 0, 0, marks=pytest.mark.soak
        ),
        pytest.param(
            "a,b\nx,y\n",
            ["--key-field", "a", "--encoding", "utf-16"],
            65,
            0,
            0,
            marks=pytest.mark.soak,
        ),
    ],
)
def test_the_command(
    write: Write, content: str | bytes, options: list[str], code: int, rows: int, rejected: int
) -> None:
    """A dry run ends with the right code and count, and never with a traceback."""
    path = write(content)
    command = [sys.executable, "-m", "bulk_eraser", "run", str(path), "--cluster-id", "acme"]
    ended = subprocess.run(
        [*command, "--dry-run", "--json", *options], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    counts = json.loads(ended.stdout)["counts"]
    assert (counts["rows"], counts["rejected"]) == (rows, rejected)
    assert counts["rows"] == sum(counts.values()) - counts["rows"]
    assert list(path.parent.iterdir()) == [path]

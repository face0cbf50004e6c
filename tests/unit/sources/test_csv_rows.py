"""CSV as people have it, and what is refused rather than guessed."""

import csv
import io
import itertools
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from bulk_eraser.errors import InputError
from bulk_eraser.sources.text import MAX_LINE

Read = Callable[..., list[tuple[str, int]]]

UUID = "7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c"
OTHER = "0b9d4c1e-8a77-4f02-b1d3-5e2f6a7c8d90"


# ── as meant ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("sep", ["", "sep=;\r\n", '"sep=;"\r\n', "SEP=;\r\n", "\r\nsep=;\r\n\r\n"])
def test_excel(read: Read, bom: str, sep: str) -> None:
    """BOM, `sep=` line, `;`, quoted header, CRLF, trailing `;;` and blank rows: read as meant."""
    text = f'{bom}{sep}Name;"customerKey";Notiz\r\n"Berg; Åsa";a1;x\r\n\r\n;;\r\n;b2;\r\n;;\r\n\r\n'
    lines = sep.count("\n")
    assert read(text) == [("a1", 2 + lines), ("b2", 5 + lines)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_separator_line(read: Read, delimiter: str, encoding: str) -> None:
    """`sep=` is believed for every delimiter, a tab as well, and is neither header nor key."""
    text = f"sep={delimiter}\r\nid{delimiter}customerKey\r\n1{delimiter}k1\r\n"
    assert read(text.encode(encoding)) == [("k1", 3)]


def test_an_option_is_stronger_than_the_separator_line(read: Read) -> None:
    """--delimiter counts even where the file says something else."""
    assert read("sep=,\ncustomerKey;n\na,b;1\n", delimiter=";") == [("a,b", 3)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read: Read, delimiter: str) -> None:
    """The delimiter is the one that makes the key's name a column."""
    rows = [["Kundnr, Ort|x", "customerKey"], ["1", "k1"], ["2", "k2"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    assert read(out.getvalue()) == [("k1", 2), ("k2", 3)]


def test_other_delimiters_in_the_header_do_not_mislead(read: Read) -> None:
    """A comma in another column's unquoted name cuts nothing."""
    assert read("Name, first;customerKey\nBerg, Åsa;k1\n") == [("k1", 2)]
    assert read("Name, first;id\nBerg, Åsa;k1\n", key_field="id") == [("k1", 2)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(read: Read, end: str, last: bool) -> None:
    """Unix, Windows and old Macintosh line ends, with or without one at the end of the file."""
    text = end.join(["customerKey;n", "k1;1", "", "k2;2", "k3;3"]) + (end if last else "")
    assert read(text) == [("k1", 2), ("k2", 4), ("k3", 5)]


def test_lines_are_physical_lines(read: Read) -> None:
    """A row is named by the line on which it starts, whatever stands above it."""
    text = (
        "\n\nsep=;\n\n"
        'note;customerKey;"more\nthan one"\n'  # 5, 6
        '"a\nb\n\nc";k1;x\n'  # 7 to 10
        "\n;;\n"
        '"d\r\ne";;x\n'  # 13, 14: rejected
        'f;k2;"g\n"\n'  # 15, 16
        "h;k3\n"
    )
    assert read(text) == [("k1", 7), ("!empty_key", 13), ("k2", 15), ("k3", 17)]


def test_a_lone_cr_in_a_file_with_other_line_ends_cuts_no_key(read: Read) -> None:
    """`ab<CR>cd` is one bad row, not two keys that nobody meant."""
    assert read("customerKey\nk1\nab\rcd\nk2\n") == [
        ("k1", 2),
        ("!malformed_csv", 3),
        ("k2", 4),
    ]
    assert read('customerKey\r\n"ab\rcd"\r\nk2\r\n') == [("!control_character", 2), ("k2", 3)]


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ('"a""b"', 'a"b'),
        ('a"b', 'a"b'),
        ('5"', '5"'),
        ('"a,b;c|d"', "a,b;c|d"),
        ("+ # & % / ? =", "+ # & % / ? ="),
        ("é😀", "é😀"),
        ("=1+1", "=1+1"),
        ("'x'", "'x'"),
        ("a\\b", "a\\b"),
    ],
)
def test_keys_arrive_unchanged(read: Read, field: str, key: str) -> None:
    """What CSV or a URL could trip over is in the key as it was in the field."""
    assert read(f"n,customerKey\n1,{field}\n") == [(key, 2)]


@pytest.mark.parametrize("header", ["id", "Kundnummer", "Customer key (UUID)", "sha256", "Column1"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_an_only_column_needs_no_name(read: Read, header: str, quote: str) -> None:
    """With one column it is that one, whatever it is called."""
    assert read(f"{quote}{header}{quote}\n{UUID}\n") == [(UUID, 2)]
    assert read(f"{header};;\r\n{UUID};;\r\n;;\r\n") == [(UUID, 2)]


# ── a bad row is a value, the rest goes on ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("x,,y", "empty_key"),
        ("x,  ,y", "empty_key"),
        ('x,"",y', "empty_key"),
        ("x", "missing_field"),
        ("x,k,y,z", "too_many_fields"),
        ("x,Doe, John,y", "too_many_fields"),
        ("x,a\x00b,y", "control_character"),
        ("x,a\tb,y", "control_character"),
        ("x,\x1b[31mk,y", "control_character"),
        ('x,"a\nb",y', "control_character"),
        ('x,"a\r\nb",y', "control_character"),
        ('x,"k"z,y', "malformed_csv"),
        ('x,"5" wide",y', "malformed_csv"),
        ('"he said "hi"",k,y', "malformed_csv"),
        ('x, "k",y', "malformed_csv"),
        ('x,\t"k",y', "malformed_csv"),
        (' "Doe, John",k,', "malformed_csv"),
        (' "Doe, John",k', "malformed_csv"),
        ('"x", "Doe, John"', "malformed_csv"),
        (' "Doe, John","k\nl"', "malformed_csv"),
        ("x," + "k" * 2049 + ",y", "key_too_long"),
        ("x," + "k" * 131_073 + ",y", "field_too_long"),
        ('"' + "x" * 131_073 + '",k,y', "field_too_long"),
        ("x,k," + "y" * MAX_LINE, "line_too_long"),
        ("x,k" + ",y" * (MAX_LINE // 2), "line_too_long"),
        ('x,k,"' + "y" * MAX_LINE + '"', "line_too_long"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bad_row_is_rejected_and_the_rest_goes_on(
    read: Read, row: str, error: str, end: str
) -> None:
    """The row that is wrong is named by line and word; the rows around it are read."""
    text = end.join(["a,customerKey,b", "1,k1,2", row, "3,k2,4", "5,k3,6", ""])
    after = 4 + row.count("\n")
    assert read(text) == [("k1", 2), (f"!{error}", 3), ("k2", after), ("k3", after + 1)]


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_the_longest_line_is_exact(read: Read, end: str, over: int) -> None:
    """A line of 1,048,576 characters is read, whatever ends it; one more is too many."""
    line = "k2" + ",y" * ((MAX_LINE - 2) // 2) + "y" * over
    text = "customerKey," + "," * (MAX_LINE // 2) + (end or "\n") + line
    expected = "!line_too_long" if over else "k2"
    if end:
        assert read(f"{text}{end}k3{end}") == [(expected, 2), ("k3", 3)]
    else:
        assert read(text) == [(expected, 2)]


def test_rows_of_a_quoted_field_that_is_too_long_do_not_become_keys(read: Read) -> None:
    """The rest of an over-long note on the next line is no row: its text is never sent."""
    note = '"' + "x" * 131_073 + "\nnot-a-key,neither\n"
    with pytest.raises(InputError, match="opened on line 2 "):
        read(f'customerKey,note\nk1,{note}end"\nk2,\n')


@pytest.mark.parametrize("inside", ["x" * MAX_LINE, 'x""' * (MAX_LINE // 2)])
def test_an_over_long_line_keeps_quotes_in_step(read: Read, inside: str) -> None:
    """A quoted field that goes on behind an over-long line ends where it ends."""
    text = f'customerKey,note\nk1,"a\n{inside},"\nk2,"{inside}\nno-key,x\n"\nk3,\n'
    assert read(text) == [("!line_too_long", 2), ("!line_too_long", 4), ("k3", 7)]


@pytest.mark.parametrize("rest", ["some words\n", 'foo, bar"\n', 'a,b"c\n', "a,b,c\n"])
def test_what_may_be_the_rest_of_a_broken_row_is_no_row(read: Read, rest: str) -> None:
    """Behind a row with broken quotes only a row that is whole is read as one."""
    with pytest.raises(InputError, match="opened on line 2 "):
        read(f'customerKey,note\nk1,"5" pipe\n\n{rest}k2,\n')


def test_a_row_behind_a_rejected_one_may_be_ragged(read: Read) -> None:
    """Trailing empty fields make no rest, and behind a field that is too long any row is one."""
    text = 'customerKey,note\nk1,"5" pipe",\nk2,,,\nk3,"' + "x" * 131_073 + '"\nk4\n'
    assert read(text) == [("!malformed_csv", 2), ("k2", 3), ("!field_too_long", 4), ("k4", 5)]


# ── a stray quote ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['k1,"x'], 2),
        (["k1,x", '"k2,x'], 3),
        (["k1,x", '"k2,x', *["k3,x"] * 20_000], 3),
        (["k1,x", '"k2,x', "k3,x", 'k4",x'], 3),
        (["k1,x", '"k2,x', "k3,x", 'k4"'], 3),
        (["k1,x", 'k2,"5 wide', "k3,6 wide", 'k4,"7", wide'], 3),
        (["k1,x", 'k2,"5 wide', "k3,6 wide", 'k4,7" wide'], 3),
        (["k1,x", 'k2,"5 wide', "k3,x", 'k4,7 wide"', "k5,x"], 3),
        (["k1,x", 'k2,"5 wide', 'k3,7 wide"', "k4,x"], 3),
        (["", '"a\nb",k2', "k1,x", "", '"k2,x'], 7),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stray_quote_that_swallows_rows_is_refused(
    read: Read, rows: list[str], line: int, end: str
) -> None:
    """No row vanishes in a quoted field: the line where the quote opened is named."""
    text = end.join(["customerKey,note", *rows, ""]).replace("a\nb", f"a{end}b")
    with pytest.raises(InputError, match=rf'a quote \("\) opened on line {line} '):
        read(text)


@pytest.mark.parametrize(
    "note",
    [
        "Call back,\nthen delete, please",
        "1,2\n3,4",
        "12345\n67890",
        f"{UUID}\n{OTHER}",
        "a\n\n\n,,,\n",
        'she said ""no""\n; ""really""',
    ],
)
def test_a_note_over_several_lines_is_no_stray_quote(read: Read, note: str) -> None:
    """Line breaks in a quoted field are allowed where its lines are no rows."""
    text = f'customerKey,note\n{UUID},"{note}"\n{OTHER},\n'
    assert read(text) == [(UUID, 2), (OTHER, 3 + note.count("\n"))]


# ── which column ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", ["id;name", "ID,Kunde,Ort", "customerkey;CustomerKey"])
def test_a_missing_column_lists_the_others(read: Read, header: str) -> None:
    """The names that are there are named, and the options that decide it."""
    names = ", ".join(header.replace(",", ";").split(";"))
    with pytest.raises(InputError, match=f"no column customerKey. Columns there: {names}.*--key-f"):
        read(f"{header}\n1;2;3\n")


def test_a_column_that_is_there_twice_is_refused(read: Read) -> None:
    """Which of two equal names is meant is not guessed."""
    with pytest.raises(InputError, match=r"has the column customerKey twice.*note, customerKey"):
        read("customerKey,note,customerKey\na,b,c\n")
    with pytest.raises(InputError, match="has the column id twice"):
        read("id,id\na,b\n", key_field="id")


@pytest.mark.parametrize("key_field", ["note", "Kunden-Id"])
def test_a_column_can_be_named(read: Read, key_field: str) -> None:
    """--key-field is taken to the letter, blanks around the name apart."""
    assert read(f"customerKey, {key_field} \nk1,n1\n", key_field=key_field) == [("n1", 2)]
    with pytest.raises(InputError, match="no column"):
        read(f"customerKey,{key_field}\nk1,n1\n", key_field=key_field.upper())


@pytest.mark.parametrize(
    "header",
    [
        "customerKey:name",
        "customerKey^name",
        "id~name",
        "id\x1fname",
        '"a,b"',
        '"customer\nKey"',
        ",a;b",
    ],
)
def test_an_only_column_that_may_be_several_is_refused(read: Read, header: str) -> None:
    """An only column is taken for the key's only once it is certain that there is one."""
    with pytest.raises(InputError, match=r"(?s)has no column customerKey.*--delimiter"):
        read(f"{header}\nk1:Berg\n")


def test_a_wrong_delimiter_does_not_join_columns(read: Read) -> None:
    """With --delimiter the line may be one column for want of that character; then it is none."""
    with pytest.raises(InputError, match="has no column customerKey"):
        read("customerKey,name\nk1,Berg\n", delimiter=";")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("ab,cd", "!too_many_fields"),
        ('"ab,cd"', "ab,cd"),
        ("ab,", "ab"),
        ("ab;cd", "ab;cd"),
        ("ab|cd", "ab|cd"),
        ("ab;;;", "!too_many_fields"),
        ("ab|", "!too_many_fields"),
        ("ab; ; ", "!too_many_fields"),
        (f"{UUID};Berg", "!too_many_fields"),
        (f"{{{UUID}}}|Berg", "!too_many_fields"),
        ("ab\tcd", "!control_character"),
    ],
)
def test_a_key_is_neither_cut_nor_joined_by_an_undetected_delimiter(
    read: Read, rows: str, expected: str
) -> None:
    """Where the header shows no delimiter, a key is whole or it is rejected."""
    assert read(f"customerKey\nk1\n{rows}\nk2\n") == [("k1", 2), (expected, 3), ("k2", 4)]


def test_a_delimiter_that_was_asked_for_cuts_nothing_else(read: Read) -> None:
    """With --delimiter a key may end with any other character."""
    assert read("customerKey\nab;\nab,\n", delimiter="\t") == [("ab;", 2), ("ab,", 3)]


# ── without a header ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "key_field", "expected"),
    [
        ("k1\nk2\n", None, [("k1", 1), ("k2", 2)]),
        ("\n\nk1\n", None, [("k1", 3)]),
        ("sep=;\na;k1\nb;k2\n", "2", [("k1", 2), ("k2", 3)]),
        ("k1,a\nk2\n,b\n", "1", [("k1", 1), ("k2", 2), ("!empty_key", 3)]),
        ("a\tk1\n", "2", [("k1", 1)]),
        ("customerKey\n", None, [("customerKey", 1)]),
    ],
)
def test_no_header(
    read: Read, text: str, key_field: str | None, expected: list[tuple[str, int]]
) -> None:
    """With --no-header the first line is a row, and --key-field a number."""
    assert read(text, header=False, key_field=key_field) == expected


@pytest.mark.parametrize("key_field", [None, "0", "3", "-1", "customerKey", "1.0", "²", "٢"])
def test_no_header_needs_a_number(read: Read, key_field: str | None) -> None:
    """With several columns and no names, the number of the key's column must be given."""
    with pytest.raises(InputError, match=r"2 columns and no header.*from 1 to 2"):
        read("k1,a\n", header=False, key_field=key_field)


def test_no_header_needs_one_delimiter(read: Read) -> None:
    """A first row that could be cut in two ways is cut in none."""
    with pytest.raises(InputError, match="--delimiter"):
        read("k1;Berg, Åsa\n", header=False, key_field="1")
    assert read("k1;Berg, Åsa\n", header=False, key_field="1", delimiter=";") == [("k1", 1)]


@pytest.mark.parametrize(
    "keys",
    [
        [UUID, OTHER],
        [f"{{{UUID}}}", f"{{{OTHER}}}"],
        [UUID.upper(), OTHER.upper()],
        [UUID.replace("-", ""), OTHER.replace("-", "")],
        ["1", "2"],
        ["10023", "C-9"],
        ["C-9999", "C-10000"],
        ["3f9a1c22", "b27e05aa"],
        ["ab1", "xy99"],
        ["V-StGXR_ZajdHiB_myTab", "lXq8Rk-2Zt_Yp0Vn3Ws5u"],
        ["anna@example.com", "bo@example.com"],
        ["k" * 41, "k" * 42],
        [f"{UUID};", f"{OTHER};"],
        [f" {UUID}", OTHER],
        [f'"{UUID}"', f'"{OTHER}"'],
    ],
)
@pytest.mark.parametrize("between", ["", "\n", "ab\x00c\n"])
def test_a_missing_header_never_loses_the_first_key(
    read: Read, keys: list[str], between: str
) -> None:
    """Where the only column's name could be a key, the run is refused rather than one key short."""
    with pytest.raises(InputError, match=r"looks like a customer key.*--no-header"):
        read(f"{keys[0]}\n{between}{keys[1]}\n")


def test_a_message_shows_no_key_for_a_column(read: Read) -> None:
    """The columns of a file without header are its first row; they are not shown."""
    with pytest.raises(InputError, match=r"first line looks like a row.*--no-header") as refused:
        read(f"{UUID};Åsa Berg\n{OTHER};Bo\n")
    assert UUID not in str(refused.value)
    assert "Berg" not in str(refused.value)


@pytest.mark.parametrize(
    ("header", "field", "meant"),
    [
        ("Name;Customer Key", None, "Customer Key"),
        ("customer_key,name", None, "customer_key"),
        ("name,cusotmerKey", None, "cusotmerKey"),
        ("name,Discovery-Key", None, "Discovery-Key"),
        ("Kunden-ID;Ort", "Kundenid", "Kunden-ID"),
    ],
)
def test_a_column_that_is_nearly_right(
    read: Read, header: str, field: str | None, meant: str
) -> None:
    """It is proposed; that the header is none is not."""
    with pytest.raises(InputError, match=rf"Did you mean {meant}\?") as refused:
        read(f"{header}\nk1;k2\n", key_field=field)
    assert "--no-header" not in str(refused.value)


@pytest.mark.parametrize("header", ["id;name", "KeyField,Kunde", "Ort|Key"])
def test_no_column_is_nearly_right(read: Read, header: str) -> None:
    """What is not alike is listed, not proposed; no advice would send names as keys."""
    with pytest.raises(InputError, match="Columns there") as refused:
        read(f"{header}\nk1;k2\n")
    assert "Did you mean" not in str(refused.value)
    assert "--no-header" not in str(refused.value)


def test_the_name_of_the_sister_product(read: Read) -> None:
    """discoveryKey is the key's column where customerKey is not there."""
    assert read("id;discoveryKey\n1;k1\n") == [("k1", 2)]
    assert read("discoveryKey,customerKey\nd1,k1\n") == [("k1", 2)]
    with pytest.raises(InputError, match="has the column discoveryKey twice"):
        read("discoveryKey,discoveryKey\nd1,d2\n")


@pytest.mark.parametrize("name", ["customerKey", "Customer Key", "discoveryKey"])
@pytest.mark.parametrize(
    "title",
    [
        "Customers to erase",
        "Export of 2026-11-24",
        "Export of 2026-11-24;by Anna",
        "To erase\nOctober\nfrom the shop",
        "a@example.com",
    ],
)
@pytest.mark.parametrize("header", ["{}", "{};name", 'n;"{}";x'])
def test_a_title_above_the_header(read: Read, title: str, name: str, header: str) -> None:
    """It is told where the names are; nobody is led to send them as keys."""
    content = f"{title}\n{header.format(name)}\nk1;k1;Anna\n"
    line = title.count("\n") + 2
    with pytest.raises(
        InputError, match=rf"{name} is on line {line}. Use --header-row {line}\."
    ) as no:
        read(content)
    assert "--no-header" not in str(no.value)
    if header.startswith("n;"):  # which has as many columns as the row
        assert read(content, header_row=line, key_field=name) == [("k1", line + 1)]


def test_the_line_of_the_header(read: Read) -> None:
    """What stands above it is passed over, whatever it is; lines keep their numbers."""
    content = 'sep=;\na title, "quoted;by Anna\n\ncustomerKey;n\nk1;x\n\nk2;y\n'
    assert read(content, header_row=4) == [("k1", 5), ("k2", 7)]
    assert read("customerKey,n\nk1,x\n", header_row=1) == [("k1", 2)]
    assert read("title\ncustomerKey\nk1\n", header_row=2) == [("k1", 3)]
    for row in (3, 8, 99):
        with pytest.raises(InputError, match=rf"nothing on line {row}, which --header-row names"):
            read(content, header_row=row)


def test_a_column_twice_is_no_title(read: Read) -> None:
    """A header that stands again further down is not the only one."""
    with pytest.raises(InputError, match="customerKey twice"):
        read("customerKey,customerKey\na,b\ncustomerKey,customerKey\n")


@pytest.mark.parametrize("text", ["customer\n" + "K" + "; " * 32_000 + "x\n", "@" * 64_000 + "\n"])
def test_no_pattern_takes_long(read: Read, text: str) -> None:
    """A field or header of 64 kB made for a slow pattern is looked at in no time."""
    began = time.process_time()
    with suppress(InputError):
        read(text)
    assert time.process_time() - began < 0.5


# ── unusable ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["\n", "\r\n \r\n", "\ufeff", "sep=;\n", ";;;\n;;;\n", "\t\n"])
def test_a_file_without_rows_is_refused(read: Read, text: str) -> None:
    """Blank lines, a byte order mark or a `sep=` line alone are nothing to erase."""
    with pytest.raises(InputError, match="holds no rows"):
        read(text)


@pytest.mark.parametrize(
    "header",
    ['"customerKey;n', '"customerKey"x;n', '"a\nb', "x" * 131_073, '"' + "x," * 70_000 + '"'],
    ids=["open", "behind", "lines", "long", "quoted"],
)
def test_a_broken_header_is_refused(read: Read, header: str) -> None:
    """Without its columns nothing can be told; the line is named."""
    with pytest.raises(InputError, match=r"the quotes in the header \(line 3\) are broken"):
        read(f"\n\n{header}\nk1;n\n")


@pytest.mark.parametrize("header", [True, False])
def test_a_first_line_without_end_is_refused(read: Read, header: bool) -> None:
    """An endless first line is no header and no row, and costs no memory."""
    with pytest.raises(InputError, match="first line is longer than 1 MiB"):
        read("\n" + "x" * (3 * MAX_LINE) + "\nk1\n", header=header)


@pytest.mark.parametrize(
    "text", ['{"customerKey":"ab"}\n{"customerKey":"cde"}\n', '[{"customerKey":"ab"}]', '\n[ "ab"']
)
@pytest.mark.parametrize("header", [True, False])
def test_json_named_csv_is_refused(read: Read, text: str, header: bool) -> None:
    """No JSON object is ever taken for a key."""
    with pytest.raises(InputError, match="--format ndjson"):
        read(text, header=header)


def test_a_row_of_blanks_between_others_shifts_nothing(read: Read) -> None:
    """Every mix of blank, `;;` and real rows keeps its lines."""
    for kinds in itertools.product(["", ";;", "k;x;"], repeat=3):
        rows = list(kinds)
        expected = [("k", line) for line, row in enumerate(rows, 2) if row.startswith("k")]
        assert read("\n".join(["customerKey;a;b", *rows, "z;;"])) == [*expected, ("z", 5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Customers to erase;;\nname;customerKey;x\nAnn Lee;k1;1\n",
            "customerKey is on line 2. Use --header-row 2",
        ),
        ("Customers to erase;;\n;;\nname;customer;x\nAnn Lee;k1;1\n", "line 3 has more"),
        ("Customers to erase\ncustomerKey\nk1\n", "customerKey is on line 2. Use --header-row 2"),
    ],
)
def test_a_title_above_the_header_is_not_taken_for_it(read: Read, text: str, said: str) -> None:
    """Or names of people would be sent as keys: 65, and what to delete."""
    with pytest.raises(InputError, match=said):
        read(text)


def test_a_second_header_is_no_row_to_send(read: Read) -> None:
    """Where two files were joined the header stands twice; it is rejected, the rest goes on."""
    found = read("customerKey,n\nk1,1\ncustomerKey,n\nk2,2\n")
    assert found == [("k1", 2), ("!repeated_header", 3), ("k2", 4)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_comma_of_decimals_in_a_lone_column_is_no_delimiter(read: Read, line_end: str) -> None:
    """A German spreadsheet writes one column without quotes: the rounded key is seen as one."""
    text = line_end.join(["customerKey", "K-10001", "4,01235E+15", ""])
    assert read(text) == [("K-10001", 2), ("4,01235E+15", 3)]

"""Workbooks: cells are read as a person sees them, or refused; nothing is passed over."""

import io
import random
import re
import zipfile
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.chart import BarChart
from openpyxl.styles import Font

from bulk_eraser.errors import InputError
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources import file
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Path]

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
UNREADABLE = r"keys\.xlsx cannot be read as an Excel workbook"


@pytest.fixture
def read_book(read: Read) -> Read:
    """The rows of a file that is a workbook by its name."""
    return partial(read, name="keys.xlsx")


def saved(book: openpyxl.Workbook) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def table(rows: Iterable[Iterable[Any]]) -> openpyxl.Workbook:
    """A workbook of one sheet with these rows from A1 on."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    return book


def relation(number: int, kind: str, target: str, space: str = OFFICE) -> str:
    return f'<Relationship Id="rId{number}" Type="{space}/{kind}" Target="{target}"/>'


def archive(
    sheet: str | bytes = "",
    *,
    strings: str | None = None,
    sheets: str = '<sheet name="S" sheetId="1" r:id="rId1"/>',
    relations: str = relation(1, "worksheet", "worksheets/sheet1.xml"),
    parts: dict[str, str | bytes | None] | None = None,
    packing: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A workbook by hand, with these rows in its first sheet; of `parts`, None leaves one out."""
    if isinstance(sheet, str) and not sheet.startswith("<?xml"):
        sheet = whole_sheet(sheet)
    whole: dict[str, str | bytes | None] = {
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}">'
        f"{relation(1, 'officeDocument', 'xl/workbook.xml')}</Relationships>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{sheets}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{relations}'
        f"{relation(98, 'sharedStrings', 'sharedStrings.xml') if strings else ''}</Relationships>",
        "xl/worksheets/sheet1.xml": sheet,
        "xl/sharedStrings.xml": strings and f'<sst xmlns="{MAIN}">{strings}</sst>',
    } | (parts or {})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", packing) as packed:
        for name, part in whole.items():
            if part is not None:
                packed.writestr(name, part)
    return content.getvalue()


def whole_sheet(rows: str, *, prefix: str = "", encoding: str = "UTF-8", start: str = "") -> str:
    """The XML of a sheet, with a prefix to the names of elements."""
    space = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
    sheet = f'<worksheet {space}="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    tags = re.sub(r"<(/?)(?=\w)", rf"<\1{prefix}", sheet)
    return f'<?xml version="1.0" encoding="{encoding}"?>{start}{tags}'


def row(number: int, *cells: str, attributes: str = "") -> str:
    return f'<row r="{number}"{attributes}>{"".join(cells)}</row>'


def text(place: str, value: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'


HEADER = row(1, text("A1", "customerKey"), text("B1", "n"))
ONE_KEY = HEADER + row(2, text("A2", "k1"))


# ── rows and cells ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("column", [1, 2, 5])
@pytest.mark.parametrize("first", [1, 2, 7])
def test_the_table_may_begin_anywhere(read_book: Read, first: int, column: int) -> None:
    """Rows above the header, columns before the first one and blank rows are passed over, and a
    row is named by its number in the sheet."""
    book = openpyxl.Workbook()
    for line, cells in enumerate([("n", "customerKey"), (1, "k1"), (), (), (2,), (3, "k2")], first):
        for place, cell in enumerate(cells, column):
            book.active.cell(line, place, cell)
    assert read_book(saved(book)) == [
        ("k1", first + 1),
        ("!empty_key", first + 4),
        ("k2", first + 5),
    ]


def test_cells_without_text_are_no_rows(read_book: Read) -> None:
    """Frames, bold type and heights down to row 9,999 are not rows."""
    book = table([["customerKey"], ["k1"], [None], [7]])
    book.active["A3"].font = book.active["C9999"].font = Font(bold=True)
    book.active.row_dimensions[9998].height = 30
    assert read_book(saved(book)) == [("k1", 2), ("!wrong_type", 4)]


@pytest.mark.parametrize(
    "cell",
    [
        0,
        7,
        4012350000000000,
        1.5,
        1e300,
        True,
        False,
        date(2026, 10, 1),
        datetime(2026, 10, 1, 3, 4),
        time(3, 4),
        timedelta(hours=30),
    ],
    ids=repr,
)
def test_a_cell_that_is_no_text_is_no_key(read_book: Read, cell: object) -> None:
    """A number may have been rounded or have lost its zeros, so it is rejected, never sent."""
    content = saved(table([["customerKey", "n"], ["k1"], [cell], [cell, "x"], ["k2"]]))
    assert read_book(content) == [("k1", 2), ("!wrong_type", 3), ("!wrong_type", 4), ("k2", 5)]


@pytest.mark.parametrize(
    "cell",
    [
        "<v>7</v>",
        '{t="n"}<v>4.0123500000000002E+15</v>',
        '{t="b"}<v>1</v>',
        '{t="e"}<v>#N/A</v>',
        '{t="e"}<f>VLOOKUP(1,B:B,1)</f><v>#REF!</v>',
        "{t='e'}<v>#N/A</v>",
        '{ t = "e" vm="1"}<v>#VALUE!</v>',
        '{t="d"}<v>2026-10-01T00:00:00Z</v>',
        "<f>1+1</f><v>2</v>",
    ],
)
@pytest.mark.parametrize("addressed", [True, False])
@pytest.mark.parametrize("beside", ["", '<c t="inlineStr"><is><t>x</t></is></c>'])
def test_whatever_is_no_text_keeps_its_row(
    read_book: Read, cell: str, addressed: bool, beside: str
) -> None:
    """Numbers, truth values, errors and dates are rejected with their line, and never taken for a
    blank row, also when the row holds nothing else, with and without addresses of cells."""
    attributes, _, inner = cell[1:].partition("}") if cell[0] == "{" else ("", "", cell)
    number, place = (' r="3"', ' r="A3"') if addressed else ("", "")
    line = f"<row{number}><c{place} {attributes}>{inner}</c>{beside}</row>"
    assert read_book(archive(ONE_KEY + line)) == [("k1", 2), ("!wrong_type", 3)]
    assert read_book(archive(ONE_KEY + line + row(4, text("A4", "k2"))))[1:] == [
        ("!wrong_type", 3),
        ("k2", 4),
    ]


def test_an_error_beside_the_key_is_no_matter(read_book: Read) -> None:
    """An error in another column neither rejects a key nor makes a row without one blank."""
    error = '<c r="B{}" t="e"><v>#N/A</v></c>'.format
    content = archive(HEADER + row(2, text("A2", "k1"), error(2)) + row(3, error(3)))
    assert read_book(content) == [("k1", 2), ("!empty_key", 3)]


@pytest.mark.parametrize("value", ["", "<v></v>", "<v/>"])
def test_a_formula_that_was_never_calculated_is_not_blank(read_book: Read, value: str) -> None:
    """A program may write formulas without results: such a row is rejected, not passed over."""
    formula = f'<c r="A{{}}"><f>B1</f>{value}</c>'.format
    content = archive(ONE_KEY + row(3, formula(3)) + row(4, text("A4", "k2")) + row(6, formula(6)))
    assert read_book(content) == [("k1", 2), ("!empty_key", 3), ("k2", 4), ("!empty_key", 6)]


def test_results_of_formulas_are_read(read_book: Read) -> None:
    """A formula's text is a key, and a formula that gives no text in a prepared row is no row."""
    cells = [
        ("<f>B3</f>", "f3"),
        ('<f t="shared" ref="A4:A5" si="0">B4</f>', "f4"),
        ('<f t="shared" si="0"/>', "f5"),
        ("<f>B6</f>", ""),
        ("<f>B7</f>", "f7"),
    ]
    content = archive(
        ONE_KEY
        + "".join(
            row(number, f'<c r="A{number}" t="str">{formula}<v>{value}</v></c>')
            for number, (formula, value) in enumerate(cells, 3)
        )
    )
    assert read_book(content) == [("k1", 2), ("f3", 3), ("f4", 4), ("f5", 5), ("f7", 7)]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("00123", "00123"),
        ("4012350000000000", "4012350000000000"),
        ("=1+1", "=1+1"),
        ("'k", "'k"),
        ("#N/A", "#N/A"),
        ("TRUE", "TRUE"),
        ("2026-10-01", "2026-10-01"),
        (" k\u00a0", "k"),
        ("<t>&amp;</t>", "<t>&amp;</t>"),
        ("a\nb", "!control_character"),
        ("\ufeff", "!empty_key"),
        ("k" * 2049, "!key_too_long"),
        ("😀é", "😀é"),
    ],
)
def test_text_is_taken_as_it_stands(read_book: Read, value: str, key: str) -> None:
    """What is stored as text is not read as a number, a formula or XML."""
    book = table([["customerKey"], ["k1"], [None]])
    cell = book.active["A3"]
    cell.value = value
    cell.data_type = "s"  # `=1+1` as after an apostrophe
    assert read_book(saved(book)) == [("k1", 2), (key, 3)]


def test_formatted_text_is_joined(read_book: Read) -> None:
    """A key of which half is bold is one key."""
    bold = TextBlock(InlineFont(b=True), "cd ")
    book = table([["customerKey"], [CellRichText("ab", bold, "ef")]])
    assert read_book(saved(book)) == [("abcd ef", 2)]


@pytest.mark.parametrize(
    ("inner", "key"),
    [
        ("<t>ab</t>", "ab"),
        ("<r><t>ab</t></r><r><rPr><b/></rPr><t xml:space='preserve'> cd</t></r>", "ab cd"),
        ("<t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh><phoneticPr fontId='1'/>", "東京"),
        ("<t>a_x000D_b</t>", "!control_character"),
        ("<t>a_x005F_x000D_b</t>", "a_x000D_b"),
        ("<t>a_x00e9_b</t>", "aéb"),
        ("<t xml:space='preserve'> k </t>", "k"),
        ("<t>a&amp;b&lt;&#65;&#x42;&quot;</t>", 'a&b<AB"'),
        ("<t><![CDATA[<a&b>]]></t>", "<a&b>"),
        ("<t/>", "!empty_key"),
    ],
)
def test_text_shared_or_in_its_cell(read_book: Read, inner: str, key: str) -> None:
    """Shared strings and inline ones give the same: no phonetic text, Excel's escapes undone."""
    strings = f"<si><t>x</t></si><si>{inner}</si>"
    shared = row(3, '<c r="A3" t="s"><v>1</v></c>', text("B3", "x"))
    inline = row(3, f'<c r="A3" t="inlineStr"><is>{inner}</is></c>', text("B3", "x"))
    for content in (archive(ONE_KEY + shared, strings=strings), archive(ONE_KEY + inline)):
        assert read_book(content) == [("k1", 2), (key, 3)]


CELLS = {
    "": ("", None, False),
    "format": ('<c r="{}" s="1"/>', None, False),
    "no text": ('<c r="{}" t="str"><f>B1</f><v></v></c>', None, False),
    "text": ('<c r="{}" t="inlineStr"><is><t>k</t></is></c>', "k", True),
    "result": ('<c r="{}" t="str"><f>B1</f><v>k</v></c>', "k", True),
    "number": ('<c r="{}"><v>0</v></c>', "!wrong_type", True),
    "false": ('<c r="{}" t="b"><v>0</v></c>', "!wrong_type", True),
    "error": ('<c r="{}" t="e"><v>#N/A</v></c>', "!wrong_type", True),
    "date": ('<c r="{}" t="d"><v>2026-10-01</v></c>', "!wrong_type", True),
    "never calculated": ('<c r="{}"><f>B1</f><v></v></c>', None, True),
}
"""Kind of cell → its XML, what it makes of a row as its key, and whether it makes a row at all."""


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(st.lists(st.sampled_from(list(CELLS)), max_size=4), max_size=12),
    key=st.integers(0, 2),
    first=st.sampled_from([1, 3]),
)
def test_no_row_is_lost(read_book: Read, rows: list[list[str]], key: int, first: int) -> None:
    """Whatever the cells hold, and wherever they are: a row with anything in it is counted, with
    its own number, as a key or rejected."""
    names = [text(f"{'CDE'[n]}{first}", "customerKey" if n == key else f"n{n}") for n in range(3)]
    content, expected = row(first, *names), []
    for line, kinds in enumerate(rows, first + 1):
        cells = [CELLS[kind] for kind in kinds]
        placed = zip("CDEF", cells, strict=False)
        content += row(line, *(xml.format(f"{column}{line}") for column, (xml, _, _) in placed))
        if any(is_filled for _, _, is_filled in cells):
            of_key = cells[key][1] if key < len(cells) else None
            expected.append((of_key or "!empty_key", line))
    assert read_book(archive(content)) == expected


# ── hidden rows ─────────────────────────────────────────────────────────────────────────────────


def test_a_filtered_sheet_is_refused(read_book: Read) -> None:
    """Whoever looked at the sheet saw some rows, the file holds all: who is meant is not known."""
    book = table([["customerKey"], ["k1"], ["k2"], ["k3"]])
    book.active.auto_filter.ref = "A1:A4"
    for hidden in (2, 4):
        book.active.row_dimensions[hidden].hidden = True
    with pytest.raises(InputError, match=r"keys\.xlsx has 2 hidden rows \(by a filter"):
        read_book(saved(book))


@pytest.mark.parametrize(
    "hidden",
    [
        'hidden="1"',
        "hidden='1'",
        'hidden="true"',
        'hidden = "1"',
        'spans=">" hidden="1"',
        'ht="15" customHeight="1" hidden="1" s="1"',
        '\n\thidden="1"\n',
        'hidden="&#49;"',
        'hidden="on"',
    ],
)
@pytest.mark.parametrize("prefix", ["", "x:", "s-1.x:"])
def test_a_hidden_row_is_found_however_it_is_written(
    read_book: Read, hidden: str, prefix: str
) -> None:
    """Quotes, blanks, entities, prefixes and places of attributes make no difference."""
    line = row(3, text("A3", "k2"), attributes=f" {hidden}")
    with pytest.raises(InputError, match="has 1 hidden row "):
        read_book(archive(whole_sheet(ONE_KEY + line, prefix=prefix)))


@pytest.mark.parametrize("rows", [0, 5000])
def test_a_hidden_row_is_found_wherever_it_is(read_book: Read, rows: int) -> None:
    """Also without an address or a cell, and far down, where the sheet is read piece by piece."""
    lines = [row(n, text(f"A{n}", f"{n:0250}")) for n in range(3, 3 + rows)]
    assert len(read_book(archive(ONE_KEY + "".join(lines)))) == 1 + rows
    with pytest.raises(InputError, match=r"has 1 hidden row \("):
        read_book(archive(ONE_KEY + "".join(lines) + '<row hidden="1"/>'))


def test_rows_that_can_be_seen_are_not_taken_for_hidden(read_book: Read) -> None:
    """What merely looks like a hidden row is none: a comment, a text, another sheet's row, a
    hidden column, rows that were shown again."""
    shown = row(3, text("A3", "k2"), attributes=' hidden="0"')
    shown += row(4, text("A4", "&lt;row hidden=&quot;1&quot;&gt;"), attributes=' hidden="false"')
    assert read_book(archive(f'{ONE_KEY}<!-- <row hidden="1"/> -->{shown}')) == [
        ("k1", 2),
        ("k2", 3),
        ('<row hidden="1">', 4),
    ]
    book = table([["customerKey", "n"], ["k1", 1]])
    book.active.column_dimensions["B"].hidden = True
    book.create_sheet("Other").row_dimensions[1].hidden = True
    assert read_book(saved(book), sheet="Sheet") == [("k1", 2)]


# ── sheets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def book() -> openpyxl.Workbook:
    """Four worksheets, of which two can be seen, and a chart."""
    book = table([["customerKey"], ["k1"]])
    book.active.title = "Löschen & <jetzt>"
    for title, state in (("Done", "visible"), ("Old", "hidden"), ("Older", "veryHidden")):
        sheet = book.create_sheet(title)
        sheet.sheet_state = state
        sheet.append(["customerKey"])
        sheet.append([title])
    book.create_chartsheet("Chart", 0).add_chart(BarChart())
    return book


def test_one_of_several_sheets_is_not_guessed(read_book: Read, book: openpyxl.Workbook) -> None:
    """The refusal names all of them, and a chart is none of them."""
    names = "Löschen & <jetzt>, Done, Old, Older"
    with pytest.raises(InputError, match=rf"has several sheets: {names}\. .* --sheet\."):
        read_book(saved(book))
    with pytest.raises(InputError, match=rf"has no sheet done: {names}\. .* --sheet\."):
        read_book(saved(book), sheet="done")
    with pytest.raises(InputError, match=rf"has no sheet Chart: {names}\. .* --sheet\."):
        read_book(saved(book), sheet="Chart")


@pytest.mark.parametrize(
    ("sheet", "key"),
    [("Löschen & <jetzt>", "k1"), ("Done", "Done"), ("Old", "Old"), ("Older", "Older")],
)
def test_a_sheet_can_be_named(
    read_book: Read, book: openpyxl.Workbook, sheet: str, key: str
) -> None:
    """Even one that is hidden: who names it knows of it."""
    assert read_book(saved(book), sheet=sheet) == [(key, 2)]


def test_the_only_sheet_that_can_be_seen_is_meant(write: Write, book: openpyxl.Workbook) -> None:
    """Hidden sheets and charts do not count, and the sheet that was read is told."""
    book["Done"].sheet_state = "hidden"
    reader = InputReader(str(write(saved(book), "keys.xlsx")), Reading())
    rows = [KeyRow("k1", 2, stripped=False)]
    found = Reading(
        "xlsx", "customerKey", encoding="xlsx", sheet="Löschen & <jetzt>", delimiter=None
    )
    assert (list(reader.survey_rows()), reader.reading) == (rows, found)
    assert (list(reader.checked_rows()), reader.reading) == (rows, found)


def test_a_book_without_a_sheet_to_read(read_book: Read) -> None:
    """All sheets hidden, or nothing but charts: there is none that could be meant."""
    hidden = '<sheet name="S" sheetId="1" state="hidden" r:id="rId1"/>'
    with pytest.raises(InputError, match=r"no visible sheet: S\. .* --sheet"):
        read_book(archive(ONE_KEY, sheets=hidden))
    chart = archive(ONE_KEY, relations=relation(1, "chartsheet", "chartsheets/sheet1.xml"))
    with pytest.raises(InputError, match=r"no visible sheet\.$"):
        read_book(chart)


@pytest.mark.parametrize("state", ["visible", "hidden"])
def test_sheets_of_one_name_are_not_told_apart(read_book: Read, state: str) -> None:
    """With two sheets of one name, the one that is looked at could be another than is read."""
    content = archive(
        ONE_KEY,
        sheets=f'<sheet name="S" sheetId="2" state="{state}" r:id="rId2"/>'
        '<sheet name="S" sheetId="1" r:id="rId1"/>',
        relations=relation(1, "worksheet", "worksheets/sheet1.xml")
        + relation(2, "worksheet", "worksheets/sheet2.xml"),
        parts={"xl/worksheets/sheet2.xml": whole_sheet(HEADER + row(2, text("A2", "other")))},
    )
    for sheet in (None, "S"):
        with pytest.raises(InputError, match="several sheets"):
            read_book(content, sheet=sheet)


# ── how other programs write ────────────────────────────────────────────────────────────────────

STRICT = "http://purl.oclc.org/ooxml/officeDocument/relationships"


@pytest.mark.parametrize(
    "content",
    [
        archive(ONE_KEY, packing=zipfile.ZIP_STORED),
        archive(whole_sheet(ONE_KEY, prefix="x:")),
        archive(re.sub(r' r="[A-Z]*[0-9]+"', "", ONE_KEY)),
        archive(ONE_KEY.replace('r="A2"', 'r="a2"')),
        archive(whole_sheet(ONE_KEY, encoding="UTF-16").encode("utf-16")),
        archive(ONE_KEY, relations=relation(1, "worksheet", "/xl/worksheets/sheet1.xml")),
        archive(
            ONE_KEY,
            sheets=f'<sheet name="S" sheetId="1" x:id="rId1" xmlns:x="{OFFICE}"/>',
        ),
        archive(
            ONE_KEY,
            sheets=f'<sheet xmlns:r="{STRICT}" name="S" sheetId="1" r:id="rId1"/>',
            relations=relation(1, "worksheet", "worksheets/sheet1.xml", STRICT),
        ),
        archive(whole_sheet(ONE_KEY).replace("<sheetD", '<dimension ref="A1:XFD1048576"/><sheetD')),
    ],
    ids=[
        "stored",
        "prefixed",
        "no-addresses",
        "lower",
        "utf-16",
        "absolute",
        "other-id",
        "strict",
        "wide",
    ],
)
def test_the_ways_of_other_programs(read_book: Read, content: bytes) -> None:
    """Prefixes, absolute targets, “Strict Open XML”, a missing or boundless dimension."""
    assert read_book(content) == [("k1", 2)]


# ── columns ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "field", "why"),
    [
        (["id", "name"], None, "has no column customerKey. Columns there: id, name"),
        (["customerKey", "customerKey"], None, "has the column customerKey twice"),
        (["customerKey"], "id", "has no column id"),
        ([20261001, 20261002], None, "looks like a row"),
        (["a@example.com"], None, "looks like a customer key"),
        (["K-1"], None, "looks like a customer key"),
        (["id", "Customer Key"], None, "Did you mean Customer Key?"),
    ],
)
def test_a_header_that_does_not_tell_is_refused(
    read_book: Read, header: list[Any], field: str | None, why: str
) -> None:
    """Another name, a missing header, a column twice: as for CSV."""
    rows = [header, ["K-2", "x"][: len(header)], ["K-3", "x"][: len(header)]]
    with pytest.raises(InputError, match=re.escape(why)):
        read_book(saved(table(rows)), key_field=field)


@pytest.mark.parametrize("title", [["Export of 2026-11-24"], ["Export", "by Anna"]])
def test_the_header_is_further_down(read_book: Read, title: list[str]) -> None:
    """It is told where the names are."""
    rows = [title, ["id", "customerKey"], ["1", "K-a"]]
    with pytest.raises(InputError, match="customerKey is on line 2"):
        read_book(saved(table(rows)))


def test_the_only_column_is_the_keys(read_book: Read) -> None:
    """A single named column needs no option."""
    rows = [[None, "Kundennummer"], [None, "K-a"], [None, 7]]
    assert read_book(saved(table(rows))) == [("K-a", 2), ("!wrong_type", 3)]


@pytest.mark.parametrize("title", [["Customers to erase"], [None, "Customers to erase"]])
def test_a_title_above_the_table_is_not_its_header(read_book: Read, title: list[Any]) -> None:
    """A title looks like a single column: it is refused, and names of customers are not sent."""
    rows = [title, [], ["name", "customerKey"], ["Ann", "k1"], ["Bo", "k2"]]
    with pytest.raises(
        InputError,
        match=r"customerKey is on line 3\. Use --header-row 3\.",
    ):
        read_book(saved(table(rows)))
    for rest in (rows[2:], [[], *rows[2:]]):
        assert [key for key, _ in read_book(saved(table(rest)))] == ["k1", "k2"]


def test_the_header_may_be_named_by_its_row(read_book: Read) -> None:
    """What stands above it is passed over; a row without anything is no header."""
    content = saved(table([["Export", "by Anna"], [], ["n", "customerKey"], [1, "k1"]]))
    assert read_book(content, header_row=3) == [("k1", 4)]
    for row_ in (2, 5):
        with pytest.raises(InputError, match=rf"keys\.xlsx has nothing on line {row_}"):
            read_book(content, header_row=row_)


def test_columns_without_header_are_numbered_as_in_the_sheet(read_book: Read) -> None:
    """With column A empty, number 2 is B, not the second one that is filled."""
    content = saved(table([[], [None, "k1", "other"], [None, "k2", "other"]]))
    assert read_book(content, header=False, key_field="2") == [("k1", 2), ("k2", 3)]
    assert read_book(content, header=False, key_field="3") == [("other", 2), ("other", 3)]
    for field in (None, "4", "0", "B"):
        with pytest.raises(InputError, match=r"3 columns and no header.* from 1 to 3"):
            read_book(content, header=False, key_field=field)
    assert read_book(saved(table([["k1"], ["k2"]])), header=False) == [("k1", 1), ("k2", 2)]


def test_an_error_is_a_row_without_header_as_well(read_book: Read) -> None:
    """The first row of a sheet without a header is not skipped because it holds an error."""
    error = '<c r="A1" t="e"><v>#N/A</v></c>'
    content = archive(row(1, error) + row(2, text("A2", "k1")))
    assert read_book(content, header=False) == [("!wrong_type", 1), ("k1", 2)]


# ── what is no workbook, or a damaged one ───────────────────────────────────────────────────────


def test_a_book_without_rows_is_refused(read_book: Read) -> None:
    """An empty sheet is nothing to erase; a header alone yields no row."""
    for content in (saved(openpyxl.Workbook()), archive(""), archive(row(1, '<c r="A1" s="1"/>'))):
        with pytest.raises(InputError, match="holds no rows"):
            read_book(content)
    assert read_book(saved(table([["customerKey"]]))) == []


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04",
        b"customerKey\nk1\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4000),
        archive(parts={"xl/workbook.xml": None, "word/document.xml": "<x/>"}),
        archive(parts={"xl/worksheets/sheet1.xml": None}),
        archive(parts={"xl/_rels/workbook.xml.rels": None}),
        archive(parts={"_rels/.rels": None}),
        archive(ONE_KEY, relations=relation(2, "worksheet", "worksheets/sheet1.xml")),
        archive(ONE_KEY, parts={"xl/workbook.xml": "<workbook"}),
        archive(ONE_KEY + row(3, '<c r="A3" t="s"><v>7</v></c>'), strings="<si><t>x</t></si>"),
        archive(ONE_KEY + row(3, '<c r="A3" t="n"><v>seven</v></c>')),
        archive(ONE_KEY + row(3, '<c r="A3" t="?"><v>7</v></c>')),
        archive(whole_sheet(ONE_KEY)[:-40]),
        archive(whole_sheet(ONE_KEY) + "<"),
        archive(
            whole_sheet(ONE_KEY.replace("k1", "ké"), encoding="ISO-8859-1").encode("iso8859-1")
        ),
        archive(whole_sheet(ONE_KEY.replace("k1", "&x;"), start='<!DOCTYPE x [<!ENTITY x "k">]>')),
        archive(whole_sheet(ONE_KEY, start="<!DOCTYPE worksheet>")),
        archive(ONE_KEY, parts={"xl/workbook.xml": f"<!DOCTYPE x><workbook xmlns='{MAIN}'/>"}),
        archive(
            ONE_KEY,
            parts={"xl/workbook.xml": '<?xml version="1.0"?><!DOCTYPE x><x/>'.encode("utf-16")},
        ),
    ],
    ids=[
        "start",
        "csv",
        "password",
        "docx",
        "no-sheet",
        "no-relations",
        "no-root",
        "no-relation",
        "xml",
        "no-string",
        "no-number",
        "no-type",
        "cut-sheet",
        "rest",
        "latin-1",
        "entity",
        "sheet-doctype",
        "doctype",
        "doctype-utf-16",
    ],
)
def test_what_cannot_be_read_is_refused(read_book: Read, content: bytes) -> None:
    """Another kind of file, a password, missing or broken parts, declared entities: one sentence
    that says so, and no key."""
    with pytest.raises(InputError, match=UNREADABLE + "|holds no rows"):
        read_book(content)


@pytest.mark.parametrize(
    "rows",
    [
        row(2, text("A2", "k2")),
        row(3, text("A3", "k3"), text("A3", "k4")),
        row(3, text("B3", "x"), text("A3", "k3")),
        row(3, text("A4", "k3")),
        row(4, text("A4", "k4")) + row(3, text("A3", "k3")),
        row(0, text("A0", "k3")),
        row(-1, text("A1", "k3")),
        row(1048577, text("A1048577", "k3")),
        row(3, text("XFE3", "k3")),
        row(3, text("$A$3", "k3")),
        row(3, text("3", "k3")),
        '<row r="x"/>',
    ],
)
def test_rows_and_cells_out_of_place_are_refused(read_book: Read, rows: str) -> None:
    """Of two cells in one place only one could be read, and the other key would be lost."""
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(archive(ONE_KEY + rows))


def test_a_cut_book_is_refused_wherever_it_is_cut(read_book: Read) -> None:
    """Half a download gives not a single key."""
    content = archive(ONE_KEY)
    for size in [*range(1, len(content), 29), len(content) - 1]:
        with pytest.raises(InputError, match=UNREADABLE):
            read_book(content[:size])


def test_a_damaged_book_never_gives_another_key(read_book: Read) -> None:
    """Whichever byte is damaged: it is refused, or the byte did not matter."""
    rows = [("0123456789abcdef", 2), ("fedcba9876543210", 3)]
    content = archive(
        HEADER
        + "".join(row(line, text(f"A{line}", key)) for line, key in ((n, k) for k, n in rows))
    )
    chance = random.Random(5)
    refused = 0
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        try:
            assert read_book(bytes(damaged)) == rows
        except InputError:
            refused += 1
    assert refused > len(content) / 6


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dimension", ["", '<dimension ref="A1:B2"/>'])
@pytest.mark.parametrize(("last", "column"), [(1048576, "XFD"), (1048576, "AX"), (4000, "XFD")])
def test_a_far_cell_takes_no_room(read_book: Read, last: int, column: str, dimension: str) -> None:
    """Two cells at the ends of a sheet are two cells, whatever it says of its own dimension."""
    far = row(last, f'<c r="{column}{last}"><v>1</v></c>')
    sheet = whole_sheet(ONE_KEY + far).replace("<sheetData>", f"{dimension}<sheetData>")
    assert read_book(archive(sheet)) == [("k1", 2), ("!empty_key", last)]


@pytest.mark.parametrize("last", [50_000, pytest.param(1048576, marks=pytest.mark.soak)])
def test_a_long_or_wide_table_is_read(read_book: Read, last: int) -> None:
    """The last row and the last column of a sheet can be used; formats alone take no room."""
    long = ONE_KEY + row(last, text(f"A{last}", "k2"))
    assert read_book(archive(long)) == [("k1", 2), ("k2", last)]
    wide = ONE_KEY + row(3, text("A3", "k2"), text("XFD3", "x"))
    formats = row(1048575, '<c r="A1048575" s="1"/>', '<c r="XFD1048575" s="1"/>')
    assert read_book(archive(wide + formats)) == [("k1", 2), ("k2", 3)]


MANY = 2000
TOO_LARGE = r"keys\.xlsx is too large to be read as a workbook\. Delete everything but the keys"
STYLES = relation(1, "worksheet", "worksheets/sheet1.xml") + relation(2, "styles", "styles.xml")


def sharing(strings: str, **more: Any) -> bytes:
    return archive(ONE_KEY, strings=strings, **more)


@pytest.mark.parametrize(
    ("limit", "most", "content"),
    [
        ("parts.MOST_UNPACKED", 20 * MANY, archive(ONE_KEY + " " * 30 * MANY)),
        ("parts.MOST_UNPACKED", 20 * MANY, sharing(" " * 30 * MANY)),
        ("parts.MOST_TAGS", MANY, archive(ONE_KEY + "<row/>" * MANY)),
        ("parts.MOST_TAGS", MANY, sharing("<si></si>" * MANY)),
        ("parts.MOST_ATTRIBUTES", MANY, archive(ONE_KEY + '<x a="" b="" c=""/>' * MANY)),
        ("parts.MOST_NAMES", MANY, archive(ONE_KEY + "".join(f"<a{n}/>" for n in range(MANY)))),
        (
            "parts.MOST_NAMES",
            MANY,
            archive(ONE_KEY + "".join(f'<a b{n}=""/>' for n in range(MANY))),
        ),
        ("parts.BLOCK", 4096, archive(f"{ONE_KEY}<!--{'x' * 2_000_000}-->")),
        ("parts.BLOCK", 4096, archive(f'{ONE_KEY}<row r="{"1" * 2_000_000}"/>')),
        (
            "parts.MOST_AT_ONCE",
            40 * MANY,
            archive(ONE_KEY, parts={f"{n}": "" for n in range(MANY)}),
        ),
        ("book.MOST_IN_CELL", MANY, sharing(f"<si><t>k{' ' * MANY}</t></si>")),
        ("book.MOST_IN_CELL", MANY, archive(ONE_KEY + row(3, text("A3", f"k{' ' * MANY}x")))),
        ("book.MOST_SHARED", 10 * MANY, sharing(f"<si><t>{'x' * 20}</t></si>" * MANY)),
        (
            "book.MOST_HELD",
            10 * MANY,
            archive(
                ONE_KEY,
                relations=STYLES,
                parts={"xl/styles.xml": f"<s><cellXfs>{'<xf/>' * MANY}</cellXfs></s>"},
            ),
        ),
        ("book.MOST_HELD", 10 * MANY, archive(ONE_KEY, sheets="<sheet/>" * MANY)),
        ("cells.MOST_IN_ROW", 10 * MANY, archive(row(1, *[f"<c><v>{7:020}</v></c>"] * MANY))),
    ],
)
def test_more_than_a_list_of_keys_can_need_is_refused(
    read_book: Read, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, content: bytes
) -> None:
    """Each limit by itself: without it, whatever is repeated here could be repeated for ever."""
    monkeypatch.setattr(f"bulk_eraser.sources.xlsx_{limit}", most)
    with pytest.raises(InputError, match=TOO_LARGE):
        read_book(content)


@pytest.mark.parametrize(
    ("part", "start"),
    [
        ("xl/worksheets/sheet1.xml", "<worksheet><x>"),
        ("xl/worksheets/sheet1.xml", "<worksheet><sheetData><row><c>"),
        ("xl/workbook.xml", "<workbook>"),
        ("xl/sharedStrings.xml", "<sst><si>"),
    ],
)
def test_elements_nested_without_end_are_refused(read_book: Read, part: str, start: str) -> None:
    """Whoever holds what is open would hold all of it."""
    ends = "".join(f"</{name}>" for name in reversed(re.findall(r"\w+", start)))
    nested = f"{start}{'<a>' * 100}{'</a>' * 100}{ends}"
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(sharing("<si/>", parts={part: nested}))


def test_a_part_that_is_not_read_may_be_large(read_book: Read) -> None:
    """Pictures take no memory: nobody unpacks them."""
    content = archive(ONE_KEY, parts={"xl/media/image1.png": bytes(1 << 22)})
    assert read_book(content) == [("k1", 2)]


def test_a_part_that_is_there_twice_is_refused(read_book: Read) -> None:
    """Which of the two another program shows is not certain."""
    content = io.BytesIO(archive(ONE_KEY))
    with zipfile.ZipFile(content, "a") as packed:
        packed.writestr("xl/Worksheets/sheet1.xml", whole_sheet(ONE_KEY.replace("k1", "k2")))
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(content.getvalue())


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_ways_of_packing_that_are_not_for_workbooks(read_book: Read, packing: int) -> None:
    """LZMA reserves as much memory as the file says."""
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(archive(ONE_KEY, packing=packing))


def test_what_is_kept_of_a_long_text_tells_the_same_key(read_book: Read) -> None:
    """Blanks around a key are no part of it, however many there are."""
    blanks = " " * 30_000
    cells = [f"{blanks}k2{blanks}", blanks, f"{blanks}{'k' * 2048}", f"{'k' * 2049}{blanks}"]
    rows = "".join(
        row(n, text(f"A{n}", cell), text(f"B{n}", "x")) for n, cell in enumerate(cells, 3)
    )
    assert read_book(archive(ONE_KEY + rows)) == [
        ("k1", 2),
        ("k2", 3),
        ("!empty_key", 4),
        ("k" * 2048, 5),
        ("!key_too_long", 6),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A3" t="inlineStr"><v>k</v></c>',
        '<c r="A3"><is><t>k</t></is></c>',
        '<c r="A3" t="str"><v>k</v><v>j</v></c>',
        '<c r="A3" t="s"><v>1_0</v></c>',
        '<c r="A3"><v>nan</v></c>',
        '<x><c r="A3" t="str"><v>k</v></c></x>',
    ],
)
def test_values_out_of_place_are_refused(read_book: Read, cell: str) -> None:
    """What one program shows and another one does not is not read as either."""
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(archive(ONE_KEY + row(3, cell)))


@pytest.mark.parametrize("part", ["xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"])
def test_a_part_that_is_larger_than_it_says_is_refused(read_book: Read, part: str) -> None:
    """A size that is not the true one is found without unpacking the rest."""
    content = archive(ONE_KEY, strings=" " * 20000)
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        size = packed.getinfo(part).file_size.to_bytes(4, "little")
    assert content.count(size) == 2
    with pytest.raises(InputError, match=UNREADABLE):
        read_book(content.replace(size, (100).to_bytes(4, "little")))


def test_a_large_file_is_not_read_into_memory(
    read_book: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workbook is held as a whole, so one beyond all measure is refused while it is read."""
    content = archive(ONE_KEY)
    monkeypatch.setattr(file, "MOST_IN_MEMORY", len(content))
    assert read_book(content) == [("k1", 2)]
    monkeypatch.setattr(file, "MOST_IN_MEMORY", len(content) - 1)
    with pytest.raises(InputError, match="too large to be read as a workbook"):
        read_book(content)


# ── the way there ───────────────────────────────────────────────────────────────────────────────


def test_a_changed_book_is_noticed(write: Write) -> None:
    """Not one key of a workbook that was saved again after the survey is handed out."""
    path = write(archive(ONE_KEY), "keys.xlsx")
    reader = InputReader(str(path), Reading())
    assert [r.line for r in reader.survey_rows()] == [2]
    path.write_bytes(archive(ONE_KEY.replace("k1", "k2")))
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        next(reader.checked_rows())


def test_the_words_are_those_of_the_ledger(read_book: Read) -> None:
    """Each word that a workbook's row can be rejected with is in the closed list."""
    rows = [["customerKey", "n"], [7, 1], [None, 1], ["a\nb", 1], ["k" * 3000, 1]]
    words = {word for word, _ in read_book(saved(table(rows)))}
    assert words == {f"!{word}" for word in ROW_ERRORS} & words
    assert len(words) == 4


def test_a_second_header_in_a_sheet_is_no_row_to_send(read_book: Read) -> None:
    """Where two sheets were joined the header stands twice; it is rejected."""
    rows = [["customerKey", "n"], ["k1", "x"], [" customerKey", "mail"], ["k2", "y"]]
    assert read_book(saved(table(rows))) == [("k1", 2), ("!repeated_header", 3), ("k2", 4)]

"""Rows of an Excel workbook (.xlsx): one sheet, its first filled row the header.

A cell that holds a number, a date or a truth value is no key: a spreadsheet rounds numbers and
drops leading zeros, so what is there need not be what was meant. Rows that are hidden (by a filter,
mostly) are what nobody saw who looked at the sheet, so a sheet with such rows is refused.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain, repeat
from typing import IO, Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from bulk_eraser.errors import InputError
from bulk_eraser.sources.columns import find_columns, number_columns
from bulk_eraser.sources.rows import (
    BLANKS,
    KeyRow,
    Reading,
    RejectedRow,
    Row,
    clean_key,
    with_facts,
)

__all__ = ["XlsxRows"]

BLOCK = 1 << 20
MOST_UNPACKED = 4 << 30
"""Bytes of all parts in their unpacked form."""
MOST_CELLS = 50_000_000
"""From the first to the last filled cell: a workbook is held in memory."""
MOST_ROWS = 1 << 20
MOST_COLUMNS = 1 << 14
_ERROR = object()
"""Stands for a cell that holds an error: neither text nor a date."""


class XlsxRows:
    """Iterate to get the rows; `line` is the row's number in the sheet.

    `key_field` and `sheet` hold what was found; without a header, columns are numbered as in the
    sheet (A is 1). Raises `InputError` when the workbook cannot be read or the sheet or the key's
    column cannot be told.
    """

    def __init__(self, content: bytes, name: str, asked: Reading) -> None:
        self._name = name
        self._asked = asked
        self._look = _SheetLook()
        found = self._open(content)
        self.sheet = str(found.name)
        self._rows = self._filled_rows(found)
        line, first = next(self._rows, (0, []))
        if not first:
            raise InputError(f"{name} holds no rows: there is nothing to erase.")
        if asked.header:
            self._columns = find_columns([str(cell) for cell in first], asked, name)
        else:
            self._columns = number_columns(len(first), asked, name)
            self._rows = chain([(line, first)], self._rows)

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    def __iter__(self) -> Iterator[Row]:
        columns, has_facts = self._columns, self._asked.has_facts
        check_header = columns.assumed
        for line, cells in self._rows:
            if columns.assumed:
                columns.must_be_the_only_one(cells, line, self._name)
            row = self._row(line, cells[columns.key])
            if check_header and isinstance(row, KeyRow):
                columns.header_must_not_be_a_key(row.key, self._name)
                check_header = False
            yield with_facts(row, *self._facts(line, cells)) if has_facts else row

    def _filled_rows(self, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
        """The rows that are not blank, with their numbers, each from column A on."""
        before = [""] * (sheet.start[1] if sheet.start else 0)
        rows = chain(sheet.iter_rows(), repeat([""] * sheet.width))
        last = max(sheet.total_height, self._look.last_row)
        for line, cells in zip(range(1, last + 1), rows, strict=False):
            if self._look.marked[line] or any(map(_is_filled, cells)):
                yield line, before + cells

    def _row(self, line: int, cell: object) -> Row:
        if not isinstance(cell, str) or (line, self._columns.key) in self._look.odd:
            return RejectedRow("wrong_type", line)
        if self._asked.header and cell.strip(BLANKS) == self.key_field:
            return RejectedRow("repeated_header", line)
        return clean_key(cell, line)

    def _facts(self, line: int, cells: list[Any]) -> list[Any]:
        """Received date and reference."""
        facts = []
        for place in (self._columns.received, self._columns.reference):
            fact = None if place is None else cells[place]
            is_error = fact == "" and (line, place) in self._look.odd
            facts.append(_ERROR if is_error else fact)
        return facts

    def _open(self, content: bytes) -> Any:
        """The chosen sheet."""
        try:
            import python_calamine
        except ImportError:
            raise InputError(
                f"{self._name} is an Excel workbook, for which an extra package is needed: pip "
                "install 'bulk-eraser[excel]'. Or save the sheet as CSV UTF-8."
            ) from None
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED:
                    raise self._too_large()
                sheet = self._choose(_sheets(archive))
                with archive.open(sheet.part) as stream:
                    self._look.read(stream)
            self._must_be_readable()
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
            return book.get_sheet_by_name(sheet.name)
        except (python_calamine.CalamineError, *_DAMAGE):
            raise InputError(
                f"{self._name} cannot be read as an Excel workbook (.xlsx): it is damaged, "
                "protected by a password, or of another kind. Nothing was sent."
            ) from None

    def _choose(self, sheets: list["_Sheet"]) -> "_Sheet":
        """The sheet asked for, else the only one that can be seen."""
        wanted = self._asked.sheet
        names = [sheet.name for sheet in sheets]
        if wanted is None:
            chosen = [sheet for sheet in sheets if not sheet.is_hidden]
            trouble = "has several sheets" if chosen else "has no sheet that can be seen"
        else:
            chosen = [sheet for sheet in sheets if sheet.name == wanted]
            trouble = f"has {'several sheets' if chosen else 'no sheet'} {wanted}"
        if len(chosen) == 1 and names.count(chosen[0].name) == 1:
            return chosen[0]
        there = f": {', '.join(names)}. Name the one that is meant with --sheet" if names else ""
        raise InputError(f"{self._name} {trouble}{there}.")

    def _must_be_readable(self) -> None:
        if self._look.extent > MOST_CELLS:
            raise self._too_large()
        if self._look.hidden:
            raise InputError(
                f"{self._name} has hidden rows ({self._look.hidden}, by a filter?), and it cannot "
                "be told whether they are meant. Show all rows, or copy those that are meant into "
                "a new sheet."
            )

    def _too_large(self) -> InputError:
        return InputError(
            f"{self._name} is too large to be read as a workbook. Delete what is beside the keys, "
            "or save the sheet as CSV UTF-8."
        )


class _SheetLook:
    """A look at a sheet's XML, for what calamine does not tell.

    `hidden` counts the hidden rows. `odd` has the cells (row from 1, column from 0) that hold an
    error, or a date as text. `marked` is 1 for rows that are not blank although calamine may show
    nothing: there is an error, or a formula that was never calculated. `last_row` is the last one
    that holds anything.
    """

    def __init__(self) -> None:
        self.hidden = 0
        self.odd: set[tuple[int, int]] = set()
        self.marked = bytearray(MOST_ROWS + 1)
        self.last_row = 0
        self._tags = _LocalNames()
        self._places = _ColumnPlaces()
        self._row = 0
        self._column = -1
        self._type: str | None = None
        self._in_cell = False
        self._first_row = 0
        self._columns: set[int] = set()

    def read(self, stream: IO[bytes]) -> None:
        """Raises `ValueError` or `ExpatError` for what no spreadsheet program writes.

        Rows and cells must be in order: of two in one place calamine shows the last alone.
        """
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = _no_document_type
        while block := stream.read(BLOCK):
            parser.Parse(block)
        parser.Parse(b"", True)

    @property
    def extent(self) -> int:
        """The number of cells from the first to the last filled one."""
        if not self._columns:
            return 0
        width = max(self._columns) - min(self._columns) + 1
        return width * (self.last_row - self._first_row + 1)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = self._tags[name]
        if tag == "c":
            self._begin_cell(attributes.get("r"), attributes.get("t"))
        elif tag == "row":
            self._begin_row(attributes.get("r"), attributes.get("hidden", "0"))
        elif self._in_cell and tag in ("v", "is", "f"):
            self._fill_cell(is_formula=tag == "f")
        else:
            self._in_cell = False

    def _begin_row(self, number: str | None, hidden: str) -> None:
        row = int(number) if number else self._row + 1
        if not self._row < row <= MOST_ROWS:
            raise ValueError("rows that are not in order")
        self._row, self._column = row, -1
        self.hidden += hidden not in ("0", "false")

    def _begin_cell(self, place: str | None, type_: str | None) -> None:
        column = self._column + 1
        if place:
            letters = place.rstrip("0123456789")
            column = self._places[letters]
            if place != f"{letters}{self._row}":
                raise ValueError("a cell in another row than its own")
        if not self._column < column < MOST_COLUMNS:
            raise ValueError("cells that are not in order")
        self._column, self._type, self._in_cell = column, type_, True
        if type_ in ("e", "d"):
            self.odd.add((self._row, column))

    def _fill_cell(self, *, is_formula: bool) -> None:
        self._first_row = self._first_row or self._row
        self.last_row = self._row
        self._columns.add(self._column)
        if self._type == "e" or (is_formula and self._type != "str"):
            self.marked[self._row] = 1


class _LocalNames(dict[str, str]):
    """Names of elements → the same without prefix."""

    def __missing__(self, name: str) -> str:
        self[name] = local = name.rpartition(":")[2]
        return local


class _ColumnPlaces(dict[str, int]):
    """`A` → 0, `AA` → 26."""

    def __missing__(self, letters: str) -> int:
        number = 0
        for letter in letters:
            number = number * 26 + int(letter, 36) - 9
        self[letters] = number - 1
        return number - 1


def _no_document_type(*_: object) -> None:
    raise ValueError("a document type, where entities are declared: no workbook has one")


class _Sheet(NamedTuple):
    name: str
    part: str
    is_hidden: bool


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ElementTree.ParseError,
    expat.ExpatError,
    EOFError,
    KeyError,  # a part that is named is missing
    NotImplementedError,  # a way of packing that zipfile does not know
    RuntimeError,  # a password
    ValueError,
)


_NO_WORKSHEETS = ("/chartsheet", "/dialogsheet", "/xlMacrosheet", "/xlIntlMacrosheet")


def _sheets(archive: zipfile.ZipFile) -> list[_Sheet]:
    """The worksheets in their order (charts are none). Raises what is in `_DAMAGE`."""
    relations = {entry.get("Id"): entry for entry in _xml(archive, "xl/_rels/workbook.xml.rels")}
    sheets = []
    for entry in _xml(archive, "xl/workbook.xml").iterfind(".//{*}sheet"):
        relation = relations[_relation_id(entry)]
        if not relation.get("Type", "").endswith(_NO_WORKSHEETS):
            target = relation.get("Target", "")
            part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            is_hidden = entry.get("state", "visible") != "visible"
            sheets.append(_Sheet(entry.get("name", ""), part, is_hidden))
    return sheets


def _relation_id(entry: ElementTree.Element) -> str | None:
    """Its namespace depends on whether the workbook is a “Strict Open XML” one."""
    return next((value for name, value in entry.items() if name.endswith("}id")), None)


def _xml(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with archive.open(name) as part:
        content = part.read(BLOCK)
    if b"<!DOCTYPE" in content.replace(b"\0", b""):  # where entities are declared
        raise ValueError("a document type")
    return ElementTree.fromstring(content)  # noqa: S314 no entities, and not more than 1 MiB


def _is_filled(cell: object) -> bool:
    return cell != ""

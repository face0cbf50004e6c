"""A sheet's XML to rows of cells, row by row.

Rows and cells must be in order, and each in its own place: of two in one place, which one another
program shows is not certain.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from bulk_eraser.sources.xlsx_book import Book, TextOfCell, index_of
from bulk_eraser.sources.xlsx_parts import MOST_DEPTH, Attributes, LocalNames, Parts, TooLarge

__all__ = ["NOT_TEXT", "Cell", "is_filled", "rows_of", "value_of"]

MOST_ROWS = 1 << 20
MOST_COLUMNS = 1 << 14
MOST_IN_ROW = 16 << 20
"""Characters."""
NOT_TEXT = object()
"""The value of a cell that holds an error, a time that is no date, or nothing calculated yet."""
_TYPES = frozenset(["n", "s", "str", "inlineStr", "b", "e", "d"])
_NUMBER = frozenset("0123456789+-.eE")


class Cell(NamedTuple):
    """What the XML says of it; `text` is the number of the shared string if `type` is `s`."""

    type: str
    style: str
    text: str
    has_formula: bool


class SheetRow(NamedTuple):
    """`line` counts from 1, the columns of the cells from 0. Cells without content are left out."""

    line: int
    is_hidden: bool
    cells: dict[int, Cell]


def rows_of(parts: Parts, name: str) -> Iterator[SheetRow]:
    """The rows that say anything. Raises what is in `DAMAGE`, and `TooLarge`."""
    sheet = _Sheet()
    for _ in parts.read_slowly(name, sheet):
        yield from sheet.rows
        sheet.rows.clear()


def is_filled(cell: Cell, book: Book) -> bool:
    """Is anything in it? Only a formula for text may be blank and mean it."""
    if cell.type == "e" or (cell.has_formula and cell.type != "str"):
        return True
    return cell.text != "" and (cell.type != "s" or book.has_text(index_of(cell.text)))


def value_of(cell: Cell | None, book: Book) -> object:
    """Text, a number, a truth value, a date, or `NOT_TEXT`; "" where there is none.

    Raises `ValueError` for what no spreadsheet program writes.
    """
    if cell is None:
        return ""
    match cell.type:
        case "e":
            return NOT_TEXT
        case _ if cell.text == "":
            return ""
        case "s":
            return book.shared(index_of(cell.text))
        case "b":
            return cell.text.strip() not in ("0", "false")
        case "d":
            return _iso_date(cell.text)
        case "n":
            return _number(cell, book)
        case _:
            return cell.text


def _iso_date(text: str) -> object:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return NOT_TEXT


def _number(cell: Cell, book: Book) -> object:
    text = cell.text.strip(" \t\r\n")
    if not _NUMBER.issuperset(text):  # float() takes `nan` and `1_0`, too
        raise ValueError("a number that is none")
    number = float(text)
    match book.format_of(index_of(cell.style or "0")):
        case "date":
            return book.day(number) or NOT_TEXT
        case "time":
            return NOT_TEXT
    return number


class _Sheet:
    """Handles what expat finds; whole rows gather in `rows`, until somebody takes them."""

    def __init__(self) -> None:
        self.rows: list[SheetRow] = []
        self._tags = LocalNames()
        self._column_of = _ColumnsByLetters()
        # Where the parser is.
        self._depth = 0
        self._in_data = self._in_row = self._in_cell = self._in_string = False
        self._phonetic = False
        # The row, and its cell.
        self._row = 0
        self._is_hidden = False
        self._cells: dict[int, Cell] = {}
        self._size = 0
        self._column = -1
        self._type = self._style = ""
        self._has_value = self._has_formula = False
        self._text = TextOfCell()
        self.text = self._text.add

    def start(self, name: str, attributes: Attributes) -> None:
        # <sheetData> <row r="2" hidden="1"> <c r="B2" t="s"> <f>…</f> <v>…</v> or <is>…</is>
        self._depth = depth = self._depth + 1
        if depth > MOST_DEPTH:
            raise ValueError("elements nested without end")
        tag = self._tags[name]
        if self._in_cell:
            self._begin_within_cell(tag)
        elif self._in_data and tag in ("row", "c"):
            if depth != (4 if tag == "c" else 3):
                raise ValueError("a row or a cell that is not in its place")
            if tag == "c":
                self._begin_cell(attributes)
            else:
                self._begin_row(attributes.get("r"), attributes.get("hidden", "0"))
        elif tag == "sheetData" and depth == 2:
            self._in_data = True

    def end(self, name: str) -> None:
        tag, depth = self._tags[name], self._depth
        if tag in ("v", "t"):
            self._text.is_open = False
        elif tag == "is":
            self._in_string = False
        elif tag == "rPh":
            self._phonetic = False
        elif depth == 4 and self._in_cell:
            self._end_cell()
        elif depth == 3 and self._in_data:
            self._end_row()
        elif depth == 2:
            self._in_data = False
        self._depth = depth - 1

    def _begin_row(self, written: str | None, hidden: str) -> None:
        row = index_of(written) if written else self._row + 1  # left out, it is the next one
        if not self._row < row <= MOST_ROWS:
            raise ValueError("rows that are not in order")
        self._row, self._column = row, -1
        self._is_hidden = hidden not in ("0", "false")
        self._cells, self._size = {}, 0

    def _end_row(self) -> None:
        if self._cells or self._is_hidden:
            self.rows.append(SheetRow(self._row, self._is_hidden, self._cells))
            self._cells, self._is_hidden = {}, False

    def _begin_cell(self, attributes: Attributes) -> None:
        column = self._column + 1  # left out, it is the next one
        if place := attributes.get("r"):
            letters = place.rstrip("0123456789")
            column = self._column_of[letters]
            if place != f"{letters}{self._row}":
                raise ValueError("a cell in another row than its own")
        if not self._column < column < MOST_COLUMNS:
            raise ValueError("cells that are not in order")
        self._column = column
        self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
        if self._type not in _TYPES:
            raise ValueError("a cell of an unknown type")
        self._in_cell = True
        self._has_value = self._has_formula = False

    def _begin_within_cell(self, tag: str) -> None:
        if tag in ("v", "is"):
            # Text in its cell has a type of its own; with two values, which one counts?
            if self._has_value or (tag == "is") != (self._type == "inlineStr"):
                raise ValueError("a value that is not in its place")
            self._has_value = True
            self._in_string = tag == "is"
            self._text.is_open = tag == "v"
        elif tag == "t":
            self._text.is_open = self._in_string and not self._phonetic
        elif tag == "rPh":
            self._phonetic = True
        elif tag == "f":
            self._has_formula = True

    def _end_cell(self) -> None:
        self._in_cell = False
        if self._has_value or self._has_formula:
            text = self._text.take()
            self._size += len(text)
            if self._size > MOST_IN_ROW:
                raise TooLarge
            self._cells[self._column] = Cell(self._type, self._style, text, self._has_formula)


class _ColumnsByLetters(dict[str, int]):
    """`A` → 0, `AA` → 26."""

    def __missing__(self, letters: str) -> int:
        if not (letters.isascii() and letters.isalpha() and len(letters) <= 3):
            raise ValueError("a cell that is not in its place")
        number = 0
        for letter in letters:
            number = number * 26 + int(letter, 36) - 9
        self[letters] = number - 1
        return number - 1

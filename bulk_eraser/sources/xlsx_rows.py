"""Rows of an Excel workbook (.xlsx): one sheet, its first filled row the header.

A cell that holds a number, a date or a truth value is no key: a spreadsheet rounds numbers and
drops leading zeros, so what is there need not be what was meant. Rows that are hidden (by a filter,
mostly) are what nobody saw who looked at the sheet, so a sheet with such rows is refused.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NoReturn

from bulk_eraser.errors import InputError, must_be_damage
from bulk_eraser.sources.columns import (
    MOST_TITLE_LINES,
    blank_header_row,
    find_columns,
    must_not_be_a_title,
    number_columns,
)
from bulk_eraser.sources.rows import (
    BLANKS,
    KeyRow,
    Reading,
    RejectedRow,
    Row,
    clean_key,
    in_cluster,
    with_facts,
)
from bulk_eraser.sources.xlsx_book import Book, Sheet
from bulk_eraser.sources.xlsx_cells import NOT_TEXT, Cell, is_filled, rows_of, value_of
from bulk_eraser.sources.xlsx_parts import DAMAGE, Parts, TooLarge

__all__ = ["XlsxRows"]

MOST_IN_NAME = 1000
"""Characters that are looked at of a column's name."""

Cells = dict[int, Cell]
"""The cells of a row by their columns, from 0."""


class XlsxRows:
    """Iterate to get the rows; `line` is the row's number in the sheet.

    `key_field` and `sheet` hold what was found, `other_sheets` the names of those that are not
    read; without a header, columns are numbered as in the sheet (A is 1). Raises `InputError` when
    the workbook cannot be read or the sheet or the key's column cannot be told; for hidden rows,
    or damage further down, while the rows are read.
    """

    def __init__(self, content: bytes, name: str, asked: Reading) -> None:
        self._name = name
        self._asked = asked
        self.other_sheets: list[str] = []
        try:
            parts = Parts(content)
            self._book = Book(parts)
            sheet = self._choose(self._book.sheets())
            self._book.read_the_rest()
            self.sheet = sheet.name
            self._rows = self._filled_rows(parts, sheet)
            self._find_columns(parts, sheet)
        except (TooLarge, *DAMAGE) as error:
            self._tell(error)

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    # ── the rows ────────────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Row]:
        try:
            yield from self._read_rows()
        except (TooLarge, *DAMAGE) as error:
            self._tell(error)

    def _read_rows(self) -> Iterator[Row]:
        columns, has_facts = self._columns, self._columns.has_facts
        to_compare = MOST_TITLE_LINES if columns.assumed else 0
        for line, cells in self._rows:
            if columns.assumed:
                columns.must_be_the_only_one(self._texts(cells), line, self._name)
            row = self._row(line, self._value(cells, columns.key))
            if to_compare and isinstance(row, KeyRow):
                is_first = to_compare == MOST_TITLE_LINES
                columns.header_must_not_be_a_key(row, self._name, is_first=is_first)
                to_compare -= 1
            if has_facts:
                received = self._value(cells, columns.received)
                reference = self._value(cells, columns.reference)
                row = with_facts(row, received, reference, self._asked)
            if columns.cluster is not None:
                row = in_cluster(row, self._value(cells, columns.cluster))
            yield row

    def _filled_rows(self, parts: Parts, sheet: Sheet) -> Iterator[tuple[int, Cells]]:
        """The rows that are not blank, with their numbers."""
        hidden = 0
        for row in rows_of(parts, sheet.part):
            hidden += row.is_hidden
            if any(is_filled(cell, self._book) for cell in row.cells.values()):
                yield row.line, row.cells
        if hidden:
            rows = "1 hidden row" if hidden == 1 else f"{hidden} hidden rows"
            raise InputError(
                f"{self._name} has {rows} (by a filter?), and it is unclear whether they are "
                "to be erased. Show all rows, or copy those that you mean into a new sheet."
            )

    def _row(self, line: int, value: object) -> Row:
        # 1. A number, a date, a truth value, an error: what is there need not be what was meant.
        if not isinstance(value, str):
            return RejectedRow("wrong_type", line)
        # 2. Sheets that were joined repeat the header; its name is no customer.
        if self._asked.header and value.strip(BLANKS) == self.key_field:
            return RejectedRow("repeated_header", line)
        return clean_key(value, line)

    def _value(self, cells: Cells, column: int | None) -> object:
        return None if column is None else value_of(cells.get(column), self._book)

    # ── the columns ─────────────────────────────────────────────────────────────────────────

    def _find_columns(self, parts: Parts, sheet: Sheet) -> None:
        line, first = next(self._rows, (0, Cells()))
        if (row := self._asked.header_row) is not None:
            while first and line < row:
                line, first = next(self._rows, (0, Cells()))
            if line != row:
                raise blank_header_row(row, self._name)
        if not first:
            raise InputError(f"{self._name} holds no rows: there is nothing to erase.")
        if not self._asked.header:
            # The first row may be shorter than others.
            last_columns = (max(row.cells, default=0) for row in rows_of(parts, sheet.part))
            width = max(last_columns) + 1
            self._columns = number_columns(width, self._asked, self._name)
            self._rows = chain([(line, first)], self._rows)
            return
        # The last name is none: it is not known how wide the rows are that follow.
        names = [*self._names(first), ""]
        try:
            self._columns = find_columns(names, self._asked, self._name)
        except InputError:
            rows = (
                (line, [name.strip() for name in self._names(cells)]) for line, cells in self._rows
            )
            must_not_be_a_title(names, rows, self._asked, self._name)
            raise

    def _names(self, cells: Cells) -> list[str]:
        """What a row says, as names of columns from A on."""
        values = (self._value(cells, column) for column in range(max(cells) + 1))
        return ["" if value is NOT_TEXT else str(value)[:MOST_IN_NAME] for value in values]

    def _texts(self, cells: Cells) -> list[str]:
        """Something for each cell with content: its text, if that may be a column's name."""
        filled = [column for column, cell in cells.items() if is_filled(cell, self._book)]
        return [str(self._value(cells, column))[:MOST_IN_NAME] or "?" for column in filled]

    # ── the workbook ────────────────────────────────────────────────────────────────────────

    def _choose(self, sheets: list[Sheet]) -> Sheet:
        """The sheet asked for, else the only one that can be seen."""
        wanted = self._asked.sheet
        names = [sheet.name for sheet in sheets]
        if wanted is None:
            chosen = [sheet for sheet in sheets if not sheet.is_hidden]
            trouble = "has several sheets" if chosen else "has no visible sheet"
        else:
            chosen = [sheet for sheet in sheets if sheet.name == wanted]
            trouble = f"has {'several sheets' if chosen else 'no sheet'} {wanted}"
        # Of two with one name, neither is the one that was named for certain.
        if len(chosen) == 1 and names.count(chosen[0].name) == 1:
            self.other_sheets = [name for name in names if name != chosen[0].name]
            return chosen[0]
        there = f": {', '.join(names)}. Name the one that you mean with --sheet" if names else ""
        raise InputError(f"{self._name} {trouble}{there}.")

    def _tell(self, error: Exception) -> NoReturn:
        """Raise what to tell of an error while the workbook was read."""
        must_be_damage(error)
        if isinstance(error, TooLarge):
            raise InputError(
                f"{self._name} is too large to be read as a workbook. Delete everything but the "
                "keys, or save the sheet as CSV UTF-8."
            ) from None
        raise InputError(
            f"{self._name} cannot be read as an Excel workbook (.xlsx): it is damaged, "
            "password-protected, or of another kind. Nothing was sent."
        ) from None

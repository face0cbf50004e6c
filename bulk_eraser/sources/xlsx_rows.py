"""Rows of an Excel workbook (.xlsx): one sheet, its first filled row the header.

A cell that holds a number, a date or a truth value is no key: a spreadsheet rounds numbers and
drops leading zeros, so what is there need not be what was meant. Rows that are hidden (by a filter,
mostly) are what nobody saw who looked at the sheet, so a sheet with such rows is refused.
"""

import io
import zipfile
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

from bulk_eraser.errors import InputError
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
    with_facts,
)
from bulk_eraser.sources.xlsx_parts import DAMAGE, Sheet, SheetScan, worksheets

__all__ = ["XlsxRows"]

MOST_UNPACKED = 4 << 30
"""Bytes of all parts in their unpacked form."""
MOST_CELLS = 50_000_000
"""From the first to the last filled cell: a workbook is held in memory."""
_ERROR = object()
"""Stands for a cell that holds an error: neither text nor a date."""


class XlsxRows:
    """Iterate to get the rows; `line` is the row's number in the sheet.

    `key_field` and `sheet` hold what was found, `other_sheets` the names of those that are not
    read; without a header, columns are numbered as in the sheet (A is 1). Raises `InputError` when
    the workbook cannot be read or the sheet or the key's column cannot be told.
    """

    def __init__(self, content: bytes, name: str, asked: Reading) -> None:
        self._name = name
        self._asked = asked
        self._scan = SheetScan()
        self.other_sheets: list[str] = []
        sheet = self._open(content)
        self.sheet = str(sheet.name)
        self._rows = self._filled_rows(sheet)
        line, first = next(self._rows, (0, []))
        if (row := asked.header_row) is not None:
            while first and line < row:
                line, first = next(self._rows, (0, []))
            if line != row:
                raise blank_header_row(row, name)
        if not first:
            raise InputError(f"{name} holds no rows: there is nothing to erase.")
        if asked.header:
            names = [str(cell) for cell in first]
            try:
                self._columns = find_columns(names, asked, name)
            except InputError:
                rows = ((line, [str(cell).strip() for cell in cells]) for line, cells in self._rows)
                must_not_be_a_title(names, rows, asked, name)
                raise
        else:
            self._columns = number_columns(len(first), asked, name)
            self._rows = chain([(line, first)], self._rows)

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    # ── the rows ────────────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Row]:
        columns, has_facts = self._columns, self._asked.has_facts
        form = self._asked.received_format
        to_compare = MOST_TITLE_LINES if columns.assumed else 0
        for line, cells in self._rows:
            if columns.assumed:
                columns.must_be_the_only_one(cells, line, self._name)
            row = self._row(line, cells[columns.key])
            if to_compare and isinstance(row, KeyRow):
                is_first = to_compare == MOST_TITLE_LINES
                columns.header_must_not_be_a_key(row, self._name, is_first=is_first)
                to_compare -= 1
            if has_facts:
                row = with_facts(row, *self._facts(line, cells), received_format=form)
            yield row

    def _filled_rows(self, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
        """The rows that are not blank, with their numbers, each from column A on."""
        # calamine begins at the first filled column and ends at the last row with a value; an
        # error, or a formula that was never calculated, may stand further down.
        before = [""] * (sheet.start[1] if sheet.start else 0)
        rows = chain(sheet.iter_rows(), repeat([""] * sheet.width))
        last = max(sheet.total_height, self._scan.last_row)
        for line, cells in zip(range(1, last + 1), rows, strict=False):
            if self._scan.not_blank[line] or any(map(_is_filled, cells)):
                yield line, before + cells

    def _row(self, line: int, cell: object) -> Row:
        # 1. A number, a date, a truth value, an error: what is there need not be what was meant.
        if not isinstance(cell, str) or (line, self._columns.key) in self._scan.odd_cells:
            return RejectedRow("wrong_type", line)
        # 2. Sheets that were joined repeat the header; its name is no customer.
        if self._asked.header and cell.strip(BLANKS) == self.key_field:
            return RejectedRow("repeated_header", line)
        return clean_key(cell, line)

    def _facts(self, line: int, cells: list[Any]) -> list[Any]:
        """Received date and reference."""
        facts = []
        for place in (self._columns.received, self._columns.reference):
            fact = None if place is None else cells[place]
            # calamine shows an error as an empty cell, which would mean that nothing is said.
            is_error = fact == "" and (line, place) in self._scan.odd_cells
            facts.append(_ERROR if is_error else fact)
        return facts

    # ── the workbook ────────────────────────────────────────────────────────────────────────

    def _open(self, content: bytes) -> Any:
        """The chosen sheet, as calamine reads it. Raises `InputError`."""
        try:
            import python_calamine
        except ImportError:
            raise InputError(
                f"{self._name} is an Excel workbook, which needs an extra package: pip "
                "install 'bulk-eraser[excel]'. Or save the sheet as CSV UTF-8."
            ) from None
        try:
            # Our own look comes first: it bounds what calamine would unpack without a bound.
            chosen = self._scan_chosen(content)
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
            return book.get_sheet_by_name(chosen.name)
        except (python_calamine.CalamineError, *DAMAGE):
            raise InputError(
                f"{self._name} cannot be read as an Excel workbook (.xlsx): it is damaged, "
                "password-protected, or of another kind. Nothing was sent."
            ) from None

    def _scan_chosen(self, content: bytes) -> Sheet:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED:
                raise self._too_large()
            sheet = self._choose(worksheets(archive))
            with archive.open(sheet.part) as stream:
                self._scan.read(stream)
        if self._scan.extent > MOST_CELLS:
            raise self._too_large()
        if hidden := self._scan.hidden_rows:
            rows = "1 hidden row" if hidden == 1 else f"{hidden} hidden rows"
            raise InputError(
                f"{self._name} has {rows} (by a filter?), and it is unclear whether they are "
                "to be erased. Show all rows, or copy those that you mean into a new sheet."
            )
        return sheet

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
        # calamine looks a sheet up by its name, so of two with one name neither is certain.
        if len(chosen) == 1 and names.count(chosen[0].name) == 1:
            self.other_sheets = [name for name in names if name != chosen[0].name]
            return chosen[0]
        there = f": {', '.join(names)}. Name the one that you mean with --sheet" if names else ""
        raise InputError(f"{self._name} {trouble}{there}.")

    def _too_large(self) -> InputError:
        return InputError(
            f"{self._name} is too large to be read as a workbook. Delete everything but the keys, "
            "or save the sheet as CSV UTF-8."
        )


def _is_filled(cell: object) -> bool:
    return cell != ""

"""Rows of an Excel workbook (.xlsx): one sheet, its first filled row the header.

A cell that holds a number, a date or a truth value is no key: a spreadsheet rounds numbers and
drops leading zeros, so what is there need not be what was meant. Rows that are hidden (by a filter,
mostly) are what nobody saw who looked at the sheet, so a sheet with such rows is refused.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple
from xml.etree import ElementTree

from bulk_eraser.errors import InputError
from bulk_eraser.sources.columns import Columns, find_columns, number_columns
from bulk_eraser.sources.rows import KeyRow, Reading, RejectedRow, Row, clean_key, with_facts

__all__ = ["XlsxRows"]

BLOCK = 1 << 20
MOST_UNPACKED = 4 << 30
"""Bytes of a sheet in its unpacked form."""
MOST_CELLS = 50_000_000
"""From the first to the last filled cell: a workbook is held in memory."""
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_HIDDEN_ROW = re.compile(rb'<(?:\w+:)?row\b[^<>]*\bhidden="(?:1|true)"')
_ERROR_CELL = re.compile(rb'<(?:\w+:)?c\b(?=[^<>]*\bt="e")[^<>]*\br="([A-Z]+)([0-9]+)"')
_DIMENSION = re.compile(rb'<(?:\w+:)?dimension\b[^<>]*\bref="([A-Z]+)([0-9]+):([A-Z]+)([0-9]+)"')


class XlsxRows:
    """Iterate to get the rows; `line` is the row's number in the sheet.

    `key_field` and `sheet` hold what was found. Raises `InputError` when the workbook cannot be
    read or the sheet or the key's column cannot be told.
    """

    def __init__(self, content: bytes, name: str, asked: Reading) -> None:
        self._name = name
        self._asked = asked
        self._errors: set[tuple[int, int]] = set()
        found = self._open(content)
        self.sheet = str(found.name)
        self._first_column = found.start[1] if found.start else 0
        self._rows: Iterator[tuple[int, list[Any]]] = enumerate(found.iter_rows(), 1)
        line, first = next(
            ((n, row) for n, row in self._rows if any(map(_is_filled, row))), (0, [])
        )
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
        key_place = columns.key + self._first_column
        check_header = columns.assumed
        for line, cells in self._rows:
            is_error = (line, key_place) in self._errors
            if not is_error and not any(map(_is_filled, cells)):
                continue
            row = RejectedRow("wrong_type", line) if is_error else _row(cells[columns.key], line)
            if check_header and isinstance(row, KeyRow):
                columns.header_must_not_be_a_key(row.key, self._name)
                check_header = False
            yield with_facts(row, *_facts(columns, cells)) if has_facts else row

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
                sheet, part = self._choose(_sheets(archive))
                self._look_at(archive, part)
            book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
            return book.get_sheet_by_name(sheet)
        except (python_calamine.CalamineError, *_DAMAGE):
            raise InputError(
                f"{self._name} cannot be read as an Excel workbook (.xlsx): it is damaged, "
                "protected by a password, or of another kind. Nothing was sent."
            ) from None

    def _choose(self, sheets: list["_Sheet"]) -> tuple[str, str]:
        """Name and part of the sheet asked for, else of the only one that can be seen."""
        wanted = self._asked.sheet
        seen = [sheet for sheet in sheets if not sheet.is_hidden]
        chosen = [one for one in (seen if wanted is None else sheets) if wanted in (None, one.name)]
        if len(chosen) == 1:
            return chosen[0].name, chosen[0].part
        trouble = "has several sheets" if wanted is None else f"has no sheet {wanted}"
        names = ", ".join(sheet.name for sheet in sheets)
        raise InputError(
            f"{self._name} {trouble}: {names}. Name the one that is meant with --sheet."
        )

    def _look_at(self, archive: zipfile.ZipFile, part: str) -> None:
        """What calamine does not tell: hidden rows, cells that hold an error, and the extent."""
        hidden = size = 0
        tail = b""
        with archive.open(part) as stream:
            while block := stream.read(BLOCK):
                size += len(block)
                if size > MOST_UNPACKED:
                    raise self._too_large()
                text = tail + block
                end = text.rfind(b"<")
                text, tail = text[:end], text[end:]
                hidden += len(_HIDDEN_ROW.findall(text))
                self._errors.update(
                    (int(n), _number_of(c) - 1) for c, n in _ERROR_CELL.findall(text)
                )
                if size == len(block) and (extent := _DIMENSION.search(text)):
                    width = _number_of(extent[3]) - _number_of(extent[1]) + 1
                    if width * (int(extent[4]) - int(extent[2]) + 1) > MOST_CELLS:
                        raise self._too_large()
        if hidden:
            raise InputError(
                f"{self._name} has {hidden} hidden rows (a filter?), and it cannot be told whether "
                "they are meant. Show all rows, or copy those that are meant into a new sheet."
            )

    def _too_large(self) -> InputError:
        return InputError(
            f"{self._name} is too large to be read as a workbook. Delete what is beside the keys, "
            "or save the sheet as CSV UTF-8."
        )


class _Sheet(NamedTuple):
    name: str
    part: str
    is_hidden: bool


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ElementTree.ParseError,
    EOFError,
    KeyError,  # a part that is named is missing
    NotImplementedError,  # a way of packing that zipfile does not know
    RuntimeError,  # a password
    ValueError,
)


def _sheets(archive: zipfile.ZipFile) -> list[_Sheet]:
    """The worksheets in their order (charts are none). Raises what is in `_DAMAGE`."""
    relations = _xml(archive, "xl/_rels/workbook.xml.rels")
    targets = {entry.get("Id"): entry.get("Target", "") for entry in relations}
    workbook = _xml(archive, "xl/workbook.xml")
    sheets = []
    for entry in workbook.iterfind(".//{*}sheet"):
        target = targets[entry.get(_RELATION)]
        part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
        if "worksheets/" in part:
            is_hidden = entry.get("state", "visible") != "visible"
            sheets.append(_Sheet(entry.get("name", ""), part, is_hidden))
    return sheets


def _xml(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with archive.open(name) as part:
        content = part.read(BLOCK)
    if b"<!DOCTYPE" in content:  # where entities are declared, and no workbook has one
        raise ValueError("a document type")
    return ElementTree.fromstring(content)  # noqa: S314 no entities, and not more than 1 MiB


def _row(cell: object, line: int) -> Row:
    if not isinstance(cell, str):
        return RejectedRow("wrong_type", line)
    return clean_key(cell, line)


def _facts(columns: Columns, cells: list[Any]) -> tuple[Any, Any]:
    received, reference = (
        None if place is None else cells[place] for place in (columns.received, columns.reference)
    )
    return received, reference


def _is_filled(cell: object) -> bool:
    return cell != ""


def _number_of(letters: bytes) -> int:
    """`A` → 1, `AA` → 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number

"""What a workbook's sheets have in common: their list, the shared strings, which formats are dates.

Only what spreadsheet programs write is taken; with anything else it is not certain that two
programs show the same rows.
"""

import re
from array import array
from datetime import datetime, timedelta
from typing import NamedTuple

from bulk_eraser.sources.xlsx_parts import (
    MOST_DEPTH,
    Attributes,
    LocalNames,
    Parts,
    TooLarge,
    kept,
)

__all__ = ["MOST_IN_CELL", "Book", "Sheet", "TextOfCell", "index_of"]

MOST_IN_CELL = 1 << 16
"""Characters; spreadsheet programs allow half as many."""
MOST_SHARED = 256 << 20
"""Bytes of all shared strings together."""
MOST_HELD = 8 << 20
"""Characters of the lists of sheets, of relations and of formats; 64,000 formats have a tenth."""
_HELD = {"sheet", "workbookPr", "Relationship", "numFmt", "cellStyleXfs", "cellXfs", "xf"}
_HELD_OF_THEM = {"name", "state", "date1904", "Id", "Type", "Target", "numFmtId", "formatCode"}
_NO_WORKSHEETS = ("/chartsheet", "/dialogsheet", "/xlMacrosheet", "/xlIntlMacrosheet")
_ESCAPED = re.compile("_x([0-9a-fA-F]{4})_")
_CODES = dict.fromkeys(map(str, [*range(14, 23), 45, 47]), "d") | {"46": "[h]"}
"""Formats that are known by their number alone; those that are left out show numbers."""
_NOT_IN_A_DATE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]|General', re.IGNORECASE)
"""In a format's code: text, blanks, colours and conditions."""
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)


class Sheet(NamedTuple):
    """`part` is the name of its XML in the archive."""

    name: str
    part: str
    is_hidden: bool


class Book:
    """A workbook without the cells. Its methods raise what is in `DAMAGE`, and `TooLarge`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._relations = {
            attributes.get("Id"): attributes
            for tag, attributes in _elements(parts, "xl/_rels/workbook.xml.rels")
            if tag == "Relationship"
        }
        self._workbook = _elements(parts, "xl/workbook.xml")
        self._strings = _Strings()
        self._formats: list[str] = []
        self._first_day = datetime(1899, 12, 30)  # fits from March 1900 on, as in Excel

    def sheets(self) -> list[Sheet]:
        """The worksheets in their order; charts are none."""
        sheets = []
        for tag, entry in self._workbook:
            if tag == "sheet":
                relation = self._relations[entry[next(filter(_is_relation, entry), "")]]
                if not relation.get("Type", "").endswith(_NO_WORKSHEETS):
                    is_hidden = entry.get("state", "visible") != "visible"
                    sheets.append(Sheet(entry.get("name", ""), _target(relation), is_hidden))
        return sheets

    def read_the_rest(self) -> None:
        """What values of cells need: shared strings, and which formats are dates."""
        for relation in self._relations.values():
            kind = relation.get("Type", "").rpartition("/")[2]
            if kind == "sharedStrings":
                self._parts.read(_target(relation), self._strings)
            elif kind == "styles":
                self._formats = _kinds_of_formats(_elements(self._parts, _target(relation)))
        for tag, attributes in self._workbook:
            if tag == "workbookPr" and attributes.get("date1904", "0") not in ("0", "false"):
                self._first_day = datetime(1904, 1, 1)

    def shared(self, number: int) -> str:
        """The shared string of this number, from 0."""
        return self._strings[number]

    def has_text(self, number: int) -> bool:
        return self._strings.has_text(number)

    def format_of(self, style: int) -> str:
        """How a style shows numbers: as a `date`, as a `time` that passed, or as a `number`."""
        return self._formats[style] if style < len(self._formats) else "number"

    def day(self, number: float) -> datetime | None:
        """The date that a number stands for; None for a time or a number that is none."""
        try:
            return self._first_day + timedelta(days=number) if number >= 1 else None
        except OverflowError:
            return None


def _is_relation(name: str) -> bool:
    """`r:id`; its namespace depends on whether the workbook is a “Strict Open XML” one."""
    return name.endswith(":id")


def _target(relation: Attributes) -> str:
    target = relation.get("Target", "")
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def index_of(written: str) -> int:
    """A whole number as XML has it. Raises `ValueError`."""
    if not (written.isascii() and written.strip(" \t\r\n").isdigit()):  # int() takes `1_000`
        raise ValueError("not a whole number")
    return int(written)


# ── formats ─────────────────────────────────────────────────────────────────────────────────


def _kinds_of_formats(styles: list[tuple[str, Attributes]]) -> list[str]:
    """How each style of cells shows numbers."""
    codes = {
        attributes.get("numFmtId"): attributes.get("formatCode", "")
        for tag, attributes in styles
        if tag == "numFmt"
    }
    kinds, is_of_cells = [], False
    for tag, attributes in styles:
        # <cellStyleXfs> <xf/>… <cellXfs> <xf/>…: the second ones are those that cells name.
        if tag in ("cellStyleXfs", "cellXfs"):
            is_of_cells = tag == "cellXfs"
        elif tag == "xf" and is_of_cells:
            number = attributes.get("numFmtId", "0")
            kinds.append(_kind_of_code(codes.get(number, _CODES.get(number, ""))))
    return kinds


def _kind_of_code(code: str) -> str:
    if len(code) > MOST_IN_CELL:
        return "number"
    if _ELAPSED.search(code):
        return "time"
    shown = _NOT_IN_A_DATE.sub("", code).partition(";")[0]
    return "date" if any(letter in "dDmMyYhHsS" for letter in shown) else "number"


# ── texts ───────────────────────────────────────────────────────────────────────────────────


class TextOfCell:
    """The text of a cell, put together from its pieces; phonetic text is none of it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self.is_open = False

    def add(self, piece: str) -> None:
        if self.is_open:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > MOST_IN_CELL:  # of a part of it, nobody knows which key it is
                raise TooLarge

    def take(self) -> str:
        """The whole text; then there is none."""
        text = self._pieces[0] if len(self._pieces) == 1 else "".join(self._pieces)
        self._pieces, self._size, self.is_open = [], 0, False
        if "_x" in text:
            text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        return kept(text)


class _Strings:
    """The shared strings in flat memory, by their numbers."""

    def __init__(self) -> None:
        self._texts = bytearray()
        self._ends = array("I")
        self._tags = LocalNames()
        self._depth = 0
        self._phonetic = 0
        self._text = TextOfCell()

    def __getitem__(self, number: int) -> str:
        start, end = self._place(number)
        return self._texts[start:end].decode("utf-8", "surrogatepass")

    def has_text(self, number: int) -> bool:
        start, end = self._place(number)
        return start < end

    def _place(self, number: int) -> tuple[int, int]:
        if number >= len(self._ends):
            raise ValueError("a shared string that is not there")
        return self._ends[number - 1] if number else 0, self._ends[number]

    def start(self, name: str, _attributes: Attributes) -> None:
        # <si> <t>…</t> or <r><t>…</t></r>… and <rPh><t>…</t></rPh>
        self._depth += 1
        tag = self._tags[name]
        if tag == "t":
            self._text.is_open = not self._phonetic
        elif tag == "rPh":
            self._phonetic = self._depth
        if self._depth > MOST_DEPTH or (tag == "si") != (self._depth == 2):
            raise ValueError("shared strings that are not in their list")

    def end(self, name: str) -> None:
        tag = self._tags[name]
        if tag == "t":
            self._text.is_open = False
        elif tag == "si":
            self._texts += self._text.take().encode("utf-8", "surrogatepass")
            self._ends.append(len(self._texts))
            if len(self._texts) > MOST_SHARED:
                raise TooLarge
        elif self._phonetic == self._depth:
            self._phonetic = 0
        self._depth -= 1

    def text(self, text: str) -> None:
        self._text.add(text)


# ── parts that are held ─────────────────────────────────────────────────────────────────────


class _Elements(list[tuple[str, Attributes]]):
    """Names without prefix, and attributes; of both only what somebody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._size = 0

    def start(self, name: str, attributes: Attributes) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError("elements nested without end")
        tag = name.rpartition(":")[2]
        if tag in _HELD:
            asked = {n: v for n, v in attributes.items() if n in _HELD_OF_THEM or _is_relation(n)}
            self.append((tag, asked))
            self._size += 20 + sum(map(len, asked.values()))
            if self._size > MOST_HELD:
                raise TooLarge

    def end(self, _name: str) -> None:
        self._depth -= 1

    def text(self, text: str) -> None:
        """These parts say all in attributes."""


def _elements(parts: Parts, name: str) -> list[tuple[str, Attributes]]:
    elements = _Elements()
    parts.read(name, elements)
    return elements

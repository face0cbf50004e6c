"""The parts of a workbook that calamine does not tell about: its list of sheets, and a sheet's XML.

Only what spreadsheet programs write is taken; with anything else it is not certain that two
programs show the same rows.
"""

import zipfile
import zlib
from typing import IO, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

__all__ = ["DAMAGE", "Sheet", "SheetScan", "worksheets"]

BLOCK = 1 << 20
MOST_ROWS = 1 << 20
MOST_COLUMNS = 1 << 14
DAMAGE = (
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
"""What reading a workbook that is none, or is broken, may raise."""

# ── the list of sheets ──────────────────────────────────────────────────────────────────────


class Sheet(NamedTuple):
    """`part` is the name of its XML in the archive."""

    name: str
    part: str
    is_hidden: bool


_NO_WORKSHEETS = ("/chartsheet", "/dialogsheet", "/xlMacrosheet", "/xlIntlMacrosheet")


def worksheets(archive: zipfile.ZipFile) -> list[Sheet]:
    """The worksheets in their order (charts are none). Raises what is in `DAMAGE`."""
    relations = {entry.get("Id"): entry for entry in _xml(archive, "xl/_rels/workbook.xml.rels")}
    sheets = []
    for entry in _xml(archive, "xl/workbook.xml").iterfind(".//{*}sheet"):
        relation = relations[_relation_id(entry)]
        if not relation.get("Type", "").endswith(_NO_WORKSHEETS):
            target = relation.get("Target", "")
            part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            is_hidden = entry.get("state", "visible") != "visible"
            sheets.append(Sheet(entry.get("name", ""), part, is_hidden))
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


# ── a sheet's XML ───────────────────────────────────────────────────────────────────────────


class SheetScan:
    """What a sheet's XML says beside the values.

    `hidden_rows` counts the hidden rows. `odd_cells` has the cells (row from 1, column from 0) that
    hold an error, or a date as text. `not_blank` is 1 for rows that are not blank although calamine
    may show nothing: there is an error, or a formula that was never calculated. `last_row` is the
    last one that holds anything.
    """

    def __init__(self) -> None:
        self.hidden_rows = 0
        self.odd_cells: set[tuple[int, int]] = set()
        self.not_blank = bytearray(MOST_ROWS + 1)
        self.last_row = 0
        self._first_row = 0
        self._columns: set[int] = set()
        self._tags = _LocalNames()
        self._column_of = _ColumnsByLetters()
        # Where the parser is.
        self._row = 0
        self._column = -1
        self._type: str | None = None
        self._in_cell = False

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
        # <row r="2" hidden="1"> <c r="B2" t="s"> <f>…</f> <v>…</v> or <is>…</is>
        tag = self._tags[name]
        if tag == "c":
            self._begin_cell(attributes.get("r"), attributes.get("t"))
        elif tag == "row":
            self._begin_row(attributes.get("r"), attributes.get("hidden", "0"))
        elif self._in_cell and tag in ("v", "is", "f"):
            self._fill_cell(is_formula=tag == "f")
        else:  # a <v> in something else is no cell's value
            self._in_cell = False

    def _begin_row(self, written: str | None, hidden: str) -> None:
        row = int(written) if written else self._row + 1  # left out, it is the next one
        if not self._row < row <= MOST_ROWS:
            raise ValueError("rows that are not in order")
        self._row, self._column = row, -1
        self.hidden_rows += hidden not in ("0", "false")

    def _begin_cell(self, place: str | None, type_: str | None) -> None:
        column = self._column + 1  # left out, it is the next one
        if place:
            letters = place.rstrip("0123456789")
            column = self._column_of[letters]
            if place != f"{letters}{self._row}":
                raise ValueError("a cell in another row than its own")
        if not self._column < column < MOST_COLUMNS:
            raise ValueError("cells that are not in order")
        self._column, self._type, self._in_cell = column, type_, True
        if type_ in ("e", "d"):  # an error, a date in ISO 8601: calamine shows "" and text
            self.odd_cells.add((self._row, column))

    def _fill_cell(self, *, is_formula: bool) -> None:
        self._first_row = self._first_row or self._row
        self.last_row = self._row
        self._columns.add(self._column)
        # Only a formula for text may be blank and mean it.
        if self._type == "e" or (is_formula and self._type != "str"):
            self.not_blank[self._row] = 1


class _LocalNames(dict[str, str]):
    """Names of elements → the same without prefix."""

    def __missing__(self, name: str) -> str:
        self[name] = local = name.rpartition(":")[2]
        return local


class _ColumnsByLetters(dict[str, int]):
    """`A` → 0, `AA` → 26."""

    def __missing__(self, letters: str) -> int:
        number = 0
        for letter in letters:
            number = number * 26 + int(letter, 36) - 9
        self[letters] = number - 1
        return number - 1


def _no_document_type(*_: object) -> None:
    raise ValueError("a document type, where entities are declared: no workbook has one")

"""Rows of CSV as people have it: Excel's `sep=` line, `;` or tabs, quotes, trailing empty fields.

Nothing about the key is guessed: where the column cannot be told for certain, the error lists
what is there and which option decides it.
"""

import csv
import io
import re
from collections.abc import Iterator

from bulk_eraser.errors import InputError
from bulk_eraser.sources.opening import physical_lines
from bulk_eraser.sources.rows import KeyRow, RejectedRow, Row, clean_key

__all__ = ["CsvRows"]

DELIMITERS = ",;\t|"
_LOOKS_LIKE_A_KEY = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|[0-9a-fA-F]{16,}$|[0-9]+$|.*@.*\.|.{41,}"
)


class CsvRows:
    """Iterate to get the rows. `key_field` and `delimiter` hold what was found in the file.

    Raises `InputError` when the key's column cannot be told, or where a stray quote swallows
    rows. `key_field` with `header=False` is the column's number, from 1.
    """

    def __init__(
        self,
        text: io.TextIOWrapper,
        name: str,
        key_field: str | None,
        header: bool,
        delimiter: str | None,
    ) -> None:
        self._name = name
        self._cut: set[int] = set()
        self._lines = physical_lines(text, self._cut)
        self._offset = 0
        first = self._skip_to_content()
        if first.lower().startswith("sep=") and len(first.strip()) == 5:
            delimiter = delimiter or first.strip()[4]
            first = self._skip_to_content()
        self.delimiter = delimiter or _find_delimiter(first, key_field if header else None)
        self._offset -= 1
        self._reader = csv.reader(_after(first, self._lines), delimiter=self.delimiter, strict=True)
        self._column_assumed = False
        if header:
            names = [column.strip() for column in next(self._reader, [])]
            self._column = self._find_column(names, key_field)
            self.key_field = names[self._column]
            self._width = len(names)
        else:
            self._width = len(next(csv.reader([first], delimiter=self.delimiter)))
            self._column = self._find_number(key_field)
            self.key_field = str(self._column + 1)

    def __iter__(self) -> Iterator[Row]:
        reader, column, width, cut = self._reader, self._column, self._width, self._cut
        check_header = self._column_assumed
        while True:
            start = reader.line_num + 1 + self._offset
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(str(error), start)
                continue
            if not any(fields):
                continue
            if cut and max(cut) >= start:
                yield RejectedRow("line_too_long", start)
            elif len(fields) <= column:
                yield RejectedRow("missing_field", start)
            elif len(fields) > width and any(fields[width:]):
                yield RejectedRow("too_many_fields", start)
            else:
                row = self._row(fields[column], start)
                if check_header and isinstance(row, KeyRow):
                    self._header_must_not_be_a_key(row.key)
                    check_header = False
                yield row

    def _row(self, raw: str, start: int) -> Row:
        if raw[:1] == " " and raw.lstrip(" ")[:1] == '"':
            return RejectedRow("malformed_csv", start)
        breaks = raw.count("\n")
        if breaks > 1:
            raise self._stray_quote(start)
        return RejectedRow("control_character", start) if breaks else clean_key(raw, start)

    def _broken(self, error: str, start: int) -> RejectedRow:
        """A row whose quoting is broken: by itself if it is one line, else it swallowed others."""
        if self._reader.line_num + self._offset > start or "unexpected end of data" in error:
            raise self._stray_quote(start)
        return RejectedRow("field_too_long" if "field limit" in error else "malformed_csv", start)

    def _stray_quote(self, start: int) -> InputError:
        return InputError(
            f'{self._name}: a quote (") opened on line {start} is not closed where its field '
            "ends, so the rows behind it cannot be told apart. Nothing was sent. Correct that "
            "line and run again."
        )

    def _skip_to_content(self) -> str:
        """The next line that is not blank. `_offset` counts the lines that csv will not see."""
        for line in self._lines:
            self._offset += 1
            if line.strip():
                return line
        raise InputError(f"{self._name} holds no rows: there is nothing to erase.")

    def _find_column(self, names: list[str], key_field: str | None) -> int:
        wanted = key_field or "customerKey"
        places = [place for place, name in enumerate(names) if name == wanted]
        if len(places) == 1:
            return places[0]
        filled = [place for place, name in enumerate(names) if name]
        if key_field is None and not places and len(filled) == 1:
            if _LOOKS_LIKE_A_KEY.match(names[filled[0]]):
                raise self._no_header()
            self._column_assumed = True
            return filled[0]
        trouble = f"has the column {wanted} twice" if places else f"has no column {wanted}"
        raise InputError(
            f"{self._name} {trouble}. Columns there: {', '.join(filter(None, names))}. Name the "
            "key's column with --key-field, or say --no-header if the first line is no header "
            "(and --delimiter if the columns are separated in another way)."
        )

    def _find_number(self, key_field: str | None) -> int:
        width = self._width
        if key_field is None and width == 1:
            return 0
        if key_field is not None and key_field.isascii() and key_field.isdigit():
            number = int(key_field)
            if 1 <= number <= width:
                return number - 1
        raise InputError(
            f"{self._name} has {width} columns and no header: give the number of the key's column "
            f"with --key-field, from 1 to {width}."
        )

    def _header_must_not_be_a_key(self, key: str) -> None:
        """With a single column, a file without header would silently lose its first key."""
        name = self.key_field
        if any(map(str.isdigit, name)) and _shape(name) == _shape(key):
            raise self._no_header()

    def _no_header(self) -> InputError:
        return InputError(
            f"{self._name}: the first line looks like a customer key, not like a column's name. "
            "Say --no-header if the file has no header, or name the column with --key-field."
        )


def _find_delimiter(first: str, key_field: str | None) -> str:
    """The one delimiter in the first line; the one that makes `key_field` a column wins."""
    wanted = key_field or "customerKey"
    present = []
    for delimiter in DELIMITERS:
        names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if len(names) > 1:
            if wanted in names:
                return delimiter
            present.append(delimiter)
    return present[0] if present else ","


def _after(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _shape(text: str) -> str:
    return re.sub("[a-z]", "a", re.sub("[0-9]", "9", text.lower()))

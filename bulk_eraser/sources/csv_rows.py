"""Rows of CSV as people have it: Excel's `sep=` line, `;` or tabs, quotes, trailing empty fields.

No row is guessed: where a quote may have swallowed rows, or what looks like a row may be the rest
of a broken one, nothing is read on.
"""

import csv
import io
import re
from collections.abc import Iterator

from bulk_eraser.errors import InputError
from bulk_eraser.sources.columns import find_columns, kind_of, number_columns
from bulk_eraser.sources.rows import (
    BLANKS,
    KeyRow,
    Reading,
    RejectedRow,
    Row,
    clean_key,
    is_numeric_like,
    with_facts,
)
from bulk_eraser.sources.text import physical_lines

__all__ = ["CsvRows"]

DELIMITERS = ",;\t|"
_MAY_HOLD_MORE_FIELDS = re.compile(r"[;|][ ;|]*$|[{]?[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}[}]?[;|]")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?[\r\n]*', re.IGNORECASE)
_LINE_END = re.compile("\r\n|\r|\n")
_PLAIN_KEY = re.compile(r"[!-:<-{}~](?:[ -:<-{}~]{0,500}[!-:<-{}~])?")
"""Nothing in it can be meant otherwise: short, no blanks around it, no `;` or `|`."""
_JSON = re.compile(r'\s*[\[{]\s*["{]')


class CsvRows:
    """Iterate to get the rows. `key_field` and `delimiter` hold what was found in the file.

    Raises `InputError` when the key's column cannot be told, or where a stray quote swallows
    rows. `key_field` without a header is the column's number, from 1.
    """

    def __init__(
        self, text: io.TextIOWrapper, name: str, asked: Reading, line_end: str = "\n"
    ) -> None:
        self._name = name
        self._cut: set[int] = set()
        self._lines = physical_lines(text, self._cut, line_end)
        self._line = ""
        self._offset = 0
        delimiter = asked.delimiter
        first = self._skip_to_content(delimiter)
        if separator := _SEPARATOR_LINE.fullmatch(first):
            delimiter = delimiter or separator[1]
            if delimiter == '"':
                raise InputError(
                    f"{self._name}: its sep= line names the quote, which cannot separate columns. "
                    "Remove that line, or say --delimiter."
                )
            first = self._skip_to_content(delimiter)
        self._must_be_csv(first)
        found = None if delimiter else self._find_delimiter(first, asked)
        self.delimiter = delimiter or found or ","
        self._undelimited = not (delimiter or found)
        self._offset -= 1
        self._reader = csv.reader(self._feed(first), delimiter=self.delimiter, strict=True)
        self._blanks = BLANKS.replace(self.delimiter, "")
        self._tab_is_blank = self.delimiter != "\t"
        self._quote_behind_blank = re.compile(
            rf'(?:^|{re.escape(self.delimiter)})[{self._blanks}]+"(?!")'
        )
        self._names: list[str] = []
        if asked.header:
            self._names = self._header()
            self._columns = find_columns(self._names, asked, name)
        else:
            width = len(_split(first, self.delimiter))
            self._columns = number_columns(width, asked, name)
        self._width = self._columns.width
        self._key_name = self._columns.key_field if asked.header else None
        self._has_facts = asked.has_facts

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    def __iter__(self) -> Iterator[Row]:
        reader, column, width, cut = self._reader, self._columns.key, self._width, self._cut
        assumed = check_header = self._columns.assumed
        broken = 0
        offset, key_name = self._offset, self._key_name
        is_told = not (assumed or self._has_facts)
        while True:
            start = reader.line_num + 1 + offset
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                rejected = self._broken(str(error), start)
                broken = start if rejected.error == "malformed_csv" else 0
                yield rejected
                continue
            # The row of most files: no quote (so it is one line), and a key that is plainly one.
            # It is what the way below makes of it, in a third of the time.
            if is_told and len(fields) == width and '"' not in self._line and not (cut or broken):
                key = fields[column]
                if key != key_name and _PLAIN_KEY.fullmatch(key):
                    yield KeyRow(key, start, False)
                    continue
            if not any(fields):
                continue
            if broken:
                self._must_be_whole(fields, broken)
                broken = 0
            if cut and max(cut) >= start:
                yield RejectedRow("line_too_long", start)
                continue
            several_lines = reader.line_num + offset > start
            if several_lines:
                self._must_not_swallow(fields, start)
            if assumed:
                self._columns.must_be_the_only_one(fields, start, self._name)
            if len(fields) > 1 and self._is_one_number(fields):
                fields = [",".join(fields)]
            if len(fields) > column and fields[column].strip(BLANKS) == key_name:
                row: Row = RejectedRow("repeated_header", start)
            elif self._is_cut(fields, several_lines):
                row = RejectedRow("malformed_csv", start)
            elif len(fields) <= column:
                row = RejectedRow("missing_field", start)
            elif len(fields) > width and any(fields[width:]):
                row = RejectedRow("too_many_fields", start)
            else:
                row = self._row(fields[column], start, is_short=len(fields) < width)
                if check_header and isinstance(row, KeyRow):
                    self._columns.header_must_not_be_a_key(row.key, self._name)
                    check_header = False
                if self._has_facts:
                    row = self._with_facts(row, fields)
            if isinstance(row, RejectedRow) and row.error == "malformed_csv":
                broken = start if several_lines or self._line.count('"') % 2 else 0
            yield row

    def _with_facts(self, row: Row, fields: list[str]) -> Row:
        places = (self._columns.received, self._columns.reference)
        facts = (fields[p] if p is not None and p < len(fields) else None for p in places)
        return with_facts(row, *facts)

    def _is_one_number(self, fields: list[str]) -> bool:
        """Is it a comma of decimals, which a lone column needs no quotes for?"""
        return self._undelimited and self._width == 1 and is_numeric_like(",".join(fields))

    def _row(self, raw: str, start: int, *, is_short: bool) -> Row:
        if '"' in raw and raw[0] != '"' and raw.strip(BLANKS)[0] == '"':
            return RejectedRow("malformed_csv", start)
        if self._undelimited and (";" in raw or "|" in raw) and _MAY_HOLD_MORE_FIELDS.search(raw):
            return RejectedRow("too_many_fields", start)
        if is_short and any(other in raw for other in DELIMITERS):
            raise InputError(
                f"{self._name}: line {start} is not separated by what separates the header's "
                "columns. Nothing was sent. Correct the file, or name it with --delimiter."
            )
        if "\n" in raw or "\r" in raw:
            return RejectedRow("control_character", start)
        return clean_key(raw, start)

    # ── quotes that may have swallowed rows ─────────────────────────────────────────────────

    def _broken(self, error: str, start: int) -> RejectedRow:
        """A row whose quoting is broken: by itself if it is one line, else it swallowed others."""
        several_lines = self._reader.line_num + self._offset > start
        if several_lines or "unexpected end of data" in error or self._is_open_at_line_end():
            raise self._stray_quote(start)
        return RejectedRow("field_too_long" if "field limit" in error else "malformed_csv", start)

    def _is_open_at_line_end(self) -> bool:
        """Does a quoted field of the last line go on behind it? Then the next line is no row.

        A lone CR in the line is looked at both ways, as text and as a line end.
        """
        line = self._line.rstrip("\r\n")
        return self._goes_on([line.replace("\r", " ")]) or self._goes_on(line.split("\r"))

    def _goes_on(self, lines: list[str]) -> bool:
        text = [f"{line}\n" for line in lines]
        try:
            return list(csv.reader([*text, "x"], delimiter=self.delimiter))[-1] != ["x"]
        except csv.Error:
            return self._line.count('"') % 2 == 1

    def _is_cut(self, fields: list[str], several_lines: bool) -> bool:
        """csv knows no quote behind a blank: it cuts `Doe, "Doe, John"` into three fields."""
        if not several_lines and not self._has_quote_behind_blank():
            return False
        return any(map(self._is_half_quoted, fields))

    def _has_quote_behind_blank(self) -> bool:
        line = self._line
        quick = ' "' in line or (self._tab_is_blank and '\t"' in line) or not line.isascii()
        return quick and bool(self._quote_behind_blank.search(line))

    def _is_half_quoted(self, field: str) -> bool:
        """Does the field begin with blanks and a quote that ends in another field?"""
        text = field.strip(self._blanks) if field[:1] in self._blanks else ""
        return text.startswith('"') and text.count('"') % 2 == 1

    def _must_be_whole(self, fields: list[str], broken: int) -> None:
        """What follows a broken row must look like a row, or it is the rest of that one."""
        width = self._width
        if len(fields) < width or any(fields[width:]) or self._line.count('"') % 2:
            raise self._stray_quote(broken)

    def _must_not_swallow(self, fields: list[str], start: int) -> None:
        """A field over several lines is a note, unless lines of it are rows themselves.

        Each line is looked at as it stands in the file, also the one on which the quote opened.
        """
        column, width = self._columns.key, self._width
        if len(fields) <= column or any(fields[width:]):
            raise self._stray_quote(start)
        key = fields[column]
        if max(key.count("\n"), key.count("\r")) > 1:
            raise self._stray_quote(start)
        lines: list[list[str]] = [[]]
        own = 0  # the line on which the key stands
        for place, field in enumerate(fields):
            first, *others = _LINE_END.split(field)
            lines[-1] += first.split(self.delimiter) if others else [field]
            lines += [line.split(self.delimiter) for line in others]
            if place == column:
                own = len(lines) - 1
        fewest = max(column + 1, min(width, 2))
        for number, line in enumerate(lines):
            is_row = number != own and len(line) >= fewest
            if is_row and _are_alike(line[column].strip(' "'), key.strip()):
                raise self._stray_quote(start)

    def _stray_quote(self, start: int) -> InputError:
        return InputError(
            f'{self._name}: a quote (") opened on line {start} is not closed where its field '
            "ends, so the rows behind it cannot be told apart. Nothing was sent. Correct that "
            "line and run again."
        )

    # ── the first line ──────────────────────────────────────────────────────────────────────

    def _skip_to_content(self, delimiter: str | None) -> str:
        """The next line with a field. `_offset` counts the lines that csv will not see."""
        for line in self._lines:
            self._offset += 1
            if line.strip(" \t\u00a0\r\n" + (delimiter or DELIMITERS)):
                return line
        raise InputError(f"{self._name} holds no rows: there is nothing to erase.")

    def _feed(self, first: str) -> Iterator[str]:
        """The lines for csv; `_line` is the one that it read last."""
        self._line = first
        yield first
        for line in self._lines:
            self._line = line
            yield line

    def _must_be_csv(self, first: str) -> None:
        if self._offset in self._cut:
            raise InputError(f"{self._name} is no CSV: its first line is longer than 1 MiB.")
        if _JSON.match(first):
            raise InputError(
                f"{self._name} begins like JSON, not like CSV. Say --format ndjson if each line is "
                "a JSON object."
            )

    def _find_delimiter(self, first: str, asked: Reading) -> str | None:
        """The one that makes the key's name a column, else the only one that is there."""
        wanted = asked.key_field or "customerKey"
        present = []
        for delimiter in DELIMITERS:
            names = [name.strip() for name in _split(first, delimiter)]
            if len(names) > 1:
                if asked.header and wanted in names:
                    return delimiter
                present.append(delimiter)
        if len(present) > 1 and not asked.header:
            raise InputError(
                f"{self._name}: the first line may be separated in several ways. Name what "
                "separates the columns with --delimiter."
            )
        return present[0] if present else None

    def _header(self) -> list[str]:
        try:
            return next(self._reader)
        except csv.Error:
            raise InputError(
                f"{self._name}: the quoting of the header (line {self._offset + 1}) is broken, so "
                "the columns cannot be told apart. Correct that line and run again."
            ) from None


def _split(line: str, delimiter: str) -> list[str]:
    """The fields of one line by itself, however its quotes stand; none if they cannot be told."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _are_alike(one: str, other: str) -> bool:
    """Could both be keys of one system, whatever their digits and hexadecimal letters?"""
    if not any(map(str.isdigit, one)):
        return False
    shape, other_shape = (re.sub("[0-9a-f]", "x", key.lower()) for key in (one, other))
    return shape == other_shape or kind_of(one) == kind_of(other)

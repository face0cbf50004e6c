"""Rows of CSV as people have it: Excel's `sep=` line, `;` or tabs, quotes, trailing empty fields.

No row is guessed: where a quote may have swallowed rows, or what looks like a row may be the rest
of a broken one, the file is refused.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from itertools import count

from bulk_eraser.errors import InputError
from bulk_eraser.sources.columns import (
    MOST_TITLE_LINES,
    Columns,
    blank_header_row,
    find_columns,
    must_not_be_a_title,
    number_columns,
)
from bulk_eraser.sources.csv_delimiter import (
    DELIMITERS,
    find_delimiter,
    must_be_csv,
    named_by_separator_line,
    split_line,
)
from bulk_eraser.sources.csv_quotes import Quotes
from bulk_eraser.sources.rows import (
    BLANKS,
    KeyRow,
    KeyRows,
    Reading,
    RejectedRow,
    Row,
    RowGroup,
    are_plain_keys,
    clean_key,
    cluster_named,
    in_cluster,
    is_numeric_like,
    rows_of,
    with_facts,
)
from bulk_eraser.sources.text import BlankLines, physical_lines

__all__ = ["CsvRows"]

_CODE_AND_MORE = re.compile(r"[{]?[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}[}]?[;|]")
_GROUP = 1 << 13
"""Characters, about: the lines that are looked at together."""


class CsvRows:
    """Iterate to get the rows, or their `groups`. `key_field` and `delimiter` hold what was found
    in the file.

    Raises `InputError` when the key's column cannot be told, or where a stray quote swallows
    rows. `key_field` without a header is the column's number, from 1.
    """

    def __init__(
        self, text: io.TextIOWrapper, name: str, asked: Reading, line_end: str = "\n"
    ) -> None:
        self._name = name
        self._asked = asked
        self._too_long: set[int] = set()
        self._blank_lines = BlankLines(name)
        self._line_end = line_end
        self._physical_lines = physical_lines(text, self._too_long, line_end)
        self._ahead: deque[str] = deque()
        self._end: Exception | None = None
        self._lines = self._each_line()
        self._line = ""
        self._passed_over = 0
        first, delimiter = self._begin(asked.delimiter)
        self._undelimited = delimiter is None
        self.delimiter = delimiter or ","
        self._reader = csv.reader(self._feed(first), delimiter=self.delimiter, strict=True)
        self._columns = self._find_columns(first)
        self._quotes = Quotes(self.delimiter, self._columns.key, self._columns.width)
        self._key_name = self._columns.key_field if asked.header else None
        self._to_compare = MOST_TITLE_LINES if self._columns.assumed else 0

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    @property
    def ends_within_a_row(self) -> bool:
        """After the last row: is it the end of the file that ends it, and not a line end?"""
        line = self._line
        return not line.endswith(("\n", "\r")) and bool(line.strip(BLANKS + self.delimiter))

    @property
    def _line_number(self) -> int:
        """Of the line that was read last."""
        return self._reader.line_num + self._passed_over

    # ── the rows ────────────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Row]:
        return rows_of(self.groups())

    def groups(self) -> Iterator[RowGroup]:
        """The rows: most as groups of plain ones, all others step by step."""
        reader = self._reader
        needs_nothing_else = not (self._columns.assumed or self._columns.has_facts)
        broken = 0  # the line of the row before, if that may go on in this one
        while True:
            # 1. At the begin of a group, and nothing that came before has to do with it.
            if needs_nothing_else and reader.line_num and not (self._ahead or broken):
                self._look_ahead()
                if (plain := self._plain_rows()) is not None:
                    yield from plain
                    continue
            start = self._line_number + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                rejected = self._unreadable(str(error), start)
                broken = start if rejected.error == "malformed_csv" else 0
                yield rejected
                continue
            # 2. Blank, or nothing but delimiters, as Excel leaves them behind deleted rows.
            if not any(fields):
                self._blank_lines.count()
                continue
            # 3. Any other row, step by step.
            several_lines = self._line_number > start
            row = self._row(fields, start, broken, several_lines=several_lines)
            broken = start if self._may_go_on(row, several_lines=several_lines) else 0
            yield row

    def _plain_rows(self) -> list[RowGroup] | None:
        """The lines ahead, which are then used up, if each is a row that the steps of `_row` would
        leave as it is: without a quote, with as many fields as the header, and a plain key. If the
        rows of one cluster are asked for, it is these alone."""
        lines, text = self._ahead, "".join(self._ahead)
        if '"' in text or self._too_long or self._line_end != "\n" or not text.endswith("\n"):
            return None
        rows: list[list[str]] = []
        if self.delimiter in text:
            rows = self._fields_of(lines)
            keys = [fields[self._columns.key] for fields in rows]
        else:
            keys = text.replace("\r\n", "\n").split("\n")[:-1] if self._columns.width == 1 else []
        if not keys or not are_plain_keys(keys) or self._key_name in keys:
            return None
        start = self._line_number + 1
        self._passed_over += len(lines)  # csv will not see them
        self._line = lines[-1]
        self._ahead.clear()
        if self._columns.cluster is None:
            return [KeyRows(start, keys)]
        # Rows of other clusters are most of them, and are left out before they are made.
        wanted, names = self._asked.cluster, [fields[self._columns.cluster] for fields in rows]
        return [
            KeyRow(key, line, False, cluster=cluster)
            for line, key, cluster in zip(count(start), keys, map(cluster_named, names))
            if wanted is None or cluster == wanted
        ]

    def _fields_of(self, lines: deque[str]) -> list[list[str]]:
        """The fields of each line; none if the lines differ in their number of fields."""
        try:
            rows = list(csv.reader(lines, delimiter=self.delimiter, strict=True))
        except csv.Error:
            return []
        if len(rows) != len(lines) or set(map(len, rows)) != {self._columns.width}:
            return []
        return rows

    def _row(self, fields: list[str], start: int, broken: int, *, several_lines: bool) -> Row:
        """What a row comes to that is not plain. `broken` is the line of a broken row before it.

        Raises `InputError` where no row of the file can be trusted.
        """
        # 1. Behind a broken row must stand a row, or it is the rest of that one.
        if broken and self._quotes.leave_a_rest(fields, self._line):
            raise self._stray_quote(broken)
        # 2. A stand-in for a line that was too long: nothing of it can be judged.
        if self._too_long and start <= max(self._too_long) <= self._line_number:
            return RejectedRow("line_too_long", start)
        # 3. A note may have several lines, as long as none of them is a row.
        if several_lines and self._quotes.swallow_rows(fields):
            raise self._stray_quote(start)
        # 4. The key's column was taken because it is the only one. Is it?
        if self._columns.assumed:
            self._columns.must_be_the_only_one(fields, start, self._name)
        # 5. A lone column needs no quotes around the comma of decimals, `4,01E+15`.
        if len(fields) > 1 and self._is_one_number(fields):
            fields = [",".join(fields)]
        # 6. Rejected for its fields, else for its key, else for what it says beside the key.
        if error := self._error_of(fields, several_lines=several_lines):
            return RejectedRow(error, start)
        row = self._key_row(fields[self._columns.key], start, width=len(fields))
        if self._to_compare and isinstance(row, KeyRow):
            is_first = self._to_compare == MOST_TITLE_LINES
            self._columns.header_must_not_be_a_key(row, self._name, is_first=is_first)
            self._to_compare -= 1
        if self._columns.has_facts:
            row = self._with_facts(row, fields)
        place = self._columns.cluster
        if place is None:
            return row
        return in_cluster(row, fields[place] if place < len(fields) else None)

    def _is_one_number(self, fields: list[str]) -> bool:
        is_lone_column = self._undelimited and self._columns.width == 1
        return is_lone_column and is_numeric_like(",".join(fields))

    def _error_of(self, fields: list[str], *, several_lines: bool) -> str | None:
        """Why the row is rejected whatever its key is; None if it is not."""
        column, width = self._columns.key, self._columns.width
        # 1. Files that were joined repeat the header; its name is no customer.
        if len(fields) > column and fields[column].strip(BLANKS) == self._key_name:
            return "repeated_header"
        # 2. Before the fields are counted: a cut field made more of them.
        if self._quotes.cut_a_field(fields, self._line, several_lines=several_lines):
            return "malformed_csv"
        # 3. The key's column is missing, or there is more than the header names. (Empty fields
        #    at the end are Excel's.)
        if len(fields) <= column:
            return "missing_field"
        return "too_many_fields" if any(fields[width:]) else None

    def _key_row(self, raw: str, start: int, *, width: int) -> Row:
        """The row by its key, as it stands in the file; `width` is how many fields the row has."""
        # 1. A quote behind a blank, within the key's own field.
        if '"' in raw and raw[0] != '"' and raw.strip(BLANKS)[0] == '"':
            return RejectedRow("malformed_csv", start)
        # 2. Nothing separates the header's columns, but something seems to separate this row's.
        if self._undelimited and (";" in raw or "|" in raw) and _may_hold_more_fields(raw):
            return RejectedRow("too_many_fields", start)
        # 3. Fields are missing at the end, and another delimiter is in the key: the key may be
        #    several fields, and then so may every other one of the file.
        if width < self._columns.width and any(other in raw for other in DELIMITERS):
            raise InputError(
                f"{self._name}: line {start} seems to have another delimiter than the header. "
                "Nothing was sent. Correct the file, or name the delimiter with --delimiter."
            )
        # 4. A line end at the outside of a key would be stripped as a blank: here it is refused.
        if "\n" in raw or "\r" in raw:
            return RejectedRow("control_character", start)
        return clean_key(raw, start)

    def _with_facts(self, row: Row, fields: list[str]) -> Row:
        places = (self._columns.received, self._columns.reference)
        received, reference = (
            fields[p] if p is not None and p < len(fields) else None for p in places
        )
        return with_facts(row, received, reference, self._asked)

    # ── broken quotes ───────────────────────────────────────────────────────────────────────

    def _unreadable(self, error: str, start: int) -> RejectedRow:
        """The row for an error of csv, which is rejected alone if it is one line for certain.

        Raises `InputError` if it may have swallowed others.
        """
        several_lines = self._line_number > start
        is_open = "unexpected end of data" in error or self._quotes.are_open_at_the_end(self._line)
        if several_lines or is_open:
            raise self._stray_quote(start)
        return RejectedRow("field_too_long" if "field limit" in error else "malformed_csv", start)

    def _may_go_on(self, row: Row, *, several_lines: bool) -> bool:
        """Is it a broken row, of which the next line may be the rest?"""
        is_broken = isinstance(row, RejectedRow) and row.error == "malformed_csv"
        return is_broken and (several_lines or self._line.count('"') % 2 == 1)

    def _stray_quote(self, start: int) -> InputError:
        return InputError(
            f'{self._name}: a quote (") opened on line {start} is not closed at the end of its '
            "field, so it is unclear where the next rows begin. Nothing was sent. Correct that "
            "line and run again."
        )

    # ── the first line ──────────────────────────────────────────────────────────────────────

    def _begin(self, asked: str | None) -> tuple[str, str | None]:
        """The first line that is header or row, and the delimiter; None: there is no sign of one.

        The option is stronger than the file's `sep=` line, which is stronger than the header.
        """
        delimiter = asked
        if self._asked.header_row is not None:
            return self._begin_at(self._asked.header_row, delimiter)
        first = self._skip_to_content(asked)
        if named := named_by_separator_line(first):
            delimiter = asked or named
            first = self._skip_to_content(delimiter)
        return self._begun(first, delimiter)

    def _begin_at(self, row: int, delimiter: str | None) -> tuple[str, str | None]:
        """The same where the header is on this line; a `sep=` line above it counts."""
        for line in self._lines:
            self._passed_over += 1
            if self._passed_over == row and line.strip(" \t\u00a0\r\n" + (delimiter or DELIMITERS)):
                return self._begun(line, delimiter)
            if self._passed_over == row:
                break
            delimiter = delimiter or named_by_separator_line(line)
        raise blank_header_row(row, self._name)

    def _begun(self, first: str, delimiter: str | None) -> tuple[str, str | None]:
        if delimiter == '"':
            raise InputError(
                f"{self._name}: its sep= line names the quote, which cannot separate columns. "
                "Remove that line, or use --delimiter."
            )
        if self._passed_over in self._too_long:
            raise InputError(f"{self._name} is not CSV: its first line is longer than 1 MiB.")
        must_be_csv(first, self._name)
        self._passed_over -= 1  # csv will see this line
        return first, delimiter or find_delimiter(first, self._asked, self._name)

    def _skip_to_content(self, delimiter: str | None) -> str:
        """The next line with a field. `_passed_over` counts the lines that csv will not see."""
        for line in self._lines:
            self._passed_over += 1
            if line.strip(" \t\u00a0\r\n" + (delimiter or DELIMITERS)):
                return line
            self._blank_lines.count()
        raise InputError(f"{self._name} holds no rows: there is nothing to erase.")

    def _each_line(self) -> Iterator[str]:
        while True:
            self._look_ahead()
            if not self._ahead:
                return
            while self._ahead:
                yield self._ahead.popleft()

    def _look_ahead(self) -> None:
        """Read the lines of a group, if none are left. What ends the reading is raised only behind
        the lines before it."""
        if self._ahead:
            return
        if self._end is not None:
            raise self._end
        size = 0
        try:
            for line in self._physical_lines:
                self._ahead.append(line)
                size += len(line)
                # Of lines that were too long only the last one is known: a group has one, its last.
                if size >= _GROUP or self._too_long:
                    return
        except Exception as error:
            if not self._ahead:
                raise
            self._end = error

    def _feed(self, first: str) -> Iterator[str]:
        """The lines for csv; `_line` is the one that it read last."""
        self._line = first
        yield first
        for line in self._lines:
            self._line = line
            yield line

    def _find_columns(self, first: str) -> Columns:
        if not self._asked.header:
            width = len(split_line(first, self.delimiter))
            return number_columns(width, self._asked, self._name)
        try:
            names = next(self._reader)
        except csv.Error:
            raise InputError(
                f"{self._name}: the quotes in the header (line {self._passed_over + 1}) are "
                "broken, so it is unclear which columns there are. Correct that line and run again."
            ) from None
        try:
            return find_columns(names, self._asked, self._name)
        except InputError:
            # It is refused anyway, so the lines that follow may be used up.
            must_not_be_a_title(names, self._lines_ahead(), self._asked, self._name)
            raise

    def _lines_ahead(self) -> Iterator[tuple[int, list[str]]]:
        """Numbers and fields of the lines to come, however they are separated."""
        separators = "[" + re.escape(DELIMITERS + self.delimiter) + "]"
        for number, line in enumerate(self._lines, self._passed_over + 2):
            yield number, [field.strip(' "\r\n') for field in re.split(separators, line)]


def _may_hold_more_fields(raw: str) -> bool:
    """Does something separate fields in a lone column: `;` or `|` at its end or behind a UUID?"""
    raw = raw.removesuffix("\n")
    end = raw[len(raw.rstrip(" ;|")) :]  # an expression would look at each `;` to its end
    return ";" in end or "|" in end or bool(_CODE_AND_MORE.search(raw))

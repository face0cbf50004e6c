"""Quotes that stand where they should not: did one swallow rows, or cut one?

A stray quote makes csv read on, over any number of rows, to the next quote; with that, keys vanish
into a field of another row without an error. These are the questions that notice it. They answer;
what is then done with the row, or with the file, is decided in `csv_rows`.
"""

import csv
import re

from bulk_eraser.sources.columns import kind_of
from bulk_eraser.sources.rows import BLANKS

__all__ = ["Quotes"]

_LINE_END = re.compile("\r\n|\r|\n")


class Quotes:
    """The questions for a table whose columns are separated by `delimiter`.

    `column` is the place of the key, from 0, `width` the number of columns.
    """

    def __init__(self, delimiter: str, column: int, width: int) -> None:
        self._delimiter = delimiter
        self._column = column
        self._width = width
        self._blanks = BLANKS.replace(delimiter, "")
        self._tab_is_blank = delimiter != "\t"
        self._quote_behind_blank = re.compile(
            rf'(?:^|{re.escape(delimiter)})[{self._blanks}]+"(?!")'
        )

    def swallow_rows(self, fields: list[str]) -> bool:
        """Does a row over several lines hold lines that are rows themselves?

        A note may have several lines, a row may not. Each line is looked at as it stands in the
        file, also the one on which the quote opened.
        """
        # 1. Not the columns of the header: where the quotes are wrong, so are the columns.
        if len(fields) <= self._column or any(fields[self._width :]):
            return True
        # 2. A key over more than one line end: no customer key is a paragraph.
        key = fields[self._column]
        if max(key.count("\n"), key.count("\r")) > 1:
            return True
        # 3. A line with enough columns, whose key looks like the key of this row.
        lines, own = self._lines_in_the_file(fields)
        fewest = max(self._column + 1, min(self._width, 2))
        return any(
            number != own
            and len(line) >= fewest
            and _are_alike(line[self._column].strip(' "'), key.strip())
            for number, line in enumerate(lines)
        )

    def _lines_in_the_file(self, fields: list[str]) -> tuple[list[list[str]], int]:
        """The columns of each line, as if there were no quotes, and which line is the key's own."""
        lines: list[list[str]] = [[]]
        own = 0
        for place, field in enumerate(fields):
            first, *others = _LINE_END.split(field)
            # A field on one line is a column, whatever is in it; of one over several lines each
            # line is cut, for there the quotes are in doubt.
            lines[-1] += first.split(self._delimiter) if others else [field]
            lines += [line.split(self._delimiter) for line in others]
            if place == self._column:
                own = len(lines) - 1
        return lines, own

    def are_open_at_the_end(self, line: str) -> bool:
        """Does a quoted field go on behind this line? Then the next line is no row.

        A lone CR in the line is looked at both ways, as text and as a line end.
        """
        line = line.rstrip("\r\n")
        return self._go_on([line.replace("\r", " ")]) or self._go_on(line.split("\r"))

    def _go_on(self, lines: list[str]) -> bool:
        text = [f"{line}\n" for line in lines]
        try:
            # An "x" behind them is a row of its own, unless a quote takes it in. Not strict: what
            # made this line break is not the question.
            return list(csv.reader([*text, "x"], delimiter=self._delimiter))[-1] != ["x"]
        except csv.Error:
            return sum(line.count('"') for line in lines) % 2 == 1

    def cut_a_field(self, fields: list[str], line: str, *, several_lines: bool) -> bool:
        """csv knows no quote behind a blank: it cuts `Doe, "Doe, John"` into three fields.

        `line` is the last line of the row. Of a row over several lines the fields alone tell.
        """
        if not several_lines and not self._has_quote_behind_blank(line):
            return False
        return any(map(self._is_half_quoted, fields))

    def _has_quote_behind_blank(self, line: str) -> bool:
        # The expression costs a microsecond a row; most rows with quotes need not pay it.
        may = ' "' in line or (self._tab_is_blank and '\t"' in line) or not line.isascii()
        return may and bool(self._quote_behind_blank.search(line))

    def _is_half_quoted(self, field: str) -> bool:
        """Does the field begin with blanks and a quote that ends in another field?"""
        text = field.strip(self._blanks) if field[:1] in self._blanks else ""
        return text.startswith('"') and text.count('"') % 2 == 1

    def leave_a_rest(self, fields: list[str], line: str) -> bool:
        """Is what follows a broken row the rest of it, and not a row? It has too few fields or too
        many, or a quote without its second."""
        too_many = any(fields[self._width :])
        return len(fields) < self._width or too_many or line.count('"') % 2 == 1


def _are_alike(one: str, other: str) -> bool:
    """Could both be keys of one system, whatever their digits and hexadecimal letters?"""
    if not any(map(str.isdigit, one)):  # a word in a note
        return False
    shape, other_shape = (re.sub("[0-9a-f]", "x", key.lower()) for key in (one, other))
    return shape == other_shape or kind_of(one) == kind_of(other)

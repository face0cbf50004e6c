"""What separates the columns of a CSV file: read off its first line, not guessed from its rows."""

import csv
import re

from bulk_eraser.errors import InputError
from bulk_eraser.sources.rows import KEY_NAMES, Reading

__all__ = ["DELIMITERS", "find_delimiter", "must_be_csv", "named_by_separator_line", "split_line"]

DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?[\r\n]*', re.IGNORECASE)
_JSON = re.compile(r'\s*[\[{]\s*["{]')


def named_by_separator_line(line: str) -> str | None:
    """The delimiter that Excel's `sep=;` names; None if the line is no such line."""
    separator = _SEPARATOR_LINE.fullmatch(line)
    return separator[1] if separator else None


def must_be_csv(first: str, source: str) -> None:
    """Raises `InputError` for a first line as JSON begins."""
    if _JSON.match(first):
        raise InputError(
            f"{source} looks like JSON, not like CSV. Use --format ndjson if each line is "
            "a JSON object."
        )


def find_delimiter(first: str, asked: Reading, source: str) -> str | None:
    """The delimiter by the first line; None if that line holds one column.

    Raises `InputError` if there is no header to tell between several.
    """
    wanted = {asked.key_field} if asked.key_field else {*KEY_NAMES}
    present = []
    for delimiter in DELIMITERS:
        names = [name.strip() for name in split_line(first, delimiter)]
        # 1. It makes the key's name a column of its own: that is no accident.
        if len(names) > 1 and asked.header and not wanted.isdisjoint(names):
            return delimiter
        if len(names) > 1:
            present.append(delimiter)
    # 2. Several without a header: `a;b,c` is one row in two ways, with different keys. (With a
    #    header the key's column will not be found, which tells what is there.)
    if len(present) > 1 and not asked.header:
        raise InputError(
            f"{source}: the first line can be split into columns in several ways. Use "
            "--delimiter to name the character between the columns."
        )
    # 3. The only one that is there, or the first of those that do not make the key's name.
    return present[0] if present else None


def split_line(line: str, delimiter: str) -> list[str]:
    """The fields of one line by itself, however its quotes stand; none if they cannot be told."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []

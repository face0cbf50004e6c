"""Rows of newline-delimited JSON: one object a line, the customer key in one of its members."""

import io
import re
from collections.abc import Iterator

import msgspec

from bulk_eraser.errors import InputError
from bulk_eraser.sources.json_exact import RowError
from bulk_eraser.sources.json_members import Members
from bulk_eraser.sources.rows import (
    HOLD_REASON,
    KEY_NAMES,
    Reading,
    RejectedRow,
    Row,
    clean_key,
    in_cluster,
    with_facts,
)
from bulk_eraser.sources.text import BlankLines, physical_lines

__all__ = ["key_name_of", "ndjson_rows"]

MAX_NESTING = 500
"""Deeper, whether a parser goes along depends on the stack that it is called from."""
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')


def key_name_of(start: str) -> str:
    """The member that has the key if none is named: the first of `KEY_NAMES` in the first row."""
    try:
        row = msgspec.json.decode(start.lstrip().partition("\n")[0])
    except (ValueError, RecursionError):  # it will be told as a row
        row = None
    there = (name for name in KEY_NAMES if isinstance(row, dict) and name in row)
    return next(there, KEY_NAMES[0])


def ndjson_rows(
    text: io.TextIOWrapper, key_field: str, asked: Reading, name: str = "The input"
) -> Iterator[Row]:
    """One row per line that is not blank; whatever is wrong with a line is a `RejectedRow`.

    A field with dots names a member within members, or one whose own name has dots; a row that
    has both is rejected. Raises `UsageError` for a field that is not a plain name, `InputError`
    for a JSON array over several lines.
    """
    reference_field = HOLD_REASON if asked.is_hold_list else asked.reference_field
    members = Members(key_field, asked.received_field, reference_field, asked.cluster_field)
    too_long: set[int] = set()
    blank_lines = BlankLines(name)
    is_first = True
    for number, line in enumerate(physical_lines(text, too_long), 1):
        if not line.strip():
            blank_lines.count()
            continue
        # A line of its own for [ and ]: each row in between would be rejected for its comma.
        if is_first and line.lstrip().startswith("[") and not line.rstrip().endswith("]"):
            raise InputError(
                "The input is a JSON array over several lines, not one object per line. "
                "Convert it, for example with jq -c '.[]', and run again."
            )
        is_first = False
        if number in too_long:
            yield RejectedRow("line_too_long", number)
            continue
        # The length comes first: most lines are too short to be nested so deep.
        if len(line) > MAX_NESTING and _is_nested_too_deep(line):
            yield RejectedRow("malformed_json", number)
            continue
        try:
            key, received, reference, cluster = members.of(line)
        except RowError as error:
            yield RejectedRow(error.word, number)
        else:
            row = clean_key(key, number)
            if asked.has_facts:
                row = with_facts(row, received, reference, asked)
            if asked.cluster_field is not None:
                row = in_cluster(row, cluster)
            yield row


def _is_nested_too_deep(line: str) -> bool:
    if line.count("[") + line.count("{") <= MAX_NESTING:
        return False
    depth = 0
    for found in _STRUCTURE.finditer(line):  # a bracket within a string opens nothing
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_NESTING:
            return True
    return False

"""Rows of newline-delimited JSON: one object a line, the customer key in one of its members."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from bulk_eraser.errors import UsageError
from bulk_eraser.sources.opening import physical_lines
from bulk_eraser.sources.rows import RejectedRow, Row, clean_key

__all__ = ["ndjson_rows"]

MAX_NESTING = 500
"""Deeper, whether a parser goes along depends on the stack that it is called from."""
MAX_DIGITS = 4300
"""Of an integer, as in Python itself."""
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')


def ndjson_rows(text: io.TextIOWrapper, key_field: str) -> Iterator[Row]:
    """One row per line that is not blank; whatever is wrong with a line is a `RejectedRow`.

    Raises `UsageError` for a `key_field` that is not a plain name.
    """
    try:
        row: Any = msgspec.defstruct("JsonRow", [("key", str)], rename={"key": key_field})
        decode = msgspec.json.Decoder(row).decode
    except ValueError:
        raise UsageError(
            "--key-field names a member of the JSON objects: no quote, backslash or control "
            "character can be in it."
        ) from None
    quoted = json.dumps(key_field, ensure_ascii=False)
    cut: set[int] = set()
    for number, line in enumerate(physical_lines(text, cut), 1):
        if not line.strip():
            continue
        if number in cut:
            yield RejectedRow("line_too_long", number)
            continue
        try:
            if len(line) > MAX_NESTING and _is_nested_too_deep(line):
                yield RejectedRow("malformed_json", number)
                continue
            key = decode(line).key
            # msgspec takes the last of two equal members, and numbers of any length; look again
            # wherever there may be such.
            if line.count(quoted) != 1 or "\\" in line or len(line) > MAX_DIGITS:
                key = _only_member(line, key_field)
        except msgspec.ValidationError as error:
            yield RejectedRow(_word(str(error)), number)
        except KeyError:
            yield RejectedRow("duplicate_member", number)
        except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
            yield RejectedRow(_why_not_json(line, key_field), number)
        else:
            yield clean_key(key, number)


def _word(message: str) -> str:
    return "missing_field" if "missing required field" in message else "wrong_type"


def _is_nested_too_deep(line: str) -> bool:
    if line.count("[") + line.count("{") <= MAX_NESTING:
        return False
    depth = 0
    for found in _STRUCTURE.finditer(line):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_NESTING:
            return True
    return False


def _only_member(line: str, key_field: str) -> str:
    """The key of an object that names it once.

    Raises `KeyError` when it is named twice, `ValueError` for a number of too many digits.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_Members, parse_int=_number)
    found = [value for name, value in decoder.decode(line).pairs if name == key_field]
    if len(found) != 1:
        raise KeyError(key_field)
    return str(found[0])


def _number(digits: str) -> str:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number that few programs would read")
    return digits


def _why_not_json(line: str, key_field: str) -> str:
    """msgspec calls half a surrogate pair malformed; in the key it has a word of its own."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "malformed_json"
    key = value.get(key_field) if isinstance(value, dict) else None
    lone = isinstance(key, str) and any("\ud800" <= char <= "\udfff" for char in key)
    return "lone_surrogate" if lone else "malformed_json"


class _Members:
    """An object's members in order, equal names kept apart."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

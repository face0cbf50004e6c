"""Rows of newline-delimited JSON: one object a line, the customer key in one of its members."""

import io
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from bulk_eraser.sources.opening import physical_lines
from bulk_eraser.sources.rows import RejectedRow, Row, clean_key

__all__ = ["ndjson_rows"]


def ndjson_rows(text: io.TextIOWrapper, key_field: str) -> Iterator[Row]:
    """One row per line that is not blank; whatever is wrong with a line is a `RejectedRow`."""
    row: Any = msgspec.defstruct("JsonRow", [("key", str)], rename={"key": key_field})
    decode = msgspec.json.Decoder(row).decode
    quoted = json.dumps(key_field, ensure_ascii=False)
    cut: set[int] = set()
    for number, line in enumerate(physical_lines(text, cut), 1):
        if not line.strip():
            continue
        if number in cut:
            yield RejectedRow("line_too_long", number)
            continue
        try:
            key = decode(line).key
            # msgspec takes the last of two equal members; look again wherever there may be two.
            if line.count(quoted) != 1 or "\\" in line:
                key = _only_member(line, key_field)
        except msgspec.ValidationError as error:
            yield RejectedRow(_word(str(error)), number)
        except (msgspec.DecodeError, RecursionError):
            yield RejectedRow(_why_not_json(line, key_field), number)
        except KeyError:
            yield RejectedRow("duplicate_member", number)
        else:
            yield clean_key(key, number)


def _word(message: str) -> str:
    return "missing_field" if "missing required field" in message else "wrong_type"


def _only_member(line: str, key_field: str) -> str:
    """The key of an object that names it once. Raises `KeyError` when it is named twice."""
    decoder = json.JSONDecoder(object_pairs_hook=_Members, parse_int=str)
    found = [value for name, value in decoder.decode(line).pairs if name == key_field]
    if len(found) != 1:
        raise KeyError(key_field)
    return str(found[0])


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

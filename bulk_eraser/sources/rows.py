"""What a source yields: one value per row, and how a customer key is cleaned and judged."""

import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["KeyRow", "Reading", "RejectedRow", "Row", "clean_key"]

MAX_KEY_BYTES = 2048
_BLANKS = " \t\u00a0\ufeff\u200b" + "".join(
    chr(code) for code in range(0x1680, 0x3001) if unicodedata.category(chr(code)) == "Zs"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class KeyRow(NamedTuple):
    """A row with a usable key; `line` is the 1-based physical line on which it starts."""

    key: str
    line: int
    stripped: bool


class RejectedRow(NamedTuple):
    """A row without one; `error` is a word of `records.ROW_ERRORS`."""

    error: str
    line: int


Row = KeyRow | RejectedRow


@dataclass(frozen=True)
class Reading:
    """How to read an input. None means: find it out from the file (and then say so)."""

    format: str | None = None
    key_field: str | None = None
    header: bool = True
    delimiter: str | None = None
    encoding: str | None = None


def clean_key(raw: str, line: int) -> Row:
    """The row for a raw key: outer blanks off, then either usable or rejected with a word."""
    key = raw.strip(_BLANKS)
    if not key:
        return RejectedRow("empty_key", line)
    if not key.isascii():
        if _SURROGATE.search(key):
            return RejectedRow("lone_surrogate", line)
        if _CONTROL.search(key):
            return RejectedRow("control_character", line)
    elif not key.isprintable():
        return RejectedRow("control_character", line)
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        return RejectedRow("key_too_long", line)
    return KeyRow(key, line, len(key) != len(raw))

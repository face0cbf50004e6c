"""What a source yields: one value per row, and how a customer key is cleaned and judged."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import ClassVar, NamedTuple

__all__ = [
    "AS_IT_IS",
    "BLANKS",
    "HOLD_REASON",
    "KEY_NAMES",
    "WITHOUT_ENCODING",
    "HoldListReading",
    "KeyRow",
    "KeyRows",
    "Reading",
    "RejectedRow",
    "Row",
    "RowGroup",
    "are_plain_keys",
    "clean_key",
    "cluster_named",
    "in_cluster",
    "is_numeric_like",
    "rows_of",
    "with_facts",
]

KEY_NAMES = ("customerKey", "discoveryKey")
"""The column with the key if none is named; the second is its name in a sister product of Elevate,
and taken where the first is not there."""
HOLD_REASON = "reason"
"""The column of a hold list that says why a key is on it, in any case of letters."""
WITHOUT_ENCODING = ("xlsx", "parquet")
"""Formats that say themselves how their text is encoded."""
TELLING_KEY = 8
"""So many characters of a key are no chance, wherever they stand."""
MAX_KEY_BYTES = 2048
MAX_REFERENCE = 200
"""Characters; also of the reason of a hold."""
MAX_EXACT = 10**15 - 1
"""Larger numbers of a spreadsheet may have been rounded: it keeps 15 digits."""
BLANKS = " \t\u00a0\ufeff\u200b" + "".join(
    chr(code) for code in range(0x1680, 0x3001) if unicodedata.category(chr(code)) == "Zs"
)
"""Around a key they are no part of it."""
_PLAIN = bytes(code for code in range(33, 127) if code not in b';|"')
_LONGEST_PLAIN_KEY = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NUMERIC_LIKE = re.compile(r'[+-]?\d+(?:[.,]\d+)?[eE]\+\d+|="[^"]*"')


class KeyRow(NamedTuple):
    """A row with a usable key; `line` is the 1-based physical line on which it starts.

    `received` is the date (YYYY-MM-DD) on which the person asked, `reference` the request's own; in
    a hold list, `reference` is the reason of the hold. `cluster` is the row's, where a column says
    it.
    """

    key: str
    line: int
    stripped: bool
    received: str | None = None
    reference: str | None = None
    cluster: str | None = None


class RejectedRow(NamedTuple):
    """A row without one; `error` is a word of `records.ROW_ERRORS`. `cluster` is as in `KeyRow`,
    None also where the row is too broken to tell it."""

    error: str
    line: int
    cluster: str | None = None


Row = KeyRow | RejectedRow


class KeyRows(NamedTuple):
    """Rows that stand on one line each, one below the other from `line` on, and are nothing but
    plain keys: the row of `keys[n]` is `KeyRow(keys[n], line + n, False)`."""

    line: int
    keys: list[str]


RowGroup = Row | KeyRows
"""What a source hands out at a time: most rows in groups, any other by itself."""


def rows_of(groups: Iterable[RowGroup]) -> Iterator[Row]:
    """The same one by one."""
    for group in groups:
        if isinstance(group, KeyRows):
            for line, key in enumerate(group.keys, group.line):
                yield KeyRow(key, line, False)
        else:
            yield group


@dataclass(frozen=True)
class Reading:
    """How to read an input. None means: find it out from the file (and then say so).

    `header_row` is the line of the header, from 1; None: the first that is not blank.
    For `received_field` and `reference_field` it means that there is no such column, for
    `received_format` (as `strptime` has it) that dates are written YYYY-MM-DD. With
    `cluster_field`, each row says which cluster it is for; with `cluster` as well, only the rows of
    that one are read.
    """

    is_hold_list: ClassVar = False

    format: str | None = None
    key_field: str | None = None
    header: bool = True
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    header_row: int | None = None
    received_field: str | None = None
    received_format: str | None = None
    reference_field: str | None = None
    cluster_field: str | None = None
    cluster: str | None = None

    @property
    def has_facts(self) -> bool:
        """Does a row say more than its key?"""
        facts = (self.received_field, self.reference_field)
        return self.is_hold_list or any(field is not None for field in facts)

    @property
    def has_named_columns(self) -> bool:
        """Do the columns' names stand apart from the rows, so that no row can be taken for them?"""
        return self.format == "parquet"


@dataclass(frozen=True)
class HoldListReading(Reading):
    """How to read a hold list: its column `HOLD_REASON` is read as well, if it is there."""

    is_hold_list = True


AS_IT_IS = Reading()


def clean_key(raw: str, line: int) -> Row:
    """The row for a raw key: outer blanks off, then either usable or rejected with a word."""
    key = raw.strip(BLANKS)
    if not key:
        return RejectedRow("empty_key", line)
    # isprintable() is faster than the expressions, and exact for ASCII alone.
    if not key.isascii():
        if _SURROGATE.search(key):
            return RejectedRow("lone_surrogate", line)
        if _CONTROL.search(key):
            return RejectedRow("control_character", line)
    elif not key.isprintable():
        return RejectedRow("control_character", line)
    # A character has four bytes at most, so most keys need not be encoded to be measured.
    if len(key) > MAX_KEY_BYTES // 4 and len(key.encode()) > MAX_KEY_BYTES:
        return RejectedRow("key_too_long", line)
    return KeyRow(key, line, len(key) != len(raw))


def are_plain_keys(keys: Sequence[str]) -> bool:
    """Can none of them be meant otherwise? They are short ASCII without blanks, quotes, `;`, `|`.

    `clean_key` takes such a key as it is. All are looked at as one text: that takes a tenth.
    """
    text = "".join(keys)
    return (
        text.isascii()
        and not text.encode().translate(None, _PLAIN)
        and all(keys)
        and max(map(len, keys)) <= _LONGEST_PLAIN_KEY
    )


def with_facts(row: Row, received: object, reference: object, asked: Reading = AS_IT_IS) -> Row:
    """`row` with what else it says of the request, or rejected where that cannot stand.

    None and blank text mean that it says nothing. `received` is a `date` or text in the form that
    is `asked` for, without one `YYYY-MM-DD` (a time behind it is left out). `reference` is text of
    at most 200 characters or a whole number; in a hold list it is any text, and cut there.
    """
    if isinstance(row, RejectedRow):
        return row
    if asked.is_hold_list:
        return row._replace(reference=_note(reference, row.key) or None)
    try:
        day = _day(received, asked.received_format)
    except ValueError:
        return RejectedRow("bad_received", row.line)
    try:
        text = _text(reference)
    except ValueError:
        return RejectedRow("bad_reference", row.line)
    return row._replace(received=day or None, reference=text or None)


def in_cluster(row: Row, value: object) -> Row:
    """`row` with the cluster that its column names."""
    cluster = cluster_named(value) if isinstance(value, str | int | float | None) else None
    return row._replace(cluster=cluster)


@lru_cache(4096, typed=True)
def cluster_named(value: object) -> str | None:
    """The name of a cluster, outer blanks off; None for nothing, and for what is no text."""
    try:
        return _text(value) or None
    except ValueError:
        return None


def _day(value: object, form: str | None) -> str:
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()[:10]
    text = _text(value)
    if text and form is not None:
        return datetime.strptime(text, form).date().isoformat()
    # fromisoformat() alone takes more than a spreadsheet or a person writes, such as 20260105.
    if text and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,+Z-]+)?", text):
        raise ValueError("not a date")
    if text:
        datetime.fromisoformat(text)  # raises ValueError for a day or a time that is none
    return text[:10]


def _text(value: object) -> str:
    # A bool is an int in Python, and no reference.
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError("not text")
    # Workbooks keep every number as a float.
    if isinstance(value, float):
        if not value.is_integer() or abs(value) > MAX_EXACT:
            raise ValueError("not a whole number, or rounded")
        value = int(value)
    text = "" if value is None else str(value).strip(BLANKS)
    if len(text) > MAX_REFERENCE or _CONTROL.search(text) or _SURROGATE.search(text):
        raise ValueError("too long, or with control characters")
    return text


def _note(value: object, key: str) -> str:
    """A person's words in one line, which no hold is refused for. The key is blacked out: they go
    into ledgers with pseudonyms, and to readers who must not see keys."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        return ""
    text = _SURROGATE.sub("\ufffd", f"{value:g}" if isinstance(value, float) else str(value))
    words = " ".join(_CONTROL.sub(" ", text).split())
    # A short key may stand within a word that has nothing to do with it.
    alone = "{}" if len(key) >= TELLING_KEY else r"(?<!\w){}(?!\w)"
    words = re.sub(alone.format(re.escape(key)), "███", words, flags=re.IGNORECASE)
    return words if len(words) <= MAX_REFERENCE else words[: MAX_REFERENCE - 1] + "…"


def is_numeric_like(key: str) -> bool:
    """Does it look like a number that a spreadsheet has rounded, or wrapped up as `="0012"`?"""
    return _NUMERIC_LIKE.fullmatch(key) is not None

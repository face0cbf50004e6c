"""Which column holds the customer key, in a table of whatever format.

Nothing is guessed: where it cannot be told for certain, the error lists what is there and which
option decides it. A first line that may be a row is not shown, since it would be a customer key.
"""

import re
from typing import Any, NamedTuple

from bulk_eraser.errors import InputError
from bulk_eraser.sources.rows import Reading

__all__ = ["Columns", "find_columns", "kind_of", "number_columns"]

_LOOKS_LIKE_A_KEY = re.compile(
    r"[{]?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|[0-9a-fA-F]{16,}$|[0-9]+$|.*@.*\.|.{41,}"
)
_HEX_WITH_DIGIT = re.compile(r"(?=.*[0-9])[0-9a-fA-F]+")
_MOST_DIGITS_IN_A_NAME = 3
_CANNOT_BE_CERTAIN = re.compile(r"[,;\t|:^~\x00-\x1f]|#")
"""In the name of an only column: what may separate columns after all, or begin a comment."""


class Columns(NamedTuple):
    """Places of columns, from 0; `key_field` is the key column's name, or its number from 1.

    `assumed` if the key's column was taken because it is the only one.
    """

    width: int
    key: int
    key_field: str
    received: int | None
    reference: int | None
    assumed: bool = False

    def must_be_the_only_one(self, fields: list[Any], line: int, source: str) -> None:
        """Raise `InputError` if a row has more than the column that was taken as the only one.

        Then what was read as the header is probably a title above it.
        """
        # A row may be short: with one filled field it does not contradict.
        if self.width > 1 and sum(field != "" for field in fields) > 1:
            raise InputError(
                f"{source} has no column customerKey. Its first line names only one column, but "
                f"line {line} has more. Delete the lines above the header, or use --key-field to "
                "name the column with the keys."
            )

    def header_must_not_be_a_key(self, key: str, source: str) -> None:
        """Raise `InputError` if the only column's name is of the same kind as its first key, or
        that is the name of a column: then a title stands above the header."""
        if key == "customerKey":
            raise InputError(
                f"{source}: customerKey is not in the first line but below it. Delete the lines "
                "above the header."
            )
        # `K-1` above `K-2` (one kind), or two of the same length as long as a hash.
        name = self.key_field
        same_kind = any(map(str.isdigit, name)) and kind_of(name) == kind_of(key)
        if same_kind or len(name) == len(key) >= 16:
            raise _no_header(source)


def find_columns(header: list[str], asked: Reading, source: str) -> Columns:
    """The columns by the names of the header. Raises `InputError` where one cannot be told."""
    names = [name.strip() for name in header]
    key, assumed = _find_key(names, asked.key_field, source)
    return Columns(
        width=len(names),
        key=key,
        key_field=names[key],
        received=_find(names, asked.received_field, "--received-field", source),
        reference=_find(names, asked.reference_field, "--reference-field", source),
        assumed=assumed,
    )


def number_columns(width: int, asked: Reading, source: str) -> Columns:
    """The columns of a table without header, by their numbers from 1. Raises `InputError`."""
    key = 0 if asked.key_field is None and width == 1 else None
    if key is None:
        key = _number(asked.key_field or "", "--key-field", width, source)
    fields = (
        ("--received-field", asked.received_field),
        ("--reference-field", asked.reference_field),
    )
    received, reference = (
        None if text is None else _number(text, option, width, source) for option, text in fields
    )
    return Columns(width, key, str(key + 1), received, reference)


def _find_key(names: list[str], key_field: str | None, source: str) -> tuple[int, bool]:
    """The key's column, and whether it was taken for want of any other."""
    wanted = key_field or "customerKey"
    places = [place for place, name in enumerate(names) if name == wanted]
    # 1. It is there, once.
    if len(places) == 1:
        return places[0], False
    # 2. Nothing was asked for, and there is one column only, under whatever name.
    filled = [place for place, name in enumerate(names) if name]
    if key_field is None and not places and len(filled) == 1:
        name = names[filled[0]]
        if _may_be_a_key(name):
            raise _no_header(source)
        if not _CANNOT_BE_CERTAIN.search(name):
            return filled[0], True
    # 3. Missing, twice, or one of several: the reader decides.
    raise InputError(
        f"{source} {_trouble(names, wanted)} Use --key-field to name the column with the keys, "
        "--no-header if the first line is not a header, or --delimiter if the columns are "
        "separated by something else."
    )


def _find(names: list[str], wanted: str | None, option: str, source: str) -> int | None:
    if wanted is None:
        return None
    if names.count(wanted) != 1:
        raise InputError(f"{source} {_trouble(names, wanted)} Use {option} to name another.")
    return names.index(wanted)


def _trouble(names: list[str], wanted: str) -> str:
    trouble = f"has the column {wanted} twice" if wanted in names else f"has no column {wanted}"
    there = f"Columns there: {', '.join(filter(None, names))}."
    if any(map(_may_be_a_key, names)):  # it would be shown on a terminal, or in a CI log
        there = "Its first line looks like a row, not like column names, so it is not shown."
    return f"{trouble}. {there}"


def _number(text: str, option: str, width: int, source: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= width:
        return int(text) - 1
    columns = "1 column" if width == 1 else f"{width} columns"
    raise InputError(
        f"{source} has {columns} and no header: use {option} with the number of the column, "
        f"from 1 to {width}."
    )


def _no_header(source: str) -> InputError:
    return InputError(
        f"{source}: the first line looks like a customer key, not like a column name. "
        "Use --no-header if the file has no header, or --key-field to name the column."
    )


def _may_be_a_key(name: str) -> bool:
    """Is this rather a customer key than the name of a column?"""
    digits = sum(map(str.isdigit, name))
    return bool(
        _LOOKS_LIKE_A_KEY.match(name)
        or _HEX_WITH_DIGIT.fullmatch(name)
        or digits > _MOST_DIGITS_IN_A_NAME
        or (digits and not name[0].isalpha())
    )


def kind_of(text: str) -> str:
    """Customer keys of one system are mostly of one kind: `C-10023` and `C-9` are `a-9`."""
    return re.sub("[a-z]+", "a", re.sub("[0-9]+", "9", text.lower()))

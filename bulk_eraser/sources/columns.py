"""Which column holds the customer key, in a table of whatever format.

Nothing is guessed: where it cannot be told for certain, the error lists what is there and which
option decides it. A first line that may be a row is not shown, since it would be a customer key.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

from bulk_eraser.errors import InputError
from bulk_eraser.sources.rows import AS_IT_IS, HOLD_REASON, KEY_NAMES, KeyRow, Reading

__all__ = [
    "MOST_TITLE_LINES",
    "Columns",
    "blank_header_row",
    "find_columns",
    "kind_of",
    "may_be_a_key",
    "must_not_be_a_title",
    "no_header",
    "number_columns",
]

_LOOKS_LIKE_A_KEY = re.compile(
    r"[{]?[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|[0-9a-fA-F]{16,}$|[0-9]+$|.*@.*\."
)
_LONGEST_NAME = 40
MOST_TITLE_LINES = 20
_ALIKE = 0.84
"""Of 1: two letters that changed places in eleven are as much alike."""
_HEX_WITH_DIGIT = re.compile(r"(?=.*[0-9])[0-9a-fA-F]+")
_MOST_DIGITS_IN_A_NAME = 3
_SEPARATORS = r"[,;\t|]"
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
    cluster: int | None = None

    @property
    def has_facts(self) -> bool:
        """Does a row say more than its key and its cluster?"""
        return self.received is not None or self.reference is not None

    def must_be_the_only_one(self, fields: list[Any], line: int, source: str) -> None:
        """Raise `InputError` if a row has more than the column that was taken as the only one.

        Then what was read as the header is probably a title above it.
        """
        # A row may be short: with one filled field it does not contradict.
        if self.width > 1 and sum(field != "" for field in fields) > 1:
            if names := _key_names(map(str, fields), KEY_NAMES):
                raise _below_a_title(names[0], line, source)
            raise InputError(
                f"{source} has no column customerKey. Its first line names only one column, but "
                f"line {line} has more. If the header is on line {line}, use --header-row {line}. "
                "Use --key-field to name the column with the keys."
            )

    def header_must_not_be_a_key(self, row: KeyRow, source: str, *, is_first: bool) -> None:
        """Raise `InputError` if the only column's name is of the same kind as its first key, or
        that or one of the next is the name of a column: then a title stands above the header."""
        key = row.key
        if names := _key_names(re.split(_SEPARATORS, key), KEY_NAMES):
            raise _below_a_title(names[0], row.line, source)
        if is_first and self.is_named_like(key):
            raise no_header(source)

    def is_named_like(self, key: str) -> bool:
        """`K-1` above `K-2` (one kind), or two of the same length as long as a hash."""
        name = self.key_field
        same_kind = any(map(str.isdigit, name)) and kind_of(name) == kind_of(key)
        return same_kind or len(name) == len(key) >= 16


def find_columns(header: list[str], asked: Reading, source: str) -> Columns:
    """The columns by the names of the header. Raises `InputError` where one cannot be told."""
    names = [name.strip() for name in header]
    key, assumed = _find_key(names, asked, source)
    reference = _find(names, asked.reference_field, "--reference-field", asked, source)
    return Columns(
        width=len(names),
        key=key,
        key_field=names[key],
        received=_find(names, asked.received_field, "--received-field", asked, source),
        reference=_find_reason(names, key, source) if asked.is_hold_list else reference,
        assumed=assumed,
        cluster=_find(names, asked.cluster_field, "--cluster-field", asked, source),
    )


def number_columns(width: int, asked: Reading, source: str) -> Columns:
    """The columns of a table without header, by their numbers from 1. Raises `InputError`."""
    key = 0 if asked.key_field is None and width == 1 else None
    if key is None:
        key = _number(asked.key_field or "", "--key-field", width, source)
    fields = (
        ("--received-field", asked.received_field),
        ("--reference-field", asked.reference_field),
        ("--cluster-field", asked.cluster_field),
    )
    received, reference, cluster = (
        None if text is None else _number(text, option, width, source) for option, text in fields
    )
    return Columns(width, key, str(key + 1), received, reference, cluster=cluster)


def _find_key(names: list[str], asked: Reading, source: str) -> tuple[int, bool]:
    """The key's column, and whether it was taken for want of any other."""
    key_field = asked.key_field
    wanted = key_field or next((name for name in KEY_NAMES if name in names), KEY_NAMES[0])
    places = [place for place, name in enumerate(names) if name == wanted]
    # 1. It is there, once.
    if len(places) == 1:
        return places[0], False
    # 2. Nothing was asked for, and there is one column only, under whatever name.
    filled = [place for place, name in enumerate(names) if name]
    if key_field is None and not places and len(filled) == 1:
        name = names[filled[0]]
        if may_be_a_key(name):
            raise no_header(source, asked)
        if not _CANNOT_BE_CERTAIN.search(name):
            return filled[0], True
    # 3. Missing, twice, or one of several: the reader decides. Names of columns must not be sent
    #    as keys, so --no-header is only for a first line that looks like a row.
    others = (
        ""
        if asked.has_named_columns
        else (
            f", {'--no-header if the first line is not a header, ' if _is_a_row(names) else ''}or "
            "--delimiter if the columns are separated by something else"
        )
    )
    raise InputError(
        f"{source} {_trouble(names, wanted, asked)} Use --key-field to name the column with the "
        f"keys{others}."
    )


def must_not_be_a_title(
    first: list[str], lines: Iterable[tuple[int, list[str]]], asked: Reading, source: str
) -> None:
    """Raise `InputError` if one of the next lines has the key's column, which `first` has not.

    `lines` are numbers and fields; a few are looked at.
    """
    wanted = (asked.key_field,) if asked.key_field else KEY_NAMES
    if _key_names(first, wanted):
        return
    for _, (line, fields) in zip(range(MOST_TITLE_LINES), lines, strict=False):
        if names := _key_names(fields, wanted):
            raise _below_a_title(names[0], line, source)


def blank_header_row(row: int, source: str) -> InputError:
    return InputError(
        f"{source} has nothing on line {row}, which --header-row names. Use the number of the line "
        "with the column names."
    )


def _below_a_title(name: str, line: int, source: str) -> InputError:
    return InputError(
        f"{source}: the column names are not on the first line: {name} is on line {line}. Use "
        f"--header-row {line}."
    )


def _key_names(fields: Iterable[str], wanted: tuple[str, ...]) -> list[str]:
    """The fields that are such names but for case, blanks and punctuation."""
    plain = {*map(_plain, wanted)} - {""}
    names = (field.strip(' "') for field in fields if len(field) <= _LONGEST_NAME)
    return [name for name in names if _plain(name) in plain]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _find(
    names: list[str], wanted: str | None, option: str, asked: Reading, source: str
) -> int | None:
    if wanted is None:
        return None
    if names.count(wanted) != 1:
        raise InputError(f"{source} {_trouble(names, wanted, asked)} Use {option} to name another.")
    return names.index(wanted)


def _find_reason(names: list[str], key: int, source: str) -> int | None:
    """The column of a hold list with the reasons; None if it has none."""
    found = [n for n, name in enumerate(names) if name.casefold() == HOLD_REASON and n != key]
    if len(found) > 1:
        raise InputError(f"{source} has the column {HOLD_REASON} twice. Rename one of them.")
    return found[0] if found else None


def _trouble(names: list[str], wanted: str, asked: Reading) -> str:
    trouble = f"has the column {wanted} twice" if wanted in names else f"has no column {wanted}"
    there = f"Columns there: {', '.join(filter(None, names))}."
    if _is_a_row(names):  # it would be shown on a terminal, or in a CI log
        there = "Its first line looks like a row, not like column names, so it is not shown."
        if asked.has_named_columns:
            there = "Its column names look like a row, so they are not shown."
    elif wanted not in names and (meant := _meant(names, wanted)):
        there += f" Did you mean {meant}?"
    return f"{trouble}. {there}"


def _is_a_row(names: list[str]) -> bool:
    return any(map(may_be_a_key, names))


def _meant(names: list[str], wanted: str) -> str | None:
    """The name that is most like the wanted one, if one is."""
    by_plain = {_plain(name): name for name in reversed(names) if name}
    for name in (wanted, *KEY_NAMES) if wanted in KEY_NAMES else (wanted,):
        if found := get_close_matches(_plain(name), by_plain, n=1, cutoff=_ALIKE):
            return by_plain[found[0]]
    return None


def _number(text: str, option: str, width: int, source: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= width:
        return int(text) - 1
    columns = "1 column" if width == 1 else f"{width} columns"
    raise InputError(
        f"{source} has {columns} and no header: use {option} with the number of the column, "
        f"from 1 to {width}."
    )


def no_header(source: str, asked: Reading = AS_IT_IS) -> InputError:
    if asked.has_named_columns:
        return InputError(
            f"{source}: the name of its only column looks like a customer key, as if a row had "
            "been taken for the header when the file was written. Write it again with a header, "
            "or use --key-field to name the column."
        )
    return InputError(
        f"{source}: the first line looks like a customer key, not like a column name. "
        "Use --no-header if the file has no header, or --key-field to name the column."
    )


def may_be_a_key(name: str) -> bool:
    """Is this rather a customer key than the name of a column?"""
    if len(name) > _LONGEST_NAME:  # first, for the expressions take long for long ones
        return True
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

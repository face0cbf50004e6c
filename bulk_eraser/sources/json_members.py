"""The customer key and its facts out of a line of JSON, fast where that is certainly right.

msgspec decodes the members that matter and skips the rest. It takes the last of equal members and
numbers of any length, so wherever a line may hold such, it is read again by `json_exact`.
"""

import json
from collections.abc import Callable
from functools import reduce
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from bulk_eraser.errors import UsageError
from bulk_eraser.sources.json_exact import MAX_DIGITS, Field, Path, RowError, exact_values

__all__ = ["Members"]

_skip = msgspec.json.Decoder(msgspec.Raw).decode


class Members:
    """Takes the values of four fields (None: there is no such field) out of a line.

    A field with dots is a member within members, or one whose own name has dots. Raises
    `UsageError` for a field that is not a plain name.
    """

    def __init__(
        self, key: str, received: str | None, reference: str | None, cluster: str | None = None
    ) -> None:
        names = (key, received, reference, cluster)
        self._fields = [Field(name, tuple(name.split("."))) if name else None for name in names]
        self._has_dots = any(name and "." in name for name in names)
        self._decode = _decoder(self._fields)
        self._getters = [_getter(field.path if field else None) for field in self._fields]
        self._counts = _counts(self._fields)

    def of(self, line: str) -> tuple[str, object, object, object]:
        """Key, received, reference, cluster. Raises `RowError`."""
        try:
            row = self._decode(line)
        except msgspec.ValidationError as error:
            # 1. JSON, but no key in it, or none that is a string. Of a field with dots msgspec
            #    knows one of two forms only, so that is for the exact reading below.
            if not self._has_dots and _is_json(line):
                missing = "missing required field" in str(error)
                raise RowError("missing_field" if missing else "wrong_type") from None
        except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
            # 2. No JSON.
            raise RowError(self._why_not_json(line)) from None
        else:
            # 3. JSON that every parser reads alike: the line of most files.
            if self._is_plain(line):
                key, received, reference, cluster = self._getters
                return key(row), received(row), reference(row), cluster(row)
        # 4. It may be read in two ways.
        return exact_values(line, self._fields)

    def _is_plain(self, line: str) -> bool:
        """Can no member stand twice, and no number be too long?

        Counting in the text sees more than there is (a name as a value, or in another object),
        never less: a name could hide behind an escape alone.
        """
        if len(line) > MAX_DIGITS or "\\" in line:
            return False
        counts = self._counts
        for name in counts.once:
            if line.count(name) != 1:
                return False
        for name in counts.at_most_once:
            if line.count(name) > 1:
                return False
        return not any(name in line for name in counts.never) if counts.never else True

    def _why_not_json(self, line: str) -> str:
        """msgspec calls half a surrogate pair malformed; in the key it has a word of its own."""
        try:
            key = exact_values(line, self._fields)[0]
        except RowError:
            return "malformed_json"
        lone = any("\ud800" <= char <= "\udfff" for char in key)
        return "lone_surrogate" if lone else "malformed_json"


class _Counts(NamedTuple):
    """Quoted names, by how often a plain line holds them."""

    once: list[str]
    at_most_once: list[str]
    never: list[str]


def _counts(fields: list[Field | None]) -> _Counts:
    key, *facts = fields
    key_names = set(key.path) if key else set()
    fact_names = {name for fact in facts if fact for name in fact.path}
    # What leads to the key must be there; what leads to a fact may be.
    once = [_quoted(name) for name in key_names]
    at_most_once = [_quoted(name) for name in fact_names - key_names]
    # The other form of a field with dots, which msgspec would pass over.
    never = [_quoted(field.name) for field in fields if field and len(field.path) > 1]
    return _Counts(once, at_most_once, never)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _is_json(line: str) -> bool:
    """msgspec says what a member is not before it has seen that the rest is no JSON."""
    try:
        _skip(line)
    except (ValueError, RecursionError):
        return False
    return True


# ── a type for msgspec that has the members asked for ───────────────────────────────────────


def _decoder(fields: list[Field | None]) -> Callable[[str], Any]:
    paths = {number: field.path for number, field in enumerate(fields) if field}
    try:
        return msgspec.json.Decoder(_struct(paths)).decode
    except ValueError:
        raise UsageError(
            "--key-field, --received-field and --reference-field (of a fleet also cluster_field) "
            "must name members of the JSON objects, without quotes, backslashes or control "
            "characters, and none of them inside another."
        ) from None


def _struct(paths: dict[int, Path]) -> Any:
    """A type with the members of these paths; that of 0, the key, must be there and be a string.

    For {0: ("customer", "key"), 1: ("at",)} it has `customer` with `key` in it, and `at`. Raises
    `ValueError` for names that msgspec does not take, and for one path within another.
    """
    by_member: dict[str, dict[int, Path]] = {}
    for number, (name, *rest) in paths.items():
        by_member.setdefault(name, {})[number] = tuple(rest)
    members: list[Any] = []
    for name, rests in by_member.items():
        holds_key = 0 in rests
        ends_here = () in rests.values()
        if ends_here and any(rests.values()):
            raise ValueError("a value and members within it")
        if ends_here:
            kind: Any = str if holds_key else Any
        else:
            kind = _struct(rests) if holds_key else _struct(rests) | None
        members.append((_attribute(name), kind) if holds_key else (_attribute(name), kind, None))
    renamed = {_attribute(name): name for name in by_member}
    return msgspec.defstruct("JsonRow", members, rename=renamed, kw_only=True)


def _attribute(name: str) -> str:
    """A name that Python takes as an attribute's, whatever the member is called."""
    return "m" + name.encode(errors="surrogatepass").hex()


def _getter(path: Path | None) -> Callable[[Any], Any]:
    """What takes the value at a path out of a decoded row; None where there is none."""
    if path is None:
        return lambda _row: None
    if len(path) == 1:  # twice as fast as the walk below
        return attrgetter(_attribute(path[0]))
    return lambda row: reduce(lambda at, name: getattr(at, _attribute(name), None), path, row)

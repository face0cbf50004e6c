"""Rows of newline-delimited JSON: one object a line, the customer key in one of its members.

msgspec decodes the members that matter and skips the rest. It takes the last of equal members and
numbers of any length, so wherever a line may hold such, it is looked at again, member by member.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from functools import reduce
from operator import attrgetter
from typing import Any

import msgspec

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.rows import Reading, RejectedRow, Row, clean_key, with_facts
from bulk_eraser.sources.text import physical_lines

__all__ = ["ndjson_rows"]

MAX_NESTING = 500
"""Deeper, whether a parser goes along depends on the stack that it is called from."""
MAX_DIGITS = 4300
"""Of an integer, as in Python itself."""
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')

Path = tuple[str, ...]
"""The members that lead to a value: `customer.key` is ("customer", "key")."""


def ndjson_rows(text: io.TextIOWrapper, key_field: str, asked: Reading) -> Iterator[Row]:
    """One row per line that is not blank; whatever is wrong with a line is a `RejectedRow`.

    A field with dots names a member within members, or one whose own name has dots; a row that
    has both is rejected. Raises `UsageError` for a field that is not a plain name.
    """
    members = _Members([key_field, asked.received_field, asked.reference_field])
    cut: set[int] = set()
    is_first = True
    for number, line in enumerate(physical_lines(text, cut), 1):
        if not line.strip():
            continue
        if is_first and line.lstrip().startswith("[") and not line.rstrip().endswith("]"):
            raise InputError(
                "The input is a JSON array over several lines, not one object a line. Take it "
                "apart, for example with jq -c '.[]', and run again."
            )
        is_first = False
        if number in cut:
            yield RejectedRow("line_too_long", number)
            continue
        try:
            if len(line) > MAX_NESTING and _is_nested_too_deep(line):
                yield RejectedRow("malformed_json", number)
                continue
            key, received, reference = members.of(line)
        except _RowError as error:
            yield RejectedRow(error.word, number)
        else:
            row = clean_key(key, number)
            yield with_facts(row, received, reference) if asked.has_facts else row


class _RowError(Exception):
    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _Members:
    """Takes the values of some members (the first is the key) out of a line."""

    def __init__(self, fields: list[str | None]) -> None:
        self._fields = fields
        self._paths = [tuple(field.split(".")) if field else None for field in fields]
        self._nested = any(path and len(path) > 1 for path in self._paths)
        once = {name for path in self._paths[:1] if path for name in path}
        names = {name for path in self._paths[1:] if path for name in path}
        self._once = [_quoted(name) for name in once]
        self._at_most_once = [_quoted(name) for name in names - once]
        self._never = [_quoted(field) for field in fields if field and "." in field]
        self._getters = [_getter(path) for path in self._paths]
        try:
            row = _struct({n: path for n, path in enumerate(self._paths) if path})
            self._decode = msgspec.json.Decoder(row).decode
        except ValueError:
            raise UsageError(
                "--key-field, --received-field and --reference-field name members of the JSON "
                "objects: without quotes, backslashes and control characters, and not one within "
                "another."
            ) from None

    def of(self, line: str) -> tuple[str, object, object]:
        """Key, received, reference. Raises `_RowError`."""
        try:
            row = self._decode(line)
        except msgspec.ValidationError as error:
            if not self._nested and _is_json(line):
                missing = "missing required field" in str(error)
                raise _RowError("missing_field" if missing else "wrong_type") from None
        except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
            raise _RowError(self._why_not_json(line)) from None
        else:
            if self._is_plain(line):
                key, received, reference = self._getters
                return key(row), received(row), reference(row)
        return self._look_again(line)

    def _is_plain(self, line: str) -> bool:
        """Can no member stand twice, and no number be too long?"""
        if len(line) > MAX_DIGITS or "\\" in line:
            return False
        for name in self._once:
            if line.count(name) != 1:
                return False
        for name in self._at_most_once:
            if line.count(name) > 1:
                return False
        return not any(name in line for name in self._never) if self._never else True

    def _look_again(self, line: str) -> tuple[str, object, object]:
        try:
            whole = _load(line)
        except (ValueError, RecursionError):
            raise _RowError("malformed_json") from None
        if not isinstance(whole, _Object):
            raise _RowError("wrong_type")
        key, received, reference = (self._only(whole, n) for n in range(len(self._fields)))
        if key is None:
            raise _RowError("missing_field")
        if type(key[0]) is not str:
            raise _RowError("wrong_type")
        return key[0], received and received[0], reference and reference[0]

    def _only(self, whole: "_Object", number: int) -> list[Any] | None:
        """The value of a field in a list; None if it is not there."""
        field, path = self._fields[number], self._paths[number]
        if field is None or path is None:
            return None
        found = _walk(whole, path)
        if len(path) > 1:
            found += _walk(whole, (field,))
        if len(found) > 1:
            raise _RowError("duplicate_member")
        return found or None

    def _why_not_json(self, line: str) -> str:
        """msgspec calls half a surrogate pair malformed; in the key it has a word of its own."""
        try:
            key = self._look_again(line)[0]
        except _RowError:
            return "malformed_json"
        lone = any("\ud800" <= char <= "\udfff" for char in key)
        return "lone_surrogate" if lone else "malformed_json"


class _Object:
    """A JSON object's members in order, equal names kept apart."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


class _Digits(str):
    """An integer as it stands in the line, which is not a string all the same."""


def _struct(paths: dict[int, Path]) -> Any:
    """A type for msgspec with the members of these paths; 0, the key, must be there."""
    below: dict[str, dict[int, Path]] = {}
    for number, (name, *rest) in paths.items():
        below.setdefault(name, {})[number] = tuple(rest)
    fields: list[Any] = []
    for name, inner in below.items():
        if () in inner.values():
            if len(inner) > 1 and any(inner.values()):
                raise ValueError("a value and members within it")
            kind: Any = str if 0 in inner else Any
        else:
            kind = _struct(inner) if 0 in inner else _struct(inner) | None
        fields.append((_attribute(name), kind) if 0 in inner else (_attribute(name), kind, None))
    renamed = {_attribute(name): name for name in below}
    return msgspec.defstruct("JsonRow", fields, rename=renamed, kw_only=True)


def _attribute(name: str) -> str:
    return "m" + name.encode(errors="surrogatepass").hex()


def _getter(path: Path | None) -> Callable[[Any], Any]:
    """What takes the value at a path out of a decoded row; None where there is none."""
    if path is None:
        return lambda _row: None
    if len(path) == 1:
        return attrgetter(_attribute(path[0]))
    return lambda row: reduce(lambda at, name: getattr(at, _attribute(name), None), path, row)


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _walk(value: Any, path: Path) -> list[Any]:
    """The value that a path leads to, in a list; an empty one if it leads to nothing.

    Raises `_RowError` where a member on the way stands twice.
    """
    found = [value]
    for name in path:
        pairs = found[0].pairs if found and isinstance(found[0], _Object) else []
        found = [inner for member, inner in pairs if member == name]
        if len(found) > 1:
            raise _RowError("duplicate_member")
    return found


def _load(line: str) -> Any:
    """Raises `ValueError` for what is not JSON, or holds a number of too many digits."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_Object, parse_int=_digits, parse_constant=_no_constant
    )
    return decoder.decode(line)


def _digits(text: str) -> _Digits:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number that few programs would read")
    return _Digits(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_json(line: str) -> bool:
    """msgspec says what a member is not before it has seen that the rest is no JSON."""
    try:
        _skip(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_nested_too_deep(line: str) -> bool:
    if line.count("[") + line.count("{") <= MAX_NESTING:
        return False
    depth = 0
    for found in _STRUCTURE.finditer(line):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_NESTING:
            return True
    return False

"""Is the last key of a file the beginning of one, because the file is cut off?

A CSV file may end without a line end, so that alone says nothing. What is cut off is shorter than
the others: that shows where these are all of one length, or of one kind.
"""

import re
from collections import Counter, deque

from bulk_eraser.sources.columns import kind_of

__all__ = ["TornEnd"]

_LOOKED_AT = 1000
"""Keys before the last one: many enough to know what they are like, and few enough to keep."""
_NEARLY_ALL = 0.99
_CODE = re.compile(r"[{]?[0-9a-fA-F-]{16,}[}]?")
"""A UUID, a hash, a long number: of such keys even one shows how long all are."""
_ENOUGH = 10
"""So many other keys must have one length before it is more than chance."""


class TornEnd:
    """The last keys of an input, as `see` was given all of them, in order."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=_LOOKED_AT + 1)
        self.see = self._last.extend

    def is_likely(self) -> bool:
        """Is the last key shorter than nearly all others, and are these of one length or kind?"""
        if len(self._last) < 2:
            return False
        *others, last = self._last
        # 1. All as long as each other: a UUID, a hash, a number with leading zeros.
        length, alike = Counter(map(len, others)).most_common(1)[0]
        is_certain = alike >= _ENOUGH or all(map(_CODE.fullmatch, others))
        if _is_nearly_all(alike, others) and len(last) < length and is_certain:
            return True
        # 2. All of one kind, and this is where that begins: `K-` or `K` among `K-9`, `K-10023`.
        kind, alike = Counter(map(kind_of, others)).most_common(1)[0]
        own = kind_of(last)
        begins_so = kind.startswith(own) and own != kind
        return _is_nearly_all(alike, others) and len(others) > 1 and begins_so


def _is_nearly_all(alike: int, others: list[str]) -> bool:
    return alike >= _NEARLY_ALL * len(others)

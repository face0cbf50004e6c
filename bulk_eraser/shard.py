"""One part of a batch of several: shard i of N. Which keys it has, the digest of each key says.

So neither the order of the rows nor the file decides, and N processes share an input without
talking to each other. Rows without a key have no digest; the first shard has them.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

__all__ = ["MOST_SHARDS", "Part", "Shard", "Shards", "shards_in_words"]

MOST_SHARDS = 256
"""As many ledgers as are looked at together."""


class Part(Protocol):
    """Which rows of an input are meant, by the digest of the key as it is (`key_partitions`)."""

    @property
    def has_rows_without_key(self) -> bool: ...

    def has(self, digest: bytes) -> bool: ...


class Shard(msgspec.Struct, frozen=True, order=True):
    """Shard `index`, from 1, `of` so many."""

    index: int
    of: int

    @property
    def has_rows_without_key(self) -> bool:
        return self.index == 1

    def has(self, digest: bytes) -> bool:
        return int.from_bytes(digest, "big") % self.of == self.index - 1

    def __str__(self) -> str:
        return f"{self.index} of {self.of}"


class Shards:
    """Several shards; `missing` are the others of the same number. None is missing where those of
    one number are complete, whatever there is of another."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = sorted(set(shards))
        self._there: dict[int, set[int]] = {}
        for shard in self._shards:
            self._there.setdefault(shard.of, set()).add(shard.index)
        is_whole = any(len(there) == of for of, there in self._there.items())
        self.missing = [
            Shard(index, of)
            for of, there in sorted(self._there.items())
            for index in range(1, of + 1)
            if not is_whole and index not in there
        ]

    @property
    def has_rows_without_key(self) -> bool:
        return any(shard.has_rows_without_key for shard in self._shards)

    def has(self, digest: bytes) -> bool:
        number = int.from_bytes(digest, "big")
        return any(number % of + 1 in there for of, there in self._there.items())


def shards_in_words(shards: Collection[Shard]) -> str:
    """`shard 2 of 4`; `shards 1, 3 and 4 of 4`; of ranges the ends: `shards 1 to 99 of 100`."""
    words = []
    for of in sorted({shard.of for shard in shards}):
        parts = _ranges(sorted(shard.index for shard in shards if shard.of == of))
        *first, last = parts
        several = "s" if first or " to " in last else ""
        numbers = f"{', '.join(first)} and {last}" if first else last
        words.append(f"shard{several} {numbers} of {of}")
    return ", ".join(words)


def _ranges(numbers: list[int]) -> list[str]:
    """Numbers in ascending order; three or more that follow each other become one range."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    words: list[str] = []
    for run in found:
        words += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return words

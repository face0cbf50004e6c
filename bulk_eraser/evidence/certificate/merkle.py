"""Merkle trees as RFC 6962 (2.1) and RFC 9162 (2.1.1 to 2.1.3) have them, over SHA-256.

A tree is built from its leaves one by one and remembers a hash for each of its levels at the most,
so ten million leaves take as little memory as ten.
"""

from collections.abc import Sequence
from hashlib import sha256

__all__ = ["HASH_BYTES", "GrowingTree", "leaf_hash", "root_along"]

HASH_BYTES = 32


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """Its leaves are added from the left to the right; `leaves` is how many there are.

    `index` is the number, from 0, of the leaf whose inclusion `path` is kept; None if there is
    none. The path is whole once `root` was asked for.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self.index: int | None = None
        self.path: list[bytes] = []
        self._full: list[bytes] = []
        """Roots of full subtrees, the largest first: one for each bit of `leaves`."""
        self._holder = -1
        """Which of them holds the leaf whose path is kept."""

    def add(self, leaf: bytes, *, keep_path: bool = False) -> None:
        """`leaf` is the content; `keep_path` may be asked for once."""
        full = self._full
        full.append(leaf_hash(leaf))
        if keep_path:
            self.index, self._holder = self.leaves, len(full) - 1
        self.leaves += 1
        ends = self.leaves
        while not ends & 1:  # two of the same size side by side
            ends >>= 1
            self._merge_last_two()

    def root(self) -> bytes:
        """Of all leaves; nothing can be added behind it."""
        if not self._full:
            return sha256(b"").digest()
        while len(self._full) > 1:
            self._merge_last_two()
        return self._full[0]

    def _merge_last_two(self) -> None:
        right = self._full.pop()
        left, last = self._full[-1], len(self._full) - 1
        if self._holder == last:
            self.path.append(right)
        elif self._holder == last + 1:
            self.path.append(left)
            self._holder = last
        self._full[-1] = _node_hash(left, right)


def root_along(leaf: bytes, index: int, leaves: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of so many `leaves` in which `leaf` is number `index`, from 0.

    None if the path does not have the length that it must have.
    """
    if not 0 <= index < leaves:
        return None
    here, last, node = index, leaves - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return None
        if here & 1 or here == last:
            node = _node_hash(sibling, node)
            while not here & 1 and here:  # levels on which it has no sibling
                here, last = here >> 1, last >> 1
        else:
            node = _node_hash(node, sibling)
        here, last = here >> 1, last >> 1
    return node if last == 0 else None

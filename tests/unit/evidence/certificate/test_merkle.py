"""The tree is that of RFC 6962, its paths are taken by a verifier that is not ours, and it stays
small."""

from hashlib import sha256
from itertools import pairwise

import metamorphic_log
import pytest

from bulk_eraser.evidence.certificate.merkle import GrowingTree, leaf_hash, root_along

SIZES = range(1, 71)
LEAVES = [f"leaf {number}".encode() for number in range(max(SIZES))]


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, to the letter."""
    if len(leaves) <= 1:
        return sha256(b"\x00" + leaves[0]).digest() if leaves else sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = by_definition(leaves[:k]), by_definition(leaves[k:])
    return sha256(b"\x01" + left + right).digest()


def grown(leaves: list[bytes], kept: int = -1) -> GrowingTree:
    tree = GrowingTree()
    for number, leaf in enumerate(leaves):
        tree.add(leaf, keep_path=number == kept)
    return tree


@pytest.mark.parametrize("size", [0, *SIZES])
def test_the_root_is_that_of_the_definition(size: int):
    assert grown(LEAVES[:size]).root() == by_definition(LEAVES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_each_path_leads_to_the_root(size: int):
    """For ours and for the other's verifier; not from another index, for another leaf, in a tree of
    another size that has another path, or along a path that is cut, longer or altered."""
    root = by_definition(LEAVES[:size])
    for index in range(size):
        tree = grown(LEAVES[:size], index)
        assert (tree.root(), tree.index, tree.leaves) == (root, index, size)
        path, leaf = tree.path, LEAVES[index]
        assert root_along(leaf, index, size, path) == root
        metamorphic_log.verify_inclusion(index, size, leaf_hash(leaf), path, root)
        assert root_along(b"another", index, size, path) != root
        assert root_along(leaf, size, size, path) is None
        assert root_along(leaf, index, size, [*path, bytes(32)]) is None
        if path:
            assert root_along(leaf, index ^ 1, size, path) != root
            assert root_along(leaf, index, size, path[:-1]) is None
            altered = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
            assert root_along(leaf, index, size, altered) != root


def test_a_large_tree_is_held_in_a_few_hashes():
    """One for each bit of its size at the most, as it grows."""
    tree, most = GrowingTree(), 0
    for number in range(5000):
        tree.add(b"%d" % number, keep_path=number == 1234)
        most = max(most, len(tree._full) + len(tree.path))
    assert most <= 2 * 13
    assert root_along(b"1234", 1234, 5000, tree.path) is None  # not whole before the root
    assert root_along(b"1234", 1234, 5000, [*tree.path]) != tree.root()
    assert root_along(b"1234", 1234, 5000, tree.path) == tree.root()


def test_neighbours_do_not_share_a_hash():
    """A leaf is never taken for a node: their prefixes differ."""
    hashes = [grown(LEAVES[:size]).root() for size in SIZES]
    assert all(one != other for one, other in pairwise(hashes))
    left, right = map(leaf_hash, LEAVES[:2])
    assert leaf_hash(left + right) != grown(LEAVES[:2]).root()

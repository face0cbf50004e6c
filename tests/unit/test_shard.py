"""Which shards are there, which are missing, and how that is said."""

import pytest

from bulk_eraser.key_partitions import digest_of
from bulk_eraser.shard import Shard, Shards, shards_in_words

DIGESTS = [digest_of(f"key-{number}") for number in range(300)]


@pytest.mark.parametrize("of", [1, 2, 3, 7, 256, 1000])
def test_every_digest_is_of_exactly_one_shard(of: int):
    shards = [Shard(index, of) for index in range(1, of + 1)]
    for digest in DIGESTS:
        assert [shard.has(digest) for shard in shards].count(True) == 1
    assert [shard.has_rows_without_key for shard in shards].count(True) == 1


def test_shards_of_a_power_of_two_are_not_those_of_the_partitions():
    """What is kept by the first byte of a digest must not all fall into one part of it."""
    mine = [digest for digest in DIGESTS if Shard(1, 4).has(digest)]
    assert len({digest[0] for digest in mine}) > len(mine) // 2


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([(1, 1)], []),
        ([(1, 2), (2, 2)], []),
        ([(2, 3)], [(1, 3), (3, 3)]),
        ([(1, 2), (1, 3)], [(2, 2), (2, 3), (3, 3)]),
        ([(1, 2), (2, 2), (1, 3)], []),
    ],
)
def test_what_is_missing(there: list[tuple[int, int]], missing: list[tuple[int, int]]):
    """Of each number, unless one is complete; and nothing of what is there is missing."""
    shards = Shards(Shard(*it) for it in there)
    assert shards.missing == [Shard(*it) for it in missing]
    for digest in DIGESTS:
        assert shards.has(digest) == any(Shard(*it).has(digest) for it in there)
    assert shards.has_rows_without_key == any(index == 1 for index, _ in there)


@pytest.mark.parametrize(
    ("indices", "of", "words"),
    [
        ([2], 4, "shard 2 of 4"),
        ([1, 2], 4, "shards 1 and 2 of 4"),
        ([1, 3, 4], 4, "shards 1, 3 and 4 of 4"),
        ([1, 2, 3], 4, "shards 1 to 3 of 4"),
        ([1, *range(5, 100)], 100, "shards 1 and 5 to 99 of 100"),
    ],
)
def test_in_words(indices: list[int], of: int, words: str):
    assert shards_in_words([Shard(index, of) for index in indices]) == words

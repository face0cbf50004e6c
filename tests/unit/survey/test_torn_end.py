"""A file that was cut off within its last key, and the many that only lack the last line end."""

import random
import uuid

import pytest

from bulk_eraser.survey.torn_end import TornEnd

PLACES = random.Random(7)
UUIDS = [str(uuid.UUID(int=PLACES.getrandbits(128), version=4)) for _ in range(1500)]
NUMBERS = [f"{PLACES.randrange(10**8):08}" for _ in range(40)]
NAMES = ["anna-1", "berta-22", "carl-333", "dora-4"]


def is_torn(keys: list[str]) -> bool:
    end = TornEnd()
    end.see(keys)
    return end.is_likely()


@pytest.mark.parametrize("others", [1, 2, 30, 1400])
@pytest.mark.parametrize("length", [1, 8, 9, 15, 23, 24, 35])
def test_a_uuid_is_torn_anywhere(others: int, length: int):
    """However many stand before it, where a UUID ends too early it is torn; a whole one is not."""
    assert is_torn([*UUIDS[:others], UUIDS[-1][:length]])
    assert not is_torn([*UUIDS[:others], UUIDS[-1]])


@pytest.mark.parametrize("length", range(1, 8))
def test_short_keys_of_one_length(length: int):
    """Of short keys it takes ten of one length: three may be so by chance."""
    assert is_torn([*NUMBERS, NUMBERS[0][:length]])
    assert is_torn([*NUMBERS[:10], NUMBERS[0][:length]])
    assert not is_torn([*NUMBERS[:9], NUMBERS[0][:length]])


@pytest.mark.parametrize("last", ["K-", "K"])
def test_keys_of_one_kind(last: str):
    """Where the others are `K-` and a number, one without its number is torn."""
    assert is_torn(["K-1", "K-10023", last])
    assert not is_torn(["K-1", last])


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["a"],
        ["a", ""],
        ["longer", "long"],
        NAMES,
        [*NAMES, "anna"][::-1],
        [*map(str, range(1, 2000))],
        [*map(str, range(2000, 0, -1))],
        sorted(map(str, range(1, 12000))),
        [*UUIDS, "97eeab64-ca2c-4444-8888-0123456789ab-and-more"],
        [*UUIDS[:50], *NUMBERS, "7"],
    ],
)
def test_what_may_well_be_whole(keys: list[str]):
    """Keys of several lengths, longer ones, and too few to tell."""
    assert not is_torn(keys)


def test_a_few_odd_keys_hide_nothing():
    """One key in a hundred may be of another length."""
    assert is_torn([*UUIDS[:500], *NAMES, UUIDS[-1][:20]])

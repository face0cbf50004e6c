"""Entries per key, in memory or spilled to disk."""

import tempfile
import tracemalloc
from pathlib import Path

import pytest

from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of

TINY = 100
"""Bytes: room for a few entries, so that almost everything spills."""


@pytest.fixture
def spill_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("allowance", [0, 1, TINY, 1 << 20])
def test_a_partition_holds_its_keys_in_order(allowance: int) -> None:
    """Whatever fits into memory, each partition gives its own entries, oldest first."""
    entries = [(digest_of(f"k{n % 300}"), n, 2**64 - 1 - n) for n in range(2000)]
    partitions = KeyPartitions("QQ", allowance)
    for entry in entries:
        partitions.add(*entry)
    assert len(partitions) == len(entries)
    for _ in range(2):
        for number in range(PARTITIONS):
            expected = [entry for entry in entries if entry[0][0] == number]
            assert list(partitions.read(number)) == expected
    partitions.close()


def test_what_does_not_fit_goes_to_an_unlinked_file(spill_folder: Path) -> None:
    """Nothing of the customers is left in the temporary folder, not even during the run."""
    partitions = KeyPartitions("", TINY)
    for number in range(100):
        partitions.add(digest_of(str(number)))
    assert list(spill_folder.iterdir()) == []
    partitions.close()


def test_memory_is_flat(spill_folder: Path) -> None:
    """Eight times more keys than the allowance has room for cost about the allowance."""
    allowance, keys = 1 << 19, 1 << 18
    partitions = KeyPartitions("", allowance)
    tracemalloc.start()
    try:
        for number in range(keys):
            partitions.add((number * 0x9E3779B1 % 2**32).to_bytes(4) * 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(1 for number in range(PARTITIONS) for _ in partitions.read(number)) == keys
    partitions.close()
    assert peak < 3 * allowance < keys * 16


def test_a_full_temporary_folder_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that could not be kept is an error at once, not a key forgotten."""
    with open("/dev/full", "w+b", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
        partitions = KeyPartitions("", 0)
        with pytest.raises(OSError, match="No space left"):
            partitions.add(digest_of("k"))
        partitions.close()


def test_entries_added_after_reading_are_read(spill_folder: Path) -> None:
    """Reading changes nothing: what comes later comes behind."""
    partitions = KeyPartitions("B", TINY)
    digest = digest_of("k")
    for number in range(20):
        partitions.add(digest, number)
        assert [entry[1] for entry in partitions.read(digest[0])] == list(range(number + 1))
    partitions.close()


@pytest.mark.parametrize(("one", "other"), [("k", "K"), ("é", "e\u0301"), ("a", "a "), ("", "0")])
def test_keys_that_differ_have_digests_that_differ(one: str, other: str) -> None:
    """Case, Unicode form and blanks make another customer."""
    assert digest_of(one) != digest_of(other)
    assert digest_of(one) == digest_of(one)
    assert len(digest_of(one)) == 16

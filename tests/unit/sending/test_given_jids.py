"""A jid that was given before is known, in memory and in a file alike."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from bulk_eraser.errors import TemporaryFolderFull
from bulk_eraser.sending import given_jids
from bulk_eraser.sending.given_jids import GivenJids


@pytest.mark.parametrize("allowance", [1 << 30, 0], ids=["memory", "file"])
@pytest.mark.parametrize("most", [1, 511, 512, 5000])
def test_every_jid_is_new_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int, allowance: int
) -> None:
    """Up to the promised number no jid is forgotten, and none is taken for another."""
    monkeypatch.setattr(given_jids, "IN_MEMORY", allowance)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = GivenJids(most)
    jids = [f"job-{number}" for number in range(most)]
    assert all(map(given.is_new, jids))
    assert not any(map(given.is_new, jids))
    assert os.listdir(tmp_path) == []
    given.close()


def test_marks_that_want_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jids whose marks differ only where it does not matter each has a place, also at the end
    of the table."""

    class Digest:
        def __init__(self, jid: bytes, digest_size: int) -> None:
            self._mark = (int(jid) << 40 | (1 << 40) - 1).to_bytes(digest_size)

        def digest(self) -> bytes:
            return self._mark

    monkeypatch.setattr(given_jids, "blake2b", Digest)
    given = GivenJids(500)
    assert all(given.is_new(str(number)) for number in range(500))
    assert not any(given.is_new(str(number)) for number in range(500))


def test_no_room_for_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A temporary folder without room is told before anything is sent, and named."""

    def full(_fd: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(given_jids, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TemporaryFolderFull, match="TMPDIR"):
        GivenJids(10)

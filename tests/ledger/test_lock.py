"""Who only looks whether a ledger is being written does not keep a run from starting."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_eraser.errors import LedgerBusy
from bulk_eraser.ledger import disk
from bulk_eraser.ledger.disk import Disk, is_being_written
from bulk_eraser.ledger.file import LedgerFile


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    path = tmp_path / "a.ledger.ndjson"
    file = LedgerFile(str(path))
    file.begin()
    file.close()
    return path


def lets_go(file: object) -> Callable[[float], None]:
    return lambda _seconds: fcntl.flock(file, fcntl.LOCK_UN)  # type: ignore[arg-type] # a file


def test_a_look_at_that_moment_is_no_other_process(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock that `verify` looks with is there for microseconds: the run waits for it."""
    with begun.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(disk.time, "sleep", lets_go(looking))
        file = LedgerFile(str(begun))
        assert is_being_written(str(begun))
        file.close()


def test_who_holds_it_longer_is_told(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run does not let go: 75, after one short wait."""
    waits: list[float] = []
    monkeypatch.setattr(disk.time, "sleep", waits.append)
    with begun.open("rb") as other:
        Disk().lock(other.fileno())
        with pytest.raises(LedgerBusy):
            LedgerFile(str(begun))
    assert waits == [disk.LOOK_S]
    assert not is_being_written(str(begun))

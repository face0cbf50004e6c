"""Single faults of the disk, one by one, and what the next process makes of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from simulated_disk import SimulatedDisk

from bulk_eraser.errors import LedgerBusy
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.records import Sent

AT = "2024-03-01T12:00:01.000Z"


@pytest.fixture
def disk(tmp_path: Path) -> SimulatedDisk:
    return SimulatedDisk(tmp_path)


@pytest.fixture
def begun(path: Path, disk: SimulatedDisk, groups: list[bytes]) -> LedgerFile:
    """A ledger of some groups, all on disk, ready for more."""
    file = LedgerFile(str(path), disk=disk)
    file.begin()
    for group in groups:
        file.append(group)
    file.close()
    file = LedgerFile(str(path), disk=disk)
    file.begin()
    return file


# ── closing ─────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_that_cannot_be_closed_well_is_complete(
    begun: LedgerFile, disk: SimulatedDisk
) -> None:
    """All of it was synced before: an error of the last call is none of the run."""
    before = disk.calls.count("close")
    disk.fail_next("close")
    begun.close()
    begun.close()
    assert disk.calls.count("close") == before + 1


def test_a_busy_ledger_is_busy_even_if_it_cannot_be_closed_well(
    begun: LedgerFile, disk: SimulatedDisk
) -> None:
    """The error that is told is the one that matters."""
    disk.fail_next("close")
    with pytest.raises(LedgerBusy):
        LedgerFile(begun.path, disk=disk)
    begun.close()


def test_a_tail_whose_copy_was_synced_is_moved_aside_even_if_it_cannot_be_closed_well(
    path: Path, disk: SimulatedDisk, begun: LedgerFile, sent: Callable[[str], Sent]
) -> None:
    """What counts is that the sync succeeded."""
    begun.close()
    with path.open("ab") as torn:
        torn.write(b'{"type":"se')
    file = LedgerFile(str(path), disk=disk)
    disk.fail_next("close")
    recovered = file.begin()
    file.append(encode_group(file.head, [*recovered, sent("k")], AT)[0])
    file.close()
    assert [told.bytes for told in recovered] == [11]

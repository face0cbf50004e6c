"""Single faults of the disk, one by one, and what the next process makes of them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated_disk import Crash, SimulatedDisk

from bulk_eraser.errors import BulkEraserError, LedgerBusy, LedgerWriteError
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.records import Record, Sent

AT = "2024-03-01T12:00:01.000Z"
Key = Callable[[str], Sent]


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


# ── a sync that fails ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def next_group(sent: Callable[[str], Sent]) -> Callable[[LedgerFile], bytes]:
    """A group of three pages that follows what the file holds."""
    return lambda file: encode_group(file.head, [sent("k" * 500 + str(n)) for n in range(20)], AT)[
        0
    ]


@pytest.fixture
def failed(
    path: Path,
    begun: LedgerFile,
    disk: SimulatedDisk,
    next_group: Callable[[LedgerFile], bytes],
) -> bytes:
    """The group whose sync failed: in the page cache it is whole, none of it is on the platter."""
    disk.share = 0.0
    group = next_group(begun)
    disk.fail_next("sync_content")
    with pytest.raises(LedgerWriteError) as raised:
        begun.append(group)
    assert raised.value.exit_code == 74
    disk.end_process()
    assert path.read_bytes().endswith(group)
    return group


def test_a_group_whose_sync_failed_counts_only_when_it_is_really_on_disk(
    path: Path, groups: list[bytes], failed: bytes, disk: SimulatedDisk
) -> None:
    """It is read as if it were there, and a second sync succeeds without it: what `begin` says is
    in the ledger is there after a power loss all the same."""
    file = LedgerFile(str(path), disk=disk)
    assert file.begin() == []
    disk.power_loss()
    assert path.read_bytes() == b"".join(groups) + failed


def test_what_follows_a_failed_sync_does_not_stand_behind_a_hole(
    path: Path,
    groups: list[bytes],
    failed: bytes,
    disk: SimulatedDisk,
    next_group: Callable[[LedgerFile], bytes],
) -> None:
    """The next process goes on behind that group, and a power loss makes no damage (79) of it."""
    file = LedgerFile(str(path), disk=disk)
    file.begin()
    following = next_group(file)
    file.append(following)
    disk.power_loss()
    file = LedgerFile(str(path), disk=disk)
    assert file.begin() == []
    assert path.read_bytes() == b"".join(groups) + failed + following


def test_a_cut_whose_sync_failed_leaves_nothing_of_the_tail(
    path: Path, begun: LedgerFile, groups: list[bytes], disk: SimulatedDisk
) -> None:
    """The rest of the last page was zeroed in the cache alone; it is written by the next process,
    so that the old tail does not come back behind a new group."""
    disk.share = 1.0
    disk.crash_at(len(disk.calls) + 4)  # at the sync
    with pytest.raises(Crash):
        begun.append(b'{"type":"sent"}\n{"type":"commit"')
    disk.power_loss()
    disk.share = 0.0
    file = LedgerFile(str(path), disk=disk)
    disk.fail_next("sync_content")
    with pytest.raises(LedgerWriteError):
        file.begin()
    disk.end_process()
    LedgerFile(str(path), disk=disk).begin()
    (platter,) = (p for p in disk.platters.values() if p.path == str(path))
    assert bytes(platter.content).rstrip(b"\0") == b"".join(groups)


def test_a_group_that_was_dropped_after_a_failed_sync_is_a_torn_tail(
    path: Path, groups: list[bytes], failed: bytes, disk: SimulatedDisk
) -> None:
    """What the cache shows no longer is moved aside, as after a crash."""
    disk.power_loss()
    file = LedgerFile(str(path), disk=disk)
    assert [told.bytes for told in file.begin()] == [len(failed)]
    assert path.read_bytes() == b"".join(groups)


async def test_after_a_failed_sync_the_writer_says_so_to_all_and_syncs_no_more(
    path: Path, begun: LedgerFile, disk: SimulatedDisk, groups: list[bytes], sent: Key
) -> None:
    """One error (74) for who waits, and for who comes later; one call of the disk."""
    told: list[BulkEraserError] = []
    counted: list[Record] = []
    ledger = LedgerWriter(begun, counted.extend, told.append)
    disk.fail_next("sync_content")
    before = len(disk.calls)
    waiting = [asyncio.create_task(ledger.commit([sent(f"k{n}")])) for n in range(3)]
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    with pytest.raises(LedgerWriteError):
        ledger.append(sent("late"))
    with pytest.raises(LedgerWriteError):
        await ledger.commit([sent("later")])
    with pytest.raises(LedgerWriteError):
        await ledger.close()
    assert [int(error.exit_code) for error in told] == [74]
    assert failures == told * 3
    assert disk.calls[before:] == ["fstat", "stat", "write", "sync_content"]
    assert counted == []
    disk.power_loss()
    LedgerFile(str(path), disk=disk).begin()
    assert path.read_bytes().startswith(b"".join(groups))


async def test_what_the_writer_acknowledged_survives_a_power_loss(
    path: Path, begun: LedgerFile, disk: SimulatedDisk, sent: Key
) -> None:
    """At the moment in which `commit` returns, and in which a record is counted."""
    disk.share = 0.0
    counted: list[int] = []
    ledger = LedgerWriter(begun, lambda _: counted.append(len(platter_of(disk, path))), pytest.fail)
    await ledger.commit([sent("k1"), sent("k2")])
    on_disk = platter_of(disk, path)
    assert on_disk == path.read_bytes()
    assert counted == [len(on_disk)]
    await ledger.close()


def platter_of(disk: SimulatedDisk, path: Path) -> bytes:
    """What would be left of the ledger by a power loss in this moment."""
    (platter,) = (platter for platter in disk.platters.values() if platter.path == str(path))
    return platter.as_read()


# ── a sync that fails before anything is appended ───────────────────────────────────────────────


@pytest.mark.parametrize("torn", [b"", b'{"type":"se'], ids=["clean", "torn"])
def test_a_failed_sync_while_a_run_begins_is_not_repeated(
    path: Path, begun: LedgerFile, disk: SimulatedDisk, groups: list[bytes], torn: bytes
) -> None:
    """74 before anything is sent, and the next process finds the same ledger."""
    begun.close()
    with path.open("ab") as file:
        file.write(torn)
    disk.end_process()
    again = LedgerFile(str(path), disk=disk)
    disk.fail_next("sync_content")
    with pytest.raises(LedgerWriteError) as raised:
        again.begin()
    assert raised.value.exit_code == 74
    assert disk.calls[-1] == "sync_content"
    assert disk.calls.count("sync_content") == 1
    disk.power_loss()
    LedgerFile(str(path), disk=disk).begin()
    assert path.read_bytes() == b"".join(groups)


def test_a_ledger_behind_a_link_is_in_its_own_folder_on_disk_before_it_is_used(
    tmp_path: Path, disk: SimulatedDisk, groups: list[bytes]
) -> None:
    """Who created it was killed before that; the next run comes by a link from another folder."""
    path, link = tmp_path / "real" / "keys.ledger.ndjson", tmp_path / "link.ledger.ndjson"
    path.parent.mkdir()
    link.symlink_to(path)
    disk.crash_at(6)  # open, open, lock, chmod, sync, open
    with pytest.raises(Crash):
        LedgerFile(str(path), disk=disk).begin()
    disk.end_process()
    file = LedgerFile(str(link), disk=disk)
    file.begin()
    assert disk.nameless == set()
    file.append(groups[0])
    disk.power_loss()
    assert link.read_bytes() == groups[0]


def test_a_new_ledger_whose_folder_cannot_be_synced_is_not_used(
    path: Path, disk: SimulatedDisk, groups: list[bytes]
) -> None:
    """74; the next process finds it empty, and syncs the folder before it counts on the name."""
    file = LedgerFile(str(path), disk=disk)
    disk.fail_at(7)  # open, open, lock, chmod, sync, open, sync
    with pytest.raises(LedgerWriteError):
        file.begin()
    assert disk.calls[-2:] == ["sync", "close"]
    disk.end_process()
    assert disk.nameless == {str(path)}
    file = LedgerFile(str(path), disk=disk)
    file.begin()
    assert disk.nameless == set()
    file.append(groups[0])
    disk.power_loss()
    assert path.read_bytes() == groups[0]

"""Thousands of stories of failing disks, kills and power losses, each told to its end.

For longer: CRASH_SEEDS=200000 pytest tests/ledger/test_power_loss.py -m soak --timeout 36000
"""

import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from simulated_disk import Crash, SimulatedDisk

from bulk_eraser.errors import LedgerWriteError
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.records import Record, RunStarted, Sent

AT = "2024-03-01T12:00:01.000Z"
SEEDS = int(os.environ.get("CRASH_SEEDS", "10000"))
WRITING = {"write", "write_again", "sync", "sync_content", "cut"}
FIRST_SEED = int(os.environ.get("CRASH_FIRST_SEED", "0"))


class Witness:
    """What the ledger has promised so far, to hold against what is found.

    `kept` is what was acknowledged. One group more, `begun`, may have been written in vain: it
    may be found as a whole or not at all, and either is final once `begin` has returned.
    """

    def __init__(self, folder: Path, run_started: Callable[..., RunStarted], seed: int) -> None:
        self.path = folder / "keys.ledger.ndjson"
        self.chance = random.Random(seed)
        self.disk = SimulatedDisk(folder, seed)
        self.kept = b""
        self.begun = b""
        self.tails: dict[str, bytes] = {}
        self.whole = self.aside = 0
        self._run_started = run_started
        self._number = 0

    def live(self, groups: int) -> None:
        """One process: open, recover, append. Ends as the disk has it."""
        file = LedgerFile(str(self.path), disk=self.disk)
        found = self.path.read_bytes() if self.path.exists() else b""
        recovered = file.begin()
        self.look_at(found)
        told = {record.file for record in recovered}
        assert told <= self.tails.keys()
        assert len(told) == (len(found) > len(self.kept))
        head = file.head
        for number in range(groups):
            records = [*(recovered if number == 0 else []), *self.records()]
            self.begun, head = encode_group(head, records, AT)
            file.append(self.begun)
            self.kept, self.begun = self.kept + self.begun, b""
        file.close()

    def look_at(self, found: bytes) -> None:
        """After `begin`: what was promised is there, and what is not is in a `.tail` file."""
        there = self.path.read_bytes()
        assert there in (self.kept, self.kept + self.begun)
        assert found.startswith(there)
        self.whole += bool(self.begun) and there != self.kept
        self.kept, self.begun = there, b""
        beside = {path.name: path.read_bytes() for path in self.path.parent.glob("*.tail")}
        assert self.tails.items() <= beside.items()
        if tail := found[len(there) :]:
            name = f"{self.path.name}.{len(there)}-{sha256(tail).hexdigest()[:12]}.tail"
            assert beside[name] == tail
            self.tails[name] = tail
            self.aside += 1

    def records(self) -> list[Record]:
        """One line or some pages of them; the first group of a ledger begins with its run."""
        self._number += 1
        first = [] if self.kept else [self._run_started(requester="r" * self._some_bytes())]
        key = "k" * self.chance.choice([4, 100, 500, 1500])
        lines = self.chance.choice([1, 1, 3, 8])
        sent = [Sent(key=f"{key}{self._number}-{n}", line=n, attempt=1) for n in range(lines)]
        return [*first, *sent]

    def _some_bytes(self) -> int:
        return self.chance.choice([0, 100, 1000, 5000, 10_000])

    def survive(self) -> None:
        """Whatever happened, the next process goes on, and after one more loss all is there."""
        self.disk.be_calm()
        self.disk.short_writes = 0.0
        self.live(2)
        self.disk.power_loss()
        self.live(0)
        assert self.begun == b""


def unlucky(witness: Witness) -> None:
    """One process that most likely meets a failing disk, a kill or a power loss."""
    chance, disk = witness.chance, witness.disk
    disk.short_writes = chance.choice([0.0, 0.0, 0.3])
    disk.write_back = chance.choice([0.0, 0.0, 0.2])
    if not witness.kept and disk.short_writes:
        disk.write_back = 0.0  # a first group in parts, begun to be written back: not promised
    call = chance.randint(1, 60)
    fate = chance.choice(["crash", "crash", "crash", "fail", "fail for good", "no sync", "none"])
    if fate == "crash":
        disk.crash_at(call)
    elif fate == "no sync":
        disk.fail_next("sync_content")
    elif fate != "none":
        number = chance.choice([errno.ENOSPC, errno.EIO])
        disk.fail_at(call, number, for_good=fate == "fail for good")
    with suppress(Crash, LedgerWriteError):
        witness.live(chance.randint(0, 4))
    if chance.random() < 0.5:
        disk.power_loss()
    else:
        disk.end_process()


@pytest.mark.parametrize("seeds", [300, pytest.param(SEEDS, marks=pytest.mark.soak)])
def test_every_story_ends_with_exactly_what_was_committed(
    seeds: int,
    tmp_path: Path,
    run_started: Callable[..., RunStarted],
    verify: Callable[[bytes], str],
) -> None:
    """What was acknowledged is there, what was not is there as a whole or in a `.tail` file, no
    crash is taken for damage, and the ledger goes on: also after crashes during recovery."""
    whole = aside = 0
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        with told(f"seed {seed}"), folder_in(tmp_path) as folder:
            witness = Witness(folder, run_started, seed)
            for _ in range(witness.chance.randint(1, 6)):
                unlucky(witness)
            witness.survive()
            verify(witness.kept)
            whole += witness.whole
            aside += witness.aside
    print(f"\n{seeds} seeds: {aside} tails moved aside, {whole} groups kept that were in doubt")
    assert min(whole, aside) > seeds // 20, "hardly a group was torn, or hardly one survived"


def calls_of(witness: Witness) -> int:
    """How many calls of the disk a process makes that recovers and appends one group."""
    witness.disk.be_calm()
    witness.live(1)
    return len(witness.disk.calls)


@pytest.mark.parametrize("power", [True, False], ids=["power loss", "kill"])
@pytest.mark.parametrize("beginning", ["new", "torn", "torn first group"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_a_crash_at_every_call_and_then_at_every_call_of_the_recovery(
    step: int,
    beginning: str,
    power: bool,
    tmp_path: Path,
    run_started: Callable[..., RunStarted],
    verify: Callable[[bytes], str],
) -> None:
    """One crash, or two in a row, at any two of the calls by which a ledger reaches the disk.

    `step` leaves out pairs, but no call as the first or the second.
    """
    with folder_in(tmp_path) as folder:
        calls = calls_of(started(folder, run_started, beginning, 0))
    assert calls > 10
    for first in range(1, calls + 1):
        for second in [0, *range(1 + first % step, calls + 1, step)]:
            with told(f"calls {first} and {second}"), folder_in(tmp_path) as folder:
                witness = started(folder, run_started, beginning, first * 100 + second)
                for call in filter(None, (first, second)):
                    witness.disk.crash_at(call)
                    with suppress(Crash):
                        witness.live(1)
                    (witness.disk.power_loss if power else witness.disk.end_process)()
                witness.survive()
                verify(witness.kept)


@pytest.mark.parametrize("power", [True, False], ids=["power loss", "kill"])
@pytest.mark.parametrize("beginning", ["torn", "torn first group"])
def test_no_crash_during_recovery_costs_a_byte_of_the_tail(
    beginning: str, power: bool, tmp_path: Path, run_started: Callable[..., RunStarted]
) -> None:
    """A tail that is on disk is evidence: it stands in the ledger or, as a whole, beside it."""
    for call in range(1, 30):
        for seed in range(4):
            with told(f"call {call}, seed {seed}"), folder_in(tmp_path) as folder:
                witness = started(folder, run_started, beginning, seed)
                disk, begin = witness.disk, len(witness.kept)
                disk.share = 1.0
                disk.power_loss()
                disk.share = None
                tail = witness.path.read_bytes()[begin:]
                for _ in range(2):
                    disk.crash_at(call)
                    with suppress(Crash):
                        witness.live(0)
                    (disk.power_loss if power else disk.end_process)()
                    beside = [path.read_bytes() for path in folder.glob("*.tail")]
                    assert tail in [witness.path.read_bytes()[begin:], *beside]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("for_good", [True, False], ids=["for good", "once"])
@pytest.mark.parametrize("beginning", ["new", "torn", "torn first group"])
@pytest.mark.parametrize("seeds", [2, pytest.param(8, marks=pytest.mark.soak)])
def test_a_disk_that_fails_at_every_call(
    seeds: int,
    beginning: str,
    for_good: bool,
    number: int,
    tmp_path: Path,
    run_started: Callable[..., RunStarted],
    verify: Callable[[bytes], str],
) -> None:
    """Nothing is written or synced after the call that failed (but for a mere `close`), and the
    next process goes on, with the power lost in between or not."""
    with folder_in(tmp_path) as folder:
        calls = calls_of(started(folder, run_started, beginning, 0))
    for call in range(1, calls + 1):
        for seed in range(seeds):
            with told(f"call {call}, seed {seed}"), folder_in(tmp_path) as folder:
                witness = started(folder, run_started, beginning, seed)
                witness.disk.fail_at(call, number, for_good=for_good)
                with suppress(LedgerWriteError):
                    witness.live(1)
                after = witness.disk.calls[call - 1 :]
                while for_good and len(after) > 1 and after[0] == "close":
                    del after[0]  # not an error; the next call failed as well
                assert after[0] == "close" or not WRITING & set(after[1:])
                (witness.disk.power_loss if seed % 2 else witness.disk.end_process)()
                witness.survive()
                verify(witness.kept)


def started(
    folder: Path, run_started: Callable[..., RunStarted], beginning: str, seed: int
) -> Witness:
    """No ledger yet, or one with a torn tail, behind some groups or instead of the first."""
    witness = Witness(folder, run_started, seed)
    if beginning == "torn":
        witness.live(2)
    if beginning != "new":
        witness.disk.be_calm()
        witness.disk.fail_next("write", errno.ENOSPC)
        while True:
            with suppress(LedgerWriteError):
                witness.live(1)
            witness.disk.end_process()
            if witness.path.stat().st_size > len(witness.kept):
                break
            witness.disk.fail_next("write", errno.ENOSPC)
    return witness


@contextmanager
def folder_in(parent: Path) -> Iterator[Path]:
    """A folder for one story."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


@contextmanager
def told(which: str) -> Iterator[None]:
    """A failure says which story it was."""
    try:
        yield
    except BaseException as failure:
        failure.add_note(which)
        raise

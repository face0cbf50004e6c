"""Runs that send, are answered, crash and go on, against a model of the service and of the disk.

The model knows two things that the ledger does not: which requests the service saw, and which
lines were acknowledged. Whatever happens to the process and to the disk, the two must fit.
"""

import errno
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from examples import examples
from hypothesis import assume, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from simulated_disk import Crash, SimulatedDisk

from bulk_eraser.errors import BulkEraserError, LedgerBusy, LedgerDamaged, LedgerWriteError
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import KeyHistory
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.records import Accepted, Failed, InputFacts, Record, RunStarted, Sent, Unknown

AT = "2024-03-01T12:00:00.000Z"
KEYS = [f"{letter}-{'x' * 400}" for letter in "abcdefghij"]
STATE_OF = {"sent": KeyState.SENT, "unknown": KeyState.UNKNOWN}
TIME_OF_A_COMMIT = re.compile(rb'(?m)(?<=^{"type":"commit",)"at":"[^"]+"')


class Fault(NamedTuple):
    """What becomes of a process: `call` counts from its next call of the disk on."""

    what: str
    call: int
    power: bool


def faults(calls: int) -> st.SearchStrategy[Fault]:
    """Mostly none."""
    what = st.sampled_from(["none", "none", "none", "crash", "crash", "sync", "full"])
    return st.builds(Fault, what, st.integers(1, calls), st.booleans())


some_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=10, unique=True)


class CrashingRuns(RuleBasedStateMachine):
    """`kept` is acknowledged; `begun` may have been written in vain; `file` is None: no process."""

    @initialize(seed=st.integers(0, 1 << 32))
    def an_empty_folder(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "keys.ledger.ndjson")
        self.disk = SimulatedDisk(Path(self.folder.name), seed)
        self.disk.write_back = 0.1
        self.file: LedgerFile | None = None
        self.kept: list[tuple[bytes, Sequence[Record]]] = []
        self.begun: list[tuple[bytes, Sequence[Record]]] = []
        self.requests: Counter[str] = Counter()
        self.accepted: set[str] = set()
        self.offered: set[str] = set()
        self.in_flight: set[str] = set()

    # ── a process ───────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.file is None)
    @rule(fault=faults(24))
    def resume(self, fault: Fault) -> None:
        """Open, recover, and write the first group; every key stands where the model has it."""
        self._prepare(fault)
        try:
            history = KeyHistory()
            file = LedgerFile(str(self.path), [history], disk=self.disk)
            recovered = file.begin()
        except (Crash, LedgerWriteError):
            event(f"recovery met {fault.what}")
            self._end(fault)
            return
        there = self.path.read_bytes()
        if self.begun and there == self._bytes(self.kept + self.begun):
            self.kept += self.begun
        self.begun = []
        assert there == self._bytes(self.kept)
        last = self._last_lines()
        for key in KEYS:
            digest = digest_of(key)
            state = history.states(digest[0]).get(digest, KeyState.NOT_SENT)
            assert state is last.get(key, KeyState.NOT_SENT)
            if state not in (KeyState.IN_PROGRESS, KeyState.REFUSED):
                self.offered.add(key)
        assert not self.offered & self.accepted
        self.file, self.head = file, file.head
        self._commit([*recovered, run_started()], fault)

    @precondition(lambda self: self.offered - self.in_flight)
    @rule(keys=some_keys, leave=st.integers(0, 10), fault=faults(4))
    def send(self, keys: list[str], leave: int, fault: Fault) -> None:
        """`sent` lines are committed, then some of the requests leave before anything happens."""
        keys = [key for key in keys if key in self.offered - self.in_flight]
        assume(keys)
        if self._commit([Sent(key=key, line=2, attempt=1) for key in keys], fault):
            self.in_flight |= set(keys)
            self.requests.update(keys[:leave])

    @precondition(lambda self: self.in_flight)
    @rule(
        chosen=st.integers(0, 9),
        kind=st.sampled_from(["accepted", "accepted", "refused", "failed", "unknown"]),
        fault=faults(4),
    )
    def answer(self, chosen: int, kind: str, fault: Fault) -> None:
        """The service answers; only an acknowledged outcome counts."""
        key = sorted(self.in_flight)[chosen % len(self.in_flight)]
        if self._commit([outcome(key, kind)], fault):
            self.in_flight.discard(key)
            if kind == "accepted":
                self.accepted.add(key)
            if kind in ("accepted", "refused"):
                self.offered.discard(key)

    @precondition(lambda self: self.file is not None)
    @rule(fault=st.builds(Fault, st.just("kill"), st.just(0), st.booleans()))
    def crash(self, fault: Fault) -> None:
        """Between two calls."""
        self._end(fault)

    @precondition(lambda self: self.file is not None)
    @rule()
    def finish(self) -> None:
        """A run that ends by itself."""
        assert self.file is not None
        self.disk.be_calm()
        self.file.close()
        self._end(Fault("none", 0, power=False))

    # ── others ──────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.file is not None)
    @rule()
    def a_second_process_opens(self) -> None:
        """It is turned away and changes nothing."""
        before = self._everything()
        assert self._is_refused_as(LedgerBusy)
        assert self._everything() == before

    @precondition(lambda self: self.file is None and self._torn() > 0)
    @rule(share=st.floats(0, 1))
    def cut_the_tail(self, share: float) -> None:
        """Somebody cuts off some of what was never acknowledged."""
        size = self.path.stat().st_size - int(self._torn() * share)
        fd = self.disk.open(str(self.path), os.O_WRONLY)
        self.disk.cut(fd, size)
        self.disk.sync(fd)
        self.disk.close(fd)

    @precondition(lambda self: self.file is None and len(self.kept) > 1)
    @rule(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def a_byte_is_changed_in_the_middle(self, where: float, bit: int) -> None:
        """Refused (79), with nothing written; with the right byte again, it goes on."""
        content = self.path.read_bytes()
        proven = self._bytes(self.kept)
        assume(content.startswith(proven))  # else it is the disk that drops pages
        offset = int(where * len(self._bytes(self.kept[:-1])))
        spans = [match.span() for match in TIME_OF_A_COMMIT.finditer(content)]
        assume(not any(begin <= offset < end for begin, end in spans))
        changed = bytearray(content)
        changed[offset] ^= 1 << bit
        self.path.write_bytes(changed)
        before = self._everything()
        assert self._is_refused_as(LedgerDamaged)
        assert self._everything() == before
        self.path.write_bytes(content)

    # ── what always holds ───────────────────────────────────────────────────────────────────

    @invariant()
    def every_request_has_its_line(self) -> None:
        """For each key the service saw no more requests than there are committed `sent` lines."""
        lines: Counter[str] = Counter()
        if self.path.exists():
            content = self.path.read_bytes()
            assert content.startswith(self._bytes(self.kept))
            for line in self._bytes(self.kept).splitlines():
                record = json.loads(line)
                lines[record.get("key")] += record["type"] == "sent"
        assert all(count <= lines[key] for key, count in self.requests.items())

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            if self.file is None:
                self.resume(Fault("none", 0, power=False))
            self._end(Fault("none", 0, power=True))
            assert self.path.read_bytes() == self._bytes(self.kept)
            self.folder.cleanup()

    # ── how it is done ──────────────────────────────────────────────────────────────────────

    def _prepare(self, fault: Fault) -> None:
        self.disk.crash_at(len(self.disk.calls) + fault.call if fault.what == "crash" else 0)
        if fault.what == "sync":
            self.disk.fail_next("sync_content")
        elif fault.what == "full":
            self.disk.fail_next("write", errno.ENOSPC)

    def _commit(self, records: Sequence[Record], fault: Fault) -> bool:
        """Was the group acknowledged? If not, the process has ended."""
        assert self.file is not None
        self._prepare(fault)
        group, head = encode_group(self.head, records, AT)
        self.begun = [(group, records)]
        try:
            self.file.append(group)
        except (Crash, LedgerWriteError):
            event(f"a group met {fault.what}")
            self._end(fault)
            return False
        self.kept, self.begun, self.head = self.kept + self.begun, [], head
        return True

    def _end(self, fault: Fault) -> None:
        self.file = None
        self.offered.clear()
        self.in_flight.clear()
        (self.disk.power_loss if fault.power else self.disk.end_process)()

    def _last_lines(self) -> dict[str, KeyState]:
        last = {}
        for _, records in self.kept:
            for record in records:
                if isinstance(record, Accepted):
                    last[record.key] = KeyState.IN_PROGRESS
                elif isinstance(record, Failed):
                    bad = KeyState.REFUSED if record.permanent else KeyState.FAILED
                    last[record.key] = bad
                elif isinstance(record, Sent | Unknown):
                    last[record.key] = STATE_OF[type(record).__name__.lower()]
        return last

    def _bytes(self, groups: list[tuple[bytes, Sequence[Record]]]) -> bytes:
        return b"".join(group for group, _ in groups)

    def _torn(self) -> int:
        """How many bytes stand behind what was acknowledged."""
        with suppress(FileNotFoundError):
            return self.path.stat().st_size - len(self._bytes(self.kept))
        return 0

    def _is_refused_as(self, error: type[BulkEraserError]) -> bool:
        """Try as another process would; nothing is left open behind it."""
        try:
            file = LedgerFile(str(self.path))
        except error:
            return True
        file.close()
        return False

    def _everything(self) -> dict[str, tuple[bytes, int, int]]:
        folder = sorted(self.path.parent.iterdir())
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in folder
        }


def outcome(key: str, kind: str) -> Record:
    if kind == "accepted":
        return Accepted(
            key=key,
            line=2,
            jid=f"j-{key[0]}",
            status="created",
            http_status=200,
            attempts=1,
            elapsed_ms=5,
        )
    if kind == "unknown":
        return Unknown(key=key, line=2, error="timeout", attempts=6)
    return Failed(
        key=key,
        line=2,
        error="http_400" if kind == "refused" else "http_429",
        http_status=400 if kind == "refused" else 429,
        detail=None,
        attempts=1,
        permanent=kind == "refused",
        possible_job=False,
    )


def run_started() -> RunStarted:
    facts = InputFacts(
        name="keys.csv",
        bytes=1,
        sha256="ab" * 32,
        format="csv",
        key_field="customerKey",
        header=True,
        delimiter=";",
        encoding="utf-8",
        rows=10,
        keys=10,
        rejected=0,
        duplicate=0,
    )
    return RunStarted(
        run="r",
        command="run",
        tool="t",
        api="v4",
        target="c1",
        simulated=False,
        input=facts,
        exclude_sha256=None,
        settings={},
        requester=None,
        reference=None,
    )


TestCrashingRuns = CrashingRuns.TestCase
TestCrashingRuns.settings = settings(
    max_examples=examples(150), stateful_step_count=30, deadline=None
)

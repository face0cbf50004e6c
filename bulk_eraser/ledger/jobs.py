"""The removal jobs that a ledger knows: which is a key's last one, and when it is due.

A job is remembered by a few bytes and the place of its `accepted` line in the file, so memory does
not grow with their number. A key's last `accepted` counts; earlier jids of it are superseded.
"""

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

import msgspec

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.history import ReplayLine, decode_group, jid_number
from bulk_eraser.ledger.reading import ledger_blocks
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.records import Accepted, JobStatus

__all__ = ["JobBook", "JobState", "KnownJob"]

USUAL_LINE = 1 << 10
"""Bytes; a jid may make an `accepted` line much longer."""


class JobState(IntEnum):
    """What the last answer of job-status was. Words that are not known are PENDING."""

    NEVER_ASKED = 0
    PENDING = 1
    DONE = 2
    ERROR = 3
    NOT_FOUND = 4

    @property
    def is_finished(self) -> bool:
        return self >= JobState.DONE


_STATE_OF = {"done": JobState.DONE, "error": JobState.ERROR, "not_found": JobState.NOT_FOUND}


class KnownJob(NamedTuple):
    """A key's last job. `place` is the offset of its `accepted` line; `created_at` and `due_at` are
    seconds since 1970; `run` is the number of the run that created it, from 0."""

    place: int
    created_at: float
    due_at: float
    state: JobState
    run: int


class _Line(ReplayLine):
    at: str = ""
    next_check_at: str | None = None


class _Event(NamedTuple):
    digest: bytes
    jid: int
    state: int
    at: float
    place: int
    run: int


class JobBook:
    """Filled from the proven lines of a ledger, then kept up to date by `note`. Close it when done.

    `first_check_at` gives the time of the first check for the time of creation. Raises as
    `ledger_blocks` and `LedgerScan` do.
    """

    def __init__(self, path: str, first_check_at: Callable[[float], float]) -> None:
        self.run_starts: list[str] = []
        self._first_check_at = first_check_at
        self._events = KeyPartitions("QBdQI")
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        scan, place = LedgerScan(), 0
        try:
            for lines in scan.groups(ledger_blocks(path)):
                self._read(lines, place)
                place = scan.valid_bytes
        except BaseException:  # the descriptor is given back, whatever it was
            self.close()
            raise

    def _read(self, group: bytes, place: int) -> None:
        entries = decode_group(group, _decoder)
        for entry, line in zip(entries, group.split(b"\n"), strict=False):
            if entry.type == "run_started":
                self.run_starts.append(entry.at)
            elif entry.type == "accepted":
                run = len(self.run_starts) - 1
                self._add(entry.key, entry.jid, JobState.NEVER_ASKED, entry.at, place, run)
            elif entry.type == "job_status":
                self._add_status(entry.key, entry.jid, entry.status or "", entry.next_check_at)
            place += len(line) + 1

    def note(self, record: JobStatus) -> None:
        """Take in an answer that was committed."""
        self._add_status(record.key, record.jid, record.status, record.next_check_at)

    def jobs(self) -> Iterator[KnownJob]:
        """Every key's last job, in no order that means anything."""
        for partition in range(PARTITIONS):
            last: dict[bytes, tuple[int, KnownJob]] = {}
            for event in map(_Event._make, self._events.read(partition)):
                if event.state == JobState.NEVER_ASKED:
                    due = self._first_check_at(event.at)
                    job = KnownJob(event.place, event.at, due, JobState.NEVER_ASKED, event.run)
                    last[event.digest] = event.jid, job
                elif (known := last.get(event.digest)) and known[0] == event.jid:
                    state = JobState(event.state)
                    last[event.digest] = event.jid, known[1]._replace(due_at=event.at, state=state)
            for _, job in last.values():
                yield job

    def accepted(self, place: int) -> Accepted:
        """The `accepted` line at this place."""
        size, content = USUAL_LINE, b""
        while b"\n" not in content:
            size *= 4
            content = os.pread(self._file, size, place)
        return _accepted.decode(content[: content.index(b"\n")])

    def close(self) -> None:
        self._events.close()
        os.close(self._file)

    def _add_status(self, key: str, jid: str, status: str, next_check_at: str | None) -> None:
        state = _STATE_OF.get(status, JobState.PENDING)
        self._add(key, jid, state, next_check_at, 0, 0)

    def _add(
        self, key: str, jid: str, state: JobState, at: str | None, place: int, run: int
    ) -> None:
        when = datetime.fromisoformat(at).timestamp() if at else 0.0
        try:
            self._events.add(digest_of(key), jid_number(jid), state, when, place, run)
        except OSError as error:
            raise no_temporary_room(error) from None


_decoder = msgspec.json.Decoder(_Line)
_accepted = msgspec.json.Decoder(Accepted)

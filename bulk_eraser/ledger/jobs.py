"""The removal jobs that a ledger knows: which is a key's last one, and when it is due.

A job is remembered by a few bytes and the place of its `accepted` line in the file, so memory does
not grow with their number. A key's last `accepted` counts; earlier jids of it are superseded.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from enum import IntEnum
from typing import NamedTuple

import msgspec

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import jid_number
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Accepted, JobStatus, RunStarted

__all__ = ["JobBook", "JobState", "KnownJob", "accepted_at"]

USUAL_LINE = 1 << 10
"""Bytes; a jid may make an `accepted` line much longer."""
_accepted = msgspec.json.Decoder(Accepted)


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


_SUPERSEDED = 255
"""Beside the numbers of `JobState`: the key was sent again, so this job is not its last word."""
_STATES = tuple(JobState)
_STATE_OF = {"done": JobState.DONE, "error": JobState.ERROR, "not_found": JobState.NOT_FOUND}


class KnownJob(NamedTuple):
    """A key's last job. `place` is the offset of its `accepted` line in the file; `created_at` and
    `due_at` are seconds since 1970; `received` is the row's date, if it has one; `run` is the
    number of the run that created it, from 0."""

    place: int
    created_at: float
    due_at: float
    state: JobState
    received: date | None
    run: int


class JobBook:
    """Filled from the lines of a ledger, a fold, then kept up to date by `note`.

    `run_starts` has the times at which runs began. Raises `TemporaryFolderFull` when the temporary
    folder is full. Close it when done.
    """

    def __init__(self) -> None:
        self.run_starts: list[str] = []
        self._events = KeyPartitions("QBdQII")
        self._times = _Times()

    def take(self, group: Group) -> None:
        place = group.offset
        for record, line in zip(group.records, group.lines.split(b"\n"), strict=False):
            kind = type(record)
            if kind is Accepted:
                self._add_job(record, place)  # type: ignore[arg-type] # its kind was looked at
            elif kind is JobStatus:
                self.note(record)  # type: ignore[arg-type] # as above
            elif kind is RunStarted:
                self.run_starts.append(record.at)
            place += len(line) + 1

    def note(self, record: JobStatus) -> None:
        """Take in an answer that was committed."""
        state = _STATE_OF.get(record.status, JobState.PENDING)
        self._add(record.key, record.jid, state, self._times[record.next_check_at], 0, 0, 0)

    def supersede(self, digest: bytes) -> None:
        """Leave out the job of a key, if it has one: the key was sent again and has no new job."""
        self._add_event(digest, 0, _SUPERSEDED, 0, 0, 0, 0)

    def jobs(self, first_check_at: Callable[[float], float]) -> Iterator[KnownJob]:
        """Every key's last job, in no order that means anything.

        `first_check_at` gives the time of a job's first check for that of its creation.
        """
        for partition in range(PARTITIONS):
            last: dict[bytes, tuple[int, KnownJob]] = {}
            for digest, jid, number, at, place, received, run in self._events.read(partition):
                if number == JobState.NEVER_ASKED:
                    day = date.fromordinal(received) if received else None
                    due_at = first_check_at(at)
                    job = KnownJob(place, at, due_at, JobState.NEVER_ASKED, day, run)
                    last[digest] = jid, job
                elif number == _SUPERSEDED:
                    last.pop(digest, None)
                elif (known := last.get(digest)) and known[0] == jid:
                    last[digest] = jid, known[1]._replace(due_at=at, state=_STATES[number])
            for _, job in last.values():
                yield job

    def close(self) -> None:
        self._events.close()

    def _add_job(self, accepted: Accepted, place: int) -> None:
        received = date.fromisoformat(accepted.received).toordinal() if accepted.received else 0
        run = len(self.run_starts) - 1
        at = self._times[accepted.at]
        self._add(accepted.key, accepted.jid, JobState.NEVER_ASKED, at, place, received, run)

    def _add(
        self, key: str, jid: str, state: JobState, at: float, place: int, received: int, run: int
    ) -> None:
        self._add_event(digest_of(key), jid_number(jid), state, at, place, received, run)

    def _add_event(self, digest: bytes, *values: float) -> None:
        try:
            self._events.add(digest, *values)
        except OSError as error:
            raise no_temporary_room(error) from None


def accepted_at(read_at: Callable[[int, int], bytes], place: int) -> Accepted:
    """The `accepted` line at `place`; `read_at` returns up to so many bytes from an offset on."""
    size, content = USUAL_LINE, b""
    while b"\n" not in content:
        size *= 4
        content = read_at(place, size)
    return _accepted.decode(content[: content.index(b"\n")])


class _Times(dict[str | None, float]):
    """RFC 3339 → seconds since 1970 (None: 0). A group's lines share their times."""

    MOST = 64

    def __missing__(self, text: str | None) -> float:
        if len(self) >= self.MOST:
            self.clear()
        self[text] = seconds = datetime.fromisoformat(text).timestamp() if text else 0.0
        return seconds

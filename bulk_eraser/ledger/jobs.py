"""The jobs that a ledger knows: which is a key's last one, and when it is due.

A job is remembered by a few bytes and the place of its `accepted` line in the file, so memory does
not grow with their number. A key's last `accepted` counts; earlier jids of it are superseded.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from enum import IntEnum

import msgspec

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import jid_number
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import (
    Accepted,
    Downloaded,
    ExportStatus,
    JobAnswer,
    JobStatus,
    Lost,
    RunStarted,
)

__all__ = ["JobBook", "JobState", "KnownJob", "accepted_at", "accepted_lines"]

WINDOW = 1 << 14
"""Bytes that are read at a time; a jid may make an `accepted` line much longer."""
_accepted = msgspec.json.Decoder(Accepted)


class JobState(IntEnum):
    """What the last answer of job-status was. Words that are not known are PENDING.

    A removal job ends as DONE. An export job that is `done` is READY, which is not the end: its
    result is to be downloaded, and was (DOWNLOADED, or EMPTY where there was no data), or is LOST.
    """

    NEVER_ASKED = 0
    PENDING = 1
    READY = 2
    DONE = 3
    DOWNLOADED = 4
    EMPTY = 5
    ERROR = 6
    NOT_FOUND = 7
    LOST = 8

    @property
    def is_finished(self) -> bool:
        return self >= JobState.DONE

    @property
    def has_ended_well(self) -> bool:
        return JobState.DONE <= self <= JobState.EMPTY

    @property
    def has_failed(self) -> bool:
        return self >= JobState.ERROR


_NEVER_ASKED = int(JobState.NEVER_ASKED)
_SUPERSEDED = 255
"""Beside the numbers of `JobState`: the key was sent again, so this job is not its last word."""
_STATES = tuple(JobState)
_STATE_OF = {"done": JobState.DONE, "error": JobState.ERROR, "not_found": JobState.NOT_FOUND}


_STATE_OF_EXPORT = _STATE_OF | {"done": JobState.READY}
_TELL_OF_JOBS = frozenset({Accepted, JobStatus, ExportStatus, Downloaded, Lost, RunStarted})
_Event = tuple[bytes, int, int, float, int, int, int]
"""Digest of the key, number of the jid, that of a `JobState` or `_SUPERSEDED`, the time of the line
or of the next check, place of the line, date received as its ordinal (0: none), number of the run.
"""


class KnownJob(msgspec.Struct, frozen=True, gc=False):
    """A key's last job. `place` is the offset of its `accepted` line in the file; `created_at` and
    `due_at` are seconds since 1970, the latter of a READY one the time since which it is known to
    be that; `received` is the row's date, if it has one; `run` is the number of the run that
    created it, from 0."""

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
        if _TELL_OF_JOBS.isdisjoint(group.kinds):
            return
        place, events, times = group.offset, list[_Event](), self._times
        for record, line in zip(group.records, group.lines.split(b"\n"), strict=False):
            if type(record) is Accepted:
                day = record.received
                received = date.fromisoformat(day).toordinal() if day else 0
                digest, jid, run = digest_of(record.key), record.jid, len(self.run_starts) - 1
                job = (jid_number(jid), _NEVER_ASKED, times[record.at], place, received, run)
                events.append((digest, *job))
            elif isinstance(record, JobAnswer | Downloaded | Lost):
                events.append(self._answer(record))
            elif isinstance(record, RunStarted):
                self.run_starts.append(record.at)
            place += len(line) + 1
        self._extend(events)

    def note(self, answers: Iterable[JobAnswer | Downloaded | Lost]) -> None:
        """Take in answers that were committed."""
        self._extend(list(map(self._answer, answers)))

    def _answer(self, record: JobAnswer | Downloaded | Lost) -> _Event:
        due_at = 0.0
        if isinstance(record, JobAnswer):
            states = _STATE_OF_EXPORT if isinstance(record, ExportStatus) else _STATE_OF
            state = states.get(record.status, JobState.PENDING)
            due_at = self._times[record.next_check_at]
        elif isinstance(record, Downloaded):
            state = JobState.EMPTY if record.is_empty else JobState.DOWNLOADED
        else:
            state = JobState.LOST
        return digest_of(record.key), jid_number(record.jid), state, due_at, 0, 0, 0

    def supersede(self, digest: bytes) -> None:
        """Leave out the job of a key, if it has one: the key was sent again and has no new job."""
        self._extend([(digest, 0, _SUPERSEDED, 0, 0, 0, 0)])

    def jobs(self, first_check_at: Callable[[float], float]) -> Iterator[KnownJob]:
        """Every key's last job, in no order that means anything.

        `first_check_at` gives the time of a job's first check for that of its creation.
        """
        for partition in range(PARTITIONS):
            last: dict[bytes, _Event] = {}
            answers: dict[bytes, tuple[JobState, float]] = {}
            for event in self._events.read(partition):
                digest, jid, number, at, *_ = event
                if number == _NEVER_ASKED:
                    last[digest] = event
                    answers.pop(digest, None)
                elif number == _SUPERSEDED:
                    last.pop(digest, None)
                elif digest in last and last[digest][1] == jid:
                    was_ready = number == JobState.READY and digest in answers
                    if not (was_ready and answers[digest][0] is JobState.READY):  # ready since then
                        answers[digest] = _STATES[number], at
            for digest, (_, _, _, at, place, received, run) in last.items():
                state, due_at = answers.get(digest) or (JobState.NEVER_ASKED, first_check_at(at))
                day = date.fromordinal(received) if received else None
                yield KnownJob(place, at, due_at, state, day, run)

    def close(self) -> None:
        self._events.close()

    def _extend(self, events: list[_Event]) -> None:
        try:
            self._events.extend(events)
        except OSError as error:
            raise no_temporary_room(error) from None


def accepted_lines(
    read_at: Callable[[int, int], bytes], places: Iterable[int]
) -> Iterator[Accepted]:
    """The `accepted` lines at `places`; `read_at` returns up to so many bytes from an offset on.

    Of places that ascend, those that are near each other are read together.
    """
    begin, window = 0, b""
    for place in places:
        at = place - begin
        end = window.find(b"\n", at) if at >= 0 else -1
        if end < 0:
            begin, at, window = place, 0, _from(read_at, place)
            end = window.index(b"\n")
        yield _accepted.decode(window[at:end])


def accepted_at(read_at: Callable[[int, int], bytes], place: int) -> Accepted:
    """The only one at `place`."""
    return next(accepted_lines(read_at, [place]))


def _from(read_at: Callable[[int, int], bytes], place: int) -> bytes:
    """The bytes from `place` on, at least to the end of the line."""
    size, content = WINDOW, b""
    while b"\n" not in content:
        content = read_at(place, size)
        size *= 4
    return content


class _Times(dict[str | None, float]):
    """RFC 3339 → seconds since 1970 (None: 0). A group's lines share their times."""

    MOST = 64

    def __missing__(self, text: str | None) -> float:
        if len(self) >= self.MOST:
            self.clear()
        self[text] = seconds = datetime.fromisoformat(text).timestamp() if text else 0.0
        return seconds

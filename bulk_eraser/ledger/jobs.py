"""The jobs that a ledger knows: which is a key's last one, when it is due; and the states of keys
that have none, so that `follow` needs no second book of the same keys.

A job is remembered by a few bytes and the place of its `accepted` line in the file, so memory does
not grow with their number. A key's last `accepted` counts; earlier jids of it are superseded.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from datetime import date, datetime
from enum import IntEnum

import msgspec

from bulk_eraser.errors import LedgerDamaged, no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import (
    JOB_PENDING,
    MOST_JUST_SENT,
    NEVER_NAMED,
    OUTCOMES,
    KeyState,
    LastState,
    event_of,
    jid_number,
    state_after,
)
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import (
    Accepted,
    Downloaded,
    ExportStatus,
    JobAnswer,
    Lost,
    RunStarted,
    Sent,
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
    def has_failed(self) -> bool:
        return self >= JobState.ERROR


_SENT, _ACCEPTED = int(KeyState.SENT), int(KeyState.IN_PROGRESS)
_NEVER_ASKED = JobState.NEVER_ASKED  # as for `_SENT` in `key_state`
_NOT_FOUND = 253
"""The event of a `job_status` line with that word, which is one with `error` for the key's state.
"""
_READY, _EMPTY, _LOST = 252, 251, 250
"""Likewise of exports: `done`, a download that was empty, and none."""
_EVENT_OF_KEY: dict[int, int] = {
    _NOT_FOUND: KeyState.JOB_FAILED,
    _READY: JOB_PENDING,
    _EMPTY: KeyState.EXPORTED,
    _LOST: KeyState.JOB_FAILED,
}
_JOB_STATE: dict[int, JobState] = {
    JOB_PENDING: JobState.PENDING,
    KeyState.ERASED: JobState.DONE,
    KeyState.JOB_FAILED: JobState.ERROR,
    _NOT_FOUND: JobState.NOT_FOUND,
    _READY: JobState.READY,
    KeyState.EXPORTED: JobState.DOWNLOADED,
    _EMPTY: JobState.EMPTY,
    _LOST: JobState.LOST,
}
_Event = tuple[bytes, int, int, float, int, int, int]
"""Digest of the key, event (`event_of`, or one of those above), number of the jid, the time of the
line or of the next check, place of the line, date received as its ordinal (0: none), number of the
run. All but the first three are 0 where nobody asks for them."""


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
        self._events = KeyPartitions("BQdQII")
        self._just_sent: dict[str, None] = {}
        self._times = _Times()

    def take(self, group: Group) -> None:
        just_sent, events, times = self._just_sent, list[_Event](), self._times
        place, run = group.offset, len(self.run_starts) - 1
        for record, line in zip(group.records, group.lines.split(b"\n"), strict=False):
            kind = type(record)
            # Nearly all lines are one of these two, so they go the shortest way.
            if kind is Sent:
                key = record.key  # type: ignore[attr-defined] # its kind was looked at
                if key in just_sent:
                    events.append(_plain(key, _SENT))
                just_sent[key] = None
            elif kind is Accepted:
                if run < 0:
                    raise LedgerDamaged(
                        "The ledger holds an accepted key before the first run_started, which no "
                        "command writes. See what `verify` says of it."
                    )
                key, day, at = record.key, record.received, times[record.at]  # type: ignore[attr-defined] # as above
                just_sent.pop(key, None)
                received = date.fromisoformat(day).toordinal() if day else 0
                jid = jid_number(record.jid)  # type: ignore[attr-defined] # as above
                events.append((digest_of(key), _ACCEPTED, jid, at, place, received, run))
            elif isinstance(record, RunStarted):
                self.run_starts.append(record.at)
                run += 1
            elif (event := event_of(record)) is not None:
                key = record.key  # type: ignore[attr-defined] # it has an event
                # A `sent` just before it may be left out if it makes no difference.
                if just_sent.pop(key, self) is None and event not in OUTCOMES:
                    events.append(_plain(key, _SENT))
                if isinstance(record, JobAnswer | Downloaded | Lost):
                    events.append(self._answer(record))
                else:
                    events.append(_plain(key, event))
            place += len(line) + 1
        self._extend(events)
        if len(just_sent) > MOST_JUST_SENT:
            self._remember_sent()

    def note(self, answers: Iterable[JobAnswer | Downloaded | Lost]) -> None:
        """Take in answers that were committed."""
        self._extend(list(map(self._answer, answers)))

    def keys(self, first_check_at: Callable[[float], float]) -> Iterator[KnownJob | KeyState]:
        """Every key's last job, or the state of a key that has none; in no order that means
        anything. Left out is a key of which only answers about a job are known.

        `first_check_at` gives the time of a job's first check for that of its creation.
        """
        self._remember_sent()
        for partition in range(PARTITIONS):
            last: dict[bytes, _Event] = {}
            answers: dict[bytes, _Event] = {}
            others: set[bytes] = set()
            for event in self._events.read(partition):
                digest, what = event[0], event[1]
                if what == _ACCEPTED:
                    last[digest] = event
                    answers.pop(digest, None)
                elif what not in _JOB_STATE:
                    others.add(digest)
                elif digest in last and last[digest][2] == event[2]:
                    before = answers.get(digest)
                    if what != _READY or before is None or before[1] != _READY:  # since the first
                        answers[digest] = event
            for digest, state in self._states_of(others, partition):
                if not state.has_job:
                    last.pop(digest, None)  # the key was sent again and has no new job
                    yield state
            for digest, (_, _, _, at, place, received, run) in last.items():
                day = date.fromordinal(received) if received else None
                if answer := answers.get(digest):
                    yield KnownJob(place, at, answer[3], _JOB_STATE[answer[1]], day, run)
                else:
                    due_at = first_check_at(at)
                    yield KnownJob(place, at, due_at, _NEVER_ASKED, day, run)

    def _states_of(
        self, digests: Container[bytes], partition: int
    ) -> Iterator[tuple[bytes, KeyState]]:
        """Digest and state of keys that need a closer look: most are accepted, and asked about."""
        last: dict[bytes, LastState] = {}
        if digests:
            for digest, what, jid, *_ in self._events.read(partition):
                if digest in digests:
                    event = _EVENT_OF_KEY.get(what, what)
                    last[digest] = state_after(last.get(digest, NEVER_NAMED), event, jid)
        return ((digest, now[0]) for digest, now in last.items())

    def close(self) -> None:
        self._events.close()

    def _answer(self, record: JobAnswer | Downloaded | Lost) -> _Event:
        event, due_at = event_of(record) or JOB_PENDING, 0.0
        if isinstance(record, JobAnswer):
            due_at = self._times[record.next_check_at]
            if record.status == "not_found":
                event = _NOT_FOUND
            elif record.status == "done" and isinstance(record, ExportStatus):
                event = _READY
        elif isinstance(record, Lost):
            event = _LOST
        elif record.is_empty:
            event = _EMPTY
        return digest_of(record.key), event, jid_number(record.jid), due_at, 0, 0, 0

    def _remember_sent(self) -> None:
        self._extend([_plain(key, _SENT) for key in self._just_sent])
        self._just_sent.clear()

    def _extend(self, events: list[_Event]) -> None:
        try:
            self._events.extend(events)
        except OSError as error:
            raise no_temporary_room(error) from None


def _plain(key: str, event: int) -> _Event:
    return digest_of(key), event, 0, 0, 0, 0, 0


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

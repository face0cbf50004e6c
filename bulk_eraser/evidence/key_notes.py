"""What a ledger's lines say of a key beside its state: when, why, and where they stand.

A line is remembered by its kind (type, word, days), of which there are few, and by its place. So
keys alike are counted together, whatever their number, and any of them can be read again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.evidence.summary import OTHER_REASONS
from bulk_eraser.key_partitions import KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import MOST_JUST_SENT, KeyState
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import (
    Accepted,
    Excluded,
    Failed,
    JobStatus,
    Record,
    RunStarted,
    Sent,
    Unknown,
)
from bulk_eraser.sending.deadlines import deadline_of, is_at_risk

__all__ = ["LISTED", "NOWHERE", "Alike", "KeyNotes", "LineKind", "Places"]

LISTED = 60
"""Places that are kept of the keys for which there is one reason to look at them."""
MOST_REASONS = 100
"""Reasons of holds that are told apart; a list may give another one for each key."""
_TO_LOOK_AT = frozenset(
    {KeyState.JOB_FAILED, KeyState.REFUSED, KeyState.FAILED, KeyState.UNKNOWN, KeyState.SENT}
)
_WITH_WORD = _TO_LOOK_AT - {KeyState.SENT}
_NEED_NOTHING = frozenset({KeyState.ERASED, KeyState.EXCLUDED})

_Entry = tuple[bytes, int, int, int, int]
"""Digest of the key, number of the ledger, number of the line's kind, hash of the jid (of this
process; 0: none), place of the line, from 1."""
_About = tuple[type[Record], str, str | None, str | None]
"""Of a line its type, its word, the row's date, and when its job is due."""
_LEDGER: Final = 1
_KIND: Final = 2
_JID: Final = 3
_PLACE: Final = 4
_NONE: _Entry = (b"", 0, 0, -1, 0)
_Numbers = tuple[KeyState, int, int]
"""Of a key its state, and the numbers of the kinds of its last outcome and of the last answer about
its job (0: none)."""

Places = tuple[int, int, int]
"""Number of the ledger; then, from 1, the bytes at which a key's last outcome (or, for want of one,
its last other line) and the last status of its job begin (0: none)."""
NOWHERE: Places = (0, 0, 0)


class LineKind(NamedTuple):
    """What lines have in common. Days are those of UTC, as ordinals.

    `word` is the error, the status as it came, or the reason of a hold; `day` that of the
    line; `since` the day from which the month counts, which `is_dated` unless it is that of the
    run; `due_at` when the job is to be asked about next, None for a job that is finished.
    """

    type: type[Record]
    word: str
    day: int
    since: int
    is_dated: bool
    due_at: str | None = None


class Alike(NamedTuple):
    """What keys have in common: their state, the kind of their last outcome, and that of the last
    answer about their job."""

    state: KeyState
    line: LineKind | None
    status: LineKind | None

    @property
    def word(self) -> str:
        """Why a key is not erased: the error, or the status of its job; empty if neither says."""
        told = self.status if self.state is KeyState.JOB_FAILED else self.line
        return told.word if told and self.state in _WITH_WORD else ""


class KeyNotes:
    """A fold over one or several ledgers, and what comes of it key by key. Close it when done.

    `alike` counts keys by what they have in common, once `join` was called for every partition;
    `places` has the first of those that somebody should look at, by why: their state and its word,
    `held_too_late`, `overdue` or `at_risk` and their state, or `excluded` and the reason of the
    hold. `received` is
    the date of requests that have none of their own. `add_rows`, if given, is told of the keys that
    are joined.
    """

    def __init__(
        self,
        today: date,
        received: date | None = None,
        add_rows: Callable[[Iterable[tuple[KeyState, Places]]], None] | None = None,
    ) -> None:
        self.alike: Counter[Alike] = Counter()
        self.places: dict[tuple[str, str], list[Places]] = {}
        self._today = today
        self._add_rows = add_rows
        self._received = received.toordinal() if received else 0
        self._kinds: list[LineKind] = []
        self._numbers: dict[LineKind, int] = {}
        self._outcomes = KeyPartitions("BIqQ")
        self._others = KeyPartitions("BIqQ")
        self._answers = KeyPartitions("BIqQ")
        self._ledger = -1
        self._day = self._day_of_run = 0
        self._at = ""
        self._known: dict[_About, int] = {}
        self._just_sent: dict[str, tuple[int, str | None]] = {}
        self._hold_reasons: set[str] = set()

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def take(self, ledger: int, group: Group) -> None:
        """Raises `TemporaryFolderFull` when the temporary folder is full."""
        try:
            self._take(ledger, group)
        except OSError as error:
            raise no_temporary_room(error) from None

    def _take(self, ledger: int, group: Group) -> None:
        if ledger != self._ledger:
            self._remember_sent()
            self._ledger, self._day_of_run, self._at = ledger, 0, ""
        just_sent, known, place = self._just_sent, self._known, group.offset + 1
        outcomes, answers, others = list[_Entry](), list[_Entry](), list[_Entry]()
        # Lines of a kind mostly stand together, so most are of the one before.
        accepted: tuple[Any, Any, int] = (None, None, 0)
        answered: tuple[Any, Any, int] = (None, None, 0)
        for record, line in zip(group.records, group.lines.split(b"\n"), strict=False):
            if record.at != self._at:
                self._begin_day(record.at)
                accepted = answered = (None, None, 0)
            kind = type(record)
            # Nearly all lines are one of these three, so they go the shortest way.
            if kind is Sent:
                just_sent[record.key] = place, record.received  # type: ignore[attr-defined] # its kind was looked at
            elif kind is Accepted:
                key, status, received = record.key, record.status, record.received  # type: ignore[attr-defined] # as above
                just_sent.pop(key, None)
                known_status, known_received, number = accepted
                if not number or status != known_status or received != known_received:
                    about: _About = kind, status or "", received, None
                    number = known.get(about) or self._number(about)
                    accepted = status, received, number
                outcomes.append((digest_of(key), ledger, number, hash(record.jid), place))  # type: ignore[attr-defined] # as above
            elif kind is JobStatus:
                status, due_at = record.status, record.next_check_at  # type: ignore[attr-defined] # as above
                known_status, known_due_at, number = answered
                if not number or status != known_status or due_at != known_due_at:
                    about = kind, status, None, due_at
                    number = known.get(about) or self._number(about)
                    answered = status, due_at, number
                answers.append((digest_of(record.key), ledger, number, hash(record.jid), place))  # type: ignore[attr-defined] # as above
            elif kind is Failed or kind is Unknown:
                key = record.key  # type: ignore[attr-defined] # as above
                just_sent.pop(key, None)
                number = self._number((kind, record.error, record.received, None))  # type: ignore[attr-defined] # as above
                outcomes.append((digest_of(key), ledger, number, 0, place))
            elif kind is Excluded:
                word = self._reason_told_apart(record.reason or "")  # type: ignore[attr-defined] # as above
                number = self._number((kind, word, record.received, None))  # type: ignore[attr-defined] # as above
                others.append((digest_of(record.key), ledger, number, 0, place))  # type: ignore[attr-defined] # as above
            elif kind is RunStarted:
                self._remember_sent()
                self._day_of_run = _day_of(record.at)
                known.clear()
                accepted = (None, None, 0)
            place += len(line) + 1
        self._outcomes.extend(outcomes)
        self._answers.extend(answers)
        self._others.extend(others)
        if len(just_sent) > MOST_JUST_SENT:
            self._remember_sent()

    def _reason_told_apart(self, reason: str) -> str:
        if reason not in self._hold_reasons:
            if len(self._hold_reasons) >= MOST_REASONS:
                return OTHER_REASONS
            self._hold_reasons.add(reason)
        return reason

    def _begin_day(self, at: str) -> None:
        """Lines are from now on of this time; those of one day have their kinds in common."""
        self._at, day = at, _day_of(at)
        if day != self._day:
            self._day = day
            self._known.clear()

    def _number(self, about: _About) -> int:
        """The number of a kind of lines, from 1."""
        type_, word, received, due_at = about
        since = _day_of(received) if received else self._received or self._day_of_run
        is_dated, since = bool(received or self._received), since or self._day
        kind = LineKind(type_, word, self._day, since, is_dated, due_at)
        number = self._known[about] = self._numbers.setdefault(kind, len(self._numbers) + 1)
        if number > len(self._kinds):
            self._kinds.append(kind)
        return number

    def _remember_sent(self) -> None:
        """Of keys whose `sent` has no outcome yet, keep where it stands."""
        entries = list[_Entry]()
        for key, (place, received) in self._just_sent.items():
            number = self._number((Sent, "", received, None))
            entries.append((digest_of(key), self._ledger, number, 0, place))
        self._others.extend(entries)
        self._just_sent.clear()

    # ── key by key ──────────────────────────────────────────────────────────────────────────

    def join(
        self,
        partition: int,
        states: Mapping[bytes, KeyState],
        ledger_of: Mapping[bytes, int],
        late: Iterable[bytes] = (),
    ) -> None:
        """Count the keys of a partition. `ledger_of` says of several ledgers which one tells a
        key's state; `late` are keys that came on hold too late."""
        lines, answers = self._last_entries(partition, ledger_of)
        numbers: list[_Numbers] = [
            (
                state,
                (line := lines.get(digest, _NONE))[_KIND],
                # An answer about a job that is not the key's last is none.
                answer[_KIND] if (answer := answers.get(digest, _NONE))[_JID] == line[_JID] else 0,
            )
            for digest, state in states.items()
        ]
        reasons: dict[_Numbers, list[tuple[str, str]]] = {}
        for alike, count in Counter(numbers).items():
            state, kind, status = alike
            told = Alike(state, self._kind_of(kind), self._kind_of(status))
            self.alike[told] += count
            if why := self._reasons(told):
                reasons[alike] = why
        if reasons:
            for digest, alike in zip(states, numbers, strict=True):
                for why_ in reasons.get(alike, ()):
                    places = _places_of(lines.get(digest, _NONE), answers.get(digest, _NONE))
                    self._list(why_, places)
        for digest in filter(states.__contains__, late):
            places = _places_of(lines.get(digest, _NONE), answers.get(digest, _NONE))
            self._list(("held_too_late", states[digest].word), places)
        if self._add_rows is not None:
            self._add_rows(
                (state, _places_of(lines.get(digest, _NONE), answers.get(digest, _NONE)))
                for digest, state in states.items()
            )

    def places_of(self, partition: int, ledger_of: Mapping[bytes, int]) -> dict[bytes, Places]:
        """Where the lines about the keys of a partition stand."""
        lines, answers = self._last_entries(partition, ledger_of)
        return {
            digest: _places_of(line, answers.get(digest, _NONE)) for digest, line in lines.items()
        }

    def close(self) -> None:
        for entries in (self._outcomes, self._others, self._answers):
            entries.close()

    def _last_entries(
        self, partition: int, ledger_of: Mapping[bytes, int]
    ) -> tuple[dict[bytes, _Entry], dict[bytes, _Entry]]:
        """Digest → the key's last outcome (for want of one, its last other line), and → the last
        answer about its job."""
        self._remember_sent()
        others, outcomes, answers = (
            {entry[0]: entry for entry in entries.read(partition)}
            if not ledger_of
            else {
                entry[0]: entry
                for entry in entries.read(partition)
                if ledger_of.get(entry[0], entry[_LEDGER]) == entry[_LEDGER]
            }
            for entries in (self._others, self._outcomes, self._answers)
        )
        return others | outcomes if others else outcomes, answers

    def _kind_of(self, number: int) -> LineKind | None:
        return self._kinds[number - 1] if number > 0 else None

    def _reasons(self, alike: Alike) -> list[tuple[str, str]]:
        """Why somebody should look at a key; for most there is no reason."""
        state, line = alike.state, alike.line
        reasons = [(state.word, alike.word)] if state in _TO_LOOK_AT else []
        if line is not None and state is KeyState.EXCLUDED:
            reasons.append((state.word, line.word))
        if line is not None and state not in _NEED_NOTHING:
            urgency = self.urgency_of(line.since)
            reasons += [(urgency, state.word)] if urgency != "ahead" else []
        return reasons

    def urgency_of(self, since: int) -> str:
        """`overdue`, `at_risk` or `ahead`, for somebody who is not erased."""
        deadline = deadline_of(date.fromordinal(since))
        if deadline < self._today:
            return "overdue"
        return "at_risk" if is_at_risk(deadline, self._today) else "ahead"

    def since(self, at: str) -> int:
        """The day from which a month counts for want of a date, if a run began at this time."""
        return self._received or _day_of(at) or self._today.toordinal()

    def _list(self, why: tuple[str, str], places: Places) -> None:
        listed = self.places.setdefault(why, [])
        listed.append(places)
        if len(listed) >= 2 * LISTED:
            listed[:] = sorted(listed)[:LISTED]


def _places_of(line: _Entry, answer: _Entry) -> Places:
    return line[_LEDGER], line[_PLACE], answer[_PLACE]


def _day_of(at: str) -> int:
    """The ordinal of the day of a time, or of a date; 0 for what is none."""
    try:
        return date.fromisoformat(at[:10]).toordinal()
    except ValueError:
        return 0

"""What the lines of ledgers say of keys, for when all lines of a key are looked at.

Each is kept as an event of a few numbers. A key's `sent` and the `accepted` that follows, which
nearly all lines are, become one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.evidence.accounting import LedgerAccount, RunAccount
from bulk_eraser.evidence.findings import Findings
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.key_state import MOST_JUST_SENT, KeyState, event_of, jid_number
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import (
    Accepted,
    DerivedFrom,
    Download,
    Downloaded,
    ExportStatus,
    JobStatus,
    Lost,
    Record,
    RunFinished,
    RunStarted,
    Sent,
)

__all__ = [
    "SENT_AND_ACCEPTED",
    "AuditFold",
    "Event",
    "JidEntry",
    "LedgerReading",
    "apart",
    "by_ledger",
    "place_of",
    "was_accepted",
]

FORMAT = 1
MOST_ATTEMPTS = (1 << 32) - 1
_OF_EXPORTS = (ExportStatus, Download, Downloaded, Lost)
_SENT, _IN_PROGRESS = KeyState.SENT, KeyState.IN_PROGRESS
SENT_AND_ACCEPTED = 253
"""A key's `sent`, and then in the same run `accepted` with one attempt: kept as one event, with the
number of lines between them in the place of the attempts."""

Event = tuple[bytes, int, int, int, int, int, int]
"""Digest of the key, number of the ledger, event, number of the run, attempts, number of the jid,
line."""
JidEntry = tuple[bytes, bytes, int, int]
"""Digests of a jid and of its key, number of the ledger, line."""


class AuditFold(Protocol):
    """Takes in the groups of several ledgers, one ledger after the other, oldest first."""

    def take(self, ledger: int, group: Group) -> None: ...


class LedgerReading:
    """A fold over one ledger, number `ledger` of those that are looked at: its runs and heads into
    `account`, and what its lines say of keys to `remember`."""

    def __init__(
        self,
        ledger: int,
        account: LedgerAccount,
        scan: LedgerScan,
        expect: set[str],
        findings: Findings,
        folds: Sequence[AuditFold],
        remember: Callable[[list[Event], list[JidEntry]], None],
    ) -> None:
        self._findings = findings
        self._folds = folds
        self._hand_over = remember
        self._account = account
        self._scan = scan
        self._ledger = ledger
        self._expect = expect
        self._run = 0
        self._counts: Counter[type[Record]] = Counter()  # of lines before the first run: no matter
        self._just_sent: dict[str, int] = {}
        self._events: list[Event] = []
        self._jids: list[JidEntry] = []

    def take(self, group: Group) -> None:
        scan = self._scan
        if scan.head in self._expect:
            self._account.kept[scan.head] = (scan.commits, scan.valid_lines)
        for fold in self._folds:
            fold.take(self._ledger, group)
        just_sent, ledger, run = self._just_sent, self._ledger, self._run
        events, jids = self._events, self._jids
        is_of_one_run = RunStarted not in group.kinds
        if is_of_one_run:
            self._counts.update(map(type, group.records))
        for line, record in enumerate(group.records, group.line):
            kind = type(record)
            if not is_of_one_run:
                self._counts[kind] += 1
            # Nearly all lines are one of these two: a key is sent once, and accepted.
            if kind is Sent and record.key not in just_sent:  # type: ignore[attr-defined] # its kind was looked at
                just_sent[record.key] = line  # type: ignore[attr-defined] # as above
            elif kind is Accepted and record.attempts == 1 and record.key in just_sent:  # type: ignore[attr-defined] # as above
                since = line - just_sent.pop(record.key)  # type: ignore[attr-defined] # as above
                digest, jid = digest_of(record.key), record.jid  # type: ignore[attr-defined] # as above
                number = jid_number(jid)
                events.append((digest, ledger, SENT_AND_ACCEPTED, run, since, number, line))
                jids.append((digest_of(jid), digest, ledger, line))
            else:
                self._take_other(record, line)
                run = self._run
        self.flush(all_sent=len(just_sent) > MOST_JUST_SENT)

    def flush(self, *, all_sent: bool = True) -> None:
        """Hand over what was taken; `all_sent` also the `sent` lines whose outcome may follow."""
        if all_sent:
            for key, line in self._just_sent.items():
                self._remember(digest_of(key), KeyState.SENT, 0, "", line)
            self._just_sent.clear()
        self._hand_over(self._events, self._jids)
        self._events.clear()
        self._jids.clear()

    def _take_other(self, record: Record, line: int) -> None:
        # 1. An export must never pass for an erasure.
        if isinstance(record, JobStatus if self._account.facts.export else _OF_EXPORTS):
            self._findings.note("line_of_another_kind", self._ledger, line)
        # 2. About a key. What was held back of it stands before.
        elif (event := event_of(record)) is not None:
            key, jid = record.key, getattr(record, "jid", "")  # type: ignore[attr-defined] # it has an event, so a key
            if sent := self._just_sent.pop(key, 0):
                self._remember(digest_of(key), KeyState.SENT, 0, "", sent)
            attempts = min(max(0, getattr(record, "attempts", 0)), MOST_ATTEMPTS)
            self._remember(digest_of(key), event, attempts, jid, line)
        # 3. About a run.
        elif isinstance(record, RunStarted):
            self._begin_run(record, line)
        elif isinstance(record, RunFinished):
            self._end_run(record, line)
        elif isinstance(record, DerivedFrom):
            self._account.derived_from = record

    def _remember(self, digest: bytes, event: int, attempts: int, jid: str, line: int) -> None:
        entry = (digest, self._ledger, event, self._run, attempts, jid_number(jid), line)
        self._events.append(entry)
        if event == _IN_PROGRESS:
            self._jids.append((digest_of(jid), digest, self._ledger, line))

    def _end_run(self, finished: RunFinished, line: int) -> None:
        run = self._account.runs[-1] if self._account.runs else None
        if run is None or run.finished is not None or run.started.run != finished.run:
            self._findings.note("outside_of_run", self._ledger, line)
        else:
            run.finished = finished

    def _begin_run(self, started: RunStarted, line: int) -> None:
        if started.format != FORMAT:
            raise LedgerDamaged(
                f"The ledger {self._account.path} holds a run_started line that this version "
                "cannot read."
            )
        self.flush()  # with the number of the run before
        runs = self._account.runs
        if runs and bool(runs[0].started.export) is not bool(started.export):
            self._findings.note("line_of_another_kind", self._ledger, line)
        self._account.runs.append(RunAccount(started))
        self._run, self._counts = len(self._account.runs), self._account.runs[-1].lines


def apart(events: list[Event]) -> list[Event]:
    """The events with those apart that were kept as one."""
    apart = list[Event]()
    for event in events:
        digest, ledger, what, run, since, jid, line = event
        if what == SENT_AND_ACCEPTED:
            apart.append((digest, ledger, _SENT, run, 0, 0, line - since))
            apart.append((digest, ledger, _IN_PROGRESS, run, 1, jid, line))
        else:
            apart.append(event)
    return apart


def place_of(event: Event) -> tuple[int, int]:
    """The number of the ledger and the line at which an event begins."""
    _, ledger, what, _, since, _, line = event
    return ledger, line - since if what == SENT_AND_ACCEPTED else line


def was_accepted(jid: int, before: int, events: list[Event]) -> bool:
    """Do the events of a key hold the `accepted` line of a job, before a line?"""
    return any(
        event == _IN_PROGRESS and of_job == jid and line < before
        for _, _, event, _, _, of_job, line in events
    )


def by_ledger(events: list[Event]) -> Iterator[tuple[int, list[Event]]]:
    """The events of one key, apart by ledger."""
    if events[0][1] == events[-1][1]:  # all of one
        yield events[0][1], events
        return
    for number, of_one in groupby(events, itemgetter(1)):
        yield number, list(of_one)

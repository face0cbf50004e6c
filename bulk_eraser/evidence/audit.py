"""Does a ledger account for every row? What `bulk-eraser verify` finds, without its face.

Read are the ledgers alone, commit by commit, and, if one is named, the input. Three questions:

1. Is it what was written? The chain (`ledger.recovery`); the lines of each run must fit each other
   and what its `run_finished` says.
2. Is it all that was written? Only a head that was kept elsewhere can tell (`expect`).
3. What became of every row of the input, and of which other keys does the ledger tell?
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from bulk_eraser.errors import ConfigurationError, LedgerDamaged, no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.history import (
    KeyStanding,
    ReplayLine,
    decode_group,
    event_code,
    jid_number,
    standing_after,
)
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.ledger.reading import ledger_blocks
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.records import DerivedFrom, InputFacts, RunFinished, RunStarted
from bulk_eraser.survey.survey import Survey

__all__ = ["FINDINGS", "Audit", "Findings", "LedgerAccount", "RunAccount"]

EXAMPLES = 5
"""Lines that a finding names at the most."""
FORMAT = 1
MOST_ATTEMPTS = (1 << 32) - 1
_OUTCOMES = {
    KeyStanding.ACCEPTED,
    KeyStanding.FAILED,
    KeyStanding.REFUSED,
    KeyStanding.UNKNOWN,
}

_MAY_HAVE_LEFT = {KeyStanding.SENT, KeyStanding.UNKNOWN, KeyStanding.FAILED}
_TOLD_FIRST = (
    KeyStanding.ACCEPTED,
    KeyStanding.SENT,
    KeyStanding.UNKNOWN,
    KeyStanding.JOB_LOST,
    KeyStanding.FAILED,
    KeyStanding.REFUSED,
    KeyStanding.HELD,
    KeyStanding.NEW,
)
"""A job that was created counts, then what is least certain."""

FINDINGS = {
    "more_attempts_than_sent": "an outcome names no attempt, or more than the run has `sent` lines",
    "settled_twice": "one run has two outcomes for the same key",
    "sent_after_accepted": "a key was sent again although its removal job was accepted before",
    "counts_differ": "a run's counts are not those of its lines, or do not add up",
    "jid_of_several_keys": "one jid stands for several keys, so some of them may have no job",
    "key_with_several_jids": "a key was accepted in several ledgers, so it has several jobs",
}
"""What may be wrong in a ledger whose chain is intact. The first four no run ever writes."""
FORGED = ("more_attempts_than_sent", "settled_twice", "sent_after_accepted", "counts_differ")


class AuditLine(ReplayLine):
    """The fields that an audit looks at, whatever the line's type."""

    attempts: int = 0


@dataclass
class RunAccount:
    """One run: how it began, its lines by type, and how it ended (None: it broke off)."""

    started: RunStarted
    lines: Counter[str] = field(default_factory=Counter)
    finished: RunFinished | None = None

    @property
    def is_conserved(self) -> bool:
        """Do the counts of `run_finished` add up, and agree with what the run wrote?

        Keys that were settled earlier are counted again where they are judged again, so `failed`
        and `unknown` may be more than this run's lines, never fewer.
        """
        if self.finished is None or self.started.input is None:
            return True
        counts = Counter(self.finished.counts)  # what is missing there is 0
        lines, survey = self.lines, self.started.input
        states = sum(count for name, count in counts.items() if name != "rows")
        at_end = self.finished.outcome == "complete"
        return (
            counts["rows"] == states == survey.rows
            and (counts["rejected"], counts["duplicate"]) == (survey.rejected, survey.duplicate)
            and counts["accepted"] == lines["accepted"]
            and counts["failed"] >= lines["failed"]
            and counts["unknown"] >= lines["unknown"]
            and (counts["excluded"] == lines["excluded"] if at_end else True)
        )


@dataclass
class LedgerAccount:
    """One ledger: what its chain proves, and its runs. `damage` says where it is broken.

    `lines` and `bytes` are those of the proven prefix, `tail_bytes` the length of what stands
    behind it. `kept` has, for each expected head that is one of the commits, its number and the
    lines up to it.
    """

    path: str
    head: str = ""
    commits: int = 0
    lines: int = 0
    bytes: int = 0
    tail_bytes: int = 0
    damage: str | None = None
    derived_from: DerivedFrom | None = None
    runs: list[RunAccount] = field(default_factory=list)
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def keys_kind(self) -> str:
        return self.runs[0].started.keys if self.runs else RAW


@dataclass
class Findings:
    """Where something was found: `counts` by word of `FINDINGS`, `places` names the first few.

    A place is the number of the ledger, from 0, and the line in it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def note(self, word: str, ledger: int, line: int) -> None:
        self.counts[word] += 1
        self.places[word] = sorted([*self.places.get(word, []), (ledger, line)])[:EXAMPLES]

    @property
    def is_forged(self) -> bool:
        """Is there something that no run writes?"""
        return any(self.counts[word] for word in FORGED)


class Audit:
    """One or several ledgers, read once each. Close it when done.

    Raises `UsageError` when a ledger cannot be read, `ConfigurationError` when they name keys in
    different ways, `LedgerWriteError` when the temporary folder is full. A broken chain raises
    nothing: see `damage` of its account, which holds what stands before the break.
    """

    def __init__(self, paths: Sequence[str], expect: Sequence[str] = ()) -> None:
        self.findings = Findings()
        self.extra = 0
        self.extra_places: list[tuple[int, int]] = []
        self._events = KeyPartitions("BBIIQQ")
        self._jids = KeyPartitions("16sBQ")
        self._recorded: dict[tuple[object, ...], int] = {}
        self._expect = set(expect)
        self.ledgers = [self._read(number, path) for number, path in enumerate(paths)]
        self._must_name_keys_alike()
        self._look_at_jids()

    def standings(self, partition: int) -> dict[bytes, KeyStanding]:
        """Digest → standing of every key of one partition that any of the ledgers names.

        Where several name it, the first of `_TOLD_FIRST` counts. Finds what is wrong with the keys
        on the way.
        """
        standings: dict[bytes, KeyStanding] = {}
        for digest, keys in self._by_ledger(partition).items():
            found = [_Way(self.findings, number).walk(events) for number, events in keys.items()]
            jids = {jid for standing, jid in found if standing is KeyStanding.ACCEPTED}
            if len(jids) > 1:
                number, events = list(keys.items())[-1]
                self.findings.note("key_with_several_jids", number, events[-1][-1])
            standings[digest] = min((standing for standing, _ in found), key=_TOLD_FIRST.index)
        return standings

    def _must_name_keys_alike(self) -> None:
        """Keys and pseudonyms, or those of two peppers, cannot be compared with each other."""
        runs = [run.started for account in self.ledgers for run in account.runs]
        if len({(run.keys, run.pepper_check) for run in runs}) > 1:
            self.close()
            raise ConfigurationError(
                "These ledgers name keys in different ways (as they are, or as pseudonyms with one "
                "pepper or another). Verify them one by one."
            )

    def must_be_of_one_target(self) -> None:
        """One input is accounted for at one service: raises `ConfigurationError` otherwise."""
        runs = [run.started for account in self.ledgers for run in account.runs]
        targets = sorted({run.target for run in runs})
        if len(targets) > 1:
            raise ConfigurationError(
                f"These ledgers belong to different targets ({', '.join(targets)}), so they cannot "
                "account for one input together. Verify them one by one."
            )

    @property
    def is_rehearsal(self) -> bool:
        return any(run.started.simulated for account in self.ledgers for run in account.runs)

    def recorded_until(self, facts: InputFacts) -> int:
        """Up to which line the rejected rows of this very input are in one of the ledgers."""
        return self._recorded.get(facts.identity(), 0)

    def look_for_extra(self, survey: Survey) -> None:
        """Find the keys that the ledgers name and the input does not have."""
        for partition in range(PARTITIONS):
            known = survey.digests(partition)
            for digest, keys in self._by_ledger(partition).items():
                if digest not in known:
                    self.extra += 1
                    place = next((number, events[0][-1]) for number, events in keys.items())
                    self.extra_places = sorted([*self.extra_places, place])[:EXAMPLES]

    def walk(self) -> None:
        """Look at every key where there is no input to account for."""
        for partition in range(PARTITIONS):
            self.standings(partition)

    def close(self) -> None:
        self._events.close()
        self._jids.close()

    def _by_ledger(
        self, partition: int
    ) -> dict[bytes, dict[int, list[tuple[int, int, int, int, int]]]]:
        """Digest → number of the ledger → events in order: code, run, attempts, jid, line."""
        found: dict[bytes, dict[int, list[tuple[int, int, int, int, int]]]] = {}
        for digest, number, code, run, attempts, jid, line in self._events.read(partition):
            events = found.setdefault(digest, {}).setdefault(number, [])
            events.append((code, run, attempts, jid, line))
        return found

    def _read(self, number: int, path: str) -> LedgerAccount:
        account, scan = LedgerAccount(path), LedgerScan()
        try:
            for lines in scan.groups(ledger_blocks(path)):
                if scan.head in self._expect:
                    account.kept[scan.head] = (scan.commits, scan.valid_lines)
                self._take(account, number, lines, scan.valid_lines - lines.count(b"\n"))
        except LedgerDamaged as error:
            account.damage = str(error)
        except OSError as error:
            raise no_temporary_room(error) from None
        account.head, account.commits = scan.head, scan.commits
        account.lines, account.bytes = scan.valid_lines, scan.valid_bytes
        account.tail_bytes = 0 if account.damage else scan.tail_bytes
        for run in account.runs:
            if not run.is_conserved:
                self.findings.note("counts_differ", number, 0)
        return account

    def _take(self, account: LedgerAccount, number: int, group: bytes, first_line: int) -> None:
        for place, entry in enumerate(decode_group(group, _lines)):
            code = event_code(entry)
            if code is None:
                if entry.type in _ABOUT_RUNS:
                    self._take_run(account, entry.type, group.split(b"\n")[place])
                elif account.runs and entry.type in ("rejected", "duplicate"):
                    self._note_recorded(account.runs[-1].started.input, entry.line)
                continue
            if account.runs:
                account.runs[-1].lines[entry.type] += 1
            digest, line = digest_of(entry.key), first_line + place
            attempts, jid = min(max(0, entry.attempts), MOST_ATTEMPTS), jid_number(entry.jid)
            self._events.add(digest, number, code, len(account.runs), attempts, jid, line)
            if code == KeyStanding.ACCEPTED:
                self._jids.add(digest_of(entry.jid), digest, number, line)

    def _take_run(self, account: LedgerAccount, kind: str, line: bytes) -> None:
        try:
            if kind == "run_started":
                account.runs.append(RunAccount(_started.decode(line)))
            elif kind == "derived_from":
                account.derived_from = _derived.decode(line)
            elif account.runs:
                account.runs[-1].finished = _finished.decode(line)
        except ValueError:
            raise LedgerDamaged(_cannot_read(account.path, kind)) from None
        if account.runs and account.runs[-1].started.format != FORMAT:
            raise LedgerDamaged(_cannot_read(account.path, kind))

    def _note_recorded(self, facts: InputFacts | None, line: int) -> None:
        """`rejected` and `duplicate` rows of an input are written once, in order."""
        if facts is not None:
            identity = facts.identity()
            self._recorded[identity] = max(self._recorded.get(identity, 0), line)

    def _look_at_jids(self) -> None:
        """A service that answers with the same jid twice has made one job (`faults`: N11)."""
        for partition in range(PARTITIONS):
            owners: dict[bytes, bytes] = {}
            for jid, key, number, line in self._jids.read(partition):
                if owners.setdefault(jid, key) != key:
                    self.findings.note("jid_of_several_keys", number, line)


class _Way:
    """One key on its way through one ledger."""

    def __init__(self, findings: Findings, ledger: int) -> None:
        self._findings = findings
        self._ledger = ledger
        self._sent: Counter[int] = Counter()
        self._settled: set[int] = set()

    def walk(self, events: list[tuple[int, int, int, int, int]]) -> tuple[KeyStanding, int]:
        """The key's standing after these events, oldest first, and the number of its jid."""
        now = (KeyStanding.NEW, 0)
        for code, run, attempts, jid, line in events:
            if code == KeyStanding.SENT:
                self._sent[run] += 1
                if now[0] is KeyStanding.ACCEPTED:
                    self._note("sent_after_accepted", line)
            elif code in _OUTCOMES:
                if not 1 <= attempts <= self._sent[run]:
                    self._note("more_attempts_than_sent", line)
                if run in self._settled:
                    self._note("settled_twice", line)
                self._settled.add(run)
            if code == KeyStanding.HELD and now[0] in _MAY_HAVE_LEFT:
                continue  # it was held too late, and is told as what it was before
            now = standing_after(now, code, jid)
        return now

    def _note(self, word: str, line: int) -> None:
        self._findings.note(word, self._ledger, line)


def _cannot_read(path: str, kind: str) -> str:
    return f"The ledger {path} holds a {kind} line that this version cannot read."


_lines = msgspec.json.Decoder(AuditLine)
_started = msgspec.json.Decoder(RunStarted)
_finished = msgspec.json.Decoder(RunFinished)
_derived = msgspec.json.Decoder(DerivedFrom)
_ABOUT_RUNS = ("derived_from", "run_finished", "run_started")

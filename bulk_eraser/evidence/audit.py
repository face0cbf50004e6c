"""Does a ledger account for every row? What `bulk-eraser verify` finds, without its face.

Read are the ledgers alone, commit by commit, and, if one is named, the input. Three questions:

1. Is it what was written? The chain (`ledger.recovery`); the lines of each run must fit each other
   and what its `run_finished` says.
2. Is it all that was written? Only a head that was kept elsewhere can tell (`expect`).
3. What became of every row of the input, and of which other keys does the ledger tell?
"""

from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress

from bulk_eraser.errors import ConfigurationError, LedgerDamaged, UsageError, no_temporary_room
from bulk_eraser.evidence.accounting import LedgerAccount
from bulk_eraser.evidence.findings import EXAMPLES, Findings
from bulk_eraser.evidence.key_events import (
    SENT_AND_ACCEPTED,
    AuditFold,
    Event,
    JidEntry,
    LedgerReading,
    apart,
    by_ledger,
    place_of,
    was_accepted,
)
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions
from bulk_eraser.ledger.disk import is_being_written
from bulk_eraser.ledger.key_state import (
    JOB_PENDING,
    NEVER_NAMED,
    OUTCOMES,
    UNSENT,
    KeyState,
    state_after,
)
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import ledger_blocks, replay
from bulk_eraser.records import InputFacts
from bulk_eraser.shard import Shards

__all__ = ["Audit"]

MOST_LEDGERS = 256
"""Their numbers are kept in a byte."""
_HAS_A_GOOD_JOB = {KeyState.IN_PROGRESS, KeyState.ERASED, KeyState.EXPORTED}
_COUNTS_FIRST = (
    KeyState.ERASED,
    KeyState.EXPORTED,
    KeyState.IN_PROGRESS,
    KeyState.SENT,
    KeyState.UNKNOWN,
    KeyState.JOB_FAILED,
    KeyState.FAILED,
    KeyState.REFUSED,
    KeyState.EXCLUDED,
    KeyState.NOT_SENT,
)
"""Of what several ledgers say of a key: a job that was created, then what is least certain."""

_IN_PROGRESS, _SENT = KeyState.IN_PROGRESS, KeyState.SENT
_ERASED, _EXCLUDED = KeyState.ERASED, KeyState.EXCLUDED
_STATE_OF_JOB = {
    JOB_PENDING: KeyState.IN_PROGRESS,
    int(KeyState.ERASED): KeyState.ERASED,
    int(KeyState.JOB_FAILED): KeyState.JOB_FAILED,
    int(KeyState.EXPORTED): KeyState.EXPORTED,
}


class Audit:
    """One or several ledgers, read once each. Close it when done.

    `extra` counts the keys that the ledgers name and the input does not have, `held_too_late` those
    that came on hold when they may have been sent already; both are complete once `states` was
    asked for every partition. `ledger_of` says of several ledgers which one told the state of a
    key in the partition that was asked for last; `late` are its keys that came on hold too late.
    Each of `folds` is handed what is read as well.

    Raises `UsageError` when a ledger cannot be read or there are too many, `ConfigurationError`
    when they name keys in different ways, `TemporaryFolderFull` when the temporary folder is full.
    A broken chain raises nothing: see `damage` of its account, which holds what stands before the
    break.
    """

    def __init__(
        self,
        paths: Sequence[str],
        expect: Sequence[str] = (),
        folds: Sequence[AuditFold] = (),
    ) -> None:
        if len(paths) > MOST_LEDGERS:
            raise UsageError(
                f"{len(paths):,} ledgers are too many at once. Name {MOST_LEDGERS} at most."
            )
        self.findings = Findings()
        self.folds = folds
        self.ledger_of: dict[bytes, int] = {}
        self.late: set[bytes] = set()
        self.extra = 0
        self.extra_places: list[tuple[int, int]] = []
        self.held_too_late = 0
        self._events = KeyPartitions("BBIIQQ")
        self._jids = KeyPartitions("16sBQ")
        try:
            self.ledgers = [
                self._read(number, path, set(expect)) for number, path in enumerate(paths)
            ]
            self._must_name_keys_alike()
            self._must_be_of_one_kind()
        except BaseException:  # whatever refused it, the temporary files are given back
            self.close()
            raise
        self._look_at_jids()

    def states(
        self, partition: int, known: Collection[bytes] | None = None
    ) -> dict[bytes, KeyState]:
        """Digest → state of every key of one partition that any of the ledgers names.

        Where several name it, the first of `_COUNTS_FIRST` counts. Finds what is wrong with the
        keys on the way, and which of them are not among `known`, those of the input.
        """
        self.ledger_of, self.late = {}, set()
        states, others = self._usual_states(partition)
        for digest, events in self._events_of(partition, others).items():
            states[digest] = self._state(digest, events)
        if known is not None and (extra := {digest for digest in states if digest not in known}):
            self.extra += len(extra)
            places = [place_of(events[0]) for events in self._events_of(partition, extra).values()]
            self.extra_places = sorted([*self.extra_places, *places])[:EXAMPLES]
        return states

    def _usual_states(self, partition: int) -> tuple[dict[bytes, KeyState], set[bytes]]:
        """Digest → state of keys about which nothing can be found: sent and accepted at once, then
        asked about, if at all. The others, or all where there are several ledgers, are to be walked
        through."""
        states: dict[bytes, KeyState] = {}
        if len(self.ledgers) > 1:
            return states, {event[0] for event in self._events.read(partition)}
        jobs: dict[bytes, int] = {}
        others: set[bytes] = set()
        for digest, _, event, _, _, jid, _ in self._events.read(partition):
            if event == SENT_AND_ACCEPTED and digest not in jobs:
                states[digest], jobs[digest] = _IN_PROGRESS, jid
            elif event in _STATE_OF_JOB and jobs.get(digest) == jid:
                states[digest] = _STATE_OF_JOB[event]
            else:
                others.add(digest)
        return states, others

    def _state(self, digest: bytes, events: list[Event]) -> KeyState:
        found = [
            (self._walk(number, of_one), of_one[-1]) for number, of_one in by_ledger(apart(events))
        ]
        # Two shards that both had the key: no harm to the person, but somebody should know.
        jids = {jid for (state, jid), _ in found if state in _HAS_A_GOOD_JOB}
        if len(jids) > 1:
            self.findings.note("key_with_several_jids", *place_of(found[-1][1]))
        told = min((state for (state, _), _ in found), key=_COUNTS_FIRST.index)
        if len(self.ledgers) > 1:
            for (state, _), last in found:
                self.ledgers[last[1]].states[state] += 1
                if state is told:
                    self.ledger_of.setdefault(digest, last[1])
        return told

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
        """Up to which line the rejected rows of this very input are in one of the ledgers. Other
        shards than the first record duplicates only."""
        have_rejected = (
            account.facts
            for account in self.ledgers
            if account.facts.shard is None or account.facts.shard.has_rows_without_key
        )
        return max((it.recorded_until(facts) for it in have_rejected), default=0)

    @property
    def shards(self) -> Shards | None:
        """Those that the ledgers are of; None if one of them had a whole input."""
        with_input = [account.facts for account in self.ledgers if account.facts.last_input]
        shards = [facts.shard for facts in with_input if facts.shard is not None]
        return Shards(shards) if shards and len(shards) == len(with_input) else None

    def walk(
        self, look: Callable[[int, dict[bytes, KeyState]], None] | None = None
    ) -> Counter[KeyState]:
        """Look at every key where there is no input to account for; how many are in which state.

        Each ledger's own `states` are counted as well. `look` is handed those of each partition.
        """
        counts: Counter[KeyState] = Counter()
        for partition in range(PARTITIONS):
            states = self.states(partition)
            counts.update(states.values())
            if look is not None:
                look(partition, states)
        if len(self.ledgers) == 1:
            self.ledgers[0].states = counts
        return counts

    def close(self) -> None:
        self._events.close()
        self._jids.close()

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def _read(self, number: int, path: str, expect: set[str]) -> LedgerAccount:
        account, scan = LedgerAccount(path), LedgerScan()
        with suppress(OSError):  # which reading it will tell
            account.being_written = is_being_written(path)
        fold = LedgerReading(
            number, account, scan, expect, self.findings, self.folds, self._remember
        )
        try:
            try:
                replay(scan, ledger_blocks(path), [account.facts, fold])
            finally:  # what stands before a break counts
                fold.flush()
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

    def _remember(self, events: list[Event], jids: list[JidEntry]) -> None:
        """Keep what lines say of keys, for when all lines of a key are looked at."""
        self._events.extend(events)
        self._jids.extend(jids)

    def _must_name_keys_alike(self) -> None:
        """Keys and pseudonyms, or those of two peppers, cannot be compared with each other."""
        runs = [run.started for account in self.ledgers for run in account.runs]
        if len({(run.keys, run.pepper_check) for run in runs}) > 1:
            raise ConfigurationError(
                "These ledgers name keys in different ways (as they are, or as pseudonyms with one "
                "pepper or another). Verify them one by one."
            )

    @property
    def is_export(self) -> bool:
        """Are these the ledgers of exports, whose jobs erase nobody?"""
        return any(account.facts.export for account in self.ledgers)

    def _must_be_of_one_kind(self) -> None:
        """Exports and erasures do not add up."""
        if len({bool(it.facts.export) for it in self.ledgers if it.runs}) > 1:
            raise ConfigurationError(
                "Some of these ledgers are of exports, others of erasures. Verify them one by one."
            )

    def _look_at_jids(self) -> None:
        """A service that answers with the same jid twice has made one job (`faults`: N11)."""
        for partition in range(PARTITIONS):
            different = len({entry[0] for entry in self._jids.read(partition)})
            if different == self._jids.count(partition):
                continue
            owners: dict[bytes, bytes] = {}
            for jid, key, number, line in self._jids.read(partition):
                if owners.setdefault(jid, key) != key:
                    self.findings.note("jid_of_several_keys", number, line)

    # ── the lines of one key ────────────────────────────────────────────────────────────────

    def _events_of(self, partition: int, digests: Container[bytes]) -> dict[bytes, list[Event]]:
        """Digest → what the ledgers say of these keys, one ledger after the other, oldest first."""
        found: dict[bytes, list[Event]] = {}
        if digests:
            for event in self._events.read(partition):
                if event[0] in digests:
                    found.setdefault(event[0], []).append(event)
        return found

    def _walk(self, ledger: int, events: list[Event]) -> tuple[KeyState, int]:
        """The key's state after the events of one ledger, and the number of its jid.

        Notes what no run writes.
        """
        now = NEVER_NAMED
        sent: Counter[int] = Counter()
        settled: set[int] = set()
        is_held_too_late, last_run = False, self.ledgers[ledger].last_input_run
        for _, _, event, run, attempts, jid, line in events:
            # 1. What no run writes.
            if event == _SENT:
                sent[run] += 1
                if now[0] in _HAS_A_GOOD_JOB:
                    self.findings.note("sent_after_accepted", ledger, line)
            elif event in OUTCOMES:
                if not 1 <= attempts <= sent[run]:
                    self.findings.note("more_attempts_than_sent", ledger, line)
                if run in settled:
                    self.findings.note("settled_twice", ledger, line)
                settled.add(run)
            elif event == UNSENT:
                sent[run] -= 1
                if sent[run] < 0 or now[0] is not _SENT:
                    self.findings.note("unsent_without_sent", ledger, line)
            elif (event >= _ERASED and now[1] != jid) and not was_accepted(jid, line, events):
                self.findings.note("status_without_job", ledger, line)
            # 2. A hold that came too late, if it is still in force.
            if event == _EXCLUDED and now[0].may_have_arrived:
                is_held_too_late = run == last_run
            now = state_after(now, event, jid)
        if is_held_too_late:
            self.held_too_late += 1
            self.late.add(events[0][0])
        # 3. The hold was lifted, but the key's turn has not come.
        if now[0] is _EXCLUDED and not self.ledgers[ledger].facts.is_hold_list_in_force:
            return KeyState.NOT_SENT, 0
        return now[:2]

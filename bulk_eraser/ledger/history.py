"""What earlier runs left behind: whose ledger it is, and the state of every key it names."""

from collections.abc import Mapping

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.key_partitions import KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import (
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
    Duplicate,
    ExportFacts,
    InputFacts,
    Rejected,
    RunFinished,
    RunStarted,
    Sent,
    ShardFacts,
)
from bulk_eraser.shard import Shard

__all__ = ["KeyHistory", "LedgerFacts"]

_TELL_OF_RUNS = frozenset({RunStarted, RunFinished, Rejected, Duplicate})
_SENT, _ACCEPTED, _IN_PROGRESS = int(KeyState.SENT), int(KeyState.IN_PROGRESS), KeyState.IN_PROGRESS
_NEVER_SENT = NEVER_NAMED[2:]
_Event = tuple[bytes, int, int]
"""Digest of the key, event, number of the jid."""


class LedgerFacts:
    """What a ledger says of its runs, a fold.

    `target`, `base`, `keys_kind` and `pepper_check` are those of the first run (None for a new
    ledger; `base` also where no --base-url was given), `had_hold_list` tells whether any run had
    one, `last_input` is what the last run that read an input has read. `last_accepted` is the
    last line of that kind. `is_hold_list_in_force` tells whether that last run had a hold list.
    `had_after_export` tells whether any run sent exported keys only.
    `export` is None for erasures; else the jobs of this ledger are those of an export, and this is
    what its last run says of it. `shard` is that of the first run that read an input (None: it had
    all of it), `rejected` is how many rows without a key the last one had.
    """

    def __init__(self) -> None:
        self.target: str | None = None
        self.base: str | None = None
        self.keys_kind: str | None = None
        self.pepper_check: str | None = None
        self.had_hold_list = False
        self.last_input: InputFacts | None = None
        self.last_accepted: Accepted | None = None
        self.is_hold_list_in_force = False
        self.had_after_export = False
        self.export: ExportFacts | None = None
        self.shard: Shard | None = None
        self.rejected = 0
        self._last_run = ""
        self._last_counts: dict[str, int] | None = None
        self._sent_when_complete: int | None = None
        self._is_of_one_input = True
        self._recorded: dict[tuple[object, ...], int] = {}

    def not_reached(self, states: Mapping[KeyState, int]) -> int:
        """How many keys of the last input were never sent. `states` counts the keys of the ledger,
        those of other inputs as well.

        Never 0 where there may be such keys, unless one of `states` says that not all is well.
        """
        if self.last_input is None:
            return 0
        was_sent = sum(count for state, count in states.items() if state.was_sent)
        # 1. Exact, whether the run broke off or not, and whatever else is in the ledger.
        if self._sent_when_complete is not None:
            return max(0, self._sent_when_complete - was_sent)
        # 2. An older ledger: as the run said at its end, with those that are `sent`.
        if self._last_counts is not None:
            return max(0, self._last_counts.get("not_reached", 0) - states.get(KeyState.SENT, 0))
        # 3. An older ledger whose last run broke off: of its keys all those may be missing that
        #    cannot be shown to be there, because the ledger may name the keys of other inputs.
        if not self._is_of_one_input:
            return self.last_input.keys
        on_hold = states.get(KeyState.EXCLUDED, 0) if self.is_hold_list_in_force else 0
        return max(0, self.last_input.keys - was_sent - on_hold)

    def recorded_until(self, facts: InputFacts) -> int:
        """Up to which line `rejected` and `duplicate` rows of this input are in the ledger."""
        return self._recorded.get(facts.identity(), 0)

    def take(self, group: Group) -> None:
        if Accepted in group.kinds:
            accepted = (record for record in reversed(group.records) if type(record) is Accepted)
            self.last_accepted = next(accepted)
        if _TELL_OF_RUNS.isdisjoint(group.kinds):
            return
        for record in group.records:
            if isinstance(record, RunStarted):
                self._begin_run(record)
            elif isinstance(record, RunFinished) and record.run == self._last_run:
                self._last_counts = record.counts
            # They stand in the order of the rows, so the last line tells how many are there.
            elif isinstance(record, Rejected | Duplicate):
                self._note_recorded(record.line)

    def _begin_run(self, started: RunStarted) -> None:
        if self.target is None:
            self.target, self.base = started.target, started.base
            self.keys_kind, self.pepper_check = started.keys, started.pepper_check
        if started.command == "export" or self.export is None:  # a follow's options are its own
            self.export = started.export or self.export
        self.had_after_export |= started.after_export is not None
        if started.input is not None:
            if self.last_input and self.last_input.identity() != started.input.identity():
                self._is_of_one_input = False
            if self.last_input is None and started.shard is not None:
                self.shard = Shard(started.shard.index, started.shard.of)
            own: InputFacts | ShardFacts = started.shard or started.input
            self.rejected = own.rejected
            self.last_input = started.input
            self._last_run, self._last_counts = started.run, None
            self._sent_when_complete = started.sent_when_complete
            self.is_hold_list_in_force = started.exclude_sha256 is not None
            self.had_hold_list |= self.is_hold_list_in_force

    def _note_recorded(self, line: int) -> None:
        if self.last_input is not None:
            identity = self.last_input.identity()
            self._recorded[identity] = max(self._recorded.get(identity, 0), line)


class KeyHistory:
    """The state of every key, a fold; in flat memory. Close it when done."""

    def __init__(self) -> None:
        self._events = KeyPartitions("BQ")
        self._just_sent: dict[str, None] = {}

    def take(self, group: Group) -> None:
        """Raises `TemporaryFolderFull` when the temporary folder is full."""
        try:
            self._take(group)
        except OSError as error:
            raise no_temporary_room(error) from None

    def _take(self, group: Group) -> None:
        just_sent, events = self._just_sent, list[_Event]()
        for record in group.records:
            kind = type(record)
            # Nearly all lines are one of these two, so they go the shortest way.
            if kind is Sent:
                key = record.key  # type: ignore[attr-defined] # its kind was looked at
                if key in just_sent:
                    events.append((digest_of(key), _SENT, 0))
                just_sent[key] = None
            elif kind is Accepted:
                key = record.key  # type: ignore[attr-defined] # as above
                just_sent.pop(key, None)
                events.append((digest_of(key), _ACCEPTED, jid_number(record.jid)))  # type: ignore[attr-defined] # as above
            elif (event := event_of(record)) is not None:
                key = record.key  # type: ignore[attr-defined] # it has an event
                # A `sent` just before it may be left out if it makes no difference.
                if just_sent.pop(key, self) is None and event not in OUTCOMES:
                    events.append((digest_of(key), _SENT, 0))
                events.append((digest_of(key), event, jid_number(getattr(record, "jid", ""))))
        self._events.extend(events)
        if len(just_sent) > MOST_JUST_SENT:
            self._remember_sent()

    def states(self, partition: int) -> dict[bytes, KeyState]:
        """Digest → state for every key of one partition that the ledger names.

        Raises `OSError` when the temporary folder is full.
        """
        self._remember_sent()
        read = self._events.read
        if {event for _, event, _ in read(partition)} == {_ACCEPTED}:  # a run without trouble
            return dict.fromkeys((digest for digest, *_ in read(partition)), _IN_PROGRESS)
        last: dict[bytes, LastState] = {}
        for digest, event, jid in read(partition):
            if event == _ACCEPTED:  # most of them, and whatever was before
                last[digest] = _IN_PROGRESS, jid, *_NEVER_SENT
            else:
                last[digest] = state_after(last.get(digest, NEVER_NAMED), event, jid)
        return {digest: now[0] for digest, now in last.items()}

    def close(self) -> None:
        self._events.close()

    def _remember_sent(self) -> None:
        self._events.extend([(digest_of(key), _SENT, 0) for key in self._just_sent])
        self._just_sent.clear()

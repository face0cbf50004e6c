"""The survey: read the whole input once before anything is sent, and decide about every row.

Each row gets one byte, its decision. Duplicates, the hold list and what the ledger already knows
are joined by key digest, one partition at a time, so memory does not grow with the number of keys
(one byte a row apart). For a duplicate the line of the first row with its key is kept in an
unlinked file, eight bytes at the row's place; for a key on hold, where the reason stands.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from hashlib import sha256
from itertools import count
from typing import IO, NamedTuple

from bulk_eraser.errors import BulkEraserError, InputError, no_temporary_room
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.key_state import KeyState, Resend
from bulk_eraser.ledger.pseudonyms import RAW, RAW_KEYS, KeyNaming
from bulk_eraser.records import InputFacts, ShardFacts
from bulk_eraser.shard import Part, Shard
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, KeyRows, RejectedRow, Row, RowGroup, rows_of
from bulk_eraser.survey.decision import DECISIONS, Action, Decision, decide
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.torn_end import TornEnd
from bulk_eraser.survey.warnings import EXAMPLES, Finding, LookAlikes, Suspects

__all__ = ["DecidedRow", "Survey"]


class DecidedRow(NamedTuple):
    """A row on the second reading, and what is done with it; `first_line` for a duplicate, `reason`
    for a key on hold, if the hold list gives one."""

    row: Row
    decision: Decision
    first_line: int = 0
    reason: str | None = None


_NEW = Decision(Action.SEND, KeyState.NOT_SENT)
_REJECTED = Decision(Action.REJECT, KeyState.NOT_SENT)
_DUPLICATE = Decision(Action.DUPLICATE, KeyState.NOT_SENT)
_ELSEWHERE = Decision(Action.ELSEWHERE, KeyState.NOT_SENT)
_REJECTED_ELSEWHERE = Decision(Action.REJECT_ELSEWHERE, KeyState.NOT_SENT)
_NOT_ON_HOLD = (Action.SEND, Action.KEEP, Action.AWAIT)
_REJECTS = {decision.code for decision in DECISIONS if decision.is_reject}
_TELL = 50_000
"""Rows between two calls of `progress`."""


class Survey:
    """What the input holds. `read` it, then `decide` with the ledger's states.

    Keys are remembered by their digest as `naming` has it, which is how a ledger knows them. Those
    of `hold_list`, which is set between the two, are not sent; nor are, if it is set, those that
    `exported` does not give for their partition.

    With `part`, only its rows are decided about; all are read and looked at all the same, so that
    what is wrong with the whole input is seen in each part. `own_errors` and `stripped`, and what
    is counted by decision, are of the part; `errors`, `suspects` and `facts` of the whole.

    `errors` counts the rejected rows by word, `error_lines` names the first few lines of each;
    `decisions` counts the rows by what is done with them, once `decide` has run; `kept_lines` names
    the first lines of keys in the states that only --retry-failed sends again, and
    `held_too_late_lines` those of keys on hold that an earlier run may have sent. `is_end_torn`
    tells that the last key seems to be cut off. `keys_of_ledger` counts the keys that the ledger
    names, `keys_sent_before` those of them that were sent, `keys_in_common` those that the input
    has as well.
    """

    def __init__(
        self, reader: InputReader, naming: KeyNaming = RAW_KEYS, part: Part | None = None
    ) -> None:
        self.reader = reader
        self.naming = naming
        self.part = part
        self.hold_list: HoldList | None = None
        self.exported: Callable[[int], set[bytes]] | None = None
        self.rows = 0
        self.stripped = 0
        self.errors: Counter[str] = Counter()
        self.error_lines: dict[str, list[int]] = {}
        self.decisions: Counter[Decision] = Counter()
        self.kept_lines: dict[KeyState, list[int]] = {}
        self._codes = bytearray()
        self._duplicates = 0
        self._keys = KeyPartitions("QQB")
        self._suspects = Suspects()
        self._look_alikes = LookAlikes(naming)
        self.is_end_torn = False
        self.keys_of_ledger = 0
        self.keys_sent_before = 0
        self.keys_in_common = 0
        self._numbers: IO[bytes] | None = None
        self.held_too_late_lines: list[int] = []

    def read(self, progress: Callable[[int], None] = lambda _rows: None) -> None:
        """Read every row. `progress` is called now and then with the number of rows.

        Raises `InputError` when the input is unusable, `TemporaryFolderFull` when the temporary
        folder is full.
        """
        try:
            self._read(progress)
        except OSError as error:
            raise no_temporary_room(error) from None

    def _read(self, progress: Callable[[int], None]) -> None:
        end, told = TornEnd(), 0
        group: RowGroup | None = None
        for group in self.reader.survey_groups():
            if isinstance(group, RejectedRow):
                is_own = self.part is None or self.part.has_rows_without_key
                self._codes.append((_REJECTED if is_own else _REJECTED_ELSEWHERE).code)
                self._note_rejected(group)
            elif isinstance(group, KeyRow):
                self._remember([group.key], group.line, end)
                self.stripped += group.stripped and self._codes[-1] == _NEW.code
            else:
                self._remember(group.keys, group.line, end)
            if len(self._codes) >= told + _TELL:
                told += _TELL
                progress(told)
        self.rows = len(self._codes)
        is_key_last = isinstance(group, KeyRow | KeyRows)
        self.is_end_torn = is_key_last and self.reader.ends_within_a_row and end.is_likely()
        # Of several clusters, one may have no rows this time: then there is nothing to do for it.
        is_empty_part = self.reader.asked.cluster is not None and not self.rows
        if not len(self._keys) and not is_empty_part:
            raise InputError(self._no_key())

    def _remember(self, keys: list[str], line: int, end: TornEnd) -> None:
        """Take in rows that stand one below the other from `line` on."""
        place = len(self._codes)
        digests = list(map(self.naming.digest_of, keys))
        flags = self._suspects.flags_of_all(keys, line)
        self._keys.extend(list(zip(digests, count(place), count(line), flags, strict=False)))
        self._look_alikes.add_all(keys, digests, line)
        self._codes += self._whose(keys, digests)
        end.see(keys)

    def _whose(self, keys: list[str], digests: list[bytes]) -> bytes:
        """The first code of each row: new, or of another shard."""
        if self.part is None:
            return bytes([_NEW.code]) * len(keys)
        has = self.part.has
        # By the key itself: a copy of the batch under pseudonyms has the same shards.
        of_keys = digests if self.naming.kind == RAW else list(map(digest_of, keys))
        return bytes([_NEW.code if has(digest) else _ELSEWHERE.code for digest in of_keys])

    def decide(
        self,
        states: Callable[[int], dict[bytes, KeyState]],
        *,
        retry_failed: bool = False,
    ) -> None:
        """Decide about every row: rejected, else duplicate, else excluded, else by its state.

        `states` gives those of a partition's keys, by digest. Raises `TemporaryFolderFull` when the
        temporary folder is full.
        """
        try:
            self._decide(states, retry_failed)
        except OSError as error:
            raise no_temporary_room(error) from None

    def _decide(self, states: Callable[[int], dict[bytes, KeyState]], retry_failed: bool) -> None:
        code_of = {state: decide(state, retry_failed=retry_failed).code for state in KeyState}
        codes, flag_counts, elsewhere = self._codes, self._suspects.counts, _ELSEWHERE.code
        on_request = {state for state in KeyState if state.resend is Resend.ON_REQUEST}
        self._duplicates = len(self._keys)
        for partition in range(PARTITIONS):
            known = states(partition)
            first: dict[bytes, int] = {}
            for digest, place, line, flags in self._keys.read(partition):
                if digest in first:
                    if codes[place] != elsewhere:
                        codes[place] = _DUPLICATE.code
                        self._keep_number(place, first[digest])
                    continue
                first[digest] = line
                flag_counts[flags] += 1
                if codes[place] == elsewhere:
                    continue
                state = known.get(digest, _NEW.state)
                codes[place] = code_of[state]
                if state in on_request:
                    self._note_kept(state, line)
            self._duplicates -= len(first)
            self.keys_of_ledger += len(known)
            in_state = Counter(known.values())
            self.keys_sent_before += sum(n for state, n in in_state.items() if state.was_sent)
            self.keys_in_common += sum(map(known.__contains__, first))
            groups = self._look_alikes.groups(partition, first)
            if self.hold_list is not None:
                self._exclude(partition, self.hold_list.match(partition, first, groups))
            if self.exported is not None:
                self._await_export(partition, self.exported(partition))
        counts = ((decision, codes.count(decision.code)) for decision in DECISIONS)
        self.decisions = Counter({decision: count for decision, count in counts if count})

    def _note_kept(self, state: KeyState, line: int) -> None:
        self.kept_lines[state] = sorted([*self.kept_lines.get(state, []), line])[:EXAMPLES]

    def _exclude(self, partition: int, held: Mapping[bytes, int]) -> None:
        for digest, place, line, _flags in self._keys.read(partition):
            action, state = DECISIONS[self._codes[place]]
            if digest in held and action not in (Action.DUPLICATE, Action.ELSEWHERE):
                if Decision(Action.EXCLUDE, state).is_held_too_late:
                    self.held_too_late_lines = sorted([*self.held_too_late_lines, line])[:EXAMPLES]
                self._codes[place] = Decision(Action.EXCLUDE, state).code
                if held[digest]:
                    self._keep_number(place, held[digest])

    def _await_export(self, partition: int, exported: set[bytes]) -> None:
        for digest, place, _line, _flags in self._keys.read(partition):
            action, state = DECISIONS[self._codes[place]]
            if action is Action.SEND and digest not in exported:
                self._codes[place] = Decision(Action.AWAIT, state).code

    def count(self, *, action: Action, state: KeyState | None = None) -> int:
        """The rows with which this is done, in whatever state their key is or in this one."""
        return sum(
            rows
            for decision, rows in self.decisions.items()
            if decision.action is action and state in (None, decision.state)
        )

    @property
    def keys_never_sent(self) -> int:
        """How many keys are to be sent for the first time, now or once they are exported."""
        return sum(
            rows
            for decision, rows in self.decisions.items()
            if (decision.is_sent or decision.action is Action.AWAIT) and not decision.state.was_sent
        )

    @property
    def held_too_late(self) -> int:
        """How many keys on hold an earlier run may have sent."""
        return sum(rows for decision, rows in self.decisions.items() if decision.is_held_too_late)

    def digests(self, partition: int) -> set[bytes]:
        """The digests of the input's keys in one partition."""
        return {entry[0] for entry in self._keys.read(partition)}

    def places(self, partition: int) -> Iterator[tuple[bytes, int]]:
        """The digests of one partition's keys, each with the place of its row, from 0."""
        return ((entry[0], entry[1]) for entry in self._keys.read(partition))

    @property
    def own_errors(self) -> Counter[str]:
        """Those of `errors` that the part has."""
        is_own = self.part is None or self.part.has_rows_without_key
        return self.errors if is_own else Counter()

    @property
    def suspects(self) -> dict[str, Finding]:
        """What is odd about keys, by the words of `survey.warnings`; after `decide`."""
        found = self._suspects.found()
        if self._look_alikes.keys:
            found["look_alike"] = Finding(self._look_alikes.keys, self._look_alikes.lines)
        return found

    def keys_sha256(self) -> str:
        """SHA-256 over the keys that are not on hold, in order, each ended by a newline.

        It does not depend on what a ledger knows. Raises as `second_reading`.
        """
        digest = sha256()
        for row, decision, _first_line, _reason in self.second_reading():
            if isinstance(row, KeyRow) and decision.action in _NOT_ON_HOLD:
                digest.update(row.key.encode() + b"\n")
        return digest.hexdigest()

    def facts(self) -> InputFacts:
        """What `run_started` says of the input."""
        reading, fingerprint = self.reader.reading, self.reader.file.fingerprint
        rejected, duplicate = self.errors.total(), self._duplicates
        return InputFacts(
            name=self.reader.file.name,
            bytes=fingerprint.size,
            sha256=fingerprint.sha256,
            format=reading.format or "",
            key_field=reading.key_field,
            header=reading.header,
            delimiter=reading.delimiter,
            encoding=reading.encoding or "",
            sheet=reading.sheet,
            header_row=reading.header_row,
            received_field=reading.received_field,
            received_format=reading.received_format,
            reference_field=reading.reference_field,
            cluster_field=reading.cluster_field,
            cluster=reading.cluster,
            address=self.reader.file.address,
            version=self.reader.file.version,
            rows=self.rows,
            keys=self.rows - rejected - duplicate,
            rejected=rejected,
            duplicate=duplicate,
        )

    def shard_facts(self) -> ShardFacts | None:
        """What `run_started` says of the shard, if only one is meant."""
        if not isinstance(self.part, Shard):
            return None
        rejected = self.count(action=Action.REJECT)
        duplicate = self.count(action=Action.DUPLICATE)
        rows = sum(n for decision, n in self.decisions.items() if not decision.is_elsewhere)
        return ShardFacts(
            index=self.part.index,
            of=self.part.of,
            rows=rows,
            keys=rows - rejected - duplicate,
            rejected=rejected,
            duplicate=duplicate,
        )

    def own_facts(self) -> InputFacts | ShardFacts:
        """Rows, keys, rejected and duplicate rows of the part, or of all where there is none."""
        return self.shard_facts() or self.facts()

    def second_reading(self, but: Collection[Decision] = ()) -> Iterator[DecidedRow]:
        """The rows again, each with what is done with it, counted independently of the first time.

        All are read and counted; those about which one of `but` was decided are left out. Raises
        `InputError` before a row of a changed part, `BulkEraserError` (internal) when the two
        readings do not agree.
        """
        left_out = bytes(decision.code for decision in but)
        counted, place = Counter[int](), 0
        for group in self.reader.checked_groups():
            size = len(group.keys) if isinstance(group, KeyRows) else 1
            codes = self._codes[place : place + size]
            rejects = not _REJECTS.isdisjoint(codes)
            if len(codes) < size or rejects is not isinstance(group, RejectedRow):
                raise BulkEraserError(_disagree(group.line))
            counted.update(codes)
            if codes.strip(left_out):  # in most groups either all or none are left out
                for number, row in enumerate(rows_of([group])):
                    if codes[number] not in left_out:
                        yield self._decided(row, place + number)
            place += size
        if place != self.rows or dict(counted) != {it.code: n for it, n in self.decisions.items()}:
            raise BulkEraserError(_disagree(place))

    def _decided(self, row: Row, place: int) -> DecidedRow:
        decision = DECISIONS[self._codes[place]]
        if decision.is_sent:  # the way of nearly every row
            return DecidedRow(row, decision)
        if decision.action is Action.EXCLUDE and self.hold_list is not None:
            return DecidedRow(row, decision, 0, self.hold_list.reason(self._number(place)))
        is_duplicate = decision.action is Action.DUPLICATE
        return DecidedRow(row, decision, self._number(place) if is_duplicate else 0)

    def close(self) -> None:
        self.reader.file.close()
        self._keys.close()
        self._look_alikes.close()
        if self.hold_list is not None:
            self.hold_list.close()
        if self._numbers is not None:
            self._numbers.close()

    def _note_rejected(self, row: RejectedRow) -> None:
        self.errors[row.error] += 1
        lines = self.error_lines.setdefault(row.error, [])
        if len(lines) < EXAMPLES:
            lines.append(row.line)

    def _keep_number(self, place: int, number: int) -> None:
        if self._numbers is None:
            self._numbers = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        os.pwrite(self._numbers.fileno(), number.to_bytes(8, "little"), place * 8)

    def _number(self, place: int) -> int:
        if self._numbers is None:
            return 0
        return int.from_bytes(os.pread(self._numbers.fileno(), 8, place * 8), "little")

    def _no_key(self) -> str:
        name = self.reader.file.name
        if not self.rows:
            return f"{name} holds no rows: there is nothing to erase."
        reasons = ", ".join(f"{word} ({count})" for word, count in self.errors.most_common())
        reading = self.reader.reading
        others = "" if reading.has_named_columns else ", --delimiter and --format"
        advice = f"Look at --key-field{others}."
        if self.errors.most_common(1)[0][0] == "bad_received":
            form = reading.received_format or "YYYY-MM-DD"
            advice = (
                f"The dates in {reading.received_field} are not written as {form}. Name the way "
                "they are written with --received-format, such as %d.%m.%Y."
            )
        elif reading.format == "xlsx":
            advice = "Look at --key-field and --sheet; keys must be stored as text, not as numbers."
        return f"{name} holds {self.rows} rows, but not one usable key: {reasons}. {advice}"


def _disagree(place: int) -> str:
    return (
        f"The two readings of the input do not agree (near row {place}). Nothing further was "
        "sent. Please report this; the ledger is in order."
    )

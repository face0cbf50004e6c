"""The survey: read the whole input once before anything is sent, and decide about every row.

Each row gets one byte, its fate. Duplicates, the hold list and what the ledger already knows are
joined by key digest, one partition at a time, so memory does not grow with the number of keys
(one byte a row apart). For a duplicate, the line of the first row with its key is kept in an
unlinked file, eight bytes at the row's place.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum
from hashlib import sha256
from typing import IO, NamedTuple

from bulk_eraser.errors import BulkEraserError, InputError
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions
from bulk_eraser.ledger.history import KeyStanding
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.records import InputFacts
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, RejectedRow, Row
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.warnings import EXAMPLES, Finding, LookAlikes, Suspects

__all__ = ["Fate", "RowFate", "Survey"]


class Fate(IntEnum):
    """What becomes of a row. The SEND_… ones are sent; what follows says why."""

    SEND_NEW = 0
    SEND_SENT = 1
    SEND_UNKNOWN = 2
    SEND_FAILED = 3
    SEND_REFUSED = 4
    SEND_HELD = 5
    SEND_JOB_LOST = 6
    REJECTED = 7
    DUPLICATE = 8
    EXCLUDED = 9
    SETTLED = 10
    REFUSED = 11

    @property
    def is_sent(self) -> bool:
        return self <= Fate.SEND_JOB_LOST


_FATES = tuple(Fate)
"""By number: a look-up here takes a fifth of what `Fate(number)` does."""
_FATE_OF = {
    KeyStanding.NEW: Fate.SEND_NEW,
    KeyStanding.SENT: Fate.SEND_SENT,
    KeyStanding.UNKNOWN: Fate.SEND_UNKNOWN,
    KeyStanding.FAILED: Fate.SEND_FAILED,
    KeyStanding.HELD: Fate.SEND_HELD,
    KeyStanding.REFUSED: Fate.REFUSED,
    KeyStanding.ACCEPTED: Fate.SETTLED,
    KeyStanding.JOB_LOST: Fate.SETTLED,
}
_MAY_BE_CARRIED_OUT = {
    Fate.SETTLED,
    Fate.SEND_SENT,
    Fate.SEND_UNKNOWN,
    Fate.SEND_FAILED,
    Fate.SEND_JOB_LOST,
}
"""What an earlier run did cannot be held back any more."""
_RETRIED = {KeyStanding.REFUSED: Fate.SEND_REFUSED, KeyStanding.JOB_LOST: Fate.SEND_JOB_LOST}


class RowFate(NamedTuple):
    """A row on the second reading, with its fate; `first_line` is set for a duplicate."""

    row: Row
    fate: Fate
    first_line: int


class Survey:
    """What the input holds. `read` it, then `decide` with the ledger's standings.

    Keys are remembered by their digest as `naming` has it, which is how a ledger knows them. Those
    of `hold_list`, which is set between the two, are not sent.

    `errors` counts the rejected rows by word, `error_lines` names the first few lines of each;
    `fates` counts the rows by fate once `decide` has run, `last_line_not_sent` is the line of the
    last rejected or duplicate row.
    """

    def __init__(self, reader: InputReader, naming: KeyNaming = RAW_KEYS) -> None:
        self.reader = reader
        self.naming = naming
        self.hold_list: HoldList | None = None
        self.rows = 0
        self.last_line_not_sent = 0
        self.stripped = 0
        self.errors: Counter[str] = Counter()
        self.error_lines: dict[str, list[int]] = {}
        self.fates: Counter[Fate] = Counter()
        self._plan = bytearray()
        self._keys = KeyPartitions("QQB")
        self._suspects = Suspects()
        self._look_alikes = LookAlikes(naming)
        self._first_lines: IO[bytes] | None = None
        self.held_too_late = 0
        self.held_too_late_lines: list[int] = []

    def read(self, progress: Callable[[int], None] = lambda _rows: None) -> None:
        """Read every row. `progress` is called now and then with the number of rows.

        Raises `InputError` when the input is unusable.
        """
        digest_of, flags_of = self.naming.digest_of, self._suspects.flags_of
        remember, look_alike = self._keys.add, self._look_alikes.add
        plan, place = self._plan, -1
        for place, row in enumerate(self.reader.survey_rows()):
            if isinstance(row, KeyRow):
                key, line = row.key, row.line
                digest = digest_of(key)
                remember(digest, place, line, flags_of(key, line))
                look_alike(key, digest, line)
                plan.append(Fate.SEND_NEW)
                if row.stripped:
                    self.stripped += 1
            else:
                plan.append(Fate.REJECTED)
                self._note_rejected(row)
            if not (place + 1) % 50_000:
                progress(place + 1)
        self.rows = place + 1
        if not len(self._keys):
            raise InputError(self._no_key())

    def decide(
        self,
        standings: Callable[[int], dict[bytes, KeyStanding]],
        *,
        retry_failed: bool = False,
    ) -> None:
        """Give every row its fate: rejected, else duplicate, else excluded, else by standing."""
        fate_of = _FATE_OF | (_RETRIED if retry_failed else {})
        for partition in range(PARTITIONS):
            known = standings(partition)
            first: dict[bytes, int] = {}
            for digest, place, line, flags in self._keys.read(partition):
                if digest in first:
                    self._plan[place] = Fate.DUPLICATE
                    self.last_line_not_sent = max(self.last_line_not_sent, line)
                    self._keep_first_line(place, first[digest])
                    continue
                first[digest] = line
                self._plan[place] = fate_of[known.get(digest, KeyStanding.NEW)]
                self._suspects.count(flags)
            groups = self._look_alikes.groups(partition, first)
            if self.hold_list is not None:
                self._exclude(partition, self.hold_list.match(partition, first, groups))
        self.fates = Counter({fate: self._plan.count(fate) for fate in Fate})

    def _exclude(self, partition: int, held: set[bytes]) -> None:
        for digest, place, line, _flags in self._keys.read(partition):
            if digest in held and self._plan[place] != Fate.DUPLICATE:
                if self._plan[place] in _MAY_BE_CARRIED_OUT:
                    self.held_too_late += 1
                    self.held_too_late_lines = sorted([*self.held_too_late_lines, line])[:EXAMPLES]
                self._plan[place] = Fate.EXCLUDED

    def digests(self, partition: int) -> set[bytes]:
        """The digests of the input's keys in one partition."""
        return {entry[0] for entry in self._keys.read(partition)}

    @property
    def to_send(self) -> int:
        return sum(count for fate, count in self.fates.items() if fate.is_sent)

    @property
    def suspects(self) -> dict[str, Finding]:
        """What is odd about keys, by the words of `sources.suspects`; after `decide`."""
        found = self._suspects.found()
        if self._look_alikes.keys:
            found["look_alike"] = Finding(self._look_alikes.keys, self._look_alikes.lines)
        return found

    def keys_sha256(self) -> str:
        """SHA-256 over the keys that are not on hold, in order, each ended by a newline.

        It does not depend on what a ledger knows. Raises as `second_reading`.
        """
        digest = sha256()
        for row, fate, _first_line in self.second_reading():
            if isinstance(row, KeyRow) and fate not in (Fate.DUPLICATE, Fate.EXCLUDED):
                digest.update(row.key.encode() + b"\n")
        return digest.hexdigest()

    def facts(self) -> InputFacts:
        """What `run_started` says of the input."""
        reading, fingerprint = self.reader.reading, self.reader.file.fingerprint
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
            received_field=reading.received_field,
            reference_field=reading.reference_field,
            rows=self.rows,
            keys=self.rows - self.fates[Fate.REJECTED] - self.fates[Fate.DUPLICATE],
            rejected=self.fates[Fate.REJECTED],
            duplicate=self.fates[Fate.DUPLICATE],
        )

    def second_reading(self) -> Iterator[RowFate]:
        """The rows again, each with its fate, counted independently of the first reading.

        Raises `InputError` before a row of a changed part, `BulkEraserError` (internal) when the
        two readings do not agree.
        """
        counted = [0] * len(_FATES)
        place, plan, rows = -1, self._plan, self.rows
        for place, row in enumerate(self.reader.checked_rows()):
            fate = _FATES[plan[place]] if place < rows else None
            if fate is None or (fate is Fate.REJECTED) is not isinstance(row, RejectedRow):
                raise BulkEraserError(_disagree(row.line))
            counted[fate] += 1
            first_line = self._first_line(place) if fate is Fate.DUPLICATE else 0
            yield RowFate(row, fate, first_line)
        if place + 1 != self.rows or counted != [self.fates[fate] for fate in _FATES]:
            raise BulkEraserError(_disagree(place + 1))

    def close(self) -> None:
        self.reader.file.close()
        self._keys.close()
        self._look_alikes.close()
        if self.hold_list is not None:
            self.hold_list.close()
        if self._first_lines is not None:
            self._first_lines.close()

    def _note_rejected(self, row: RejectedRow) -> None:
        self.last_line_not_sent = row.line
        self.errors[row.error] += 1
        lines = self.error_lines.setdefault(row.error, [])
        if len(lines) < EXAMPLES:
            lines.append(row.line)

    def _keep_first_line(self, place: int, line: int) -> None:
        if self._first_lines is None:
            self._first_lines = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        os.pwrite(self._first_lines.fileno(), line.to_bytes(8, "little"), place * 8)

    def _first_line(self, place: int) -> int:
        if self._first_lines is None:
            return 0
        return int.from_bytes(os.pread(self._first_lines.fileno(), 8, place * 8), "little")

    def _no_key(self) -> str:
        name = self.reader.file.name
        if not self.rows:
            return f"{name} holds no rows: there is nothing to erase."
        reasons = ", ".join(f"{word} ({count})" for word, count in self.errors.most_common())
        advice = "Look at --key-field, --delimiter and --format."
        if self.reader.reading.format == "xlsx":
            advice = "Look at --key-field and --sheet; keys must be stored as text, not as numbers."
        return f"{name} holds {self.rows} rows, but not one usable key: {reasons}. {advice}"


def _disagree(place: int) -> str:
    return (
        f"The two readings of the input do not agree (near row {place}). Nothing further was "
        "sent. Please report this; the ledger is in order."
    )

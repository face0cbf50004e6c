"""The hold list: customer keys that must not be sent, for a court case or a contract.

A hold that does not take effect cannot be repaired, so a list that cannot be read to its last row
is refused, and so is an entry that is some key of the input but for case or Unicode form. What it
says of the reasons is kept in an unlinked file, so memory does not grow with it.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO

from bulk_eraser.errors import InputError
from bulk_eraser.key_partitions import KeyPartitions
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, RejectedRow, is_numeric_like
from bulk_eraser.survey.torn_end import TornEnd
from bulk_eraser.survey.warnings import EXAMPLES, folded

__all__ = ["HoldList", "read_hold_list"]

_SIZE_BITS = 10
"""Of the number of a reason, for its size in bytes: 200 characters have 800 at most."""


class HoldList:
    """The keys on hold, and what `match` found of them in the input, partition by partition.

    `entries` counts the different keys of the list, `unknown` those that the input does not have,
    `near_misses` names the first lines of those that it has in another spelling.
    """

    def __init__(self, name: str, naming: KeyNaming = RAW_KEYS) -> None:
        self.name = name
        self.sha256 = ""
        self._digest_of = naming.digest_of
        self.entries = 0
        self.unknown = 0
        self.near_misses: list[int] = []
        self.header_is_a_key = False
        self._header = b""
        self._keys = KeyPartitions("Q")
        self._folds = KeyPartitions("16sQ")
        self._reasons: IO[bytes] | None = None
        self._end = 0
        self._last = ("", 0)

    def add(self, key: str, line: int, reason: str | None = None) -> None:
        digest = self._digest_of(key)
        self._keys.add(digest, self._keep(reason) if reason else 0)
        self._folds.add(self._digest_of(folded(key)), digest, line)

    def note_header(self, name: str) -> None:
        """The first line was taken for a header for want of a name that is known."""
        self._header = self._digest_of(name)

    def match(
        self, partition: int, keys: Mapping[bytes, int], groups: Mapping[bytes, set[bytes]]
    ) -> dict[bytes, int]:
        """The digests on hold in one partition, each with the number of its reason (0: none); the
        first of several counts. `keys` has those of the input, `groups` them by the digest of what
        they fold to, where that is something else."""
        held: dict[bytes, int] = {}
        for digest, number in self._keys.read(partition):
            held[digest] = held.get(digest) or number
        self.entries += len(held)
        self.unknown += len(held.keys() - keys.keys())
        self.header_is_a_key |= self._header in keys
        for fold, digest, line in self._folds.read(partition):
            alike = groups.get(fold, set()) | ({fold} if fold in keys else set())
            if alike and digest not in alike:
                self.near_misses = sorted({*self.near_misses, line})[:EXAMPLES]
        return held

    def reason(self, number: int) -> str | None:
        """The reason with this number; None for 0."""
        if not number or self._reasons is None:
            return None
        size, place = number & ((1 << _SIZE_BITS) - 1), number >> _SIZE_BITS
        return os.pread(self._reasons.fileno(), size, place).decode()

    def close(self) -> None:
        self._keys.close()
        self._folds.close()
        if self._reasons is not None:
            self._reasons.close()

    def _keep(self, reason: str) -> int:
        """The number of a reason; one that is the same as the one before is kept once."""
        if reason != self._last[0]:
            if self._reasons is None:
                self._reasons = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
            raw = reason.encode()
            os.pwrite(self._reasons.fileno(), raw, self._end)
            self._last = reason, self._end << _SIZE_BITS | len(raw)
            self._end += len(raw)
        return self._last[1]


def read_hold_list(
    reader: InputReader,
    naming: KeyNaming = RAW_KEYS,
    *,
    allow_numeric_like: bool = False,
    allow_torn_end: bool = False,
) -> HoldList:
    """The hold list that `reader` reads; reads it to its end and closes it.

    Raises `InputError` when a row of it has no usable key, or one that a spreadsheet seems to
    have rounded, or the last one seems to be cut off: a hold that cannot be read must not be
    passed over.
    """
    held, end, line = HoldList(reader.file.name, naming), TornEnd(), 0
    try:
        for row in _rows(reader, allow_numeric_like):
            line = row.line
            held.add(row.key, line, row.reference)
            end.see([row.key])
        if reader.ends_within_a_row and not allow_torn_end and end.is_likely():
            raise _unreadable(reader, line, "cut off? If it is whole, use --allow torn_end")
        held.sha256 = reader.file.fingerprint.sha256
        name = reader.reading.key_field
        if reader.asked.header and reader.asked.key_field is None and name:
            held.note_header(name)
    except BaseException:  # the list is given back, whatever it was
        held.close()
        raise
    finally:
        reader.file.close()
    return held


def _rows(reader: InputReader, allow_numeric_like: bool) -> Iterator[KeyRow]:
    for row in reader.survey_rows():
        if isinstance(row, RejectedRow):
            raise _unreadable(reader, row.line, row.error)
        if not allow_numeric_like and is_numeric_like(row.key):
            raise _unreadable(reader, row.line, "rounded by a spreadsheet")
        yield row


def _unreadable(reader: InputReader, line: int, why: str) -> InputError:
    return InputError(
        f"The hold list {reader.file.name} has a row without a usable key on line {line} ({why}). "
        "Nothing was sent. Correct it and run again."
    )

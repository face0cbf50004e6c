"""The hold list: customer keys that must not be sent, for a court case or a contract.

A hold that does not take effect cannot be repaired, so a list that cannot be read to its last row
is refused, and so is an entry that is some key of the input but for case or Unicode form.
"""

from collections.abc import Iterator, Mapping

from bulk_eraser.errors import InputError
from bulk_eraser.key_partitions import KeyPartitions
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import RejectedRow, is_numeric_like
from bulk_eraser.survey.torn_end import TornEnd
from bulk_eraser.survey.warnings import EXAMPLES, folded

__all__ = ["HoldList", "read_hold_list"]


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
        self._keys = KeyPartitions("")
        self._folds = KeyPartitions("16sQ")

    def add(self, key: str, line: int) -> None:
        digest = self._digest_of(key)
        self._keys.add(digest)
        self._folds.add(self._digest_of(folded(key)), digest, line)

    def note_header(self, name: str) -> None:
        """The first line was taken for a header for want of a name that is known."""
        self._header = self._digest_of(name)

    def match(
        self, partition: int, keys: Mapping[bytes, int], groups: Mapping[bytes, set[bytes]]
    ) -> set[bytes]:
        """The digests on hold in one partition. `keys` has those of the input, `groups` them by
        the digest of what they fold to, where that is something else."""
        held = {digest for (digest,) in self._keys.read(partition)}
        self.entries += len(held)
        self.unknown += len(held - keys.keys())
        self.header_is_a_key |= self._header in keys
        for fold, digest, line in self._folds.read(partition):
            alike = groups.get(fold, set()) | ({fold} if fold in keys else set())
            if alike and digest not in alike:
                self.near_misses = sorted({*self.near_misses, line})[:EXAMPLES]
        return held

    def close(self) -> None:
        self._keys.close()
        self._folds.close()


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
        for key, line in _rows(reader, allow_numeric_like):
            held.add(key, line)
            end.see([key])
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


def _rows(reader: InputReader, allow_numeric_like: bool) -> Iterator[tuple[str, int]]:
    for row in reader.survey_rows():
        if isinstance(row, RejectedRow):
            raise _unreadable(reader, row.line, row.error)
        if not allow_numeric_like and is_numeric_like(row.key):
            raise _unreadable(reader, row.line, "rounded by a spreadsheet")
        yield row.key, row.line


def _unreadable(reader: InputReader, line: int, why: str) -> InputError:
    return InputError(
        f"The hold list {reader.file.name} has a row without a usable key on line {line} ({why}). "
        "Nothing was sent. Correct it and run again."
    )

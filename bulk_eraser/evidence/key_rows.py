"""Every key that ledgers name, in the order of its last line there, in flat memory."""

from collections.abc import Iterable, Iterator, Sequence

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.evidence.key_notes import Places
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions
from bulk_eraser.ledger.key_state import KeyState

__all__ = ["KeyRows"]

_STATES = tuple(KeyState)
_LAST = (1 << 64) - 1


class KeyRows:
    """Filled in any order; `sizes` are those of the ledgers, in bytes. Close it when done.

    A place in the ledgers stands for the digest of `KeyPartitions`, shifted so that it fills eight
    bytes: each partition, which is that of the first one, holds one stretch of them.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._before = [sum(sizes[:number]) for number in range(len(sizes))]
        self._shift = 64 - sum(sizes).bit_length()
        self._rows = KeyPartitions("BBQQ")

    def add_all(self, keys: Iterable[tuple[KeyState, Places]]) -> None:
        """Raises `TemporaryFolderFull` when the temporary folder is full."""
        entries = []
        for state, (ledger, last, status) in keys:
            # A ledger that is being written may have grown since its size was asked for.
            order = min(_LAST, (self._before[ledger] + last) << self._shift)
            entries.append((order.to_bytes(8, "big"), ledger, state, last, status))
        try:
            self._rows.extend(entries)
        except OSError as error:
            raise no_temporary_room(error) from None

    def __iter__(self) -> Iterator[tuple[KeyState, Places]]:
        for partition in range(PARTITIONS):
            for _, ledger, state, last, status in sorted(self._rows.read(partition)):
                yield _STATES[state], (ledger, last, status)

    def close(self) -> None:
        self._rows.close()

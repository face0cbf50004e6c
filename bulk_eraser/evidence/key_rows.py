"""Every key that ledgers name, in the order of its last line there, in flat memory."""

from collections.abc import Iterable, Iterator, Sequence

from bulk_eraser.errors import no_temporary_room
from bulk_eraser.evidence.key_notes import Places
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions
from bulk_eraser.ledger.key_state import KeyState

__all__ = ["KeyRows"]

_STATES = tuple(KeyState)


class KeyRows:
    """Filled in any order; `sizes` are those of the ledgers, in bytes. Close it when done.

    A place in the ledgers stands for the digest of `KeyPartitions`, so that each partition holds
    one stretch of them.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._before = [sum(sizes[:number]) for number in range(len(sizes))]
        self._stretch = sum(sizes) // PARTITIONS + 1
        self._rows = KeyPartitions("BBQQ")

    def add_all(self, keys: Iterable[tuple[KeyState, Places]]) -> None:
        """Raises `TemporaryFolderFull` when the temporary folder is full."""
        entries = []
        for state, (ledger, last, status) in keys:
            place = self._before[ledger] + max(0, last - 1)
            stretch = min(PARTITIONS - 1, place // self._stretch)
            order = bytes((stretch,)) + place.to_bytes(8, "big")
            entries.append((order, ledger, state, last, status))
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

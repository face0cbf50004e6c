"""Which jids this run was given: a second key with the same one has no job of its own.

A gateway that caches answers everybody with the first key's job. A window of the latest jids would
miss one that comes back late, and a Bloom filter's false alarms would make second jobs, so all are
kept, as 64 bits each: among ten million a false alarm in a whole run has a chance of 3 in a
million, and costs a repeat. That is too much for flat memory, so beyond a million they lie in an
unlinked temporary file, which takes 3 us more for each. It is not mapped into memory: all of it
would count as the process's own.
"""

import os
import tempfile
from array import array
from hashlib import blake2b

from bulk_eraser.errors import no_temporary_room

__all__ = ["GivenJids"]

IN_MEMORY = 16 << 20
"""Bytes; a larger table lies in a file."""
SLOT = 8


class GivenJids:
    """A set of up to `most` jids: a hash table, half of it empty.

    Raises `TemporaryFolderFull`, when it is made, if the temporary folder has no room for it.
    """

    def __init__(self, most: int) -> None:
        size = SLOT << max(10, (2 * most).bit_length())
        number = size // SLOT
        self._slots = array("Q", [0]) * number if size <= IN_MEMORY else _FileSlots(size)
        self._mask = number - 1

    def close(self) -> None:
        """Give its room back."""
        if isinstance(self._slots, _FileSlots):
            self._slots.close()

    def is_new(self, jid: str) -> bool:
        """Was this one not given before? From now on it was."""
        slots, mask = self._slots, self._mask
        mark = int.from_bytes(blake2b(jid.encode(), digest_size=SLOT).digest()) or 1  # 0: empty
        place = mark & mask
        while slots[place]:
            if slots[place] == mark:
                return False
            place = (place + 1) & mask
        slots[place] = mark
        return True


class _FileSlots:
    """As an array of `size` bytes, in a file."""

    def __init__(self, size: int) -> None:
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 closed by close()
        except OSError as error:
            raise no_temporary_room(error) from None
        try:
            # Taken now: later, with keys on their way, is no time to find that it is full.
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            self.close()
            raise no_temporary_room(error) from None

    def __getitem__(self, place: int) -> int:
        return int.from_bytes(os.pread(self._file.fileno(), SLOT, place * SLOT))

    def __setitem__(self, place: int, mark: int) -> None:
        os.pwrite(self._file.fileno(), mark.to_bytes(SLOT), place * SLOT)

    def close(self) -> None:
        self._file.close()

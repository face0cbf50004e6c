"""Which jids this run was given: a second key with the same one has no job of its own.

A gateway that caches answers everybody with the first key's job. A window of the latest jids would
miss one that comes back late, and a Bloom filter's false alarms would make second jobs, so all are
kept, as 64 bits each: among ten million a false alarm in a whole run has a chance of 3 in a
million, and costs a repeat. That is too much for flat memory, so beyond a million they lie in an
unlinked temporary file that is mapped, from which the system takes memory back as it likes.
"""

import mmap
import os
import tempfile
from hashlib import blake2b

from bulk_eraser.errors import no_temporary_room

__all__ = ["GivenJids"]

IN_MEMORY = 16 << 20
"""Bytes; a larger table lies in a file."""
SLOT = 8


class GivenJids:
    """A set of up to `most` jids: a hash table, half of it empty.

    Raises `LedgerWriteError`, when it is made, if the temporary folder has no room for it.
    """

    def __init__(self, most: int) -> None:
        size = SLOT << max(10, (2 * most).bit_length())
        self._slots = memoryview(_room(size)).cast("Q")
        self._mask = size // SLOT - 1

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


def _room(size: int) -> mmap.mmap:
    if size <= IN_MEMORY:
        return mmap.mmap(-1, size)
    try:
        with tempfile.TemporaryFile() as file:
            # Without the room being taken now, a full disk would end the process when it is used.
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise no_temporary_room(error) from None

"""Remember a fixed-size entry for every customer key in flat memory.

Entries are spread by the first byte of the key's digest over 256 partitions. What does not fit
into the memory allowance goes to an unlinked temporary file, so ten million keys cost as much
memory as one million. A partition holds all entries of its keys, in the order they were added,
so two collections can be joined one partition at a time.

The digest is 128 bits of BLAKE2b: among ten million keys an accidental collision (which would
make one customer look like another) has a probability below 10^-24.
"""

import os
import tempfile
from collections.abc import Collection, Iterator
from hashlib import blake2b
from itertools import chain
from struct import Struct
from typing import Any

__all__ = ["PARTITIONS", "KeyPartitions", "digest_of"]

PARTITIONS = 256
MEMORY_ALLOWANCE = 32 << 20
"""Bytes held in memory by one collection before it spills to disk."""


def digest_of(key: str) -> bytes:
    """The 16 bytes under which a customer key is remembered."""
    return blake2b(key.encode(), digest_size=16).digest()


class KeyPartitions:
    """An append-only collection of (digest, values…) entries, read back by partition.

    `layout` describes what follows the digest, as in `struct` (for example `"QQ"`).
    Raises `OSError` where the temporary folder is full.
    """

    def __init__(self, layout: str, allowance: int = MEMORY_ALLOWANCE) -> None:
        self._entry = Struct("=16s" + layout)
        self._pack = self._entry.pack
        self._allowance = allowance // self._entry.size
        self._buffers = [bytearray() for _ in range(PARTITIONS)]
        self._extents: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        self._buffered = 0
        self._spilled = 0
        self._file: Any = None
        self._written = 0

    def __len__(self) -> int:
        return self._written + self._buffered

    def add(self, digest: bytes, *values: float | bytes) -> None:
        """Append one entry to the digest's partition."""
        self.extend([(digest, *values)])

    def extend(self, entries: Collection[tuple[Any, ...]]) -> None:
        """Append many, each as (digest, values…), which takes half the time."""
        buffers, pack = self._buffers, self._pack
        for entry in entries:
            buffers[entry[0][0]] += pack(*entry)
        self._buffered += len(entries)
        if self._buffered >= self._allowance:
            self._spill()

    def read(self, partition: int) -> Iterator[tuple[Any, ...]]:
        """The entries of one partition (0 to 255) as (digest, values…), oldest first."""
        parts = [os.pread(self._file.fileno(), size, at) for at, size in self._extents[partition]]
        parts.append(bytes(self._buffers[partition]))
        return chain.from_iterable(map(self._entry.iter_unpack, parts))

    def count(self, partition: int) -> int:
        """How many entries one partition has."""
        size = sum(size for _, size in self._extents[partition]) + len(self._buffers[partition])
        return size // self._entry.size

    def close(self) -> None:
        """Give memory and disk space back."""
        self._buffers = []
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        for partition, buffer in enumerate(self._buffers):
            if buffer:
                self._extents[partition].append((self._spilled, len(buffer)))
                self._file.write(buffer)
                self._spilled += len(buffer)
                buffer.clear()
        self._file.flush()
        self._written += self._buffered
        self._buffered = 0

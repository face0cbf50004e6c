"""What comes as the result of an export, on its way: a file, its size, its digest, its list."""

import os
from hashlib import sha256
from typing import IO, Self

from bulk_eraser.elevate.archive import Listed, listing

__all__ = ["Incoming"]


class Incoming:
    """A `Sink` into a file of its own, of `most` bytes; a context manager that closes it.

    `size` is how many bytes came; `is_too_large`: more came than a result may have. `trouble` is
    why the disk took no more.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.most = most
        self.size = 0
        self.is_too_large = False
        self.trouble: OSError | None = None
        self.file = file
        self._digest = sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def take(self, part: bytes) -> bool:
        """As `Sink` has it."""
        self.size += len(part)
        if self.size > self.most:
            self.is_too_large = True
            return False
        self._digest.update(part)
        view = memoryview(part)
        try:
            while view:
                view = view[self.file.write(view) or 0 :]
        except OSError as error:
            self.trouble = error
            return False
        return True

    def files(self) -> list[Listed]:
        """What is in it, as its list says. Raises `ValueError` if it is no whole archive."""
        fd = self.file.fileno()
        return listing(lambda at, size: os.pread(fd, size, at), self.size)

    @property
    def sha256(self) -> str:
        """Over all that came, in hexadecimal."""
        return self._digest.hexdigest()

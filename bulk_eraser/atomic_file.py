"""Files that stand beside a ledger: a plan, a receipt, a report. Written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

__all__ = ["replacing", "write_document"]


def write_document(path: str, document: msgspec.Struct) -> None:
    """Put the file there as JSON, mode 0644, in place of what was there. Raises `OSError`."""
    with replacing(path, 0o644) as file:
        file.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


@contextmanager
def replacing(path: str, mode: int) -> Iterator[IO[bytes]]:
    """A file to write into, which is put in place of what was there once all is on disk.

    Raises `OSError`.
    """
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            yield file
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C as well: no half-written file is left
        os.unlink(temporary)
        raise

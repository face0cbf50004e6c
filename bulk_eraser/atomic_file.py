"""Files that stand beside a ledger: a plan, a receipt, a stamp, a report. Whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

__all__ = ["content_of", "replacing", "write_document", "write_whole"]


def write_document(path: str, document: msgspec.Struct) -> None:
    """Put the file there as JSON, mode 0644, in place of what was there. Raises `OSError`."""
    write_whole(path, content_of(document), 0o644)


def content_of(document: msgspec.Struct) -> bytes:
    """What such a file holds."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_whole(path: str, content: bytes, mode: int) -> None:
    """Put the file there, in place of what was there. Raises `OSError`."""
    with replacing(path, mode) as file:
        file.write(content)


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

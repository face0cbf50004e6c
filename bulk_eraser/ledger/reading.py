"""Read a ledger that nobody needs to write: its bytes."""

import os
import stat
from collections.abc import Iterator

from bulk_eraser.errors import LedgerDamaged, UsageError
from bulk_eraser.ledger.file import FIRST_LINES

__all__ = ["ledger_blocks"]

BLOCK = 1 << 20


def ledger_blocks(path: str) -> Iterator[bytes]:
    """The file's bytes. Raises `LedgerDamaged` if it is no ledger, `UsageError` if unreadable."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: a FIFO waits for ever
            raise UsageError(f"The ledger {path} is not a regular file. Name the right one.")
        with open(path, "rb") as file:
            block = file.read(BLOCK)
            start = block[:64].rstrip(b"\0")  # of a first group torn by a power loss
            if not any(start.startswith(first[: len(start)]) for first in FIRST_LINES):
                raise LedgerDamaged(
                    f"{path} is not a ledger of bulk-eraser, or its first line was changed."
                )
            while block:
                yield block
                block = file.read(BLOCK)
    except OSError as error:
        raise UsageError(f"The ledger {path} cannot be read: {error.strerror}.") from None

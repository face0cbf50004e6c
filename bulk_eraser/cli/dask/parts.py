"""The ledgers of one shard where locks do not hold: each attempt writes a part of its own.

    keys.2of4.ledger.ndjson ─copy─► keys.2of4.part1.ledger.ndjson ─copy─► keys.2of4.part2.ledger…

A part begins as a copy of the one before it, so the latest knows all that was done, and is a whole
ledger by itself. No two processes ever write one file. An attempt that was believed to be over and
wrote on did so in its own part, which is then no beginning of the next one, and is sealed as well.
"""

import glob
import os
import re
import shutil
from contextlib import closing

from bulk_eraser.cli.options.ledger_path import LEDGER_SUFFIX, stem_of_ledger
from bulk_eraser.errors import LedgerBusy

__all__ = ["all_that_count", "is_closed", "latest_part", "new_part"]

LAST_LINES = 4096
"""Bytes; `run_finished` and its commit fit into them."""
BLOCK = 1 << 20


def latest_part(ledger: str) -> str:
    """What continues the shard whose first ledger is, or would be, at `ledger`."""
    return [ledger, *_parts(ledger)][-1]


def new_part(ledger: str) -> str:
    """Begin a part. Raises `LedgerBusy` if another process has begun it a moment ago, `OSError`."""
    before = latest_part(ledger)
    path = f"{stem_of_ledger(ledger)}.part{_number(before) + 1}{LEDGER_SUFFIX}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LedgerBusy(
            f"The ledger {path} was begun by another process a moment ago. Run the same command "
            "again when that one has ended."
        ) from None
    with os.fdopen(fd, "wb") as part:
        if os.path.exists(before):
            with open(before, "rb") as file:
                shutil.copyfileobj(file, part, BLOCK)
        part.flush()
        os.fsync(part.fileno())
    return path


def all_that_count(ledger: str) -> list[str]:
    """The parts in which something stands that is not in the latest, and that one, at the end."""
    parts = [path for path in (ledger, *_parts(ledger)) if os.path.exists(path)]
    if not parts:
        return []
    return [path for path in parts[:-1] if not _begins_with(parts[-1], path)] + parts[-1:]


def is_closed(ledger: str) -> bool:
    """Has its last run ended in an orderly way? Also if there is none."""
    try:
        with open(ledger, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LAST_LINES))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return True
    last = lines[-2:]
    return not size or (
        len(last) == 2
        and last[0].startswith(b'{"type":"run_finished",')
        and last[1].startswith(b'{"type":"commit",')
        and last[1].endswith(b"\n")
    )


def _parts(ledger: str) -> list[str]:
    found = glob.glob(f"{glob.escape(stem_of_ledger(ledger))}.part*{LEDGER_SUFFIX}")
    return sorted((path for path in found if _number(path)), key=_number)


def _number(path: str) -> int:
    """Of a part, from 1; 0 for what is none."""
    found = re.search(r"\.part([1-9][0-9]{0,8})$", stem_of_ledger(path))
    return int(found[1]) if found else 0


def _begins_with(path: str, other: str) -> bool:
    """Does the file begin with all of the other?"""
    with closing(open(path, "rb")) as file, closing(open(other, "rb")) as before:
        while block := before.read(BLOCK):
            if file.read(len(block)) != block:
                return False
    return True

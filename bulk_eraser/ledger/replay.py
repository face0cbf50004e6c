"""Read a ledger back, once: proven lines, decoded as the records they are, handed to folds.

    bytes ─► groups (recovery) ─► records ─► folds: history, jobs, audit

Whoever wants to know something of a ledger is a fold. Lines of a type that a later version
introduced are read as a bare `Record`, so that every line has its place.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bulk_eraser.errors import LedgerDamaged, UsageError
from bulk_eraser.ledger.recovery import LedgerScan, begins_like_a_ledger
from bulk_eraser.records import (
    Accepted,
    DerivedFrom,
    Download,
    Downloaded,
    Duplicate,
    Excluded,
    ExportStatus,
    Failed,
    JobStatus,
    LeafSecret,
    Lost,
    ProbeAnswered,
    ProbeAsked,
    ProbeDrawn,
    ProbeFailed,
    ProbeKey,
    ProbeSent,
    ProbeStatus,
    Record,
    Recovered,
    Rejected,
    Root,
    RunFinished,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)

__all__ = ["KNOWN_FIELDS", "KNOWN_KINDS", "Fold", "Group", "groups_of", "ledger_blocks", "replay"]

BLOCK = 1 << 20

_Line = (
    RunStarted
    | Sent
    | Accepted
    | Failed
    | Unknown
    | Rejected
    | Duplicate
    | Excluded
    | JobStatus
    | Recovered
    | RunFinished
    | DerivedFrom
    | Unsent
    | ExportStatus
    | Download
    | Downloaded
    | Lost
    | ProbeDrawn
    | ProbeKey
    | ProbeSent
    | ProbeAsked
    | ProbeFailed
    | ProbeStatus
    | ProbeAnswered
    | LeafSecret
    | Root
)
_decoder: "msgspec.json.Decoder[_Line]" = msgspec.json.Decoder(_Line)
KNOWN_KINDS: tuple[type[Record], ...] = _Line.__args__
_KNOWN = tuple(b'{"type":"%b"' % str(kind.__struct_config__.tag).encode() for kind in KNOWN_KINDS)
KNOWN_FIELDS = {
    str(kind.__struct_config__.tag): frozenset({"type", *kind.__struct_fields__})
    for kind in KNOWN_KINDS
}
"""By the type of a line, what this version knows of it."""
_OF_A_LATER_VERSION = Record()


class Group(NamedTuple):
    """One committed group: its records, and their lines as they stand in the file.

    `offset` is the byte, from 0, and `line` the line, from 1, at which the first of them begins.
    `kinds` are the types of the records.
    """

    records: Sequence[Record]
    lines: bytes
    offset: int
    line: int
    kinds: frozenset[type[Record]]


class Fold(Protocol):
    """Takes in the groups of a ledger, oldest first."""

    def take(self, group: Group) -> None: ...


def replay(scan: LedgerScan, blocks: Iterator[bytes], folds: Collection[Fold]) -> None:
    """Hand each proven group to every one of `folds`; `scan` is up to date while they see it.

    Raises `LedgerDamaged` as the scan does, or for a proven line that does not hold what its type
    must, and what the folds raise. Without folds nobody asks what the lines hold.
    """
    if not folds:
        for _ in scan.groups(blocks):
            pass
        return
    for group in groups_of(scan, blocks):
        for fold in folds:
            fold.take(group)


def groups_of(scan: LedgerScan, blocks: Iterator[bytes]) -> Iterator[Group]:
    """The proven groups one by one; raises as `replay`."""
    offset, line = scan.valid_bytes, scan.valid_lines + 1
    for lines in scan.groups(blocks):
        records = _decode(lines)
        yield Group(records, lines, offset, line, frozenset(map(type, records)))
        offset, line = scan.valid_bytes, scan.valid_lines + 1


def ledger_blocks(path: str) -> Iterator[bytes]:
    """The bytes of a ledger that nobody needs to write.

    Raises `LedgerDamaged` if it is no ledger, `UsageError` if it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: a FIFO waits for ever
            raise UsageError(f"The ledger {path} is not a regular file. Name the right one.")
        with open(path, "rb") as file:
            fd = file.fileno()
            if not begins_like_a_ledger(
                lambda size, offset: os.pread(fd, size, offset), os.fstat(fd).st_size
            ):
                raise LedgerDamaged(
                    f"{path} is not a ledger of bulk-eraser, or its first line was changed."
                )
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise UsageError(f"The ledger {path} cannot be read: {error.strerror}.") from None


def _decode(lines: bytes) -> Sequence[Record]:
    try:
        return _decoder.decode_lines(lines)
    except ValueError:  # msgspec's errors: one of the lines is of another kind
        return [_decode_line(line) for line in lines.split(b"\n")[:-1]]


def _decode_line(line: bytes) -> Record:
    try:
        return _decoder.decode(line)
    except ValueError:
        if line.startswith(_KNOWN):
            raise LedgerDamaged(
                "The ledger holds a line that this version cannot read. Nothing was written. "
                "Use the version of bulk-eraser that wrote it, or a newer one."
            ) from None
        return _OF_A_LATER_VERSION

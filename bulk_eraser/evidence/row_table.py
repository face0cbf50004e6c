"""The table of `verify --rows`: what became of every row, and what the ledgers say of its key.

Where the lines about a key stand is remembered by digest (`key_notes`), then kept in an unlinked
file at the row's place, so memory does not grow with the number of rows.
"""

import csv
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from struct import Struct
from typing import IO, Any

import msgspec

from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.evidence.key_notes import NOWHERE, Places
from bulk_eraser.records import Accepted, Excluded, Failed, JobStatus, Sent, Unknown
from bulk_eraser.sending.deadlines import deadline_of
from bulk_eraser.sources.rows import KeyRow
from bulk_eraser.survey.survey import DecidedRow

__all__ = [
    "COLUMNS",
    "AddRow",
    "LedgerLines",
    "RowPlaces",
    "cells_of_key",
    "cells_of_row",
    "new_table",
    "table_writer",
]

COLUMNS = (
    *("line", "key", "state", "error", "reference"),
    *("received", "jid", "accepted_at", "job_status", "due"),
)
USUAL_LINE = 1 << 10
"""Bytes; a jid may make a line much longer."""
_WITH_JOB = {"exported", "erased", "in_progress", "job_failed"}
_WITH_ERROR = {"refused", "failed", "unknown", "sent"}
_FORMULA = re.compile(r"""(^|[;\t\r\n])(?=["'\s]*[=+\-@\t\r])""")
"""Where a cell begins that a spreadsheet would run; one whose separator is `;` splits at it."""
_place = Struct("<BQQ")
_line_decoder = msgspec.json.Decoder(Accepted | Failed | Unknown | JobStatus | Sent | Excluded)

AddRow = Callable[[Mapping[str, object]], None]
"""Takes the cells of a row by the names of the columns."""


class RowPlaces:
    """Where the ledgers' lines about keys stand, by the place of the row. Close it when done."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def put(self, row: int, places: Places) -> None:
        """Raises `OSError` when the temporary folder is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        os.pwrite(self._file.fileno(), _place.pack(*places), row * _place.size)

    def at(self, row: int) -> Places:
        if self._file is None:
            return NOWHERE
        packed = os.pread(self._file.fileno(), _place.size, row * _place.size)
        return _place.unpack(packed) if len(packed) == _place.size else NOWHERE

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class LedgerLines:
    """The lines of the ledgers, read again one by one. `run_starts` has the times at which each
    ledger's runs began, `received` is the date of requests that have none. Close it when done.

    Raises `OSError` where a ledger cannot be read.
    """

    def __init__(
        self,
        ledgers: Sequence[str],
        run_starts: Sequence[list[str]],
        received: date | None = None,
    ) -> None:
        self._run_starts = run_starts
        self._received = received
        with ExitStack() as opened:
            self._files = [opened.enter_context(open(ledger, "rb")) for ledger in ledgers]
            self._opened = opened.pop_all()

    def read(self, ledger: int, place: int) -> Any:
        size, content = USUAL_LINE, b""
        while b"\n" not in content:
            size *= 4
            content = os.pread(self._files[ledger].fileno(), size, place - 1)
        return _line_decoder.decode(content[: content.index(b"\n")])

    def day_of_run(self, ledger: int, at: str) -> str:
        """The day from which the month counts, for want of a date of the row's own: the day on
        which the run began that wrote a line at this time."""
        if self._received is not None:
            return self._received.isoformat()
        starts = self._run_starts[ledger]
        return starts[max(0, bisect_right(starts, at) - 1)][:10]

    def close(self) -> None:
        self._opened.close()


@contextmanager
def new_table(path: str) -> Iterator[AddRow]:
    """A CSV that is not there yet, and a way to add a row to it.

    Raises `UsageError` for a file that is there already, `LedgerWriteError` if it cannot be
    written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", newline="") as file:
            yield table_writer(file)
    except FileExistsError:
        raise UsageError(f"{path} already exists. Name another file with --rows.") from None
    except OSError as error:
        raise LedgerWriteError(
            f"The table {path} cannot be written: {error.strerror}. Name another place with --rows."
        ) from None


def table_writer(file: IO[str]) -> AddRow:
    """Write the head of a table into `file`; returns what adds a row to it. Read by a spreadsheet,
    no cell is a formula."""
    table = csv.writer(file)
    table.writerow(COLUMNS)

    def add(cells: Mapping[str, object]) -> None:
        table.writerow([_guarded(str(cells.get(name) or "")) for name in COLUMNS])

    return add


def cells_of_key(state: str, places: Places, lines: LedgerLines) -> dict[str, object]:
    """What the ledgers say of a key in this state, by the names of the columns."""
    ledger, last, status = places
    if not last:
        return {"state": state}
    record = lines.read(ledger, last)
    cells: dict[str, object] = {"state": state}
    cells |= {name: getattr(record, name) for name in ("line", "key", "reference", "received")}
    if isinstance(record, Accepted) and state in _WITH_JOB:
        cells |= {"jid": record.jid, "accepted_at": record.at}
        job: JobStatus | None = lines.read(ledger, status) if status else None
        if job is not None and job.jid == record.jid:
            cells["job_status"] = job.status
    elif isinstance(record, Failed | Unknown) and state in _WITH_ERROR:
        cells["error"] = record.error
    if state in _WITH_JOB | _WITH_ERROR:
        day = record.received or lines.day_of_run(ledger, record.at)
        cells["due"] = deadline_of(date.fromisoformat(day))
    return cells


def cells_of_row(decided: DecidedRow, places: Places, lines: LedgerLines) -> dict[str, object]:
    """What the input says of a row, and the ledgers of its key."""
    row, state = decided.row, decided.decision.word
    cells: dict[str, object] = {"line": row.line, "state": state}
    if not isinstance(row, KeyRow):
        return cells | {"error": row.error}
    known = cells_of_key(state, places, lines) if state in _WITH_JOB | _WITH_ERROR else {}
    of_row = {"key": row.key, "reference": row.reference, "received": row.received}
    cells = known | cells | {name: cell for name, cell in of_row.items() if cell}
    if row.received:
        cells["due"] = deadline_of(date.fromisoformat(row.received))
    return cells


def _guarded(cell: str) -> str:
    return _FORMULA.sub(r"\1'", cell)

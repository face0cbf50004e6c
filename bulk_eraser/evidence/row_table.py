"""The table of `verify --rows`: what became of every row, and what the ledgers say of its key.

Where the lines about a key stand is remembered by digest (`key_notes`), then kept in an unlinked
file at the row's place, so memory does not grow with the number of rows.
"""

import csv
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import lru_cache
from struct import Struct
from typing import IO, Any, NamedTuple

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
    "Cells",
    "LedgerLines",
    "RowPlaces",
    "cells_of_key",
    "cells_of_row",
    "new_table",
    "table_writer",
]


class Cells(NamedTuple):
    """What the table has of a row; empty where nothing is known."""

    line: int | str = ""
    key: str = ""
    state: str = ""
    error: str = ""
    reference: str = ""
    received: str = ""
    jid: str = ""
    accepted_at: str = ""
    job_status: str = ""
    due: str = ""
    hold_reason: str = ""


COLUMNS = Cells._fields
WINDOW = 1 << 14
"""Bytes that are read of a ledger at a time: rows stand there mostly in the order of the table."""
WINDOWS = 4
"""That are kept: outcomes stand in one part of a ledger, answers about their jobs in another."""
_WITH_JOB = {"exported", "erased", "in_progress", "job_failed"}
_WITH_ERROR = {"refused", "failed", "unknown", "sent"}
_ON_HOLD = "excluded"
_FORMULA = re.compile(r"""(^|[;\t\r\n])(?=["'\s]*[=+\-@\t\r])""")
"""Where a cell begins that a spreadsheet would run; one whose separator is `;` splits at it."""
_SEPARATORS = (";", "\t", "\r", "\n")
_place = Struct("<BQQ")
_line_decoder = msgspec.json.Decoder(Accepted | Failed | Unknown | JobStatus | Sent | Excluded)

AddRow = Callable[[Cells], None]
"""Takes the cells of a row."""


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
        self._windows: dict[tuple[int, int], bytes] = {}
        self._last_at, self._last_day = (-1, ""), ""
        with ExitStack() as opened:
            self._files = [opened.enter_context(open(ledger, "rb")) for ledger in ledgers]
            self._opened = opened.pop_all()

    def read(self, ledger: int, place: int) -> Any:
        """The line that begins there, from 1."""
        number, start = divmod(place - 1, WINDOW)
        window = self._windows.get((ledger, number)) or self._window(ledger, number)
        if (end := window.find(b"\n", start)) < 0:
            return _line_decoder.decode(self._long_line(ledger, place - 1))
        return _line_decoder.decode(window[start:end])

    def _window(self, ledger: int, number: int) -> bytes:
        window = os.pread(self._files[ledger].fileno(), WINDOW, number * WINDOW)
        if len(self._windows) >= WINDOWS:
            del self._windows[next(iter(self._windows))]
        self._windows[ledger, number] = window
        return window

    def _long_line(self, ledger: int, start: int) -> bytes:
        """One that goes on behind its window."""
        content = b""
        while b"\n" not in content:
            more = os.pread(self._files[ledger].fileno(), WINDOW, start + len(content))
            if not more:
                raise UsageError("A ledger became shorter while it was read. Try again.")
            content += more
        return content[: content.index(b"\n")]

    def day_of_run(self, ledger: int, at: str) -> str:
        """The day from which the month counts, for want of a date of the row's own: the day on
        which the run began that wrote a line at this time."""
        if self._received is not None:
            return self._received.isoformat()
        if (ledger, at) != self._last_at:  # the lines of a group have the same
            starts = self._run_starts[ledger]
            self._last_at = ledger, at
            self._last_day = starts[max(0, bisect_right(starts, at) - 1)][:10]
        return self._last_day

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

    def add(cells: Cells) -> None:
        line, *texts = cells
        table.writerow(cells if _are_harmless(texts) else (line, *map(_guarded, texts)))

    return add


def cells_of_key(state: str, places: Places, lines: LedgerLines) -> Cells:
    """What the ledgers say of a key in this state."""
    ledger, last, status = places
    if not last:
        return Cells(state=state)
    record = lines.read(ledger, last)
    error = jid = accepted_at = job_status = due = hold_reason = ""
    if type(record) is Accepted:
        if state in _WITH_JOB:
            jid, accepted_at = record.jid, record.at
            job: JobStatus | None = lines.read(ledger, status) if status else None
            if job is not None and job.jid == record.jid:
                job_status = job.status
    elif isinstance(record, Excluded):
        hold_reason = (record.reason or "") if state == _ON_HOLD else ""
    elif isinstance(record, Failed | Unknown) and state in _WITH_ERROR:
        error = record.error
    received, reference = record.received or "", record.reference or ""
    if state in _WITH_JOB or state in _WITH_ERROR:
        due = _month_after(received or lines.day_of_run(ledger, record.at))
    found = (record.line, record.key, state, error, reference, received, jid, accepted_at)
    return Cells._make((*found, job_status, due, hold_reason))


def cells_of_row(decided: DecidedRow, places: Places, lines: LedgerLines) -> Cells:
    """What the input says of a row, and the ledgers of its key."""
    row, state = decided.row, decided.decision.word
    if not isinstance(row, KeyRow):
        return Cells(row.line, state=state, error=row.error)
    is_told = state in _WITH_JOB or state in _WITH_ERROR or state == _ON_HOLD
    known = cells_of_key(state, places, lines) if is_told else Cells(state=state)
    return known._replace(
        line=row.line,
        key=row.key,
        reference=row.reference or known.reference,
        received=row.received or known.received,
        due=_month_after(row.received) if row.received else known.due,
    )


@lru_cache(1 << 10)
def _month_after(day: str) -> str:
    """When the month for an answer ends; empty for what is no date."""
    try:
        return deadline_of(date.fromisoformat(day)).isoformat()
    except ValueError:
        return ""


def _are_harmless(texts: list[str]) -> bool:
    """Does each cell begin with a letter or a digit, and nothing stand behind a separator? That is
    soon told, and true of nearly all rows."""
    text = "".join(texts)
    for separator in _SEPARATORS:
        if separator in text:
            return False
    return "".join([cell[:1] for cell in texts]).isalnum()


def _guarded(cell: str) -> str:
    return _FORMULA.sub(r"\1'", cell)

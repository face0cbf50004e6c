"""The table of `verify --rows`: what became of every row, and what the ledgers say of its key.

Where the lines about a key stand is remembered by digest, then kept in an unlinked file at the
row's place, so memory does not grow with the number of rows.
"""

import csv
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from struct import Struct
from typing import IO, Any

import msgspec

from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.key_partitions import KeyPartitions, digest_of
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Accepted, Failed, JobStatus, Record, Unknown
from bulk_eraser.sending.deadlines import deadline_of
from bulk_eraser.sources.rows import KeyRow
from bulk_eraser.survey.survey import DecidedRow

__all__ = ["COLUMNS", "LinePlaces", "RowPlaces", "row_table"]

COLUMNS = (
    *("line", "key", "state", "error", "reference"),
    *("received", "jid", "accepted_at", "job_status", "due"),
)
USUAL_LINE = 1 << 10
"""Bytes; a jid may make a line much longer."""
_IS_STATUS = {Accepted: False, Failed: False, Unknown: False, JobStatus: True}
_WITH_JOB = {"erased", "in_progress", "job_failed"}
_WITH_ERROR = {"refused", "failed", "unknown"}
_FORMULA = re.compile(r"""(^|[;\t\r\n])(?=["'\s]*[=+\-@\t\r])""")
"""Where a cell begins that a spreadsheet would run; one whose separator is `;` splits at it."""
_place = Struct("<BQQ")
_line_decoder = msgspec.json.Decoder(Accepted | Failed | Unknown | JobStatus)

_Places = tuple[int, int, int]
"""Number of the ledger; then, from 1, the bytes at which a key's last outcome and the last status
of its job begin (0: none)."""


class LinePlaces:
    """Where the ledgers' lines about keys stand. Close it when done."""

    def __init__(self) -> None:
        self._places = KeyPartitions("B?Q")

    def take(self, ledger: int, group: Group) -> None:
        """Raises `OSError` when the temporary folder is full."""
        place = group.offset
        for record, line in zip(group.records, group.lines.split(b"\n"), strict=False):
            is_status = _IS_STATUS.get(type(record))
            if is_status is not None:
                digest = digest_of(record.key)  # type: ignore[attr-defined] # all of these have one
                self._places.add(digest, ledger, is_status, place + 1)
            place += len(line) + 1

    def of(self, partition: int, ledger_of: dict[bytes, int]) -> dict[bytes, _Places]:
        """Those of the keys of one partition, from the ledger that tells a key's state."""
        found: dict[bytes, _Places] = {}
        for digest, ledger, is_status, place in self._places.read(partition):
            if ledger_of.get(digest, 0) != ledger:
                continue
            outcome = found.get(digest, (ledger, 0, 0))[1] if is_status else place
            found[digest] = ledger, outcome, place if is_status else 0
        return found

    def close(self) -> None:
        self._places.close()


class RowPlaces:
    """The same by the place of the row. Close it when done."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def put(self, row: int, places: _Places) -> None:
        """Raises `OSError` when the temporary folder is full."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        os.pwrite(self._file.fileno(), _place.pack(*places), row * _place.size)

    def at(self, row: int) -> _Places:
        if self._file is None:
            return 0, 0, 0
        packed = os.pread(self._file.fileno(), _place.size, row * _place.size)
        return _place.unpack(packed) if len(packed) == _place.size else (0, 0, 0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Lines:
    """The lines of the ledgers, read again one by one."""

    def __init__(self, files: Sequence[IO[bytes]], run_starts: Sequence[list[str]]) -> None:
        self._files = files
        self._run_starts = run_starts

    def read(self, ledger: int, place: int) -> Any:
        size, content = USUAL_LINE, b""
        while b"\n" not in content:
            size *= 4
            content = os.pread(self._files[ledger].fileno(), size, place - 1)
        return _line_decoder.decode(content[: content.index(b"\n")])

    def day_of_run(self, ledger: int, at: str) -> str:
        """The day on which the run began that wrote a line at this time."""
        starts = self._run_starts[ledger]
        return starts[max(0, bisect_right(starts, at) - 1)][:10]


@contextmanager
def row_table(
    path: str,
    ledgers: Sequence[str],
    run_starts: Sequence[list[str]],
    places: RowPlaces,
) -> Iterator[Callable[[int, DecidedRow], None]]:
    """A CSV with a line for every row, and a way to add the n-th of them (from 0).

    Read by a spreadsheet, no cell is a formula. `run_starts` has the times at which each ledger's
    runs began. Raises `UsageError` for a file that is there already, `LedgerWriteError` if it
    cannot be written.
    """
    try:
        with ExitStack() as opened:
            files = [opened.enter_context(open(ledger, "rb")) for ledger in ledgers]
            lines = _Lines(files, run_starts)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            table = csv.writer(opened.enter_context(open(fd, "w", encoding="utf-8", newline="")))
            table.writerow(COLUMNS)

            def note(number: int, row: DecidedRow) -> None:
                cells = _cells(row, places.at(number), lines)
                table.writerow([_guarded(str(cells.get(name) or "")) for name in COLUMNS])

            yield note
    except FileExistsError:
        raise UsageError(f"{path} already exists. Name another file with --rows.") from None
    except OSError as error:
        raise LedgerWriteError(
            f"The table {path} cannot be written: {error.strerror}. Name another place with --rows."
        ) from None


def _cells(decided: DecidedRow, places: _Places, lines: _Lines) -> dict[str, object]:
    row, state = decided.row, decided.decision.word
    cells: dict[str, object] = {"line": row.line, "state": state}
    if not isinstance(row, KeyRow):
        return cells | {"error": row.error}
    cells |= {"key": row.key, "reference": row.reference, "received": row.received}
    ledger, outcome, status = places
    if outcome and state in _WITH_JOB | _WITH_ERROR:
        cells |= _of_outcome(lines.read(ledger, outcome), cells)
    if status and state in _WITH_JOB:
        job: JobStatus = lines.read(ledger, status)
        cells |= {"job_status": job.status} if job.jid == cells.get("jid") else {}
    day = cells["received"]
    if not day and state in _WITH_JOB and cells.get("accepted_at"):
        day = lines.day_of_run(ledger, str(cells["accepted_at"]))
    return cells | ({"due": deadline_of(date.fromisoformat(str(day)))} if day else {})


def _of_outcome(record: Record, cells: dict[str, object]) -> dict[str, object]:
    """What the line of an outcome says, and of the row what the input was not asked for."""
    found: dict[str, object] = {
        name: cells[name] or getattr(record, name) for name in ("reference", "received")
    }
    if isinstance(record, Accepted):
        return found | {"jid": record.jid, "accepted_at": record.at}
    return found | {"error": getattr(record, "error", "")}


def _guarded(cell: str) -> str:
    return _FORMULA.sub(r"\1'", cell)

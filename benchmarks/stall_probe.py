"""`bulk-eraser` with a probe in its event loop: how long does our own code keep the loop?

    python benchmarks/stall_probe.py FILE run INPUT …

While keys are on their way, a task sleeps for a millisecond over and over and looks how late it
wakes. The time in which the kernel let other processes run instead (`schedstat`) is taken off: the
rest is callbacks, garbage collection, waiting for threads of this process, and reads or writes that
block. Whoever works on answers that came together keeps the loop for the sum of them.

The same run tells how long an outcome waits for its commit: from `LedgerWriter.append` until it is
on disk. Both go into FILE as JSON, in milliseconds.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bulk_eraser.cli.app import main
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.records import Record
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.run import Run

SLEEP_S = 0.001
SCHEDSTAT = "/proc/thread-self/schedstat"


class Probe:
    """What was seen, in seconds."""

    def __init__(self) -> None:
        self.stalls: list[float] = []
        self.waits: list[float] = []
        self._appended: dict[int, float] = {}
        self._waited = scheduler_wait()

    async def watch(self) -> None:
        """Look how late a short sleep ends, over and over."""
        while True:
            before, waited = time.monotonic(), self._waited()
            await asyncio.sleep(SLEEP_S)
            late = time.monotonic() - before - SLEEP_S
            self.stalls.append(late - (self._waited() - waited))

    def note_append(self, record: Record) -> None:
        self._appended[id(record)] = time.monotonic()  # the ledger holds it until it is committed

    def note_commit(self, records: Sequence[Record]) -> None:
        now = time.monotonic()
        for record in records:
            if (appended := self._appended.pop(id(record), None)) is not None:
                self.waits.append(now - appended)

    def told(self) -> dict[str, float]:
        """Milliseconds."""
        return {
            "stall_max": 1e3 * max(self.stalls),
            "stall_p99": 1e3 * share(self.stalls, 0.99),
            "commit_p99": 1e3 * share(self.waits, 0.99),
            "commit_max": 1e3 * max(self.waits),
        }


def scheduler_wait() -> Callable[[], float]:
    """A function that says how long this thread could have run and was not let, in seconds."""
    try:
        fd = os.open(SCHEDSTAT, os.O_RDONLY)
    except FileNotFoundError:  # the kernel does not count it: the stalls hold the others' time
        return lambda: 0.0
    return lambda: int(os.pread(fd, 64, 0).split()[1]) / 1e9


def share(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


def install(probe: Probe) -> None:
    """Have `Pool.run` watched, and the ledger's appends and commits noted."""
    run, committed, append = Pool.run, Run.committed, LedgerWriter.append

    async def watched_run(self: Pool) -> None:
        task = asyncio.create_task(probe.watch())
        try:
            await run(self)
        finally:
            task.cancel()

    def noted_commit(self: Run, records: Sequence[Record]) -> BulkEraserError | None:
        probe.note_commit(records)
        return committed(self, records)

    def noted_append(self: LedgerWriter, record: Record) -> None:
        probe.note_append(record)
        append(self, record)

    Pool.run, Run.committed, LedgerWriter.append = watched_run, noted_commit, noted_append


if __name__ == "__main__":
    probe = Probe()
    install(probe)
    told = Path(sys.argv.pop(1))
    try:
        main()
    finally:
        told.write_text(json.dumps(probe.told()))

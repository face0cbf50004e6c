"""`bulk-eraser` with a sampler in it: which part of the program takes its processor time?

    python benchmarks/parts.py FILE run INPUT …

After every millisecond of processor time a signal interrupts the program. What the event loop's
thread took since then goes to the part at which it was met: the folder of `bulk_eraser` whose
function stands nearest to the top of its stack. Where there is none (the event loop, sockets, the
network libraries) it is the wire. Other threads have one task each. The seconds of each part go
into FILE as JSON.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import bulk_eraser
from bulk_eraser.cli.app import main

EVERY_S = 0.001
PACKAGE = f"{Path(bulk_eraser.__file__).parent}/"
PARTS = {
    "elevate": "wire",
    "ledger": "ledger",
    "records.py": "ledger",
    "pacing": "pacing",
    "sources": "input",
    "survey": "input",
    "key_partitions.py": "input",
    "sending": "pool",
    "cli": "start and display",
}
"""A folder or module of the package → the part that it counts to."""


class Sampler:
    """`seconds` of processor time by part."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._seen: dict[int, float] = {}

    def look(self, _signum: int, frame: FrameType | None) -> None:
        """Book what each thread took since the last look."""
        for thread in threading.enumerate():
            ident = thread.ident or 0
            try:
                taken = time.clock_gettime(time.pthread_getcpuclockid(ident))
            except OSError:  # it ended a moment ago
                continue
            since, self._seen[ident] = taken - self._seen.get(ident, 0.0), taken
            if thread is threading.main_thread():
                self.seconds[part_of(frame)] += since
            else:
                self.seconds["ledger" if thread.name.startswith("ledger") else "input"] += since


def part_of(frame: FrameType | None) -> str:
    """The part whose function is nearest to the top of a stack."""
    in_loop = False
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            part = PARTS.get(path.removeprefix(PACKAGE).partition("/")[0], "start and display")
            # At the bottom of the loop stands the command, which waits for it.
            return "wire" if in_loop and part == "start and display" else part
        in_loop = in_loop or "/asyncio/" in path
        frame = frame.f_back
    return "wire" if in_loop else "start and display"


if __name__ == "__main__":
    told = Path(sys.argv.pop(1))
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        told.write_text(json.dumps(sampler.seconds))

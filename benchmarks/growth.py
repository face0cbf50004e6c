"""Do time and memory grow with the input? Each command at several sizes."""

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

from measure import Figures, measured
from peers import Clients, words
from service import Running


class Grown(NamedTuple):
    """At one size: `check`, `run` until all is sent, `run` again, and `verify` with the input.

    `known_s` is how long the second run takes to know that there is nothing to do.
    """

    rows: int
    check: Figures
    run: Figures
    resume: Figures
    verify: Figures
    known_s: float
    ledger_bytes: int

    @property
    def commands(self) -> dict[str, Figures]:
        return {
            "check": self.check,
            "run": self.run,
            "resume": self.resume,
            "verify": self.verify,
        }


def growth(bench: Clients, service: Running, sizes: tuple[int, ...]) -> Iterator[Grown]:
    """One after the other, each on a new ledger, which is deleted at the end."""
    for rows in sizes:
        ledger, keys = bench.new(".ledger.ndjson"), bench.csv(rows)
        program = words(sys.executable, "-m", "bulk_eraser")
        check = measured([*program, "check", str(keys)], rows)
        run = bench.bulk_eraser(service.url, rows, ledger=ledger)
        resume = bench.bulk_eraser(service.url, rows, ledger=ledger)
        told = json.loads(resume.output)
        if told["requests"] or told["counts"]["already_settled"] != rows:
            raise SystemExit(f"a settled ledger was sent again: {resume.output}")
        verify = measured([*program, *words("verify", ledger, "--input", keys)], rows)
        size = ledger.stat().st_size
        yield Grown(rows, check, run, resume, verify, told["survey_s"], size)
        ledger.unlink()

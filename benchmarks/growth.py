"""Do time and memory grow with the input? The survey, a run and its resume at several sizes."""

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

from measure import Figures, measured
from peers import Clients, words
from service import Running


class Grown(NamedTuple):
    """At one size: `check`, `run` until all is sent, `run` again until there is nothing to do."""

    rows: int
    check: Figures
    run: Figures
    resume: Figures
    ledger_bytes: int


def growth(bench: Clients, service: Running, sizes: tuple[int, ...]) -> Iterator[Grown]:
    """One after the other, each on a new ledger, which is deleted at the end."""
    for rows in sizes:
        ledger = bench.new(".ledger.ndjson")
        check = measured(words(sys.executable, "-m", "bulk_eraser", "check", bench.csv(rows)), rows)
        run = bench.bulk_eraser(service.url, rows, ledger=ledger)
        resume = bench.bulk_eraser(service.url, rows, ledger=ledger)
        told = json.loads(resume.output)
        if told["requests"] or told["counts"]["already_settled"] != rows:
            raise SystemExit(f"a settled ledger was sent again: {resume.output}")
        yield Grown(rows, check, run, resume, ledger.stat().st_size)
        ledger.unlink()

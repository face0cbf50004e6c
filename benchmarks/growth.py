"""Do time and memory grow with the input? The whole life of a ledger at several sizes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from measure import Figures, measured
from peers import Clients, words
from readers import read_by_others
from service import Running

PROGRAM = (sys.executable, "-m", "bulk_eraser")


class Grown(NamedTuple):
    """At one size, the figures of each command in the order of a ledger's life: `check`, `run`,
    `resume` (when there is nothing to do), `verify` (with the input), `follow` (when nothing is
    due), `pseudonymize`, and `follow_day` (every job is asked about, and is done).

    `known_s` is how long the resumed run takes to know that there is nothing to do. `others` are
    programs that read the ledger after `run`, and `missing` says how to install what is not there.
    """

    rows: int
    commands: dict[str, Figures]
    known_s: float
    ledger_bytes: int
    others: dict[str, Figures]
    missing: dict[str, str]


def growth(bench: Clients, service: Running, sizes: tuple[int, ...]) -> Iterator[Grown]:
    """One after the other, each on a new ledger, which is deleted at the end."""
    for rows in sizes:
        ledger, keys = bench.new(".ledger.ndjson"), bench.csv(rows)
        check = measured(words(*PROGRAM, "check", keys), rows)
        run = bench.bulk_eraser(service.url, rows, ledger=ledger)
        size = ledger.stat().st_size
        others, missing = read_by_others(ledger, rows)
        resume = bench.bulk_eraser(service.url, rows, ledger=ledger)
        told = json.loads(resume.output)
        if told["requests"] or told["counts"]["already_settled"] != rows:
            raise SystemExit(f"a settled ledger was sent again: {resume.output}")
        verify = measured(words(*PROGRAM, "verify", ledger, "--input", keys), rows)
        commands = {"check": check, "run": run, "resume": resume, "verify": verify}
        commands["follow"] = followed(bench, ledger, rows, 75)
        commands["pseudonymize"] = pseudonymized(bench, ledger, rows)
        commands["follow_day"] = followed(bench, ledger, rows, 0, "--now", "--rate", 0)
        yield Grown(rows, commands, told["survey_s"], size, others, missing)
        ledger.unlink()


def followed(bench: Clients, ledger: Path, rows: int, code: int, *more: object) -> Figures:
    """`follow`, which is to end with `code`: 75 while jobs are pending, 0 when all are done."""
    options = ("--api-key-file", bench.api_key, "--concurrency", 64, "--json")
    command = words(*PROGRAM, "follow", ledger, *options, *more)
    figures = measured(command, rows, exit_codes=(code,))
    asked = json.loads(figures.output)["asked"]
    if asked != (0 if code else rows):
        raise SystemExit(f"follow asked about {asked} of {rows} jobs: {figures.output}")
    return figures


def pseudonymized(bench: Clients, ledger: Path, rows: int) -> Figures:
    """The copy is deleted."""
    copy, pepper = bench.new(".pseudonyms.ndjson"), bench.new(".pepper")
    pepper.write_text("a pepper for the benchmark\n")
    pepper.chmod(0o600)
    command = ("env", f"BULK_ERASER_PEPPER_FILE={pepper}", *PROGRAM, "pseudonymize", ledger)
    figures = measured(words(*command, "--output", copy), rows)
    copy.unlink()
    return figures

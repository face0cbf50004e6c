"""What earlier runs of the whole benchmark measured: a line each in `history.csv`."""

import csv
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from goals import MB, Results
from peers import OURS

FILE = Path(__file__).with_name("history.csv")
ROWS = 1_000_000
HEADS = {
    "date": "date (UTC)",
    "version": "version",
    "aiohttp": "aiohttp",
    "cpu_over_bare": "CPU over the bare loop",
    "tls_over_bare": "over TLS",
    "over_wrk": "50 ms, over wrk",
    "known_1m_s": "nothing to do, s",
    "check_1m_s": "check, s",
    "resume_1m_s": "resume, s",
    "verify_1m_s": "verify, s",
    "peak_1m_mb": "peak MB",
}
"""Column → what it is called; the seconds and megabytes are those of a million rows."""


def history() -> list[list[str]]:
    """The lines, oldest first, in the order of `HEADS`."""
    with FILE.open(newline="") as file:
        return [[row[column] or "–" for column in HEADS] for row in csv.DictReader(file)]


def remember(results: Results) -> None:
    """Add a line; what was not measured stays empty."""
    figures: dict[str, object] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "version": version("bulk-eraser"),
        "aiohttp": version("aiohttp"),
        "cpu_over_bare": f"{results.side_by_side[OURS].over:.2f}",
    }
    if tls := results.tls:
        figures["tls_over_bare"] = f"{tls.ours.cpu_us / tls.bare.cpu_us:.2f}"
    if results.latency.over_wrk is not None:
        figures["over_wrk"] = f"{results.latency.over_wrk:.3f}"
    for grown in results.growth:
        if grown.rows == ROWS:
            figures["known_1m_s"] = f"{grown.known_s:.1f}"
            for name in ("check", "resume", "verify"):
                figures[f"{name}_1m_s"] = f"{grown.commands[name].wall_s:.2f}"
            peak = max(figures.peak for figures in grown.commands.values())
            figures["peak_1m_mb"] = f"{peak / MB:.0f}"
    with FILE.open("a", newline="") as file:
        csv.DictWriter(file, list(HEADS), lineterminator="\n").writerow(figures)

"""The figures as Markdown, for the terminal and for RESULTS.md."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from goals import MB, Results, goals
from history import HEADS, history
from measure import Figures
from peers import YARDSTICK
from service import nginx

PACKAGES = (
    "bulk-eraser",
    "aiohttp",
    "uvloop",
    "msgspec",
    "aiofiles",
    "tenacity",
    "requests",
    "duckdb",
)
PROGRAMS = {
    "nginx": "-v",
    "wrk": "-v",
    "curl": "--version",
    "parallel": "--version",
    "jq": "--version",
}
REACHED = {True: "reached", False: "**not reached**", None: "–"}


def side_by_side(results: Results) -> str:
    """The one table: clients against the fast service, 64 in flight."""
    rows = [
        [
            name,
            f"{m.keys:,}",
            f"{m.cpu_us:,.1f}",
            f"{m.rate:,.0f}",
            f"{m.peak / MB:.0f}",
            "1" if name == YARDSTICK else f"{m.over:.2f}",
        ]
        for name, m in results.side_by_side.items()
    ]
    rows += [[name, f"not installed: {how}"] for name, how in results.not_installed.items()]
    head = ["client", "keys", "CPU µs a key", "keys/s", "peak MB", "CPU over the bare loop"]
    return table(head, rows)


def goals_table(results: Results) -> str:
    rows = [[goal.what, goal.goal, goal.measured, REACHED[goal.reached]] for goal in goals(results)]
    return table(["what", "goal", "measured", ""], rows)


def growth_table(results: Results) -> str:
    rows = [
        [
            f"{g.rows:,}",
            *[cell for figures in g.commands.values() for cell in time_and_memory(figures)],
            f"{g.ledger_bytes / g.rows:.0f}",
        ]
        for g in results.growth
    ]
    names = [cell for name in results.growth[0].commands for cell in (f"{name} s", "MB")]
    head = ["rows", *names, "ledger bytes a key"]
    return table(head, rows)


def life_table(results: Results) -> str:
    """Of the largest size: each command over the keys, and over what else reads the same file."""
    grown = results.growth[-1]
    head = ["", "CPU s", "peak MB", *[f"over {name}" for name in grown.others]]
    rows = [
        [
            name,
            f"{figures.cpu_s:.2f}",
            f"{figures.peak / MB:.0f}",
            *[f"{figures.cpu_s / other.cpu_s:.1f} ×" for other in grown.others.values()],
        ]
        for name, figures in {**grown.commands, **grown.others}.items()
    ]
    rows += [[name, f"not installed: {how}"] for name, how in grown.missing.items()]
    return f"{grown.rows:,} keys, a ledger of {grown.ledger_bytes / MB:,.0f} MB:\n\n" + table(
        head, rows
    )


def time_and_memory(figures: Figures) -> list[str]:
    return [f"{figures.wall_s:.2f}", f"{figures.peak / MB:.0f}"]


def others(results: Results) -> str:
    """What does not stand in a table."""
    latency, stalls = results.latency, results.stalls
    lines = [
        f"50 ms latency, 256 in flight: {latency.ours:,.0f} keys/s, "
        f"{latency.over_ideal:.3f} × what 256 / 50 ms allows; "
        + (f"wrk {latency.wrk:,.0f} requests/s" if latency.wrk else "wrk is not installed"),
        f"event loop: longest stall {stalls['stall_max']:.1f} ms, p99 {stalls['stall_p99']:.1f} "
        f"ms; outcome on disk after {stalls['commit_p99']:.1f} ms (p99), "
        f"{stalls['commit_max']:.1f} ms at most",
        *[
            f"start, {s.what}: {s.wall_s:.3f} s, processor time {s.cpu_s:.3f} s"
            for s in results.starts
        ],
    ]
    if tls := results.tls:
        over = tls.ours.cpu_us / tls.bare.cpu_us
        lines.append(
            f"over TLS: bare loop {tls.bare.cpu_us:.1f} µs a key, bulk-eraser "
            f"{tls.ours.cpu_us:.1f} µs: {over:.2f} ×"
        )
    else:
        lines.append("over TLS: not measured, for want of openssl (apt install openssl)")
    return "\n".join(f"- {line}" for line in lines)


def parts_table(results: Results) -> str:
    """Where the processor time of a key goes."""
    whole = sum(results.parts.values())
    rows = [
        [name, f"{us:.1f}", f"{100 * us / whole:.0f} %"]
        for name, us in sorted(results.parts.items(), key=lambda part: -part[1])
    ]
    return table(["part", "CPU µs a key", "share"], rows)


def document(
    results: Results, surroundings: Sequence[str], service: str, *, with_pictures: bool
) -> str:
    """All of it; with links to the pictures of growth and parts, which are to lie beside it."""
    growth_picture = "\n\n![Time and memory by rows](growth.svg)" if with_pictures else ""
    parts_picture = "\n\n![Time of a key by part](parts.svg)" if with_pictures else ""
    parts = [
        "# What `make bench` measured\n\nWritten by `benchmarks/run.py`; "
        "[README.md](README.md) says what each figure is.",
        "\n".join(f"- {line}" for line in surroundings),
        f"## Side by side, against {service}, 64 in flight\n\n{side_by_side(results)}",
        f"## Goals\n\n{goals_table(results)}",
        f"## Growth\n\n{growth_table(results)}{growth_picture}",
        f"## The life of a ledger\n\n{life_table(results)}",
        f"## Where the time of a key goes\n\n{parts_table(results)}{parts_picture}",
        f"## More\n\n{others(results)}",
        f"## Earlier runs\n\n{table(list(HEADS.values()), history())}",
    ]
    return "\n\n".join(parts) + "\n"


def surroundings() -> list[str]:
    """Date, machine and versions; call it before anything is measured, for the load."""
    load = os.getloadavg()[0]
    packages = [f"{name} {found}" for name in PACKAGES if (found := installed(name))]
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load of the machine before: {load:.1f}",
        f"{os.cpu_count()} processors ({processor()}), {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, {', '.join(packages)}",
        ", ".join(filter(None, map(program_version, PROGRAMS))) or "no peers are installed",
    ]


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.machine()


def program_version(program: str) -> str | None:
    """Its name and version, from the first line of what it says of itself."""
    try:
        told = subprocess.run(
            [nginx() or program if program == "nginx" else program, PROGRAMS[program]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    found = re.search(r"\d[\w.-]*", told.stdout + told.stderr)
    return f"{program} {found[0]}" if found else program


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned, so that it reads well as plain text too; the first one to the left."""
    full = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *full, strict=True)]
    lines = [head, ["-" * widths[0], *["-" * (w - 1) + ":" for w in widths[1:]]], *full]
    return "\n".join(
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in lines
    )

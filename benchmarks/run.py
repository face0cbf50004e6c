"""The benchmark: bulk-eraser beside a bare aiohttp loop and beside what else could send the keys.

    python benchmarks/run.py [--quick] [--ten-million] [--results FILE.md]

Everything runs on loopback. README.md in this folder says what each figure is.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from goals import Results
from growth import growth
from growth_plot import growth_plot
from history import remember
from measure import Figures, Medians, medians
from parts_plot import parts_plot
from peers import YARDSTICK, Clients, Peer, lacks, peers
from service import CLIENT_CORE, HERE, SERVICE_CORE, Running, fast_service, nginx
from table import document, surroundings
from timing import at_rate, behind_latency, over_tls, parts, stalls, starts

RATES = (50, 200)


@dataclass(frozen=True)
class Size:
    """How much is measured. Keys of a slow peer are a share of `keys`."""

    rounds: int
    keys: int
    latency_keys: int
    latency_rounds: int
    rate_s: int
    growth: tuple[int, ...]


FULL = Size(5, 100_000, 40_960, 3, 20, (10_000, 100_000, 1_000_000))
QUICK = Size(3, 30_000, 10_240, 1, 4, (2_000, 20_000))
TEN_MILLION = 10_000_000


def main() -> None:
    """Measure, print, and write RESULTS.md after a full run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes, rough figures")
    parser.add_argument("--ten-million", action="store_true", help="that many rows as well: hours")
    parser.add_argument("--results", type=Path, help="where to [default: RESULTS.md; quick: none]")
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    sizes = (*size.growth, *([TEN_MILLION] if asked.ten_million else []))
    around = surroundings()
    if nginx() is None:
        say("nginx is not installed, so a slower stub takes its place: apt install nginx")
    if CLIENT_CORE == SERVICE_CORE:
        say("There is one processor only: clients and service share it.")
    with tempfile.TemporaryDirectory() as folder, fast_service(Path(folder)) as service:
        results = measure(Path(folder), service, size, sizes)
    path = asked.results or (None if asked.quick else HERE / "RESULTS.md")
    if path and not asked.quick:
        remember(results)
    text = document(results, around, service.name, with_pictures=path is not None)
    print(text)
    if path:
        path.write_text(text)
        path.with_name("growth.svg").write_text(growth_plot(results.growth))
        path.with_name("parts.svg").write_text(parts_plot(results.parts))
        say(f"Written to {path}, with growth.svg and parts.svg beside it")


def measure(folder: Path, service: Running, size: Size, sizes: tuple[int, ...]) -> Results:
    """One after the other; nothing runs beside what is measured, as far as it is up to us."""
    bench = Clients(folder)
    everyone = peers(folder)
    beside = side_by_side(everyone, service, size)
    say("50 ms latency …")
    latency = behind_latency(
        bench, size.latency_keys, size.latency_rounds, with_wrk=lacks("wrk") is None
    )
    say("--rate …")
    rates = [at_rate(bench, rate, size.rate_s) for rate in RATES]
    say("stalls, starts, TLS, parts …")
    stalled = stalls(bench, service, folder, size.keys // 2)
    started = starts(bench)
    tls = over_tls(bench, folder, size.keys // 5)
    grown = []
    for one in growth(bench, service, sizes):
        times = [f"{name} {figures.wall_s:.1f} s" for name, figures in one.commands.items()]
        say(f"{one.rows:,} rows: {', '.join(times)}")
        grown.append(one)
    return Results(
        side_by_side=beside,
        not_installed={peer.name: peer.missing for peer in everyone if peer.missing},
        latency=latency,
        at_rate=rates,
        growth=grown,
        stalls=stalled,
        starts=started,
        tls=tls,
        parts=parts(bench, service, folder, size.keys),
    )


def side_by_side(everyone: list[Peer], service: Running, size: Size) -> dict[str, Medians]:
    """All who are there, in turns, several rounds; each round has a yardstick of its own."""
    there = [peer for peer in everyone if not peer.missing]
    runs: dict[str, list[Figures]] = {peer.name: [] for peer in there}
    for number in range(1, size.rounds + 1):
        for peer in there:
            figures = peer.run(service.url, max(100, round(size.keys * peer.share)))
            runs[peer.name].append(figures)
            say(f"round {number}: {peer.name}: {figures.cpu_us:,.1f} µs, {figures.rate:,.0f}/s")
    return {name: medians(figures, runs[YARDSTICK]) for name, figures in runs.items()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

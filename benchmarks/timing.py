"""What a run takes where the service is slow or the rate is low, how it starts, how it stalls."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from measure import Figures, measured
from peers import Clients, words
from service import HERE, Running, certificate, fast_service, stub_service

LATENCY_S = 0.05
LATENCY_IN_FLIGHT = 256
STARTS = 7


class Latency(NamedTuple):
    """Keys a second of ours, requests a second of wrk (None: not installed), and their ratio."""

    ours: float
    wrk: float | None
    over_wrk: float | None
    over_ideal: float


def behind_latency(bench: Clients, keys: int, rounds: int, *, with_wrk: bool) -> Latency:
    """256 in flight at 50 ms, in turns with wrk; medians."""
    ideal = LATENCY_IN_FLIGHT / LATENCY_S
    ours, wrk = [], []
    with stub_service(LATENCY_S) as service:
        for _ in range(rounds):
            if with_wrk:
                for_s = max(2, round(keys / ideal))
                wrk.append(bench.wrk(service.url, 0, LATENCY_IN_FLIGHT, for_s).rate)
            ours.append(bench.bulk_eraser(service.url, keys, in_flight=LATENCY_IN_FLIGHT).rate)
    over = median(a / b for a, b in zip(ours, wrk, strict=True)) if wrk else None
    return Latency(median(ours), median(wrk) if wrk else None, over, median(ours) / ideal)


class AtRate(NamedTuple):
    """Of one run with --rate: its time over keys / rate, and the most requests in a second."""

    rate: int
    keys: int
    over: float
    most_in_a_second: int


def at_rate(bench: Clients, rate: int, for_s: int) -> AtRate:
    """As many keys as take so many seconds."""
    keys = rate * for_s
    with stub_service(0.0) as service:
        figures = bench.bulk_eraser(service.url, keys, rate=rate)
    return AtRate(rate, keys, figures.run_s / for_s, service.counts["most_in_a_second"])


class Start(NamedTuple):
    """Medians of several starts, seconds."""

    what: str
    wall_s: float
    cpu_s: float


def starts(bench: Clients) -> list[Start]:
    """How long it takes to see the help, to hear that an option is wrong, to check ten rows, and to
    send the first of ten keys (until the first request, and from the last outcome to the end)."""
    program = (sys.executable, "-m", "bulk_eraser")
    ten = bench.csv(10)
    commands = {
        "--help": (("--help",), 0),
        "a wrong option": (("run", "x.csv", "--nonsense"), 2),
        "`check` of ten rows": (("check", ten), 0),
    }
    told = []
    for what, (arguments, code) in commands.items():
        command = words(*program, *arguments)
        told.append(start(what, [measured(command, exit_codes=(code,)) for _ in range(STARTS)]))
    with stub_service(0.0) as service:
        runs = [bench.bulk_eraser(service.url, 10) for _ in range(STARTS)]
    before = [run._replace(wall_s=run.wall_s - run.run_s) for run in runs]
    return [*told, start("`run` of ten keys, beside its requests", before)]


def start(what: str, runs: list[Figures]) -> Start:
    return Start(what, median(run.wall_s for run in runs), median(run.cpu_s for run in runs))


def stalls(bench: Clients, service: Running, folder: Path, keys: int) -> dict[str, float]:
    """What `stall_probe.py` saw in one run, milliseconds."""
    told = folder / "stalls.json"
    program = (sys.executable, HERE / "stall_probe.py", told)
    bench.bulk_eraser(service.url, keys, program=program)
    return json.loads(told.read_text())


def parts(bench: Clients, service: Running, folder: Path, keys: int) -> dict[str, float]:
    """What `parts.py` saw in one run, microseconds a key."""
    told = folder / "parts.json"
    bench.bulk_eraser(service.url, keys, program=(sys.executable, HERE / "parts.py", told))
    return {part: 1e6 * s / keys for part, s in json.loads(told.read_text()).items()}


class OverTls(NamedTuple):
    bare: Figures
    ours: Figures


def over_tls(bench: Clients, folder: Path, keys: int) -> OverTls | None:
    """The yardstick and ours once more, encrypted; None where no certificate can be made."""
    pem = certificate(folder)
    if pem is None:
        return None
    with fast_service(folder, pem) as service:
        bare = bench.bare_loop(service.url, keys, pem)
        ours = bench.bulk_eraser(service.url, keys, *words("--ca-file", pem))
    return OverTls(bare, ours)

"""The soak: many keys through a service that throttles, slows down, breaks and resets in turn.

    python benchmarks/soak.py [--keys 50000] [--rate 800] [--retry-after 0] [--plot FILE.svg]

Runs a batch in this process against `weather_service.py` in another one, and prints what a good
sender should do well: every key accepted, few requests beside the faults, few 429s, and a time near
the best possible one. Takes some minutes, so it is no test.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keys import write_csv
from plot import plot
from weather_service import LATENCY_S, phase_at

from bulk_eraser.cli.terminal.event_loop import event_loop_runner
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.sending.lifecycle import Progress
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.request import RunRequest
from bulk_eraser.sending.run import prepare
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake

CONCURRENCY = 64
SAMPLE_S = 0.25


def main() -> None:
    """Run once, print the figures, draw the plot if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=800)
    parser.add_argument("--retry-after", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keys = write_csv(Path(folder, "keys.csv"), asked.keys)
        command = [sys.executable, str(Path(__file__).with_name("weather_service.py"))]
        with subprocess.Popen(
            [*command, str(asked.retry_after)], stdout=subprocess.PIPE, text=True
        ) as service:
            assert service.stdout is not None
            port = int(service.stdout.readline())
            ending, samples = batch(keys, port, asked.rate)
            service.send_signal(signal.SIGTERM)
            served = json.loads(service.stdout.readline())
    tell(asked, ending, served)
    if asked.plot:
        asked.plot.write_text(plot(samples, served))


def batch(keys: Path, port: int, rate: float):
    """The ending of the run, and what the governors allowed over time."""
    request = RunRequest(
        intake=Intake(InputReader(str(keys), Reading())),
        ledger_path=f"{keys}.ledger.ndjson",
    )
    settings = RunSettings(
        target=Target.of_base_url(f"http://127.0.0.1:{port}"),
        api_version=ApiVersion.V4,
        concurrency=CONCURRENCY,
        rate=rate,
    )
    samples: list[tuple[float, float, int]] = []

    @contextmanager
    def observe(_progress: Progress, _pool: Pool, pace: Pace) -> Iterator[None]:
        async def sample() -> None:
            while True:
                allowed = min(rate or 1e9, pace.throttled_to or 1e9)
                samples.append((time.monotonic(), allowed, pace.window.limit))
                await asyncio.sleep(SAMPLE_S)

        task = asyncio.create_task(sample())
        try:
            yield
        finally:
            task.cancel()

    prepared = prepare(request, settings)
    with event_loop_runner() as runner:
        ending = runner.run(prepared.carry_out("soak-key", observe))
    prepared.close()
    return ending, samples


def best_possible(keys: int, rate: float) -> float:
    """Seconds that a sender needs that knows the weather and loses nothing."""
    at, done, step = 0.0, 0.0, 0.1
    while done < keys:
        phase = phase_at(at)
        most = min(rate or 1e9, CONCURRENCY / (LATENCY_S * phase.slower))
        if phase.throttle:
            most = min(most, phase.throttle)
        done += 0 if phase.down else most * step
        at += step
    return at


def tell(asked: argparse.Namespace, ending, served: dict) -> None:
    """The figures, one a line."""
    kinds: dict[str, int] = {}
    for counts in served["by_second"].values():
        for kind, count in counts.items():
            kinds[kind] = kinds.get(kind, 0) + count
    faults = kinds.get("reset", 0) + kinds.get("500", 0)
    best = best_possible(asked.keys, asked.rate)
    print(f"ended with {ending.exit_code}: {ending.error or 'nothing left'}")
    print(f"counts {ending.counts}")
    print(f"answers {kinds}")
    print(f"requests / keys beside the faults: {(served['requests'] - faults) / asked.keys:.3f}")
    print(f"429s: {100 * kinds.get('429', 0) / served['requests']:.2f} % of all answers")
    print(
        f"time: {ending.elapsed_s:.0f} s, best possible {best:.0f} s: "
        f"{ending.elapsed_s / best:.2f} x"
    )


if __name__ == "__main__":
    main()

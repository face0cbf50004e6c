"""`bulk-eraser simulate`: the simulator in a process of its own, until a signal ends it."""

import asyncio
import errno
import os
import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

from bulk_eraser.cli.options.bundles import Bundle, Number, command, option
from bulk_eraser.cli.terminal.event_loop import event_loop_runner
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode, LedgerWriteError, UsageError
from bulk_eraser.settings import must_be_within
from bulk_eraser.simulator.faults import FAULT_DESCRIPTIONS, FaultRates, parse_fault
from bulk_eraser.simulator.server import Simulator
from bulk_eraser.wording import counted

__all__ = ["SimulateOptions", "serve", "simulate"]

_FAULT_HELP = (
    "Let some requests fail: a name and how often, such as http_500=2% or http_500=0.02. Can be "
    "repeated. The names: "
    + "; ".join(f"{name} ({what})" for name, what in FAULT_DESCRIPTIONS.items())
    + "."
)


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(Bundle):
    """What `simulate` has; none of it comes from the environment."""

    heading = "The simulated service"

    port: int = option(
        "PORT",
        "Port to listen on; 0 takes a free one.",
        default=8080,
        type=Number(8080),
        env=False,
    )
    api_key: str = option(
        "KEY",
        "The API key it accepts: a made-up one, never a real one.",
        default="simulated-key",
        env=False,
    )
    fault: tuple[str, ...] = option("NAME=RATE", _FAULT_HELP, multiple=True, env=False)
    retry_after: int | None = option(
        "SECONDS",
        "Sent with http_429 and http_503: how long callers are asked to wait.",
        type=Number(5),
        env=False,
    )
    delay: float = option(
        "SECONDS",
        "How late the answers with the fault delay come.",
        default=2.0,
        type=Number(2.0),
        env=False,
    )
    day: float = option(
        "SECONDS",
        "How long a day lasts here. A removal job is done after six days: with 10, after a minute.",
        default=86_400.0,
        type=Number(10.0),
        env=False,
    )
    archive_days: float = option(
        "DAYS",
        "Days until the data of a day is archived; a job is done one day later.",
        default=5.0,
        type=Number(5.0),
        env=False,
    )
    seed: int = option(
        "NUMBER",
        "Another number makes the faults hit other keys and requests.",
        default=0,
        type=Number(1),
        env=False,
    )
    log: str | None = option(
        "PATH",
        "Add a line to this file for every request. It will contain the customer keys.",
        env=False,
    )


@command(
    ("A service that never fails", "bulk-eraser simulate"),
    ("One request in fifty fails", "bulk-eraser simulate --fault http_503=2%"),
    ("A removal job is done after a minute, not six days", "bulk-eraser simulate --day 10"),
)
def simulate(given: SimulateOptions) -> int:
    """Try bulk-eraser out: a simulated Elevate GDPR API on this computer. Nothing is erased.

    Other computers cannot reach it. The address is printed on standard output, hints for use on
    standard error. Ctrl-C stops it.
    """
    return serve(given)


def serve(given: SimulateOptions) -> int:
    """Serve until a signal comes. Raises `UsageError`, and `LedgerWriteError` for a full disk."""
    must_be_within("--port", given.port, 0, 65535)
    if not given.archive_days >= 0:
        raise UsageError("--archive-days must not be negative.")
    if not re.fullmatch(r"[!-~]+", given.api_key):
        raise UsageError("--api-key must be ASCII letters, digits and signs, without spaces.")
    log = None if given.log is None else Path(given.log)
    try:
        plan = FaultRates(_rates(given.fault), given.retry_after, given.delay, given.seed)
        simulator = Simulator(
            given.api_key, plan, given.day, log=log, archive_days=given.archive_days
        )
    except ValueError as error:
        raise UsageError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    with event_loop_runner() as runner:
        runner.run(_serve(simulator, given.port, given.api_key, plan, log))
    return ExitCode.COMPLETE


async def _serve(
    simulator: Simulator, port: int, api_key: str, plan: FaultRates, log: Path | None
) -> None:
    try:
        await simulator.start(port=port)
    except OSError as error:
        raise _not_started(error, port, log) from None
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, simulator.ended.set)
    output = Output()
    _hint(output, simulator.origin, api_key, plan, log)
    output.raw_result(simulator.origin)
    await simulator.ended.wait()
    await simulator.stop()
    counts = simulator.counts
    jobs = counted(counts.jobs, "removal job")
    exports = f" and {counted(counts.exports, 'export job')}" if counts.exports else ""
    requests = counted(counts.requests, "request")
    between = "," if exports else " and"
    output.always(f"Stopped after {requests}{between} {jobs}{exports}.")
    if simulator.log_error is not None:
        raise LedgerWriteError(f"Cannot write to --log {log}: {simulator.log_error.strerror}.")


def _hint(output: Output, origin: str, api_key: str, plan: FaultRates, log: Path | None) -> None:
    faults = ", ".join(f"{name} {rate * 100:g}%" for name, rate in plan.rates.items())
    key = shlex.quote(api_key)
    say = output.always
    say(f"Simulated Elevate GDPR API at {origin}, for this computer only. Nothing is erased.")
    say(f"API key: {api_key}")
    run = f"ELEVATE_API_KEY={key} bulk-eraser run INPUT --base-url {origin}"
    say("Try it in a second terminal, with your own file for INPUT:", command=run)
    say(f"Faults: {faults or 'none'}")
    if log is not None:
        say(f"Requests, with customer keys, are written to {log}")
    say("Stop it with Ctrl-C.")


def _not_started(error: OSError, port: int, log: Path | None) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"Port {port} is in use; choose another with --port, or use 0 for a free one."
        )
    if log is not None and error.filename is not None:
        return UsageError(f"Cannot open --log {log}: {error.strerror}.")
    reason = os.strerror(error.errno or 0)
    return UsageError(f"Cannot listen on port {port}: {reason}. Choose another with --port.")


def _rates(faults: tuple[str, ...]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for text in faults:
        name, rate = parse_fault(text)
        if name in rates:
            raise ValueError(f"the fault {name} is given twice")
        rates[name] = rate
    return rates

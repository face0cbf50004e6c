"""The last lines of a run: the counts, how it ended, and the command that continues it."""

import json
import os
import shlex
import signal
import sys
from dataclasses import asdict

from bulk_eraser.cli.display import counts_table, duration
from bulk_eraser.cli.output import Output, counted, printable
from bulk_eraser.errors import BulkEraserError, ExitCode, Interrupted, internal_error
from bulk_eraser.sending.request import RunResult

__all__ = ["as_error", "command_line", "refusal", "tell_ending"]


def as_error(error: BaseException) -> BulkEraserError:
    """Whatever ended a command, as an error that can be told."""
    if isinstance(error, BulkEraserError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(signal.SIGINT)
    return internal_error(error)


def refusal(error: BulkEraserError, ledger: str | None = None) -> RunResult:
    """The result of a run that was refused before anything was sent."""
    result = RunResult(ledger=ledger)
    result.fail(error)
    return result


def tell_ending(
    output: Output, ending: RunResult, input_path: str, *, dry_run: bool = False
) -> None:
    """Results to stdout (one JSON object with --json), the rest to stderr."""
    if output.json:
        output.raw_result(json.dumps(asdict(ending)))
    elif ending.counts["rows"]:
        output.result(counts_table(ending.counts))
        if ending.requests:
            output.result(
                f"  {counted(ending.requests, 'request')} ({ending.retries:,} of them repeats) "
                f"in {duration(ending.elapsed_s)}"
            )
    if ending.head is not None:
        output.say(f"Ledger {printable(ending.ledger or '')}, head {ending.head}")
    if dry_run and ending.error is None:
        return
    _tell_how(output, ending)
    if input_path and _is_resumable(ending):
        again = " (give it the same input again)" if input_path == "-" else ""
        output.always(f"Continue with{again}: {command_line(sys.argv[1:])}")


def _tell_how(output: Output, ending: RunResult) -> None:
    counts = ending.counts
    if ending.outcome == "interrupted":
        output.always(ending.error or "Stopped.")
    elif ending.error is not None:
        output.error(printable(ending.error))
    elif ending.exit_code == ExitCode.NOT_FINISHED:
        output.always("Not finished: --limit left keys for a later run.")
    elif ending.exit_code == ExitCode.SOME_ROWS:
        parts = [f"{counts[n]:,} {n}" for n in ("failed", "unknown", "rejected") if counts[n]]
        output.always(f"Reached the end, but not every row is settled well: {', '.join(parts)}.")
    else:
        output.always("Complete: every row of this input is settled.")


def _is_resumable(ending: RunResult) -> bool:
    """Is there something that the same command would do?"""
    if ending.outcome == "refused":
        return False
    counts = ending.counts
    return ending.exit_code != ExitCode.COMPLETE and bool(
        ending.error or counts["not_reached"] or counts["failed"] or counts["unknown"]
    )


def command_line(arguments: list[str]) -> str:
    """A command of this program to be typed; it holds no secret: there is no option for one."""
    program = os.path.basename(sys.argv[0])
    name = "python -m bulk_eraser" if program == "__main__.py" else program
    return f"{name} {printable(shlex.join(arguments))}"

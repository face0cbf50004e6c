"""How a command ends, whatever ended it: one result object, one way to tell it, one exit code."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, TypeVar

from bulk_eraser.cli.output import Output
from bulk_eraser.cli.wording import printable
from bulk_eraser.errors import BulkEraserError, ExitCode, Interrupted, internal_error
from bulk_eraser.sending.signals import ignore_signals, raise_on_signals

__all__ = [
    "as_error",
    "command_line",
    "conclude",
    "ended_by",
    "outcome_of",
    "tell_failure",
]


class Result(Protocol):
    """A dataclass that `--json` prints; it begins with how the command ended."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def outcome(self) -> str: ...

    @property
    def exit_code(self) -> int: ...

    @property
    def error(self) -> str | None: ...


R = TypeVar("R", bound=Result)


class OpenResult(Protocol):
    """A result that is filled on the way, so that an error leaves what was found before."""

    outcome: str
    exit_code: int
    error: str | None


Open = TypeVar("Open", bound=OpenResult)


def tell_failure(output: Output, result: Result) -> None:
    """Why a command did not get to a result."""
    if result.outcome == "interrupted":
        output.always(result.error or "Stopped.")
    else:
        output.error(printable(result.error or ""))


def _tell_nothing_more(output: Output, result: Result) -> None:
    """For a command that tells what it finds when it finds it."""


def conclude(
    output: Output,
    work: Callable[[], R],
    ended_by: Callable[[BulkEraserError], R],
    tell: Callable[[Output, R], None] = _tell_nothing_more,
    tell_failure: Callable[[Output, R], None] = tell_failure,
) -> int:
    """Do the work of a command and say how it ended. Returns the exit code; raises nothing.

    `ended_by` makes a result of the error that ended it. Once there is a result, signals are
    ignored: what happened is decided, and only has to be told.
    """
    try:
        raise_on_signals()
        result = work()
    except (Exception, KeyboardInterrupt) as error:  # a bug as well: never a traceback
        result = ended_by(as_error(error))
        tell = tell_failure
    ignore_signals()
    if output.json:
        output.raw_result(json.dumps(asdict(result)))
    tell(output, result)
    return result.exit_code


def as_error(error: BaseException) -> BulkEraserError:
    """Whatever ended a command, as an error that can be told; a bug is its cause."""
    if isinstance(error, BulkEraserError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(signal.SIGINT)
    told = internal_error(error)
    told.__cause__ = error
    return told


def ended_by(result: Open, error: BulkEraserError) -> Open:
    """`result` as the error leaves it."""
    result.outcome, result.exit_code = outcome_of(error), error.exit_code
    result.error = str(error)
    return result


def outcome_of(error: BulkEraserError) -> str:
    """The word of `outcome` for a command that ended before anything was sent."""
    return {
        ExitCode.INTERNAL: "error",
        ExitCode.LEDGER_WRITE: "error",
        ExitCode.SIGINT: "interrupted",
        ExitCode.SIGTERM: "interrupted",
    }.get(error.exit_code, "refused")


def command_line(arguments: list[str]) -> str:
    """A command of this program to be typed; it holds no secret: there is no option for one."""
    program = os.path.basename(sys.argv[0])
    name = "python -m bulk_eraser" if program == "__main__.py" else program
    return f"{name} {printable(shlex.join(arguments))}"

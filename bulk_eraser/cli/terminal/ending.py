"""How a command ends, whatever ended it: one result object, one way to tell it, one exit code."""

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import BulkEraserError, Interrupted, Result, internal_error
from bulk_eraser.sending.signals import ignore_signals, raise_on_signals
from bulk_eraser.sources.address import without_secrets
from bulk_eraser.wording import printable

__all__ = [
    "as_before",
    "as_error",
    "as_typed",
    "command_of",
    "conclude",
    "how_to_continue",
    "tell_failure",
]

R = TypeVar("R", bound=Result)


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
    result: R,
    work: Callable[[], R],
    tell: Callable[[Output, R], None] = _tell_nothing_more,
    tell_failure: Callable[[Output, R], None] = tell_failure,
) -> int:
    """Do the work of a command and say how it ended. Returns the exit code; raises nothing.

    `result` is what it comes to if `work` ends with an error: what is known of it until then. Once
    there is a result, signals are ignored: what happened is decided, and only has to be told.
    """
    try:
        raise_on_signals()
        result = work()
    except (Exception, KeyboardInterrupt) as error:  # a bug as well: never a traceback
        result.fail(as_error(error))
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


def command_of(*arguments: str) -> list[str]:
    """A command of this program, called as it was. No option is for a secret; what may be one in
    an address is left out."""
    arguments = tuple(map(without_secrets, arguments))
    typed = sys.argv[0]
    name = os.path.basename(typed)
    if name == "__main__.py":
        return ["python", "-m", "bulk_eraser", *arguments]
    on_path = shutil.which(name)
    is_found = on_path is not None and os.path.abspath(on_path) == os.path.abspath(typed)
    return [name if is_found else typed, *arguments]


def how_to_continue(result: Result) -> str:
    """What to say before the next command. After an error it would fail as it did, until somebody
    has dealt with the reason."""
    if result.error is None or result.outcome == "interrupted":
        return "Continue with"
    return "Once that is resolved, continue with"


def as_before(command: list[str], *, is_pipe: bool) -> str:
    """What must be given again that the printed command cannot have: content, or a signature."""
    if is_pipe:
        return " (pipe in the same input)"
    is_cut = any(it.endswith("?…") for it in command)
    return " (give the whole address)" if is_cut else ""


def as_typed(command: list[str]) -> str:
    """A command as it can be typed."""
    return printable(shlex.join(command))

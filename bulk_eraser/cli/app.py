"""The command `bulk-eraser`: parse, run, exit code. No traceback ever reaches the user.

A command's module is imported when it is asked for, so that help and refusals come at once.
"""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from bulk_eraser import __version__
from bulk_eraser.cli.output import Output, fill_closed_streams
from bulk_eraser.errors import BulkEraserError, ExitCode, UsageError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "check": "Read all of INPUT and say what is in it. Sends nothing, needs no API key.",
    "run": "Create a removal job for every customer key of INPUT. Run again, it continues.",
    "follow": "Ask for the status of every removal job that is due, until all are done.",
    "verify": "Prove that ledgers are what was written. Changes nothing, sends nothing.",
    "pseudonymize": "Write a copy of LEDGER with pseudonyms instead of customer keys.",
    "simulate": "Try bulk-eraser out: a pretended Elevate GDPR API on this computer.",
}
_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class Commands(TyperGroup):
    """The commands above, each from the module of its name."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 click hands it over
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 click hands it over
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            alone = typer.Typer(**_PLAIN)
            alone.command(cmd_name)(getattr(import_module(f"bulk_eraser.cli.{cmd_name}"), cmd_name))
            self.commands[cmd_name] = get_command(alone)
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 click hands it over
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(name="bulk-eraser", cls=Commands, **_PLAIN)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"bulk-eraser {__version__}")
        raise typer.Exit


@app.callback()
def bulk_eraser(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Bulk erasure requests to the Voyado Elevate GDPR API.

    Reads customer keys from CSV or NDJSON, creates one removal job for each, and writes every
    step to a ledger from which an interrupted run continues.
    """


def main() -> None:
    """The console script: exits with a code of `ExitCode`."""
    fill_closed_streams()
    try:
        code: object = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        code = _refuse(UsageError(_sentence(error)))
    except (Exception, KeyboardInterrupt) as error:  # the last line of defence: never a traceback
        code = _refuse(error)
    sys.exit(code if isinstance(code, int) else ExitCode.COMPLETE)


def _refuse(error: BaseException) -> int:
    """Tell of an error that no command has told of."""
    from bulk_eraser.cli.ending import as_error, refusal, tell_ending  # not needed for help

    told: BulkEraserError = as_error(error)
    json = "--json" in sys.argv or os.environ.get("BULK_ERASER_JSON", "0") not in ("", "0")
    tell_ending(Output(json=json), refusal(told), input_path="")
    return told.exit_code


def _sentence(error: TyperException) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    command = next((f" {word}" for word in sys.argv[1:2] if word in COMMANDS), "")
    return f"{' '.join(text.split()).rstrip('.')}. See `bulk-eraser{command} --help`."

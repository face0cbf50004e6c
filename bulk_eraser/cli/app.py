"""The command `bulk-eraser`: parse, run, exit code. No traceback ever reaches the user."""

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bulk_eraser import __version__
from bulk_eraser.cli.check import check
from bulk_eraser.cli.ending import as_error, refusal, tell_ending
from bulk_eraser.cli.follow import follow
from bulk_eraser.cli.output import Output, fill_closed_streams
from bulk_eraser.cli.pseudonymize import pseudonymize
from bulk_eraser.cli.run import run
from bulk_eraser.cli.simulate import simulate
from bulk_eraser.cli.verify import verify
from bulk_eraser.errors import BulkEraserError, ExitCode, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="bulk-eraser",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(check)
app.command()(run)
app.command()(follow)
app.command()(verify)
app.command()(pseudonymize)
app.command()(simulate)


COMMANDS = ("check", "follow", "pseudonymize", "run", "simulate", "verify")


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
        code = _refuse(as_error(error))
    sys.exit(code if isinstance(code, int) else ExitCode.COMPLETE)


def _refuse(error: BulkEraserError) -> int:
    """Tell of an error that no command has told of."""
    json = "--json" in sys.argv or os.environ.get("BULK_ERASER_JSON", "0") not in ("", "0")
    tell_ending(Output(json=json), refusal(error), input_path="")
    return error.exit_code


def _sentence(error: TyperException) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    command = next((f" {word}" for word in sys.argv[1:2] if word in COMMANDS), "")
    return f"{' '.join(text.split()).rstrip('.')}. See `bulk-eraser{command} --help`."

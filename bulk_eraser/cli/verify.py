"""`bulk-eraser verify`: is the ledger what was written, and does it account for every row?"""

import json
import re
from dataclasses import asdict
from typing import Annotated

import typer

from bulk_eraser.cli import options
from bulk_eraser.cli.arguments import (
    ignore_signals,
    naming_of,
    progress_of,
    raise_on_signals,
    reading_of,
)
from bulk_eraser.cli.ending import as_error
from bulk_eraser.cli.output import Output, printable
from bulk_eraser.cli.verify_text import tell
from bulk_eraser.errors import BulkEraserError, ExitCode, UsageError
from bulk_eraser.evidence.verification import VerifyRequest, VerifyResult
from bulk_eraser.evidence.verification import verify as verify_ledgers

__all__ = ["verify"]


def verify(
    ledger: Annotated[
        list[str], typer.Argument(metavar="LEDGER...", help="The ledgers to look at.")
    ],
    expect_head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHA256",
            help="A head that was kept: it must be one of the commits. Repeatable.",
        ),
    ] = None,
    input_path: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="FILE", help="Account for every row of this input, read as it was."
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write line, key and state of every row as CSV."),
    ] = None,
    format_: options.Format = None,
    key_field: options.KeyField = None,
    no_header: options.NoHeader = False,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    received_field: options.ReceivedField = None,
    reference_field: options.ReferenceField = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Prove that ledgers are what was written. Changes nothing, sends nothing, needs no API key.

    With --input every row must have an outcome in one of the ledgers. How the file is read is taken
    from the run that read it, unless options say otherwise.
    """
    output = Output(quiet=quiet, json=json_)
    result = VerifyResult()
    try:
        raise_on_signals()
        asked = reading_of(
            format_,
            key_field,
            no_header,
            delimiter,
            encoding,
            sheet,
            received_field,
            reference_field,
        )
        if rows is not None and input_path is None:
            raise UsageError("--rows tells of the rows of an input: name that with --input.")
        request = VerifyRequest(
            ledgers=ledger,
            heads=[_valid_head(head) for head in expect_head or ()],
            input_path=input_path,
            reading=asked,
            rows_path=rows,
            naming=lambda: naming_of(True, output),
        )
        verify_ledgers(request, result, progress_of(output))
        tell(output, result)
    except (Exception, KeyboardInterrupt) as error:
        told = as_error(error)
        if told.exit_code is ExitCode.INTERNAL:
            told = BulkEraserError(
                f"Internal error: {type(error).__name__}. Nothing is proven by this; please report "
                "this line."
            )
        result.fail(told)
        output.error(printable(str(told)))
    ignore_signals()
    if output.json:
        output.raw_result(json.dumps(asdict(result)))
    return result.exit_code


# ── what is looked at ───────────────────────────────────────────────────────────────────────────


def _valid_head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.strip().lower()):
        raise UsageError("--expect-head takes a head as `run` prints it: 64 hexadecimal digits.")
    return text.strip().lower()

"""`bulk-eraser pseudonymize`: a ledger without customer keys, from one that has them."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from bulk_eraser.cli import options
from bulk_eraser.cli.arguments import ignore_signals, naming_of, raise_on_signals
from bulk_eraser.cli.ending import as_error
from bulk_eraser.cli.output import Output, counted, printable
from bulk_eraser.errors import Result
from bulk_eraser.evidence.pseudonymize import pseudonymize as convert

__all__ = ["pseudonymize"]

SUFFIX = ".ledger.ndjson"


@dataclass
class Converted(Result):
    """The object that `--json` prints; `ledger` is the new one, `lines` includes its commits."""

    ledger: str | None = None
    head: str | None = None
    lines: int = 0


def pseudonymize(
    ledger: Annotated[str, typer.Argument(metavar="LEDGER", help="The ledger to convert.")],
    new: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="PATH",
            help="The new ledger. [default: the old one's name with .pseudonyms.ledger.ndjson]",
        ),
    ] = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Write a copy of LEDGER with HMAC-SHA256 pseudonyms instead of customer keys.

    The secret is in the file that BULK_ERASER_PEPPER_FILE names; with it and the input, the new
    ledger is continued (`run --pseudonymize`) and verified as the old one was. That one stays.
    """
    output = Output(quiet=quiet, json=json_)
    converted = Converted()
    try:
        raise_on_signals()
        path = new or ledger.removesuffix(SUFFIX).removesuffix(".ndjson") + ".pseudonyms" + SUFFIX
        converted.head, converted.lines = convert(ledger, path, naming_of(True, output))
        converted.ledger = path
        if not output.json:
            lines = counted(converted.lines, "line")
            output.result(f"Ledger {printable(path)}: {lines}, head {converted.head}")
        output.say(
            f"Look at it with `bulk-eraser verify`, keep the pepper, then delete "
            f"{printable(os.path.basename(ledger))}, its .tail files and its copies."
        )
    except (Exception, KeyboardInterrupt) as error:
        converted.fail(as_error(error))
        output.error(printable(converted.error or ""))
    ignore_signals()
    if output.json:
        output.raw_result(json.dumps(asdict(converted)))
    return converted.exit_code

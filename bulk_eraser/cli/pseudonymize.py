"""`bulk-eraser pseudonymize`: a ledger without customer keys, from one that has them."""

import os
from dataclasses import dataclass
from functools import partial

from bulk_eraser.cli.options.bundles import Bundle, argument, command, option
from bulk_eraser.cli.options.ledger_path import LEDGER_SUFFIX
from bulk_eraser.cli.options.secrets import naming_of
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Result
from bulk_eraser.evidence.pseudonymize import pseudonymize as convert
from bulk_eraser.wording import counted, printable

__all__ = ["Converted", "pseudonymize"]


@dataclass
class Converted(Result):
    """What was converted; `ledger` is the new one, `lines` includes its commits."""

    ledger: str | None = None
    head: str | None = None
    lines: int = 0


@dataclass(frozen=True, kw_only=True)
class PseudonymizeOptions(Bundle):
    """What `pseudonymize` has and no other command."""

    heading = "The copy"

    ledger: str = argument("LEDGER", "The ledger to convert.")
    output: str | None = option(
        "PATH",
        "The new ledger. [default: the old one's name with .pseudonyms.ledger.ndjson]",
        env=False,
    )

    @property
    def new_ledger(self) -> str:
        stem = self.ledger.removesuffix(LEDGER_SUFFIX).removesuffix(".ndjson")
        return self.output or f"{stem}.pseudonyms{LEDGER_SUFFIX}"


@command(
    ("Name the file with the secret", "export BULK_ERASER_PEPPER_FILE=pepper"),
    (
        "Write customers.pseudonyms.ledger.ndjson",
        "bulk-eraser pseudonymize customers.ledger.ndjson",
    ),
    (
        "Is the copy sound, and is every row in it?",
        "bulk-eraser verify customers.pseudonyms.ledger.ndjson --input customers.csv",
    ),
)
def pseudonymize(given: PseudonymizeOptions, told: OutputOptions) -> int:
    """Write a copy of LEDGER with HMAC-SHA256 pseudonyms instead of customer keys.

    Their secret (pepper) is in the file that BULK_ERASER_PEPPER_FILE names. With it and the input,
    the new ledger can be continued (`run --pseudonymize`) and verified like the old one, which
    stays as it is.
    """
    output, result = told.output(), Converted()

    def work() -> Converted:
        naming = naming_of(True, output)
        result.head, result.lines = convert(given.ledger, given.new_ledger, naming)
        result.ledger = given.new_ledger
        return result

    return conclude(output, result, work, partial(_tell, given))


def _tell(given: PseudonymizeOptions, output: Output, result: Converted) -> None:
    lines = counted(result.lines, "line")
    output.result(f"Ledger {printable(given.new_ledger)}: {lines}, head {result.head}")
    output.say(
        f"Verify it with `bulk-eraser verify`, keep the secret (pepper), then delete "
        f"{printable(os.path.basename(given.ledger))}, its .tail files and its copies."
    )

"""`bulk-eraser verify`: is the ledger what was written, and does it account for every row?"""

import re
from dataclasses import dataclass

from bulk_eraser.cli.options.bundles import Bundle, argument, command, flag, option
from bulk_eraser.cli.options.proofs import StampsOptions
from bulk_eraser.cli.options.secrets import naming_of
from bulk_eraser.cli.options.shared import OutputOptions, ReadingOptions
from bulk_eraser.cli.terminal.ending import conclude, tell_failure
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.cli.terminal.verify_text import tell
from bulk_eraser.errors import UsageError
from bulk_eraser.evidence.seal import named_by
from bulk_eraser.evidence.verification import verify as verify_ledgers
from bulk_eraser.evidence.verify_request import VerifyRequest, VerifyResult
from bulk_eraser.wording import STATE_MEANINGS

__all__ = ["VerifyOptions", "request_of", "valid_head", "verify"]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Bundle):
    """What `verify` has and no other command."""

    heading = "What is proven"

    ledger: tuple[str, ...] = argument(
        "LEDGER", "The ledgers to verify, or seals of them.", several=True
    )
    expect_head: tuple[str, ...] = option(
        "SHA256",
        "A head that was kept: it must be one of the commits. Can be repeated.",
        multiple=True,
        env=False,
    )
    receipt: tuple[str, ...] = option(
        "FILE",
        "A receipt that was kept: its head must be one of the commits, and what it says of its run "
        "must be what the ledger says. Can be repeated.",
        multiple=True,
        env=False,
    )
    expect_done: bool = flag(
        "End with 3 unless everybody who was to be erased is: every row of --input, or every key.",
        env=False,
    )
    input: str | None = option("FILE", "Account for every row of this file.", env=False)
    rows: str | None = option(
        "FILE",
        "Write every row to FILE as CSV: line, key, state, error, reference, received, jid, "
        "accepted_at, job_status, due.",
        env=False,
    )


@command(
    ("Is the ledger as it was written?", "bulk-eraser verify customers.ledger.ndjson"),
    (
        "Is every row of the input accounted for?",
        "bulk-eraser verify customers.ledger.ndjson --input customers.csv",
    ),
    (
        "Is everybody erased? A table of every row, for an auditor",
        "bulk-eraser verify customers.ledger.ndjson --input customers.csv \\\n"
        "      --expect-done --rows rows.csv",
    ),
)
def verify(
    given: VerifyOptions, stamped: StampsOptions, source: ReadingOptions, told: OutputOptions
) -> int:
    """Prove that ledgers are unchanged since they were written.

    Changes no ledger, needs no API key, and sends nothing but a head, for --timestamp. With
    --input, every row must have an outcome in one of the ledgers; the file is read as the run read
    it, unless options say otherwise.
    """
    output, result = told.output(), VerifyResult()

    def work() -> VerifyResult:
        authority = stamped.authority()
        request = request_of(given, stamped, source, output)
        verify_ledgers(request, result, output.survey_progress)
        stamped.stamp_heads(output, authority, result)
        return result

    in_step = in_a_step("verify", tell, STATE_MEANINGS)
    return conclude(output, result, work, in_step, in_a_step("verify", tell_failure))


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def request_of(
    given: VerifyOptions, stamped: StampsOptions, source: ReadingOptions, output: Output
) -> VerifyRequest:
    reading = source.reading()
    if given.rows is not None and given.input is None:
        raise UsageError("--rows lists the rows of an input. Name the input with --input.")
    named = named_by(given.ledger)
    return VerifyRequest(
        ledgers=named.ledgers,
        sealed=named.sealed,
        heads=[valid_head(head) for head in given.expect_head],
        receipts=given.receipt,
        stamps=stamped.stamps(named.ledgers),
        expect_stamps=stamped.timestamp_ca is not None,
        input_path=given.input,
        reading=reading,
        rows_path=given.rows,
        expect_done=given.expect_done,
        anew=True,
        naming=lambda: naming_of(True, output),
    )


def valid_head(text: str) -> str:
    """Raises `UsageError` for what is no head."""
    if not re.fullmatch(r"[0-9a-f]{64}", text.strip().lower()):
        raise UsageError("--expect-head must be a head as `run` prints it: 64 hexadecimal digits.")
    return text.strip().lower()

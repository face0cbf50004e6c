"""`bulk-eraser verify`: is the ledger what was written, and does it account for every row?"""

import json
import os
import re
from contextlib import closing
from dataclasses import asdict
from hashlib import file_digest
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
from bulk_eraser.cli.ending import as_error, outcome_of
from bulk_eraser.cli.output import Output, printable
from bulk_eraser.cli.verified import (
    Verified,
    judge,
    note_findings,
    note_ledgers,
    note_rows,
    tell,
    write_rows,
)
from bulk_eraser.errors import BulkEraserError, ConfigurationError, ExitCode, UsageError
from bulk_eraser.evidence.audit import Audit, LedgerAccount
from bulk_eraser.ledger.pseudonyms import RAW, RAW_KEYS, KeyNaming
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake, survey_of

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
    verified = Verified()
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
        heads = [_valid_head(head) for head in expect_head or ()]
        with closing(Audit(ledger, heads)) as audit:
            note_ledgers(verified, audit, heads)
            if input_path is None:
                audit.walk()
            else:
                audit.must_be_of_one_target()
                naming = _naming(audit.ledgers, output)
                reader = InputReader(input_path, _as_it_was_read(audit.ledgers, input_path, asked))
                intake = Intake(reader, allow_numeric_like=True, naming=naming)
                progress = progress_of(output)
                survey = survey_of(intake, audit.standings, retry_failed=True, progress=progress)
                with closing(survey):
                    audit.look_for_extra(survey)
                    note_rows(verified, audit, survey)
                    if rows is not None:
                        write_rows(rows, survey)
            note_findings(verified, audit)
            judge(verified, audit)
            tell(output, verified)
    except (Exception, KeyboardInterrupt) as error:
        told = as_error(error)
        if told.exit_code is ExitCode.INTERNAL:
            told = BulkEraserError(
                f"Internal error: {type(error).__name__}. Nothing is proven by this; please report "
                "this line."
            )
        verified.outcome, verified.exit_code = outcome_of(told), told.exit_code
        verified.error = str(told)
        output.error(printable(verified.error))
    ignore_signals()
    if output.json:
        output.raw_result(json.dumps(asdict(verified)))
    return verified.exit_code


# ── what is looked at ───────────────────────────────────────────────────────────────────────────


def _valid_head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.strip().lower()):
        raise UsageError("--expect-head takes a head as `run` prints it: 64 hexadecimal digits.")
    return text.strip().lower()


def _naming(ledgers: list[LedgerAccount], output: Output) -> KeyNaming:
    """How the ledgers name keys. Raises `ConfigurationError` where the input cannot be compared."""
    kinds = {(run.started.keys, run.started.pepper_check) for it in ledgers for run in it.runs}
    if not kinds or (RAW, None) in kinds:
        return RAW_KEYS
    naming = naming_of(True, output)
    if (naming.kind, naming.pepper_check) not in kinds:
        raise ConfigurationError(
            "The pepper in the file that BULK_ERASER_PEPPER_FILE names is not the one with which "
            "the ledger was written. Name the right file."
        )
    return naming


def _as_it_was_read(ledgers: list[LedgerAccount], path: str, asked: Reading) -> Reading:
    """How the last run that had this very file read it, for what is not asked otherwise."""
    read = [run.started.input for account in ledgers for run in account.runs]
    if not os.path.isfile(path):  # a pipe, which is read only once, or what the reader will tell
        return asked
    try:
        with open(path, "rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError:  # which the reader will tell
        return asked
    known = next((facts for facts in reversed(read) if facts and facts.sha256 == digest), None)
    if known is None or asked != Reading(format=asked.format):
        return asked
    return Reading(
        format=asked.format or known.format,
        key_field=known.key_field,
        header=known.header,
        delimiter=known.delimiter,
        encoding=None if known.format == "xlsx" else known.encoding,
        sheet=known.sheet,
        received_field=known.received_field,
        reference_field=known.reference_field,
    )

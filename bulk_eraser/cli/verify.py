"""`bulk-eraser verify`: is the ledger what was written, and does it account for every row?"""

import os
import re
from contextlib import closing
from dataclasses import dataclass
from hashlib import file_digest

from bulk_eraser.cli.bundles import Bundle, argument, command, option
from bulk_eraser.cli.ending import conclude, ended_by
from bulk_eraser.cli.options import OutputOptions, ReadingOptions
from bulk_eraser.cli.output import Output
from bulk_eraser.cli.secrets import naming_of
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


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Bundle):
    """What `verify` has and no other command."""

    ledger: tuple[str, ...] = argument("LEDGER", "The ledgers to verify.", several=True)
    expect_head: tuple[str, ...] = option(
        "SHA256",
        "A head that was kept: it must be one of the commits. Can be repeated.",
        multiple=True,
        env=False,
    )
    input: str | None = option("FILE", "Account for every row of this file.", env=False)
    rows: str | None = option(
        "FILE", "Write line, key and state of every row to FILE as CSV.", env=False
    )


@dataclass(frozen=True)
class VerifyRequest:
    """What is looked at: ledgers, heads that were kept, an input, and where its rows are told."""

    ledgers: list[str]
    heads: list[str]
    input_path: str | None
    reading: Reading
    rows_path: str | None


@command
def verify(given: VerifyOptions, source: ReadingOptions, told: OutputOptions) -> int:
    """Prove that ledgers are unchanged since they were written.

    Changes nothing, sends nothing, needs no API key. With --input, every row must have an outcome
    in one of the ledgers; the file is read as the run read it, unless options say otherwise.
    """
    output, verified = told.output(), Verified()

    def work() -> Verified:
        return _execute(_request(given, source), verified, output)

    def ended(error: BulkEraserError) -> Verified:
        return ended_by(verified, _proving_nothing(error))

    return conclude(output, work, ended, tell)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _request(given: VerifyOptions, source: ReadingOptions) -> VerifyRequest:
    reading = source.reading()
    if given.rows is not None and given.input is None:
        raise UsageError("--rows lists the rows of an input. Name the input with --input.")
    heads = [_valid_head(head) for head in given.expect_head]
    return VerifyRequest(list(given.ledger), heads, given.input, reading, given.rows)


def _valid_head(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.strip().lower()):
        raise UsageError("--expect-head must be a head as `run` prints it: 64 hexadecimal digits.")
    return text.strip().lower()


# ── what is done ────────────────────────────────────────────────────────────────────────────────


def _execute(request: VerifyRequest, verified: Verified, output: Output) -> Verified:
    with closing(Audit(request.ledgers, request.heads)) as audit:
        note_ledgers(verified, audit, request.heads)
        if request.input_path is None:
            audit.walk()
        else:
            _account(request, request.input_path, audit, verified, output)
        note_findings(verified, audit)
        judge(verified, audit)
    return verified


def _account(
    request: VerifyRequest, path: str, audit: Audit, verified: Verified, output: Output
) -> None:
    """What became of every row of the input at `path`."""
    audit.must_be_of_one_target()
    naming = _naming(audit.ledgers, output)
    reader = InputReader(path, _as_it_was_read(audit.ledgers, path, request.reading))
    intake = Intake(reader, allow_numeric_like=True, naming=naming)
    progress = output.survey_progress
    survey = survey_of(intake, audit.standings, retry_failed=True, progress=progress)
    with closing(survey):
        audit.look_for_extra(survey)
        note_rows(verified, audit, survey)
        if request.rows_path is not None:
            write_rows(request.rows_path, survey)


def _proving_nothing(error: BulkEraserError) -> BulkEraserError:
    """A bug is no word about the ledger, whatever its usual text says of it."""
    if error.exit_code is not ExitCode.INTERNAL:
        return error
    bug = error.__cause__ or error
    return BulkEraserError(
        f"Internal error: {type(bug).__name__}. Nothing is proven by this; please report this line."
    )


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

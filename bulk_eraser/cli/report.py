"""`bulk-eraser report`: evidence for people, and for the programs that show it to people."""

import io
import os
from codecs import BOM_UTF8
from dataclasses import dataclass
from datetime import UTC, datetime

from bulk_eraser.atomic_file import replacing
from bulk_eraser.cli.options.bundles import Bundle, argument, command, option
from bulk_eraser.cli.options.proofs import KeptStampsOptions
from bulk_eraser.cli.options.secrets import naming_of
from bulk_eraser.cli.options.shared import QuietOptions, ReadingOptions, ReportedOptions, date_of
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.verify import valid_head
from bulk_eraser.errors import ExitCode, Result, UsageError
from bulk_eraser.evidence.report.text import in_full
from bulk_eraser.evidence.report.words import headline
from bulk_eraser.evidence.report.writers import (
    TABLE_BEGINS,
    WRITERS,
    must_be_replaceable,
    unwritable,
    write,
)
from bulk_eraser.evidence.row_table import AddRow, table_writer
from bulk_eraser.evidence.seal import named_by
from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.evidence.summing import summarize
from bulk_eraser.evidence.verify_request import VerifyRequest
from bulk_eraser.wording import printable

__all__ = ["ReportOptions", "WriterOptions", "report", "write_all"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ReportedOptions):
    """What `report` has and no other command."""

    heading = "What is reported"

    ledger: tuple[str, ...] = argument(
        "LEDGER", "The ledgers to report on, or seals of them.", several=True
    )
    input: str | None = option("FILE", "Report on every row of this file.", env=False)
    expect_head: tuple[str, ...] = option(
        "SHA256",
        "A head that was kept: is it one of the commits? Can be repeated.",
        multiple=True,
        env=False,
    )
    receipt: tuple[str, ...] = option(
        "FILE",
        "A receipt that was kept: does it fit the ledgers? Can be repeated.",
        multiple=True,
        env=False,
    )


@dataclass(frozen=True, kw_only=True)
class WriterOptions(Bundle):
    """Where each kind of report is put; the text goes to standard output if none is named."""

    heading = "What is written"

    html: str | None = option("FILE", "One page for the case file.", env=False)
    markdown: str | None = option("FILE", "For a step summary or a ticket.", env=False)
    json: str | None = option("FILE", "Every number, for programs.", env=False)
    csv: str | None = option("FILE", "A row for each key, for a spreadsheet.", env=False)
    junit: str | None = option("FILE", "For a pipeline that shows tests.", env=False)
    metrics: str | None = option("FILE", "For Prometheus and GitLab.", env=False)
    dotenv: str | None = option("FILE", "NAME=value lines, for the next job.", env=False)

    def named(self) -> dict[str, str]:
        """Writer → path, of those that were asked for; the table is not among them."""
        paths = {name: getattr(self, name) for name in WRITERS}
        return {name: path for name, path in paths.items() if path is not None}


@command(
    ("What became of everybody, on the screen", "bulk-eraser report customers.ledger.ndjson"),
    (
        "The page for the case file, and a table of every row",
        "bulk-eraser report customers.ledger.ndjson --input customers.csv \\\n"
        "      --html customers.html --csv customers.report.csv",
    ),
    (
        "What a pipeline shows",
        "bulk-eraser report customers.ledger.ndjson --junit erasure.xml --metrics erasure.prom",
    ),
)
def report(
    given: ReportOptions,
    stamped: KeptStampsOptions,
    source: ReadingOptions,
    writers: WriterOptions,
    told: QuietOptions,
) -> int:
    """Write evidence for people out of ledgers: for the case file, a pipeline, a spreadsheet.

    Changes no ledger, sends nothing, needs no API key. Ends with 0 once the reports are written,
    whatever they say, and with 79 for a ledger that was changed. A report takes the place of an
    older one of its kind, and of no other file.
    """
    output, result = told.output(), Result()

    def work() -> Result:
        write_all(result, given, stamped, source, writers, output)
        return result

    return conclude(output, result, work)


def write_all(
    result: Result,
    given: ReportOptions,
    stamped: KeptStampsOptions,
    source: ReadingOptions,
    writers: WriterOptions,
    output: Output,
) -> None:
    """Read the ledgers, write what is asked for, tell it, and fill in how it ended.

    Raises `UsageError` and `ConfigurationError` for what cannot be read or replaced.
    """
    named = writers.named()
    _must_be_replaceable(named, writers.csv)
    summary = _summary_and_table(given, stamped, source, writers.csv, output)
    for name, path in named.items():
        write(name, path, summary)
    _tell(output, summary, [*named.values(), *([writers.csv] if writers.csv else [])])
    if summary.standing is Standing.NOT_PROVEN:
        result.outcome, result.exit_code = "refused", ExitCode.LEDGER_DAMAGED


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _must_be_replaceable(named: dict[str, str], table: str | None) -> None:
    paths = [os.path.realpath(path) for path in (*named.values(), *([table] if table else []))]
    if len(set(paths)) < len(paths):
        raise UsageError("Two reports are to be written to the same file. Name another for one.")
    for name, path in named.items():
        must_be_replaceable(name, path, WRITERS[name].begins)
    if table:
        must_be_replaceable("csv", table, TABLE_BEGINS)


def _summary_and_table(
    given: ReportOptions,
    stamped: KeptStampsOptions,
    source: ReadingOptions,
    table: str | None,
    output: Output,
) -> Summary:
    """Read the ledgers once; the table's rows are written on the way."""
    named = named_by(given.ledger)
    request = VerifyRequest(
        ledgers=named.ledgers,
        sealed=named.sealed,
        heads=[valid_head(head) for head in given.expect_head],
        receipts=given.receipt,
        stamps=stamped.stamps(named.ledgers),
        expect_stamps=stamped.timestamp_ca is not None,
        input_path=given.input,
        reading=source.reading(),
        naming=lambda: naming_of(True, output),
    )

    def summary_of(add_row: AddRow | None) -> Summary:
        return summarize(
            request,
            datetime.now(UTC),
            output.survey_progress,
            received=date_of("--received", given.received),
            show_keys=given.show_keys,
            add_row=add_row,
        )

    if table is None:
        return summary_of(None)
    try:
        with replacing(table, 0o600) as raw:
            raw.write(BOM_UTF8)  # by which a spreadsheet takes it for UTF-8
            file = io.TextIOWrapper(raw, "utf-8", "replace", newline="")
            summary = summary_of(table_writer(file))
            file.detach()
        return summary
    except OSError as error:
        raise unwritable(table, error) from None


def _tell(output: Output, summary: Summary, written: list[str]) -> None:
    """The text, or where the reports are; the verdict in any case."""
    if not written:
        output.result(in_full(summary))
        return
    for path in written:
        output.say(f"Written: {printable(path)}")
    output.always(headline(summary))

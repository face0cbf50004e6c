"""`bulk-eraser run`: options → order and settings → survey → consent → run → exit code."""

import os
import resource
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bulk_eraser.cli.bundles import Bundle, Number, command, flag, option
from bulk_eraser.cli.consent import Consent, ask_consent, describe
from bulk_eraser.cli.ending import command_line, conclude
from bulk_eraser.cli.ledger_path import ledger_path_of
from bulk_eraser.cli.not_started import not_started
from bulk_eraser.cli.options import (
    InputOptions,
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    text_of,
)
from bulk_eraser.cli.output import Output
from bulk_eraser.cli.secrets import naming_of
from bulk_eraser.cli.service import SIMULATED_KEY, ServiceOptions, warn_of_end_of_life
from bulk_eraser.cli.wording import (
    attempt_error,
    counted,
    counts_table,
    duration,
    printable,
)
from bulk_eraser.elevate.endpoints import Target
from bulk_eraser.errors import ExitCode, LedgerWriteError, UsageError
from bulk_eraser.evidence.receipt import receipt_must_be_writable, receipt_of, write_receipt
from bulk_eraser.records import RunStarted
from bulk_eraser.sending.order import REHEARSAL, Ending, Order
from bulk_eraser.settings import FailureLimit, RunSettings
from bulk_eraser.survey.plan import read_plan
from bulk_eraser.survey.survey import Fate

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Batch

__all__ = ["run"]

OTHER_FILES = 40
"""Files that are open beside the connections: ledger, input, temporary files, event loop."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(Bundle):
    """What `run` has and no other command."""

    ledger: str | None = option(
        "PATH",
        "Where every step is recorded, and from where an interrupted run continues. "
        "[default: the input's name with .ledger.ndjson]",
    )
    strict: bool = flag("Send nothing if any row is rejected.")
    no_exclude: bool = flag("Run without a hold list although earlier runs had one.")
    max_failures: str = option(
        "N|P%",
        "Stop when more keys than this have failed: a number, or a percentage (from 100 keys on).",
        default="20%",
    )
    limit: int | None = option("N", "Send only the first N unsettled keys.", type=Number(100))
    retry_failed: bool = flag(
        "Send keys again that were permanently refused, or whose job ended in error or was not "
        "found.",
        env=False,
    )
    plan: str | None = option(
        "FILE", "Send only if everything is as in this plan, which `check --plan` wrote."
    )
    requester: str | None = option("TEXT", "Who ordered the erasure; recorded in the ledger.")
    reference: str | None = option("TEXT", "Ticket or case; recorded in the ledger.")
    receipt: str | None = option(
        "FILE",
        "Write head, counts, input, target and times of this run to FILE, to be kept elsewhere.",
    )
    pseudonymize: bool = flag(
        "Record HMAC-SHA256 pseudonyms in the ledger instead of the keys. Their secret (pepper) is "
        "in the file that BULK_ERASER_PEPPER_FILE names."
    )
    rehearse: bool = flag(
        "Do the same run against a simulator on this computer, with some faults. Nothing is erased."
    )
    dry_run: bool = flag("Read everything and show what would be sent; send and write nothing.")
    yes: bool = flag("Give consent: send without asking. An erasure cannot be undone.", env=False)


@dataclass(frozen=True)
class RunRequest:
    """What is to be done, complete and valid, before anything is read or written."""

    order: Order
    settings: RunSettings
    api_key: str
    consent: Consent
    receipt: str | None
    dry_run: bool
    verbose: bool


@command
def run(
    target: TargetOptions,
    given: RunOptions,
    service: ServiceOptions,
    source: InputOptions,
    pace: PaceOptions,
    told: VerboseOutputOptions,
) -> int:
    """Create a removal job for every customer key in INPUT. Run it again to continue.

    Shows what will be sent and asks for consent first. Every step is on disk in the ledger before
    the next one, so the same command continues a run that was interrupted, in whatever way.
    """
    output = told.output()

    def work() -> Ending:
        settings = _settings(given, target, pace)
        is_sent = not (given.rehearse or given.dry_run)
        request = RunRequest(
            settings=settings,
            api_key=service.api_key(output) if is_sent else SIMULATED_KEY,
            order=_order(given, source, service, settings, output),
            consent=_consent(given),
            receipt=given.receipt,
            dry_run=given.dry_run,
            verbose=told.verbose,
        )
        return _execute(request, output)

    tell = partial(_tell, source.input_path, given.dry_run)
    return conclude(output, work, partial(not_started, ledger=given.ledger), tell, tell)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _settings(given: RunOptions, target: TargetOptions, pace: PaceOptions) -> RunSettings:
    rehearsal = Target(REHEARSAL, "", cluster=False)
    return RunSettings(
        target=rehearsal if given.rehearse else target.target(),
        api_version=target.api_version,
        concurrency=pace.concurrency,
        rate=pace.rate,
        max_attempts=pace.max_attempts,
        timeout=pace.timeout,
        max_outage=pace.max_outage,
        max_failures=FailureLimit.parse(given.max_failures),
        limit=given.limit,
        retry_failed=given.retry_failed,
        simulated=given.rehearse,
    )


def _order(
    given: RunOptions,
    source: InputOptions,
    service: ServiceOptions,
    settings: RunSettings,
    output: Output,
) -> Order:
    if source.exclude and given.no_exclude:
        raise UsageError("--exclude and --no-exclude contradict each other: use one of them.")
    naming = naming_of(given.pseudonymize, output)
    order = Order(
        intake=source.intake(strict=given.strict, naming=naming),
        ledger_path=ledger_path_of(
            source.input_path,
            given.ledger,
            is_format_given=source.format is not None,
            rehearse=given.rehearse,
        ),
        no_hold_list=given.no_exclude,
        route=service.route(settings.target, settings.api_version),
        plan=None if given.plan is None else read_plan(given.plan),
        requester=text_of("--requester", given.requester),
        reference=text_of("--reference", given.reference),
    )
    if given.receipt is not None:
        receipt_must_be_writable(given.receipt, order.ledger_path)
    return order


def _consent(given: RunOptions) -> Consent:
    if given.yes or given.rehearse or given.dry_run:
        return Consent.GIVEN
    return Consent.PLANNED if given.plan else Consent.ASK


# ── what is done ────────────────────────────────────────────────────────────────────────────────


def _execute(request: RunRequest, output: Output) -> Ending:
    # Not before the options are known to be good, so that errors in them come at once.
    from bulk_eraser.cli.display import Display
    from bulk_eraser.cli.event_loop import event_loop_runner
    from bulk_eraser.sending.run import prepare

    order = request.order
    _must_not_be_the_input(order)
    settings = _within_file_limit(request.settings, output)
    batch = prepare(order, settings, dry_run=request.dry_run, progress=output.survey_progress)
    try:
        describe(batch, output, verbose=request.verbose)
        warn_of_end_of_life(settings.api_version, output)
        if request.dry_run:
            would = f"{counted(batch.to_send, 'key')} would be sent"
            output.always(f"Dry run: {would}. Nothing was sent, nothing was written.")
            return _dry_ending(batch)
        if batch.to_send:
            ask_consent(batch, request.consent, output)
        with event_loop_runner() as runner:
            ending = runner.run(batch.carry_out(request.api_key, Display(output)))
        if request.receipt and batch.started:
            ending = _with_receipt(request.receipt, batch.started, ending)
        _tell_errors(batch, output)
        return ending
    finally:
        batch.close()


def _tell_errors(batch: "Batch", output: Output) -> None:
    if errors := batch.tally.errors.most_common():
        output.say("Failed or unknown in this run:")
        for word, count in errors:
            output.say(f"  {count:,}  {attempt_error(word)}")


def _with_receipt(path: str, started: RunStarted, ending: Ending) -> Ending:
    """Write the receipt; where that fails, the run ends as if its ledger could not be written."""
    try:
        write_receipt(path, receipt_of(started, ending), ending.ledger or "")
    except LedgerWriteError as error:
        reasons = " ".join(filter(None, (ending.error, str(error))))
        return replace(ending, outcome="error", exit_code=error.exit_code, error=reasons)
    return ending


def _dry_ending(batch: "Batch") -> Ending:
    """What is so now. Keys that would be sent may still end well; what nobody would send again,
    and rows that cannot be sent, do not."""
    counts, fates = batch.tally.counts(), batch.survey.fates
    is_bad = counts["rejected"] or fates[Fate.REFUSED]
    return Ending(
        outcome="complete",
        exit_code=ExitCode.SOME_ROWS if is_bad else ExitCode.COMPLETE,
        error=None,
        counts=counts,
        requests=0,
        retries=0,
        survey_s=round(batch.survey_s, 3),
        elapsed_s=0.0,
        ledger=batch.file.path,
        head=batch.file.head if batch.file.exists else None,
    )


def _must_not_be_the_input(order: Order) -> None:
    path = order.intake.reader.file.path
    if (
        path != "-"
        and os.path.exists(order.ledger_path)
        and os.path.samefile(path, order.ledger_path)
    ):
        raise UsageError("The ledger and the input are the same file. Name another with --ledger.")


def _within_file_limit(settings: RunSettings, output: Output) -> RunSettings:
    """Raise the limit of open files if it is too low, else lower the concurrency."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.concurrency + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return settings
    if hard == resource.RLIM_INFINITY or hard >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return settings
    room = max(1, soft - OTHER_FILES)
    output.warn(f"only {soft} files may be open, so --concurrency is lowered to {room}.")
    return replace(settings, concurrency=room)


# ── what is told ────────────────────────────────────────────────────────────────────────────────


def _tell(input_path: str, dry_run: bool, output: Output, ending: Ending) -> None:
    """The counts, how it ended, and the command that continues it."""
    if ending.counts["rows"]:
        output.result(counts_table(ending.counts))
        if ending.requests:
            requests = counted(ending.requests, "request")
            repeated = f", including {counted(ending.retries, 'retry')}" if ending.retries else ""
            output.result(f"  {requests} in {duration(ending.elapsed_s)}{repeated}")
    if ending.head is not None:
        output.say(f"Ledger {printable(ending.ledger or '')}, head {ending.head}")
    if dry_run and ending.error is None:
        return
    _tell_how(output, ending)
    if _is_resumable(ending):
        again = " (pipe in the same input)" if input_path == "-" else ""
        output.always(f"Continue with{again}: {command_line(sys.argv[1:])}")


def _tell_how(output: Output, ending: Ending) -> None:
    counts = ending.counts
    if ending.outcome == "interrupted":
        output.always(ending.error or "Stopped.")
    elif ending.error is not None:
        output.error(printable(ending.error))
    elif ending.exit_code == ExitCode.NOT_FINISHED:
        output.always("Not finished: --limit left keys for a later run.")
    elif ending.exit_code == ExitCode.SOME_ROWS:
        parts = [f"{counts[n]:,} {n}" for n in ("failed", "unknown", "rejected") if counts[n]]
        output.always(f"Reached the end, but not every row is settled well: {', '.join(parts)}.")
    else:
        output.always("Complete: every row of this input is settled.")


def _is_resumable(ending: Ending) -> bool:
    """Is there something that the same command would do?"""
    if ending.outcome == "refused":
        return False
    counts = ending.counts
    return ending.exit_code != ExitCode.COMPLETE and bool(
        ending.error or counts["not_reached"] or counts["failed"] or counts["unknown"]
    )

"""`bulk-eraser run`: options → settings → survey → consent → run → exit code."""

import os
import resource
from dataclasses import replace

import typer

from bulk_eraser.cli import options
from bulk_eraser.cli.arguments import (
    api_key_of,
    hold_list_of,
    ignore_signals,
    naming_of,
    progress_of,
    raise_on_signals,
    reading_of,
    route_of,
    target_of,
    text_of,
    warn_of_end_of_life,
)
from bulk_eraser.cli.consent import Consent, ask_consent, describe
from bulk_eraser.cli.display import Display
from bulk_eraser.cli.ending import as_error, refusal, tell_ending
from bulk_eraser.cli.event_loop import event_loop_runner
from bulk_eraser.cli.output import Output, counted
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.evidence.receipt import receipt_must_be_writable, receipt_of, write_receipt
from bulk_eraser.records import RunStarted
from bulk_eraser.sending.request import REHEARSAL, RunRequest, RunResult
from bulk_eraser.settings import FailureLimit, RunSettings
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS, InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake
from bulk_eraser.survey.plan import read_plan

__all__ = ["run"]

SIMULATED_KEY = "simulated-key"
LEDGER_SUFFIX = ".ledger.ndjson"
REHEARSAL_SUFFIX = ".rehearsal.ndjson"
OTHER_FILES = 40
"""Files that are open beside the connections: ledger, input, temporary files, event loop."""


def run(
    context: typer.Context,
    input_path: options.InputPath,
    ledger: options.Ledger = None,
    cluster_id: options.ClusterId = None,
    base_url: options.BaseUrl = None,
    api_version: options.Version = ApiVersion.V4,
    api_key_file: options.ApiKeyFile = None,
    proxy: options.Proxy = None,
    trust_env: options.TrustEnv = False,
    ca_file: options.CaFile = None,
    format_: options.Format = None,
    key_field: options.KeyField = None,
    no_header: options.NoHeader = False,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    received_field: options.ReceivedField = None,
    reference_field: options.ReferenceField = None,
    allow_numeric_like: options.AllowNumericLike = False,
    strict: options.Strict = False,
    exclude: options.Exclude = None,
    no_exclude: options.NoExclude = False,
    concurrency: options.Concurrency = 32,
    rate: options.Rate = 50.0,
    max_attempts: options.MaxAttempts = 6,
    timeout: options.Timeout = 30.0,
    max_outage: options.MaxOutage = 300.0,
    max_failures: options.MaxFailures = "20%",
    limit: options.Limit = None,
    retry_failed: options.RetryFailed = False,
    plan: options.Plan = None,
    requester: options.Requester = None,
    reference: options.Reference = None,
    receipt: options.Receipt = None,
    pseudonymize: options.Pseudonymize = False,
    rehearse: options.Rehearse = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Create a removal job for every customer key of INPUT. Run again, it continues.

    Shows what will be sent and asks for consent first. Each step is on disk in the ledger before
    the next one, so a run that broke off, in whatever way, goes on with the same command.
    """
    output = Output(quiet=quiet, json=json_)
    try:
        raise_on_signals()
        target = _target(context, cluster_id, base_url, rehearse=rehearse)
        settings = RunSettings(
            target=target,
            api_version=api_version,
            concurrency=concurrency,
            rate=rate,
            max_attempts=max_attempts,
            timeout=timeout,
            max_outage=max_outage,
            max_failures=FailureLimit.parse(max_failures),
            limit=limit,
            retry_failed=retry_failed,
            simulated=rehearse,
        )
        simulated = rehearse or dry_run
        api_key = SIMULATED_KEY if simulated else api_key_of(api_key_file, output)
        reading = reading_of(
            format_,
            key_field,
            no_header,
            delimiter,
            encoding,
            sheet,
            received_field,
            reference_field,
        )
        if exclude and no_exclude:
            raise UsageError("--exclude and --no-exclude contradict each other: give one of them.")
        order = RunRequest(
            intake=Intake(
                reader=InputReader(input_path, reading),
                hold_list=hold_list_of(exclude, reading),
                strict=strict,
                allow_numeric_like=allow_numeric_like,
                naming=naming_of(pseudonymize, output),
            ),
            ledger_path=_ledger_path(input_path, ledger, reading, rehearse=rehearse),
            no_hold_list=no_exclude,
            route=route_of(proxy, ca_file, target, api_version, trust_env=trust_env),
            plan=None if plan is None else read_plan(plan),
            requester=text_of("--requester", requester),
            reference=text_of("--reference", reference),
        )
        if receipt is not None:
            receipt_must_be_writable(receipt, order.ledger_path)
        consent = Consent.PLANNED if plan else Consent.ASK
        consent = Consent.GIVEN if yes or simulated else consent
        ending = _carry_out(order, settings, api_key, consent, output, dry_run, verbose, receipt)
    except (Exception, KeyboardInterrupt) as error:
        ending = refusal(as_error(error), ledger)
    ignore_signals()
    tell_ending(output, ending, input_path, dry_run=dry_run)
    return ending.exit_code


def _carry_out(
    order: RunRequest,
    settings: RunSettings,
    api_key: str,
    consent: Consent,
    output: Output,
    dry_run: bool,
    verbose: bool,
    receipt: str | None,
) -> RunResult:
    from bulk_eraser.sending.run import prepare  # not before the options are known to be good

    _must_not_be_the_input(order)
    settings = _within_file_limit(settings, output)
    batch = prepare(order, settings, dry_run=dry_run, progress=progress_of(output))
    try:
        describe(batch, output, verbose=verbose)
        warn_of_end_of_life(settings.api_version, output)
        if dry_run:
            would = f"{counted(batch.to_send, 'key')} would be sent"
            output.always(f"Dry run: {would}. Nothing was sent, nothing was written.")
            return batch.dry_result()
        if batch.to_send:
            ask_consent(batch, consent, output)
        with event_loop_runner() as runner:
            ending = runner.run(batch.carry_out(api_key, Display(output)))
        if receipt and batch.run_started:
            ending = _with_receipt(receipt, batch.run_started, ending)
        if errors := batch.tally.errors.most_common():
            named = ", ".join(f"{word} ({count:,})" for word, count in errors)
            output.say(f"Failed or unknown in this run: {named}")
        return ending
    finally:
        batch.close()


def _with_receipt(path: str, started: RunStarted, ending: RunResult) -> RunResult:
    """Write the receipt; where that fails, the run ends as if its ledger could not be written."""
    try:
        write_receipt(path, receipt_of(started, ending), ending.ledger or "")
    except LedgerWriteError as error:
        reasons = " ".join(filter(None, (ending.error, str(error))))
        return replace(ending, outcome="error", exit_code=error.exit_code, error=reasons)
    return ending


def _target(
    context: typer.Context, cluster_id: str | None, base_url: str | None, *, rehearse: bool
) -> Target:
    if rehearse:
        return Target(REHEARSAL, "", cluster=False)
    return target_of(context, cluster_id, base_url)


def _ledger_path(path: str, ledger: str | None, reading: Reading, *, rehearse: bool) -> str:
    """The ledger's path; a rehearsal always has its own, beside the real one."""
    if ledger == "":
        raise UsageError("--ledger names no file. Is a variable empty? Nothing was sent.")
    if ledger is None:
        if path == "-" or (not os.path.isfile(path) and os.path.exists(path)):
            raise UsageError("Reading from a pipe needs a name for the ledger: give --ledger.")
        ledger = _stem(path, known_format=reading.format is not None) + LEDGER_SUFFIX
    if not rehearse:
        return ledger
    stem = ledger.removesuffix(LEDGER_SUFFIX).removesuffix(".ndjson")
    return stem + REHEARSAL_SUFFIX


def _stem(path: str, *, known_format: bool) -> str:
    folder, name = os.path.split(path)
    name = without_packing(name)
    root, extension = os.path.splitext(name)
    if root and (known_format or extension.lower() in FORMATS):
        name = root
    return os.path.join(folder, name)


def _must_not_be_the_input(order: RunRequest) -> None:
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

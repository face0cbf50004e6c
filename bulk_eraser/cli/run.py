"""`bulk-eraser run`: options → settings → survey → consent → run → exit code."""

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace

import typer

from bulk_eraser.batch import REHEARSAL, Batch, Ending, Order, prepare
from bulk_eraser.cli import options
from bulk_eraser.cli.consent import Consent, ask_consent, describe
from bulk_eraser.cli.display import Display
from bulk_eraser.cli.ending import tell_ending
from bulk_eraser.cli.event_loop import event_loop_runner
from bulk_eraser.cli.output import Output, printable
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.erase import internal_error
from bulk_eraser.errors import (
    BulkEraserError,
    ConfigurationError,
    ExitCode,
    Interrupted,
    UsageError,
)
from bulk_eraser.settings import FailureLimit, RunSettings, read_api_key_file, valid_api_key
from bulk_eraser.sources.reader import FORMATS, InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.tally import COUNTS

__all__ = ["refusal", "run"]

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
    format_: options.Format = None,
    key_field: options.KeyField = None,
    no_header: options.NoHeader = False,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
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
    requester: options.Requester = None,
    reference: options.Reference = None,
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
        _raise_on_signals()
        settings = RunSettings(
            target=_target(context, cluster_id, base_url, rehearse=rehearse),
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
        api_key = SIMULATED_KEY if simulated else _api_key(api_key_file, output)
        header = not no_header
        reading = Reading(format_, key_field, header, _delimiter(delimiter), encoding)
        ledger_path = _ledger_path(input_path, ledger, reading, rehearse=rehearse)
        order = Order(
            reader=InputReader(input_path, _checked(reading)),
            ledger_path=ledger_path,
            hold_list=_hold_list(exclude, reading, unwanted=no_exclude),
            no_hold_list=no_exclude,
            strict=strict,
            allow_numeric_like=allow_numeric_like,
            requester=_text("--requester", requester),
            reference=_text("--reference", reference),
        )
        consent = Consent.GIVEN if yes or simulated else Consent.ASK
        ending = _carry_out(order, settings, api_key, consent, output, dry_run, verbose)
    except (BulkEraserError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted(signal.SIGINT)
        ending = refusal(error, ledger)
    except Exception as bug:
        ending = refusal(internal_error(bug), ledger)
    _ignore_signals()
    tell_ending(output, ending, input_path, dry_run=dry_run)
    return ending.exit_code


def _carry_out(
    order: Order,
    settings: RunSettings,
    api_key: str,
    consent: Consent,
    output: Output,
    dry_run: bool,
    verbose: bool,
) -> Ending:
    _must_not_be_the_input(order)
    settings = _within_file_limit(settings, output)
    batch = prepare(order, settings, dry_run=dry_run, progress=_progress(output))
    try:
        describe(batch, output, verbose=verbose)
        if dry_run:
            return _dry_ending(batch)
        if batch.to_send:
            ask_consent(batch, consent, output)
        with event_loop_runner() as runner:
            ending = runner.run(batch.carry_out(api_key, Display(output)))
        if errors := batch.tally.errors.most_common():
            named = ", ".join(f"{word} ({count:,})" for word, count in errors)
            output.say(f"Failed or unknown in this run: {named}")
        return ending
    finally:
        batch.close()


def refusal(error: BulkEraserError, ledger: str | None = None) -> Ending:
    """The ending of a run that was refused before anything was sent."""
    outcome = {
        ExitCode.INTERNAL: "error",
        ExitCode.LEDGER_WRITE: "error",
        ExitCode.SIGINT: "interrupted",
        ExitCode.SIGTERM: "interrupted",
    }.get(error.exit_code, "refused")
    return Ending(
        outcome=outcome,
        exit_code=error.exit_code,
        error=str(error),
        counts=dict.fromkeys(COUNTS, 0),
        requests=0,
        retries=0,
        survey_s=0.0,
        elapsed_s=0.0,
        ledger=ledger,
        head=None,
    )


def _dry_ending(batch: Batch) -> Ending:
    counts = batch.tally.counts()
    return Ending(
        outcome="complete",
        exit_code=ExitCode.SOME_ROWS if counts["rejected"] else ExitCode.COMPLETE,
        error=None,
        counts=counts,
        requests=0,
        retries=0,
        survey_s=round(batch.survey_s, 3),
        elapsed_s=0.0,
        ledger=batch.file.path,
        head=batch.file.head if batch.file.exists else None,
    )


def _target(
    context: typer.Context, cluster_id: str | None, base_url: str | None, *, rehearse: bool
) -> Target:
    if rehearse:
        return Target(REHEARSAL, "", cluster=False)
    if cluster_id and base_url and _is_typed(context, "cluster_id", "base_url"):
        raise UsageError(
            "--cluster-id is given, but ELEVATE_BASE_URL in the environment names another target. "
            "Unset it, or give --base-url."
        )
    if base_url:
        return Target.of_base_url(base_url)
    if cluster_id:
        return Target.of_cluster(cluster_id)
    raise UsageError(
        "Which cluster? Give --cluster-id (or ELEVATE_CLUSTER_ID), or --base-url. To try it "
        "without a cluster, use --rehearse."
    )


def _is_typed(context: typer.Context, name: str, other: str) -> bool:
    """Was the option `name` typed, and `other` only found in the environment?"""
    typed, found = (context.get_parameter_source(option) for option in (name, other))
    return typed is not found and getattr(typed, "name", "") == "COMMANDLINE"


def _api_key(path: str | None, output: Output) -> str:
    if path:
        key, exposed = read_api_key_file(path)
        if exposed:
            output.warn(f"the API key file {printable(path)} can be read by others: chmod 600 it.")
        return key
    if from_environment := os.environ.get("ELEVATE_API_KEY"):
        return valid_api_key(from_environment, "in ELEVATE_API_KEY")
    raise ConfigurationError(
        "There is no API key. Put the cluster's private key into a file and name it with "
        "--api-key-file, or set ELEVATE_API_KEY."
    )


def _text(option: str, text: str | None) -> str | None:
    """`text` if it can stand in the ledger, which is UTF-8."""
    if text is not None and text != text.encode(errors="replace").decode():
        raise UsageError(f"{option} is not valid UTF-8 text. Write it in UTF-8.")
    return text


def _delimiter(text: str | None) -> str | None:
    names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
    found = names.get(text, text) if text else None
    if found is not None and (len(found) != 1 or found in '"\r\n'):
        raise UsageError("--delimiter takes a single character, or the word tab.")
    return found


def _checked(reading: Reading) -> Reading:
    if reading.format not in (None, "csv", "ndjson"):
        raise UsageError("--format is csv or ndjson.")
    return reading


def _hold_list(path: str | None, reading: Reading, *, unwanted: bool) -> InputReader | None:
    if not path:
        return None
    if unwanted:
        raise UsageError("--exclude and --no-exclude contradict each other: give one of them.")
    named = path.lower().removesuffix(".gz").endswith(tuple(FORMATS))
    return InputReader(path, replace(reading, format=None) if named else reading)


def _ledger_path(path: str, ledger: str | None, reading: Reading, *, rehearse: bool) -> str:
    """The ledger's path; a rehearsal always has its own, beside the real one."""
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
    name = name[:-3] if name.lower().endswith(".gz") else name
    root, extension = os.path.splitext(name)
    if root and (known_format or extension.lower() in FORMATS):
        name = root
    return os.path.join(folder, name)


def _must_not_be_the_input(order: Order) -> None:
    path = order.reader.file.path
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


def _progress(output: Output) -> Callable[[int], None]:
    """Tell of a long survey now and then: every million rows, or 100,000 on a terminal."""
    step = 100_000 if output.is_terminal else 1_000_000

    def progress(rows: int) -> None:
        if rows % step == 0:
            output.say(f"Reading the input: {rows:,} rows …")

    return progress


def _raise_on_signals() -> None:
    """Until the event loop takes over, SIGTERM and SIGHUP end the command as Ctrl-C does."""

    def on_signal(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, on_signal)


def _ignore_signals() -> None:
    """What happened is decided; it only has to be told."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)

"""What `run` and `export` have in common: their options, and the way from survey to ending.

request → survey → consent → jobs → exit code
"""

import os
import sys
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from bulk_eraser.cli.options.bundles import Bundle, Number, flag, option
from bulk_eraser.cli.options.ledger_path import ledger_must_be_on_disk, ledger_path_of
from bulk_eraser.cli.options.proofs import Proofs
from bulk_eraser.cli.options.secrets import naming_of
from bulk_eraser.cli.options.service import ServiceOptions, within_file_limit
from bulk_eraser.cli.options.shared import (
    InputOptions,
    PaceOptions,
    TargetOptions,
    text_of,
    warn_of_target,
    warn_of_version,
)
from bulk_eraser.cli.terminal.consent import Consent, ask_consent, describe
from bulk_eraser.cli.terminal.ending import as_before, as_typed, command_of, how_to_continue
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.endpoints import JobKind, Target
from bulk_eraser.errors import ExitCode, UsageError
from bulk_eraser.evidence.receipt import receipt_must_be_writable
from bulk_eraser.sending.request import RunRequest, RunResult
from bulk_eraser.settings import FailureLimit, RunSettings
from bulk_eraser.shard import Shard
from bulk_eraser.wording import (
    a_job_of,
    attention_table,
    counted,
    counts_table,
    duration,
    printable,
)

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Run

__all__ = [
    "HowToRun",
    "Next",
    "RecordOptions",
    "SendingOptions",
    "execute",
    "follow_options",
    "must_not_be_the_input",
    "next_step",
    "request_of",
    "settings_of",
    "tell",
]


@dataclass(frozen=True, kw_only=True)
class SendingOptions(Bundle):
    """What of the input is sent, and when not; what `run` and `export` have in common."""

    heading = "What is sent"

    yes: bool = flag("Give consent: send without asking.", env=False)
    dry_run: bool = flag("Read everything and show what would be sent; send and write nothing.")
    limit: int | None = option(
        "N", "Send only the first N keys that are left to send.", type=Number(100)
    )
    retry_failed: bool = flag(
        "Send keys again that were permanently refused, or whose job ended in error or was not "
        "found.",
        env=False,
    )
    strict: bool = flag("Send nothing if any row is rejected.")
    max_failures: str = option(
        "N|P%",
        "Stop when more keys than this have failed: a number, or a percentage (from 100 keys on).",
        default="20%",
    )
    # Not from the environment, where they would switch their guards off for good.
    no_exclude: bool = flag("Run without a hold list although earlier runs had one.", env=False)
    same_batch: bool = flag(
        "Continue the ledger although it has no key in common with this input.", env=False
    )

    def rules(self) -> dict[str, Any]:
        """What of `RunSettings` they say."""
        return {
            "max_failures": FailureLimit.parse(self.max_failures),
            "limit": self.limit,
            "retry_failed": self.retry_failed,
        }


@dataclass(frozen=True, kw_only=True)
class RecordOptions(Bundle):
    """What is written down of a run, and where."""

    heading = "What is recorded"

    ledger: str | None = option(
        "PATH",
        "Where every step is recorded, and from where an interrupted run continues. "
        "[default: the input's name, then the sheet's if there are several, with .ledger.ndjson]",
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


@dataclass(frozen=True)
class HowToRun:
    """What is said of a run besides what it is to do."""

    api_key: str
    consent: Consent
    follow_options: list[str]
    proofs: Proofs
    dry_run: bool
    verbose: bool


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def settings_of(
    given: SendingOptions,
    target: Target,
    options: TargetOptions,
    pace: PaceOptions,
    shard: Shard | None,
    *,
    simulated: bool = False,
) -> RunSettings:
    """Of `shard`, its part of the rate. Raises `UsageError` for values that make no sense."""
    return RunSettings(
        target=target,
        api_version=options.api_version,
        concurrency=pace.concurrency,
        rate=pace.rate / (shard.of if shard else 1),
        max_attempts=pace.max_attempts,
        timeout=pace.timeout,
        max_outage=pace.max_outage,
        simulated=simulated,
        **given.rules(),
    )


def request_of(
    given: SendingOptions,
    recorded: RecordOptions,
    source: InputOptions,
    service: ServiceOptions,
    settings: RunSettings,
    output: Output,
    **more: Any,
) -> RunRequest:
    """What both have; `more` are fields of `RunRequest` that only one of them has.

    Raises `UsageError` and `ConfigurationError` for what contradicts itself or cannot be used.
    """
    if source.exclude and given.no_exclude:
        raise UsageError("--exclude and --no-exclude contradict each other: use one of them.")
    naming = naming_of(recorded.pseudonymize, output)
    ledger_must_be_on_disk(recorded.ledger, source.input_path)
    intake = source.intake(strict=given.strict, naming=naming)
    request = RunRequest(
        intake=intake,
        ledger_path=ledger_path_of(
            intake.reader,
            recorded.ledger,
            is_format_given=source.format is not None,
            rehearse=settings.simulated,
            export="export" in more,
            shard=source.part(),
        ),
        no_hold_list=given.no_exclude,
        is_same_batch=given.same_batch,
        is_ok_if_rejected=source.ok_if_rejected,
        route=service.route(settings.target, settings.api_version),
        requester=text_of("--requester", recorded.requester),
        reference=text_of("--reference", recorded.reference),
        **more,
    )
    if recorded.receipt is not None:
        receipt_must_be_writable(recorded.receipt, request.ledger_path)
    return request


def follow_options(target: TargetOptions, service: ServiceOptions) -> list[str]:
    """Of the options that were typed, those that `follow` cannot do without: the target is in the
    ledger, but not the way to it."""
    options: list[str] = []
    if "api_version" in target.typed:
        options += ["--api-version", target.api_version.value]
    for name in ("api_key_file", "proxy", "ca_file"):
        if name in service.typed:
            options += [f"--{name.replace('_', '-')}", getattr(service, name)]
    return [*options, "--trust-env"] if "trust_env" in service.typed else options


# ── what is done ────────────────────────────────────────────────────────────────────────────────


def execute(request: RunRequest, settings: RunSettings, how: HowToRun, output: Output) -> RunResult:
    """Survey, consent, jobs. Raises what refuses it before anything was sent."""
    # Not before the options are known to be good, so that errors in them come at once.
    from bulk_eraser.cli.terminal.display import Display
    from bulk_eraser.cli.terminal.event_loop import event_loop_runner
    from bulk_eraser.sending.run import prepare

    must_not_be_the_input(request)
    settings = within_file_limit(settings, output)
    prepared = prepare(request, settings, dry_run=how.dry_run, progress=output.survey_progress)
    with closing(prepared):
        decides_now = how.dry_run or how.consent is Consent.ASK
        describe(prepared, output, why_rejected=decides_now, verbose=how.verbose)
        warn_of_target(settings.target, output)
        warn_of_version(settings.api_version, output)
        if how.dry_run:
            would = f"{counted(prepared.to_send, 'key')} would be sent"
            output.always(f"Dry run: {would}. Nothing was sent, nothing was written.")
            return prepared.dry_result()
        if prepared.to_send:
            ask_consent(prepared, how.consent, output)
        with event_loop_runner() as runner:
            result = runner.run(prepared.carry_out(how.api_key, Display(output, settings.rate)))
        how.proofs.leave(output, prepared.run_started, result)
        result.next = _next(prepared, result, how.follow_options)
        return result


def _next(run: "Run", result: RunResult, follow_options: list[str]) -> list[str] | None:
    """The command that does something about what is left."""
    again = command_of(*sys.argv[1:])
    match next_step(run, result):
        case Next.AGAIN:
            return again
        case Next.RETRY:
            return [*again, "--retry-failed"]
        case Next.FOLLOW:
            return command_of("follow", result.ledger or "", *follow_options)
    return None


class Next(Enum):
    """What to do after a run, the more urgent first."""

    AGAIN = auto()
    RETRY = auto()
    FOLLOW = auto()


def next_step(run: "Run", result: RunResult) -> Next | None:
    """The same command as long as it would send something, else the same with --retry-failed
    (once), else `follow`, while jobs are pending."""
    if result.outcome == "error" or run.can_be_mended:
        return Next.AGAIN
    if run.can_be_retried and not run.settings.retry_failed:
        return Next.RETRY
    if run.has_pending_jobs and not run.settings.simulated:
        return Next.FOLLOW
    return None


def must_not_be_the_input(request: RunRequest) -> None:
    path = request.intake.reader.file.path
    if (
        os.path.exists(path)
        and os.path.exists(request.ledger_path)
        and os.path.samefile(path, request.ledger_path)
    ):
        raise UsageError("The ledger and the input are the same file. Name another with --ledger.")


# ── what is told ────────────────────────────────────────────────────────────────────────────────

_WHAT_NOW = {
    JobKind.REMOVAL: "Accepted is not erased yet: that takes about six days.",
    JobKind.EXPORT: "Nobody is erased by that. `follow` downloads each result: in about six days, "
    "and only within a week after.",
}
_LEAD = {
    JobKind.REMOVAL: "Accepted is not erased yet. Follow the jobs, once a day, with:",
    JobKind.EXPORT: "Download the results, once a day so that none expires, with:",
}


def tell(
    kind: JobKind,
    given: SendingOptions,
    input_path: str,
    output: Output,
    result: RunResult,
    *,
    is_rehearsal: bool = False,
) -> None:
    """The counts, how it ended, what needs attention, and what to do now."""
    if result.counts["rows"]:
        output.result(counts_table(result.counts, kind))
        if result.requests:
            requests = counted(result.requests, "request")
            repeated = f", including {counted(result.retries, 'retry')}" if result.retries else ""
            output.result(f"  {requests} in {duration(result.elapsed_s)}{repeated}")
    if result.head is not None and result.ledger is not None:
        output.say(f"Ledger {printable(result.ledger)}, head {result.head}")
    if given.dry_run and result.error is None:
        return
    if result.attention:
        output.say(f"Needs attention:\n{attention_table(result.attention)}")
    jobs = result.counts["accepted"]
    if is_rehearsal and result.error is None:
        output.always("This was a rehearsal: nothing was erased.")
    elif jobs:
        created = f"{a_job_of(kind)} was" if jobs == 1 else f"{counted(jobs, kind)} were"
        output.say(f"{created[0].upper()}{created[1:]} created. {_WHAT_NOW[kind]}")
    _tell_how(output, result, kind, is_rehearsal=is_rehearsal)
    if result.next is None:
        return
    command = as_typed(result.next)
    if "follow" in result.next[1:4]:
        lead = "Follow the jobs from tomorrow on with:" if jobs else _LEAD[kind]
        output.say(lead, command=command)
        return
    is_retry = "--retry-failed" in result.next and not given.retry_failed
    lead = "Retry refused keys and failed jobs with" if is_retry else how_to_continue(result)
    again = as_before(result.next, is_pipe=input_path == "-")
    output.always(f"{lead}{again}:", command=command)


def _tell_how(output: Output, result: RunResult, kind: JobKind, *, is_rehearsal: bool) -> None:
    counts = result.counts
    if result.outcome == "interrupted":
        output.always(result.error or "Stopped.")
    elif result.error is not None:
        output.error(printable(result.error))
    elif result.exit_code == ExitCode.NOT_FINISHED and counts["not_exported"]:
        keys = counted(counts["not_exported"], "key")
        output.always(
            f"Not finished: the export of {keys} is not downloaded, so nothing was sent for them. "
            "Use `follow` on the ledger of the export first."
        )
    elif result.exit_code == ExitCode.NOT_FINISHED:
        output.always("Not finished: --limit left keys for a later run.")
    elif result.exit_code == ExitCode.SOME_ROWS:
        parts = [f"{counts[n]:,} {n}" for n in ("failed", "unknown", "rejected") if counts[n]]
        if failed := counts["job_failed"]:
            parts.append(f"{counted(failed, kind)} failed earlier")
        if late := counts["held_too_late"]:
            parts.append(f"{counted(late, 'key')} came on hold too late")
        output.always(f"Reached the end, but some rows need attention: {', '.join(parts)}.")
    else:
        output.always(_completeness(result, kind, is_rehearsal=is_rehearsal))


def _completeness(result: RunResult, kind: JobKind, *, is_rehearsal: bool) -> str:
    """That nothing is left to send, in words that cannot be read as everybody being erased."""
    counts, shard = result.counts, result.shard
    complete, job = "Complete", a_job_of(kind)
    whose = f"of shard {shard['index']} of {shard['of']}" if shard else "of this input"
    if is_rehearsal:
        complete, job = ("Rehearsal complete", "a simulated job")
    which = " that is not on hold" if counts["excluded"] else ""
    rejected = ""
    if counts["rejected"]:
        rejected = f"; {counted(counts['rejected'], 'row')} rejected (--ok-if-rejected)"
    return f"{complete}: every key {whose}{which} has {job}{rejected}."

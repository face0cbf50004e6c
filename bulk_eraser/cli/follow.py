"""`bulk-eraser follow`: ask for the status of every job that is due, until all are done."""

import json
import re
from dataclasses import asdict
from datetime import date
from typing import Annotated

import typer

from bulk_eraser.cli import options
from bulk_eraser.cli.arguments import (
    api_key_of,
    ignore_signals,
    raise_on_signals,
    route_of,
    warn_of_end_of_life,
)
from bulk_eraser.cli.display import Display
from bulk_eraser.cli.ending import as_error
from bulk_eraser.cli.event_loop import event_loop_runner
from bulk_eraser.cli.output import Output, counted, printable
from bulk_eraser.cli.run import SIMULATED_KEY
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import ConfigurationError, ExitCode, UsageError
from bulk_eraser.sending.deadlines import DAY_S, Calendar
from bulk_eraser.sending.follow import Follow, FollowedLedger
from bulk_eraser.sending.request import REHEARSAL, FollowRequest, FollowResult, ListedJob
from bulk_eraser.settings import RunSettings

__all__ = ["follow"]

SHOWN = 5
"""Jobs of a list that are shown to people."""
_LISTS = {
    "error_jobs": "ended in error: `run --retry-failed` creates new jobs for them",
    "not_found_jobs": "not found by the service: `run --retry-failed` creates new jobs for them",
    "slow_jobs": "older than the service usually takes; still pending",
    "overdue_jobs": "overdue: the month for an answer is over",
    "at_risk_jobs": "at risk: the month for an answer is over within a week",
}


def follow(
    context: typer.Context,
    ledger: Annotated[
        str, typer.Argument(metavar="LEDGER", help="The ledger whose jobs are followed.")
    ],
    now: Annotated[
        bool, typer.Option("--now", help="Ask about every unfinished job, due or not.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until all jobs are finished; it takes days.")
    ] = False,
    received: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="When the people asked (YYYY-MM-DD), for rows without a date of their own. "
            "[default: the day on which the run began]",
        ),
    ] = None,
    fail_if_overdue: Annotated[
        bool, typer.Option("--fail-if-overdue", help="End with 3 if the month is over for a job.")
    ] = False,
    day: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How long a day lasts, as at `simulate`; for that one only."
        ),
    ] = None,
    cluster_id: options.ClusterId = None,
    base_url: options.BaseUrl = None,
    api_version: options.Version = ApiVersion.V4,
    api_key_file: options.ApiKeyFile = None,
    proxy: options.Proxy = None,
    trust_env: options.TrustEnv = False,
    ca_file: options.CaFile = None,
    concurrency: options.Concurrency = 32,
    rate: options.Rate = 50.0,
    max_attempts: options.MaxAttempts = 6,
    timeout: options.Timeout = 30.0,
    max_outage: options.MaxOutage = 300.0,
    json_: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> int:
    """Ask for the status of every removal job that is due, and record the answers in LEDGER.

    `accepted` means that a job was created; only `done` means that it is erased, which takes about
    six days. Run it once a day until it ends with 0. The target is the ledger's.
    """
    output = Output(quiet=quiet, json=json_)
    try:
        raise_on_signals()
        followed = FollowedLedger(ledger)
        try:
            target = _target_of(context, followed, cluster_id, base_url)
            simulated = target.name == REHEARSAL
            settings = RunSettings(
                target=target,
                api_version=api_version,
                concurrency=concurrency,
                rate=rate,
                max_attempts=max_attempts,
                timeout=timeout,
                max_outage=max_outage,
                simulated=simulated,
            )
            order = FollowRequest(
                ledger_path=ledger,
                now=now,
                wait=wait,
                received=_date(received),
                fail_if_overdue=fail_if_overdue,
                route=route_of(proxy, ca_file, target, api_version, trust_env=trust_env),
                calendar=_calendar(day, target),
            )
            api_key = SIMULATED_KEY if simulated else api_key_of(api_key_file, output)
            pursued = Follow(order, settings, followed)
            warn_of_end_of_life(api_version, output)
            _describe(pursued, output, verbose=verbose)
            with event_loop_runner() as runner:
                ending = runner.run(pursued.carry_out(api_key, Display(output)))
        finally:
            followed.close()
    except (Exception, KeyboardInterrupt) as error:
        told = as_error(error)
        ending = FollowResult(ledger=ledger)
        ending.fail(told)
    ignore_signals()
    _tell(output, ending, wait=wait)
    return ending.exit_code


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _target_of(
    context: typer.Context, ledger: FollowedLedger, cluster_id: str | None, base_url: str | None
) -> Target:
    """The ledger's target; what options or environment say of it must agree.

    Raises `UsageError` when there is no ledger, `ConfigurationError` for another target.
    """
    history, file = ledger.facts, ledger.file
    if history.target is None:
        raise UsageError(
            f"There is no ledger {file.path}, or nothing in it. Name that of a run, which ends in "
            ".ledger.ndjson."
        )
    named = Target.of_base_url(base_url) if base_url else None
    if named is None and cluster_id:
        named = Target.of_cluster(cluster_id)
    if history.target == REHEARSAL:
        mine = Target(REHEARSAL, "", cluster=False)
    elif "://" in history.target:
        mine = Target.of_base_url(history.base or history.target)
        if named is not None and history.base is None and named.name == mine.name:
            mine = named  # an older ledger knows the origin only
    else:
        mine = Target.of_cluster(history.target)
    is_typed = any(
        getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        for name in ("cluster_id", "base_url")
    )
    if named is not None and named != mine and (is_typed or named.cluster == mine.cluster):
        raise ConfigurationError(
            f"The ledger {file.path} belongs to {history.base or mine.name}, not to {named.name}. "
            "Leave the target out: it is the ledger's."
        )
    return mine


def _calendar(day: float | None, target: Target) -> Calendar:
    if day is None:
        return Calendar(DAY_S)
    if not 0 < day <= DAY_S:
        raise UsageError(f"--day must be more than 0 and at most {DAY_S:.0f} seconds.")
    if target.name != REHEARSAL and not target.is_loopback:
        raise UsageError("--day is for a simulated service on this computer only.")
    return Calendar(day)


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--received takes a date such as 2026-11-24, not {text!r}.") from None


# ── what is told ────────────────────────────────────────────────────────────────────────────────


def _describe(pursued: Follow, output: Output, *, verbose: bool) -> None:
    target, version = pursued.settings.target, pursued.settings.api_version
    due = pursued.due
    output.say(
        f"Ledger {printable(pursued.file.path)}: target {printable(target.name)}, API {version}; "
        f"{counted(due, 'job')} to ask about now"
    )
    if verbose:
        for name, value in pursued.settings.recorded().items():
            output.say(f"  {name}: {value}")


def _tell(output: Output, ending: FollowResult, *, wait: bool) -> None:
    if output.json:
        output.raw_result(json.dumps(asdict(ending)))
    elif ending.head is not None:
        _tell_counts(output, ending)
    if ending.head is not None:
        output.say(f"Ledger {printable(ending.ledger or '')}, head {ending.head}")
    if ending.outcome == "interrupted":
        output.always(f"{ending.error} Run the same command again.")
    elif ending.error is not None:
        output.error(printable(ending.error))
    elif ending.counts["pending"]:
        again = "" if wait else f" Ask again from {ending.next_check_at} on, once a day."
        output.always(f"Not finished: {counted(ending.counts['pending'], 'job')} pending.{again}")
    elif ending.exit_code == ExitCode.SOME_ROWS:
        output.always("All jobs are finished, but not all of them are done.")
    else:
        output.always(f"Complete: {_all_done(ending.counts['jobs'])}.")


def _all_done(jobs: int) -> str:
    return f"all {jobs:,} jobs are done" if jobs else "this ledger has no job to follow"


def _tell_counts(output: Output, ending: FollowResult) -> None:
    width = len(f"{ending.counts['jobs']:,}")
    for state in ("done", "error", "not_found", "pending"):
        if count := ending.counts[state]:
            output.result(f"  {count:>{width},}  {state}")
    output.result(f"  {ending.counts['jobs']:>{width},}  jobs in all")
    if ending.unanswered:
        output.result(f"{counted(ending.unanswered, 'question')} without an answer: asked again")
    for name, what in _LISTS.items():
        if count := ending.listed[name]:
            output.result(f"{counted(count, 'job')} {what}:")
            for job in getattr(ending, name)[:SHOWN]:
                output.result(f"  {_job(job)}")
            if count > SHOWN:
                output.result(f"  … {count - SHOWN:,} more; --json lists up to 1,000")


def _job(job: ListedJob) -> str:
    return f"line {job.line:,}, jid {printable(job.jid)}, answer due by {job.deadline}"

"""`bulk-eraser follow`: ask for the status of every job that is due, until all are done."""

import os
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial

from bulk_eraser.cli.bundles import Bundle, Number, argument, command, flag, option
from bulk_eraser.cli.display import Display
from bulk_eraser.cli.ending import (
    as_typed,
    command_of,
    conclude,
    how_to_continue,
)
from bulk_eraser.cli.event_loop import event_loop_runner
from bulk_eraser.cli.export import MOST_BYTES, warn_if_unencrypted
from bulk_eraser.cli.follow_several import follow_each
from bulk_eraser.cli.options import (
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    date_of,
    warn_of_version,
)
from bulk_eraser.cli.output import Output
from bulk_eraser.cli.proofs import StampOptions
from bulk_eraser.cli.service import (
    SIMULATED_KEY,
    ServiceOptions,
    within_file_limit,
)
from bulk_eraser.cli.step_summary import in_a_step
from bulk_eraser.elevate.endpoints import Target
from bulk_eraser.errors import ConfigurationError, ExitCode, UsageError
from bulk_eraser.evidence.receipt import receipt_must_be_writable
from bulk_eraser.evidence.seal import named_by
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.sending.deadlines import DAY_S, Calendar
from bulk_eraser.sending.follow import Follow, FollowedLedger
from bulk_eraser.sending.request import (
    REHEARSAL,
    ExportFollowResult,
    FollowRequest,
    FollowResult,
    ListedJob,
)
from bulk_eraser.settings import RunSettings, must_be_within
from bulk_eraser.wording import calendar_day, counted, moment, plural, printable, probed

__all__ = ["follow", "settings_of"]

SHOWN = 5
"""Jobs of a list that are shown to people."""
_AGAIN = "the same command as before with --retry-failed, creates a new job for each"
_LISTS = {
    "error_jobs": f"ended in error; {_AGAIN}",
    "not_found_jobs": f"not found by the service; {_AGAIN}",
    "lost_jobs": f"whose result is lost; {_AGAIN}",
    "expiring_jobs": "done for days and not downloaded; the service removes the result soon",
    "slow_jobs": "pending for longer than is usual",
    "overdue_jobs": "overdue (the month for an answer is over)",
    "at_risk_jobs": "at risk (the month for an answer ends within a week)",
}
_STATES = {
    "done": "done: erased",
    "error": "error: job failed",
    "not_found": "not_found: job failed",
    "pending": "pending: in progress, not erased yet",
}
"""The service's words for a job, and what they mean for the person."""
_EXPORT_STATES = {
    "downloaded": "downloaded: the data is in its file",
    "empty": "empty: downloaded, and there was no data",
    "error": "error: job failed",
    "not_found": "not_found: job failed, or its result has expired",
    "lost": "lost: the result did not arrive, and cannot be had any more",
    "pending": "pending: in progress, not downloaded yet",
}

_OF_EXPORTS = ("downloaded", "empty", "lost")
_STATUS_MEANINGS = {
    "done": "done: erased",
    "error": "error: the job failed",
    "not_found": "not_found: the service does not know the job",
    "pending": "pending: not finished",
}


@dataclass(frozen=True, kw_only=True)
class FollowOptions(Bundle):
    """What `follow` has and no other command."""

    heading = "What is asked"

    ledger: str = argument("LEDGER", "The ledger whose jobs are followed, or a seal of several.")
    now: bool = flag("Ask about every unfinished job, due or not.", env=False)
    wait: bool = flag("Stay until all jobs are finished; it takes days.", env=False)
    received: str | None = option(
        "DATE",
        "Date of the people's requests (YYYY-MM-DD), for rows without a date of their own. "
        "[default: the day on which the run began]",
        env=False,
    )
    receipt: str | None = option(
        "FILE",
        "Write head, counts, target and times of this follow to FILE, to be kept elsewhere.",
        env=False,
    )
    output: str | None = option(
        "DIR",
        "Of an export: the folder for the results. [default: that of the last `export`]",
        env=False,
    )
    max_result_bytes: int | None = option(
        "N",
        "Of an export: how large a result may be. [default: as for the last `export`]",
        type=Number(100_000_000),
        env=False,
    )
    fail_if_overdue: bool = flag(
        "End with 3 if the month for an answer is over for a job.", env=False
    )
    day: float | None = option(
        "SECONDS",
        "How long a day lasts at `simulate`; only for that.",
        type=Number(10.0),
        env=False,
    )


@command(
    ("Once a day, until it ends with 0", "bulk-eraser follow customers.ledger.ndjson"),
    ("Stay until everybody is erased", "bulk-eraser follow customers.ledger.ndjson --wait"),
    (
        "Count each month from the day of the requests",
        "bulk-eraser follow customers.ledger.ndjson --received 2026-11-02",
    ),
)
def follow(
    given: FollowOptions,
    stamped: StampOptions,
    target: TargetOptions,
    service: ServiceOptions,
    pace: PaceOptions,
    told: VerboseOutputOptions,
) -> int:
    """Ask for the status of every job that is due, and record the answers in LEDGER.

    `accepted` means that a job was created; only `done` means that the data is erased, which takes
    about six days. Run this once a day until it ends with 0. The target is that of the ledger.
    On the ledger of an export, results that are done are downloaded.
    """
    output = told.output()

    def follow_one(given: FollowOptions) -> FollowResult:
        with closing(FollowedLedger(given.ledger)) as ledger:  # whatever refuses it, it is unlocked
            settings = within_file_limit(settings_of(target, pace, ledger), output)
            if given.receipt is not None:
                receipt_must_be_writable(given.receipt, given.ledger)
            proofs = stamped.proofs(given.receipt, service)
            request = _request(given, service, settings)
            api_key = SIMULATED_KEY if settings.simulated else service.api_key(output)
            warn_of_version(settings.api_version, output)
            pursued = Follow(request, settings, ledger)
            if pursued.export is not None:
                how = "To encrypt them, use the same `export` command first, with --encrypt-to"
                warn_if_unencrypted(pursued.export, output, how)
            _describe(pursued, output, verbose=told.verbose)
            with event_loop_runner() as runner:
                shown = Display(output, settings.rate)
                result = runner.run(pursued.carry_out(api_key, shown))
            proofs.leave(output, pursued.run_started, result)
            result.next = _next(result)
            return result

    def follow_and_tell(path: str) -> FollowResult:
        result = follow_one(replace(given, ledger=path))
        result.next = None  # it is for all of them
        if result.error is None:
            _tell(given.wait, output, result)
        return result

    def work() -> FollowResult:
        named = named_by([given.ledger])
        if not named.sealed:
            return follow_one(given)
        _must_suit_a_seal(given)
        total = follow_each(
            given.ledger, named.ledgers, follow_and_tell, fail_if_overdue=given.fail_if_overdue
        )
        output.say(f"Seal {printable(given.ledger)}: {counted(len(named.ledgers), 'ledger')}")
        total.next = _next(total)
        return total

    meanings = _STATUS_MEANINGS | {it: _EXPORT_STATES[it] for it in _OF_EXPORTS}
    tell = in_a_step("follow", partial(_tell, given.wait), meanings)
    return conclude(output, FollowResult(ledger=given.ledger), work, tell, tell)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def settings_of(options: TargetOptions, pace: PaceOptions, ledger: FollowedLedger) -> RunSettings:
    target = _target_of(ledger, options)
    return RunSettings(
        target=target,
        api_version=options.api_version,
        concurrency=pace.concurrency,
        rate=pace.rate,
        max_attempts=pace.max_attempts,
        timeout=pace.timeout,
        max_outage=pace.max_outage,
        simulated=target.name == REHEARSAL,
    )


def _must_suit_a_seal(given: FollowOptions) -> None:
    """Raises `UsageError` for what is of one ledger only."""
    if given.wait or given.receipt is not None:
        option = "--wait" if given.wait else "--receipt"
        raise UsageError(
            f"{option} is for one ledger, and {given.ledger} is a seal of several. Name a ledger, "
            "or leave it out. Nothing was asked."
        )


def _request(given: FollowOptions, service: ServiceOptions, settings: RunSettings) -> FollowRequest:
    if given.max_result_bytes is not None:
        must_be_within("--max-result-bytes", given.max_result_bytes, *MOST_BYTES)
    return FollowRequest(
        ledger_path=given.ledger,
        now=given.now,
        wait=given.wait,
        received=date_of("--received", given.received),
        fail_if_overdue=given.fail_if_overdue,
        route=service.route(settings.target, settings.api_version),
        calendar=_calendar(given.day, settings.target),
        output=os.path.abspath(given.output) if given.output else None,
        max_result_bytes=given.max_result_bytes,
    )


def _target_of(ledger: FollowedLedger, options: TargetOptions) -> Target:
    """The ledger's target; what options or environment say of it must agree.

    Raises `UsageError` when there is no ledger, `ConfigurationError` for another target.
    """
    facts, path = ledger.facts, ledger.file.path
    if facts.target is None:
        raise UsageError(
            f"There is no ledger {path}, or nothing in it. Name that of a run, which ends in "
            ".ledger.ndjson."
        )
    named = options.named_target()
    recorded = _recorded_target(facts, facts.target, named)
    if named is None or named == recorded:
        return recorded
    # A variable in the environment may be meant for other commands: where it names a cluster and
    # the ledger has an address, or the other way round, it is not about this ledger. What was
    # typed always is.
    is_typed = bool(options.typed & {"cluster_id", "base_url"})
    if is_typed or named.cluster == recorded.cluster:
        raise ConfigurationError(
            f"The ledger {path} belongs to {facts.base or recorded.name}, not to "
            f"{named.name}. Leave the target out: it is the ledger's."
        )
    return recorded


def _recorded_target(facts: LedgerFacts, name: str, named: Target | None) -> Target:
    """The target that the ledger records under `name`."""
    if name == REHEARSAL:
        return Target(REHEARSAL, "", cluster=False)
    if "://" not in name:
        return Target.of_cluster(name)
    if facts.base is not None:
        return Target.of_base_url(facts.base)
    # An older ledger knows the origin only; the path below it is known to who names it.
    origin = Target.of_base_url(name)
    return named if named is not None and named.name == origin.name else origin


def _calendar(day: float | None, target: Target) -> Calendar:
    if day is None:
        return Calendar(DAY_S)
    if not 0 < day <= DAY_S:
        raise UsageError(f"--day must be more than 0 and at most {DAY_S:.0f} seconds.")
    if target.name != REHEARSAL and not target.is_loopback:
        raise UsageError("--day is only for a simulated service on this computer.")
    return Calendar(day)


# ── what to do now, and what is told ──────────────────────────────────────────────────────────────


def _next(result: FollowResult) -> list[str] | None:
    """The same command as long as jobs are pending. The `run` for what has no job is not known
    here: the ledger has its input's name, but not all options that mattered."""
    is_waiting = result.counts["pending"] or (result.probes and result.probes.waiting)
    return command_of(*sys.argv[1:]) if result.error or is_waiting else None


def _advice(result: FollowResult) -> str:
    """What to do about keys that nobody will erase as things are."""
    counts, without = result.counts, result.without_job
    command = "export" if isinstance(result, ExportFollowResult) else "run"
    failed = counts["error"] + counts["not_found"] + counts.get("lost", 0)
    if failed + without["refused"]:
        return (
            f" To send them again, use the same `{command}` command as before with --retry-failed."
        )
    if any(without.values()):
        return f" To send them, use the same `{command}` command as before."
    return ""


def _describe(pursued: Follow, output: Output, *, verbose: bool) -> None:
    target, version = pursued.settings.target, pursued.settings.api_version
    due = counted(pursued.due, "job")
    due += f" and {counted(probes, 'probe')}" if (probes := pursued.probes_due) else ""
    output.say(
        f"Ledger {printable(pursued.file.path)}: target {printable(target.name)}, API {version}; "
        f"{due} to ask about now"
    )
    if verbose:
        for name, value in pursued.settings.recorded().items():
            output.say(f"  {name}: {value}")


def _tell(wait: bool, output: Output, ending: FollowResult) -> None:
    if ending.head is not None:
        _tell_counts(output, ending)
        output.say(f"Ledger {printable(ending.ledger or '')}, head {ending.head}")
    if ending.outcome == "interrupted":
        output.always(ending.error or "Stopped.")
    elif ending.error is not None:
        output.error(printable(ending.error))
    elif ending.counts["pending"] or (ending.probes and ending.probes.waiting):
        again = "" if wait else _when_again(ending.next_check_at)
        output.always(
            f"Not finished: {_erased(ending)}{_open(ending)}.{_without_job(ending)}{again}"
        )
        return
    elif ending.exit_code == ExitCode.SOME_ROWS:
        told = f"{_erased(ending)}{_came_back(ending)}"
        output.always(f"All jobs are finished: {told}.{_without_job(ending)}{_advice(ending)}")
    else:
        output.always(f"Complete: {_erased(ending)}.{_without_job(ending)}")
    if ending.next is not None and ending.outcome != "refused":
        output.always(f"{how_to_continue(ending)}:", command=as_typed(ending.next))


def _open(result: FollowResult) -> str:
    """What there is to wait for."""
    pending, probes = result.counts["pending"], result.probes
    jobs = f", {counted(pending, 'job')} pending" if pending else ""
    waiting = probes.waiting if probes else 0
    return jobs + (f"; {counted(waiting, 'probe')} not answered yet" if waiting else "")


def _came_back(result: FollowResult) -> str:
    if result.probes is None or not result.probes.came_back:
        return ""
    people = "person" if result.probes.came_back == 1 else "people"
    return f"; data of {result.probes.came_back:,} sampled {people} came back"


def _when_again(next_check_at: str | None) -> str:
    if next_check_at is None:
        return ""
    when = moment(datetime.fromisoformat(next_check_at), datetime.now(UTC))
    return f" Ask again {when}, then once a day."


def _erased(result: FollowResult) -> str:
    counts = result.counts
    if isinstance(result, ExportFollowResult):
        return _exported(result)
    bad = counts["error"] + counts["not_found"]
    failed = f", {counted(bad, 'job')} failed" if bad else ""
    if not counts["jobs"]:
        return "this ledger has no job to follow"
    is_all = counts["done"] == counts["jobs"]
    done = f"all {counts['jobs']:,} jobs are done, " if is_all else ""
    erased = f"{counts['done']:,} erased"
    if result.rehearsal:
        erased = "nothing erased, because this is a rehearsal"
    return f"{done}{erased}{failed}"


def _exported(result: ExportFollowResult) -> str:
    """Of exports, in words that cannot be taken for an erasure."""
    counts = result.counts
    if not counts["jobs"]:
        return "this ledger has no export job to follow"
    parts = [f"{counts['downloaded']:,} exported"]
    parts += [f"{counts['empty']:,} without data"] if counts["empty"] else []
    parts += [f"{counts['lost']:,} lost"] if counts["lost"] else []
    bad = counts["error"] + counts["not_found"]
    parts += [f"{counted(bad, 'job')} failed"] if bad else []
    return ", ".join(parts)


def _without_job(result: FollowResult) -> str:
    """Keys that nobody will erase as things are."""
    without = {word: count for word, count in result.without_job.items() if count}
    if not without:
        return ""
    number = sum(without.values())
    have = "has" if number == 1 else "have"
    words = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in without.items())
    whose = "these ledgers" if result.head is None else "this ledger"
    return f" {counted(number, 'key')} of {whose} {have} no job ({words})."


def _tell_counts(output: Output, ending: FollowResult) -> None:
    width = len(f"{ending.counts['jobs']:,}")
    states = _EXPORT_STATES if isinstance(ending, ExportFollowResult) else _STATES
    for state, meaning in states.items():
        told = state if ending.rehearsal else meaning
        if count := ending.counts[state]:
            output.result(f"  {count:>{width},}  {told}")
    output.result(
        f"  {ending.counts['jobs']:>{width},}  {plural(ending.counts['jobs'], 'job')} in all"
    )
    if ending.probes is not None:
        for line in probed(ending.probes):
            output.result(line)
    if ending.unanswered:
        unanswered = counted(ending.unanswered, "job")
        output.result(f"{unanswered} without an answer: asked about again next time")
    for name, what in _LISTS.items():
        if count := ending.listed.get(name, 0):
            output.result(f"{counted(count, 'job')} {what}:")
            for job in getattr(ending, name)[:SHOWN]:
                output.result(f"  {_job(job)}")
            if count > SHOWN:
                output.result(f"  … {count - SHOWN:,} more; --json lists up to 1,000")


def _job(job: ListedJob) -> str:
    due = calendar_day(date.fromisoformat(job.deadline))
    guess = " if received on the day of the run" if job.deadline_from == "run" else ""
    return f"line {job.line:,}, jid {printable(job.jid)}, answer due by {due}{guess}"

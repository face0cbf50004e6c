"""What `follow` tells people: what it asks about, how it ended, what is left to do."""

from datetime import UTC, date, datetime

from bulk_eraser.cli.terminal.ending import as_typed, how_to_continue
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode
from bulk_eraser.sending.follow import Follow
from bulk_eraser.sending.request import ExportFollowResult, FollowResult, ListedJob
from bulk_eraser.wording import calendar_day, counted, moment, plural, printable, probed

__all__ = ["STATUS_MEANINGS", "describe", "tell_follow", "when_again"]

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
STATUS_MEANINGS = {
    "done": "done: erased",
    "error": "error: the job failed",
    "not_found": "not_found: the service does not know the job",
    "pending": "pending: not finished",
} | {state: _EXPORT_STATES[state] for state in ("downloaded", "empty", "lost")}
"""The same in short, for a step's summary."""


def describe(pursued: Follow, output: Output, *, verbose: bool) -> None:
    """What is about to be asked."""
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


def tell_follow(wait: bool, output: Output, ending: FollowResult) -> None:
    """How it ended, what is open, and what to do; `wait` as it was asked for."""
    if ending.head is not None:
        _tell_counts(output, ending)
        output.say(f"Ledger {printable(ending.ledger or '')}, head {ending.head}")
    if ending.outcome == "interrupted":
        output.always(ending.error or "Stopped.")
    elif ending.error is not None:
        output.error(printable(ending.error))
    elif ending.counts["pending"] or (ending.probes and ending.probes.waiting):
        again = "" if wait else when_again(ending.next_check_at)
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


def when_again(next_check_at: str | None) -> str:
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

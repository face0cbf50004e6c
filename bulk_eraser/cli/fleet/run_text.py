"""What `fleet run` tells: what will be sent to whom, the question, and how it ended."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bulk_eraser.cli.fleet.result import FleetResult, ending_of
from bulk_eraser.cli.fleet.text import in_short, lines_of_clusters, shortened, tell_errors
from bulk_eraser.cli.run import RemovalOptions
from bulk_eraser.cli.terminal.consent import Consent, have_it_typed, is_somebody_there
from bulk_eraser.cli.terminal.ending import as_typed
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode, UsageError
from bulk_eraser.sending.request import RunResult
from bulk_eraser.wording import counted, duration, printable

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Run

__all__ = ["ask_consent_of_all", "show", "tell_run"]


def show(runs: "Mapping[str, Run]", say: Callable[[str], None]) -> None:
    """A line per cluster: target, what will be sent, what not, and the ledger."""
    rows = []
    for name, it in runs.items():
        counts = it.tally.counts()
        numbers = [it.to_send, counts["already_settled"], counts["excluded"], counts["rejected"]]
        seconds = it.to_send / it.settings.rate if it.settings.rate and it.to_send else 0
        words = [
            duration(max(1, seconds)) if seconds else "",
            "continues" if it.file.exists else "new",
            shortened(it.settings.target.name, 24),
        ]
        rows.append((name, numbers, words))
    head = ["to send", "done", "on hold", "rejected"]
    say(lines_of_clusters(head, ["at least", "ledger", "target"], rows))


def ask_consent_of_all(runs: "Mapping[str, Run]", consent: Consent, output: Output) -> None:
    """Return if all of them may send. Raises `UsageError` if not."""
    keys = sum(it.to_send for it in runs.values())
    is_asked = consent is not Consent.GIVEN and is_somebody_there(output)
    say = output.always if is_asked else output.say  # what is asked for is shown with --quiet, too
    show(runs, say)
    if not keys:
        say("Nothing to do: no key is left to send in any cluster.")
        return
    if any(it.settings.simulated for it in runs.values()):
        output.say(f"Rehearsal: {counted(keys, 'key')} for simulators. Nothing is erased.")
        return
    many = sum(it.to_send > 0 for it in runs.values())
    what = f"{counted(keys, 'key')} in {counted(many, 'cluster')}"
    say(f"{what} will be sent for removal. An erasure cannot be undone.")
    if consent is Consent.GIVEN:
        return
    if is_asked:
        have_it_typed(keys, "keys", output)
    elif consent is Consent.ASK:
        raise UsageError(
            f"Consent is missing: {what} would be sent for removal. There is no terminal to ask "
            "on: use --yes, or name a plan with --plan. To see what would be sent, use --dry-run "
            "or --rehearse."
        )


_TOLD = ("accepted", "already_settled", "failed", "unknown", "rejected", "not_reached")
_HEADS = ("accepted", "earlier", "failed", "unknown", "rejected", "not sent")
_ROWS = {
    "accepted": "accepted",
    "already_settled": "accepted earlier",
    "job_failed": "whose job failed earlier",
    "failed": "failed",
    "unknown": "unknown",
    "not_reached": "not sent",
    "rejected": "rejected",
    "duplicate": "duplicate",
    "excluded": "on hold",
}
"""All that can become of a row: these add up."""


def tell_run(given: RemovalOptions, output: Output, result: FleetResult) -> None:
    """The counts of each, what needs attention, how it ended, and what to do now."""
    results: dict[str, RunResult] = result.clusters
    if result.counts and not given.dry_run:
        rows = [
            (name, [it.counts[word] for word in _TOLD], [ending_of(it)])
            for name, it in results.items()
        ]
        output.result(lines_of_clusters(_HEADS, ["ended"], rows))
        output.result(_all_rows(result.counts))
        tell_errors(output, results)
        _tell_attention(output, results)
    if given.dry_run and result.error is None:
        _tell_attention(output, results, is_dry=True)
        return
    if given.rehearse and result.error is None:
        output.always("This was a rehearsal: nothing was erased.")
    elif jobs := result.counts.get("accepted"):
        output.say(
            f"{counted(jobs, 'removal job')} created. Accepted is not erased yet: that takes about "
            "six days."
        )
    _tell_how(output, result, is_rehearsal=given.rehearse)
    if result.next is not None:
        lead = "Continue with:"
        if "follow" in result.next:
            lead = "Follow the jobs, once a day, with:"
        elif "--retry-failed" in result.next and not given.retry_failed:
            lead = "Retry refused keys and failed jobs with:"
        elif result.error is not None and result.outcome != "interrupted":
            lead = "Once that is resolved, continue with:"
        output.always(lead, command=as_typed(result.next))


def _all_rows(counts: Mapping[str, int]) -> str:
    told = [f"{counts[word]:,} {what}" for word, what in _ROWS.items() if counts[word]]
    return f"{counted(counts['rows'], 'row')} in all{': ' * bool(told)}{', '.join(told)}"


def _tell_attention(
    output: Output, results: Mapping[str, RunResult], *, is_dry: bool = False
) -> None:
    for name, it in results.items():
        found = [one for one in it.attention if not (is_dry and one.reason == "not_reached")]
        if it.error is None and found:
            output.say(f"{name} needs attention:\n{in_short(found)}")


def _tell_how(output: Output, result: FleetResult, *, is_rehearsal: bool) -> None:
    if result.outcome == "interrupted":
        output.always(result.error or "Stopped.")
    elif result.error is not None:
        output.error(printable(result.error))
    elif result.exit_code == ExitCode.NOT_FINISHED:
        output.always("Not finished: keys are left for a later run.")
    elif result.exit_code == ExitCode.SOME_ROWS:
        output.always(f"Reached the end {result.everywhere}, but some rows need attention.")
    else:
        complete, job = (
            ("Rehearsal complete", "a simulated job") if is_rehearsal else ("Complete", "a job")
        )
        output.always(
            f"{complete}: {result.everywhere}, each key of its input that is not on hold has {job}."
        )

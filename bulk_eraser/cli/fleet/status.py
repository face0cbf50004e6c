"""`bulk-eraser fleet status`: what became of everybody in each cluster, at a glance. Offline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from bulk_eraser.cli.fleet.each_ledger import for_each_ledger
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.text import in_all, lines_of_clusters, tell_errors
from bulk_eraser.cli.options.bundles import command
from bulk_eraser.cli.options.shared import OutputOptions, ReceivedOptions
from bulk_eraser.cli.status import StatusResult, look_at
from bulk_eraser.cli.terminal.ending import as_typed, command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode
from bulk_eraser.wording import counted, moment, printable

__all__ = ["FleetStatusResult", "status"]

_BAD = ("job_failed", "refused", "failed", "unknown", "sent")
_DEADLINES = ("at_risk", "overdue")


@dataclass
class FleetStatusResult(FleetResult):
    """How the clusters stand. `counts` and `deadlines` are sums."""

    next_check_at: str | None = None
    deadlines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FleetStatusOptions(FleetOptions, ReceivedOptions):
    """What `fleet status` has and no other command."""


@command(
    ("What became of everybody?", "bulk-eraser fleet status fleet.toml"),
    ("In one cluster", "bulk-eraser fleet status fleet.toml --only uk"),
)
def status(which: FleetStatusOptions, told: OutputOptions) -> int:
    """Say at a glance what became of everybody in each cluster of FLEET, and what to do now.

    Reads the ledgers alone: changes nothing, sends nothing, needs no API key. Ends with 75 while
    jobs are pending or keys are not sent, with 3 if all is finished with failures.
    """
    output, result = told.output(), FleetStatusResult()

    def work() -> FleetStatusResult:
        fleet = read_fleet(which)

        def look(cluster: Cluster, found: StatusResult) -> None:
            look_at(found, cluster.ledger, which.received, output)
            found.next = None  # it is for all of them

        results = for_each_ledger(fleet, result, StatusResult, look)
        checks = [it.next_check_at for it in results.values() if it.next_check_at]
        result.next_check_at = min(checks, default=None)
        for it in results.values():
            for name, count in it.deadlines.items():
                result.deadlines[name] = result.deadlines.get(name, 0) + count
        steps = _steps(which, result.counts)
        result.next = steps.get(_ASK) or next(iter(steps.values()), None)
        return result

    tell = partial(_tell, which)
    return conclude(output, result, work, tell, tell)


_ASK = "Ask about the jobs, once a day, with:"
_STEPS = (
    ("Send the rest with:", ["run"], ("not_reached", "sent", "failed", "unknown")),
    (_ASK, ["follow"], ("in_progress",)),
    (
        "Retry refused keys and failed jobs with:",
        ["run", "--retry-failed"],
        ("refused", "job_failed"),
    ),
)
"""What to do, by what command, and about whom."""


def _steps(which: FleetOptions, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """What to do now: how it is said, and the command. The file has all that a run needs."""
    ones = which.for_the_next_command()
    return {
        lead: command_of("fleet", name, *ones, *more)
        for lead, (name, *more), states in _STEPS
        if any(counts.get(word) for word in states)
    }


def _tell(which: FleetOptions, output: Output, total: FleetStatusResult) -> None:
    results: dict[str, StatusResult] = total.clusters
    now = datetime.now(UTC)
    rows = []
    for name, it in results.items():
        counts, late = it.counts, [it.deadlines.get(word, 0) for word in _DEADLINES]
        numbers = [counts.get(word, 0) for word in ("erased", "in_progress", "not_reached")]
        bad = sum(counts.get(word, 0) for word in _BAD)
        again = it.next_check_at
        when = moment(datetime.fromisoformat(again), now) if again else ""
        rows.append((name, [*numbers, bad, *late], [when.partition(" (")[0]]))
    if rows:
        heads = ["erased", "in progress", "not sent", "not done", "at risk", "overdue"]
        output.result(lines_of_clusters(heads, ["ask again"], rows))
    if told := in_all(results):
        output.result(told)
    tell_errors(output, results)
    if total.error is not None:
        output.error(printable(total.error))
    elif total.exit_code == ExitCode.COMPLETE:
        output.always(f"Finished {total.everywhere}: {total.counts.get('erased', 0):,} erased.")
    elif total.exit_code == ExitCode.SOME_ROWS:
        output.always("All jobs are finished, but not everybody is erased.")
    else:
        output.always("Not finished: jobs are pending, or keys are not sent.")
    for lead, step in _steps(which, total.counts).items():
        output.always(lead, command=as_typed(step))
    if total.exit_code and (rejected := total.counts.get("rejected")):
        told_rows = counted(rejected, "row")
        output.say(f"{told_rows} rejected: correct them in the input, then use `fleet run` again.")

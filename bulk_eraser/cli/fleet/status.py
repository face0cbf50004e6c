"""`bulk-eraser fleet status`: what became of everybody in each cluster, at a glance. Offline."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from bulk_eraser.cli.fleet.each_ledger import for_each_ledger
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.text import lines_of_clusters, tell_errors
from bulk_eraser.cli.options.bundles import command, option
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.status import StatusResult, look_at
from bulk_eraser.cli.terminal.ending import as_typed, command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode
from bulk_eraser.wording import moment, printable

__all__ = ["FleetStatusResult", "status"]

_BAD = ("job_failed", "refused", "failed", "unknown", "sent")
_DEADLINES = ("at_risk", "overdue")


@dataclass
class FleetStatusResult(FleetResult):
    """How the clusters stand. `counts` and `deadlines` are sums."""

    next_check_at: str | None = None
    deadlines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FleetStatusOptions(FleetOptions):
    received: str | None = option(
        "DATE",
        "Date of the people's requests (YYYY-MM-DD), for rows without a date of their own. "
        "[default: the day on which the run began]",
        env=False,
    )


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
        if result.counts.get("in_progress"):
            result.next = command_of("fleet", "follow", *which.for_the_next_command())
        return result

    return conclude(output, result, work, _tell, _tell)


def _tell(output: Output, total: FleetStatusResult) -> None:
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
    tell_errors(output, results)
    if total.error is not None:
        output.error(printable(total.error))
    elif total.exit_code == ExitCode.COMPLETE:
        output.always(f"Finished in every cluster: {total.counts.get('erased', 0):,} erased.")
    elif total.exit_code == ExitCode.SOME_ROWS:
        output.always("All jobs are finished, but not everybody is erased.")
    else:
        output.always("Not finished: jobs are pending, or keys are not sent.")
    if total.next is not None:
        output.always("Next:", command=as_typed(total.next))

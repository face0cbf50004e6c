"""`bulk-eraser fleet follow`: ask for the status of every job that is due, in many clusters."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from functools import partial

from bulk_eraser.cli.fleet.each_ledger import must_be_its_own
from bulk_eraser.cli.fleet.file import Cluster, Fleet, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult, add_up, ending_of
from bulk_eraser.cli.fleet.text import ClusterOutput, lines_of_clusters, tell_errors, tell_warnings
from bulk_eraser.cli.fleet.together import carry_out_together, leave_proofs, most_at_a_time
from bulk_eraser.cli.follow import AskingOptions, FollowOptions, request_of, settings_of
from bulk_eraser.cli.options.bundles import command
from bulk_eraser.cli.options.proofs import Proofs, StampOptions
from bulk_eraser.cli.options.service import SIMULATED_KEY
from bulk_eraser.cli.options.shared import (
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    warn_of_version,
)
from bulk_eraser.cli.terminal.ending import (
    as_error,
    as_typed,
    command_of,
    conclude,
    how_to_continue,
)
from bulk_eraser.cli.terminal.follow_text import STATUS_MEANINGS, describe, when_again
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.errors import ExitCode, Interrupted
from bulk_eraser.evidence.receipt import receipt_must_be_writable
from bulk_eraser.sending.follow import Follow, FollowedLedger
from bulk_eraser.sending.request import FollowResult
from bulk_eraser.wording import printable

__all__ = ["FleetFollowResult", "follow"]

_SEND_AGAIN = "`fleet run` sends what can be sent, with --retry-failed also what failed."


@dataclass
class FleetFollowResult(FleetResult):
    """How the follow of a fleet ended; `next_check_at` is when the next job of any is due."""

    next_check_at: str | None = None


@dataclass(frozen=True)
class _Pursued:
    """A ledger that is locked and read, and how to ask about its jobs."""

    follow: Follow
    api_key: str
    proofs: Proofs
    output: ClusterOutput


@command(
    ("Once a day, until it ends with 0", "bulk-eraser fleet follow fleet.toml"),
    ("Stay until everybody is erased", "bulk-eraser fleet follow fleet.toml --wait"),
)
def follow(which: FleetOptions, given: AskingOptions, told: VerboseOutputOptions) -> int:
    """Ask for the status of every job that is due, in all clusters of FLEET side by side.

    Only `done` means that the data is erased, which takes about six days. Run this once a day until
    it ends with 0. What stops one cluster touches no other; the exit code is the severest.
    """
    output, result = told.output(), FleetFollowResult()

    def work() -> FleetFollowResult:
        fleet = read_fleet(which)
        result.left_out = fleet.left_out
        with ExitStack() as opened:
            pursued = _all_opened(fleet, given, told, result, opened)
            outputs = {name: it.output for name, it in pursued.items()}
            tell_warnings(output, outputs)
            asked = carry_out_together(
                {name: it.follow.due for name, it in pursued.items()},
                lambda name, observe, signals: pursued[name].follow.carry_out(
                    pursued[name].api_key, observe, signals
                ),
                _not_asked(fleet),
                output,
            )
            leave_proofs(
                (it.proofs, it.output, it.follow.run_started, asked[name])
                for name, it in pursued.items()
            )
            tell_warnings(output, outputs)
        results = result.clusters | asked
        in_order = {it.name: results[it.name] for it in fleet.clusters}
        return _summed(result, in_order, fail_if_overdue=given.fail_if_overdue)

    tell = in_a_step("fleet follow", partial(_tell, given), STATUS_MEANINGS)
    return conclude(output, result, work, tell, tell)


def _not_asked(fleet: Fleet) -> Callable[[str], FollowResult]:
    ledgers = {it.name: it.ledger for it in fleet.clusters}
    return lambda name: FollowResult(ledger=ledgers[name])


def _all_opened(
    fleet: Fleet,
    given: AskingOptions,
    told: VerboseOutputOptions,
    result: FleetFollowResult,
    opened: ExitStack,
) -> dict[str, _Pursued]:
    """Those that can be asked about; why the others cannot be is their result."""
    most = most_at_a_time(fleet.clusters, told.output())
    pursued: dict[str, _Pursued] = {}
    for cluster in fleet.clusters:
        try:
            pursued[cluster.name] = _opened(cluster, given, most, told, opened)
        except Interrupted:
            raise
        except Exception as error:  # a bug as well: it says nothing of the others
            failed = result.clusters[cluster.name] = FollowResult(ledger=cluster.ledger)
            failed.fail(as_error(error))
    return pursued


def _opened(
    cluster: Cluster,
    given: AskingOptions,
    most: int,
    told: VerboseOutputOptions,
    opened: ExitStack,
) -> _Pursued:
    """Raises what `follow` raises before it asks."""
    cluster.ledger_must_exist()
    output = ClusterOutput(told.output(), cluster.name, verbose=told.verbose)
    own = {it.name: getattr(given, it.name) for it in fields(AskingOptions)}
    asked = FollowOptions(**own | {"ledger": cluster.ledger})
    must_be_its_own(cluster)
    ledger = opened.enter_context(closing(FollowedLedger(cluster.ledger)))
    target, pace = cluster.of(TargetOptions), cluster.of(PaceOptions)
    settings = settings_of(target, pace, ledger)
    settings = replace(settings, concurrency=min(settings.concurrency, most))
    service, receipt = cluster.service(), cluster.recorded.receipt
    if receipt is not None:
        receipt_must_be_writable(receipt, cluster.ledger)
    proofs = cluster.of(StampOptions).proofs(receipt, service)
    request = request_of(asked, service, settings)
    api_key = SIMULATED_KEY if settings.simulated else service.api_key(output)
    warn_of_version(settings.api_version, output)
    pursued = Follow(request, settings, ledger)
    describe(pursued, output, verbose=told.verbose)
    return _Pursued(pursued, api_key, proofs, output)


def _summed(
    total: FleetFollowResult, results: dict[str, FollowResult], *, fail_if_overdue: bool
) -> FleetFollowResult:
    add_up(total, results)
    times = [it.next_check_at for it in results.values() if it.next_check_at]
    total.next_check_at = min(times, default=None)
    overdue = any(it.listed.get("overdue_jobs") for it in results.values())
    if fail_if_overdue and overdue and total.exit_code == ExitCode.NOT_FINISHED:
        total.exit_code = ExitCode.SOME_ROWS
    is_waiting = any(
        it.counts["pending"] or (it.probes and it.probes.waiting) for it in results.values()
    )
    if total.error or is_waiting:
        total.next = command_of(*sys.argv[1:])
    return total


def _tell(given: AskingOptions, output: Output, total: FleetFollowResult) -> None:
    results: dict[str, FollowResult] = total.clusters
    rows = []
    for name, it in results.items():
        counts, lacking = it.counts, sum(it.without_job.values())
        bad = counts["error"] + counts["not_found"]
        done = counts.get("done", 0)
        numbers = [counts["jobs"], done, counts["pending"], bad, lacking, it.unanswered]
        rows.append((name, numbers, [ending_of(it)]))
    if rows:
        heads = ["jobs", "erased", "pending", "failed", "no job", "no answer"]
        output.result(lines_of_clusters(heads, ["ended"], rows))
    tell_errors(output, results)
    if total.outcome == "interrupted":
        output.always(total.error or "Stopped.")
    elif total.error is not None:
        output.error(printable(total.error))
    elif total.next is not None:
        again = "" if given.wait else when_again(total.next_check_at)
        output.always(f"Not finished: jobs are pending.{again}")
        if lacking := sum(sum(it.without_job.values()) for it in results.values()):
            have = "key has" if lacking == 1 else "keys have"
            output.always(f"{lacking:,} {have} no job. {_SEND_AGAIN}")
        return
    elif total.exit_code == ExitCode.SOME_ROWS:
        output.always(
            "All jobs are finished, but not everybody is erased: see the columns failed and no "
            f"job. {_SEND_AGAIN}"
        )
    else:
        done = total.counts.get("done", 0)
        output.always(f"Complete: {total.everywhere}, all jobs are done, {done:,} erased.")
    if total.next is not None:
        output.always(f"{how_to_continue(total)}:", command=as_typed(total.next))

"""`bulk-eraser fleet run`: a removal job for every key, in many clusters side by side.

file → requests → surveys, one after the other → one consent → runs, side by side → exit code

Until consent is given, what is wrong with one cluster refuses all: nothing is lost by that. From
then on nothing that stops one touches another.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bulk_eraser.cli.fleet.each import SharedRows, for_each, warn_of_one_input
from bulk_eraser.cli.fleet.file import Cluster, Fleet, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult, add_up
from bulk_eraser.cli.fleet.run_text import ask_consent_of_all, show, tell_run
from bulk_eraser.cli.fleet.text import ClusterOutput, tell_warnings
from bulk_eraser.cli.fleet.together import carry_out_together, leave_proofs, most_at_a_time
from bulk_eraser.cli.options.bundles import command, parameters_of
from bulk_eraser.cli.options.planned import as_planned
from bulk_eraser.cli.options.proofs import Proofs, StampOptions
from bulk_eraser.cli.options.service import SIMULATED_KEY, ServiceOptions
from bulk_eraser.cli.options.shared import (
    InputOptions,
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    warn_of_target,
    warn_of_version,
)
from bulk_eraser.cli.run import RemovalOptions, consent_of
from bulk_eraser.cli.sending import (
    Next,
    SendingOptions,
    must_not_be_the_input,
    next_step,
    request_of,
    settings_of,
)
from bulk_eraser.cli.terminal.consent import describe
from bulk_eraser.cli.terminal.ending import command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.cli.terminal.survey_text import unknown_holds
from bulk_eraser.elevate.endpoints import JobKind, Target
from bulk_eraser.errors import (
    UsageError,
)
from bulk_eraser.sending.request import REHEARSAL, RunRequest, RunResult
from bulk_eraser.settings import RunSettings
from bulk_eraser.survey.fleet_plan import read_fleet_plan
from bulk_eraser.survey.plan import PlanFile
from bulk_eraser.wording import counted, labels_of

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Run

__all__ = ["run"]


@dataclass(frozen=True)
class _Asked:
    """One cluster, and what it is asked to do."""

    cluster: Cluster
    request: RunRequest
    settings: RunSettings
    api_key: str
    proofs: Proofs
    output: ClusterOutput


@command(
    ("Try it out: all of it, but nothing is erased", "bulk-eraser fleet run fleet.toml --rehearse"),
    ("Show what will be sent where, ask, and send it", "bulk-eraser fleet run fleet.toml"),
    ("Without those that are not ready", "bulk-eraser fleet run fleet.toml --except uk,de"),
)
def run(which: FleetOptions, given: RemovalOptions, told: VerboseOutputOptions) -> int:
    """Create removal jobs in all clusters of FLEET, side by side. Run it again to continue.

    Shows what will be sent to each cluster and asks once for consent to all of it. Each has its
    own pace and its own ledger; what stops one, such as a refused API key, touches no other. The
    exit code is the severest.
    """
    output, result = told.output(), FleetResult()

    def work() -> FleetResult:
        fleet = read_fleet(which)
        result.left_out = fleet.left_out
        most = most_at_a_time(fleet.clusters, output)
        ask = partial(_asked, given, _plans(fleet, given), most, output, told.verbose)
        asked = for_each(fleet.clusters, ask, output, result, _not_run)
        with ExitStack() as opened:
            runs = _surveyed(fleet, asked, given, told, result, opened)
            return _execute(which, given, asked, runs, output, result)

    tell = in_a_step("fleet run", partial(tell_run, given), labels_of(JobKind.REMOVAL))
    return conclude(output, result, work, tell, tell)


def _not_run(cluster: Cluster) -> RunResult:
    return RunResult(ledger=cluster.ledger)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _asked(
    given: RemovalOptions,
    plans: Mapping[str, PlanFile],
    most: int,
    whole: Output,
    verbose: bool,
    cluster: Cluster,
) -> _Asked:
    """Raises what the options of a single run raise."""
    output = ClusterOutput(whole, cluster.name, verbose=verbose)
    source: InputOptions = cluster.source
    where, plan = cluster.of(TargetOptions), plans.get(cluster.name)
    if plan is not None:
        source, where = as_planned(plan, source, where, no_exclude=given.no_exclude)
    is_sent = not (given.rehearse or given.dry_run)
    service = cluster.service() if is_sent else cluster.of(ServiceOptions)
    rules, recorded = _rules(given, cluster), cluster.recorded
    rehearsal = Target(REHEARSAL, "", cluster=False)
    settings = settings_of(
        rules,
        rehearsal if given.rehearse else where.target(),
        where,
        cluster.of(PaceOptions),
        None,
        simulated=given.rehearse,
    )
    settings = replace(settings, concurrency=min(settings.concurrency, most))
    request = request_of(rules, recorded, source, service, settings, output, plan=plan)
    must_not_be_the_input(request)
    return _Asked(
        cluster,
        request,
        settings,
        service.api_key(output) if is_sent else SIMULATED_KEY,
        cluster.of(StampOptions).proofs(recorded.receipt, service),
        output,
    )


def _plans(fleet: Fleet, given: RemovalOptions) -> Mapping[str, PlanFile]:
    """By the names of clusters; none without --plan. Raises `UsageError` where the plan has not the
    clusters that are meant, or others than the file."""
    if given.plan is None:
        return {}
    plans = read_fleet_plan(given.plan)
    differences = [f"{it} is in the plan only" for it in plans if it not in fleet.names]
    meant = (it.name for it in fleet.clusters)
    differences += [f"{it} is not in the plan" for it in meant if it not in plans]
    if differences:
        raise UsageError(
            f"The plan {given.plan} is for other clusters than {fleet.path}: "
            f"{', '.join(differences)}. Nothing was sent. Have the fleet checked again for a new "
            "plan."
        )
    return plans


def _rules(given: RemovalOptions, cluster: Cluster) -> SendingOptions:
    """Those of the command line, else of the file, else of the environment."""
    names = [str(it.name) for it in parameters_of(SendingOptions)]
    told = {name for name in names if given.said_by(name)}
    said = {it: getattr(given, it) for it in told if it in given.typed or it not in cluster.table}
    return replace(cluster.of(SendingOptions), **said)


# ── what is done ────────────────────────────────────────────────────────────────────────────────


def _surveyed(
    fleet: Fleet,
    asked: Sequence[_Asked],
    given: RemovalOptions,
    told: VerboseOutputOptions,
    result: FleetResult,
    opened: ExitStack,
) -> "dict[str, Run]":
    """The survey of each, one after the other. Closed with `opened`."""
    from bulk_eraser.sending.run import prepare  # not before the options are known to be good

    output = told.output()
    warn_of_one_input(fleet.clusters, output)
    shared = SharedRows(fleet, output)
    by_name = {it.cluster.name: it for it in asked}

    def survey(cluster: Cluster) -> "Run":
        it = by_name[cluster.name]
        progress = output.survey_progress
        run = prepare(it.request, it.settings, dry_run=given.dry_run, progress=progress)
        opened.enter_context(closing(run))
        shared.must_be_those_of(run.survey)
        describe(run, it.output, why_rejected=True, verbose=told.verbose)
        warn_of_target(it.settings.target, it.output)
        warn_of_version(it.settings.api_version, it.output)
        return run

    try:
        clusters = [it.cluster for it in asked]
        runs = dict(zip(by_name, for_each(clusters, survey, output, result, _not_run), strict=True))
    finally:
        tell_warnings(output, {name: it.output for name, it in by_name.items()})
    surveys = [run.survey for run in runs.values()]
    for text in unknown_holds([it.hold_list for it in surveys if it.facts().cluster]):
        output.warn(text)
    return runs


def _execute(
    which: FleetOptions,
    given: RemovalOptions,
    asked: Sequence[_Asked],
    runs: "Mapping[str, Run]",
    output: Output,
    result: FleetResult,
) -> FleetResult:
    """Consent, jobs. Raises what refuses it before anything was sent."""
    if given.dry_run:
        show(runs, output.result)
        keys = counted(sum(it.to_send for it in runs.values()), "key")
        output.always(f"Dry run: {keys} would be sent. Nothing was sent, nothing was written.")
        return add_up(result, {name: it.dry_result() for name, it in runs.items()})
    ask_consent_of_all(runs, consent_of(given), output)
    api_keys = {it.cluster.name: it.api_key for it in asked}
    results = carry_out_together(
        {name: it.to_send for name, it in runs.items()},
        lambda name, observe, signals: runs[name].carry_out(api_keys[name], observe, signals),
        lambda name: runs[name].dry_result(),
        output,
    )
    names = [it.cluster.name for it in asked]
    leave_proofs(
        (it.proofs, it.output, runs[name].run_started, results[name])
        for name, it in zip(names, asked, strict=True)
    )
    tell_warnings(output, {it.cluster.name: it.output for it in asked})
    add_up(result, results)
    steps = {next_step(runs[name], results[name]) for name in runs}
    result.next = _next(which, min(filter(None, steps), key=lambda it: it.value, default=None))
    return result


def _next(which: FleetOptions, step: Next | None) -> list[str] | None:
    """The command for all, which does nothing again for those that are finished."""
    match step:
        case Next.AGAIN:
            return command_of(*sys.argv[1:])
        case Next.RETRY:
            return command_of(*sys.argv[1:], "--retry-failed")
        case Next.FOLLOW:
            return command_of("fleet", "follow", *which.for_the_next_command())
    return None

"""`bulk-eraser fleet check`: read the inputs of all clusters, send nothing; one plan if asked."""

from contextlib import closing
from dataclasses import dataclass
from functools import partial

from bulk_eraser.cli.check import CheckOptions, CheckResult, NewPlan, note, plan_made
from bulk_eraser.cli.fleet.each import SharedRows, for_each, warn_of_one_input
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult, add_up
from bulk_eraser.cli.fleet.text import ClusterOutput, lines_of_clusters, tell_warnings
from bulk_eraser.cli.options.bundles import command
from bulk_eraser.cli.options.planned import login_name
from bulk_eraser.cli.options.shared import (
    OutputOptions,
    PaceOptions,
    TargetOptions,
    text_of,
    warn_of_target,
    warn_of_version,
)
from bulk_eraser.cli.sending import SendingOptions
from bulk_eraser.cli.terminal.ending import as_typed, command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.survey_text import unknown_holds, warn_of_hold_list
from bulk_eraser.errors import ExitCode
from bulk_eraser.settings import RATES, must_be_within
from bulk_eraser.survey.checks import must_be_usable, survey_of
from bulk_eraser.survey.fleet_plan import fleet_plan_must_be_free, write_fleet_plan
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.plan import Plan
from bulk_eraser.wording import counted, duration, printable, row_error, suspect

__all__ = ["FleetCheckResult", "check"]


@dataclass
class FleetCheckResult(FleetResult):
    """What `fleet check` found; `plan` is the path of the one that binds all clusters."""

    plan: str | None = None


@command(
    ("Is anything wrong with one of the files?", "bulk-eraser fleet check fleet.toml"),
    (
        "Check, and write one plan for all that somebody else runs",
        "bulk-eraser fleet check fleet.toml --plan q3.plan.json",
    ),
)
def check(which: FleetOptions, given: CheckOptions, told: OutputOptions) -> int:
    """Read the inputs of all clusters of FLEET and report what is in them. Sends nothing.

    With --plan, what was checked is written down for all clusters in one file: `fleet run --plan`
    sends exactly that, or nothing. Needs no API key.
    """
    output, result = told.output(), FleetCheckResult()

    def work() -> FleetCheckResult:
        fleet = read_fleet(which)
        result.left_out = fleet.left_out
        if given.plan is not None:
            fleet_plan_must_be_free(given.plan)
        warn_of_one_input(fleet.clusters, output)
        shared = SharedRows(fleet, output)
        plans: dict[str, Plan] = {}
        own = {it.name: ClusterOutput(output, it.name) for it in fleet.clusters}
        holds: list[HoldList | None] = []
        look = partial(_look, given, shared, plans, holds, result, own)
        try:
            for_each(fleet.clusters, look, output, result, lambda _cluster: CheckResult())
        finally:
            tell_warnings(output, own)
        for text in unknown_holds(holds):
            output.warn(text)
        add_up(result, result.clusters)
        result.next = command_of("fleet", "run", *which.for_the_next_command())
        if given.plan is not None:
            write_fleet_plan(given.plan, plans)
            result.plan = given.plan
            result.next += ["--plan", given.plan]
        return result

    return conclude(output, result, work, _tell, _tell)


def _look(
    given: CheckOptions,
    shared: SharedRows,
    plans: dict[str, Plan],
    holds: list[HoldList | None],
    result: FleetResult,
    outputs: dict[str, ClusterOutput],
    cluster: Cluster,
) -> None:
    """Raises what refuses the input."""
    output = outputs[cluster.name]
    source, where = cluster.source, cluster.of(TargetOptions)
    rate = cluster.of(PaceOptions).rate
    must_be_within("--rate", rate, *RATES)
    intake = source.intake(strict=cluster.of(SendingOptions).strict)
    found = result.clusters[cluster.name] = CheckResult()
    with closing(survey_of(intake, progress=output.survey_progress)) as survey:
        shared.must_be_those_of(survey)
        note(found, survey, rate)
        must_be_usable(survey, intake)
        warn_of_hold_list(survey, output)
        holds.append(survey.hold_list if cluster.cluster_field else None)
        warn_of_target(where.target(), output)
        warn_of_version(where.api_version, output)
        if given.plan is not None:
            made_by = text_of("--author", given.author or login_name()) or ""
            new = NewPlan(given.plan, where.target(), where.api_version, made_by, [])
            plans[cluster.name] = made = plan_made(new, survey, intake)
            found.plan, found.keys_sha256 = given.plan, made.keys_sha256
        is_bad = survey.own_errors and not source.ok_if_rejected
        found.exit_code = ExitCode.SOME_ROWS if is_bad else ExitCode.COMPLETE


def _tell(output: Output, result: FleetCheckResult) -> None:
    rows = []
    for name, it in result.clusters.items():
        counts = it.counts
        if not counts:
            continue
        keys = counts["keys"] - counts["excluded"]
        numbers = [keys, counts["rows"], counts["excluded"], counts["duplicate"]]
        least = duration(max(1, it.seconds_at_rate)) if it.seconds_at_rate and keys else ""
        rows.append((name, [*numbers, counts["rejected"]], [least]))
    if rows:
        head = ["to send", "rows", "on hold", "duplicate", "rejected"]
        output.result(lines_of_clusters(head, ["at least"], rows))
    for name, it in result.clusters.items():
        for word, found in it.rejected.items():
            output.result(f"{name}: {row_error(word, found['lines'], found['rows'])}")
        for word, found in it.suspects.items():
            told = suspect(word, found["lines"], found["keys"])
            output.result(f"{name}: {counted(found['keys'], 'key')} {told}")
    if result.error:
        output.error(printable(result.error))
    elif result.next:
        of = f"Plan {printable(result.plan)} binds all of it. " if result.plan else ""
        lead = "Carry it out with:" if result.plan else "Send it with:"
        output.say(f"{of}{lead}", command=as_typed(result.next))

"""`bulk-eraser check`: read everything, send nothing, say what was found; write a plan if asked."""

import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bulk_eraser import __version__
from bulk_eraser.cli.options.bundles import Bundle, command, option
from bulk_eraser.cli.options.planned import author_of, login_name
from bulk_eraser.cli.options.shared import (
    InputOptions,
    OutputOptions,
    RateOptions,
    TargetOptions,
    text_of,
    warn_of_target,
    warn_of_version,
)
from bulk_eraser.cli.terminal.ending import as_before, as_typed, command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.survey_text import at_least, survey_table, warn_of_hold_list
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import Attention, ExitCode, Result
from bulk_eraser.settings import RATES, must_be_within
from bulk_eraser.sources.file import InputFile
from bulk_eraser.survey.checks import Intake, must_be_usable, survey_of
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.plan import Plan, made_from, must_be_free, write_plan
from bulk_eraser.survey.survey import Survey
from bulk_eraser.wording import counted, printable

__all__ = ["CheckOptions", "CheckResult", "NewPlan", "check", "note", "plan_made"]


@dataclass
class CheckResult(Result):
    """What `check` found.

    `rejected` and `suspects` give a number and the first lines for each word; `seconds_at_rate`
    is what a run takes at least, None without a rate limit. With --shard, `shard` is what a run's
    `run_started` would say, and numbers of rows and keys are its own; `input` and `suspects` are of
    all rows.
    """

    input: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, dict[str, Any]] = field(default_factory=dict)
    suspects: dict[str, dict[str, Any]] = field(default_factory=dict)
    hold_list: dict[str, Any] | None = None
    seconds_at_rate: float | None = None
    plan: str | None = None
    keys_sha256: str | None = None
    shard: dict[str, int] | None = None
    survey_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CheckOptions(Bundle):
    heading = "The plan"

    plan: str | None = option(
        "FILE",
        "Write what was checked as a plan for the target, which `run --plan` then carries out.",
        env=False,
    )
    author: str | None = option("TEXT", "Who makes the plan. [default: the login name]")


@dataclass(frozen=True)
class NewPlan:
    """The plan to be written; `rate` is the option that was typed, if it was, for the run."""

    path: str
    target: Target
    api_version: ApiVersion
    made_by: str
    rate: list[str]


@dataclass(frozen=True)
class CheckRequest:
    """What is read, whether rejected rows are fine, at which rate a run is thought of, whether its
    target is named already, and the plan if one is asked for."""

    intake: Intake
    is_ok_if_rejected: bool
    rate: float
    has_target: bool
    plan: NewPlan | None


@command(
    ("Is anything wrong with this file?", "bulk-eraser check customers.csv"),
    ("Leave out who must be kept", "bulk-eraser check customers.csv --exclude hold.csv"),
    (
        "Check, and write a plan that somebody else runs",
        "bulk-eraser check customers.csv --plan q3.plan.json --cluster-id w1234abcd",
    ),
)
def check(
    source: InputOptions,
    given: CheckOptions,
    target: TargetOptions,
    pace: RateOptions,
    told: OutputOptions,
) -> int:
    """Read all of INPUT and report what is in it. Sends nothing, needs no API key.

    With --plan, what was checked is written down for somebody else to run: `run --plan` sends
    exactly that, or nothing.
    """
    output, result = told.output(), CheckResult()

    def work() -> CheckResult:
        return _execute(_request(given, source, target, pace), result, output)

    return conclude(output, result, work)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _request(
    given: CheckOptions, source: InputOptions, target: TargetOptions, pace: RateOptions
) -> CheckRequest:
    intake = source.intake()
    must_be_within("--rate", pace.rate, *RATES)
    plan = None
    made_by = text_of("--author", given.author or login_name()) or ""
    if given.plan is not None:
        rate = ["--rate", f"{pace.rate:g}"] if "rate" in pace.typed else []
        plan = NewPlan(given.plan, target.target(), target.api_version, made_by, rate)
        must_be_free(plan.path)
    has_target = bool(target.cluster_id or target.base_url)
    shard = source.part()
    rate_of_shard = pace.rate / (shard.of if shard else 1)
    return CheckRequest(intake, source.ok_if_rejected, rate_of_shard, has_target, plan)


# ── what is done ────────────────────────────────────────────────────────────────────────────────


def _execute(request: CheckRequest, result: CheckResult, output: Output) -> CheckResult:
    """Fill `result`. What was found is told at once, so that it is seen if the input is refused."""
    began = time.monotonic()
    with closing(survey_of(request.intake, progress=output.survey_progress)) as survey:
        note(result, survey, request.rate)
        result.survey_s = round(time.monotonic() - began, 3)
        _describe(output, survey, request.rate)
        must_be_usable(survey, request.intake)
        if plan := request.plan:
            warn_of_target(plan.target, output)
            warn_of_version(plan.api_version, output)
            made = plan_made(plan, survey, request.intake)
            write_plan(plan.path, made)
            result.plan, result.keys_sha256 = plan.path, made.keys_sha256
            result.next = command_of(*_planned_arguments(plan, request.intake, made))
            _tell_of_plan(output, plan.path, made, result.next, request.intake.reader.file)
        else:
            result.next = command_of(*_run_arguments())
            target = "" if request.has_target else " --cluster-id ID"
            ledger = "" if request.intake.reader.file.address is None else " --ledger FILE"
            run = f"{as_typed(result.next)}{ledger}{target} --api-key-file FILE"
            again = as_before(result.next, is_pipe=False)
            output.say(f"Send it with{again}:", command=run)
        is_bad = survey.own_errors and not request.is_ok_if_rejected
        result.exit_code = ExitCode.SOME_ROWS if is_bad else ExitCode.COMPLETE
    return result


def plan_made(plan: NewPlan, survey: Survey, intake: Intake) -> Plan:
    """What is written down of a decided survey."""
    return made_from(
        survey,
        intake,
        plan.target,
        plan.api_version,
        path=plan.path,
        tool=f"bulk-eraser {__version__}",
        author=author_of(plan.made_by),
    )


def note(result: CheckResult, survey: Survey, rate: float) -> None:
    """Fill in what a decided survey found."""
    facts, held = survey.own_facts(), survey.hold_list
    result.input = msgspec.to_builtins(survey.facts())
    result.shard = msgspec.to_builtins(survey.shard_facts())
    excluded = survey.count(action=Action.EXCLUDE)
    result.counts = {
        "rows": facts.rows,
        "keys": facts.keys,
        "rejected": facts.rejected,
        "duplicate": facts.duplicate,
        "excluded": excluded,
        "stripped": survey.stripped,
    }
    result.rejected = {
        word: {"rows": count, "lines": survey.error_lines[word]}
        for word, count in survey.own_errors.most_common()
    }
    result.attention = [
        Attention(word, count, survey.error_lines[word])
        for word, count in survey.own_errors.most_common()
    ] + [Attention(word, found.keys, found.lines) for word, found in survey.suspects.items()]
    result.suspects = {word: found._asdict() for word, found in survey.suspects.items()}
    if held is not None:
        result.hold_list = {
            "name": held.name,
            "sha256": held.sha256,
            "keys": held.entries,
            "unknown": held.unknown,
        }
    if rate > 0:
        result.seconds_at_rate = round((facts.keys - excluded) / rate, 3)


# ── what is told ────────────────────────────────────────────────────────────────────────────────


def _describe(output: Output, survey: Survey, rate: float) -> None:
    output.result(survey_table(survey))
    if rate > 0:
        keys = survey.own_facts().keys - survey.count(action=Action.EXCLUDE)
        output.result(f"\n{at_least(keys, rate)}")
    warn_of_hold_list(survey, output)


def _tell_of_plan(output: Output, path: str, plan: Plan, run: list[str], file: InputFile) -> None:
    output.say(
        f"Plan {printable(path)}: {counted(plan.keys, 'key')} for {printable(plan.target)}, API "
        f"{plan.api}, made by {printable(plan.made_by)}"
    )
    again = as_before(run, is_pipe=file.is_pipe)
    ledger = " --ledger FILE" if file.is_pipe or file.address else ""
    command = f"{as_typed(run)}{ledger} --api-key-file FILE"
    output.say(f"Carry it out with{again}:", command=command)


def _planned_arguments(plan: NewPlan, intake: Intake, made: Plan) -> list[str]:
    """The plan, for `run`, and what it does not hold: the rate, and what cannot be found again."""
    source = [] if made.path is not None else [intake.reader.file.path]
    hold = []
    if intake.hold_list and made.hold_list and made.hold_list.path is None:
        hold = ["--exclude", intake.hold_list.file.path]
    return ["run", *source, "--plan", plan.path, *hold, *plan.rate]


def _run_arguments() -> list[str]:
    """The command line as it was typed, for `run`, which has all the options but --author and how
    the result is shown."""
    typed = iter(sys.argv[2:])
    arguments = ["run"]
    for word in typed:
        if word == "--author":
            next(typed)
        elif not word.startswith("--author=") and word not in ("--json", "--quiet"):
            arguments.append(word)
    return arguments

"""`bulk-eraser check`: read everything, send nothing, say what was found; write a plan if asked."""

import getpass
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer

from bulk_eraser import __version__
from bulk_eraser.cli import options
from bulk_eraser.cli.arguments import (
    hold_list_of,
    ignore_signals,
    progress_of,
    raise_on_signals,
    reading_of,
    target_of,
    text_of,
)
from bulk_eraser.cli.ending import as_error, command_line
from bulk_eraser.cli.findings import at_least, findings_table, warn_of_hold_list
from bulk_eraser.cli.output import Output, counted, printable
from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.errors import ExitCode, Result
from bulk_eraser.settings import RATES, must_be_within
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.survey.checks import Intake, must_be_usable, survey_of
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.plan import Plan, made_from, must_be_free, write_plan
from bulk_eraser.survey.survey import Survey

__all__ = ["check"]


@dataclass
class Findings(Result):
    """What `check` found: the object that `--json` prints.

    `rejected` and `suspects` give a number and the first lines for each word; `seconds_at_rate`
    is what a run takes at least, None without a rate limit.
    """

    input: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, dict[str, Any]] = field(default_factory=dict)
    suspects: dict[str, dict[str, Any]] = field(default_factory=dict)
    hold_list: dict[str, Any] | None = None
    seconds_at_rate: float | None = None
    plan: str | None = None
    keys_sha256: str | None = None
    survey_s: float = 0.0


def check(
    context: typer.Context,
    input_path: options.InputPath,
    plan: options.NewPlan = None,
    author: options.Author = None,
    cluster_id: options.ClusterId = None,
    base_url: options.BaseUrl = None,
    api_version: options.Version = ApiVersion.V4,
    format_: options.Format = None,
    key_field: options.KeyField = None,
    no_header: options.NoHeader = False,
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = None,
    sheet: options.Sheet = None,
    received_field: options.ReceivedField = None,
    reference_field: options.ReferenceField = None,
    allow_numeric_like: options.AllowNumericLike = False,
    exclude: options.Exclude = None,
    rate: options.Rate = 50.0,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Read all of INPUT and say what is in it. Sends nothing, needs no API key.

    With --plan, what was checked is written down for somebody else to run: `run --plan` sends
    exactly that or nothing.
    """
    output = Output(quiet=quiet, json=json_)
    findings = Findings()
    began = time.monotonic()
    try:
        raise_on_signals()
        reading = reading_of(
            format_,
            key_field,
            no_header,
            delimiter,
            encoding,
            sheet,
            received_field,
            reference_field,
        )
        must_be_within("--rate", rate, *RATES)
        target = None if plan is None else target_of(context, cluster_id, base_url)
        made_by = text_of("--author", author or _login_name()) or ""
        if plan is not None:
            must_be_free(plan)
        intake = Intake(
            reader=InputReader(input_path, reading),
            hold_list=hold_list_of(exclude, reading),
            allow_numeric_like=allow_numeric_like,
        )
        survey = survey_of(intake, progress=progress_of(output))
        try:
            _note(findings, survey, rate)
            findings.survey_s = round(time.monotonic() - began, 3)
            _tell(output, survey, rate)
            must_be_usable(survey, intake)
            if plan and target:
                made = made_from(
                    survey,
                    target,
                    api_version,
                    tool=f"bulk-eraser {__version__}",
                    made_by=made_by,
                    made_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                )
                write_plan(plan, made)
                findings.plan, findings.keys_sha256 = plan, made.keys_sha256
                _tell_of_plan(output, plan, made, input_path)
        finally:
            survey.close()
        findings.exit_code = ExitCode.SOME_ROWS if survey.errors else ExitCode.COMPLETE
    except (Exception, KeyboardInterrupt) as error:
        findings.fail(as_error(error))
    ignore_signals()
    if json_:
        output.raw_result(json.dumps(asdict(findings)))
    if findings.error:
        output.error(printable(findings.error))
    return findings.exit_code


def _note(findings: Findings, survey: Survey, rate: float) -> None:
    facts, held = survey.facts(), survey.hold_list
    findings.input = msgspec.to_builtins(facts)
    excluded = survey.count(action=Action.EXCLUDE)
    findings.counts = {
        "rows": facts.rows,
        "keys": facts.keys,
        "rejected": facts.rejected,
        "duplicate": facts.duplicate,
        "excluded": excluded,
        "stripped": survey.stripped,
    }
    findings.rejected = {
        word: {"rows": count, "lines": survey.error_lines[word]}
        for word, count in survey.errors.most_common()
    }
    findings.suspects = {word: found._asdict() for word, found in survey.suspects.items()}
    if held is not None:
        findings.hold_list = {
            "name": held.name,
            "sha256": held.sha256,
            "keys": held.entries,
            "unknown": held.unknown,
        }
    if rate > 0:
        findings.seconds_at_rate = round((facts.keys - excluded) / rate, 3)


def _tell(output: Output, survey: Survey, rate: float) -> None:
    if not output.json:
        output.result(findings_table(survey))
        if rate > 0:
            keys = survey.facts().keys - survey.count(action=Action.EXCLUDE)
            output.result(f"\n{at_least(keys, rate)}")
    warn_of_hold_list(survey, output)


def _tell_of_plan(output: Output, path: str, plan: Plan, input_path: str) -> None:
    output.say(
        f"Plan {printable(path)}: {counted(plan.keys, 'key')} for {printable(plan.target)}, API "
        f"{plan.api}, made by {printable(plan.made_by)}"
    )
    is_pipe = input_path == "-" or not os.path.isfile(input_path)
    again, ledger = (" (give it the same input again)", " --ledger FILE") if is_pipe else ("", "")
    run = command_line(_run_arguments())
    output.say(f"Carry it out with{again}: {run}{ledger} --api-key-file FILE")


def _run_arguments() -> list[str]:
    """The command line as it was typed, for `run`, which has all the options but --author."""
    typed = iter(sys.argv[2:])
    arguments = ["run"]
    for word in typed:
        if word == "--author":
            next(typed)
        elif not word.startswith("--author="):
            arguments.append(word)
    return arguments


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a name for its user
        return f"uid {os.getuid()}"

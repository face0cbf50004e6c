"""`bulk-eraser run`: a removal job for every key, from a file or a plan."""

from dataclasses import dataclass
from functools import partial

from bulk_eraser.cli.dask.result import ShardsResult
from bulk_eraser.cli.dask.several import LOCAL, Given, SeveralOptions, several_of
from bulk_eraser.cli.options.bundles import argument, command, flag, option
from bulk_eraser.cli.options.planned import as_planned
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import SIMULATED_KEY, ServiceOptions
from bulk_eraser.cli.options.shared import (
    InputOptions,
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
)
from bulk_eraser.cli.sending import (
    HowToRun,
    RecordOptions,
    SendingOptions,
    execute,
    follow_options,
    request_of,
    settings_of,
    tell,
)
from bulk_eraser.cli.terminal.consent import Consent
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.elevate.endpoints import JobKind, Target
from bulk_eraser.errors import UsageError
from bulk_eraser.sending.request import REHEARSAL, RunResult
from bulk_eraser.survey.plan import read_plan
from bulk_eraser.wording import labels_of

__all__ = ["RemovalOptions", "consent_of", "run"]

_RUN = "bulk-eraser run customers.csv"


@dataclass(frozen=True, kw_only=True)
class RemovalOptions(SendingOptions):
    """What only removals have, of one cluster or of many."""

    yes: bool = flag("Give consent: send without asking. An erasure cannot be undone.", env=False)
    plan: str | None = option(
        "FILE",
        "Send what this plan says, or nothing. `check --plan` wrote it; input, options and target "
        "are taken from it.",
    )
    rehearse: bool = flag(
        "Do the same run against a simulator on this computer, with some faults. Nothing is erased."
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(RemovalOptions):
    """What only removals of one cluster have."""

    after_export: str | None = option(
        "LEDGER",
        "Send only keys whose export is downloaded by this ledger of an `export` (or was empty).",
        env=False,
    )
    no_after_export: bool = flag(
        "Send all keys although earlier runs sent only exported ones.", env=False
    )


@dataclass(frozen=True, kw_only=True)
class PlannableInputOptions(InputOptions):
    """The input, which a plan may name as well."""

    input_path: str = argument(
        "INPUT",
        "CSV, NDJSON (also .gz or .zst), .xlsx or .parquet file, its s3://, gs://, az:// "
        "or https:// address, or - for standard input. With "
        "--plan it can be left out.",
        required=False,
    )


@command(
    ("Try it out: the whole run, but nothing is erased", f"{_RUN} --rehearse"),
    ("Show what will be sent, ask, and send it", f"{_RUN} --cluster-id w1234abcd"),
    ("Send what somebody else has checked and planned", "bulk-eraser run --plan q3.plan.json"),
)
def run(
    source: PlannableInputOptions,
    target: TargetOptions,
    given: RunOptions,
    recorded: RecordOptions,
    stamped: StampOptions,
    pace: PaceOptions,
    service: ServiceOptions,
    several: SeveralOptions,
    told: VerboseOutputOptions,
) -> int:
    """Create a removal job for every customer key in INPUT. Run it again to continue.

    Shows what will be sent and asks for consent first. Every step is on disk in the ledger before
    the next one, so the same command continues a run that was interrupted, in whatever way.
    """
    output = told.output()

    def work() -> RunResult:
        plan = None if given.plan is None else read_plan(given.plan)
        if plan is not None:
            asked, where = as_planned(plan, source, target, no_exclude=given.no_exclude)
        elif source.said_by("input_path"):
            asked, where = source, target
        else:
            raise UsageError("No INPUT given. Name the file with the customer keys, or use --plan.")
        said = Given(asked, given, recorded, stamped, pace, service)
        shards = several_of(several, said) if several.is_asked_for else None
        rehearsal = Target(REHEARSAL, "", cluster=False)
        settings = settings_of(
            given,
            rehearsal if given.rehearse else where.target(),
            where,
            pace,
            asked.part(),
            simulated=given.rehearse,
        )
        is_sent = not (given.rehearse or given.dry_run)
        is_here = shards is None or shards.dask == LOCAL
        how = HowToRun(
            api_key=service.api_key(output) if is_sent and is_here else SIMULATED_KEY,
            consent=consent_of(given),
            follow_options=follow_options(where, service),
            proofs=stamped.proofs(recorded.receipt, service),
            dry_run=given.dry_run,
            verbose=told.verbose,
        )
        if given.after_export is not None and given.no_after_export:
            raise UsageError(
                "--after-export and --no-after-export contradict each other: use one of them."
            )
        if given.after_export == "":
            raise UsageError("--after-export names no file. Is a variable empty? Nothing was sent.")
        request = request_of(
            given,
            recorded,
            asked,
            service,
            settings,
            output,
            plan=plan,
            after_export=given.after_export,
            no_after_export=given.no_after_export,
        )
        if shards is None:
            return execute(request, settings, how, output)
        from bulk_eraser.cli.dask.run_all import run_several  # not needed by most runs

        return run_several(shards.beside(request.ledger_path), request, settings, said, how, output)

    tell_how = partial(tell, JobKind.REMOVAL, given, source.input_path, is_rehearsal=given.rehearse)
    told_ = in_a_step("run", tell_how, labels_of(JobKind.REMOVAL))
    before = ShardsResult() if several.is_asked_for else RunResult(ledger=recorded.ledger)
    return conclude(output, before, work, told_, told_)


def consent_of(given: RemovalOptions) -> Consent:
    if given.yes or given.rehearse or given.dry_run:
        return Consent.GIVEN
    return Consent.PLANNED if given.plan else Consent.ASK

"""`bulk-eraser export`: an export job for every key; `follow` downloads the results."""

import os
from dataclasses import dataclass
from functools import partial

from bulk_eraser.cli.options.bundles import Bundle, Number, command, option
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import SIMULATED_KEY, ServiceOptions
from bulk_eraser.cli.options.shared import (
    InputOptions,
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    text_of,
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
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.errors import UsageError
from bulk_eraser.records import ExportFacts
from bulk_eraser.sending.follow import folder_of
from bulk_eraser.sending.request import RunResult
from bulk_eraser.settings import must_be_within
from bulk_eraser.wording import labels_of, printable

__all__ = ["MOST_BYTES", "export", "warn_if_unencrypted"]

MOST_BYTES = (1, 10**12)
"""What --max-result-bytes may be."""
_EXPORT = "bulk-eraser export customers.csv --cluster-id w1234abcd --output exports"


@dataclass(frozen=True, kw_only=True)
class ResultOptions(Bundle):
    """Where the results go."""

    heading = "Where the results are put"

    output: str | None = option(
        "DIR",
        "Folder for the results, one file for each key; made if need be, readable by you alone.",
        env=False,
    )
    encrypt_to: str | None = option(
        "RECIPIENT", "Encrypt each result to this age recipient (age1…); needs the extra age."
    )
    max_result_bytes: int = option(
        "N",
        "How large a result may be; a larger one is not downloaded.",
        default=100_000_000,
        type=Number(100_000_000),
    )

    def facts(self) -> ExportFacts:
        """Raises `UsageError` for want of a folder, or for a size that makes no sense."""
        if not self.output:
            raise UsageError(
                "Name a folder for the results with --output: people's data will be in it."
            )
        must_be_within("--max-result-bytes", self.max_result_bytes, *MOST_BYTES)
        output = os.path.abspath(text_of("--output", self.output) or "")
        return ExportFacts(
            output=output, encrypt_to=self.encrypt_to, max_result_bytes=self.max_result_bytes
        )


@command(
    ("Show what will be exported, ask, and create the jobs", _EXPORT),
    ("Encrypt the results, for the holder of a key", f"{_EXPORT} --encrypt-to age1…"),
    (
        "Once a day: download what is done",
        "bulk-eraser follow customers.export.ledger.ndjson",
    ),
)
def export(
    source: InputOptions,
    target: TargetOptions,
    given: SendingOptions,
    results: ResultOptions,
    recorded: RecordOptions,
    stamped: StampOptions,
    pace: PaceOptions,
    service: ServiceOptions,
    told: VerboseOutputOptions,
) -> int:
    """Create an export job for every customer key in INPUT: the copy before the removal.

    Erases nobody. It continues as `run` does, in a ledger of its own, on which `follow` downloads
    each result once it is done: in about six days, and only within a week after.
    """
    output = told.output()

    def work() -> RunResult:
        facts = results.facts()
        settings = settings_of(given, target.target(), target, pace, source.part())
        how = HowToRun(
            api_key=SIMULATED_KEY if given.dry_run else service.api_key(output),
            consent=Consent.GIVEN if given.yes or given.dry_run else Consent.ASK,
            follow_options=follow_options(target, service),
            proofs=stamped.proofs(recorded.receipt, service),
            dry_run=given.dry_run,
            verbose=told.verbose,
        )
        request = request_of(given, recorded, source, service, settings, output, export=facts)
        if not given.dry_run:  # what makes the results impossible is told before any job
            folder_of(facts).close()
        warn_if_unencrypted(facts, output, "Encrypt them with --encrypt-to")
        return execute(request, settings, how, output)

    tell_how = partial(tell, JobKind.EXPORT, given, source.input_path)
    told_ = in_a_step("export", tell_how, labels_of(JobKind.EXPORT))
    return conclude(output, RunResult(ledger=recorded.ledger), work, told_, told_)


def warn_if_unencrypted(facts: ExportFacts, output: Output, how: str) -> None:
    """People's data on a disk: whoever means that is told all the same, and `how` to encrypt it."""
    if facts.encrypt_to is None:
        output.warn(
            f"the results will lie UNENCRYPTED in {printable(facts.output)}: all that the service "
            f"knows of these people. {how}, and delete them when they are no longer needed."
        )

"""`bulk-eraser probe`: ask the service whether anything is left of a sample of erased people."""

import sys
from contextlib import closing
from dataclasses import dataclass

from bulk_eraser.cli.follow import settings_of
from bulk_eraser.cli.options.bundles import Bundle, argument, command, flag, option
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import ServiceOptions, within_file_limit
from bulk_eraser.cli.options.shared import (
    PaceOptions,
    TargetOptions,
    VerboseOutputOptions,
    warn_of_version,
)
from bulk_eraser.cli.sending import follow_options
from bulk_eraser.cli.terminal.consent import have_it_typed, is_somebody_there
from bulk_eraser.cli.terminal.display import Display
from bulk_eraser.cli.terminal.ending import as_typed, command_of, conclude, how_to_continue
from bulk_eraser.cli.terminal.event_loop import event_loop_runner
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.errors import UsageError
from bulk_eraser.sending.follow import FollowedLedger
from bulk_eraser.sending.probe import Probe
from bulk_eraser.sending.request import ProbeRequest, ProbeResult
from bulk_eraser.wording import counted, printable

__all__ = ["probe"]

_PROBE = "bulk-eraser probe customers.ledger.ndjson"


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(Bundle):
    """What `probe` has and no other command."""

    heading = "Who is asked about"

    ledger: str = argument("LEDGER", "The ledger whose erased people are sampled.")
    sample: str | None = option(
        "N|P%",
        "How many of the erased people are sampled: a number, or a percentage.",
        env=False,
    )
    yes: bool = flag("Give consent: ask the service without asking here.", env=False)


@command(
    ("Ask about sixty people, chosen at random", f"{_PROBE} --sample 60"),
    ("Ask about everybody", f"{_PROBE} --sample 100%"),
    ("A week later: what did the service say?", "bulk-eraser follow customers.ledger.ndjson"),
)
def probe(
    given: ProbeOptions,
    stamped: StampOptions,
    target: TargetOptions,
    service: ServiceOptions,
    pace: PaceOptions,
    told: VerboseOutputOptions,
) -> int:
    """Ask the service whether anything is left of a random sample of the people erased in LEDGER.

    Creates an export job for each; `follow` looks at the results, in about six days, and throws
    them away. An empty one proves that nothing is left. The sample's seed is in the ledger, so that
    an auditor can draw it again. The same command continues a sample that was interrupted.
    """
    output = told.output()

    def work() -> ProbeResult:
        sample = given.sample
        if not sample:
            raise UsageError("Say how many people to ask about with --sample, such as 60 or 1%.")
        with closing(FollowedLedger(given.ledger)) as ledger:  # whatever refuses it, it is unlocked
            settings = within_file_limit(settings_of(target, pace, ledger), output)
            route = service.route(settings.target, settings.api_version)
            proofs = stamped.proofs(None, service)
            asked = Probe(ProbeRequest(given.ledger, sample, route), settings, ledger)
            api_key = service.api_key(output)
            warn_of_version(settings.api_version, output)
            _ask_consent(asked, output, is_given=given.yes)
            with event_loop_runner() as runner:
                result = runner.run(asked.carry_out(api_key, Display(output, settings.rate)))
            proofs.leave(output, asked.run_started, result)
            is_done = result.error is None and not result.counts["failed"]
            follow = ("follow", given.ledger, *follow_options(target, service))
            result.next = command_of(*(follow if is_done else sys.argv[1:]))
            return result

    tell = in_a_step("probe", _tell)
    return conclude(output, ProbeResult(ledger=given.ledger), work, tell, tell)


def _ask_consent(asked: Probe, output: Output, *, is_given: bool) -> None:
    """Return if export jobs may be created. Raises `UsageError` if not."""
    settings, drawn = asked.settings, asked.drawn
    what = "a new sample of" if asked.is_new else "the rest of a sample of"
    is_asked = not is_given and is_somebody_there(output)
    say = output.always if is_asked else output.say
    say(
        f"Ledger {printable(asked.file.path)}: {what} {drawn.size:,} of "
        f"{counted(drawn.population, 'erased person').replace('persons', 'people')}. Target "
        f"{printable(settings.target.name)}, API {settings.api_version}."
    )
    say(
        f"{counted(asked.to_send, 'export job')} will be created. The results are looked at and "
        "thrown away; nobody is erased by this."
    )
    if is_asked:
        have_it_typed(asked.to_send, "export jobs", output)
    elif not is_given:
        raise UsageError(
            f"Consent is missing: {counted(asked.to_send, 'export job')} would be created. There "
            "is no terminal to ask on: use --yes."
        )


def _tell(output: Output, result: ProbeResult) -> None:
    counts = result.counts
    if result.head is not None:
        output.result(
            f"  {counts['asked']:,} of {counts['sampled']:,} sampled people asked about "
            f"({counts['population']:,} are erased)"
        )
        output.say(f"Ledger {printable(result.ledger or '')}, head {result.head}")
    if result.outcome == "interrupted":
        output.always(result.error or "Stopped.")
    elif result.error is not None:
        output.error(printable(result.error))
    elif counts["failed"]:
        output.always(f"{counts['failed']:,} could not be asked about.")
    else:
        output.always("Asked. The service answers in about six days, and only within a week after.")
    if result.next is not None and result.outcome != "refused":
        is_done = result.error is None and not counts["failed"]
        lead = "Ask for the answers once a day with" if is_done else how_to_continue(result)
        output.always(f"{lead}:", command=as_typed(result.next))

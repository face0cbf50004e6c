"""Before anything is sent: say exactly what will be, and have it confirmed."""

import signal
import sys
import termios
from enum import Enum, auto
from typing import TYPE_CHECKING

from bulk_eraser.cli.options.planned import tell_of_plan
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.survey_text import at_least, describe_input
from bulk_eraser.errors import Interrupted, UsageError
from bulk_eraser.ledger.disk import network_file_system
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.sending.signals import wait_for_input
from bulk_eraser.survey.decision import Action
from bulk_eraser.wording import a_job_of, counted, printable

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Run

__all__ = ["Consent", "ask_consent", "describe", "have_it_typed", "is_somebody_there"]

AGAIN = {
    KeyState.SENT: "may have been sent by a run that broke off or was stopped",
    KeyState.UNKNOWN: "unknown after an earlier run",
    KeyState.FAILED: "failed earlier, but not permanently",
    KeyState.REFUSED: "permanently refused earlier (--retry-failed)",
    KeyState.EXCLUDED: "no longer on the hold list",
    KeyState.JOB_FAILED: "accepted earlier, but the job failed (--retry-failed)",
}


class Consent(Enum):
    """`GIVEN` by --yes, or not needed. Otherwise the number of keys must be typed, unless there
    is nobody to ask and a plan was checked by somebody (`PLANNED`)."""

    GIVEN = auto()
    PLANNED = auto()
    ASK = auto()


def describe(
    run: "Run", output: Output, *, why_rejected: bool, verbose: bool, ledgers: str | None = None
) -> None:
    """What the survey found, what the ledger knows, what this run will do.

    `why_rejected`: with the reasons for rejected rows, which the run's ending has as well.
    `ledgers` is what to call them where each shard has its own.
    """
    describe_input(run.survey, output, why_rejected=why_rejected)
    if run.request.plan is not None:
        tell_of_plan(run.request.plan, output)
    if ledgers is None and (kind := network_file_system(run.file.path)):
        output.warn(
            f"the ledger is on a network file system ({kind}), where its lock may not keep another "
            "machine out. Do not run the same batch on two machines."
        )
    _describe_ledger(run, output, ledgers or f"Ledger {run.file.path}")
    if waiting := run.survey.count(action=Action.AWAIT):
        keys = counted(waiting, "key")
        output.say(f"{keys} not sent in this run: not downloaded by the export that is named")
    if verbose:
        for name, value in run.settings.recorded().items():
            output.say(f"  {name}: {value}")


def ask_consent(run: "Run", consent: Consent, output: Output) -> None:
    """Return if this run may send. Raises `UsageError` if not."""
    settings, keys = run.settings, run.to_send
    if settings.simulated:
        output.say(f"Rehearsal: {counted(keys, 'key')} for a simulator. Nothing is erased.")
        return
    where = settings.target.base_of(settings.api_version)
    is_asked = consent is not Consent.GIVEN and is_somebody_there(output)
    say = output.always if is_asked else output.say  # what is asked for is shown with --quiet, too
    say(
        f"Target {printable(settings.target.name)}, API {settings.api_version} ({printable(where)})"
    )
    if settings.rate:
        say(at_least(keys, settings.rate))
    what = f"{counted(keys, 'key')} {_what_is_done(run)}"
    say(f"{what}.{'' if run.request.export else ' An erasure cannot be undone.'}")
    if consent is Consent.GIVEN:
        return
    if not is_asked:
        if consent is Consent.PLANNED:
            return
        raise UsageError(
            f"Consent is missing: {what}. There is no terminal to ask on: use --yes. To see what "
            "would be sent, use --dry-run."
            if run.request.export
            else f"Consent is missing: {counted(keys, 'key')} would be sent for removal. There is "
            "no terminal to ask on: use --yes, or name a plan with --plan. To see what would be "
            "sent, use --dry-run or --rehearse."
        )
    have_it_typed(keys, "keys", output)


def is_somebody_there(output: Output) -> bool:
    """Is there a terminal to ask on? What was typed there up to now is no answer."""
    is_terminal = output.is_terminal and sys.stdin is not None and sys.stdin.isatty()
    if is_terminal:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    return is_terminal


def have_it_typed(number: int, of: str, output: Output) -> None:
    """Raises `UsageError` if something else is typed, `Interrupted` for Ctrl-C."""
    try:
        output.prompt(f"Type the number of {of} ({number}) to confirm: ")
        wait_for_input(sys.stdin.fileno())
        answer = sys.stdin.readline().strip().replace(",", "")
    except (KeyboardInterrupt, Interrupted) as stop:
        output.raw_message("")
        signum = stop.signum if isinstance(stop, Interrupted) else signal.SIGINT
        raise Interrupted(signum, "Cancelled. Nothing was sent.") from None
    if answer != str(number):
        raise UsageError(
            f"Not confirmed: the number typed is not the number of {of}. Nothing was sent."
        )


def _what_is_done(run: "Run") -> str:
    export = run.request.export
    if export is None:
        return "will be sent for removal"
    how = "encrypted" if export.encrypt_to else "UNENCRYPTED"
    return (
        f"will be exported: these people's data will be put into {printable(export.output)}, {how}"
    )


def _describe_ledger(run: "Run", output: Output, name: str) -> None:
    survey = run.survey
    if not (run.file.exists or run.request.earlier):
        output.say(f"{printable(name)}: new")
        return
    refused = survey.count(action=Action.KEEP, state=KeyState.REFUSED)
    failed = survey.count(action=Action.KEEP, state=KeyState.JOB_FAILED)
    settled = survey.count(action=Action.KEEP) - refused - failed
    have = "has" if settled == 1 else "have"
    output.say(
        f"{printable(name)}: continuing; {counted(settled, 'key')} already {have} "
        f"{a_job_of(run.request.kind)}"
    )
    before = run.facts.last_input
    if before is not None and before.sha256 != run.survey.reader.file.fingerprint.sha256:
        changed = "The input has changed since the last run."
        output.say(f"  {changed} This run continues by key, not by position.")
    if refused:
        output.say(f"  {counted(refused, 'key')} permanently refused earlier: not sent again")
    if failed:
        jobs = counted(failed, run.request.kind)
        output.say(f"  {jobs} failed (error or not found): --retry-failed creates new ones")
    for state, why in AGAIN.items():
        if again := survey.count(action=Action.SEND, state=state):
            output.say(f"  {counted(again, 'key')} sent again: {why}")
    if not run.tally.to_send:
        output.say("Nothing to do: no key of this input is left to send.")

"""The command `bulk-eraser`: parse, run, exit code. No traceback ever reaches the user."""

import os
import sys
from collections.abc import Iterable
from typing import Never

import click

from bulk_eraser import __version__
from bulk_eraser.cli.terminal.help_page import CommandGroup
from bulk_eraser.errors import ExitCode, UsageError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = {
    "check": "Read all of INPUT and report what is in it. Sends nothing, needs no API key.",
    "run": "Create a removal job for every customer key in INPUT. Run it again to continue.",
    "export": "Create an export job for every customer key in INPUT: the copy before the removal.",
    "follow": "Ask for the status of every job that is due, until all are done.",
    "probe": "Ask the service whether anything is left of a random sample of erased people.",
    "status": "Say at a glance what became of everybody, and what to do now. Sends nothing.",
    "report": "Write evidence for people out of ledgers: page, table, metrics. Sends nothing.",
    "verify": "Prove that ledgers are unchanged since they were written. Sends nothing.",
    "seal": "Verify several ledgers, and write their heads and counts into one small file.",
    "pseudonymize": "Write a copy of LEDGER with pseudonyms instead of customer keys.",
    "certificate": "Write proof for one erased person, checkable without anybody else's data.",
    "verify-certificate": "Prove that a certificate is what was issued. Needs no ledger.",
    "fleet": "Check, run and follow erasures in many clusters, as FLEET.toml names them.",
    "simulate": "Try bulk-eraser out: a simulated Elevate GDPR API on this computer.",
}

EXAMPLES = (
    ("Read a file and report what is in it; nothing is sent", "bulk-eraser check customers.csv"),
    ("Create the removal jobs", "bulk-eraser run customers.csv --cluster-id w1234abcd"),
    (
        "On each of the days after: who is erased by now?",
        "bulk-eraser follow customers.ledger.ndjson",
    ),
)
"""The way of a batch."""

COMPLETION = "_BULK_ERASER_COMPLETE"
"""The variable in which a shell asks for what may come next."""


@click.group(
    "bulk-eraser",
    cls=CommandGroup,
    commands=COMMANDS,
    package="bulk_eraser.cli",
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="bulk-eraser")
def app() -> None:
    """Bulk erasure requests to the Voyado Elevate GDPR API.

    Reads customer keys from CSV, NDJSON or Excel, creates one removal job for each, and writes
    every step to a ledger from which an interrupted run continues.

    To complete words with Tab, add to ~/.bashrc (for zsh and fish likewise):
    eval "$(_BULK_ERASER_COMPLETE=bash_source bulk-eraser)"
    """


def main() -> None:
    """The console script: exits with a code of `ExitCode`."""
    _fill_closed_streams()
    try:
        arguments = sys.argv[1:] or ["--help"]
        arguments += ["--help"] if arguments == ["fleet"] else []
        code: object = app.main(arguments, standalone_mode=False, complete_var=COMPLETION)
    except SystemExit as end:  # click's, after completion, or for a pipe that nobody reads
        code = ExitCode.COMPLETE if _is_help_wanted() else end.code
    except click.Abort:  # what click makes of Ctrl-C
        code = _tell_of(KeyboardInterrupt())
    except click.ClickException as error:
        code = _tell_of(UsageError(_sentence(error)))
    except (Exception, KeyboardInterrupt) as error:  # the last line of defence: never a traceback
        is_unread = isinstance(error, OSError) and _is_help_wanted()
        code = _tell_nobody() if is_unread else _tell_of(error)
    sys.exit(code if isinstance(code, int) else ExitCode.COMPLETE)


def _is_help_wanted() -> bool:
    return sys.argv[1:] in ([], ["fleet"]) or not {"-h", "--help", "--version"}.isdisjoint(sys.argv)


def _tell_nobody() -> int:
    """Help that cannot be printed is no failure, and what is left of it must not make one."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return ExitCode.COMPLETE


def _fill_closed_streams() -> None:
    """Without stdin, stdout or stderr, no file or connection may get its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _tell_of(error: BaseException) -> int:
    """Tell of an error that no command has told of."""
    from bulk_eraser.cli.terminal.ending import conclude  # help needs none of these
    from bulk_eraser.cli.terminal.output import Output
    from bulk_eraser.sending.request import RunResult

    def work() -> Never:
        raise error

    return conclude(Output(json=_is_json_wanted()), RunResult(), work)


def _is_json_wanted() -> bool:
    """Before or without the options being understood; whoever reads JSON must get it."""
    said = os.environ.get("BULK_ERASER_JSON", "")
    return "--json" in sys.argv or bool(click.types.BoolParamType.str_to_bool(said))


def _typed_command() -> tuple[str, Iterable[str]]:
    """The command as far as it is known, with a blank before each word, and what may follow it."""
    typed = sys.argv[1:2]
    if not typed or typed[0] not in COMMANDS:
        return "", COMMANDS
    if typed != ["fleet"]:
        return f" {typed[0]}", ()
    from bulk_eraser.cli.fleet.group import COMMANDS as OF_A_FLEET

    known = [word for word in sys.argv[2:3] if word in OF_A_FLEET]
    return " ".join(["", *typed, *known]), () if known else OF_A_FLEET


def _sentence(error: click.ClickException) -> str:
    from difflib import get_close_matches  # help needs none of it

    command, known = _typed_command()
    text = " ".join(error.format_message().split()).rstrip(".")
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    word = next(iter(words[len(command.split()) :]), "")
    meant = [] if word in COMMANDS else get_close_matches(word, known, 1)
    hint = f" (did you mean {meant[0]}?)" if meant else ""
    if isinstance(error, click.NoSuchOption) and not command:
        before = f"No such option before the command: {error.option_name}"
        return f"{before}. Put options after it{hint}. See `bulk-eraser --help`."
    text += hint
    if isinstance(error, click.NoSuchOption):  # whose own text is several sentences
        text = f"No such option: {error.option_name}"
        if error.possibilities:
            text += f" (did you mean {' or '.join(sorted(error.possibilities))}?)"
    return f"{text}. See `bulk-eraser{command} --help`."

"""In GitHub Actions: a section in the job's summary, and at most three annotations.

Annotations are lines of standard error, which the runner reads as it does standard output. So what
stands on standard output, such as the object of --json, stays as it is promised.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from bulk_eraser.cli.terminal.ending import as_typed
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Attention, ExitCode, Result, lines_of
from bulk_eraser.wording import attention_meaning, printable

__all__ = ["annotations", "in_a_step", "section"]

R = TypeVar("R", bound=Result)

ANNOTATIONS = 3
_AT_ONCE = ("held_too_late", "overdue")
REASONS = 30
LONGEST = 2_000
"""Characters of one text."""


def in_a_step(
    command: str,
    tell: Callable[[Output, R], None],
    meanings: Mapping[str, str] | None = None,
) -> Callable[[Output, R], None]:
    """What tells how a command ended, also to GitHub, if this is a step in GitHub Actions.

    `meanings` are those of the counts that are shown. A summary that cannot be written is left out:
    what happened is on record elsewhere.
    """

    def tell_both(output: Output, result: R) -> None:
        tell(output, result)
        if os.environ.get("GITHUB_ACTIONS") != "true":
            return
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with suppress(OSError, ValueError), open(path, "a", encoding="utf-8") as file:
                file.write(section(command, result, meanings or {}, output.verdict))
        for line in annotations(command, result, output.verdict):
            output.raw_message(line)

    return tell_both


def section(command: str, result: Result, meanings: Mapping[str, str], verdict: list[str]) -> str:
    """The Markdown; nothing in it comes from a customer key, and all text is escaped."""
    from bulk_eraser.evidence.report.as_markdown import escaped, table  # few ends are in GitHub

    counts = getattr(result, "counts", None) or getattr(result, "states", {})
    rows = [[f"{counts[it]:,}", text] for it, text in meanings.items() if counts.get(it)]
    reasons = [
        [
            f"{it.count:,}",
            it.reason,
            attention_meaning(it.reason),
            lines_of(sorted(it.lines), it.count) if it.lines else "",
        ]
        for it in _gravest_first(result)[:REASONS]
    ]
    ending = f"{_ending(command, result)} ({int(result.exit_code)})"
    parts = [
        f"### bulk-eraser {escaped(command)}: {ending}\n",
        "".join(f"{escaped(text, LONGEST)}\n\n" for text in verdict),
        table(("number", "what became of them"), rows, right=1),
        table(("number", "needs attention", "why", "where"), reasons, right=1),
        f"Next: <code>{escaped(as_typed(result.next), LONGEST)}</code>\n" if result.next else "",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def annotations(command: str, result: Result, verdict: list[str]) -> list[str]:
    """The verdict, and the gravest reasons for attention, as commands of the runner."""
    level = _level(result)
    texts = [(level, " ".join(verdict))] if verdict else []
    for it in _gravest_first(result):
        where = f" ({lines_of(sorted(it.lines), it.count)})" if it.lines else ""
        texts.append(
            ("warning", f"{it.count:,} {it.reason}: {attention_meaning(it.reason)}{where}")
        )
    title = _escaped(f"bulk-eraser {command}").replace(":", "%3A").replace(",", "%2C")
    return [f"::{level} title={title}::{_escaped(text)}" for level, text in texts[:ANNOTATIONS]]


def _gravest_first(result: Result) -> list[Attention]:
    """What cannot wait, then what concerns most."""
    return sorted(result.attention, key=lambda it: (it.reason not in _AT_ONCE, -it.count))


def _level(result: Result) -> str:
    if result.exit_code in (ExitCode.COMPLETE, ExitCode.NOT_FINISHED) and not result.error:
        return "notice"
    return "warning" if result.exit_code == ExitCode.SOME_ROWS else "error"


def _ending(command: str, result: Result) -> str:
    if command.split()[-1] == "verify" and result.outcome in ("complete", "incomplete"):
        return "verified" if result.exit_code == ExitCode.COMPLETE else "not verified"
    words = {"complete": "reached its end", "incomplete": "not finished"}
    if result.outcome == "complete" and result.exit_code:
        return "reached its end, needs attention"
    return words.get(result.outcome, result.outcome)


def _escaped(text: str) -> str:
    """As the runner wants the text of a command: in one line, and no command within it."""
    plain = printable(text)[:LONGEST].replace("::", ": :")
    return plain.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

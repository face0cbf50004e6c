"""A summary as Markdown, for a step summary, a merge request or a ticket.

Text that is not our own is written in character references, so it is nowhere markup, and nobody is
mentioned. It stays below 64 KiB, however much there is to tell.
"""

import re
from datetime import datetime

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.report.words import (
    ADVICE,
    LIMITS,
    deadline_lines,
    each_row_once,
    failure_meaning,
    first_deadline,
    from_run,
    headline,
    hold_meaning,
    next_check,
    remarks,
    title,
    where_held_too_late,
)
from bulk_eraser.evidence.summary import Summary
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.wording import (
    STATE_MEANINGS,
    printable,
    run_ending,
    stamp_in_words,
    time_in_words,
)

__all__ = ["as_markdown", "escaped", "table"]

FIRST_LINE = "<!-- bulk-eraser report -->\n"
LONGEST = 120
"""Characters of a text that is not our own."""
RUNS = 20
ROWS = 40
HOLDS = 20
_MARKUP = re.compile(
    r"^[ =-]+"  # a list, a line, a heading, code
    r"|^\d+[.)]"  # a numbered list
    r"|[.:](?=\S)"  # an address
    r"|[^\w .:,;=/%–“”…'()-]|_"
)


def as_markdown(summary: Summary) -> str:
    now = datetime.fromisoformat(summary.made_at)
    states = [[f"{n:,}", STATE_MEANINGS[state]] for state, n in summary.states.items() if n]
    deadlines = [[f"{count:,}", text] for count, text in deadline_lines(summary)]
    notes = [first_deadline(summary) and f"First deadline: {first_deadline(summary)}."]
    notes += [from_run(summary), next_check(summary, now)]
    parts = [
        f"{FIRST_LINE}## Erasure: {escaped(title(summary), LONGEST)}\n",
        f"**{escaped(headline(summary))}**\n",
        "".join(f"- {escaped(remark)}\n" for remark in remarks(summary)),
        table(("keys", "what became of them"), states, right=1),
        table(("keys", "the month for an answer"), deadlines, right=1),
        "".join(f"{escaped(note)}\n" for note in notes if note),
        _to_do(summary),
        _rows(summary),
        "### The batch\n\n" + table(("fact", ""), _facts(summary)),
        _runs(summary),
        "### Method and limits\n\n" + "".join(f"- {escaped(limit)}\n" for limit in LIMITS),
    ]
    return "\n".join(part for part in parts if part)


def escaped(text: str, longest: int | None = None) -> str:
    """Text as text: nothing of it is markup, a link, or a mention."""
    plain = printable(text)
    if longest is not None and len(plain) > longest:
        plain = plain[: longest - 1] + "…"
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), plain)


def table(head: tuple[str, ...], rows: list[list[str]], right: int = 0) -> str:
    """A table with its first `right` columns aligned to the right; nothing without rows."""
    if not rows:
        return ""
    lines = [f"| {' | '.join(head)} |"]
    lines.append("|" + "".join(" ---: |" if n < right else " --- |" for n in range(len(head))))
    lines += [f"| {' | '.join(escaped(cell, LONGEST) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _to_do(summary: Summary) -> str:
    late, where = summary.held_too_late, where_held_too_late(summary)
    rows = [[f"{late:,}", "came on hold too late", where, _advice("held_too_late")]] if late else []
    rows += [
        [
            f"{it.count:,}",
            f"{it.state.replace('_', ' ')}: {failure_meaning(it)}",
            _where(it.lines, it.count),
            _advice(it.state),
        ]
        for it in summary.failures[:ROWS]
    ]
    rows += [
        [
            f"{it.count:,}",
            f"rejected: {ROW_ERRORS.get(it.error, it.error)}",
            _where(it.lines, it.count),
            _advice("rejected"),
        ]
        for it in summary.rejected[:ROWS]
    ]
    rows += [
        [
            f"{it.count:,}",
            f"on the hold list: {hold_meaning(it)}",
            _where(it.lines, it.count),
            _advice("excluded"),
        ]
        for it in summary.holds[:HOLDS]
    ]
    return table(("rows", "why", "where", "what to do"), rows, right=1)


def _advice(state: str) -> str:
    return ADVICE[state].replace("`", "")


def _where(lines: list[int], count: int) -> str:
    return lines_of(lines, count) if lines else ""


def _rows(summary: Summary) -> str:
    rows = [
        [f"{row.line:,}", why, row.error or row.job_status, row.reference, row.jid, row.due]
        for row, why in each_row_once(summary.rows)[:ROWS]
    ]
    head = ("line", "what became of it", "error or job status", "reference", "jid", "due")
    return table(head, rows, right=1)


def _facts(summary: Summary) -> list[list[str]]:
    facts = [
        ["target", ", ".join(summary.targets)],
        ["API", ", ".join(summary.apis)],
        ["requester", ", ".join(summary.requesters)],
        ["reference", ", ".join(summary.references)],
        *(["plan", f"{it.made_by}, {time_in_words(it.made_at)}"] for it in summary.plans[:5]),
    ]
    facts += [
        ["input", f"{it.name}, {it.rows:,} rows, SHA-256 {it.sha256}"] for it in summary.inputs[-3:]
    ]
    facts += [["head", ledger.head] for ledger in summary.ledgers[:ROWS]]
    facts += [["time stamp", stamp_in_words(stamp)] for stamp in summary.timestamps[:ROWS]]
    return [row for row in facts if row[1]]


def _runs(summary: Summary) -> str:
    rows = [
        [
            time_in_words(run.at),
            run.command,
            f"{run.requests:,}",
            f"{run.repeats:,}",
            run_ending(run.outcome, run.exit_code),
        ]
        for run in summary.runs[-RUNS:]
    ]
    return table(("begun", "command", "requests", "repeats", "end"), rows)

"""A summary as one page for the case file: no script, nothing from elsewhere, fit to be printed.

What the page says is decided here; how it looks is in `page.html.jinja`, which escapes whatever it
is given.
"""

import os
import re
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.findings import FINDINGS
from bulk_eraser.evidence.html_page import rendered
from bulk_eraser.evidence.report.pictures import bar_of, days_of, timeline_of
from bulk_eraser.evidence.report.words import (
    ADVICE,
    CERTIFICATE,
    GLOSSARY,
    HOW_TO_CHECK,
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
    sums,
    title,
    where_held_too_late,
)
from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.wording import (
    STATE_MEANINGS,
    run_ending,
    stamp_in_words,
)

__all__ = ["as_html"]

RUNS = 200
"""Runs that are listed; a batch has rarely more than a dozen."""
ROOM = 19
"""Rows of exceptions, states and remarks for which there is room on the first printed page; an
annex has all exceptions."""
LINE = 110
"""Letters of a remark on one printed line."""
FEWEST, MOST = 2, 10
LONGEST_REASON = 80
CHECK = "check_ledger.py"


def as_html(summary: Summary) -> str:
    return rendered(
        "bulk_eraser.evidence.report",
        _view(summary),
        stamped=lambda stamp: (os.path.basename(stamp["stamp"]), stamp_in_words(stamp)),
        ending=lambda run: run_ending(run.outcome, run.exit_code),
        commands=_with_commands,
    )


def _view(summary: Summary) -> dict[str, Any]:
    now = datetime.fromisoformat(summary.made_at)
    exceptions = _exceptions(summary)
    lines = [-(-len(remark) // LINE) for remark in remarks(summary)]
    others = sum(map(bool, summary.states.values())) + sum(lines)
    first = [_in_short(it) for it in exceptions[: max(FEWEST, min(MOST, ROOM - others))]]
    return {
        "s": summary,
        "title": title(summary),
        "mark": _mark(summary.standing),
        "headline": headline(summary),
        "remarks": [_with_commands(remark) for remark in remarks(summary)],
        "bar": bar_of(summary),
        "sums": sums(summary),
        "days": days_of(summary),
        "timeline": timeline_of(summary),
        "states": STATE_MEANINGS,
        "deadlines": deadline_lines(summary),
        "first_deadline": first_deadline(summary),
        "from_run": from_run(summary),
        "next_check": next_check(summary, now),
        "certificate": CERTIFICATE,
        "performed": _performed(summary),
        "exceptions": first,
        "more_exceptions": exceptions[len(first) :],
        "all_exceptions": [] if first == exceptions else exceptions,
        "hold_list": next((it.hold_list for it in reversed(summary.runs) if it.hold_list), None),
        "rows": each_row_once(summary.rows),
        "limits": LIMITS,
        "check": HOW_TO_CHECK,
        "program": _program(),
        "glossary": GLOSSARY,
        "findings": FINDINGS,
        "row_errors": ROW_ERRORS,
        "lines_of": lines_of,
        "runs": summary.runs[-RUNS:],
    }


def _with_commands(text: str) -> Markup:
    """Our own words, with what stands in backquotes as code."""
    marked = re.sub("`([^`]+)`", r'<code class="nb">\1</code>', str(escape(text)))
    return Markup(marked)  # noqa: S704 escaped


def _mark(standing: Standing) -> tuple[str, str]:
    """A sign and a colour beside the verdict, which says the same in words."""
    if standing is Standing.ALL_ERASED:
        return "✓", "good"
    if standing in (Standing.OPEN, Standing.NOBODY):
        return "…", "open"
    return "!", "bad"


def _performed(summary: Summary) -> tuple[str, str]:
    """When the first run began, and when the last one ended, as far as is recorded."""
    begun = [run.at for run in summary.runs]
    ended = [run.finished_at for run in summary.runs if run.finished_at]
    return min(begun, default=""), max(ended, default="")


def _program() -> str:
    """docs/check_ledger.py, which a wheel holds beside this module."""
    installed = files(__package__) / CHECK
    of_clone = Path(__file__).parents[3] / "docs" / CHECK
    return (installed if installed.is_file() else of_clone).read_text(encoding="utf-8")


_Exception = tuple[int, str, str, str]
"""How many, why, in which lines, and what to do."""


def _exceptions(summary: Summary) -> list[_Exception]:
    """Who is not erased, why, in which lines, and what to do: an exception each."""
    late = "on hold, but already sent, or perhaps (counted under its state as well)"
    found = [(summary.held_too_late, late, where_held_too_late(summary), ADVICE["held_too_late"])]
    found = found if summary.held_too_late else []
    found += [
        (
            it.count,
            f"{it.state.replace('_', ' ')}: {failure_meaning(it)}",
            lines_of(it.lines[:3], it.count) if it.lines else "",
            ADVICE[it.state],
        )
        for it in summary.failures
    ]
    if summary.states["rejected"]:
        reasons = ", ".join(f"{it.count:,} {it.error}" for it in summary.rejected)
        why = f"{STATE_MEANINGS['rejected']} ({reasons})" if reasons else STATE_MEANINGS["rejected"]
        lines = sorted(line for it in summary.rejected for line in it.lines)[:3]
        where = lines_of(lines, summary.states["rejected"]) if lines else ""
        found.append((summary.states["rejected"], why, where, ADVICE["rejected"]))
    found += [
        (summary.states[state], STATE_MEANINGS[state], "", ADVICE[state])
        for state in ("in_progress", "not_reached")
        if summary.states[state]
    ]
    found += [
        (
            it.count,
            f"on the hold list: {hold_meaning(it)}",
            lines_of(it.lines[:3], it.count) if it.lines else "",
            ADVICE["excluded"],
        )
        for it in summary.holds
    ]
    return found


def _in_short(exception: _Exception) -> _Exception:
    count, why, where, advice = exception
    return count, why if len(why) <= LONGEST_REASON else why[:LONGEST_REASON] + "…", where, advice

"""A summary as one page for the case file: no script, nothing from elsewhere, fit to be printed.

What the page says is decided here; how it looks is in `page.html.jinja`, which escapes whatever it
is given.
"""

import re
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.findings import FINDINGS
from bulk_eraser.evidence.report.pictures import bar_of, days_of, timeline_of
from bulk_eraser.evidence.report.words import (
    ADVICE,
    CERTIFICATE,
    GLOSSARY,
    HOW_TO_CHECK,
    LIMITS,
    WHY,
    deadline_lines,
    failure_meaning,
    first_deadline,
    from_run,
    headline,
    next_check,
    remarks,
)
from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.wording import STATE_MEANINGS, counted, plural, printable, time_in_words

__all__ = ["as_html"]

RUNS = 200
"""Runs that are listed; a batch has rarely more than a dozen."""


def as_html(summary: Summary) -> str:
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("bulk_eraser.evidence.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "counted": counted,
        "plural": plural,
        "when": time_in_words,
        "text": lambda value: printable(str(value)),
        "commands": _with_commands,
    }
    return environment.get_template("page.html.jinja").render(_view(summary)) + "\n"


def _view(summary: Summary) -> dict[str, Any]:
    now = datetime.fromisoformat(summary.made_at)
    return {
        "s": summary,
        "title": ", ".join(ledger.ledger for ledger in summary.ledgers),
        "mark": _mark(summary.standing),
        "headline": headline(summary),
        "remarks": remarks(summary),
        "bar": bar_of(summary),
        "days": days_of(summary),
        "timeline": timeline_of(summary),
        "states": STATE_MEANINGS,
        "deadlines": deadline_lines(summary),
        "first_deadline": first_deadline(summary),
        "from_run": from_run(summary),
        "next_check": next_check(summary, now),
        "certificate": CERTIFICATE,
        "performed": _performed(summary),
        "exceptions": _exceptions(summary),
        "limits": LIMITS,
        "check": HOW_TO_CHECK,
        "glossary": GLOSSARY,
        "findings": FINDINGS,
        "row_errors": ROW_ERRORS,
        "why": WHY,
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


def _exceptions(summary: Summary) -> list[tuple[int, str, str, str]]:
    """Who is not erased, why, in which lines, and what to do: an exception each."""
    found = [
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
        found.append((summary.states["rejected"], why, "", ADVICE["rejected"]))
    found += [
        (summary.states[state], STATE_MEANINGS[state], "", ADVICE[state])
        for state in ("in_progress", "not_reached", "excluded")
        if summary.states[state]
    ]
    if summary.held_too_late:
        late = "on hold, but already sent, or perhaps (counted under its state as well)"
        found.append((summary.held_too_late, late, "", ADVICE["held_too_late"]))
    return found

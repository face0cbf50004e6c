"""A summary as metrics, in the text format of Prometheus.

It is read by node_exporter's textfile collector and as GitLab's metrics report. No label holds a
customer key, a jid or a reference.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.wording import printable

__all__ = ["as_metrics"]

FIRST_LINE = "# Written by bulk-eraser report --metrics\n"
_HELP = {
    "keys": "What became of everybody, by state.",
    "deadlines": "Everybody who is to be erased, by the month for an answer.",
    "failures": "Keys that are not erased and need somebody, by state and error.",
    "held_too_late": "Keys that came on hold when they may have been sent already.",
    "jobs_due": "Jobs to ask about now.",
    "ledger_proven": "1 if the ledger is what was written, 0 if not.",
    "next_check_timestamp_seconds": "When to ask about the jobs next.",
    "first_deadline_timestamp_seconds": "End of the first month of somebody who is not erased.",
    "report_timestamp_seconds": "When this was written.",
}


def as_metrics(summary: Summary) -> str:
    lines, last = [FIRST_LINE], ""
    for name, labels, value in _samples(summary):
        if name != last:
            lines.append(f"# HELP bulk_eraser_{name} {_HELP[name]}\n")
            lines.append(f"# TYPE bulk_eraser_{name} gauge\n")
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"bulk_eraser_{name}{{{inside}}} {value}\n")
        last = name
    return "".join(lines)


def _samples(summary: Summary) -> Iterator[tuple[str, dict[str, str], int]]:
    """Name, labels and value of each; those of a name stand together."""
    batch = {"ledger": ",".join(ledger.ledger for ledger in summary.ledgers)}
    for state, count in summary.states.items():
        yield "keys", batch | {"state": state}, count
    for name in ("kept", "late", "ahead", "at_risk", "overdue"):
        yield "deadlines", batch | {"deadline": name}, getattr(summary.deadlines, name)
    for it in summary.failures:
        yield "failures", batch | {"state": it.state, "error": it.error}, it.count
    yield "held_too_late", batch, summary.held_too_late
    yield "jobs_due", batch, summary.due_now
    yield "ledger_proven", batch, int(summary.standing is not Standing.NOT_PROVEN)
    times = {
        "next_check": summary.next_check_at,
        "first_deadline": summary.deadlines.first,
        "report": summary.made_at,
    }
    for name, time in times.items():
        if (seconds := _seconds(time)) is not None:
            yield f"{name}_timestamp_seconds", batch, seconds


def _seconds(time: str | None) -> int | None:
    """Of a time or a day, in UTC; None for what is none."""
    try:
        when = datetime.fromisoformat(time or "")
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')

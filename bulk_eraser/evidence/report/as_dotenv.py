"""A summary as NAME=value lines, for the next job of a pipeline.

The names do not begin with BULK_ERASER_, which would make them options of the next command. No
value has a character that a shell or GitLab's reader of such files would act on.
"""

import re

from bulk_eraser.evidence.summary import Summary

__all__ = ["as_dotenv"]


def as_dotenv(summary: Summary) -> str:
    values: dict[str, object] = {
        "STANDING": summary.standing,
        "HEAD": ",".join(ledger.head for ledger in summary.ledgers),
        "NEXT_CHECK_AT": _plain(summary.next_check_at or ""),
        "FIRST_DEADLINE": summary.deadlines.first or "",
        "AT_RISK": summary.deadlines.at_risk,
        "OVERDUE": summary.deadlines.overdue,
        "HELD_TOO_LATE": summary.held_too_late,
        "TO_BE_ERASED": summary.to_be_erased,
        **{state.upper(): count for state, count in summary.states.items()},
    }
    return "".join(f"ERASURE_{name}={value}\n" for name, value in values.items())


def _plain(text: str) -> str:
    """A time; whatever else a forged ledger has in its place is left out."""
    return text if re.fullmatch(r"[0-9A-Za-z:.+-]*", text) else ""

"""When a job is asked about, when it is slow, and until when the law wants the erasure. Pure.

Elevate works on archived data: a job waits until the day after its creation, then until the data of
the creation day is archived (5 days by default). All days are those of UTC.
"""

from calendar import monthrange
from datetime import date, timedelta

__all__ = [
    "AT_RISK_DAYS",
    "DAY_S",
    "EXPIRES_SOON_DAYS",
    "RESULT_DAYS",
    "SLOW_DAYS",
    "Calendar",
    "deadline_of",
    "is_at_risk",
]

DAY_S = 86_400.0
RESULT_DAYS = 7
"""The result of an export can be had for about so many days after its job is done."""
EXPIRES_SOON_DAYS = 3
SLOW_DAYS = 9
"""After so many days a job is slow: 6 for the waiting and the archiving, and a margin."""
AT_RISK_DAYS = 7
"""A deadline in fewer days may pass before a job that is not done yet."""


class Calendar:
    """The days by which jobs are asked about; `day_s` is shorter for a simulated service only.

    Real days begin at 00:00 UTC, so that one run a day never slips. Times are seconds since 1970.
    """

    def __init__(self, day_s: float = DAY_S) -> None:
        self.day_s = day_s

    def next_check_at(self, now: float) -> float:
        """The begin of the next day: of the first check after a job's creation, or of the next one
        after a check."""
        return (now // self.day_s + 1) * self.day_s

    def done_before(self, now: float, days: float) -> float:
        """Until when an export was done that is so many days done now."""
        return now - days * self.day_s

    def slow_before(self, now: float) -> float:
        """Until when a job was created that is slow now."""
        return now - SLOW_DAYS * self.day_s


def deadline_of(received: date) -> date:
    """One month later by the calendar, or the last day of that month (GDPR, Article 12(3))."""
    if received > date(date.max.year, 11, 30):  # a placeholder; the calendar ends there
        return date.max
    year, month = received.year + received.month // 12, received.month % 12 + 1
    return date(year, month, min(received.day, monthrange(year, month)[1]))


def is_at_risk(deadline: date, today: date) -> bool:
    """Is it near, and not over?"""
    return today <= deadline < today + timedelta(days=AT_RISK_DAYS)

"""The life of a job, told by its age: no timers, and nothing kept for a job.

    created ──1/10 day──► waiting ──5 days──► running ──6 days──► done, or error
        └─ lost: not_found                      an export: ──7 days──► expired: not_found

The jid itself carries the moment of creation, so a million jobs cost no memory and a simulator that
was restarted still knows the jobs of its predecessor, as the service would.
"""

import re
import secrets
import zlib
from collections.abc import Callable
from enum import Enum

__all__ = ["ARCHIVED_AFTER_DAYS", "DAY_S", "Jobs", "Kind"]

DAY_S = 86_400.0
WAITS_FROM_DAY = 0.1
ARCHIVED_AFTER_DAYS = 5.0
RUNS_DAYS = 1.0
EXPIRES_AFTER_DAYS = 7.0
"""So long the result of an export can be had, from `done` on."""
LATE_BY_DAYS = 10.0
_JID = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-4([0-9a-f]{3})-8([0-9a-f]{3})-([0-9a-f]{12})", re.ASCII
)


class Kind(Enum):
    """What a job does; its checksum differs, so that a jid says it."""

    REMOVAL = b""
    EXPORT = b"export"


class Jobs:
    """Creates jobs and tells their status.

    `clock` returns seconds, never negative; with a wall clock jobs keep ageing over a restart.
    A simulated day lasts `day_s` seconds; the data of a day is archived after `archive_days`.
    `fails`, `is_lost` and `is_late` tell which jobs, by their jid, end in `error`, are not found,
    and are archived late. Raises `ValueError` when `day_s` is not positive.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        day_s: float = DAY_S,
        archive_days: float = ARCHIVED_AFTER_DAYS,
        fails: Callable[[str], bool] = lambda _jid: False,
        is_lost: Callable[[str], bool] = lambda _jid: False,
        is_late: Callable[[str], bool] = lambda _jid: False,
    ) -> None:
        if not day_s > 0:
            raise ValueError(f"a simulated day must last more than 0 seconds, not {day_s}")
        self._fails = fails
        self._is_lost = is_lost
        self._is_late = is_late
        self._archive_days = archive_days
        self._clock = clock
        self._day_s = day_s
        # Starts anywhere, so that two simulators never hand out the same jid, even in the same
        # microsecond of a stopped clock.
        self._serial = secrets.randbits(40)

    def create(self, kind: Kind = Kind.REMOVAL) -> tuple[str, str]:
        """A new job: its jid, in the form of a UUID v4, and its status, `created`."""
        self._serial = (self._serial + 1) & 0xFF_FFFF_FFFF
        content = int(self._clock() * 1e6).to_bytes(7) + self._serial.to_bytes(5)
        digits = (content + _checksum(content, kind)).hex()
        jid = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{digits[18:]}"
        return jid, "created"

    def status(self, jid: str) -> str:
        """`created`, `waiting`, `running`, `done` or `error`; `not_found` if it was lost, if it is
        an export that has expired, or no simulator made this jid."""
        known = _read_back(jid)
        if known is None or self._is_lost(jid):
            return "not_found"
        kind, created_at = known
        days = (self._clock() - created_at) / self._day_s
        done_after = self._done_after_days(jid)
        if days >= done_after:
            if kind is Kind.EXPORT and days >= done_after + EXPIRES_AFTER_DAYS:
                return "not_found"
            return "error" if self._fails(jid) else "done"
        if days >= done_after - RUNS_DAYS:
            return "running"
        return "waiting" if days >= WAITS_FROM_DAY else "created"

    def done_at(self, jid: str) -> float:
        """When a job of ours is done, by the clock. Raises `ValueError` for any other jid."""
        known = _read_back(jid)
        if known is None:
            raise ValueError("not a jid of a simulator")
        return known[1] + self._done_after_days(jid) * self._day_s

    def _done_after_days(self, jid: str) -> float:
        late = LATE_BY_DAYS if self._is_late(jid) else 0.0
        return self._archive_days + late + RUNS_DAYS


def _read_back(jid: str) -> tuple[Kind, float] | None:
    """What a jid says: the kind of its job and when it was created; None if it is not ours."""
    form = _JID.fullmatch(jid)
    if form is None:
        return None
    octets = bytes.fromhex("".join(form.groups()))
    for kind in Kind:  # a checksum tells one of ours from any other UUID
        if _checksum(octets[:12], kind) == octets[12:]:
            return kind, int.from_bytes(octets[:7]) / 1e6
    return None


def _checksum(content: bytes, kind: Kind) -> bytes:
    return (zlib.crc32(content + kind.value) & 0xFF_FFFF).to_bytes(3)

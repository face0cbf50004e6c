"""The life of a removal job, told by its age: no timers, and nothing kept for a job.

    created ──1/10 day──► waiting ──5 days──► running ──6 days──► done, or error
        └─ lost: not_found

The jid itself carries the moment of creation, so a million jobs cost no memory and a simulator that
was restarted still knows the jobs of its predecessor, as the service would.
"""

import re
import secrets
import zlib
from collections.abc import Callable

__all__ = ["ARCHIVED_AFTER_DAYS", "DAY_S", "Jobs"]

DAY_S = 86_400.0
WAITS_FROM_DAY = 0.1
ARCHIVED_AFTER_DAYS = 5.0
RUNS_DAYS = 1.0
_JID = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-4([0-9a-f]{3})-8([0-9a-f]{3})-([0-9a-f]{12})", re.ASCII
)


class Jobs:
    """Creates removal jobs and tells their status.

    `clock` returns seconds, never negative; with a wall clock jobs keep ageing over a restart.
    A simulated day lasts `day_s` seconds; the data of a day is archived after `archive_days`.
    `fails` and `is_lost` tell which jobs, by their jid, end in `error` and are not found. Raises
    `ValueError` when `day_s` is not positive.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        day_s: float = DAY_S,
        archive_days: float = ARCHIVED_AFTER_DAYS,
        fails: Callable[[str], bool] = lambda _jid: False,
        is_lost: Callable[[str], bool] = lambda _jid: False,
    ) -> None:
        if not day_s > 0:
            raise ValueError(f"a simulated day must last more than 0 seconds, not {day_s}")
        self._fails = fails
        self._is_lost = is_lost
        self._stages = (  # reached after so many days
            (archive_days + RUNS_DAYS, "done"),
            (archive_days, "running"),
            (WAITS_FROM_DAY, "waiting"),
        )
        self._clock = clock
        self._day_s = day_s
        # Starts anywhere, so that two simulators never hand out the same jid, even in the same
        # microsecond of a stopped clock.
        self._serial = secrets.randbits(40)

    def create(self) -> tuple[str, str]:
        """A new job: its jid, in the form of a UUID v4, and its status, `created`."""
        self._serial = (self._serial + 1) & 0xFF_FFFF_FFFF
        content = int(self._clock() * 1e6).to_bytes(7) + self._serial.to_bytes(5)
        digits = (content + _checksum(content)).hex()
        jid = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-{digits[18:]}"
        return jid, "created"

    def status(self, jid: str) -> str:
        """`created`, `waiting`, `running`, `done` or `error`; `not_found` if it was lost, or no
        simulator made this jid."""
        # The jid is read back; a checksum tells one of ours from any other UUID.
        form = _JID.fullmatch(jid)
        if form is None:
            return "not_found"
        octets = bytes.fromhex("".join(form.groups()))
        if _checksum(octets[:12]) != octets[12:] or self._is_lost(jid):
            return "not_found"
        days = (self._clock() - int.from_bytes(octets[:7]) / 1e6) / self._day_s
        status = next((status for after, status in self._stages if days >= after), "created")
        return "error" if status == "done" and self._fails(jid) else status


def _checksum(content: bytes) -> bytes:
    return (zlib.crc32(content) & 0xFF_FFFF).to_bytes(3)

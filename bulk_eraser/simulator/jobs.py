"""The life of a removal job, told by its age: no timers, and nothing kept for a job.

    created ──1/10 day──► waiting ──5 days──► running ──6 days──► done

The jid itself carries the moment of creation, so a million jobs cost no memory and a simulator that
was restarted still knows the jobs of its predecessor, as the service would.
"""

import re
import secrets
import zlib
from collections.abc import Callable

__all__ = ["DAY_S", "Jobs"]

DAY_S = 86_400.0
_STAGES = ((6.0, "done"), (5.0, "running"), (0.1, "waiting"))  # reached after so many days
_JID = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-4([0-9a-f]{3})-8([0-9a-f]{3})-([0-9a-f]{12})", re.ASCII
)


class Jobs:
    """Creates removal jobs and tells their status.

    `clock` returns seconds, never negative; with a wall clock jobs keep ageing over a restart.
    A simulated day lasts `day_s` seconds. Raises `ValueError` when `day_s` is not positive.
    """

    def __init__(self, clock: Callable[[], float], day_s: float = DAY_S) -> None:
        if not day_s > 0:
            raise ValueError(f"a simulated day must last more than 0 seconds, not {day_s}")
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
        """`created`, `waiting`, `running` or `done`; `not_found` if no simulator made this jid."""
        form = _JID.fullmatch(jid)
        if form is None:
            return "not_found"
        octets = bytes.fromhex("".join(form.groups()))
        if _checksum(octets[:12]) != octets[12:]:
            return "not_found"
        days = (self._clock() - int.from_bytes(octets[:7]) / 1e6) / self._day_s
        return next((status for after, status in _STAGES if days >= after), "created")


def _checksum(content: bytes) -> bytes:
    return (zlib.crc32(content) & 0xFF_FFFF).to_bytes(3)

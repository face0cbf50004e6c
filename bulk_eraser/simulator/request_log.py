"""What the service saw: one NDJSON line for each request, on its way to the file before the answer.

Each line is one unbuffered append, so it outlives a SIGKILL of the client and of the simulator (not
a power failure: nothing is synced). The file holds customer keys, so a new one is created with mode
0600. An `http_status` of null says that the connection was closed without an answer.
"""

import os
from datetime import datetime

import msgspec

__all__ = ["RequestLine", "RequestLog"]


class RequestLine(msgspec.Struct):
    """One request; `n` counts from 1 for each start, `jid` is the job made or asked for."""

    at: datetime
    n: int
    method: str
    path: str
    key: str | None = None
    fault: str | None = None
    http_status: int | None = None
    jid: str | None = None


class RequestLog:
    """Appends to the file at `path`, which is created if need be.

    The constructor and `append` raise `OSError` when the file cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def append(self, line: RequestLine) -> None:
        """Hand the line to the kernel; a short write is carried on with."""
        left = self._encode(line) + b"\n"
        while left:
            left = left[os.write(self._fd, left) :]

    def close(self) -> None:
        os.close(self._fd)

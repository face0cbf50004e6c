"""A service that accepts everything after a fixed time, as a process of its own.

    python benchmarks/stub_service.py SECONDS [CERTIFICATE_AND_KEY.pem]

Prints its port. On SIGTERM it prints how many requests came, and the most in any one second.
"""

import asyncio
import ssl
import sys
import time
from array import array

from raw_http import ok, serve

ANSWER = b'{"jid":"%032x","status":"created"}'


class Stub:
    """Notes when each request came."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._came = array("d")

    def answer(self, _key: str) -> tuple[float, bytes]:
        self._came.append(time.monotonic())
        return self._latency_s, ok(ANSWER % len(self._came))

    def counts(self) -> dict[str, int]:
        return {"requests": len(self._came), "most_in_a_second": most_in_a_second(self._came)}


def most_in_a_second(times: array) -> int:
    """The most in any half-open second, wherever it begins; `times` ascend."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def main() -> None:
    """Serve until SIGTERM, on uvloop if it is there."""
    tls = None
    if sys.argv[2:]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2])
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    run(serve(Stub(float(sys.argv[1])), tls))


if __name__ == "__main__":
    main()

"""Calls to Elevate: each one once, an `Answer` or a `NetworkFault` as value."""

import dataclasses
import zlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from msgspec.structs import replace
from yarl import URL

from bulk_eraser import __version__
from bulk_eraser.elevate.blackout import ApiKey
from bulk_eraser.elevate.connections import Connections
from bulk_eraser.elevate.endpoints import ApiVersion, JobKind, Target, encode_key
from bulk_eraser.elevate.received import MAX_BODY, Received, Sink, values_of
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.verdict import (
    Answer,
    Kind,
    NetworkFault,
    classify,
    parse_retry_after,
)

__all__ = ["ElevateClient"]


def _ignored() -> None:
    """For callers who need not know whether it left."""


class ElevateClient:
    """Calls one version of one target; a context manager that closes its connections.

    No redirects, no cookies, no retry. `timeout` in seconds bounds one attempt as a whole, ten
    times as long a download; `concurrency` is the number of connections. The API key goes into a
    header and nowhere else.
    """

    def __init__(
        self,
        target: Target,
        version: ApiVersion,
        api_key: str,
        *,
        timeout: float,
        concurrency: int,
        route: Route = Route(),  # noqa: B008 frozen
    ) -> None:
        url = URL(target.status_url(version), encoded=True)
        self._removal_head = f"POST {_path(target.creation_url(version, JobKind.REMOVAL))}"
        self._export_head = f"POST {_path(target.creation_url(version, JobKind.EXPORT))}"
        self._status_head = f"GET {_path(target.status_url(version))}"
        self._result_head = f"GET {_path(target.result_url(version))}"
        self._headers = (
            " HTTP/1.1\r\n"
            f"Host: {url.host_port_subcomponent}\r\n"
            "Accept: application/json\r\n"
            "Accept-Encoding: identity\r\n"
            f"User-Agent: bulk-eraser/{__version__}\r\n"
            f"Api-Key: {api_key}\r\n"
        )
        self._api_key = ApiKey(api_key)
        self._connections = Connections(
            url,
            timeout=timeout,
            concurrency=concurrency,
            # A proxy would look for loopback on its own machine.
            route=dataclasses.replace(route, proxy=None) if target.is_loopback else route,
        )

    async def __aenter__(self) -> "ElevateClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connections.aclose()

    def close_idle(self) -> None:
        """Let the next requests take new connections."""
        self._connections.close_idle()

    def create_removal_job(
        self, customer_key: str, *, anew: bool = False, leaves: Callable[[], None] = _ignored
    ) -> Coroutine[Any, Any, Answer | NetworkFault]:
        """POST create-remove-customer-job once, on a new connection if `anew`; never raises for
        what the network does. Cancelled before it called `leaves`, it has sent nothing."""
        return self._post(self._removal_head, customer_key, anew, leaves)

    def create_export_job(
        self, customer_key: str, *, anew: bool = False, leaves: Callable[[], None] = _ignored
    ) -> Coroutine[Any, Any, Answer | NetworkFault]:
        """POST create-export-customer-job once, likewise."""
        return self._post(self._export_head, customer_key, anew, leaves)

    def job_status(
        self, jid: str, *, anew: bool = False, leaves: Callable[[], None] = _ignored
    ) -> Coroutine[Any, Any, Answer | NetworkFault]:
        """GET job-status once, likewise."""
        head = f"{self._status_head}{encode_key(jid)}{self._headers}"
        return self._request(head + "\r\n", anew, leaves)

    def export_result(
        self,
        jid: str,
        into: Sink,
        *,
        anew: bool = False,
        leaves: Callable[[], None] = _ignored,
    ) -> Coroutine[Any, Any, Answer | NetworkFault]:
        """GET export-customer-job-result once, likewise. The body of a 200 goes into `into`, as it
        comes and whatever it is; the answer is `complete` if all of it came, unpacked."""
        headers = self._headers.replace("application/json", "application/zip", 1)
        request = f"{self._result_head}{encode_key(jid)}{headers}\r\n"
        return self._request(request, anew, leaves, into)

    def _post(
        self, head: str, customer_key: str, anew: bool, leaves: Callable[[], None]
    ) -> Coroutine[Any, Any, Answer | NetworkFault]:
        request = f"{head}{encode_key(customer_key)}{self._headers}"
        # A POST without a body says so (RFC 9110, 8.6).
        return self._request(request + "Content-Length: 0\r\n\r\n", anew, leaves)

    async def _request(
        self,
        request: str,
        anew: bool,
        leaves: Callable[[], None],
        into: Sink | None = None,
    ) -> Answer | NetworkFault:
        came = await self._connections.exchange(
            request.encode(), anew=anew, leaves=leaves, into=into
        )
        if isinstance(came, NetworkFault):
            return came
        return self._without_api_key(_answer_of(came))

    def _without_api_key(self, answer: Answer) -> Answer:
        """The answer as it may be shown and recorded."""
        if not self._api_key.may_be_in(answer.body):
            return answer
        verdict = classify(answer)
        if verdict.kind is not Kind.ACCEPTED:
            return replace(answer, body=self._api_key.black_out(answer.body))
        # A job's answer is evidence, so it stays as it came or is none: its jid and its status go
        # into the ledger.
        if self._api_key.is_in(verdict.jid) or self._api_key.is_in(verdict.status or ""):
            return Answer(answer.status, b"", complete=False)
        return answer


def _path(url: str) -> str:
    return URL(url, encoded=True).raw_path_qs


def _answer_of(came: Received) -> Answer:
    body, complete = came.body, came.complete
    encodings = values_of(came.headers, b"content-encoding")
    if encodings:
        body, complete = _unpack(body, ",".join(encodings).strip().lower(), complete)
    return Answer(came.status, body, complete, _retry_after(came))


def _unpack(body: bytes, encoding: str, complete: bool) -> tuple[bytes, bool]:
    """An answer packed against our wish, unpacked no further than the bound."""
    if encoding in ("", "identity"):
        return body, complete
    if encoding not in ("gzip", "deflate"):  # it cannot be read, so it proves nothing
        return body, False
    unpacker = zlib.decompressobj(wbits=47)  # the largest window; gzip or zlib by the header
    try:
        plain = unpacker.decompress(body, MAX_BODY)
    except zlib.error:
        return b"", False
    return plain, complete and unpacker.eof


def _retry_after(came: Received) -> float | None:
    if came.status == 200:  # the way of nearly every answer, on which it means nothing
        return None
    date = values_of(came.headers, b"date")
    asked = values_of(came.headers, b"retry-after")
    return parse_retry_after(asked, date[0] if date else None, datetime.now(UTC))

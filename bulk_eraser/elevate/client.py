"""The only aiohttp client: one call at a time, an `Answer` or a `NetworkFault` as value."""

import re
import select
import ssl
import zlib
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from bulk_eraser import __version__
from bulk_eraser.elevate.endpoints import ApiVersion, Target, encode_key
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.verdict import (
    Answer,
    Kind,
    NetworkFault,
    classify,
    parse_retry_after,
    spellings,
)

__all__ = ["MAX_BODY", "ElevateClient"]

MAX_BODY = 64 << 10
"""Bytes; reading stops behind it, and the answer counts as none."""

CONNECT_TIMEOUT_S = 10.0
CONNECT_SHARE = 0.9
"""Of --timeout at most: a connection that never came about is told from an answer that did not."""

KEEPALIVE_S = 8.0

_FAULTS: tuple[tuple[type[BaseException], NetworkFault], ...] = (
    (aiohttp.ClientConnectorCertificateError, NetworkFault("certificate", perhaps=False)),
    (aiohttp.ClientConnectorDNSError, NetworkFault("dns", perhaps=False)),
    (aiohttp.InvalidURL, NetworkFault("cannot_connect", perhaps=False)),
    (aiohttp.ConnectionTimeoutError, NetworkFault("cannot_connect", perhaps=False)),
    (aiohttp.ClientConnectorError, NetworkFault("cannot_connect", perhaps=False)),
    (aiohttp.ClientProxyConnectionError, NetworkFault("cannot_connect", perhaps=False)),
    (aiohttp.ClientHttpProxyError, NetworkFault("cannot_connect", perhaps=False)),
    (aiohttp.ServerTimeoutError, NetworkFault("timeout", perhaps=True)),
    (TimeoutError, NetworkFault("timeout", perhaps=True)),
    (aiohttp.ServerDisconnectedError, NetworkFault("connection_lost", perhaps=True, at_once=True)),
    (aiohttp.ClientOSError, NetworkFault("connection_lost", perhaps=True, at_once=True)),
    (ConnectionResetError, NetworkFault("connection_lost", perhaps=True, at_once=True)),
    # A status line or header that is no HTTP is raised with status 400, which no service sent.
    (aiohttp.ClientResponseError, NetworkFault("bad_answer", perhaps=True)),
    (aiohttp.ClientError, NetworkFault("connection_lost", perhaps=True)),
    (ssl.SSLError, NetworkFault("connection_lost", perhaps=True)),
    (OSError, NetworkFault("connection_lost", perhaps=True)),
)
"""aiohttp's errors to ours, the first match counts. Their texts hold keys, so none is kept."""


_reused: ContextVar[bool] = ContextVar("_reused")
"""Did this call's connection carry a request before?"""


class _OneAnswerConnector(aiohttp.TCPConnector):
    """Never reuses a connection on which more came than was asked for, or that has ended.

    aiohttp checks that when a connection is given back, but not when it is taken again; a second
    answer that arrives in between would be booked on the next customer key. One that arrives
    after the next request has left cannot be told from its answer: HTTP/1.1 has no mark for it.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if _is_silent(connection.protocol):
                _reused.set(True)
                return connection
            connection.close()
        return None

    def close_idle(self) -> None:
        """Close what was kept alive: behind a service that broke down it may be dead."""
        for idle in self._conns.values():
            for protocol, _since in idle:
                protocol.close()
        self._conns.clear()


class ElevateClient:
    """Calls one version of one target; a context manager that closes its connections.

    No redirects, no cookies, no retry. `timeout` in seconds bounds one attempt as a whole;
    `concurrency` is the number of connections. The API key goes into a header and nowhere else.
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
        self._removal_url = target.removal_url(version)
        self._status_url = target.status_url(version)
        self._secret_header = {"Api-Key": api_key}
        forms = sorted(spellings(api_key), key=len, reverse=True)
        self._api_key = re.compile("|".join(map(re.escape, forms)).encode(), re.IGNORECASE)
        self._connector = _OneAnswerConnector(
            limit=concurrency,
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=60,
            ssl=route.tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(
                total=timeout,
                connect=min(CONNECT_SHARE * timeout, CONNECT_TIMEOUT_S),
                ceil_threshold=float("inf"),  # else over 5 s are rounded up to whole ones
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={  # a proxy sees them as well, so the API key is none of them
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"bulk-eraser/{__version__}",
            },
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            proxy=None if target.is_loopback else route.proxy,
        )

    async def __aenter__(self) -> "ElevateClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    def close_idle(self) -> None:
        """Let the next requests take new connections."""
        self._connector.close_idle()

    async def create_removal_job(self, customer_key: str) -> Answer | NetworkFault:
        """POST create-remove-customer-job once; never raises for what the network does."""
        return await self._request("POST", self._removal_url + encode_key(customer_key))

    async def job_status(self, jid: str) -> Answer | NetworkFault:
        """GET job-status once; never raises for what the network does."""
        return await self._request("GET", self._status_url + encode_key(jid))

    async def _request(self, method: str, url: str) -> Answer | NetworkFault:
        _reused.set(False)
        try:
            response = await self._session.request(
                method,
                URL(url, encoded=True),
                headers=self._secret_header,
                allow_redirects=False,
            )
            return self._without_api_key(await self._read(response))
        except aiohttp.ClientHttpProxyError as refusal:
            wants_password = refusal.status == 407
            return Answer(407, b"", True) if wants_password else _fault_of(refusal)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return _fault_of(error)

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        """Bounded read. A body that breaks off leaves the status, which a refusal stands on."""
        body = b""
        complete = False
        try:
            while len(body) <= MAX_BODY and not complete:
                chunk = await response.content.read(MAX_BODY + 1 - len(body))
                body += chunk
                complete = not chunk or response.content.at_eof()
        except (aiohttp.ClientError, OSError) as error:
            if response.status == 200 and isinstance(error, TimeoutError):
                raise
        finally:
            if complete:
                response.release()
            else:
                response.close()
        if len(body) > MAX_BODY:
            complete = False
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            body, complete = _unpack(body, encoding, complete)
        return Answer(response.status, body, complete, _retry_after(response))

    def _without_api_key(self, answer: Answer) -> Answer:
        """The answer as it may be shown. An accepted one stays as it came: its jid is evidence,
        and of a short API key it may hold the letters by chance."""
        if not self._api_key.search(answer.body) or classify(answer).kind is Kind.ACCEPTED:
            return answer
        return answer._replace(body=self._api_key.sub(b"***", answer.body))


def _is_silent(protocol: Any) -> bool:
    """Is an idle connection open and empty, with nothing read from it and nothing left to read?"""
    if protocol is None or protocol.should_close:
        return False
    unread = select.poll()
    unread.register(protocol.transport.get_extra_info("socket"), select.POLLIN)
    return not unread.poll(0)


def _fault_of(error: BaseException) -> NetworkFault:
    fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
    if fault.at_once:
        return fault._replace(at_once=_reused.get())
    could_not_connect = fault.error == "cannot_connect"
    if could_not_connect and isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return NetworkFault("connection_refused", perhaps=False) if refused else fault
    return fault


def _unpack(body: bytes, encoding: str, complete: bool) -> tuple[bytes, bool]:
    """An answer packed against our wish, unpacked no further than the bound."""
    if encoding not in ("gzip", "deflate"):
        return body, False
    unpacker = zlib.decompressobj(wbits=47)
    try:
        plain = unpacker.decompress(body, MAX_BODY)
    except zlib.error:
        return b"", False
    return plain, complete and unpacker.eof


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    if response.status == 200:
        return None
    headers = response.headers
    values = headers.getall("Retry-After", [])
    return parse_retry_after(values, headers.get("Date"), datetime.now(UTC))

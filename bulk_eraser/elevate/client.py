"""The only aiohttp client: one removal job per call, an `Answer` or a `NetworkFault` as value."""

import ssl
import zlib
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from bulk_eraser import __version__
from bulk_eraser.elevate.endpoints import ApiVersion, Target, encode_key
from bulk_eraser.elevate.verdict import Answer, NetworkFault, parse_retry_after

__all__ = ["MAX_BODY", "ElevateClient"]

MAX_BODY = 64 << 10
"""Bytes; reading stops behind it, and the answer counts as none."""

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 8.0

_FAULTS: tuple[tuple[type[BaseException], NetworkFault], ...] = (
    (aiohttp.ClientConnectorCertificateError, NetworkFault("certificate", perhaps=False)),
    (aiohttp.ClientConnectorDNSError, NetworkFault("dns", perhaps=False)),
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


class _OneAnswerConnector(aiohttp.TCPConnector):
    """Never reuses a connection on which more came than was asked for.

    aiohttp checks that when a connection is given back, but not when it is taken again; a second
    answer that arrives in between would be booked on the next customer key.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


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
    ) -> None:
        self._removal_url = target.removal_url(version)
        self._api_key = api_key.encode()
        self._session = aiohttp.ClientSession(
            connector=_OneAnswerConnector(
                limit=concurrency, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60
            ),
            timeout=aiohttp.ClientTimeout(
                total=timeout, sock_connect=min(timeout, CONNECT_TIMEOUT_S)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Api-Key": api_key,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"bulk-eraser/{__version__}",
            },
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            trust_env=not target.is_loopback,
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

    async def create_removal_job(self, customer_key: str) -> Answer | NetworkFault:
        """POST create-remove-customer-job once; never raises for what the network does."""
        url = URL(self._removal_url + encode_key(customer_key), encoded=True)
        try:
            response = await self._session.post(url, allow_redirects=False)
            return await self._read(response)
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
        if encoding != "identity":
            body, complete = _unpack(body, encoding, complete)
        body = body.replace(self._api_key, b"***")
        return Answer(response.status, body, complete, _retry_after(response))


def _fault_of(error: BaseException) -> NetworkFault:
    fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
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

"""HTTP/1.1 exchanges on aiohttp's connections: the bytes of a request out, its answer back.

aiohttp's connector makes the connections (names, TLS, proxies), its parser reads the answers; idle
connections are kept here. Its `ClientSession` is left out: four fifths of what it takes per request
go to redirects, cookies, repeats, merged headers and timers, of which an erasure wants none.
"""

import asyncio
import errno
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from bulk_eraser.elevate.names import resolver
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.time_limits import TimeLimits, Wait
from bulk_eraser.elevate.verdict import NetworkFault

__all__ = ["MAX_BODY", "Connections", "Received"]

MAX_BODY = 64 << 10
"""Bytes; reading stops behind it, and the answer counts as none."""

CONNECT_TIMEOUT_S = 10.0
CONNECT_SHARE = 0.9
"""Of --timeout at most: a connection that never came about is told from an answer that did not."""

KEEPALIVE_S = 8.0

_LOST = NetworkFault("connection_lost", maybe_done=True)
_BAD_ANSWER = NetworkFault("bad_answer", maybe_done=True)

_FAULTS: tuple[tuple[type[BaseException], NetworkFault], ...] = (
    # 1. The request left, and no answer came. Of a connection that was kept alive it may have been
    #    dead before, which is when an attempt on a new one is worth making at once.
    (TimeoutError, NetworkFault("timeout", maybe_done=True)),
    (aiohttp.ServerDisconnectedError, _LOST._replace(at_once=True)),
    (aiohttp.ClientOSError, _LOST._replace(at_once=True)),
    (ConnectionResetError, _LOST._replace(at_once=True)),
    # 2. What came is no HTTP: a status line or a header that cannot be read.
    (HttpProcessingError, _BAD_ANSWER),
    (aiohttp.ClientResponseError, _BAD_ANSWER),
    # 3. Anything else on the way.
    (aiohttp.ClientError, _LOST),
    (ssl.SSLError, _LOST),
    (OSError, _LOST),
)
"""aiohttp's errors to ours, the first match counts. Their texts hold keys, so none is kept."""

_PROXY_REFUSES = {401, 403, 407}
"""Answers of a proxy to CONNECT that it will give to every other as well."""

_NO_SUCH_HOST = {socket.EAI_NONAME, socket.EAI_NODATA}
"""Of what a look-up comes to; the others may come to something else a minute later."""

_EXPECTED = (aiohttp.ClientError, HttpProcessingError, OSError)


class Received(NamedTuple):
    """An answer as it came. `complete` is false for a body that broke off or was too long."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    complete: bool


class Connections:
    """Connections to one origin, `concurrency` at most. To be made within a running event loop.

    `timeout` in seconds bounds an exchange as a whole, with its connection.
    """

    def __init__(self, url: URL, *, timeout: float, concurrency: int, route: Route) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._connecting = aiohttp.ClientTimeout(
            connect=min(CONNECT_SHARE * timeout, CONNECT_TIMEOUT_S),
            ceil_threshold=float("inf"),  # else over 5 s are rounded up to whole ones
        )
        self._connector = aiohttp.TCPConnector(
            limit=concurrency, ttl_dns_cache=60, ssl=route.tls or True, resolver=resolver()
        )
        self._destination = aiohttp.ClientRequest("GET", url, loop=self._loop, proxy=route.proxy)
        self._proxy = f"{route.proxy.host_subcomponent}:{route.proxy.port}" if route.proxy else ""
        self._idle: list[tuple[Connection, float]] = []
        self._limits = TimeLimits(self._loop)

    async def aclose(self) -> None:
        self.close_idle()
        self._limits.close()
        await self._connector.close()

    def close_idle(self) -> None:
        """Close what was kept alive: behind a service that broke down it may be dead."""
        while self._idle:
            self._idle.pop()[0].close()

    async def exchange(
        self,
        request: bytes,
        *,
        anew: bool = False,
        leaves: Callable[[], None] = lambda: None,
    ) -> Received | NetworkFault:
        """Send a request once, and read its answer. Never raises for what the network does.

        The request is one without a body; `anew`: on a new connection. `leaves` is called when its
        first byte is about to leave. Cancelled, it takes its connection along.
        """
        # Time spent on connecting counts: `timeout` bounds the exchange as a whole.
        now = self._loop.time()
        if anew:
            self._make_room()
        kept = None if anew else self._take_idle(now)
        try:
            connection = kept or await self._connector.connect(
                self._destination, [], self._connecting
            )
        except _EXPECTED as error:
            return self._without_connection(error)
        try:
            if kept is None:
                _must_be_silent(connection)
            return await self._answer(connection, request, now + self._timeout, leaves)
        except _EXPECTED as error:
            return _fault_of(error, was_kept=kept is not None)

    def _without_connection(self, error: BaseException) -> NetworkFault:
        """No name, no proxy, no TLS: nothing was sent, whatever came in the place of it."""
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in _PROXY_REFUSES:
            return NetworkFault(f"http_{error.status}", maybe_done=False, proxy=self._proxy)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return NetworkFault("certificate", maybe_done=False)
        reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE):
            return NetworkFault("cannot_connect", maybe_done=False, no_files=True)
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            missing = error.host if error.os_error.errno in _NO_SUCH_HOST else ""
            return NetworkFault("dns", maybe_done=False, no_host=missing)
        # Nothing listens there, which is worth telling from a host that does not answer.
        is_refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(
            error.os_error, ConnectionRefusedError
        )
        return NetworkFault(
            "connection_refused" if is_refused else "cannot_connect", maybe_done=False
        )

    def _make_room(self) -> None:
        """Close the connection that was idle longest: a new one beside all that are kept would be
        one too many, and wait until one of them is given back, which none of them ever is."""
        if self._idle:
            self._idle.pop(0)[0].close()

    def _take_idle(self, now: float) -> Connection | None:
        """The connection that was used last, if nothing came on it since.

        Never one on which more came than was asked for, or that has ended: a second answer would
        be booked on the next customer key. One that arrives after the next request has left
        cannot be told from its answer: HTTP/1.1 has no mark for it.
        """
        while self._idle:
            connection, since = self._idle.pop()
            if now - since <= KEEPALIVE_S and _is_silent(connection.protocol):
                return connection
            connection.close()
        return None

    async def _answer(
        self, connection: Connection, request: bytes, deadline: float, leaves: Callable[[], None]
    ) -> Received:
        complete = is_over = False
        wait = Wait(deadline)
        try:
            protocol = connection.protocol
            if protocol is None or protocol.transport is None:  # both were silent a moment ago
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            wait.add(protocol)
            self._limits.begin(wait)
            leaves()
            protocol.transport.write(request)
            message, content = await protocol.read()
            # 1xx announce the answer (RFC 9110, 15.2). 101 is one: it ends HTTP on this connection.
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
            wait.add(content)
            body, complete = await _read(content, status_decides=message.code != 200)
            is_over = complete and message.code >= 200  # behind a 1xx another answer is to come
        finally:
            self._limits.end(wait)
            # Kept only after an answer that was read to its end: else its rest would be taken for
            # the answer about the next key.
            if is_over:
                self._idle.append((connection, self._loop.time()))
            else:
                connection.close()
        return Received(message.code, message.headers, body, complete and len(body) <= MAX_BODY)


async def _read(content: aiohttp.StreamReader, *, status_decides: bool) -> tuple[bytes, bool]:
    """Bounded read. A body that breaks off leaves what came; after the time is up only where the
    status alone decides, as a refusal's does."""
    body = b""
    complete = False
    try:
        while len(body) <= MAX_BODY and not complete:
            chunk = await content.read(MAX_BODY + 1 - len(body))
            body += chunk
            complete = not chunk or content.at_eof()
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        if isinstance(error, TimeoutError) and not status_decides:
            raise
    return body, complete


def _must_be_silent(connection: Connection) -> None:
    """Raise for a new connection that answers what was not asked yet."""
    # What comes over TLS by now are session tickets, and no answer.
    is_plain = connection.transport and not connection.transport.get_extra_info("sslcontext")
    if is_plain and not _is_silent(connection.protocol):
        connection.close()
        raise aiohttp.ServerDisconnectedError


def _is_silent(protocol: Any) -> bool:
    """Is a connection open and empty, with nothing read from it and nothing left to read?"""
    if protocol is None or protocol.should_close or not protocol.is_connected():
        return False
    socket = protocol.transport.get_extra_info("socket")
    if socket is None:  # over TLS it is gone one turn of the loop before that is told
        return False
    unread = select.poll()
    unread.register(socket, select.POLLIN)
    return not unread.poll(0)


def _fault_of(error: BaseException, *, was_kept: bool = False) -> NetworkFault:
    fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
    # Only a connection that had been idle may have been dead before the request.
    return fault._replace(at_once=was_kept) if fault.at_once else fault

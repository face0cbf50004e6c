"""New connections: names, proxies and TLS are aiohttp's, by its documented surface.

`TCPConnector.connect` wants aiohttp's request object, which only a client middleware is given.
"""

import errno
import socket
from contextlib import suppress

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from bulk_eraser.elevate.names import Names
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.verdict import NetworkFault

__all__ = ["Connector", "has_spoken"]

CONNECT_TIMEOUT_S = 10.0
CONNECT_SHARE = 0.9
"""Of --timeout at most: a connection that never came about is told from an answer that did not."""

_PROXY_REFUSES = {401, 403, 407}
"""Answers of a proxy to CONNECT that it will give to every other as well."""

_NO_SUCH_HOST = {socket.EAI_NONAME, socket.EAI_NODATA}
"""Of what a look-up comes to; the others may come to something else a minute later."""


class Connector:
    """Connects to one origin, `concurrency` times at once at most. `timeout` is an exchange's.

    To be made within a running event loop.
    """

    def __init__(self, url: URL, *, timeout: float, concurrency: int, route: Route) -> None:
        self._url = url
        self._proxy = route.proxy
        self._timeout = aiohttp.ClientTimeout(
            connect=min(CONNECT_SHARE * timeout, CONNECT_TIMEOUT_S),
            ceil_threshold=float("inf"),  # else over 5 s are rounded up to whole ones
        )
        self._connector = aiohttp.TCPConnector(
            limit=concurrency, ttl_dns_cache=60, ssl=route.tls or True, resolver=Names()
        )
        self._request: aiohttp.ClientRequest | None = None

    async def aclose(self) -> None:
        """Waits for connections that were not closed before, and is not told of their end if their
        bytes go elsewhere by now: so close them first."""
        await self._connector.close()

    async def connect(self) -> Connection | NetworkFault:
        """A new connection, or why there is none; its errors hold no key, as none is known here."""
        try:
            if self._request is None:
                self._request = await self._ask_for_request()
            return await self._connector.connect(self._request, [], self._timeout)
        except (aiohttp.ClientError, OSError) as error:
            return self._fault_of(error)

    async def _ask_for_request(self) -> aiohttp.ClientRequest:
        """As a session makes it, which is stopped before it sends anything."""
        made: list[aiohttp.ClientRequest] = []

        async def take(
            request: aiohttp.ClientRequest, _send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            made.append(request)
            raise _TakenError

        async with aiohttp.ClientSession(
            connector=self._connector, connector_owner=False, middlewares=[take]
        ) as session:
            with suppress(_TakenError):
                await session.get(self._url, proxy=self._proxy)
        return made[0]

    def _fault_of(self, error: BaseException) -> NetworkFault:
        """No name, no proxy, no TLS: nothing was sent, whatever came in the place of it."""
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in _PROXY_REFUSES:
            return NetworkFault(
                f"http_{error.status}", maybe_done=False, proxy=_host_and_port(self._proxy)
            )
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


class _TakenError(Exception):
    """Stops a request before it is sent."""


def has_spoken(connection: Connection) -> bool:
    """Has aiohttp read anything from a new connection that is asked nothing yet?

    The one question that its documented surface has no answer to. Without an answer what came is
    lost, and taken for no other request's answer all the same.
    """
    return bool(getattr(connection.protocol, "should_close", False))


def _host_and_port(proxy: URL | None) -> str:
    return f"{proxy.host_subcomponent}:{proxy.port}" if proxy else ""

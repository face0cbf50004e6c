"""HTTP/1.1 exchanges with one origin: the bytes of a request out, its answer back.

aiohttp makes the connections, and idle ones are kept here. Its `ClientSession` is left out: four
fifths of what it takes per request go to redirects, cookies, repeats, merged headers and timers, of
which an erasure wants none.
"""

import asyncio
from collections.abc import Callable

from yarl import URL

from bulk_eraser.elevate.connector import Connector, has_spoken
from bulk_eraser.elevate.http_connection import HttpConnection
from bulk_eraser.elevate.received import Received, Sink
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.time_limits import TimeLimits
from bulk_eraser.elevate.verdict import NetworkFault

__all__ = ["Connections"]

KEEPALIVE_S = 8.0
DOWNLOAD_TIMES = 10
"""So many times as long as any other exchange may a download take."""

_LOST = NetworkFault("connection_lost", maybe_done=True)


class Connections:
    """Connections to one origin, `concurrency` at most. To be made within a running event loop.

    `timeout` in seconds bounds an exchange as a whole, with its connection.
    """

    def __init__(self, url: URL, *, timeout: float, concurrency: int, route: Route) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._connector = Connector(url, timeout=timeout, concurrency=concurrency, route=route)
        self._open: set[HttpConnection] = set()
        self._idle: list[tuple[HttpConnection, float]] = []
        self._limits = TimeLimits(self._loop)

    async def aclose(self) -> None:
        self._idle.clear()
        while self._open:
            self._open.pop().close()
        self._limits.close()
        await self._connector.aclose()

    def close_idle(self) -> None:
        """Close what was kept alive: behind a service that broke down it may be dead."""
        while self._idle:
            self._close(self._idle.pop()[0])

    async def exchange(
        self,
        request: bytes,
        *,
        anew: bool = False,
        leaves: Callable[[], None] = lambda: None,
        into: Sink | None = None,
    ) -> Received | NetworkFault:
        """Send a request once, and read its answer. Never raises for what the network does.

        The request is one without a body; `anew`: on a new connection. `leaves` is called when its
        first byte is about to leave. The body of a 200 goes `into` what is given. Cancelled, it
        takes its connection along.
        """
        # Time spent on connecting counts: `timeout` bounds the exchange as a whole.
        now = self._loop.time()
        if anew:
            self._make_room()
        connection = (None if anew else self._take_idle(now)) or await self._connect()
        if isinstance(connection, NetworkFault):
            return connection
        is_over = False
        try:
            leaves()
            limit = self._timeout if into is None else DOWNLOAD_TIMES * self._timeout
            answer = connection.ask(request, now + limit, into)
            self._limits.begin(connection)
            came = await answer
            is_over = True
        finally:
            self._limits.end(connection)
            # Kept only after an answer that was read to its end: else its rest would be taken for
            # the answer about the next key.
            if is_over and connection.is_in_step:
                self._idle.append((connection, self._loop.time()))
            else:
                self._close(connection)
        return came

    async def _connect(self) -> HttpConnection | NetworkFault:
        """A new connection that has not ended, and did not answer what was not asked yet."""
        made = await self._connector.connect()
        if isinstance(made, NetworkFault):
            return made
        transport = made.transport
        if transport is None or has_spoken(made):
            made.close()
            return _LOST
        connection = HttpConnection(made, transport, self._loop)
        # What lies unread over TLS by now are session tickets, and no answer.
        if not (connection.is_open() if connection.is_tls else connection.is_silent()):
            connection.close()
            return _LOST
        self._open.add(connection)
        return connection

    def _close(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.close()

    def _make_room(self) -> None:
        """Close the connection that was idle longest: a new one beside all that are kept would be
        one too many, and wait until one of them is given back, which none of them ever is."""
        if self._idle:
            self._close(self._idle.pop(0)[0])

    def _take_idle(self, now: float) -> HttpConnection | None:
        """The connection that was used last, if nothing came on it since.

        Never one on which more came than was asked for, or that has ended: a second answer would
        be booked on the next customer key. One that arrives after the next request has left
        cannot be told from its answer: HTTP/1.1 has no mark for it.
        """
        while self._idle:
            connection, since = self._idle.pop()
            if now - since <= KEEPALIVE_S and connection.is_silent():
                return connection
            self._close(connection)
        return None

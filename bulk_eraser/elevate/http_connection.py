"""One connection on which requests and answers take turns."""

import asyncio
import select

from aiohttp.connector import Connection
from msgspec.structs import replace

from bulk_eraser.elevate.received import AnswerReader, Received, Sink
from bulk_eraser.elevate.verdict import NetworkFault

__all__ = ["HttpConnection"]


class HttpConnection(asyncio.Protocol):
    """What aiohttp connected, from now on read here, so that nothing comes that nobody knows of.

    `is_in_step`: the last answer came to its end, and nothing else has come. Only then may it be
    asked again; before its first request it is, too.
    """

    def __init__(
        self,
        connection: Connection,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        socket = transport.get_extra_info("socket")
        self.deadline = 0.0
        self.is_in_step = socket is not None  # over TLS it may be gone already: see `is_open`
        self._connection = connection
        self._transport = transport
        self._loop = loop
        self._reader: AnswerReader | None = None
        self._answer: asyncio.Future[Received | NetworkFault] = loop.create_future()
        self._was_kept = False
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        self._unread = select.poll()  # to make one takes longer than to ask it
        if socket is not None:
            self._unread.register(socket, select.POLLIN)
        transport.set_protocol(self)

    def close(self) -> None:
        """Close it, and give its place back to the connector."""
        self._connection.close()

    def is_open(self) -> bool:
        """Is it in step, and has it not ended as far as the event loop knows?"""
        if not self.is_in_step or self._transport.is_closing():
            return False
        # Over TLS its socket is gone one turn of the loop before the end is told.
        return not self.is_tls or self._transport.get_extra_info("socket") is not None

    def is_silent(self) -> bool:
        """Is it open, with nothing that the event loop has not read yet?"""
        # Asked only while it is open: its number may be that of another connection afterwards.
        return self.is_open() and not self._unread.poll(0)

    def ask(
        self, request: bytes, deadline: float, into: Sink | None = None
    ) -> "asyncio.Future[Received | NetworkFault]":
        """Send it; the future gets its answer, or why there is none, and never an error. The body
        of a 200 goes `into` what is given."""
        self.deadline = deadline
        self.is_in_step = False
        self._reader = AnswerReader(into)
        self._answer = answer = self._loop.create_future()
        self._transport.write(request)
        return answer

    def expire(self) -> None:
        """The deadline is over: what came so far is all there is."""
        if self._reader is not None:
            self._tell(self._reader.expire())

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:  # more than was asked for
            self.is_in_step = False
            return
        reader.feed(data)
        if reader.outcome is not None:
            self._tell(reader.outcome)
            self.is_in_step = reader.is_exact

    def connection_lost(self, error: Exception | None) -> None:
        self.is_in_step = False
        if self._reader is not None:
            self._tell(self._reader.end(in_good_order=error is None))

    def _tell(self, what: Received | NetworkFault) -> None:
        # Only a connection that had been idle may have been dead before the request.
        if isinstance(what, NetworkFault) and what.at_once and not self._was_kept:
            what = replace(what, at_once=False)
        self._was_kept = True
        self._reader = None
        if not self._answer.done():  # cancelled
            self._answer.set_result(what)

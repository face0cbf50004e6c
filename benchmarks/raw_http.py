"""HTTP/1.1 by hand: the little of it that a service needs to be fast, or to misbehave."""

import asyncio
import json
import signal
import ssl
from typing import Protocol, cast
from urllib.parse import unquote

DONE = b'{"jid":"%b","status":"done"}'


class Service(Protocol):
    """Decides about each request."""

    def answer(self, key: str) -> tuple[float, bytes | None]:
        """Seconds to wait, and the whole answer; None: the connection breaks."""

    def counts(self) -> object:
        """What it saw, as JSON can hold it."""


class Connection(asyncio.Protocol):
    """One request after the other, none with a body."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            path = head.split(b" ", 2)[1].decode()
            if jid := path.partition("?jid=")[2]:  # asked for a job's status: it is done
                self._say(ok(DONE % jid.encode()))
                continue
            wait, answer = self._service.answer(unquote(path.partition("customerKey=")[2]))
            if wait:
                self._loop.call_later(wait, self._say, answer)
            else:
                self._say(answer)

    def _say(self, answer: bytes | None) -> None:
        if answer is None:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(answer)


async def serve(service: Service, tls: ssl.SSLContext | None = None) -> None:
    """Print the port, serve until SIGTERM, print the counts as one JSON object."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(service), "127.0.0.1", 0, backlog=1024, ssl=tls
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    print(json.dumps(service.counts()), flush=True)


def ok(body: bytes) -> bytes:
    """A whole answer with status 200."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body

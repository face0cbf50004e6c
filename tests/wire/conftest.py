"""Servers that are scripted byte by byte, clients for them, and certificates made on the spot."""

import asyncio
import base64
import fcntl
import hashlib
import os
import secrets
import socket
import ssl
import struct
import termios
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import ApiVersion, Target

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# ── raw servers ─────────────────────────────────────────────────────────────────────────────────


class Peer:
    """One accepted connection of a `RawServer`; `number` counts from 1."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        heads: list[bytes],
    ) -> None:
        self.number = number
        self.pushed = 0
        self._reader = reader
        self._writer = writer
        self._heads = heads

    async def request(self) -> bytes:
        """The head of the next request. Raises `ConnectionError` when there is none any more."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        self._heads.append(head)
        return head

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        return await self._reader.read(1 << 16)

    async def say(self, data: bytes) -> None:
        """Send these bytes; returns when there is room for more."""
        self._writer.write(data)
        self.pushed += len(data)
        await self._writer.drain()

    def push(self, data: bytes) -> None:
        """Send these bytes from outside of the script; when it returns, the client's kernel has
        them, and the client has not read them yet."""
        self._writer.write(data)
        self._wait_until_taken()

    def finish(self) -> None:
        """Send FIN from outside of the script, and go on listening."""
        fileno = os.dup(self._writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=fileno) as sock:  # uvloop's own has no shutdown
            sock.shutdown(socket.SHUT_WR)
        self._wait_until_taken()

    async def hold(self) -> None:
        """Say nothing until the client closes."""
        while await self.read():
            pass

    def reset(self) -> None:
        """End the connection with RST in the place of FIN."""
        linger = struct.pack("ii", 1, 0)
        if not self._writer.is_closing():
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()

    def close(self) -> None:
        """Close; a reset if that is not possible in good order."""
        self._writer.close()

    def drop(self) -> None:
        """Close and throw away what was not sent yet."""
        with suppress(AttributeError):  # a TLS transport that is closed has nothing to abort
            self._writer.transport.abort()

    def _wait_until_taken(self) -> None:
        assert self._writer.transport.get_write_buffer_size() == 0
        fileno = self._writer.get_extra_info("socket").fileno()
        deadline = time.monotonic() + 5
        while struct.unpack("i", fcntl.ioctl(fileno, termios.TIOCOUTQ, bytes(4)))[0]:
            assert time.monotonic() < deadline


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Runs `script` once for each connection, and closes it at the script's end.

    `heads` are the request heads as they came, over all connections in order.
    """

    def __init__(self, script: Script) -> None:
        self.heads: list[bytes] = []
        self.peers: list[Peer] = []
        self._script = script
        self._tasks: set[asyncio.Task[Any]] = set()
        self._bugs: list[Exception] = []

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def origin(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The request targets, such as `/api/…?customerKey=…`."""
        return [head.split(b" ", 2)[1].decode("ascii") for head in self.heads]

    async def aclose(self) -> None:
        """Close the port and all connections. Raises what went wrong in a script."""
        self._server.close()
        for peer in self.peers:
            peer.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        if self._bugs:
            raise self._bugs[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        peer = Peer(len(self.peers) + 1, reader, writer, self.heads)
        self.peers.append(peer)
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as bug:
            self._bugs.append(bug)
        finally:
            writer.close()


@pytest.fixture(scope="session")
def raw_server_type() -> type[RawServer]:
    """For tests that run an event loop of their own."""
    return RawServer


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., Awaitable[RawServer]]]:
    """Start a server with a script, or with answers: one for each request, the last one again."""
    servers: list[RawServer] = []

    def answering(*answers: bytes) -> Script:
        left = list(answers)

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                await peer.say(left.pop(0) if len(left) > 1 else left[0])

        return script

    async def start(*script: Script | bytes, tls: ssl.SSLContext | None = None) -> RawServer:
        answers = [part for part in script if isinstance(part, bytes)]
        server = RawServer(answering(*answers) if answers else script[0])  # type: ignore[arg-type] # a script then
        await server.start(tls)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.aclose()


# ── a server that speaks HTTP well ─────────────────────────────────────────────────────────────


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[TestServer]]]:
    """Start a server that answers every request with this handler."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close()


# ── clients ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def api_key() -> str:
    """A key that would be noticed anywhere, with characters that encodings change."""
    return 'sentinel/0d9f"\\+api=key%41'


@pytest.fixture
async def client_of(api_key: str) -> AsyncIterator[Callable[..., ElevateClient]]:
    """A client of an origin, closed at the end of the test."""
    clients: list[ElevateClient] = []

    def make(
        origin: str,
        *,
        version: ApiVersion = ApiVersion.V4,
        key: str = api_key,
        timeout: float = 20.0,
        concurrency: int = 4,
        ca_file: str | None = None,
    ) -> ElevateClient:
        target = Target.of_base_url(origin)
        route = ServiceOptions(ca_file=ca_file, trust_env=True).route(target, version)
        client = ElevateClient(
            target, version, key, timeout=timeout, concurrency=concurrency, route=route
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.__aexit__(None, None, None)


# ── certificates: X.509 with ECDSA on P-256, no more of it than a test server needs ────────────

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_P256 = bytes.fromhex("06082a8648ce3d030107")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")


def _plus(a: tuple[int, int] | None, b: tuple[int, int]) -> tuple[int, int]:
    if a is None:
        return b
    slope = (
        (3 * a[0] ** 2 - 3) * pow(2 * a[1], -1, _P)
        if a == b
        else (b[1] - a[1]) * pow(b[0] - a[0], -1, _P)
    )
    x = (slope**2 - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(factor: int, point: tuple[int, int]) -> tuple[int, int]:
    total = None
    while factor:
        if factor & 1:
            total = _plus(total, point)
        point, factor = _plus(point, point), factor >> 1
    assert total is not None
    return total


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = bytes.fromhex("0101ff") if critical else b""
    return _der(0x30, bytes.fromhex(oid), flag, _der(0x04, value))


def _pem(kind: str, content: bytes) -> str:
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n"


class _Key:
    def __init__(self) -> None:
        self.secret = secrets.randbelow(_ORDER - 1) + 1
        x, y = _times(self.secret, _G)
        self.point = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        self.identifier = hashlib.sha1(self.point, usedforsecurity=False).digest()

    def signed(self, content: bytes) -> bytes:
        """`content` with its signature, as certificates have it."""
        digest = int.from_bytes(hashlib.sha256(content).digest(), "big")
        once = secrets.randbelow(_ORDER - 1) + 1
        r = _times(once, _G)[0] % _ORDER
        s = pow(once, -1, _ORDER) * (digest + r * self.secret) % _ORDER
        signature = _der(0x30, _integer(r), _integer(s))
        return _der(0x30, content, _ECDSA_SHA256, _der(0x03, b"\0", signature))

    @property
    def pem(self) -> str:
        secret = _der(0x04, self.secret.to_bytes(32, "big"))
        public = _der(0xA1, _der(0x03, b"\0", self.point))
        return _pem("EC PRIVATE KEY", _der(0x30, _integer(1), secret, _der(0xA0, _P256), public))


class Authority:
    """Issues server certificates; `pem` is its own one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = _Key()
        self._issued = 0
        is_authority = _extension("0603551d13", bytes.fromhex("30030101ff"), critical=True)
        may_sign = _extension("0603551d0f", bytes.fromhex("03020106"), critical=True)
        self.pem = self._certificate("Test", "Test", self._key, self._key, is_authority, may_sign)

    def issue(
        self,
        *names: str,
        days: tuple[int, int] = (-2, 2),
        self_signed: bool = False,
    ) -> ssl.SSLContext:
        """A server's context with a certificate for `names`, valid between `days` from today."""
        key = _Key()
        alternatives = [
            _der(0x87, ip_address(name).packed) if name[0].isdigit() else _der(0x82, name.encode())
            for name in names
        ]
        extension = _extension("0603551d11", _der(0x30, *alternatives))
        issuer, signer = (names[0], key) if self_signed else ("Test", self._key)
        certificate = self._certificate(names[0], issuer, key, signer, extension, days=days)
        self._issued += 1
        path = self._folder / f"server-{self._issued}.pem"
        path.write_text(certificate + key.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(
        self,
        name: str,
        issuer: str,
        key: _Key,
        signer: _Key,
        *extensions: bytes,
        days: tuple[int, int] = (-2, 2),
    ) -> str:
        def named(text: str) -> bytes:
            common_name = _der(0x30, _COMMON_NAME, _der(0x0C, text.encode()))
            return _der(0x30, _der(0x31, common_name))

        now = datetime.now(UTC)
        times = [
            _der(0x17, (now + timedelta(days=day)).strftime("%y%m%d%H%M%SZ").encode())
            for day in days
        ]
        public = _der(0x30, _der(0x30, _EC_KEY, _P256), _der(0x03, b"\0", key.point))
        own = _extension("0603551d0e", _der(0x04, key.identifier))
        signers = _extension("0603551d23", _der(0x30, _der(0x80, signer.identifier)))
        content = _der(
            0x30,
            _der(0xA0, _integer(2)),
            _integer(secrets.randbits(100)),
            _ECDSA_SHA256,
            named(issuer),
            _der(0x30, *times),
            named(name),
            public,
            _der(0xA3, _der(0x30, own, signers, *extensions)),
        )
        return _pem("CERTIFICATE", signer.signed(content))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nothing trusts, unless a test asks for `trusted`."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority, which clients of this test trust in the place of the system's ones."""
    context = ssl.create_default_context(cadata=authority.pem)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    return authority

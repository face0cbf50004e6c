"""The client against servers that are broken below HTTP, or end connections when they like."""

import asyncio
import contextlib
import gc
import gzip
import json
import os
import random
import re
import resource
import socket
import threading
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote, unquote_to_bytes

import aiohttp
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bulk_eraser.elevate import connections
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.http_connection import HttpConnection
from bulk_eraser.elevate.received import MAX_BODY
from bulk_eraser.elevate.retrying import AgainError
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, classify
from bulk_eraser.errors import ConfigurationError

Start = Callable[..., Awaitable[Any]]
Make = Callable[..., ElevateClient]

JOB = b'{"jid":"job-1","status":"created"}'
LOST = NetworkFault("connection_lost", maybe_done=True)
BAD = NetworkFault("bad_answer", maybe_done=True)
TIMEOUT = 0.3
"""Seconds, where nothing that the test needs has to happen within them."""
AMPLE = 2.0
"""Seconds, where a busy machine has to connect and answer within them."""
REFUSALS = [400, 413, 414, 422]


def http(status: int = 200, body: bytes = JOB, *headers: str, length: int | None = None) -> bytes:
    """An answer, with a Content-Length that may be wrong."""
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(status: int, *chunks: bytes) -> bytes:
    """An answer in chunks, without the last one."""
    head = f"HTTP/1.1 {status} Words\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def job(jid: bytes) -> bytes:
    return http(200, b'{"jid":"%s","status":"created"}' % jid)


async def echo(peer: Any) -> None:
    """Answer every request with its key as jid."""
    while True:
        head = await peer.request()
        await peer.say(job(key_of(head)))


def key_of(head: bytes) -> bytes:
    """The customer key in a request's head, decoded once."""
    return unquote_to_bytes(head.split(b" ", 2)[1].partition(b"?customerKey=")[2])


async def turns() -> None:
    """Let the event loop read and act on what its sockets have."""
    for _ in range(8):
        await asyncio.sleep(0)


def accepted(came: Answer | NetworkFault) -> str:
    """The jid of an accepted job."""
    verdict = classify(came)
    assert verdict.kind is Kind.ACCEPTED, came
    return verdict.jid


# ── connections that end ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("began", [b"", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_that_ends_instead_of_an_answer(
    raw_server: Start, client_of: Make, end: str, began: bytes
) -> None:
    """A request whose connection closes or is reset may have been carried out, and left once."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(began)
        getattr(peer, end)()

    server = await raw_server(script)
    assert await client_of(server.origin).create_removal_job("key") == LOST
    assert len(server.heads) == 1


async def test_a_connection_reset_before_the_request(raw_server: Start, client_of: Make) -> None:
    """A reset before a byte was read is a lost connection, and not taken for a refused one."""

    async def script(peer: Any) -> None:
        peer.reset()

    server = await raw_server(script)
    assert await client_of(server.origin).create_removal_job("key") == LOST
    assert server.heads == []


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_kept_connection_that_dies_under_the_next_request(
    raw_server: Start, client_of: Make, end: str
) -> None:
    """When a kept connection dies at the next request, the caller is told to repeat at once."""

    async def script(peer: Any) -> None:
        await peer.say(job(key_of(await peer.request())))
        await peer.request()
        getattr(peer, end)()

    server = await raw_server(script)
    client = client_of(server.origin)
    assert accepted(await client.create_removal_job("one")) == "one"
    assert await client.create_removal_job("two") == replace(LOST, at_once=True)
    assert accepted(await client.create_removal_job("two")) == "two"
    assert [key_of(head) for head in server.heads] == [b"one", b"two", b"two"]
    assert len(server.peers) == 2


async def test_a_kept_connection_may_be_dead_only_once(raw_server: Start, client_of: Make) -> None:
    """A new connection that is lost is not taken for a kept one that was dead."""

    async def script(peer: Any) -> None:
        if peer.number == 1:
            await peer.say(job(key_of(await peer.request())))
        await peer.request()

    server = await raw_server(script)
    client = client_of(server.origin)
    await client.create_removal_job("one")
    assert await client.create_removal_job("two") == replace(LOST, at_once=True)
    assert await client.create_removal_job("two") == LOST


async def test_a_repeat_takes_no_other_old_connection(raw_server: Start, client_of: Make) -> None:
    """N12: where one kept connection was dead, the repeat goes on a new one, also when as many are
    kept as there may be."""
    together = asyncio.Barrier(4)

    async def script(peer: Any) -> None:
        head = await peer.request()
        if peer.number <= 4:
            await together.wait()
        await peer.say(job(key_of(head)))
        await peer.request()
        peer.reset()

    server = await raw_server(script)
    client = client_of(server.origin, concurrency=4)
    await asyncio.gather(*(client.create_removal_job(f"{number}") for number in range(4)))
    async with asyncio.timeout(20):
        assert accepted(await client.create_removal_job("all kept", anew=True)) == "all kept"
        assert await client.create_removal_job("one dead") == replace(LOST, at_once=True)
        assert accepted(await client.create_removal_job("one dead", anew=True)) == "one dead"
    assert len(server.peers) == 6


# ── what comes between two requests (N11) ───────────────────────────────────────────────────────

STRAY = job(b"stray")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize(
    "extra",
    [STRAY, STRAY * 3, STRAY[:40], http(408, b""), b"\r\n\r\n", b"no HTTP\r\n\r\n", None],
    ids=["answer", "answers", "half", "408", "blank", "garbage", "fin"],
)
async def test_what_comes_while_a_connection_is_idle(
    raw_server: Start,
    client_of: Make,
    trusted: Any,
    extra: bytes | None,
    read: bool,
    tls: bool,
) -> None:
    """What comes on an idle connection is booked on no other key, and costs no attempt.

    Neither when the client has read it before the next request, nor when it still lies unread.
    """
    server = await raw_server(echo, tls=trusted.issue("127.0.0.1") if tls else None)
    client = client_of(server.origin)
    assert accepted(await client.create_removal_job("one")) == "one"
    if extra is None:
        server.peers[0].finish()
    else:
        server.peers[0].push(extra)
    if read:
        await turns()
    assert accepted(await client.create_removal_job("two")) == "two"
    assert [key_of(head) for head in server.heads] == [b"one", b"two"]


async def test_two_answers_in_one_segment(raw_server: Start, client_of: Make) -> None:
    """Of two answers that come together the first counts, and the second for no other key."""

    async def script(peer: Any) -> None:
        while True:
            await peer.say(job(key_of(await peer.request())) + STRAY)

    server = await raw_server(script)
    client = client_of(server.origin)
    for key in ("one", "two", "three"):
        assert accepted(await client.create_removal_job(key)) == key
    assert len(server.peers) == 3


async def test_an_answer_that_comes_in_two_halves_between_keys(
    raw_server: Start, client_of: Make
) -> None:
    """Half a stray answer is enough: nothing more is asked on its connection, so its second half,
    and what comes behind that, is booked on no key."""

    async def script(peer: Any) -> None:
        await peer.say(job(key_of(await peer.request())))
        await peer.request()
        await peer.say(STRAY[40:] + job(b"other"))

    server = await raw_server(script)
    client = client_of(server.origin)
    await client.create_removal_job("one")
    server.peers[0].push(STRAY[:40])
    await turns()
    assert accepted(await client.create_removal_job("two")) == "two"
    assert [key_of(head) for head in server.heads] == [b"one", b"two"]
    assert len(server.peers) == 2


async def test_an_answer_that_comes_after_the_timeout(raw_server: Start, client_of: Make) -> None:
    """The late answer to a request that was given up is never read for the next one."""
    server = await raw_server(lambda peer: peer.hold() if peer.number == 1 else echo(peer))
    client = client_of(server.origin, timeout=AMPLE)
    assert await client.create_removal_job("one") == NetworkFault("timeout", maybe_done=True)
    server.peers[0].push(job(b"one"))
    assert accepted(await client.create_removal_job("two")) == "two"
    assert len(server.peers) == 2


@pytest.mark.parametrize(("read", "tls"), [(False, False), (True, False), (True, True)])
async def test_an_answer_before_the_request(
    raw_server: Start,
    client_of: Make,
    trusted: Any,
    monkeypatch: pytest.MonkeyPatch,
    read: bool,
    tls: bool,
) -> None:
    """What a service says before it was asked anything is no answer, and nothing is sent there."""
    connect = aiohttp.TCPConnector.connect
    heads: list[bytes] = []

    async def script(peer: Any) -> None:
        if peer.number == 1:
            await peer.say(http(200, STRAY))
            said.set()
        heads.append(await peer.request())
        await peer.say(http())

    async def connect_and_look(self: Any, *what: Any) -> Any:
        connection = await connect(self, *what)
        await said.wait()
        if read:
            await turns()
        return connection

    said = asyncio.Event()
    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_and_look)
    server = await raw_server(script, tls=trusted.issue("127.0.0.1") if tls else None)
    client = client_of(server.origin)
    assert classify(await client.create_removal_job("one")).error == "connection_lost"
    assert accepted(await client.create_removal_job("two")) == "job-1"
    assert [key_of(head) for head in heads] == [b"two"]


async def test_connections_in_good_order_are_kept(raw_server: Start, client_of: Make) -> None:
    """Keys one after another share a connection as long as nothing is wrong with it."""
    server = await raw_server(echo)
    client = client_of(server.origin)
    for number in range(20):
        assert accepted(await client.create_removal_job(f"{number}")) == f"{number}"
    assert len(server.peers) == 1


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    raw_server: Start, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a service, or a box on the way, may have forgotten carries no further key."""
    server = await raw_server(echo)
    client = client_of(server.origin)
    await client.create_removal_job("one")
    monkeypatch.setattr(connections, "KEEPALIVE_S", -1.0)
    assert accepted(await client.create_removal_job("two")) == "two"
    assert len(server.peers) == 2


async def test_idle_connections_are_given_up(raw_server: Start, client_of: Make) -> None:
    """After `close_idle` the next key takes a new connection, and the old one is closed."""
    closed = asyncio.Event()

    async def script(peer: Any) -> None:
        try:
            await echo(peer)
        finally:
            closed.set()

    server = await raw_server(script)
    client = client_of(server.origin)
    await client.create_removal_job("one")
    client.close_idle()
    await closed.wait()
    assert accepted(await client.create_removal_job("two")) == "two"
    assert len(server.peers) == 2


# ── time (N4) ───────────────────────────────────────────────────────────────────────────────────


def dripping(start: bytes, drop: bytes) -> Callable[[Any], Awaitable[None]]:
    """A script that sends `drop` every 0.1 s and never ends."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(start)
        while True:
            await asyncio.sleep(0.1)
            await peer.say(drop)

    return script


SLOW = {
    "silent": lambda peer: peer.hold(),
    "head": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "body": dripping(http(length=9999), b" "),
    "chunks": dripping(chunked(200, JOB), b"1\r\n \r\n"),
    "until_eof": dripping(b"HTTP/1.1 200 OK\r\n\r\n" + JOB, b" "),
    "continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


async def test_an_answer_that_does_not_come_to_an_end(raw_server: Start, client_of: Make) -> None:
    """Silence, and answers that drip on and on, are given up within the timeout."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def attempt(script: Callable[[Any], Awaitable[None]]) -> Answer | NetworkFault:
        server = await raw_server(script)
        return await client_of(server.origin, timeout=TIMEOUT).create_removal_job("key")

    came = await asyncio.gather(*map(attempt, SLOW.values()))
    assert dict(zip(SLOW, came, strict=True)) == dict.fromkeys(
        SLOW, NetworkFault("timeout", maybe_done=True)
    )
    assert loop.time() - began < TIMEOUT + AMPLE


async def test_a_refusal_whose_body_does_not_come_to_an_end(
    raw_server: Start, client_of: Make
) -> None:
    """A refusal stands when its body is not over within the timeout."""
    script = dripping(http(400, b"no", length=9999), b".")
    server = await raw_server(script)
    came = await client_of(server.origin, timeout=TIMEOUT).create_removal_job("key")
    assert classify(came).kind is Kind.REFUSED


async def test_a_head_that_is_found_when_the_time_is_up(raw_server: Start, client_of: Make) -> None:
    """A process that stood still finds the head and the end of the time together: the body that
    does not come then ends the attempt all the same."""
    asked = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        asked.set()
        await peer.hold()

    server = await raw_server(script)
    client = client_of(server.origin, timeout=AMPLE)
    attempt = asyncio.create_task(client.create_removal_job("key"))
    await asked.wait()
    server.peers[0].push(http(length=9999))
    time.sleep(AMPLE + 0.3)  # noqa: ASYNC251 the whole process stands still
    done, _ = await asyncio.wait({attempt}, timeout=20)
    assert {task.result() for task in done} == {NetworkFault("timeout", maybe_done=True)}


@pytest.mark.parametrize(("tls", "chunked"), [(False, True), (True, False)])
async def test_answers_that_came_while_the_process_stood_still(
    raw_server: Start, client_of: Make, trusted: Any, tls: bool, chunked: bool
) -> None:
    """N16: what is there when a process goes on that stood still for longer than the timeout is
    read, and not thrown away."""
    count = 8
    asked = asyncio.Barrier(count + 1)
    answer = job(b"late")
    if chunked:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\n" + JOB + b"\r\n"
        answer += b"0\r\n\r\n"

    async def script(peer: Any) -> None:
        await peer.request()
        await asked.wait()
        await peer.hold()

    server = await raw_server(script, tls=trusted.issue("127.0.0.1") if tls else None)
    client = client_of(server.origin, timeout=AMPLE, concurrency=count)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(client.create_removal_job(f"{n}")) for n in range(count)]
        await asked.wait()
        for peer in server.peers:
            peer.push(answer)
        time.sleep(AMPLE + 0.3)  # noqa: ASYNC251 the whole process stands still
    assert [classify(call.result()).kind for call in calls] == [Kind.ACCEPTED] * count


async def test_a_switch_that_is_none(raw_server: Start, client_of: Make) -> None:
    """A 101 that names no other protocol may be followed by the answer, which is not the next
    key's: the connection carries no other key."""
    server = await raw_server(b"HTTP/1.1 101 Now\r\n\r\n", http())
    client = client_of(server.origin)
    assert classify(await client.create_removal_job("one")).error == "bad_answer"
    assert accepted(await client.create_removal_job("two")) == "job-1"
    assert len(server.peers) == 2


@pytest.mark.parametrize("gone", ["before", "while idle"])
async def test_a_connection_without_its_socket_is_not_silent(gone: str) -> None:
    """asyncio takes a TLS connection's socket away before it tells that the connection ended."""
    ours, theirs = socket.socketpair()
    known: dict[str, object] = {"sslcontext": object(), "socket": ours}
    transport = Mock(get_extra_info=known.get, is_closing=lambda: False)
    if gone == "before":
        del known["socket"]
    connection = HttpConnection(Mock(), transport, asyncio.get_running_loop())
    assert connection.is_silent() == connection.is_open() == (gone != "before")
    known.clear()
    assert not connection.is_open()
    assert not connection.is_silent()
    ours.close()
    theirs.close()


async def test_a_connection_that_closes_is_not_silent() -> None:
    """Once it is closed, the number of its socket may be that of another."""
    ours, theirs = socket.socketpair()
    transport = Mock(get_extra_info={"socket": ours}.get, is_closing=lambda: False)
    connection = HttpConnection(Mock(), transport, asyncio.get_running_loop())
    assert connection.is_silent()
    transport.is_closing = lambda: True
    assert not connection.is_silent()
    ours.close()
    theirs.close()


async def test_timeouts_are_not_rounded_up(raw_server: Start, client_of: Make) -> None:
    """Long timeouts end at their second and not at the next whole one, as aiohttp has it."""
    loop = asyncio.get_running_loop()
    ends: list[float] = []

    async def script(peer: Any) -> None:
        await peer.request()
        ends.extend(handle.when() - began for handle in loop._scheduled)  # type: ignore[attr-defined] # asyncio's own list
        await peer.say(http())

    server = await raw_server(script)
    client = client_of(server.origin, timeout=17.25)
    began = loop.time()
    await client.create_removal_job("key")
    assert any(17.25 <= end < 17.35 for end in ends), ends


async def test_the_time_for_connecting_is_not_rounded_up(client_of: Make, full_port: int) -> None:
    """It ends before the timeout, so that no request leaves when its time is over."""
    loop = asyncio.get_running_loop()
    client = client_of(f"http://127.0.0.1:{full_port}", timeout=7.0)
    began = loop.time()
    attempt = asyncio.create_task(client.create_removal_job("key"))
    waits: list[float] = []
    while not waits:
        waits = [handle.when() - began for handle in loop._scheduled]  # type: ignore[attr-defined] # asyncio's own list
        await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.wait({attempt})
    assert [wait for wait in waits if 6.3 <= wait < 6.4], waits


async def test_a_request_that_is_cancelled(raw_server: Start, client_of: Make) -> None:
    """A cancelled attempt ends as cancelled, and takes its connection along."""
    asked, closed = asyncio.Event(), asyncio.Event()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))

    async def script(peer: Any) -> None:
        await peer.request()
        asked.set()
        await peer.hold()
        closed.set()

    server = await raw_server(script)
    attempt = asyncio.create_task(client_of(server.origin).create_removal_job("key"))
    async with asyncio.timeout(20):
        await asked.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await closed.wait()
    await turns()
    assert complaints == []


# ── connecting ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken, and on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that listens with a full backlog, so that connecting hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


@pytest.fixture
def both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name resolves to ::1 and 127.0.0.1, in this order."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_a_refused_connection(client_of: Make, closed_port: int) -> None:
    """A refused connection carried nothing out."""
    came = await client_of(f"http://127.0.0.1:{closed_port}").create_removal_job("key")
    assert came == NetworkFault("connection_refused", maybe_done=False)


async def test_localhost_refused_by_both_families(
    client_of: Make, closed_port: int, both_families: None
) -> None:
    """A name whose addresses all refuse, or cannot be reached, carried nothing out."""
    came = await client_of(f"http://localhost:{closed_port}").create_removal_job("key")
    verdict = classify(came)
    assert verdict.connecting
    assert not verdict.maybe_done


async def test_localhost_with_one_family_listening(
    raw_server: Start, client_of: Make, both_families: None
) -> None:
    """A name with a dead IPv6 address is reached through its IPv4 address."""
    server = await raw_server(echo)
    client = client_of(f"http://localhost:{server.port}")
    assert accepted(await client.create_removal_job("key")) == "key"


async def test_a_name_that_does_not_resolve(
    client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that cannot be resolved is a failure before anything was sent; one that does not
    exist is told from a name server that has no answer now."""
    why = socket.EAI_NONAME

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(why, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = client_of("https://gateway.example.com")
    came = await client.create_removal_job("key")
    assert came == NetworkFault("dns", maybe_done=False, no_host="gateway.example.com")
    why = socket.EAI_AGAIN
    assert await client.create_removal_job("key") == NetworkFault("dns", maybe_done=False)


async def test_no_file_for_a_connection(client_of: Make) -> None:
    """This process may open no more files: that is not the service's doing."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = client_of("http://127.0.0.1:9")
    await client.create_removal_job("key")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        came = await client.create_removal_job("key")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert came == NetworkFault("cannot_connect", maybe_done=False, no_files=True)


async def test_a_look_up_that_hangs(client_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """N14: it is given up within the timeout, and nobody waits for its thread."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60))
    client = client_of("https://gateway.example.com", timeout=TIMEOUT)
    came = await client.create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "look-up"] == [True]
    await client.__aexit__(None, None, None)
    answered.set()


async def test_no_thread_for_a_look_up(client_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many processes on this machine: nothing was sent."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    came = await client_of("https://gateway.example.com").create_removal_job("key")
    assert came == NetworkFault("dns", maybe_done=False)


@pytest.mark.parametrize("hangs", ["tcp", "tls"])
async def test_connecting_is_bounded_and_carries_nothing_out(
    raw_server: Start, client_of: Make, full_port: int, hangs: str
) -> None:
    """Connecting that hangs, in TCP or in the TLS handshake, is given up within the timeout, and is
    not taken for a request that may have been carried out."""
    loop = asyncio.get_running_loop()
    server = await raw_server(lambda peer: peer.hold())
    origin = (
        f"http://127.0.0.1:{full_port}" if hangs == "tcp" else f"https://127.0.0.1:{server.port}"
    )
    began = loop.time()
    came = await client_of(origin, timeout=TIMEOUT).create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)
    assert loop.time() - began < TIMEOUT + AMPLE


async def test_tls_to_a_server_that_has_none(raw_server: Start, client_of: Make) -> None:
    """A server without TLS behind https is a failure before anything was sent."""
    server = await raw_server(lambda peer: peer.say(http(400)))
    came = await client_of(f"https://127.0.0.1:{server.port}").create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)


async def test_a_host_that_aiohttp_refuses() -> None:
    """A host that is no host is a failure before anything was sent, whoever let it through."""
    target = Target("odd", "https://127.1", cluster=False)
    async with ElevateClient(target, ApiVersion.V4, "k", timeout=1, concurrency=1) as client:
        came = await client.create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)


# ── certificates (N5) ───────────────────────────────────────────────────────────────────────────


async def test_a_good_certificate(raw_server: Start, client_of: Make, trusted: Any) -> None:
    """With a certificate that is valid and trusted the request is sent."""
    server = await raw_server(echo, tls=trusted.issue("localhost", "127.0.0.1"))
    assert accepted(await client_of(server.origin).create_removal_job("key")) == "key"


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["127.0.0.1"], {"self_signed": True}),
        (["other.example.com", "127.0.0.2"], {}),
        (["127.0.0.1"], {"days": (-9, -1)}),
        (["127.0.0.1"], {"days": (1, 9)}),
    ],
    ids=["self_signed", "wrong_name", "expired", "not_yet"],
)
async def test_a_bad_certificate(
    raw_server: Start, client_of: Make, trusted: Any, names: list[str], options: dict[str, Any]
) -> None:
    """A bad certificate stops the run as a configuration error, and nothing was sent."""
    server = await raw_server(echo, tls=trusted.issue(*names, **options))
    came = await client_of(server.origin).create_removal_job("key")
    assert came == NetworkFault("certificate", maybe_done=False)
    assert isinstance(classify(came).stop, ConfigurationError)
    assert server.heads == []


async def test_a_certificate_of_an_unknown_authority(
    raw_server: Start, client_of: Make, authority: Any
) -> None:
    """Trusted are the system's authorities and no others."""
    server = await raw_server(echo, tls=authority.issue("127.0.0.1"))
    came = await client_of(server.origin).create_removal_job("key")
    assert came == NetworkFault("certificate", maybe_done=False)


# ── bodies that are cut, or have no end (N7, N9) ────────────────────────────────────────────────

CUT = {
    "length": lambda status: http(status, length=len(JOB) + 1),
    "nothing": lambda status: http(status, b"", length=len(JOB)),
    "chunks": lambda status: chunked(status, JOB),
    "chunk": lambda status: chunked(status, JOB)[:-9],
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("status", [200, *REFUSALS, 403, 302, 404, 429, 503])
async def test_a_body_that_is_cut(
    raw_server: Start, client_of: Make, status: int, cut: str, end: str
) -> None:
    """A cut body is no accepted job even if it holds one; any other status stands without it."""

    async def script(peer: Any) -> None:
        await peer.request()
        peer.push(CUT[cut](status))
        await turns()  # a reset may overtake what was not read
        getattr(peer, end)()

    server = await raw_server(script)
    came = await client_of(server.origin).create_removal_job("key")
    assert isinstance(came, Answer), came
    assert not came.complete
    verdict, whole = classify(came), classify(Answer(status, b"", complete=True))
    assert (verdict.kind, verdict.http_status) == (whole.kind, status)
    assert verdict.maybe_done == (status in (200, 503))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<!doctype html><title>Log in</title>",
        JOB[:-1],
        JOB + JOB,
        b"null",
        b'"job-1"',
        b"[]",
        b'{"status":"created"}',
        b'{"jid":null}',
        b'{"jid":7}',
        b'{"jid":""}',
        b'{"jid":" "}',
        b'{"jid":["job-1"]}',
        b'{"JID":"job-1"}',
        b'{"jid":"job-\xff"}',
        b"\xff\xfe" + JOB.decode().encode("utf-16-le"),
        b'{"jid":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
async def test_a_200_without_a_job(raw_server: Start, client_of: Make, body: bytes) -> None:
    """A 200 that is no job result may have been carried out, and is asked for again."""
    server = await raw_server(http(200, body))
    verdict = classify(await client_of(server.origin).create_removal_job("key"))
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (Kind.AGAIN, "bad_answer", True)


@pytest.mark.parametrize("status", [201, 202, 204, 206, 299])
async def test_another_2xx_is_no_job(raw_server: Start, client_of: Make, status: int) -> None:
    """Only 200 says that a job was made; any other success is asked for again."""
    server = await raw_server(http(status, b"" if status == 204 else JOB))
    verdict = classify(await client_of(server.origin).create_removal_job("key"))
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (Kind.AGAIN, "bad_answer", True)


@pytest.mark.parametrize(("status", "kind"), [(200, Kind.AGAIN), (400, Kind.REFUSED)])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_body_that_is_not_packed_as_it_says(
    raw_server: Start, client_of: Make, coding: str, status: int, kind: Kind
) -> None:
    """A body that cannot be unpacked is no job, and a refusal stands without it."""
    server = await raw_server(http(status, JOB, f"Content-Encoding: {coding}"))
    assert classify(await client_of(server.origin).create_removal_job("key")).kind is kind


PIECE = b"a" * (1 << 16)
HEAD_200 = b"HTTP/1.1 200 OK\r\n"
ENDLESS = {
    "length": (HEAD_200 + b"Content-Length: 300000000\r\n\r\n", PIECE),
    "refusal": (b"HTTP/1.1 400 No\r\nContent-Length: 300000000\r\n\r\n", PIECE),
    "until_eof": (HEAD_200 + b"\r\n", PIECE),
    "chunks": (chunked(200), b"10000\r\n" + PIECE + b"\r\n"),
    "small_chunks": (chunked(200), b"1\r\na\r\n" * 10_000),
    "job_first": (HEAD_200 + b"\r\n" + JOB, b" " * (1 << 16)),
    "bomb": (None, b"gzip"),
    "deflate_bomb": (None, b"deflate"),
    "unknown_coding": (HEAD_200 + b"Content-Encoding: br\r\n\r\n", PIECE),
    "header": (HEAD_200 + b"X: ", PIECE),
    "headers": (HEAD_200, b"X: a\r\n" * 10_000),
    "status_line": (b"HTTP/1.1 200 ", PIECE),
    "trailers": (chunked(200, JOB) + b"0\r\n", b"X: a\r\n" * 10_000),
    "answers": (b"", http(200, b"") * 1_000),
}


@pytest.mark.parametrize("endless", ENDLESS)
async def test_an_answer_of_300_mb(raw_server: Start, client_of: Make, endless: str) -> None:
    """Of an answer without end at most 64 KiB are read, and memory hardly grows."""
    start, piece = ENDLESS[endless]
    if start is None:
        bomb = gzip.compress(b"a" * 300_000_000, compresslevel=1)
        start, piece = http(200, bomb, f"Content-Encoding: {piece.decode()}"), b""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(start)
        while piece and peer.pushed < 300_000_000:
            await peer.say(piece)

    server = await raw_server(script)
    client = client_of(server.origin)
    gc.collect()
    tracemalloc.start()
    try:
        came = await client.create_removal_job("key")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    assert server.peers[0].pushed < 50_000_000
    assert len(came.body if isinstance(came, Answer) else b"") <= MAX_BODY + 1
    verdict = classify(came)
    assert verdict.kind is (Kind.REFUSED if endless == "refusal" else Kind.AGAIN)
    assert verdict.maybe_done == (endless != "refusal")


@pytest.mark.parametrize(("size", "kind"), [(MAX_BODY, Kind.ACCEPTED), (MAX_BODY + 1, Kind.AGAIN)])
@pytest.mark.parametrize("packed", [False, True])
async def test_the_bound_of_a_body(
    raw_server: Start, client_of: Make, size: int, kind: Kind, packed: bool
) -> None:
    """A job result of 64 KiB is taken, packed or not, and one byte more makes it none."""
    body = JOB.ljust(size)
    answer = http(200, gzip.compress(body), "Content-Encoding: gzip") if packed else http(200, body)
    server = await raw_server(answer)
    assert classify(await client_of(server.origin).create_removal_job("key")).kind is kind


# ── what is no HTTP (N10) ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"400 Bad Request\r\n\r\n",
        b"HTTP/1.1 4000 Bad\r\n\r\n",
        b"HTTP/1.1 40 Bad\r\n\r\n",
        b"HTTP/1.1 four Bad\r\n\r\n",
        http(400, JOB, "X: " + "a" * 20_000),
        http(403, JOB, *["X: a"] * 5_000),
        http(400, JOB, "X\0: a"),
        b"HTTP/1.1 400 Bad\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 400 Bad\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        chunked(400) + b"xyz\r\n",
        chunked(200, JOB) + b"-1\r\n",
        JOB,
    ],
)
async def test_an_answer_that_is_no_http(raw_server: Start, client_of: Make, answer: bytes) -> None:
    """What is no HTTP is asked for again, whatever status aiohttp reports for it."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(answer)

    server = await raw_server(script)
    assert await client_of(server.origin).create_removal_job("key") == BAD


@pytest.mark.parametrize("before", [100, 102, 103])
@pytest.mark.parametrize("times", [1, 5])
async def test_an_interim_answer(
    raw_server: Start, client_of: Make, before: int, times: int
) -> None:
    """Interim answers before the real one are read over."""
    interim = f"HTTP/1.1 {before} Soon\r\nLink: <x>\r\n\r\n".encode()
    server = await raw_server(interim * times + http(), interim * times + http(400))
    client = client_of(server.origin)
    assert accepted(await client.create_removal_job("one")) == "job-1"
    assert classify(await client.create_removal_job("two")).kind is Kind.REFUSED


async def test_a_switch_of_protocols(raw_server: Start, client_of: Make) -> None:
    """101 is no job, and its connection carries no other key."""
    switch = b"HTTP/1.1 101 Now\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
    server = await raw_server(switch + STRAY, http())
    client = client_of(server.origin)
    assert classify(await client.create_removal_job("one")).error == "bad_answer"
    assert accepted(await client.create_removal_job("two")) == "job-1"
    assert len(server.peers) == 2


# ── the request as it leaves (I14) ──────────────────────────────────────────────────────────────

HOSTILE = [
    *"+#&%/?=;:@!$'()*,[]~-._\\\"`{}|<>^é",
    "a+b #c&customerKey=d%e/f?g=h",
    "a b",
    "é",
    "e\u0301",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}",
    "\u2028",
    "%2F",
    "%25",
    "%2525",
    "%zz",
    "..",
    "../../api/v2",
    "//evil.example.com/",
    "/./",
    "http://evil.example.com/#",
    "'\"\\",
    "null",
    "=1+1",
    "a" * 2048,
    "\N{GRINNING FACE}" * 512,
]


async def test_keys_arrive_byte_for_byte(raw_server: Start, client_of: Make) -> None:
    """Every key is encoded exactly once, as the one and only parameter of an unchanged path."""
    server = await raw_server(echo)
    client = client_of(server.origin)
    for key in HOSTILE:
        await client.create_removal_job(key)
    start = "/api/admin/v4/event-data/create-remove-customer-job?customerKey="
    for key, head, target in zip(HOSTILE, server.heads, server.targets, strict=True):
        assert key_of(head) == key.encode()
        assert target.startswith(start)
        assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", target.removeprefix(start))
        assert re.fullmatch(rb"POST \S+ HTTP/1\.1", head.split(b"\r\n")[0])


async def test_headers_of_a_request(raw_server: Start, client_of: Make, api_key: str) -> None:
    """Each header is sent once: the API key as `Api-Key`, an empty body, and no cookie."""
    server = await raw_server(http(200, JOB, "Set-Cookie: node=7; Path=/"))
    client = client_of(server.origin)
    for key in ("one", "two"):
        await client.create_removal_job(key)
    for head in server.heads:
        lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")[1:]
        names, values = zip(*(line.split(": ", 1) for line in lines), strict=True)
        assert sorted(names) == [
            "Accept",
            "Accept-Encoding",
            "Api-Key",
            "Content-Length",
            "Host",
            "User-Agent",
        ]
        headers = dict(zip(names, values, strict=True))
        assert headers["Api-Key"] == api_key
        assert headers["Accept-Encoding"] == "identity"
        assert headers["Content-Length"] == "0"
        assert headers["Host"] == f"127.0.0.1:{server.port}"
        assert headers["User-Agent"].startswith("bulk-eraser/")


# ── nothing leaks (X2) ──────────────────────────────────────────────────────────────────────────


def everything(error: BaseException) -> str:
    """All texts of an exception and of those behind it."""
    behind = [error.__cause__, error.__context__]
    texts = [str(error), repr(error), repr(error.args), *map(everything, filter(None, behind))]
    return " ".join(texts)


@pytest.mark.parametrize("encode", ["raw", "percent", "json"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 302, 429, 500, 999, None])
async def test_what_the_service_says_back_does_not_leak(
    raw_server: Start, client_of: Make, api_key: str, status: int | None, encode: str
) -> None:
    """What an answer repeats leaves the API key nowhere, and the customer key in no error."""
    ways: dict[str, Callable[[str], str]] = {
        "raw": str,
        "percent": quote,
        "json": lambda text: json.dumps(text)[1:-1],
    }
    encoded = ways[encode]
    secrets = [encoded(api_key), encoded(api_key).lower()]
    key = "customer-key-7c1"

    async def script(peer: Any) -> None:
        head = await peer.request()
        body = head + " ".join(secrets).encode()
        await peer.say(b"HTTP/1.1 " + body if status is None else http(status, body))

    server = await raw_server(script)
    came = await client_of(server.origin).create_removal_job(key)
    for secret in [api_key, *secrets]:
        assert secret not in repr(came)
        assert not isinstance(came, Answer) or secret.encode() not in came.body
    verdict = classify(came)
    for error in (verdict.stop, AgainError(verdict)):
        if error is not None:
            assert key not in everything(error)
            assert not [secret for secret in [api_key, *secrets] if secret in everything(error)]


@pytest.mark.parametrize("short_key", ["j", "id", "reate", "ob-1"])
async def test_an_accepted_answer_stays_as_it_came(
    raw_server: Start, client_of: Make, short_key: str
) -> None:
    """A jid that holds the letters of a short API key by chance is left as it is."""
    server = await raw_server(http())
    client = client_of(server.origin, key=short_key)
    assert accepted(await client.create_removal_job("key")) == "job-1"


@pytest.mark.parametrize(
    "body",
    [
        '{"jid":"KEY","status":"created"}',
        '{"jid":"job-KEY-1"}',
        '{"jid":"job-1","status":"KEY"}',
        '{"jid":"job-1","status":"not for KEY!"}',
    ],
)
@pytest.mark.parametrize("numbers", [False, True])
async def test_a_job_that_is_named_after_the_api_key(
    raw_server: Start, client_of: Make, api_key: str, body: str, numbers: bool
) -> None:
    """X8: a jid or a status that holds the API key is no answer of Elevate's, and is not kept; no
    more is it one to a question for the status."""
    spelled = "".join(f"\\u{ord(char):04x}" for char in api_key) if numbers else ""
    said = body.replace("KEY", spelled or json.dumps(api_key)[1:-1]).encode()
    server = await raw_server(http(200, said))
    client = client_of(server.origin)
    for came in (await client.create_removal_job("key"), await client.job_status("job-1")):
        assert came == Answer(200, b"", False)
        assert classify(came).error == "bad_answer"


async def test_an_api_key_that_breaks_off(raw_server: Start, client_of: Make, api_key: str) -> None:
    """X8: a body that ends within the API key leaves nothing of it."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(http(400, b"you said " + api_key[:9].encode(), length=99))

    server = await raw_server(script)
    came = await client_of(server.origin).create_removal_job("key")
    assert isinstance(came, Answer)
    assert came.body == b"you said ***"


# ── whatever comes ──────────────────────────────────────────────────────────────────────────────

PACKED = gzip.compress(JOB, mtime=0)
SAID = [
    http(),
    http() * 2,
    http(400),
    http(503, JOB, "Retry-After: 1"),
    http(200, PACKED, "Content-Encoding: gzip"),
    http(length=99),
    chunked(200, JOB),
    chunked(200, JOB) + b"0\r\n\r\n",
    HEAD_200,
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 ",
    b"100 Continue\r\n\r\n",
    b"Content-Length: 34\r\n",
    b"Content-Length: 99999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Type: \xff; charset=utf-7\r\n",
    b'Set-Cookie: =;\xff="; Expires=x; Max-Age=-\r\n',
    b"Location: http://[::1\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Retry-After: \xd9\xa3\r\n",
    b"Date: Mon, 99 Feb 0000 00:00:00 GMT\r\n",
    b"\r\n",
    JOB,
    b"22\r\n",
    b"\0",
]
ENDS = ["close", "reset", "keep"]


def saying(parts: list[tuple[bytes, str]]) -> Callable[[Any], Awaitable[None]]:
    """A script for all connections: what to say to each request, and how to end then.

    `keep` waits for another request, but not for a client that waits for more of this answer.
    """
    left = iter(parts)

    async def script(peer: Any) -> None:
        await peer.request()
        while True:
            data, end = next(left)
            await peer.say(data)
            if end != "keep":
                getattr(peer, end)()
                return
            request = asyncio.ensure_future(peer.request())
            for _ in range(4):
                await turns()
            if not request.done():
                request.cancel()
                return
            await request

    return script


@settings(max_examples=examples(150), deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(SAID) | st.binary(max_size=40), max_size=6).map(b"".join),
            st.sampled_from(ENDS),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_comes_is_a_value(raw_server_type: Any, said: list[tuple[bytes, str]]) -> None:
    """Whatever comes, a call sends at most one request, returns a value, takes no other's job."""
    said = [(data.replace(b"job-1", b"job-%d" % n), end) for n, (data, end) in enumerate(said)]

    async def calls() -> None:
        server = raw_server_type(saying(said))
        await server.start()
        target = Target.of_base_url(server.origin)
        async with (
            contextlib.aclosing(server),
            ElevateClient(target, ApiVersion.V4, "k", timeout=5, concurrency=1) as client,
        ):
            for number in range(len(said)):
                verdict = classify(await client.create_removal_job(f"key-{number}"))
                assert [key_of(head) for head in server.heads].count(b"key-%d" % number) <= 1
                assert verdict.jid.encode() in said[number][0] or PACKED in said[number][0]

    asyncio.run(calls())


async def test_a_thousand_failures_leave_nothing_open(
    raw_server: Start, client_of: Make, api_key: str
) -> None:
    """After 1,000 mixed failures no connection, file or warning is left over."""
    chance = random.Random(7)
    said = [(chance.choice(SAID), chance.choice(ENDS)) for _ in range(1000)]
    server = await raw_server(saying(said))
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        client = client_of(server.origin, concurrency=8)
        for first in range(0, 1000, 8):
            some = range(first, min(first + 8, 1000))
            await asyncio.gather(*(client.create_removal_job(f"key-{n}") for n in some))
        assert max(Counter(map(key_of, server.heads)).values()) == 1
        assert len(server.heads) > 900
        await client.__aexit__(None, None, None)
        for peer in server.peers:
            peer.drop()
        await turns()
        gc.collect()
        await turns()
        assert len(os.listdir("/dev/fd")) <= before
    assert [str(warning.message) for warning in warned] == []

"""A service that throttles, is loaded, breaks down, or is reached in another way."""

import asyncio
import socket
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web


@pytest.mark.parametrize("number", [150, pytest.param(500, marks=pytest.mark.soak)])
async def test_a_throttled_service_is_sent_to_more_slowly(
    desk: Any, service: Any, keys: list[str], number: int
):
    """S3: 429s without Retry-After cut the rate below the one asked for; every key is accepted."""
    throttled = []

    def answer(call: Any) -> int | None:
        recent = [c for c in service.calls[-60:] if call.at - c.at <= 0.1]
        if len(recent) <= 20 or len(throttled) >= 30:
            return None
        throttled.append(call)
        return 429

    service.answer = answer
    source = desk.csv(keys[:number])
    ended = await desk.run(source, service, "--rate", 0)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert throttled
    assert ended.json["counts"]["accepted"] == number
    assert len(throttled) <= 3 * 32


@pytest.mark.parametrize("number", [5, pytest.param(12, marks=pytest.mark.soak)])
async def test_a_service_that_allows_little_fails_no_key(
    desk: Any, service: Any, keys: list[str], number: int
):
    """S3: two requests a second, and 429 for all others, is slow, but no key is marked failed."""
    good: list[float] = []

    def answer(call: Any) -> int | None:
        if good and call.at - good[-1] < 0.5:
            return 429
        good.append(call.at)
        return None

    service.answer = answer
    source = desk.csv(keys[:number])
    ended = await desk.run(source, service, "--rate", 0, "--max-attempts", 2)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ended.json["counts"]["accepted"] == number


async def test_fewer_requests_at_a_time_while_the_service_is_loaded(
    desk: Any, service: Any, keys: list[str]
):
    """S8: while every other answer is 503 fewer are sent at a time, and no key fails for it."""
    most_late = 0

    async def answer(call: Any) -> int | None:
        nonlocal most_late
        await asyncio.sleep(0.02)  # the service takes its time, so that requests overlap
        if 200 < call.n <= 400:
            if call.n > 330:
                most_late = max(most_late, service.in_flight)
            return 503 if call.n % 2 else None
        return None

    service.answer = answer
    source = desk.csv(keys[:600])
    ended = await desk.run(source, service, "--rate", 0, "--concurrency", 32)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert service.most_in_flight == 32
    assert 0 < most_late <= 24


async def test_one_key_at_a_time_is_tried_while_it_is_down(
    desk: Any, service: Any, keys: list[str]
):
    """S5: after a round in flight the service sees single probes; when it is back, all go on."""
    down: list[int] = []

    async def answer(call: Any) -> int | None:
        await asyncio.sleep(0.01)
        if call.n <= 100 or down[-3:] == [1, 1, 1]:
            return None
        down.append(service.in_flight)
        return 500

    service.answer = answer
    source = desk.csv(keys[:400])
    ended = await desk.run(source, service, "--rate", 0, "--max-attempts", 2)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ledger.of("failed") == ledger.of("unknown") == []
    assert len(down) <= 2 * 32 + 3


async def test_a_service_that_resets_every_connection_when_it_is_used_again(
    desk: Any, keys: list[str]
):
    """N12: the request that met a dead connection goes on a new one: no key is `unknown`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        jid = b"jid-of-" + head.split(b" ", 2)[1].partition(b"=")[2]
        body = b'{"jid":"%s","status":"created"}' % jid
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        if await reader.read(1):
            linger = struct.pack("ii", 1, 0)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    source = desk.csv(keys[:400])
    options = ("--base-url", origin, "--yes", "--json", "--rate", 0)
    async with server:
        ended = await desk.call("run", source, *options)
    ledger = desk.reconcile(source, ended)
    assert ended.code == 0
    assert ledger.of("unknown") == ledger.of("failed") == []
    assert ended.json["retries"] > 50
    assert max(line["attempts"] for line in ledger.of("accepted")) == 2


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signs itself: its PEM file, and a server that shows it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "authority.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return certificate, tls


async def test_an_authority_of_your_own(
    desk: Any, api_key: str, keys: list[str], authority: tuple[Path, ssl.SSLContext]
):
    """N5, --ca-file: a certificate that this machine does not trust is 78 at once, and with the
    file of its authority the run goes through."""
    certificate, tls = authority
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.query["customerKey"])
        return web.json_response({"jid": f"job-{len(seen)}", "status": "created"})

    application = web.Application()
    application.router.add_post("/api/admin/v4/event-data/create-remove-customer-job", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    origin = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        source = desk.csv(keys[:20])
        command = ("run", source, "--base-url", origin, "--yes", "--json")
        ended = await desk.call(*command)
        assert (ended.code, seen) == (78, [])
        assert "--ca-file" in ended.json["error"]
        ended = await desk.call(*command, "--ca-file", certificate)
        assert ended.code == 0
        assert sorted(seen) == sorted(keys[:20])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--proxy", "http://me:secret@127.0.0.1:1"), 2, "HTTPS_PROXY"),
        (("--proxy", "socks5://127.0.0.1:1"), 78, "--proxy cannot be used"),
        (("--ca-file", "no-such-file.pem"), 78, "No such file"),
        (("--ca-file", "keys.csv"), 78, "contains no certificate"),
    ],
)
async def test_a_way_that_cannot_be_used_is_refused(
    desk: Any, service: Any, keys: list[str], options: tuple[str, ...], code: int, said: str
):
    """Nothing is sent, no ledger is begun, and a password is not repeated."""
    source = desk.csv(keys[:3])
    ended = await desk.run(source, service, *options)
    assert ended.code == code
    assert said in ended.json["error"]
    assert "secret" not in ended.out + ended.err
    assert service.calls == []
    assert desk.ledger_size() == 0

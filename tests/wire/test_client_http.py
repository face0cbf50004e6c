"""The client against servers that speak HTTP well: the simulator, redirects, cookies, proxies."""

import asyncio
import base64
import gzip
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import ApiVersion, loopback_target
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, classify
from bulk_eraser.errors import ConfigurationError, ExitCode
from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.simulator.server import Simulator

Start = Callable[..., Awaitable[Any]]
Make = Callable[..., ElevateClient]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[TestServer]]

GATEWAY = "https://gateway.example.com"
REDIRECTS = [301, 302, 303, 307, 308]


def job(request: web.Request) -> web.Response:
    """A job whose jid is the key that was asked for."""
    return web.json_response({"jid": request.query["customerKey"], "status": "created"})


def origin(server: TestServer) -> str:
    return str(server.make_url("")).rstrip("/")


# ── the simulator ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ApiVersion)
async def test_each_version_creates_a_job(
    version: ApiVersion, api_key: str, client_of: Make, tmp_path: Path
) -> None:
    """A key of any kind becomes a removal job in each version, and arrives as it was."""
    log = tmp_path / "requests.ndjson"
    keys = [
        "5b1f9d3e-0c6b-4a53-9b1f-2f6d1c7a9e00",
        "a+b #c&d%e/f?g=h",
        "é \N{GRINNING FACE}",
        "%2F",
    ]
    async with Simulator(api_key, versions=[version.value], log=log) as simulator:
        client = client_of(simulator.origin, version=version)
        came = [classify(await client.create_removal_job(key)) for key in keys]
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert [line["key"] for line in lines] == keys
    assert [verdict.jid for verdict in came] == [line["jid"] for line in lines]
    assert {(verdict.kind, verdict.status) for verdict in came} == {(Kind.ACCEPTED, "created")}


@pytest.mark.parametrize("version", ApiVersion)
async def test_a_version_that_is_gone(version: ApiVersion, api_key: str, client_of: Make) -> None:
    """A version that the service does not have stops the run, and no key is blamed for it."""
    others = {other.value for other in ApiVersion} - {version.value}
    async with Simulator(api_key, versions=others) as simulator:
        came = await client_of(simulator.origin, version=version).create_removal_job("key")
    verdict = classify(came, version)
    assert (verdict.kind, verdict.http_status) == (Kind.STOP, 404)
    assert verdict.stop is not None
    assert verdict.stop.exit_code is ExitCode.CONTRACT_BROKEN


async def test_a_wrong_api_key(client_of: Make) -> None:
    """A refused API key stops the run as refused credentials."""
    async with Simulator("another-key") as simulator:
        verdict = classify(await client_of(simulator.origin).create_removal_job("key"))
    assert (verdict.kind, verdict.http_status) == (Kind.STOP, 403)
    assert verdict.stop is not None
    assert verdict.stop.exit_code is ExitCode.CREDENTIALS


@pytest.mark.parametrize(
    ("fault", "kind", "error", "maybe_done"),
    [
        ("http_400", Kind.REFUSED, "http_400", False),
        ("http_403", Kind.STOP, "http_403", False),
        ("http_429", Kind.AGAIN, "http_429", False),
        ("http_500", Kind.AGAIN, "http_500", True),
        ("http_503", Kind.AGAIN, "http_503", True),
        ("drop_before", Kind.AGAIN, "connection_lost", True),
        ("drop_after", Kind.AGAIN, "connection_lost", True),
        ("cut_body", Kind.AGAIN, "bad_answer", True),
        ("wrong_json", Kind.AGAIN, "bad_answer", True),
        ("html", Kind.AGAIN, "bad_answer", True),
        ("redirect", Kind.STOP, "http_302", False),
        ("delay", Kind.AGAIN, "timeout", True),
    ],
)
async def test_each_fault_of_the_simulator(
    fault: str, kind: Kind, error: str, maybe_done: bool, api_key: str, client_of: Make
) -> None:
    """Each fault means what the contract says, and the request leaves once."""

    async def for_ever(_seconds: float) -> None:
        await asyncio.Event().wait()

    plan = FaultRates({fault: 1.0}, retry_after_s=7)
    async with Simulator(api_key, plan, sleep=for_ever) as simulator:
        client = client_of(simulator.origin, timeout=2.0 if fault == "delay" else 20.0)
        verdict = classify(await client.create_removal_job("key"))
        assert simulator.counts.requests == 1
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (kind, error, maybe_done)
    assert verdict.retry_after == (7.0 if fault in ("http_429", "http_503") else None)


# ── redirects (N6) and cookies ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same_host", "other_host"])
@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_is_not_followed(
    serve: Serve, client_of: Make, status: int, elsewhere: bool
) -> None:
    """A redirect stops the run, and nothing is sent to where it points."""
    seen: list[str] = []

    async def other(request: web.Request) -> web.Response:
        seen.append("other")
        return job(request)

    async def redirect(request: web.Request) -> web.Response:
        seen.append("first")
        place = origin(target) if elsewhere else ""
        return web.Response(status=status, headers={"Location": f"{place}{request.path_qs}"})

    target = await serve(other)
    first = await serve(redirect)
    verdict = classify(await client_of(origin(first)).create_removal_job("key"))
    assert (verdict.kind, verdict.http_status) == (Kind.STOP, status)
    assert verdict.stop is not None
    assert verdict.stop.exit_code is ExitCode.CONTRACT_BROKEN
    assert seen == ["first"]


async def test_cookies_are_not_kept(serve: Serve, client_of: Make) -> None:
    """A cookie that the service sets is not sent back, so that no worker is pinned to a node."""
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        answer = job(request)
        answer.set_cookie("node", "7")
        return answer

    client = client_of(origin(await serve(handler)))
    for key in ("one", "two"):
        assert classify(await client.create_removal_job(key)).kind is Kind.ACCEPTED
    assert cookies == [None, None]


# ── many at the same time, packed answers, Retry-After ──────────────────────────────────────────


async def test_answers_in_another_order_than_requests(serve: Serve, client_of: Make) -> None:
    """Each of many requests at the same time gets the answer to its own key."""
    number = 32
    waiting: list[asyncio.Event] = []
    all_there = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        mine = asyncio.Event()
        waiting.append(mine)
        if len(waiting) == number:
            all_there.set()
        await mine.wait()
        if waiting:
            waiting.pop().set()
        return job(request)

    client = client_of(origin(await serve(handler)), concurrency=number)
    for turn in ("a", "b", "c"):
        keys = [f"{turn}-{n}" for n in range(number)]
        calls = [asyncio.create_task(client.create_removal_job(key)) for key in keys]
        async with asyncio.timeout(10):
            await all_there.wait()
            all_there.clear()
            waiting.pop().set()
            assert [classify(came).jid for came in await asyncio.gather(*calls)] == keys


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "GZIP"])
async def test_a_packed_answer(serve: Serve, client_of: Make, coding: str) -> None:
    """An answer that is packed against our wish is understood."""
    asked: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Accept-Encoding"))
        body = b'{"jid":"job-1"}' if coding == "identity" else gzip.compress(b'{"jid":"job-1"}')
        return web.Response(body=body, headers={"Content-Encoding": coding})

    came = await client_of(origin(await serve(handler))).create_removal_job("key")
    assert classify(came).jid == "job-1"
    assert asked == ["identity"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "7")], 7.0),
        ([("Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT")], 9.0),
        ([("Retry-After", "7"), ("Retry-After", "7")], None),
        ([("Retry-After", "7"), ("retry-after", "8")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_retry_after(
    serve: Serve,
    client_of: Make,
    status: int,
    headers: list[tuple[str, str]],
    seconds: float | None,
) -> None:
    """Retry-After is read from every answer that calls for another try; a date by the answer's own
    clock."""

    async def handler(request: web.Request) -> web.Response:
        answer = web.Response(status=status)
        for name, value in [("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), *headers]:
            answer.headers.add(name, value)
        return answer

    verdict = classify(await client_of(origin(await serve(handler))).create_removal_job("key"))
    assert (verdict.kind, verdict.retry_after) == (Kind.AGAIN, seconds)


async def test_a_base_url_with_a_path(serve: Serve, client_of: Make) -> None:
    """The path of a base URL stays in front of the API's own."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return job(request)

    client = client_of(f"{origin(await serve(handler))}/tenant/7/")
    await client.create_removal_job("key")
    assert paths == ["/tenant/7/api/admin/v4/event-data/create-remove-customer-job"]


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def forwarding_to(port: int) -> Callable[[Any], Awaitable[None]]:
    """A script of a proxy that lets every CONNECT through to this port."""

    async def script(peer: Any) -> None:
        await peer.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.say(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def there() -> None:
            while data := await peer.read():
                writer.write(data)
            writer.close()

        async def back() -> None:
            while data := await reader.read(1 << 16):
                await peer.say(data)
            peer.close()

        try:
            await asyncio.gather(there(), back())
        finally:
            writer.close()

    return script


async def test_a_proxy_sees_no_secret(
    raw_server: Start,
    client_of: Make,
    trusted: Any,
    api_key: str,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Through a proxy goes a tunnel that it cannot look into, and no password from ~/.netrc."""
    (tmp_path / ".netrc").write_text("default login someone password from-netrc\n")
    environment.setenv("HOME", str(tmp_path))
    body = b'{"jid":"job-1"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    service = await raw_server(answer, tls=trusted.issue("gateway.example.com"))
    proxy = await raw_server(forwarding_to(service.port))
    environment.setenv("HTTPS_PROXY", f"http://us%40er:pass@127.0.0.1:{proxy.port}")
    client = client_of(GATEWAY)
    for key in ("customer-1", "customer-2"):
        assert classify(await client.create_removal_job(key)).jid == "job-1"
    (connect,) = proxy.heads
    assert connect.startswith(b"CONNECT gateway.example.com:443 HTTP/1.1\r\n")
    assert base64.b64encode(b"us@er:pass") in connect
    assert b"Api-Key" not in connect
    assert b"customer-1" not in connect
    assert len(service.heads) == 2
    for head in service.heads:
        assert head.count(api_key.encode()) == 1
        assert b"Authorization" not in head


@pytest.mark.parametrize("named", ["http://{}", "{}", "HTTP://{}/"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
async def test_how_a_proxy_may_be_named(
    raw_server: Start,
    client_of: Make,
    environment: pytest.MonkeyPatch,
    variable: str,
    named: str,
) -> None:
    """A proxy is found in either spelling of the variable, with and without its scheme."""
    proxy = await raw_server(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    environment.setenv(variable, named.format(f"127.0.0.1:{proxy.port}"))
    came = await client_of(GATEWAY).create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)
    assert len(proxy.heads) == 1


@pytest.mark.parametrize(("status", "password"), [(401, True), (403, False), (407, True)])
async def test_a_proxy_that_refuses(
    raw_server: Start,
    client_of: Make,
    environment: pytest.MonkeyPatch,
    status: int,
    password: bool,
) -> None:
    """N13: 401, 403 and 407 of a proxy stop the run; it is named, and its password is not."""
    proxy = await raw_server(b"HTTP/1.1 %d Who\r\nContent-Length: 0\r\n\r\n" % status)
    environment.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.port}")
    verdict = classify(await client_of(GATEWAY).create_removal_job("key"))
    assert (verdict.kind, verdict.maybe_done) == (Kind.STOP, False)
    assert verdict.stop is not None
    assert verdict.stop.exit_code is ExitCode.CONTRACT_BROKEN
    assert f"The proxy 127.0.0.1:{proxy.port} " in str(verdict.stop)
    assert f"HTTP {status}" in str(verdict.stop)
    assert ("HTTPS_PROXY" in str(verdict.stop)) == password
    assert "hunter2" not in str(verdict.stop)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 4000 Bad\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 Connected\r\nX",
        b"HTTP/1.1 200 Connected\r\n\r\nno TLS",
        b"",
    ],
)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_proxy_that_speaks_no_http(
    raw_server: Start, client_of: Make, environment: pytest.MonkeyPatch, said: bytes, end: str
) -> None:
    """N13: whatever comes in the place of a tunnel, nothing was carried out."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.say(said)
        getattr(peer, end)()

    proxy = await raw_server(script)
    environment.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
    came = await client_of(GATEWAY).create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)
    assert classify(came).connecting


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_a_proxy_that_lets_nothing_through(
    raw_server: Start, client_of: Make, environment: pytest.MonkeyPatch, status: int
) -> None:
    """What a proxy answers is not taken for what the service says of a key or of the API key."""
    proxy = await raw_server(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
    environment.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")
    came = await client_of(GATEWAY).create_removal_job("key")
    assert came == NetworkFault("cannot_connect", maybe_done=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_for_loopback(
    raw_server: Start,
    serve: Serve,
    client_of: Make,
    environment: pytest.MonkeyPatch,
    host: str,
) -> None:
    """What goes to this computer does not go through a proxy."""

    async def handler(request: web.Request) -> web.Response:
        return job(request)

    proxy = await raw_server(b"HTTP/1.1 502 Bad\r\n\r\n")
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        environment.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    server = await serve(handler)
    came = await client_of(f"http://{host}:{server.port}").create_removal_job("key")
    assert isinstance(came, Answer)
    assert proxy.heads == []


async def test_no_proxy_where_the_environment_says_so(
    raw_server: Start, client_of: Make, environment: pytest.MonkeyPatch, trusted: Any
) -> None:
    """A host that NO_PROXY names is reached directly."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    environment.setattr(socket, "getaddrinfo", getaddrinfo)
    proxy = await raw_server(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")
    answer = b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"
    service = await raw_server(answer, tls=trusted.issue("gateway.example.com"))
    environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    environment.setenv("NO_PROXY", "example.org,gateway.example.com")
    came = await client_of(f"{GATEWAY}:{service.port}").create_removal_job("key")
    assert classify(came).kind is Kind.REFUSED
    assert (len(service.heads), len(proxy.heads)) == (1, 0)


@pytest.mark.parametrize(
    "named",
    [
        "socks5://127.0.0.1:1080",
        "https://127.0.0.1:3128",
        "http://",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://[::1]@",
        "http://us er:secret@a..b:3128",
        "http://127.1:3128",
    ],
)
async def test_a_proxy_that_cannot_be_used(
    named: str, client_of: Make, environment: pytest.MonkeyPatch
) -> None:
    """A proxy that cannot be used is a configuration error, and its password is not repeated."""
    environment.setenv("HTTPS_PROXY", named)
    with pytest.raises(ConfigurationError) as refused:
        client_of(GATEWAY)
    assert "HTTPS_PROXY" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_the_embedded_simulator_needs_no_proxy(environment: pytest.MonkeyPatch) -> None:
    """A rehearsal's target is this computer, whatever proxy is named."""
    environment.setenv("HTTP_PROXY", "socks5://nowhere.example.com")
    async with Simulator("k") as simulator:
        target = loopback_target(simulator.origin, "rehearsal")
        async with ElevateClient(target, ApiVersion.V4, "k", timeout=5, concurrency=1) as client:
            assert classify(await client.create_removal_job("key")).kind is Kind.ACCEPTED

"""Signals: the first drains, the second ends at once, and a stopped process goes on."""

import asyncio
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
async def test_a_signal_under_load_drains(
    desk: Any, service: Any, keys: list[str], signum: int, code: int
):
    """Under load the first signal lets nothing further leave, waits for what is in flight, and
    books it; the same command then finishes."""
    gate = asyncio.Event()

    async def answer(call: Any) -> None:
        if call.n > 200:
            await gate.wait()

    service.answer = answer
    source = desk.csv(keys[:600])
    running = await desk.start_run(source, service, "--concurrency", 16)
    await service.saw(216)
    running.signal(signum)
    await desk.until(lambda: _heard(running, signum))
    gate.set()
    ended = await running.ended()
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (code, "interrupted")
    assert len(service.calls) == 216
    assert ended.json["counts"]["accepted"] == 216
    assert ended.json["counts"]["not_reached"] == 384
    assert ledger.of("unknown") == ledger.of("failed") == []
    assert "run keys.csv" in ended.err.replace(str(desk.folder) + "/", "")
    service.answer = lambda call: None
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert max(service.per_key.values()) == 1


async def test_a_service_that_never_answers_is_not_waited_for(
    desk: Any, service: Any, keys: list[str]
):
    """What is in flight is given up within 6 s of the first signal; those keys are `unknown`, the
    others keep `sent`."""
    never = asyncio.Event()
    service.answer = lambda call: never.wait()

    async def interrupted(source: Any, signum: int, code: int) -> None:
        running = await desk.start_run(source, service, "--concurrency", 8)
        mine = {key for _, key in source.rows}
        await desk.until(lambda: len(mine & set(service.per_key)) == 8)
        began = time.monotonic()
        running.signal(signum)
        ended = await running.ended()
        assert 4 < time.monotonic() - began < 9
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert (ended.code, ended.json["outcome"]) == (code, "interrupted")
        assert ended.json["counts"]["unknown"] == 8
        assert ended.json["counts"]["not_reached"] == 292
        assert {line["error"] for line in ledger.of("unknown")} == {"interrupted"}
        assert {line["key"] for line in ledger.of("unknown")} == mine & set(service.per_key)

    await asyncio.gather(
        interrupted(desk.csv(keys[:300]), signal.SIGINT, 130),
        interrupted(desk.csv(keys[300:600], "second.csv"), signal.SIGTERM, 143),
    )


def _connecting_to(port: int) -> int:
    """How many connections to this port of 127.0.0.1 are not yet taken (Linux)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    peers = [line.split()[2:4] for line in lines]
    return peers.count([f"0100007F:{port:04X}", "02"])


LOOK_UP_THAT_HANGS = """
import runpy, socket, time
def getaddrinfo(*_, **__):
    open("asked", "w").close()
    time.sleep(60)
socket.getaddrinfo = getaddrinfo
sys.argv = ["bulk-eraser", *sys.argv[4:]]
runpy.run_module("bulk_eraser", run_name="__main__")
"""


@pytest.mark.parametrize("hangs", ["name", "tcp", "tls"])
async def test_what_still_connects_is_not_waited_for(desk: Any, keys: list[str], hangs: str):
    """N14: a name server, a full backlog or a TLS handshake that hangs is left soon after the first
    signal; nothing was sent, so no key is `unknown`, and the ledger says so."""
    source = desk.csv(keys[:100])
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        for _ in range(8 if hangs == "tcp" else 0):
            connection = opened.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(server.getsockname())
        connecting = _connecting_to(port)
        url = {
            "name": "https://name.example.com",
            "tcp": f"http://127.0.0.1:{port}",
            "tls": f"https://127.0.0.1:{port}",
        }[hangs]
        options = ("--base-url", url, "--yes", "--json", "--concurrency", 8)
        before = LOOK_UP_THAT_HANGS if hangs == "name" else ""
        running = await desk.start("run", source, *options, before=before)
        if hangs == "name":
            await desk.until((desk.folder / "asked").exists)
        elif hangs == "tcp":
            await desk.until(lambda: _connecting_to(port) == connecting + 8)
        else:
            server.setblocking(False)
            taken, _ = await asyncio.get_running_loop().sock_accept(server)
            opened.enter_context(taken)
        began = time.monotonic()
        running.signal(signal.SIGINT)
        ended = await running.ended()
        assert time.monotonic() - began < 4.5  # 5 s is what it gives to what has left
    ledger = desk.reconcile(source, ended)
    assert (ended.code, ended.json["outcome"]) == (130, "interrupted")
    assert ended.json["counts"]["not_reached"] == 100
    assert ended.json["requests"] == 0
    assert ledger.of("sent")
    assert ledger.of("unknown") == []
    assert ledger.sent().total() == 0


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGINT, signal.SIGTERM, 130), (signal.SIGTERM, signal.SIGINT, 143)],
    ids=["INT-TERM", "TERM-INT"],
)
async def test_a_second_signal_ends_at_once(
    desk: Any, service: Any, keys: list[str], first: int, second: int, code: int
):
    """The second signal gives up what is in flight; the exit code is the first one's."""
    never = asyncio.Event()
    service.answer = lambda call: never.wait()
    source = desk.csv(keys[:300])
    running = await desk.start_run(source, service, "--concurrency", 8)
    await service.saw(8)
    running.signal(first)
    await desk.until(lambda: _heard(running, first))
    began = time.monotonic()
    running.signal(second)
    ended = await running.ended()
    assert time.monotonic() - began < 4  # 5 s after one signal alone
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (code, "interrupted")
    assert ended.json["counts"]["unknown"] == 8


async def test_while_it_drains_it_says_what_ctrl_c_does(desk: Any, service: Any, keys: list[str]):
    """Without a live display, too, a drain is announced at once; a second Ctrl-C ends it."""
    never = asyncio.Event()
    service.answer = lambda call: never.wait()
    arguments = ("--base-url", service.origin, "--yes", "--concurrency", 3, "--rate", 0)
    running = await desk.start("run", desk.csv(keys[:9]), *arguments)
    await service.saw(3)
    running.signal(signal.SIGINT)
    told = b"nothing"
    while told and b"topping" not in told:
        told = await asyncio.wait_for(running.process.stderr.readline(), 20)
    assert told == b"Stopping: waiting for 3 requests in flight; Ctrl-C again stops now\n"
    running.signal(signal.SIGINT)
    assert (await running.ended()).code == 130


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("storms", [1, pytest.param(10, marks=pytest.mark.soak)])
async def test_a_storm_of_signals_spoils_nothing(
    desk: Any, service: Any, keys: list[str], signum: int, code: int, storms: int
):
    """However often the signal comes, until the very end of the process, ledger, exit code and
    the one JSON object are right and no traceback is printed."""
    source = desk.csv(keys[:3000])
    for number in range(storms):
        running = await desk.start_run(
            source, service, "--ledger", f"{number}.ledger.ndjson", forked=False
        )
        await desk.until(lambda name=f"{number}.ledger.ndjson": desk.ledger_size(name) > 60_000)
        while running.process.returncode is None:
            running.signal(signum)
            await asyncio.sleep(0.001)
        ended = await running.ended()
        assert (ended.code, ended.json["outcome"]) == (code, "interrupted")
        desk.reconcile(source, ended, name=f"{number}.ledger.ndjson")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
async def test_a_signal_before_anything_is_sent(desk: Any, service: Any, signum: int, code: int):
    """While the input is still being read, a signal ends the command without ledger or request."""
    running = await desk.start_run(
        "-",
        service,
        *("--format", "csv", "--ledger", "keys.ledger.ndjson"),
        stdin=asyncio.subprocess.PIPE,
    )
    pipe = running.process.stdin
    pipe.write(b"customerKey\n" + b"key\n" * 100_000)  # more than a pipe holds
    await desk.until(lambda: pipe.transport.get_write_buffer_size() == 0)
    running.signal(signum)
    ended = await running.ended()
    assert (ended.code, ended.json["outcome"]) == (code, "interrupted")
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_nohup_is_meant(desk: Any, service: Any, keys: list[str]):
    """A command that was started with SIGHUP ignored does not stop for it."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n == 30 else None
    source = desk.csv(keys[:60])
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    running = await desk.start_run(source, service, "--concurrency", 1, before=ignore)
    await service.saw(30)
    running.signal(signal.SIGHUP)
    gate.set()
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_a_signal_ends_a_wait(desk: Any, service: Any, keys: list[str]):
    """A signal during a long Retry-After, or during the wait for a repeat, ends the run soon."""
    from aiohttp import web

    service.answer = lambda call: web.Response(status=503, headers={"Retry-After": "200"})
    source = desk.csv(keys[:50])
    running = await desk.start_run(source, service, "--concurrency", 4)
    await service.saw(4)
    began = time.monotonic()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    assert time.monotonic() - began < 20
    desk.reconcile(source, ended, service)
    assert ended.code == 130


async def test_a_stopped_process_goes_on(desk: Any, service: Any, keys: list[str]):
    """SIGSTOP and SIGCONT in the middle lose nothing, and the time in between is no outage, even
    if it was longer than --timeout and --max-outage."""
    hold = asyncio.Event()

    async def answer(call: Any) -> int | None:
        if call.key == keys[100]:
            return 500
        if call.n > 100:
            await hold.wait()
        return None

    service.answer = answer
    source = desk.csv(keys[:300])
    options = ("--concurrency", 8, "--timeout", 1, "--max-outage", 2, "--max-attempts", 3)
    running = await desk.start_run(source, service, *options)
    await service.saw(109)
    running.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    await desk.until(lambda: time.monotonic() - stopped > 2.5)
    hold.set()
    running.signal(signal.SIGCONT)
    ended = await running.ended()
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    assert [line["key"] for line in ledger.of("unknown")] == [keys[100]]


async def test_killed_during_the_drain(desk: Any, service: Any, keys: list[str]):
    """SIGKILL while the drain waits leaves a valid prefix, from which the next run finishes."""
    never = asyncio.Event()

    async def answer(call: Any) -> None:
        if call.n > 100:
            await never.wait()

    service.answer = answer
    source = desk.csv(keys[:300])
    running = await desk.start_run(source, service, "--concurrency", 8, forked=False)
    await service.saw(108)
    running.signal(signal.SIGTERM)
    await desk.until(lambda: _heard(running, signal.SIGTERM))
    running.signal(signal.SIGKILL)
    ended = await running.ended()
    assert (ended.code, ended.out) == (-signal.SIGKILL, "")
    before = desk.ledger()
    service.answer = lambda call: None
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ended.json["counts"]["already_settled"] == len(before.of("accepted")) > 50


def _status(pid: int, field: str) -> str:
    with open(f"/proc/{pid}/status") as status:
        return next(line.split()[1] for line in status if line.startswith(f"{field}:"))


def _heard(running: Any, signum: int) -> bool:
    """Is the signal no longer waiting to be delivered, and the process asleep again?"""
    bit = 1 << (signum - 1)
    pending = int(_status(running.pid, "ShdPnd"), 16) | int(_status(running.pid, "SigPnd"), 16)
    return not pending & bit and _status(running.pid, "State") == "S"

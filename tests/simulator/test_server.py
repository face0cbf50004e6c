"""The simulator as a client sees it, over real loopback sockets."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from bulk_eraser.simulator.faults import FAULTS, FaultRates
from bulk_eraser.simulator.server import Simulator

KEY = "5b1f9d3e-0c6b-4a53-9b1f-2f6d1c7a9e00"
SECRET = "simulated-key"
BASES = ("/api/v2", "/api/admin/v3", "/api/admin/v4")
NOT_OF_A_REQUEST = {
    *("job_error", "job_lost", "job_late", "no_data", "came_back"),
    *(name for name in FAULTS if name.startswith("result_")),
}
"""Faults that the creation of a job does not meet."""
CREATE = "/api/admin/v4/event-data/create-remove-customer-job"
STATUS = "/api/admin/v4/event-data/job-status"

HOSTILE = [
    "a+b",
    "a b",
    "a#b",
    "a&jid=b",
    "a%b",
    "a%2Fb",
    "a%252Fb",
    "a/b",
    "a?b",
    "a=b",
    "a;b",
    "a\\b",
    'a"b',
    "é",
    "e\u0301",
    "😀",
    "\u2028",
    " ",
    "+",
    "null",
]


@asynccontextmanager
async def running(
    faults: dict[str, float] | None = None, **options: Any
) -> AsyncIterator[tuple[Simulator, aiohttp.ClientSession]]:
    """A simulator with these faults, and a session that sends the right API key to it."""
    plan = FaultRates(faults or {}, options.pop("retry_after_s", None))
    async with (
        Simulator(SECRET, plan, **options) as simulator,
        aiohttp.ClientSession(
            simulator.origin, headers={"Api-Key": SECRET}, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
    ):
        yield simulator, session


async def create(session: aiohttp.ClientSession, key: str = KEY) -> tuple[int, bytes]:
    """Ask for a removal job; the status and body of the answer."""
    async with session.post(CREATE, params={"customerKey": key}, allow_redirects=False) as answer:
        return answer.status, await answer.read()


def lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a request log."""
    return [json.loads(line) for line in log.read_bytes().splitlines()]


@pytest.mark.parametrize("base", BASES)
async def test_a_job_is_created_and_asked_for(base: str) -> None:
    """Each version creates a job for a key and tells its status."""
    async with running() as (simulator, session):
        path = f"{base}/event-data/"
        async with session.post(
            path + "create-remove-customer-job", params={"customerKey": KEY}
        ) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            job = await answer.json()
        assert job == {"jid": job["jid"], "status": "created"}
        async with session.get(path + "job-status", params={"jid": job["jid"]}) as answer:
            assert (answer.status, await answer.json()) == (200, job)
        assert (simulator.counts.requests, simulator.counts.jobs) == (2, 1)


async def test_a_version_can_be_taken_away() -> None:
    """A version that is not served answers 404, the others go on."""
    async with running(versions=["v4"]) as (_, session):
        for base, expected in zip(BASES, (404, 404, 200), strict=True):
            path = f"{base}/event-data/create-remove-customer-job"
            async with session.post(path, params={"customerKey": KEY}) as answer:
                assert answer.status == expected


@pytest.mark.parametrize("presented", [None, "", "Simulated-key", "simulated-key2", "schlüssel"])
async def test_another_api_key_is_refused(presented: str | None) -> None:
    """Without the right Api-Key every call is 403 and no job is made."""
    headers = {} if presented is None else {"Api-Key": presented}
    async with Simulator(SECRET) as simulator, aiohttp.ClientSession(headers=headers) as session:
        for method, path in (("POST", CREATE), ("GET", STATUS)):
            url = f"{simulator.origin}{path}?customerKey=k&jid=j"
            async with session.request(method, url) as answer:
                assert answer.status == 403
                assert "credentials" in (await answer.json())["message"]
        assert simulator.counts.jobs == 0


@pytest.mark.parametrize("key", HOSTILE)
async def test_a_hostile_key_arrives_as_it_was(key: str, tmp_path: Path) -> None:
    """The key is decoded exactly once, however the client encoded what it may leave alone."""
    log = tmp_path / "log"
    async with running(log=log) as (simulator, session):
        assert (await create(session, key))[0] == 200
        head = f"POST {CREATE}?customerKey={quote(key, safe='')} HTTP/1.1\r\nHost: x\r\n"
        answer = await raw(simulator, f"{head}Api-Key: {SECRET}\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [line["key"] for line in lines(log)] == [key, key]


async def raw(simulator: Simulator, request: str) -> bytes:
    """Everything that comes back on one connection for these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_plus_in_the_query_is_a_space(tmp_path: Path) -> None:
    """The query is read as application/x-www-form-urlencoded."""
    log = tmp_path / "log"
    async with running(log=log) as (simulator, _):
        head = f"POST {CREATE}?customerKey=a+b%2Bc HTTP/1.1\r\nHost: x\r\n"
        await raw(simulator, f"{head}Api-Key: {SECRET}\r\nConnection: close\r\n\r\n")
    assert lines(log)[0]["key"] == "a b+c"


async def test_bytes_that_are_no_text_are_refused() -> None:
    """A query that is not UTF-8 once decoded makes no job."""
    async with running() as (simulator, _):
        for octets in ("%FF", "%ED%A0%80"):
            head = f"POST {CREATE}?customerKey={octets} HTTP/1.1\r\nHost: x\r\n"
            answer = await raw(simulator, f"{head}Api-Key: {SECRET}\r\nConnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert simulator.counts.jobs == 0


async def test_what_is_no_http_is_refused_in_silence(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage gets a 400, and nothing is printed."""
    async with running() as (simulator, _):
        assert b" 400 " in await raw(simulator, "HELLO\r\n\r\n")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("method", "path", "missing"),
    [
        ("POST", CREATE, "customerKey"),
        ("POST", f"{CREATE}?customerKey=", "customerKey"),
        ("POST", f"{CREATE}?customerkey=k", "customerKey"),
        ("POST", f"{CREATE}?CUSTOMERKEY=k", "customerKey"),
        ("POST", f"{CREATE}?jid=k", "customerKey"),
        ("GET", STATUS, "jid"),
        ("GET", f"{STATUS}?jid=", "jid"),
        ("GET", f"{STATUS}?JID=j", "jid"),
    ],
)
async def test_a_missing_parameter_is_named(method: str, path: str, missing: str) -> None:
    """Without its parameter, whose case matters, a call is 400 and says what is missing."""
    async with running() as (simulator, session):
        async with session.request(method, path) as answer:
            assert answer.status == 400
            assert f"'{missing}'" in (await answer.json())["message"]
        assert simulator.counts.jobs == 0


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"{CREATE}?customerKey=k", 405),
        ("POST", f"{STATUS}?jid=j", 405),
        ("PUT", f"{CREATE}?customerKey=k", 405),
        ("POST", "/", 404),
        ("POST", "/api/admin/v5/event-data/create-remove-customer-job?customerKey=k", 404),
        ("POST", "/api/admin/v4/event-data/export-customer-job-result?jid=j", 405),
        ("GET", "/api/admin/v4/event-data/create-export-customer-job?customerKey=k", 405),
        ("GET", "/api/admin/v4/event-data/export-customer-job-result?jid=j", 404),
    ],
)
async def test_other_calls_are_refused(method: str, path: str, expected: int) -> None:
    """A wrong method is 405 and a path that is not served 404; neither makes a job."""
    async with running() as (simulator, session):
        async with session.request(method, path) as answer:
            assert answer.status == expected
            assert ("Allow" in answer.headers) == (expected == 405)
        assert simulator.counts.jobs == 0


async def test_an_unknown_jid_is_not_found() -> None:
    """job-status answers 200 with `not_found`, and the jid as it was asked for."""
    jid = 'so"?'
    async with running() as (_, session), session.get(STATUS, params={"jid": jid}) as answer:
        assert answer.status == 200
        assert await answer.json() == {"jid": jid, "status": "not_found"}


async def test_a_job_moves_on_with_the_clock() -> None:
    """created, waiting, running, done, as the injected clock says."""
    now = 1000.0
    async with running(clock=lambda: now, day_s=10.0) as (_, session):
        jid = json.loads((await create(session))[1])["jid"]
        seen = []
        for moment in (1000.0, 1001.1, 1050.1, 1060.1):
            now = moment
            async with session.get(STATUS, params={"jid": jid}) as answer:
                seen.append((await answer.json())["status"])
        assert seen == ["created", "waiting", "running", "done"]


@pytest.mark.parametrize(
    ("fault", "expected"), [("http_400", 400), ("http_403", 403), ("http_500", 500)]
)
async def test_a_fault_with_a_status(fault: str, expected: int) -> None:
    """The plain faults answer their code with a JSON message, make no job, and are counted."""
    async with running({fault: 1.0}) as (simulator, session):
        status, body = await create(session)
        assert status == expected
        assert json.loads(body)["message"]
        assert simulator.counts.jobs == 0
        assert simulator.counts.faults == {fault: 1}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [None, 0, 7])
async def test_retry_after_goes_with_429_and_503(status: int, seconds: int | None) -> None:
    """Retry-After is sent exactly when it is set."""
    async with (
        running({f"http_{status}": 1.0}, retry_after_s=seconds) as (_, session),
        session.post(CREATE, params={"customerKey": KEY}) as answer,
    ):
        assert answer.status == status
        assert answer.headers.get("Retry-After") == (None if seconds is None else str(seconds))


@pytest.mark.parametrize(("fault", "jobs"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_connection_dropped_without_an_answer(
    fault: str, jobs: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client sees a disconnect; the job is made or not; nothing is printed."""
    async with running({fault: 1.0}) as (simulator, session):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await create(session)
        assert simulator.counts.jobs == jobs
    assert capfd.readouterr() == ("", "")


async def test_a_body_that_is_cut() -> None:
    """Status 200 comes, then the body ends early; the job is made."""
    async with running({"cut_body": 1.0}) as (simulator, session):
        async with session.post(CREATE, params={"customerKey": KEY}) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        assert simulator.counts.jobs == 1


async def test_an_answer_without_a_jid() -> None:
    """wrong_json is a 200 in JSON without a jid, though the job is made."""
    async with running({"wrong_json": 1.0}) as (simulator, session):
        status, body = await create(session)
        assert (status, json.loads(body)) == (200, {"status": "created"})
        assert simulator.counts.jobs == 1


async def test_a_page_instead_of_an_answer() -> None:
    """html is a 200 with a web page, and no job."""
    async with running({"html": 1.0}) as (simulator, session):
        async with session.post(CREATE, params={"customerKey": KEY}) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert (await answer.read()).startswith(b"<!doctype html>")
        assert simulator.counts.jobs == 0


async def test_a_redirect() -> None:
    """redirect is a 302 to a path that is not there, and no job."""
    async with running({"redirect": 1.0}) as (simulator, session):
        async with session.post(
            CREATE, params={"customerKey": KEY}, allow_redirects=False
        ) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "/moved")
        assert simulator.counts.jobs == 0


async def test_an_answer_that_is_held_back(tmp_path: Path) -> None:
    """The job is made and logged at once, the usual answer comes after the delay."""
    log, asked, let_go = tmp_path / "log", asyncio.Queue[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.put_nowait(seconds)
        await let_go.wait()

    async with running({"delay": 1.0}, sleep=sleep, log=log) as (simulator, session):
        answer = asyncio.create_task(create(session))
        assert await asked.get() == 2.0
        assert (simulator.counts.jobs, len(lines(log))) == (1, 1)
        assert not answer.done()
        let_go.set()
        status, body = await answer
        assert (status, json.loads(body)["jid"]) == (200, lines(log)[0]["jid"])


async def test_stop_does_not_wait_for_answers_that_are_held_back() -> None:
    """Stopping drops them: the client sees a disconnect."""
    asked, never = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.set()
        await never.wait()

    async with running({"delay": 1.0}, sleep=sleep) as (simulator, session):
        answer = asyncio.create_task(create(session))
        await asked.wait()
        await simulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await answer


async def test_faults_meet_job_status_as_well() -> None:
    """All faults but http_400 happen to job-status too, and it makes no job."""
    for fault, expected in (("http_400", 200), ("http_500", 500), ("wrong_json", 200)):
        async with running({fault: 1.0}) as (simulator, session):
            async with session.get(STATUS, params={"jid": "j"}) as answer:
                assert answer.status == expected
            assert simulator.counts.jobs == 0


async def test_the_same_seed_repeats_the_faults() -> None:
    """Two simulators with one plan treat the same requests alike."""

    async def answers() -> list[int]:
        async with running({"http_500": 0.3, "http_400": 0.3}) as (_, session):
            return [(await create(session, f"key {n}"))[0] for n in range(40)]

    first = await answers()
    assert first == await answers()
    assert set(first) == {200, 400, 500}


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_the_log_has_the_line_before_the_answer(fault: str | None, tmp_path: Path) -> None:
    """As soon as a client sees an answer, or its end, the line is in the file."""

    async def sleep(seconds: float) -> None:
        return None

    log = tmp_path / "log"
    rates = {} if fault is None else {fault: 1.0}
    async with running(rates, log=log, sleep=sleep) as (simulator, session):
        try:
            async with session.post(
                CREATE, params={"customerKey": KEY}, allow_redirects=False
            ) as answer:
                status: int | None = answer.status
        except aiohttp.ServerDisconnectedError:
            status = None
        [line] = lines(log)
        job_made = simulator.counts.jobs == 1
    assert line.pop("at").endswith("Z")
    assert (line.pop("jid") is not None) == job_made
    assert line == {
        "n": 1,
        "method": "POST",
        "path": CREATE,
        "key": KEY,
        "fault": None if fault in NOT_OF_A_REQUEST else fault,
        "http_status": status,
    }


async def test_the_log_has_every_request(tmp_path: Path) -> None:
    """Refused calls and job-status have their lines as well, without the query in the path."""
    log = tmp_path / "log"
    async with running(log=log, versions=["v4"]) as (_, session):
        for method, path in (
            ("GET", f"{STATUS}?jid=j"),
            ("POST", "/api/v2/event-data/create-remove-customer-job?customerKey=k"),
            ("DELETE", f"{CREATE}?customerKey=k"),
            ("POST", CREATE),
        ):
            async with session.request(method, path):
                pass
    seen = [(line["n"], line["key"], line["jid"], line["http_status"]) for line in lines(log)]
    assert seen == [
        (1, None, "j", 200),
        (2, "k", None, 404),
        (3, "k", None, 405),
        (4, None, None, 400),
    ]
    assert "?" not in "".join(line["path"] for line in lines(log))


async def test_the_log_is_private_and_only_grows(tmp_path: Path) -> None:
    """A new log has mode 0600 in spite of the umask, and the next start appends to it."""
    log = tmp_path / "log"
    before = os.umask(0)
    try:
        for _ in range(2):
            async with running(log=log) as (_, session):
                await create(session)
    finally:
        os.umask(before)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert [line["n"] for line in lines(log)] == [1, 1]


async def test_a_log_that_cannot_be_written_ends_the_service(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No answer leaves without its line: the client is dropped and `ended` is set."""
    async with running(log="/dev/full") as (simulator, session):
        for _ in range(2):
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await create(session)
        assert simulator.ended.is_set()
        assert isinstance(simulator.log_error, OSError)
    assert capfd.readouterr() == ("", "")


async def test_connections_are_kept_or_closed_as_the_client_asks() -> None:
    """Two requests share a connection, unless the client says close."""
    async with running() as (simulator, _):
        head = f"POST {CREATE}?customerKey=k HTTP/1.1\r\nHost: x\r\nApi-Key: {SECRET}\r\n"
        answer = await raw(simulator, f"{head}\r\n{head}Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2


async def test_only_loopback_is_served() -> None:
    """An address that other machines could reach is refused."""
    for host in ("0.0.0.0", "192.0.2.1", "localhost"):
        with pytest.raises(ValueError):
            await Simulator(SECRET).start(host)


async def test_a_port_in_use_is_an_error() -> None:
    """A second simulator on the same port raises OSError and leaves nothing open."""
    async with Simulator(SECRET) as simulator:
        second = Simulator(SECRET)
        with pytest.raises(OSError, match="address already in use"):
            await second.start(port=simulator.port)
        with pytest.raises(RuntimeError, match="not running"):
            _ = second.port


async def test_stop_may_be_repeated() -> None:
    """Stopping twice, or without a start, does nothing."""
    simulator = Simulator(SECRET)
    await simulator.stop()
    async with simulator:
        assert simulator.origin == f"http://127.0.0.1:{simulator.port}"
        await simulator.stop()

"""A stand-in for the Voyado Elevate GDPR API on loopback, with faults on request.

It serves create-remove-customer-job, create-export-customer-job, job-status and
export-customer-job-result of API v2, admin v3 and admin v4, checks the API key, and lets jobs move
on with time. What it does not imitate: the rest of the API; TLS; rate limits (429 comes only as a
fault); jobs of other services (`not_found`). It takes any key.
Messages in refusals and the order of checks (path, method, API key, parameters) are made up.

Answers are written as ready bytes, which takes a quarter less processor time than `web.Response`.
"""

import asyncio
import hmac
import ipaddress
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from bulk_eraser.simulator.exports import Exports
from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.simulator.jobs import ARCHIVED_AFTER_DAYS, DAY_S, Jobs, Kind
from bulk_eraser.simulator.request_log import RequestLine, RequestLog

__all__ = ["BASES", "Counts", "Simulator"]

BASES = {"v2": "/api/v2", "v3": "/api/admin/v3", "v4": "/api/admin/v4"}

# A client that sends no HTTP is answered 400 and not worth a word on the terminal.
_logger = logging.getLogger("bulk_eraser.simulator")
_logger.addHandler(logging.NullHandler())

_WITH_A_JOB = frozenset({None, "drop_after", "cut_body", "wrong_json", "delay"})
_TAKES_RESULT = frozenset({"drop_after", "html"})
"""Faults behind which the result of an export is not there any more, though it did not arrive."""
_JOB_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@dataclass(slots=True)
class Counts:
    """What was served since the start: `jobs` of removal, and `exports`; `faults` counts each fault
    by its name."""

    requests: int = 0
    jobs: int = 0
    exports: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class _Call(NamedTuple):
    """`creates` is the kind of job that it makes, None of a call that makes none."""

    method: str
    parameter: str
    creates: Kind | None = None
    is_download: bool = False


class _JobResult(msgspec.Struct):
    jid: str
    status: str


class _Answer(NamedTuple):
    """What goes over the wire; without a status nothing does, and the connection is closed. What
    `is_endless` goes on until the other side has enough."""

    http_status: int | None
    wire: bytes
    closes: bool = False
    is_endless: bool = False


def _answer(status: int, body: bytes, kind: str = "application/json", more: str = "") -> _Answer:
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n{more}"
    return _Answer(status, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def _refusal(status: int, message: str, more: str = "") -> _Answer:
    return _answer(status, msgspec.json.encode({"message": message}), more=more)


_CALLS = {
    "create-remove-customer-job": _Call("POST", "customerKey", Kind.REMOVAL),
    "create-export-customer-job": _Call("POST", "customerKey", Kind.EXPORT),
    "job-status": _Call("GET", "jid"),
    "export-customer-job-result": _Call("GET", "jid", is_download=True),
}
_WRONG_METHOD = {
    call: _refusal(405, f"this call takes {call.method}", f"Allow: {call.method}\r\n")
    for call in _CALLS.values()
}
_MISSING = {
    call: _refusal(400, f"required query parameter '{call.parameter}' is missing or empty")
    for call in _CALLS.values()
}
_NO_TEXT = _refusal(400, "the query is not percent-encoded UTF-8")
_NO_SUCH_PATH = _refusal(404, "there is nothing at this path")
_FORBIDDEN = _refusal(403, "incorrect cluster credentials")
_NO_ANSWER = _Answer(None, b"", closes=True)
_NO_RESULT = _refusal(404, "there is no result for this jid")
_ZIP = "application/zip"
_ENDLESS = _Answer(
    200,
    f"HTTP/1.1 200 OK\r\nContent-Type: {_ZIP}\r\n\r\n".encode(),
    closes=True,
    is_endless=True,
)
_PIECE = bytes(1 << 16)
_MOST_UNSENT = 1 << 20


def _fault_answers(rates: FaultRates) -> dict[str, _Answer]:
    """The answers of the faults that do not depend on the request."""
    wait = "" if rates.retry_after_s is None else f"Retry-After: {rates.retry_after_s}\r\n"
    return {
        "http_400": _refusal(400, "invalid customerKey"),
        "http_403": _FORBIDDEN,
        "http_429": _refusal(429, "too many requests", wait),
        "http_500": _refusal(500, "internal error"),
        "http_503": _refusal(503, "cluster unavailable", wait),
        "drop_before": _NO_ANSWER,
        "drop_after": _NO_ANSWER,
        "wrong_json": _answer(200, b'{"status":"created"}'),
        "html": _answer(200, b"<!doctype html><title>Log in</title><p>Log in", "text/html"),
        "redirect": _answer(302, b"", more="Location: /moved\r\n"),
    }


class _Reply(web.StreamResponse):
    """An answer as bytes, in the place of aiohttp's own response and without its headers."""

    def __init__(self, answer: _Answer, keep_alive: bool) -> None:
        super().__init__()
        self._answer = answer
        self._stays = keep_alive and not answer.closes
        self._transport: asyncio.WriteTransport | None = None

    @property
    def keep_alive(self) -> bool:
        """False has aiohttp close the connection once the bytes are out."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = self._transport = request.transport
        if self._answer.wire and transport is not None and not transport.is_closing():
            transport.write(self._answer.wire)
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 as aiohttp has it
        """Nothing is left to write, except of what has no end."""
        while self._answer.is_endless and (transport := self._transport) is not None:
            if transport.is_closing():
                return
            if transport.get_write_buffer_size() < _MOST_UNSENT:
                transport.write(_PIECE)
            await asyncio.sleep(0 if transport.get_write_buffer_size() < _MOST_UNSENT else 0.001)


class Simulator:
    """The service; `async with` starts it on a free port of 127.0.0.1 and stops it.

    `api_key` is the only one that is let in. `clock` returns the seconds that jobs age by (a wall
    clock lets them age over a restart); `day_s` is the length of a simulated day, `archive_days`
    the archiving delay. `log` is the path of a request log (see `request_log`). Without its name in
    `versions` an API version answers 404.
    `sleep` holds back the answers of the fault `delay`.

    When the log cannot be written, `log_error` says why, `ended` is set, and nothing more is
    answered: an answer without its line would spoil the evidence. Callers may set `ended` as well.
    """

    def __init__(
        self,
        api_key: str,
        faults: FaultRates | None = None,
        day_s: float = DAY_S,
        clock: Callable[[], float] = time.time,
        log: str | os.PathLike[str] | None = None,
        *,
        versions: Iterable[str] = tuple(BASES),
        archive_days: float = ARCHIVED_AFTER_DAYS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.counts = Counts()
        self.log_error: OSError | None = None
        self.ended = asyncio.Event()
        self._api_key = api_key.encode()
        self._fault_rates = faults or FaultRates()
        self._fault_answers = _fault_answers(self._fault_rates)
        self._random = random.Random(self._fault_rates.seed)  # noqa: S311 - repeatable, not secret
        rates = self._fault_rates
        self._jobs = Jobs(clock, day_s, archive_days, rates.fails, rates.is_lost, rates.is_late)
        self._exports = Exports(self._jobs, rates)
        self._calls = {
            f"{BASES[version]}/event-data/{name}": call
            for version in versions
            for name, call in _CALLS.items()
        }
        self._log_path = log
        self._log: RequestLog | None = None
        self._sleep = sleep
        self._held: set[asyncio.Future[None]] = set()
        self._runner: web.ServerRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens on. Raises `RuntimeError` when it was not started."""
        return self._address()[1]

    @property
    def origin(self) -> str:
        """What takes the place of the cluster's address, such as `http://127.0.0.1:8080`."""
        host, port = self._address()
        return f"http://{host}:{port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on a loopback address; port 0 takes a free one.

        Raises `ValueError` for any other address than one of 127.0.0.0/8, and `OSError` when the
        port is taken or the log cannot be opened.
        """
        if not ipaddress.IPv4Address(host).is_loopback:
            raise ValueError(f"the simulator listens on loopback only, not on {host}")
        if self._log_path is not None:
            self._log = RequestLog(self._log_path)
        server = web.Server(self._serve, access_log=None, logger=_logger)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the port and all connections; answers that are held back are dropped."""
        for task in self._held:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._log is not None:
            self._log.close()
            self._log = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _address(self) -> tuple[str, int]:
        if self._runner is None:
            raise RuntimeError("the simulator is not running")
        host, port = self._runner.addresses[0]
        return host, port

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts.requests += 1
        line = RequestLine(datetime.now(UTC), self.counts.requests, request.method, "")
        answer = self._decide(request, line)
        line.http_status = answer.http_status
        if line.fault is not None:
            self.counts.faults[line.fault] += 1
        # Written before the answer leaves: what a client was told can be looked up here.
        if self._log is not None and not self._is_logged(self._log, line):
            answer = _NO_ANSWER
        if line.fault == "delay":
            await self._hold_back()
        return _Reply(answer, request.keep_alive)

    def _decide(self, request: web.BaseRequest, line: RequestLine) -> _Answer:
        """The answer to a request; fills in what the log says of it."""
        line.path, _, query = request.raw_path.partition("?")
        fields = _fields(query)
        if fields is not None:
            line.key, line.jid = fields.get("customerKey"), fields.get("jid")
        call = self._calls.get(line.path)
        if call is None:
            return _NO_SUCH_PATH
        if request.method != call.method:
            return _WRONG_METHOD[call]
        presented = request.headers.get("Api-Key", "").encode(errors="surrogateescape")
        # The call takes the same time however much of the key is right, as a service should.
        if not hmac.compare_digest(presented, self._api_key):
            return _FORBIDDEN
        if fields is None:
            return _NO_TEXT
        if not fields.get(call.parameter):
            return _MISSING[call]
        return self._carry_out(call, fields[call.parameter], line)

    def _carry_out(self, call: _Call, value: str, line: RequestLine) -> _Answer:
        """Create a job for the key `value`, or tell the status of the jid `value`, or fail."""
        is_about_key = call.creates is not None
        # 1. Which fault does it meet? Only what is about a key can have it refused.
        fault = self._fault_rates.choose(
            value if is_about_key else None, self._random.random(), of_result=call.is_download
        )
        line.fault = fault
        # 2. The work, for the faults that break after it as well.
        if call.is_download:
            return self._download(value, fault)
        if call.creates is None:
            jid, status = value, self._jobs.status(value)
        elif fault in _WITH_A_JOB:
            jid, status = self._create(call.creates, value)
            line.jid = jid
        # 3. The answer, broken or not.
        if fault in self._fault_answers:
            return self._fault_answers[fault]
        body = msgspec.json.encode(_JobResult(jid, status))
        if fault == "cut_body":
            return _Answer(200, _JOB_HEAD % len(body) + body[: len(body) // 2], closes=True)
        return _Answer(200, _JOB_HEAD % len(body) + body)

    def _create(self, kind: Kind, customer_key: str) -> tuple[str, str]:
        jid, status = self._jobs.create(kind)
        if kind is Kind.REMOVAL:
            self.counts.jobs += 1
            self._exports.note_removal(jid, customer_key)
        else:
            self.counts.exports += 1
            self._exports.note_export(jid, customer_key)
        return jid, status

    def _download(self, jid: str, fault: str | None) -> _Answer:
        """The result of an export, broken or not; once it is on its way, it is not there again."""
        if fault in self._fault_answers and fault not in _TAKES_RESULT:
            return self._fault_answers[fault]
        take = self._exports.take_of_another if fault == "result_of_another" else self._exports.take
        result = take(jid)
        if result is None:
            return _NO_RESULT
        if fault == "drop_after":
            return _NO_ANSWER
        if fault == "html":
            return self._fault_answers[fault]
        if fault == "result_endless":
            return _ENDLESS
        whole = _answer(200, b"no archive" if fault == "result_no_zip" else result, _ZIP)
        if fault == "result_wrong_length":
            wire = whole.wire.replace(b"Content-Length: %d" % len(result), b"Content-Length: 30", 1)
            return _Answer(200, wire, closes=True)
        if fault == "cut_body":
            return _Answer(200, whole.wire[: -len(result) // 2], closes=True)
        return whole

    def _is_logged(self, log: RequestLog, line: RequestLine) -> bool:
        if self.log_error is None:
            try:
                log.append(line)
            except OSError as error:
                self.log_error = error
                self.ended.set()
        return self.log_error is None

    async def _hold_back(self) -> None:
        """Sleep for the delay; cancelled by `stop`."""
        held = asyncio.ensure_future(self._sleep(self._fault_rates.delay_s))
        self._held.add(held)
        try:
            await held
        finally:
            self._held.discard(held)


def _fields(query: str) -> dict[str, str] | None:
    """The parameters of a query, decoded once as a form (`+` is a space); None if no UTF-8."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        return None

"""The real command in processes of its own, services to run it against, and a checker.

The checker is written from what is promised to users and shares no code with the package. What no
output and no file may hold is looked for after every run of every test: the API key, and the
customer keys outside of the ledger.
"""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
import termios
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
from aiohttp import web
from forked_command import ForkedCommand, ForkServer

from bulk_eraser.evidence.audit import Audit

ROOT = Path(__file__).parents[2]
API_KEY = "ek-live-0f5b6d1c7e"
MARK = "5e17-4b1d-8bad"
PATIENCE_S = 60.0

OUTCOMES = {"complete", "incomplete", "stopped", "interrupted", "refused", "error"}
COUNTS = [
    "rows",
    "accepted",
    "failed",
    "unknown",
    "rejected",
    "duplicate",
    "excluded",
    "already_settled",
    "job_failed",
    "not_exported",
    "not_reached",
    "held_too_late",
]
SUMMED = COUNTS[1:-1]
FIELDS = {
    "outcome",
    "exit_code",
    "error",
    "next",
    "attention",
    "counts",
    "requests",
    "retries",
    "survey_s",
    "elapsed_s",
    "ledger",
    "head",
    "timestamp",
    "shard",
}
FINDINGS = {
    "outcome",
    "exit_code",
    "error",
    "next",
    "attention",
    "input",
    "counts",
    "rejected",
    "suspects",
    "hold_list",
    "seconds_at_rate",
    "plan",
    "keys_sha256",
    "shard",
    "survey_s",
}
TROUBLE = re.compile(r"Traceback|Exception ignored|never (?:awaited|retrieved)|was destroyed")


# ── what was written ────────────────────────────────────────────────────────────────────────────


class Ledger:
    """A ledger, read and verified by the rules: `lines` are proven, `tail` is what follows them."""

    def __init__(self, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        self.raw = path.read_bytes()
        self.lines: list[dict[str, Any]] = []
        self.head = "0" * 64
        group: list[bytes] = []
        proven = place = 0
        for line in self.raw.splitlines(keepends=True):
            place += len(line)
            if not line.startswith(b'{"type":"commit"') or not line.endswith(b"\n"):
                group.append(line)
                continue
            commit = json.loads(line)
            digest = sha256(self.head.encode() + b"".join(group)).hexdigest()
            assert (commit["lines"], commit["sha256"]) == (len(group), digest)
            self.head, proven = digest, place
            self.lines += map(json.loads, group)
            group = []
        self.tail = self.raw[proven:]
        starts = [n for n, line in enumerate(self.lines) if line["type"] == "run_started"]
        self.runs = [
            self.lines[a:b] for a, b in zip(starts, [*starts[1:], len(self.lines)], strict=True)
        ]

    def of(self, type_: str, *, run: int | None = None) -> list[dict[str, Any]]:
        """The lines of this type, of all runs or of one."""
        lines = self.lines if run is None else self.runs[run]
        return [line for line in lines if line["type"] == type_]

    def sent(self) -> Counter[str]:
        """Key → how often a request may have left: its `sent` lines that were not taken back."""
        taken_back = Counter(line["key"] for line in self.of("unsent"))
        sent = Counter(line["key"] for line in self.of("sent"))
        assert taken_back <= sent
        return sent - taken_back

    def last(self, lines: Iterable[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
        """Key → its last line; an `excluded` line does not take back what is settled, an `unsent`
        one takes back the `sent` before it."""
        kept: dict[str, list[dict[str, Any]]] = {}
        for line in self.lines if lines is None else lines:
            if line["type"] in ("sent", "accepted", "failed", "unknown", "excluded"):
                of_key = kept.setdefault(line["key"], [])
                before = of_key[-1] if of_key else {}
                settled = before.get("type") == "accepted" or before.get("permanent")
                if not (line["type"] == "excluded" and settled):
                    of_key.append(line)
            elif line["type"] == "unsent" and kept.get(line["key"]):
                assert kept[line["key"]].pop()["type"] == "sent"
        return {key: of_key[-1] for key, of_key in kept.items() if of_key}

    def failed_jobs(self) -> set[str]:
        """The jids whose last status is that no data was erased."""
        status = {line["jid"]: line["status"] for line in self.of("job_status")}
        return {jid for jid, word in status.items() if word in ("error", "not_found")}

    def must_send_no_accepted_key_again(self) -> None:
        accepted: set[str] = set()
        for line in self.lines:
            if line["type"] == "sent":
                assert line["key"] not in accepted
            elif line["type"] == "accepted":
                accepted.add(line["key"])


def rechained(content: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """A ledger with its lines changed and all of its digests made anew, as a forger would."""
    head, group, written = "0" * 64, b"", b""
    for raw in content.splitlines():
        line = change(json.loads(raw))
        if line["type"] == "commit":
            head = line["sha256"] = sha256(head.encode() + group).hexdigest()
        encoded = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        group = b"" if line["type"] == "commit" else group + encoded
        written += encoded
    return written


def must_be_as_a_run_writes(path: Path) -> None:
    """What `verify` calls forged must be in no ledger that a run wrote."""
    with closing(Audit([str(path)])) as audit:
        audit.walk()
        assert audit.ledgers[0].damage is None
        assert not audit.findings.is_forged, audit.findings


def counts_of(ledger: Ledger, rows: list[tuple[int, str]], held: frozenset[str]) -> dict[str, int]:
    """The counts that the last run must show for an input of `rows` (line, key; "" is none)."""
    before = ledger.last(line for run in ledger.runs[:-1] for line in run)
    now = ledger.last(ledger.runs[-1])
    last = ledger.last()
    failed_jobs = ledger.failed_jobs()
    counts = Counter(rows=len(rows))
    seen: set[str] = set()
    for _, key in rows:
        if not key:
            counts["rejected"] += 1
        elif key in seen:
            counts["duplicate"] += 1
        elif key in held:
            counts["excluded"] += 1
            earlier = before.get(key, {"type": ""})
            maybe_sent = earlier["type"] in ("sent", "accepted", "unknown", "failed")
            counts["held_too_late"] += maybe_sent and not earlier.get("permanent")
        elif before.get(key, {}).get("type") == "accepted" and key not in now:
            is_failed = before[key]["jid"] in failed_jobs
            counts["job_failed" if is_failed else "already_settled"] += 1
        else:
            state = last.get(key, {"type": "sent"})["type"]
            counts["not_reached" if state in ("sent", "excluded") else state] += 1
        seen.add(key)
    return {name: counts[name] for name in COUNTS}


# ── services ────────────────────────────────────────────────────────────────────────────────────


class Call(NamedTuple):
    """One request as the service saw it: the n-th in all, the nth for its key; counted from 1."""

    key: str
    n: int
    nth: int
    at: float
    path: str
    api_key: str | None


HANG_UP = object()
"""As an answer: close the connection without one."""


class Service:
    """A service on loopback whose `answer` to each request is decided by the test.

    `status` does the same for job-status: a word, a status code or a response for each jid; `asked`
    counts the questions. `result` does it for results of exports: bytes for an archive, else as
    `status`; `downloads` counts these requests.

    `answer` takes a `Call` and returns, or is a coroutine that returns, None for a new job, a
    status, a response, or HANG_UP. A job's answer is read to the end by well-behaved clients only.
    """

    HANG_UP = HANG_UP

    def __init__(self) -> None:
        self.answer: Callable[[Call], Any] = lambda call: None
        self.calls: list[Call] = []
        self.per_key: Counter[str] = Counter()
        self.jids: dict[str, list[str]] = {}
        self.status: Callable[[str], Any] = lambda jid: "done"
        self.asked: Counter[str] = Counter()
        self.result: Callable[[str], Any] = lambda jid: 404
        self.downloads: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._came = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._reserved: socket.socket | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serve, and again at the same port after a `stop`."""
        if self._reserved is None:
            self._reserved = reserved_port()
            self.port = self._reserved.getsockname()[1]
        server = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def close(self) -> None:
        """Stop, and give the port back."""
        await self.stop()
        if self._reserved is not None:
            self._reserved.close()

    async def stop(self) -> None:
        """Let nothing listen there."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def saw(self, requests: int) -> None:
        """Return once there were so many requests for jobs."""
        await self._until(lambda: len(self.calls) >= requests)

    async def was_downloaded_from(self, times: int) -> None:
        """Return once it was asked so many times for a result."""
        await self._until(lambda: self.downloads.total() >= times)

    async def was_asked(self, times: int) -> None:
        """Return once it was asked so many times for a job's status."""
        await self._until(lambda: self.asked.total() >= times)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._came.clear()
                await self._came.wait()

    def job(self, call: Call, status: str = "created") -> web.Response:
        """Accept the key."""
        jid = str(uuid4())
        self.jids.setdefault(call.key, []).append(jid)
        return web.json_response({"jid": jid, "status": status})

    async def _tell_status(self, request: web.BaseRequest, jid: str) -> web.StreamResponse:
        assert request.method == "GET"
        self.asked[jid] += 1
        self._came.set()
        answer = self.status(jid)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, str):
            return web.json_response({"jid": jid, "status": answer})
        return web.Response(status=answer) if isinstance(answer, int) else answer

    async def _hand_out(self, request: web.BaseRequest, jid: str) -> web.StreamResponse:
        assert request.method == "GET"
        self.downloads[jid] += 1
        self._came.set()
        answer = self.result(jid)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/zip")
        if answer is HANG_UP:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(status=answer) if isinstance(answer, int) else answer

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        if request.path.endswith("/event-data/job-status"):
            return await self._tell_status(request, query["jid"])
        if request.path.endswith("/event-data/export-customer-job-result"):
            return await self._hand_out(request, query["jid"])
        key = query.get("customerKey", "")
        self.per_key[key] += 1
        call = Call(
            key,
            len(self.calls) + 1,
            self.per_key[key],
            time.monotonic(),
            request.path,
            request.headers.get("Api-Key"),
        )
        self.calls.append(call)
        self._came.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.answer(call)
            if asyncio.iscoroutine(answer):
                answer = await answer
        finally:
            self.in_flight -= 1
        if answer is HANG_UP:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if answer is None or answer is True:  # as an event's `wait` returns
            return self.job(call)
        if isinstance(answer, int):
            return web.Response(status=answer)
        assert isinstance(answer, web.StreamResponse)
        return answer


# ── the command ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class Input:
    """An input file; `rows` are its rows as line and key, "" for a row without a usable one."""

    path: Path
    rows: list[tuple[int, str]]

    def __str__(self) -> str:
        return str(self.path)


@dataclass
class Ended:
    """What a command left behind on its outputs, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout, checked against what is promised of it."""
        assert self.out.endswith("}\n")
        assert self.out.count("\n") == 1
        ending = json.loads(self.out)
        assert set(ending) == FIELDS
        assert ending["exit_code"] == self.code
        assert ending["outcome"] in OUTCOMES
        assert ending["error"] is None or isinstance(ending["error"], str)
        assert list(ending["counts"]) == COUNTS
        assert ending["counts"]["rows"] == sum(ending["counts"][name] for name in SUMMED)
        assert min(ending["counts"].values()) >= 0
        assert ending["requests"] >= ending["retries"] >= 0
        return ending

    @property
    def findings(self) -> Any:
        """The one object of `check` on stdout, checked against what is promised of it."""
        assert self.out.endswith("}\n")
        assert self.out.count("\n") == 1
        found = json.loads(self.out, parse_constant=pytest.fail)
        assert set(found) == FINDINGS
        assert found["exit_code"] == self.code
        assert found["outcome"] in OUTCOMES
        assert (found["error"] is None) == (self.code in (0, 3))
        assert (found["plan"] is None) == (found["keys_sha256"] is None)
        if counts := found["counts"]:
            assert counts["rows"] == counts["keys"] + counts["rejected"] + counts["duplicate"]
            assert counts["rejected"] == sum(word["rows"] for word in found["rejected"].values())
            of = found["shard"] or found["input"]
            shared = {name: of[name] for name in ("rows", "keys", "rejected")}
            assert shared.items() <= counts.items()
            assert self.code not in (0, 3) or self.code == (3 if counts["rejected"] else 0)
        return found


def hear_signals() -> None:
    """Signals that this process was started deaf to (a job in the background) are heard again."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


@dataclass
class Running:
    """A command on its way."""

    process: asyncio.subprocess.Process | ForkedCommand

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)  # `send_signal` would take the exit code from the loop

    async def ended(self, feed: bytes | None = None) -> Ended:
        """Wait for the end, and look for what must never be printed."""
        async with asyncio.timeout(PATIENCE_S):
            out, err = await self.process.communicate(feed)
        assert self.process.returncode is not None
        text = Ended(self.process.returncode, (out or b"").decode(), (err or b"").decode())
        for printed in (text.out, text.err):
            assert API_KEY not in printed
            assert MARK not in printed
        assert not TROUBLE.search(text.err), text.err
        return text


class Terminal:
    """A pseudo-terminal, and a command that has it as stdin and stderr.

    It is `columns` wide; with 0 it does not say how wide it is.
    """

    def __init__(self, columns: int) -> None:
        self.shown = ""
        self.running: Running | None = None
        self._ours, self.theirs = os.openpty()
        termios.tcsetwinsize(self._ours, (24, columns))
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def saw(self, text: str) -> None:
        """Return once the terminal has shown this."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.shown:
                self._changed.clear()
                await self._changed.wait()

    async def ended(self) -> Ended:
        """Wait for the end; `err` is what the terminal has shown in all."""
        assert self.running is not None
        os.close(self.theirs)
        ended = await self.running.ended()
        async with asyncio.timeout(PATIENCE_S):
            while self._ours >= 0:
                self._changed.clear()
                await self._changed.wait()
        assert API_KEY not in self.shown
        assert MARK not in self.shown
        assert not TROUBLE.search(self.shown), self.shown
        return Ended(ended.code, ended.out, self.shown)

    def _read(self) -> None:
        try:
            self.shown += os.read(self._ours, 65536).decode()
        except OSError:  # the last process has closed it
            asyncio.get_running_loop().remove_reader(self._ours)
            os.close(self._ours)
            self._ours = -1
        self._changed.set()


class Desk:
    """A folder to work in, and the command run in it.

    It is forked from a server, which is faster than a start, unless a test asks for a process of
    its own with `forked=False`, or needs one. `before` is Python that a process executes before it
    becomes the command. A forked one can be given `file_size_limit`, in bytes.
    """

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder = folder
        self._server = server
        self.may_hold_keys: set[Path] = set()
        self.may_hold_the_api_key: set[Path] = set()
        self._running: list[Running] = []

    def csv(self, keys: Iterable[str], name: str = "keys.csv") -> Input:
        """Two columns, so that an empty key makes a row that is rejected."""
        path = self.folder / name
        keys = list(keys)
        path.write_text("customerKey,note\n" + "".join(f"{key},x\n" for key in keys))
        self.may_hold_keys.add(path)
        return Input(path, list(enumerate(keys, 2)))

    def ndjson(self, keys: Iterable[str], name: str = "keys.ndjson") -> Input:
        path = self.folder / name
        keys = list(keys)
        path.write_text("".join(json.dumps({"customerKey": key}) + "\n" for key in keys))
        self.may_hold_keys.add(path)
        return Input(path, list(enumerate(keys, 1)))

    def file(self, name: str, content: str | bytes) -> Path:
        """A file that may hold customer keys."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.may_hold_keys.add(path)
        return path

    def plan(
        self, input_: Input, target: str, /, *, name: str = "plan.json", **other: object
    ) -> Path:
        """A plan for `input_` as `check` promises to write it, without a hold list; `other` takes
        the place of fields of it, or of its `input`."""
        keys = list(dict.fromkeys(key for _, key in input_.rows if key))
        is_csv = input_.path.suffix == ".csv"
        facts: dict[str, object] = {
            "name": input_.path.name,
            "bytes": input_.path.stat().st_size,
            "sha256": sha256(input_.path.read_bytes()).hexdigest(),
            "format": "csv" if is_csv else "ndjson",
            "key_field": "customerKey",
            "header": True,
            "delimiter": "," if is_csv else None,
            "encoding": "utf-8",
            "sheet": None,
            "header_row": None,
            "received_field": None,
            "received_format": None,
            "reference_field": None,
            "cluster_field": None,
            "cluster": None,
            "address": None,
            "version": None,
            "rows": len(input_.rows),
            "keys": len(keys),
            "rejected": [key for _, key in input_.rows].count(""),
            "duplicate": sum(key != "" for _, key in input_.rows) - len(keys),
        }
        host = target if "://" in target else f"https://{target}.elevate-api.cloud"
        plan: dict[str, object] = {
            "type": "plan",
            "format": 2,
            "tool": "bulk-eraser 0",
            "made_by": "Ada",
            "made_at": "2030-01-02T03:04:05Z",
            "login": "ada",
            "path": input_.path.name,
            "reading": {"format": facts["format"], "header": True},
            "allow": [],
            "input": facts,
            "hold_list": None,
            "keys": len(keys),
            "keys_sha256": sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest(),
            "target": target,
            "base": f"{host}/api/admin/v4",
            "api": "v4",
            "shard": None,
        }
        for field, value in other.items():
            (plan if field in plan else facts)[field] = value
        path = self.folder / name
        path.write_text(json.dumps(plan))
        return path

    def everything(self) -> dict[Path, bytes | None]:
        """All that is in the folder, to see whether anything was written."""
        return {
            path: path.read_bytes() if path.is_file() else None for path in self.folder.rglob("*")
        }

    def ledger(self, name: str = "keys.ledger.ndjson") -> Ledger:
        return Ledger(self.folder / name)

    def ledger_size(self, name: str = "keys.ledger.ndjson") -> int:
        with suppress(FileNotFoundError):
            return (self.folder / name).stat().st_size
        return 0

    async def start(
        self,
        *arguments: object,
        env: dict[str, str] | None = None,
        before: str = "",
        without_api_key: bool = False,
        forked: bool = True,
        **streams: Any,
    ) -> Running:
        """Start `python -m bulk_eraser` with these arguments; outputs are pipes by default."""
        streams = {
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
        } | streams
        environment = environment_in(self.folder) | (env or {})
        if without_api_key:
            del environment["ELEVATE_API_KEY"]
        words = list(map(str, arguments))
        process: asyncio.subprocess.Process | ForkedCommand
        if forked and not before and "pass_fds" not in streams:
            process = await self._server.start(
                words, cwd=str(self.folder), env=environment, **streams
            )
        else:
            command = [sys.executable, "-m", "bulk_eraser", *words]
            if before:
                become = f"import os, sys\n{before}\nos.execv(sys.executable, sys.argv[1:])"
                command = [sys.executable, "-c", become, *command]
            process = await asyncio.create_subprocess_exec(
                *command, cwd=self.folder, env=environment, preexec_fn=hear_signals, **streams
            )
        self._running.append(Running(process))
        return self._running[-1]

    async def call(self, *arguments: object, **more: Any) -> Ended:
        """Run the command with exactly these arguments."""
        return await (await self.start(*arguments, **more)).ended()

    async def check(self, input_: object, *options: object, **more: Any) -> Ended:
        """Look at `input_` with --json, without an API key."""
        command = await self.start_check(input_, *options, **more)
        return await command.ended()

    async def start_check(self, input_: object, *options: object, **more: Any) -> Running:
        return await self.start("check", input_, "--json", *options, without_api_key=True, **more)

    async def run(self, input_: object, service: Service, *options: object, **more: Any) -> Ended:
        """Erase the keys of `input_` with consent, without a rate, and with --json."""
        return await (await self.start_run(input_, service, *options, **more)).ended()

    async def start_run(
        self, input_: object, service: Service, *options: object, **more: Any
    ) -> Running:
        arguments = ("--base-url", service.origin, "--yes", "--json", "--rate", "0", *options)
        return await self.start("run", input_, *arguments, **more)

    async def together(self, *calls: Coroutine[Any, Any, Ended]) -> list[Ended]:
        """Wait for commands that run at the same time; if one fails, the others are given up."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
        return [task.result() for task in tasks]

    async def on_terminal(self, *arguments: object, columns: int = 0, **more: Any) -> Terminal:
        """Start the command with exactly these arguments on a terminal of its own."""
        terminal = Terminal(columns)
        terminal.running = await self.start(
            *arguments,
            stdin=terminal.theirs,
            stderr=terminal.theirs,
            start_new_session=True,
            controlling_terminal=True,
            **{"env": {"TERM": "xterm", "COLUMNS": "100"}} | more,
        )
        return terminal

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once `condition` holds; for what can be seen from outside only by looking."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 there is no event on the other side
                await asyncio.sleep(0.002)

    def reconcile(
        self,
        input_: Input,
        ended: Ended,
        service: Service | None = None,
        *,
        held: Iterable[str] = (),
        again: bool = False,
        shared: bool = False,
        name: str = "keys.ledger.ndjson",
    ) -> Ledger:
        """Ledger, displayed counts, input and service must tell the same story.

        `again` allows that accepted keys were sent again, as --retry-failed does; `shared` that
        the service was sent the keys of other inputs as well.
        """
        ledger = self.ledger(name)
        assert ledger.tail == b""
        must_be_as_a_run_writes(self.folder / name)
        ending = ended.json
        counts = counts_of(ledger, input_.rows, frozenset(held))
        assert ending["counts"] == counts
        finished = ledger.lines[-1]
        assert finished["type"] == "run_finished"
        assert finished["counts"] == counts
        assert finished["exit_code"] == ended.code
        assert finished["outcome"] == ending["outcome"]
        assert finished["run"] == ledger.runs[-1][0]["run"]
        assert ending["head"] == ledger.head
        sent = ledger.of("sent", run=-1)
        assert ending["requests"] <= len(sent)
        lines = {key: line for line, key in reversed(input_.rows)}
        for line in ledger.runs[-1]:
            if line["type"] in ("sent", "accepted", "failed", "unknown", "excluded"):
                assert line["line"] == lines[line["key"]]
        if not again:
            ledger.must_send_no_accepted_key_again()
        if service is not None:
            allowed = ledger.sent()
            here = lines if shared else service.per_key
            assert all(service.per_key[key] <= allowed[key] for key in here)
            assert all(line["jid"] in service.jids[line["key"]] for line in ledger.of("accepted"))
        return ledger

    async def close(self) -> None:
        """No process is left, and no file holds what it must not."""
        for running in self._running:
            if running.process.returncode is None:
                running.signal(signal.SIGKILL)
                await running.process.communicate()
        for path in self.folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert path in self.may_hold_the_api_key or API_KEY.encode() not in content
                is_ours = path.name.endswith((".ledger.ndjson", ".rehearsal.ndjson", ".tail"))
                assert is_ours or path in self.may_hold_keys or MARK.encode() not in content


def reserved_port() -> socket.socket:
    """A port of loopback at which nothing listens and which nobody else is given: else what is
    meant for a service that has stopped would be sent to that of another test."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the service may listen there
    reserved.bind(("127.0.0.1", 0))
    return reserved


def environment_in(folder: Path) -> dict[str, str]:
    """The variables of a command that works in this folder."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "ELEVATE_API_KEY": API_KEY,
        "TMPDIR": str(folder),
    }


@pytest.fixture(scope="session")
def keys() -> list[str]:
    """Customer keys, all different, each holding a mark that is looked for in all outputs."""
    return [f"{number:08x}-{MARK}-c0ffee{number:06x}" for number in range(6000)]


@pytest.fixture(scope="session")
def api_key() -> str:
    return API_KEY


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """One for all tests; its children have the variables and the folder of their own test."""
    server = ForkServer(environment_in(tmp_path_factory.mktemp("fork_server")))
    yield server
    server.close()


@pytest.fixture
async def desk(tmp_path: Path, fork_server: ForkServer) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, fork_server)
    yield desk
    await desk.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that accepts every key, until the test says otherwise."""
    service = Service()
    await service.start()
    yield service
    await service.close()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of loopback on which nothing listens, unless the test has something do so."""
    with reserved_port() as reserved:
        yield reserved.getsockname()[1]

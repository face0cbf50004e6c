"""What concerns every key stops the run: with its exit code, and with no key marked failed."""

import asyncio
import json
import os
import re
import socket
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

FOREIGN_LINE = b'{"type":"accepted"}\n'


def html(call: Any) -> web.Response:
    return web.Response(text=f"<html>Log in, {call.key}</html>", content_type="text/html")


def redirect(status: int, to: str) -> Any:
    return lambda call: web.Response(status=status, headers={"Location": to})


# ── refused before anything is sent ─────────────────────────────────────────────────────────────


WRONG_OPTIONS = [
    ("--no-such-option",),
    ("--rate", "fast"),
    ("--rate", "-1"),
    ("--rate", "nan"),
    ("--concurrency", "0"),
    ("--max-attempts", "0"),
    ("--timeout", "0"),
    ("--timeout", "inf"),
    ("--max-failures", "many"),
    ("--limit", "0"),
    ("--api-version", "v1"),
    ("--format", "xml"),
    ("--delimiter", "ab"),
    ("--encoding", "no-such"),
    ("--base-url", "ftp://127.0.0.1"),
    ("--base-url", "http://user:word@127.0.0.1"),
    ("--exclude", "keys.csv", "--no-exclude"),
    ("--ledger", "keys.csv"),
    ("--ledger", ""),
    ("another.csv",),
]


async def test_wrong_options_are_refused(desk: Any, service: Any, keys: list[str]):
    """Options that cannot be meant end with 2 and say so in the object of --json."""
    source = desk.csv(keys[:3])
    before = source.path.read_bytes()
    endings = await asyncio.gather(*(desk.run(source, service, *wrong) for wrong in WRONG_OPTIONS))
    for ended, wrong in zip(endings, WRONG_OPTIONS, strict=True):
        assert (ended.code, ended.json["outcome"]) == (2, "refused"), wrong
        assert ended.json["error"], wrong
    assert service.calls == []
    assert source.path.read_bytes() == before
    assert [path.name for path in desk.folder.iterdir()] == ["keys.csv"]


async def test_a_run_without_its_parts_is_refused(desk: Any, service: Any, keys: list[str]):
    """No input, no target, no format, no such command: 2; no API key: 78."""
    source = desk.csv(keys[:3])
    unnamed = desk.csv(keys[:3], "keys")
    target = ("--base-url", service.origin)
    cases = [
        (2, ("run", "--json"), {}),
        (2, ("run", source, "--yes", "--json"), {}),
        (2, ("run", unnamed, *target, "--yes", "--json"), {}),
        (2, ("erase", source, "--json"), {}),
        (2, ("run", *target), {"BULK_ERASER_JSON": "1"}),
        (78, ("run", source, *target, "--yes", "--json"), {"ELEVATE_API_KEY": ""}),
        (78, ("run", source, *target, "--json", "--yes", "--api-key-file", "absent"), {}),
        (78, ("run", source, *target, "--yes", "--json"), {"ELEVATE_API_KEY": "two words"}),
        (78, ("run", source, "--base-url", "http://192.0.2.1", "--yes", "--json"), {}),
        (78, ("run", source, "--base-url", "http://127.0.0.1.example", "--yes", "--json"), {}),
    ]
    endings = await asyncio.gather(*(desk.call(*command, env=env) for _, command, env in cases))
    assert [ended.code for ended in endings] == [code for code, _, _ in cases]
    assert {ended.json["outcome"] for ended in endings} == {"refused"}
    assert all(ended.json["error"] for ended in endings)
    assert service.calls == []
    assert desk.ledger_size() == 0


NO_SUCH_NAME = """
import runpy, socket
def getaddrinfo(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
socket.getaddrinfo = getaddrinfo
sys.argv = ["bulk-eraser", *sys.argv[4:]]
runpy.run_module("bulk_eraser", run_name="__main__")
"""


async def test_a_host_that_does_not_exist_is_told_at_once(desk: Any, keys: list[str]):
    """69 after the first look-up, with the likely typo; no key was sent or marked."""
    source = desk.csv(keys[:9])
    options = ("--cluster-id", "w0badbad", "--yes", "--json", "--concurrency", 4)
    ended = await desk.call("run", source, *options, before=NO_SUCH_NAME)
    assert (ended.code, ended.json["outcome"]) == (69, "stopped")
    assert "w0badbad.elevate-api.cloud does not exist" in ended.json["error"]
    assert "cluster id" in ended.json["error"]
    assert ended.json["counts"]["not_reached"] == 9
    assert 1 <= ended.json["requests"] <= 4


async def test_a_target_that_looks_odd_is_a_warning(desk: Any, keys: list[str]):
    """Another form of a cluster id than the vendor's, a version that came after this program."""
    source = desk.csv(keys[:3])
    odd = await desk.call("run", source, "--dry-run", "--cluster-id", "acme", "--api-version", "v5")
    usual = await desk.call("run", source, "--dry-run", "--cluster-id", "w1a2b3c4d")
    options = ("--plan", "plan.json", "--cluster-id", "acme", "--api-version", "v5")
    planned = await desk.call("check", source, *options)
    assert (odd.code, usual.code, planned.code) == (0, 0, 0)
    for ended in (odd, planned):
        assert "Is acme right?" in ended.err
        assert "API version v5 is not known" in ended.err
    assert "/api/admin/v5" in json.loads((desk.folder / "plan.json").read_text())["base"]
    assert "Warning" not in usual.err
    other = await desk.call("run", source, "--dry-run", "--api-version", "v1")
    assert (other.code, "must be v4, v3 or v2" in other.err) == (2, True)


async def test_every_key_not_found(desk: Any, service: Any, keys: list[str]):
    """404 for every key has two likely reasons, and both are named."""
    service.answer = lambda call: 404
    ended = await desk.run(desk.csv(keys[:3]), service)
    assert ended.code == 76
    assert "this cluster does not exist" in ended.json["error"]
    assert "no API version v4" in ended.json["error"]


async def test_a_command_with_a_typo_gets_a_suggestion(desk: Any):
    """What is near a command is proposed; what is not is not."""
    ended = await desk.call("chekc", "keys.csv")
    assert (ended.code, "did you mean check?" in ended.err) == (2, True)
    ended = await desk.call("frobnicate")
    assert (ended.code, "did you mean" in ended.err) == (2, False)


async def test_without_arguments_it_shows_what_there_is(desk: Any):
    """The bare command, and --help, show the commands and options and no traceback."""
    bare, help_, of_run = await asyncio.gather(
        desk.call(), desk.call("--help"), desk.call("run", "--help")
    )
    assert (help_.code, of_run.code) == (0, 0)
    assert bare.out == help_.out
    assert help_.out.lstrip().startswith("Usage: python -m bulk_eraser")
    assert "run" in help_.out
    assert "simulate" in help_.out
    assert "--max-outage" in of_run.out
    assert help_.err == of_run.err == ""


@pytest.mark.parametrize(
    ("content", "options"),
    [
        pytest.param(b"", (), id="empty"),
        pytest.param(b"customerKey\n", (), id="header-only"),
        pytest.param(b"customerKey,note\n,x\n", (), id="no-key"),
        pytest.param(b"id,note\n1,2\n", (), id="no-column"),
        pytest.param(b"customerKey,customerKey\n1,2\n", (), id="column-twice"),
        pytest.param(b"customerKey\ncaf\xe9\n", (), id="cp1252"),
        pytest.param(b'customerKey,note\n"a,b\nc,d\ne,f\n', (), id="stray-quote"),
        pytest.param(b"customerKey\n4.01235E+15\n", (), id="rounded"),
        pytest.param(b"\x1f\x8b\x08\x00cut", (), id="cut-gzip"),
        pytest.param(b"PK\x03\x04", (), id="excel"),
        pytest.param(None, (), id="absent"),
        pytest.param(b"customerKey\nk\n", ("--exclude", "absent.csv"), id="absent-hold-list"),
    ],
)
async def test_an_unusable_input_is_refused(
    desk: Any, service: Any, content: bytes | None, options: tuple[str, ...]
):
    """What cannot be read as meant ends with 65, without a ledger or a request."""
    path = desk.folder / "keys.csv"
    if content is not None:
        path.write_bytes(content)
    ended = await desk.run(path, service, *options)
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert ended.json["error"]
    assert service.calls == []
    assert desk.ledger_size() == 0


@pytest.mark.parametrize("ledger", [".", "absent/x.ndjson", "/proc/x.ledger.ndjson", "/dev/full"])
async def test_a_ledger_that_cannot_be_is_refused(
    desk: Any, service: Any, keys: list[str], ledger: str
):
    """A ledger that is a folder, has no folder, or cannot be created ends with 74, nothing sent."""
    ended = await desk.run(desk.csv(keys[:3]), service, "--ledger", ledger)
    assert ended.code == 74
    assert ended.json["outcome"] == "error"
    assert ended.json["counts"]["failed"] == 0
    assert service.calls == []


async def test_a_ledger_of_another_target_is_refused(desk: Any, service: Any, keys: list[str]):
    """A ledger belongs to one target: another one is 78, and nothing is sent or written."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    before = desk.ledger().raw
    other_base = ("--base-url", f"{service.origin}/gateway")
    for target in (("--base-url", "http://127.0.0.1:1"), ("--cluster-id", "wfoo"), other_base):
        ended = await desk.call("run", source, *target, "--yes", "--json")
        assert (ended.code, ended.json["outcome"]) == (78, "refused")
    assert desk.ledger().raw == before


@pytest.mark.parametrize("damage", ["edit", "remove", "swap", "insert"])
async def test_a_changed_ledger_is_refused(desk: Any, service: Any, keys: list[str], damage: str):
    """A ledger with a changed line in its middle ends with 79 and stays as it is."""
    source = desk.csv(keys[:60])
    await desk.run(source, service, "--limit", 50)
    path = desk.folder / "keys.ledger.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if b'"type":"sent"' in line)
    if damage == "edit":
        lines[place] = lines[place].replace(b"bad", b"bed")
    elif damage == "remove":
        del lines[place]
    elif damage == "swap":
        lines[place], lines[place + 1] = lines[place + 1], lines[place]
    else:
        lines.insert(place, lines[place])
    damaged = b"".join(lines)
    path.write_bytes(damaged)
    sent = len(service.calls)
    ended = await desk.run(source, service)
    assert (ended.code, ended.json["outcome"]) == (79, "refused")
    assert path.read_bytes() == damaged
    assert len(service.calls) == sent


async def test_a_file_that_is_no_ledger_is_left_alone(desk: Any, service: Any, keys: list[str]):
    """A file of another kind, named as the ledger, is refused and not written."""
    other = desk.folder / "notes.txt"
    other.write_text("not a ledger\n")
    ended = await desk.run(desk.csv(keys[:3]), service, "--ledger", other)
    assert (ended.code, ended.json["outcome"]) == (79, "refused")
    assert other.read_text() == "not a ledger\n"
    assert service.calls == []


async def test_a_second_run_on_one_ledger_waits_its_turn(desk: Any, service: Any, keys: list[str]):
    """While one process writes a ledger, another ends with 75 and writes and sends nothing."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait()
    source = desk.csv(keys[:10])
    first = await desk.start_run(source, service)
    await service.saw(10)
    before = desk.ledger().raw
    second = await desk.run(source, service)
    assert (second.code, second.json["outcome"]) == (75, "refused")
    assert desk.ledger().raw == before
    assert len(service.calls) == 10
    gate.set()
    ended = await first.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_two_runs_that_begin_together(desk: Any, service: Any, keys: list[str]):
    """Of several runs started at once on a new ledger one erases, the others end with 75."""
    source = desk.csv(keys[:200])
    service.answer = lambda call: asyncio.sleep(0)
    endings = await asyncio.gather(*(desk.run(source, service, "--rate", 400) for _ in range(3)))
    codes = sorted(ended.code for ended in endings)
    assert codes[0] == 0
    assert set(codes) <= {0, 75}
    assert all(count == 1 for count in service.per_key.values())


# ── stopped on the way ──────────────────────────────────────────────────────────────────────────


async def test_nothing_listens(desk: Any, service: Any, keys: list[str]):
    """While nothing listens few attempts are made, no key fails, and the run ends with 69; once
    a service is there, the same command erases every key."""
    await service.stop()
    source = desk.csv(keys[:300])
    down = await desk.run(source, service, "--max-outage", 2)
    ledger = desk.reconcile(source, down)
    assert (down.code, down.json["outcome"]) == (69, "stopped")
    assert down.json["counts"]["not_reached"] == 300
    assert down.json["requests"] <= 32 + 10 + 5
    assert ledger.of("failed") == ledger.of("unknown") == []
    assert max(line["attempt"] for line in ledger.of("sent")) > 1
    assert not ledger.sent()  # nothing left, and the ledger says so
    assert 2 <= down.json["elapsed_s"] < 20
    await service.start()
    up = await desk.run(source, service, "--max-outage", 2)
    desk.reconcile(source, up, service)
    assert up.code == 0
    assert up.json["counts"]["accepted"] == 300


async def test_what_was_unknown_stays_so_where_nothing_listens(
    desk: Any, service: Any, keys: list[str]
):
    """Attempts that never left are taken back, and a key that may have arrived before still may."""
    service.answer = lambda call: 500 if call.key in keys[:2] else None
    source = desk.csv(keys[:30])
    ended = await desk.run(source, service, "--max-attempts", 2)
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["counts"]["unknown"]) == (3, 2)
    await service.stop()
    ended = await desk.run(source, service, "--max-outage", 2)
    ledger = desk.reconcile(source, ended)
    assert (ended.code, ended.json["counts"]["unknown"]) == (69, 2)
    assert len(ledger.of("sent", run=-1)) == len(ledger.of("unsent", run=-1)) > 2


async def test_every_answer_bad(desk: Any, service: Any, keys: list[str]):
    """A service that answers no key well is asked little more, then left with 69; no key fails."""
    sources = {500: desk.csv(keys[:300]), 503: desk.csv(keys[300:600], "503.csv")}
    sources[429] = desk.csv(keys[600:900], "429.csv")
    status_of = {key: status for status, source in sources.items() for _, key in source.rows}
    service.answer = lambda call: status_of[call.key]
    options = ("--max-outage", 1, "--max-attempts", 2)
    endings = await asyncio.gather(
        *(desk.run(source, service, *options) for source in sources.values())
    )
    for ended, source in zip(endings, sources.values(), strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert (ended.code, ended.json["outcome"]) == (69, "stopped")
        assert ended.json["counts"]["not_reached"] == 300
        assert sum(service.per_key[key] for _, key in source.rows) <= 32 + 10 + 5
        assert ledger.of("failed") == ledger.of("unknown") == []


async def test_an_outage_in_the_middle(desk: Any, service: Any, keys: list[str]):
    """When the service goes down for good in the middle, what was accepted stays, the rest keeps
    `sent` or was never sent, and the next run erases it."""
    service.answer = lambda call: None if call.n <= 100 else 503
    source = desk.csv(keys[:300])
    ended = await desk.run(source, service, "--max-outage", 1)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 69
    assert ended.json["counts"]["accepted"] == 100
    assert ended.json["counts"]["not_reached"] == 200
    assert ledger.of("failed") == ledger.of("unknown") == []
    assert len(service.calls) - 100 <= 2 * 32 + 60
    service.answer = lambda call: None
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_an_outage_is_seen_with_few_in_flight(desk: Any, service: Any, keys: list[str]):
    """With a small --concurrency, too, a service that is down for all fails no key: 69."""
    sources = [desk.csv(keys[n : n + 100], f"{n}.csv") for n in (0, 100, 200)]
    seen: Counter[str] = Counter()

    def answer(call: Any) -> int | None:
        which = next(source.path.name for source in sources if call.key <= source.rows[-1][1])
        seen[which] += 1
        return None if seen[which] <= 25 else 429

    service.answer = answer
    options = ("--max-outage", 3, "--max-attempts", 3)
    endings = await asyncio.gather(
        *(
            desk.run(source, service, *options, "--concurrency", number)
            for number, source in enumerate(sources, 1)
        )
    )
    for ended, source in zip(endings, sources, strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert ledger.of("failed") == ledger.of("unknown") == []
        assert ended.code == 69
        assert ended.json["counts"]["not_reached"] == 75


async def test_an_outage_that_ends_is_waited_for(desk: Any, service: Any, keys: list[str]):
    """A service that comes back within --max-outage has every key accepted in one run."""
    down = {"until": 0.0}

    def answer(call: Any) -> int | None:
        if call.n == 28:
            down["until"] = call.at + 0.4
        return 503 if call.at < down["until"] else None

    service.answer = answer
    source = desk.csv(keys[:40])
    options = ("--max-outage", 10, "--max-attempts", 4, "--concurrency", 2)
    ended = await desk.run(source, service, *options)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ledger.of("failed") == ledger.of("unknown") == []


async def test_a_service_that_always_asks_to_wait_is_left(desk: Any, service: Any, keys: list[str]):
    """Retry-After on every answer does not keep a run from ever ending: 69 after --max-outage."""
    first, second = desk.csv(keys[:100]), desk.csv(keys[100:200], "second.csv")
    wait = {"Retry-After": "1"}
    service.answer = lambda call: web.Response(
        status=429 if call.key < keys[100] else 503, headers=wait
    )
    endings = await asyncio.gather(
        *(desk.run(source, service, "--max-outage", 1.5) for source in (first, second))
    )
    for ended, source in zip(endings, (first, second), strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert ended.code == 69
        assert ledger.of("failed") == ledger.of("unknown") == []
        assert ended.json["elapsed_s"] < 20


async def test_a_wait_beyond_the_cap_is_not_begun(desk: Any, service: Any, keys: list[str]):
    """A Retry-After beyond what a run waits ends it with 69 and names the time."""

    def answer(call: Any) -> web.Response | None:
        if call.n < 20:
            return None
        return web.Response(status=503, headers={"Retry-After": "1000000000"})

    service.answer = answer
    source = desk.csv(keys[:100])
    ended = await desk.run(source, service, "--concurrency", 4)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 69
    assert "1000000000" in ended.json["error"].replace(",", "")
    assert len(service.calls) <= 20 + 4
    assert ledger.of("failed") == []


@pytest.mark.parametrize("first", [1, 120])
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials(
    desk: Any, service: Any, keys: list[str], status: int, first: int
):
    """401 or 403 stops the run within one round of requests: 77, no key failed; with the right
    API key the same command erases every key."""
    service.answer = lambda call: status if call.n >= first else None
    source = desk.csv(keys[:300])
    ended = await desk.run(source, service, "--concurrency", 8)
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (77, "stopped")
    assert len(service.calls) - first <= 8
    assert ledger.of("failed") == ledger.of("unknown") == []
    assert ended.json["counts"]["accepted"] == first - 1
    service.answer = lambda call: None
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0


@pytest.mark.parametrize("status", [404, 405, 407, 410])
async def test_a_version_that_is_gone(desk: Any, service: Any, keys: list[str], status: int):
    """What says that the call is not there stops the run with 76 and fails no key."""
    service.answer = lambda call: status
    source = desk.csv(keys[:100])
    ended = await desk.run(source, service, "--concurrency", 8, "--api-version", "v3")
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (76, "stopped")
    assert len(service.calls) <= 8
    assert ledger.of("failed") == []
    assert ended.json["counts"]["not_reached"] == 100
    if status in (404, 410):
        assert "v3" in ended.json["error"]
        assert "v4" in ended.json["error"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(desk: Any, service: Any, keys: list[str], status: int):
    """The first redirect stops the run with 76, and where it points to sees nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        service.answer = redirect(status, f"http://127.0.0.1:{other.getsockname()[1]}/")
        source = desk.csv(keys[:100])
        ended = await desk.run(source, service, "--concurrency", 8)
        with pytest.raises(BlockingIOError):
            other.accept()
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (76, "stopped")
    assert len(service.calls) <= 8
    assert ledger.of("failed") == []


@pytest.mark.parametrize("amount", [3, 200])
async def test_something_else_answers(desk: Any, service: Any, keys: list[str], amount: int):
    """Pages, empty answers, or JSON without a jid, for every key stop the run with 76; no key is
    failed."""
    answers = [html, lambda call: 204, lambda call: web.json_response({"status": "created"})]
    service.answer = lambda call: answers[int(call.key[:8], 16) // 1000](call)
    sources = [desk.csv(keys[n : n + amount], f"{n}.csv") for n in (0, 1000, 2000)]
    endings = await asyncio.gather(
        *(desk.run(source, service, "--max-outage", 1) for source in sources)
    )
    for ended, source in zip(endings, sources, strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert (ended.code, ended.json["outcome"]) == (76, "stopped")
        assert ledger.of("failed") == ledger.of("accepted") == []
        assert len(ledger.of("sent")) <= 60 + 128
        assert sum(service.per_key[key] for _, key in source.rows) <= 60


async def test_something_else_answers_in_the_middle(desk: Any, service: Any, keys: list[str]):
    """A login page that takes the service's place stops the run soon: 76, none failed."""
    service.answer = lambda call: html(call) if call.n > 100 else None
    source = desk.csv(keys[:400])
    ended = await desk.run(source, service, "--concurrency", 8)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 76
    assert ended.json["counts"]["accepted"] == 100
    assert ledger.of("failed") == []
    assert len(service.calls) <= 100 + 40


@pytest.mark.parametrize(("amount", "code"), [(6, 3), (400, 76)])
async def test_one_answer_for_everybody(
    desk: Any, service: Any, keys: list[str], amount: int, code: int
):
    """N15: where a gateway answers every key with the first one's job, one key is accepted, and the
    others are not; many of them stop the run with 76."""
    first = web.json_response({"jid": "the-first-one", "status": "created"}).body

    def answer(call: Any) -> web.Response:
        service.jids[call.key] = ["the-first-one"]
        return web.Response(body=first, content_type="application/json")

    service.answer = answer
    source = desk.csv(keys[:amount])
    ended = await desk.run(source, service, "--max-outage", 2, "--max-attempts", 2)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == code
    assert ended.json["counts"]["accepted"] == 1
    assert ledger.of("failed") == []
    if code == 76:
        assert "one jid for several keys" in ended.json["error"]
        assert len(service.calls) < 400
    # The next run does not take that job for one of its own either.
    again = await desk.run(source, service, "--max-attempts", 2)
    assert again.code == code
    assert len(desk.reconcile(source, again, service).of("accepted")) == 1


@pytest.mark.parametrize(
    ("allowed", "settled"), [("3", (4, 4 + 8)), ("10%", (100, 100 + 8)), ("0", (1, 1 + 8))]
)
async def test_too_many_failures(
    desk: Any, service: Any, keys: list[str], allowed: str, settled: tuple[int, int]
):
    """More failures than --max-failures allows stop the run with 69; a share counts from 100 keys
    on; the refusals themselves stay on record."""
    service.answer = lambda call: 400
    source = desk.csv(keys[:400])
    ended = await desk.run(source, service, "--max-failures", allowed, "--concurrency", 4)
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (69, "stopped")
    assert settled[0] <= len(ledger.of("failed")) <= settled[1] * 2
    assert ended.json["counts"]["not_reached"] > 200


async def test_failures_below_the_limit_stop_nothing(desk: Any, service: Any, keys: list[str]):
    """A fifth of refused keys is what the default allows."""
    service.answer = lambda call: 400 if int(call.key[:8], 16) % 5 == 4 else None
    source = desk.csv(keys[:200])
    ended = await desk.run(source, service, "--concurrency", 4)
    desk.reconcile(source, ended, service)
    assert ended.code == 3
    assert ended.json["counts"]["failed"] == 40


async def test_the_disk_is_full(desk: Any, service: Any, keys: list[str]):
    """A ledger that can grow no more ends the run with 74 at a proven prefix; nothing more is
    sent than it knows of, and the same command with room finishes it."""
    source = desk.csv(keys[:400])
    ended = await desk.run(source, service, file_size_limit=40_000)
    assert (ended.code, ended.json["outcome"]) == (74, "error")
    full = desk.ledger()
    assert ended.json["head"] == full.head
    seen = service.per_key.copy()
    assert seen
    assert all(count <= full.sent()[key] for key, count in seen.items())
    assert full.of("failed") == []
    accepted = {line["key"] for line in full.of("accepted")}
    assert ended.json["counts"]["accepted"] == len(accepted)
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ledger.raw.startswith(full.raw[: len(full.raw) - len(full.tail)])
    assert all(service.per_key[key] == seen[key] for key in accepted)


@pytest.mark.parametrize("how", ["rename", "delete", "replace", "append"])
async def test_a_ledger_that_is_taken_away(desk: Any, service: Any, keys: list[str], how: str):
    """A ledger that is moved, replaced or written by others ends the run with 74: nothing is
    sent that the ledger does not know of."""
    gate = asyncio.Event()

    async def answer(call: Any) -> None:
        if call.n > 20:
            await gate.wait()

    service.answer = answer
    source = desk.csv(keys[:300])
    running = await desk.start_run(source, service, "--concurrency", 4)
    await service.saw(24)
    path = desk.folder / "keys.ledger.ndjson"
    kept = desk.folder / "kept.ledger.ndjson"
    kept.hardlink_to(path)
    if how == "append":
        with path.open("ab") as file:
            file.write(FOREIGN_LINE)
    else:
        path.unlink()
    if how == "replace":
        path.write_bytes(kept.read_bytes())
    gate.set()
    ended = await running.ended()
    assert (ended.code, ended.json["outcome"]) == (74, "error")
    kept.write_bytes(
        kept.read_bytes().split(FOREIGN_LINE)[0]
    )  # what stands behind it proves nothing
    sent = desk.ledger(kept.name).sent()
    assert all(count <= sent[key] for key, count in service.per_key.items())
    assert len(service.calls) <= 24 + 16


async def test_too_many_failures_are_told_with_their_errors(
    desk: Any, service: Any, keys: list[str]
):
    """Which errors, how often, and --retry-failed where refused keys need it."""
    service.answer = lambda call: 400
    refused = await desk.run(desk.csv(keys[:30]), service, "--max-failures", 2)
    assert refused.code == 69
    assert re.search(r"keys failed \(\d+ http_400\)", refused.json["error"])
    assert "--max-failures and --retry-failed" in refused.json["error"]


async def test_rejected_rows_can_be_normal(desk: Any, service: Any, keys: list[str]):
    """--ok-if-rejected: 0 where rejected rows are all there is; a refused key is still 3."""
    source = desk.csv([*keys[:3], ""])
    checked = await desk.check(source, "--ok-if-rejected")
    ended = await desk.run(source, service, "--ok-if-rejected")
    assert (checked.code, ended.code, ended.json["counts"]["rejected"]) == (0, 0, 1)
    assert "1 row rejected" in ended.err
    service.answer = lambda call: 400
    more = await desk.run(desk.csv(keys[3:9], "more.csv"), service, "--ok-if-rejected")
    assert more.code == 3


async def test_too_few_files_are_told_before_anything_is_opened(desk: Any, keys: list[str]):
    """A sentence and 78, not a bug's; nothing is written."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))"
    source = desk.csv(keys[:3])
    ended = await desk.call("run", source, "--rehearse", "--json", before=limit)
    assert (ended.code, ended.json["outcome"]) == (78, "refused")
    assert "20 files only" in ended.json["error"]
    assert [path.name for path in desk.folder.iterdir()] == ["keys.csv"]


@pytest.mark.parametrize("full", [True, False])
async def test_help_that_nobody_reads_ends_quietly(desk: Any, full: bool):
    """A full disk or a closed pipe behind --help is no failure."""
    reader, writer = os.pipe()
    os.close(reader)
    target = os.open("/dev/full", os.O_WRONLY) if full else os.dup(writer)
    running = await desk.start("run", "--help", stdout=target, forked=False)
    os.close(target)
    os.close(writer)
    ended = await running.ended()
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("word", ["0", "false", "no", "off"])
async def test_a_switch_that_is_off_in_the_environment(desk: Any, word: str):
    """The words for off mean the same before the options are understood."""
    ended = await desk.call("frobnicate", env={"BULK_ERASER_JSON": word})
    assert (ended.code, ended.out) == (2, "")
    unclear = await desk.call("check", "x.csv", env={"BULK_ERASER_QUIET": "maybe"})
    assert unclear.code == 2
    assert "BULK_ERASER_QUIET must be 1 or 0" in unclear.err


async def test_a_typo_behind_options_and_what_is_no_ledger(desk: Any):
    """A suggestion in spite of options in front; `follow` names no option that it lacks."""
    typo = await desk.call("--quiet", "chekc", "keys.csv")
    assert (typo.code, "did you mean check?" in typo.err) == (2, True)
    path = desk.file("text.txt", "hello\n")
    ended = await desk.call("follow", path)
    assert (ended.code, "--ledger" in ended.err) == (79, False)


async def test_a_shell_can_complete_words(desk: Any):
    """click's completion is on."""
    env = {"_BULK_ERASER_COMPLETE": "bash_complete", "COMP_WORDS": "bulk-eraser ru"}
    ended = await desk.call(env=env | {"COMP_CWORD": "1"})
    assert (ended.code, ended.out) == (0, "plain,run\n")

"""One run from its start to its end, told by the service, the ledger and --json."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web


@pytest.mark.parametrize("version", ["v4", "v3", "v2"])
async def test_every_key_is_accepted(desk: Any, service: Any, keys: list[str], version: str):
    """A run over good keys ends with 0, one request and one job for each."""
    source = desk.csv(keys[:60])
    ended = await desk.run(source, service, "--api-version", version)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ended.json["outcome"] == "complete"
    assert ended.json["error"] is None
    assert ended.json["counts"]["accepted"] == 60
    assert (ended.json["requests"], ended.json["retries"]) == (60, 0)
    assert service.per_key == Counter(keys[:60])
    base = "/api/v2" if version == "v2" else f"/api/admin/{version}"
    assert {c.path for c in service.calls} == {f"{base}/event-data/create-remove-customer-job"}
    started = ledger.of("run_started")[0]
    assert (started["api"], started["target"]) == (version, service.origin)
    assert (started["simulated"], started["keys"], started["format"]) == (False, "raw", 1)
    for line in ledger.of("accepted"):
        assert (line["status"], line["http_status"], line["attempts"]) == ("created", 200, 1)
        assert line["elapsed_ms"] >= 0


async def test_a_settled_input_is_nothing_to_do(desk: Any, service: Any, keys: list[str]):
    """The same command after a complete run ends with 0 and sends nothing."""
    source = desk.csv(keys[:5])
    await desk.run(source, service)
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ended.json["counts"]["already_settled"] == 5
    assert len(service.calls) == 5


async def test_a_request_leaves_after_its_line_is_written(desk: Any, service: Any, keys: list[str]):
    """When a request arrives, its `sent` line stands in a proven group of the ledger."""
    unproven = []

    def look(call: Any) -> int | None:
        if desk.ledger().sent()[call.key] < call.nth:
            unproven.append(call.key)
        return 503 if call.nth < 2 and call.n % 3 == 0 else None

    service.answer = look
    source = desk.csv(keys[:40])
    ended = await desk.run(source, service, "--concurrency", 4)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert len(service.calls) > 40
    assert unproven == []


async def test_in_flight_and_ahead_are_bounded(desk: Any, service: Any, keys: list[str]):
    """At most --concurrency requests are open, at most four times as many rows are committed
    ahead, however slowly the service answers."""
    gate = asyncio.Semaphore(0)
    ahead = []

    async def answer(call: Any) -> None:
        await gate.acquire()
        ledger = desk.ledger()
        ahead.append(len(set(ledger.sent()) - {line["key"] for line in ledger.of("accepted")}))

    service.answer = answer
    source = desk.csv(keys[:200])
    running = await desk.start_run(source, service, "--concurrency", 5)
    await service.saw(5)
    assert service.in_flight == 5
    for number in range(1, 201):
        gate.release()
        await service.saw(
            min(1 + number, 200)
        )  # not more: slow answers may make the window smaller
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert service.most_in_flight == 5
    assert 5 < max(ahead) <= 20


@asynccontextmanager
async def lateness() -> AsyncIterator[list[float]]:
    """By how many seconds the loop of this process, in which the service runs, is late."""
    late: list[float] = [0.0]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            late.append(loop.time() - due)

    watching = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watching.cancel()


async def test_the_rate_is_kept(desk: Any, service: Any, keys: list[str]):
    """The service sees requests at --rate, and no bursts; tests of pacing have the exact bound."""
    source = desk.csv(keys[:250])
    async with lateness() as late:
        ended = await desk.run(source, service, "--rate", 100)
    assert ended.code == 0
    at = [call.at for call in service.calls]
    # What a busy machine lets the command send late, or this process see late, falls into another
    # second.
    allowed = 105 + 300 * max(late)
    assert max(sum(1 for t in at if start <= t < start + 1) for start in at) <= allowed
    assert 2.4 <= at[-1] - at[0] <= 5


async def test_a_refused_key_is_failed_for_good(desk: Any, service: Any, keys: list[str]):
    """400 is one attempt and `failed`, permanent; the others are accepted, exit 3."""
    bad = {keys[0]: 400, keys[7]: 413, keys[8]: 414, keys[19]: 422}
    service.answer = lambda call: bad.get(call.key)
    source = desk.csv(keys[:20])
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    assert ended.json["outcome"] == "complete"
    assert ended.json["counts"]["failed"] == 4
    for line in ledger.of("failed"):
        assert (line["permanent"], line["possible_job"], line["attempts"]) == (True, False, 1)
        assert line["http_status"] == bad[line["key"]]
        assert line["error"] == f"http_{bad[line['key']]}"
    assert all(service.per_key[key] == 1 for key in bad)


async def test_evidence_of_a_refusal_holds_neither_key(
    desk: Any, service: Any, keys: list[str], api_key: str
):
    """`detail` is the start of the body, printable, without the customer key or the API key."""
    hostile = "\x1b[31m::error::\r\n"

    def answer(call: Any) -> web.Response:
        return web.Response(
            status=400, text=f"{hostile}no {call.key} / {call.key.upper()} for {call.api_key} " * 9
        )

    service.answer = answer
    ended = await desk.run(desk.csv(keys[:1]), service, "--verbose")
    assert ended.code == 3
    (failed,) = desk.ledger().of("failed")
    assert failed["detail"].isprintable()
    assert 100 < len(failed["detail"]) <= 200
    assert keys[0] not in failed["detail"].lower()
    assert api_key not in failed["detail"]


@pytest.mark.parametrize("place", [0, 30, 59])
async def test_a_poisoned_key_stops_nothing(desk: Any, service: Any, keys: list[str], place: int):
    """One key that is always answered 500 becomes `unknown`, wherever it stands and however few
    are in flight; all others are accepted, exit 3."""
    service.answer = lambda call: 500 if call.key in (keys[place], keys[1000 + place]) else None
    sources = {1: desk.csv(keys[:60]), 32: desk.csv(keys[1000:1060], "second.csv")}
    endings = await asyncio.gather(
        *(
            desk.run(source, service, "--max-attempts", 3, "--concurrency", concurrency)
            for concurrency, source in sources.items()
        )
    )
    for ended, source in zip(endings, sources.values(), strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, shared=True, name=name)
        assert ended.code == 3
        assert ended.json["counts"]["accepted"] == 59
        (unknown,) = ledger.of("unknown")
        assert (unknown["key"], unknown["error"]) == (source.rows[place][1], "http_500")
        assert 3 <= unknown["attempts"] == service.per_key[unknown["key"]] <= 5


async def test_retries_that_run_out_are_told_apart(desk: Any, service: Any, keys: list[str]):
    """A key whose attempts were certainly not carried out is `failed` and sent again by the next
    run; if one attempt may have been, `possible_job` says so; else the key is `unknown`."""
    script = {
        keys[3]: [429, 429],
        keys[4]: [500, 429],
        keys[5]: [429, 500],
        keys[6]: [service.HANG_UP] * 9,
    }

    def answer(call: Any) -> Any:
        steps = script.get(call.key)
        return steps[min(call.nth, len(steps)) - 1] if steps else None

    service.answer = answer
    source = desk.csv(keys[:12])
    ended = await desk.run(source, service, "--max-attempts", 2, "--concurrency", 1)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    last = ledger.last()
    for key, possible in ((keys[3], False), (keys[4], True)):
        assert last[key]["type"] == "failed"
        assert (last[key]["permanent"], last[key]["possible_job"]) == (False, possible)
    assert last[keys[5]]["type"] == last[keys[6]]["type"] == "unknown"
    script.clear()
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert len(desk.ledger().of("sent", run=1)) == 4


async def test_a_lost_answer_is_asked_for_again(desk: Any, service: Any, keys: list[str]):
    """A connection that breaks after the request is a second `sent` line, then `accepted`."""
    lost = keys[:70:7]
    service.answer = lambda call: service.HANG_UP if call.nth == 1 and call.key in lost else None
    source = desk.csv(keys[:70])
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    repeated = {key for key, count in ledger.sent().items() if count > 1}
    assert len(repeated) == ended.json["retries"] >= 10
    attempts = {line["key"]: line["attempts"] for line in ledger.of("accepted")}
    assert attempts == ledger.sent()
    for key in repeated:
        assert [line["attempt"] for line in ledger.of("sent") if line["key"] == key] == [1, 2]


@pytest.mark.parametrize("word", ["started", "done", "", "neu—wort"])
async def test_an_unknown_status_word_is_kept(desk: Any, service: Any, keys: list[str], word: str):
    """With a jid, any status word is an acceptance, and stands in the ledger as it came."""
    service.answer = lambda call: service.job(call, word)
    source = desk.csv(keys[:2])
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert [line["status"] for line in ledger.of("accepted")] == [word, word]


async def test_a_bad_answer_for_one_key_is_unknown(desk: Any, service: Any, keys: list[str]):
    """200 without a usable jid is never an acceptance, and in the end `unknown`."""
    bodies = ["", "<html>", '{"jid":""}', '{"jid":7}', '{"status":"created"}', '["jid"]', '{"jid"']
    poisoned = dict(zip(keys[2:], bodies, strict=False))

    def answer(call: Any) -> web.Response | None:
        body = poisoned.get(call.key)
        return None if body is None else web.Response(text=body, content_type="application/json")

    service.answer = answer
    source = desk.csv(keys[:60])
    ended = await desk.run(source, service, "--max-attempts", 2)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    assert ended.json["counts"]["unknown"] == len(bodies)
    assert {line["key"] for line in ledger.of("unknown")} == set(poisoned)
    assert {line["error"] for line in ledger.of("unknown")} == {"bad_answer"}


async def test_a_slow_answer_is_given_up(desk: Any, service: Any, keys: list[str]):
    """No answer within --timeout is repeated, and in the end `unknown`."""

    async def answer(call: Any) -> None:
        if call.key == keys[9]:
            await asyncio.Event().wait()

    service.answer = answer
    source = desk.csv(keys[:20])
    ended = await desk.run(source, service, "--timeout", 0.3, "--max-attempts", 2)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    (unknown,) = ledger.of("unknown")
    assert (unknown["key"], unknown["error"]) == (keys[9], "timeout")
    assert service.per_key[keys[9]] == unknown["attempts"] == 2


@pytest.mark.parametrize("kind", ["seconds", "date"])
async def test_retry_after_pauses_the_whole_pool(
    desk: Any, service: Any, keys: list[str], kind: str
):
    """After a 429 or 503 with Retry-After nothing but what was in flight arrives for that long."""
    asked: list[float] = []

    def answer(call: Any) -> web.Response | None:
        if call.n != 50:
            return None
        asked.append(call.at)
        headers = {"Retry-After": "1"}
        if kind == "date":
            headers = {
                "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
                "Retry-After": "Sun, 06 Nov 1994 08:49:38 GMT",
            }
        return web.Response(status=429 if kind == "seconds" else 503, headers=headers)

    service.answer = answer
    source = desk.csv(keys[:400])
    ended = await desk.run(source, service, "--concurrency", 8)
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    since = [call.at - asked[0] for call in service.calls[50:]]
    in_flight = [at for at in since if at < 1]
    assert len(in_flight) < 8
    assert len(since) - len(in_flight) > 300
    assert max(since) < 20


async def test_a_retry_after_that_means_nothing_is_ignored(
    desk: Any, service: Any, keys: list[str]
):
    """A wait that is not written as the standard says does not hold the run up."""
    strange = [
        ["-1"],
        ["100.5"],
        ["1_00"],
        ["٣٠٠"],
        ["Sun Nov  6 08:49:37 2094"],
        ["Sun, 06 Nov 1994 08:49:37 GMT"],
        ["100", "100"],
    ]

    def answer(call: Any) -> web.Response | None:
        which, number = divmod(int(call.key[:8], 16), 100)
        if number != 3 or call.nth > 1:
            return None
        return web.Response(status=503, headers=[("Retry-After", text) for text in strange[which]])

    service.answer = answer
    sources = [desk.csv(keys[n * 100 : n * 100 + 30], f"{n}.csv") for n in range(len(strange))]
    for half in (sources[::2], sources[1::2]):
        endings = await asyncio.gather(*(desk.run(source, service) for source in half))
        for ended, source in zip(endings, half, strict=True):
            name = f"{source.path.stem}.ledger.ndjson"
            desk.reconcile(source, ended, service, shared=True, name=name)
            assert ended.code == 0
            assert ended.json["retries"] == 1
            assert ended.json["elapsed_s"] < 20


async def test_rows_that_are_not_sent_are_booked(desk: Any, service: Any, keys: list[str]):
    """Rejected, duplicate and excluded rows each have their line, and nothing is sent for them."""
    hold = desk.csv(keys[4:6], "hold.csv")
    source = desk.csv([keys[0], "", keys[1], keys[0], keys[4], "", keys[4], keys[5], keys[2]])
    ended = await desk.run(source, service, "--exclude", hold)
    ledger = desk.reconcile(source, ended, service, held=keys[4:6])
    assert ended.code == 3
    assert set(service.per_key) == set(keys[:3])
    rejected = [(line["line"], line["error"]) for line in ledger.of("rejected")]
    assert rejected == [(3, "empty_key"), (7, "empty_key")]
    duplicate = [(line["key"], line["line"], line["first_line"]) for line in ledger.of("duplicate")]
    assert duplicate == [(keys[0], 5, 2), (keys[4], 8, 6)]
    assert [(line["key"], line["line"]) for line in ledger.of("excluded")] == [
        (keys[4], 6),
        (keys[5], 9),
    ]
    facts = ledger.of("run_started")[0]["input"]
    counted = [facts[name] for name in ("rows", "keys", "rejected", "duplicate")]
    assert counted == [9, 5, 2, 2]


async def test_strict_sends_nothing_if_a_row_is_rejected(desk: Any, service: Any, keys: list[str]):
    """With --strict one bad row refuses the run before a ledger or a request exists."""
    ended = await desk.run(desk.csv([*keys[:5], ""]), service, "--strict")
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0
    good = await desk.run(desk.csv(keys[:5]), service, "--strict")
    assert good.code == 0


async def test_a_dry_run_leaves_no_trace(desk: Any, service: Any, keys: list[str]):
    """--dry-run counts what would be sent, without consent, connection, API key or file."""
    source = desk.csv([*keys[:9], keys[0]])
    command = ("run", source, "--base-url", service.origin, "--dry-run", "--json")
    before = set(desk.folder.iterdir())
    ended = await desk.call(*command, env={"ELEVATE_API_KEY": ""})
    assert ended.code == 0
    assert ended.json["counts"]["not_reached"] == 9
    assert ended.json["counts"]["duplicate"] == 1
    assert ended.json["requests"] == 0
    assert service.calls == []
    assert set(desk.folder.iterdir()) == before


async def test_a_dry_run_knows_the_ledger(desk: Any, service: Any, keys: list[str]):
    """--dry-run on a ledger tells what is settled and changes not one byte of it."""
    source = desk.csv(keys[:9])
    await desk.run(source, service, "--limit", 4)
    before = desk.ledger().raw
    ended = await desk.run(source, service, "--dry-run")
    assert ended.json["counts"]["already_settled"] == 4
    assert ended.json["counts"]["not_reached"] == 5
    assert desk.ledger().raw == before


async def test_a_dry_run_says_what_would_be_sent(desk: Any, service: Any, keys: list[str]):
    """The number is that of a run: with --limit, with --retry-failed, and beside keys that were
    refused for good, which are not settled well (3)."""
    source = desk.csv(keys[:6])
    limited = await desk.run(source, service, "--dry-run", "--limit", 2)
    assert (limited.code, "Dry run: 2 keys would be sent" in limited.err) == (0, True)
    service.answer = lambda call: 400 if call.key in keys[:3] else None
    assert (await desk.run(source, service, "--max-failures", "100%")).code == 3
    plain = await desk.run(source, service, "--dry-run")
    assert (plain.code, "Dry run: 0 keys would be sent" in plain.err) == (3, True)
    again = await desk.run(source, service, "--dry-run", "--retry-failed")
    assert (again.code, "Dry run: 3 keys would be sent" in again.err) == (0, True)
    assert len(service.calls) == 6


async def test_a_rehearsal_never_touches_the_real_ledger(desk: Any, service: Any, keys: list[str]):
    """--rehearse needs no consent or API key, sends nothing to the service, has its own ledger,
    and that ledger is refused for a real run."""
    source = desk.csv(keys[:300])
    rehearsed = "keys.rehearsal.ndjson"
    command = ("run", source, "--base-url", service.origin, "--rehearse", "--json", "--rate", 0)
    ended = await desk.call(*command, env={"ELEVATE_API_KEY": ""})
    ledger = desk.reconcile(source, ended, name=rehearsed)
    assert ended.code == 0
    assert service.calls == []
    assert desk.ledger_size() == 0
    started = ledger.of("run_started")[0]
    assert (started["target"], started["simulated"]) == ("rehearsal", True)
    real = await desk.run(source, service, "--ledger", rehearsed)
    assert (real.code, real.json["outcome"]) == (78, "refused")
    assert service.calls == []
    assert desk.ledger(rehearsed).raw == ledger.raw
    await desk.run(source, service)
    before = desk.ledger().raw
    named = await desk.call(*command, "--ledger", "keys.ledger.ndjson")
    assert named.code == 0
    assert named.json["counts"]["already_settled"] == 300
    assert desk.ledger().raw == before


async def test_input_from_stdin(desk: Any, service: Any, keys: list[str]):
    """A pipe is read as a file is, when a ledger is named."""
    source = desk.ndjson(keys[:50])
    command = ("--format", "ndjson", "--ledger", "keys.ledger.ndjson")
    running = await desk.start_run("-", service, *command, stdin=asyncio.subprocess.PIPE)
    ended = await running.ended(source.path.read_bytes())
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    refused = await desk.run("-", service, "--format", "ndjson")
    assert (refused.code, refused.json["outcome"]) == (2, "refused")


async def test_input_from_a_fifo(desk: Any, service: Any, keys: list[str]):
    """A named pipe is read as a file is."""
    source = desk.csv(keys[:50])
    fifo = desk.folder / "fifo.csv"
    os.mkfifo(fifo)
    running = await desk.start_run(fifo, service, "--ledger", "keys.ledger.ndjson")
    await asyncio.to_thread(fifo.write_bytes, source.path.read_bytes())
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


@pytest.mark.parametrize("name", ["with a space.csv", "ключи ::error::.csv", b"latin-\xe9.csv"])
async def test_a_name_of_any_kind(desk: Any, service: Any, keys: list[str], name: str | bytes):
    """Whatever the system allows as a file's name works, and its ledger stands beside it."""
    name = os.fsdecode(name)
    source = desk.csv(keys[:5], name)
    ended = await desk.run(source, service)
    ledger = name.removesuffix(".csv") + ".ledger.ndjson"
    desk.reconcile(source, ended, service, name=ledger)
    assert ended.code == 0


async def test_hostile_keys_arrive_byte_for_byte(desk: Any, service: Any):
    """Keys with signs that mean something in URLs, terminals or CI logs arrive as they were."""
    hostile = [
        "a+b",
        "a#b",
        "a&customerKey=b",
        "a%20b",
        "a/b?c=d",
        "a b",
        "é",
        "e\u0301",
        "😀",
        "::error::x",
        "=1+1",
        '"quoted"',
        "<script>",
        "[x](y)",
        "..",
    ]
    source = desk.ndjson(hostile)
    ended = await desk.run(source, service, "--verbose")
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert service.per_key == Counter(hostile)
    assert "::error::" not in ended.out + ended.err


async def test_options_from_the_environment(desk: Any, service: Any, keys: list[str]):
    """Each option may come from its variable; one on the command line wins."""
    source = desk.csv(keys[:10], "keys.data")
    source.path.write_text(source.path.read_text().replace(",", ";").replace("customerKey", "who"))
    environment = {
        "ELEVATE_BASE_URL": service.origin,
        "BULK_ERASER_API_VERSION": "v3",
        "BULK_ERASER_CONCURRENCY": "3",
        "BULK_ERASER_DELIMITER": ";",
        "BULK_ERASER_ENCODING": "latin-1",
        "BULK_ERASER_FORMAT": "csv",
        "BULK_ERASER_JSON": "1",
        "BULK_ERASER_KEY_FIELD": "who",
        "BULK_ERASER_LEDGER": "named.ledger.ndjson",
        "BULK_ERASER_LIMIT": "4",
        "BULK_ERASER_MAX_ATTEMPTS": "5",
        "BULK_ERASER_MAX_FAILURES": "7",
        "BULK_ERASER_MAX_OUTAGE": "8",
        "BULK_ERASER_QUIET": "1",
        "BULK_ERASER_RATE": "900",
        "BULK_ERASER_REFERENCE": "ticket 9",
        "BULK_ERASER_REQUESTER": "the DPO",
        "BULK_ERASER_STRICT": "1",
        "BULK_ERASER_TIMEOUT": "11",
    }
    ended = await desk.call("run", source, "--yes", "--rate", "800", env=environment)
    ledger = desk.reconcile(source, ended, service, name="named.ledger.ndjson")
    assert ended.code == 75
    (started,) = ledger.of("run_started")
    assert started["settings"] == {
        "concurrency": 3,
        "rate": 800,
        "max_attempts": 5,
        "timeout_s": 11,
        "max_outage_s": 8,
        "max_failures": "7",
        "limit": 4,
        "retry_failed": False,
    }
    assert (started["api"], started["requester"], started["reference"]) == (
        "v3",
        "the DPO",
        "ticket 9",
    )
    facts = started["input"]
    assert [facts[n] for n in ("format", "key_field", "delimiter")] == ["csv", "who", ";"]


async def test_the_hold_list_from_the_environment(desk: Any, service: Any, keys: list[str]):
    """A hold list that the environment names holds."""
    source, hold = desk.csv(keys[:10]), desk.csv(keys[:3], "hold.csv")
    ended = await desk.run(source, service, env={"BULK_ERASER_EXCLUDE": str(hold)})
    desk.reconcile(source, ended, service, held=keys[:3])
    assert ended.code == 0
    assert not set(keys[:3]) & set(service.per_key)


async def test_the_api_key_file_comes_before_the_environment(
    desk: Any, service: Any, keys: list[str], api_key: str
):
    """--api-key-file wins over ELEVATE_API_KEY, one newline at its end is no part of it, and a
    file that others may read is warned of."""
    secret = desk.folder / "secret"
    secret.write_text(api_key + "\n")
    desk.may_hold_the_api_key.add(secret)
    other = {"ELEVATE_API_KEY": "another-key"}
    source = desk.csv(keys[:3])
    warned = []
    for mode in (0o644, 0o600):
        secret.chmod(mode)
        ended = await desk.run(
            source,
            service,
            "--api-key-file",
            secret,
            "--ledger",
            f"{mode}.ledger.ndjson",
            env=other,
        )
        assert ended.code == 0
        warned.append("Warning" in ended.err and "secret" in ended.err)
    assert warned == [True, False]
    assert {call.api_key for call in service.calls} == {api_key}
    await desk.run(source, service, env=other)
    assert service.calls[-1].api_key == "another-key"


async def test_the_rows_may_be_of_one_key_only(desk: Any, service: Any, keys: list[str]):
    """A file that repeats one key is one request."""
    source = desk.csv([keys[0]] * 50)
    ended = await desk.run(source, service, "--allow", "duplicates")
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert service.per_key == {keys[0]: 1}
    assert ended.json["counts"]["duplicate"] == 49


async def test_any_number_of_keys_ends(desk: Any, service: Any, keys: list[str]):
    """Inputs around the sizes of queue and pool come to their end."""
    amounts = [1, 31, 32, 33, 127, 128, 129, 193]
    sources = [desk.csv(keys[n * 200 : n * 200 + a], f"{a}.csv") for n, a in enumerate(amounts)]
    endings = await asyncio.gather(*(desk.run(source, service) for source in sources))
    for ended, source in zip(endings, sources, strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        desk.reconcile(source, ended, service, shared=True, name=name)
        assert ended.code == 0
    assert len(service.calls) == sum(amounts)


async def test_many_rows_that_are_not_sent_between_two_keys(
    desk: Any, service: Any, keys: list[str]
):
    """Thousands of rejected and duplicate rows in a row are recorded in their order, and the keys
    behind them are sent."""
    source = desk.csv([keys[0], *[""] * 2500, *[keys[0]] * 2500, keys[1]])
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert service.per_key == {keys[0]: 1, keys[1]: 1}
    recorded = [line["line"] for line in ledger.lines if line["type"] in ("rejected", "duplicate")]
    assert recorded == list(range(3, 5003))
    again = await desk.run(source, service)
    assert len(desk.reconcile(source, again, service).of("duplicate")) == 2500

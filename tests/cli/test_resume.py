"""Runs that continue a ledger: by key, whatever became of the input, and nothing twice."""

import asyncio
import json
import random
import signal
from typing import Any

import pytest
from aiohttp import web


async def test_the_input_may_be_sorted_cut_and_extended(desk: Any, service: Any, keys: list[str]):
    """A run goes on by key, not by position: it sends what this input holds and is not settled,
    and says that the input has changed."""
    service.answer = lambda call: 400 if call.key in keys[10:13] else None
    source = desk.csv(keys[:100])
    ended = await desk.run(source, service, "--limit", 60)
    desk.reconcile(source, ended, service)
    changed = [*keys[200:230], *reversed(keys[5:80]), keys[3]]
    random.Random(7).shuffle(changed)
    sent = len(service.calls)
    source = desk.csv(changed)
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    assert ended.json["counts"]["already_settled"] == 53
    assert ended.json["counts"]["failed"] == 3
    assert ended.json["counts"]["accepted"] == len(service.calls) - sent == 50
    assert "changed" in ended.err
    first, second = (line["input"]["sha256"] for line in ledger.of("run_started"))
    assert first != second


async def test_a_ledger_of_another_batch(desk: Any, service: Any, keys: list[str]):
    """A ledger that has no key in common with the input is refused with 2, and untouched, unless
    it is said to be the same batch; one key in common is enough."""
    await desk.run(desk.csv(keys[:20]), service)
    before, sent = desk.ledger().raw, len(service.calls)
    source = desk.csv(keys[100:120])
    for option in ("--yes", "--dry-run"):
        ended = await desk.run(source, service, option, env={"BULK_ERASER_SAME_BATCH": "1"})
        assert (ended.code, ended.json["outcome"]) == (2, "refused")
        assert "(20)" in ended.json["error"]
        assert "--same-batch" in ended.json["error"]
    assert (desk.ledger().raw, len(service.calls)) == (before, sent)
    ended = await desk.run(source, service, "--same-batch")
    assert (ended.code, ended.json["counts"]["accepted"]) == (0, 20)
    ended = await desk.run(desk.csv([keys[0], *keys[200:210]]), service)
    assert (ended.code, ended.json["counts"]["accepted"]) == (0, 10)


async def test_the_format_and_version_may_change(desk: Any, service: Any, keys: list[str]):
    """The same keys in another format, sent to another version of the API, are the same keys."""
    await desk.run(desk.csv(keys[:20]), service, "--limit", 15)
    source = desk.ndjson(keys[:20])
    ended = await desk.run(source, service, "--api-version", "v3")
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ended.json["counts"]["already_settled"] == 15
    assert [line["api"] for line in ledger.of("run_started")] == ["v4", "v3"]


async def test_a_limit_takes_the_first_unsettled_keys(desk: Any, service: Any, keys: list[str]):
    """--limit N sends the first N unsettled keys of the input and ends with 75 while any are
    left."""
    source = desk.csv([keys[0], keys[0], *keys[1:12]])
    for first, code in ((0, 75), (5, 75), (10, 0)):
        ended = await desk.run(source, service, "--limit", 5)
        desk.reconcile(source, ended, service)
        assert ended.code == code
        assert {call.key for call in service.calls[first:]} == set(keys[:12][first : first + 5])
    assert len(service.calls) == 12


@pytest.mark.parametrize("status", [429, 500])
async def test_a_limit_leaves_keys_that_failed_before(
    desk: Any, service: Any, keys: list[str], status: int
):
    """Keys that an earlier run left `failed` or `unknown` and that --limit leaves once more are
    left: 75, not 3."""
    poisoned = keys[:3]
    service.answer = lambda call: status if call.key in poisoned else None
    source = desk.csv(keys[:20])
    options = ("--concurrency", 32, "--max-attempts", 1)
    assert (await desk.run(source, service, *options)).code == 3
    service.answer = lambda call: None
    for code in (75, 75, 0):
        ended = await desk.run(source, service, "--limit", 1)
        desk.reconcile(source, ended, service)
        assert ended.code == code
        assert ended.json["outcome"] == ("incomplete" if code else "complete")


async def test_rows_not_sent_are_booked_once_for_an_input(desk: Any, service: Any, keys: list[str]):
    """`rejected` and `duplicate` lines of one input stand in its ledger once, however many runs
    it takes; a changed input has its own."""
    rows = [keys[0], "", *keys[1:20], keys[3], "", *keys[20:40], keys[25], ""]
    source = desk.csv(rows)
    for limit in (5, 10, 100):
        ended = await desk.run(source, service, "--limit", limit)
        desk.reconcile(source, ended, service)
    assert ended.code == 3
    ledger = desk.ledger()
    assert [line["line"] for line in ledger.of("rejected")] == [3, 24, 46]
    assert [line["line"] for line in ledger.of("duplicate")] == [23, 45]
    source = desk.csv(["", *rows])
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert [line["line"] for line in ledger.of("rejected", run=3)] == [2, 4, 25, 47]
    source = desk.csv(rows)
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ledger.of("rejected", run=4) == ledger.of("duplicate", run=4) == []


async def test_rows_not_sent_are_booked_once_over_interruptions(
    desk: Any, service: Any, keys: list[str]
):
    """Killed while it books thousands of rejected and duplicate rows, a run goes on where the
    ledger ends: each line is there once."""
    rows = [keys[0], *["" if n % 3 else keys[n % 7] for n in range(40_000)]]
    source = desk.csv(rows)
    for kill_at in (100_000, 900_000, 2_000_000):
        running = await desk.start_run(source, service)
        await desk.until(lambda size=kill_at: desk.ledger_size() >= size)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == -signal.SIGKILL
    partial = len(desk.ledger().of("rejected"))
    assert 0 < partial < rows.count("")
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    rejected = [line for line, key in source.rows if not key]
    assert [line["line"] for line in ledger.of("rejected")] == rejected
    duplicates = [line["line"] for line in ledger.of("duplicate")]
    assert len(duplicates) == len(set(duplicates)) == ended.json["counts"]["duplicate"]


async def test_retry_failed_sends_refused_keys_again(desk: Any, service: Any, keys: list[str]):
    """A key that was refused for good is sent again with --retry-failed only; what was accepted
    never is."""
    service.answer = lambda call: 400 if call.key in keys[:4] else None
    source = desk.csv(keys[:20])
    for options, requests in (((), 20), ((), 20), (("--retry-failed",), 24)):
        ended = await desk.run(source, service, *options)
        desk.reconcile(source, ended, service)
        assert (ended.code, len(service.calls)) == (3, requests)
        assert ended.json["counts"]["failed"] == 4
    from_environment = await desk.run(source, service, env={"BULK_ERASER_RETRY_FAILED": "1"})
    assert (from_environment.code, len(service.calls)) == (3, 24)
    service.answer = lambda call: None
    ended = await desk.run(source, service, "--retry-failed")
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert len(service.calls) == 28


@pytest.mark.parametrize("status", ["error", "not_found", "done", "running"])
async def test_retry_failed_looks_at_the_last_job_status(
    desk: Any, service: Any, keys: list[str], status: str
):
    """An accepted key is sent again only with --retry-failed, and only if its last job ended in
    `error` or is `not_found`."""
    from hashlib import sha256

    source = desk.csv(keys[:3])
    await desk.run(source, service)
    ledger = desk.ledger()
    jid = ledger.of("accepted")[0]["jid"]
    of_job = {"at": "2030-01-01T00:00:00.000Z", "key": keys[0], "jid": jid, "status": status}
    begun = ledger.of("run_started")[0] | {"run": "f", "command": "follow", "input": None}
    told = {"type": "job_status"} | of_job | {"next_check_at": None}
    line = b"".join(
        json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in (begun, told)
    )
    digest = sha256(ledger.head.encode() + line).hexdigest()
    commit = f'{{"type":"commit","at":"2030-01-01T00:00:00.000Z","lines":2,"sha256":"{digest}"}}\n'
    with (desk.folder / "keys.ledger.ndjson").open("ab") as file:
        file.write(line + commit.encode())
    lost = status in ("error", "not_found")
    plain = await desk.run(source, service)
    desk.reconcile(source, plain, service)
    assert (plain.code, len(service.calls)) == (3 if lost else 0, 3)
    assert plain.json["counts"]["job_failed"] == lost
    assert plain.json["next"][-1].endswith("--retry-failed" if lost else "keys.ledger.ndjson")
    assert ("Complete" in plain.err) is not lost
    again = await desk.run(source, service, "--retry-failed")
    desk.reconcile(source, again, service, again=True)
    assert again.code == 0
    assert len(service.calls) == 3 + lost


async def test_a_service_may_give_the_job_of_a_key_again(desk: Any, service: Any, keys: list[str]):
    """A service that has one job for each key, however often it is asked, is no cache that answers
    everybody with the first job."""

    def answer(call: Any) -> web.Response:
        service.jids[call.key] = [f"job-of-{keys.index(call.key)}"]
        return web.json_response({"jid": service.jids[call.key][0], "status": "created"})

    service.answer = answer
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    service.status = lambda jid: "error"
    followed = await desk.call("follow", "keys.ledger.ndjson", "--now", "--json")
    again = await desk.run(source, service, "--retry-failed")
    ledger = desk.reconcile(source, again, service, again=True)
    assert (followed.code, again.code) == (3, 0)
    assert len(ledger.of("accepted")) == 6


async def test_a_hold_list_must_not_be_forgotten(desk: Any, service: Any, keys: list[str]):
    """A ledger that had a hold list refuses a run without one (2), whichever way it reads, until
    --no-exclude says that it is meant; then the held keys are sent."""
    source = desk.csv(keys[:20])
    hold = desk.csv([*keys[5:8], keys[500]], "hold.csv")
    ended = await desk.run(source, service, "--exclude", hold)
    desk.reconcile(source, ended, service, held=keys[5:8])
    assert (ended.code, ended.json["counts"]["excluded"]) == (0, 3)
    before = desk.ledger().raw
    for more in ((), ("--dry-run",), ("--retry-failed",)):
        forgotten = await desk.run(source, service, *more)
        assert (forgotten.code, forgotten.json["outcome"]) == (2, "refused")
    assert desk.ledger().raw == before
    assert len(service.calls) == 17
    hold = desk.csv([keys[6], keys[0]], "hold.csv")
    ended = await desk.run(source, service, "--exclude", hold)
    desk.reconcile(source, ended, service, held=[keys[6], keys[0]])
    assert (ended.code, ended.json["counts"]["excluded"]) == (3, 2)
    assert ended.json["counts"]["held_too_late"] == 1
    assert len(service.calls) == 19
    ended = await desk.run(source, service, "--no-exclude")
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["counts"]["excluded"]) == (0, 0)
    assert len(service.calls) == 20
    assert max(service.per_key.values()) == 1
    forgotten = await desk.run(source, service)
    assert forgotten.code == 2  # what was meant for one run is not meant for all


async def test_a_hold_list_that_cannot_be_read_is_refused(desk: Any, service: Any, keys: list[str]):
    """A row of the hold list without a usable key is 65: no hold is passed over."""
    source, hold = desk.csv(keys[:20]), desk.csv([keys[1], ""], "hold.csv")
    ended = await desk.run(source, service, "--exclude", hold)
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_a_hold_list_from_a_pipe(desk: Any, service: Any, keys: list[str]):
    """A hold list may come from stdin; its keys are not sent."""
    source, hold = desk.csv(keys[:20]), desk.csv(keys[4:8], "hold.csv")
    options = ("--exclude", "-", "--format", "csv")
    running = await desk.start_run(source, service, *options, stdin=asyncio.subprocess.PIPE)
    ended = await running.ended(hold.path.read_bytes())
    desk.reconcile(source, ended, service, held=keys[4:8])
    assert ended.code == 0
    assert not set(keys[4:8]) & set(service.per_key)


@pytest.mark.parametrize("how", ["edit", "append", "truncate", "replace", "delete"])
async def test_an_input_that_changes_on_the_way(desk: Any, service: Any, keys: list[str], how: str):
    """A file that is changed while it is sent stops the run with 65: no key is sent that was not
    surveyed, none is failed, and the same command goes on with what the file holds then."""
    gate = asyncio.Event()

    async def answer(call: Any) -> None:
        if call.n > 40:
            await gate.wait()

    service.answer = answer
    source = desk.csv(keys[:2000])
    running = await desk.start_run(source, service, "--concurrency", 4)
    await service.saw(44)
    content = source.path.read_bytes()
    if how == "edit":
        source.path.write_bytes(content.replace(keys[1990].encode(), keys[3000].encode()))
    elif how == "append":
        source.path.write_bytes(content + f"{keys[3000]},x\n".encode())
    elif how == "truncate":
        source.path.write_bytes(content[:30_000])
    else:
        source.path.unlink()
        if how == "replace":
            desk.csv(keys[3000:5000])
    gate.set()
    ended = await running.ended()
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (65, "stopped")
    assert set(service.per_key) <= set(keys[:2000])
    assert len(service.calls) <= 44 + 16
    assert ledger.of("failed") == []
    source = desk.csv([*keys[100:140], *keys[:20]])
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_a_file_that_is_touched_goes_on(desk: Any, service: Any, keys: list[str]):
    """A file with a new time and the same content, or a copy in its place, is no change."""
    gate = asyncio.Event()

    async def answer(call: Any) -> None:
        if call.n > 40:
            await gate.wait()

    service.answer = answer
    source = desk.csv(keys[:200])
    running = await desk.start_run(source, service, "--concurrency", 4)
    await service.saw(44)
    desk.csv(keys[:200], "copy.csv").path.replace(source.path)
    gate.set()
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_what_drained_as_unknown_is_sent_again(desk: Any, service: Any, keys: list[str]):
    """Keys that a first run left behind in any state are settled by the second, and each run's
    counts are those of its own end."""
    never = asyncio.Event()

    async def answer(call: Any) -> int | None:
        if call.n > 100:
            await never.wait()
        return 400 if call.n % 10 == 0 else None

    service.answer = answer
    source = desk.csv(keys[:300])
    running = await desk.start_run(source, service, "--concurrency", 8, "--max-failures", 400)
    await service.saw(108)
    running.signal(signal.SIGTERM)
    running.signal(signal.SIGINT)
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    counts = ended.json["counts"]
    assert (counts["accepted"], counts["failed"]) == (90, 10)
    assert counts["unknown"] == 8
    service.answer = lambda call: None
    ended = await desk.run(source, service, "--retry-failed")
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    counts = ended.json["counts"]
    assert (counts["accepted"], counts["already_settled"]) == (210, 90)


async def test_a_torn_tail_is_moved_aside(desk: Any, service: Any, keys: list[str]):
    """What a crash left unproven at the ledger's end is kept beside it, named in `recovered`, and
    the run goes on."""
    from hashlib import sha256

    source = desk.csv(keys[:20])
    await desk.run(source, service, "--limit", 10)
    before = desk.ledger().raw
    torn = f'{{"type":"sent","at":"2030-01-01T00:00:00.000Z","key":"{keys[15]}","li'.encode()
    with (desk.folder / "keys.ledger.ndjson").open("ab") as file:
        file.write(torn)
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert ledger.raw.startswith(before)
    (recovered,) = ledger.of("recovered")
    assert recovered["bytes"] == len(torn)
    assert recovered["sha256"] == sha256(torn).hexdigest()
    assert (desk.folder / recovered["file"]).read_bytes() == torn

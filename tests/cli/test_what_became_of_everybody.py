"""Nothing is green that is not erased, and `sent` means: may have left."""

import asyncio
import fcntl
import json
import signal
from collections import Counter
from typing import Any

import pytest

from tests.cli.test_follow import LEDGER, days_ago, follow


async def verify(desk: Any, *options: object) -> tuple[int, dict[str, Any]]:
    ended = await desk.call("verify", LEDGER, "--json", *options)
    return ended.code, json.loads(ended.out)


# ── what was announced and never left ───────────────────────────────────────────────────────────


async def test_an_orderly_end_takes_back_what_never_left(desk: Any, service: Any, keys: list[str]):
    """After Ctrl-C the ledger says of each key exactly how often it left; nothing is sent twice."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 50 else None
    source = desk.csv(keys[:400])
    running = await desk.start_run(source, service, "--concurrency", 8)
    await service.saw(58)
    running.signal(signal.SIGINT)
    await asyncio.sleep(0)
    gate.set()
    ended = await running.ended()
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 130
    assert ledger.sent() == service.per_key
    assert ledger.of("unsent")
    code, found = await verify(desk, "--input", source)
    assert (code, found["states"]["sent"], found["findings"]) == (3, 0, {})
    assert found["states"]["not_reached"] == 400 - len(service.calls)
    again = await desk.run(source, service)
    desk.reconcile(source, again, service)
    assert "may have been sent" not in again.err
    assert service.per_key == dict.fromkeys(keys[:400], 1)


async def test_a_refused_api_key_leaves_no_key_in_doubt(desk: Any, service: Any, keys: list[str]):
    """Of 200 keys few left before the first 403: the others are as if nothing had been."""
    service.answer = lambda call: 403
    source = desk.csv(keys[:200])
    ended = await desk.run(source, service, "--concurrency", 4)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 77
    assert ledger.sent() == service.per_key
    assert ended.json["counts"]["not_reached"] == 200
    code, found = await verify(desk, "--input", source)
    assert (code, found["states"]["sent"]) == (3, len(service.per_key))


async def test_a_key_that_was_unknown_is_so_again(desk: Any, service: Any, keys: list[str]):
    """Whatever stops a run, before or after they left once more, nothing less is said of them."""
    bad = set(keys[:40:2])
    service.answer = lambda call: service.HANG_UP if call.key in bad else None
    source = desk.csv(keys[:40])
    first = await desk.run(source, service, "--max-attempts", 1, "--max-failures", 100)
    assert first.json["counts"]["unknown"] == 20
    for number, answer in enumerate((401, 500), 1):
        calls = len(service.calls)
        service.answer = lambda call, answer=answer: answer
        again = await desk.run(source, service, "--concurrency", 1, "--max-outage", 0.2)
        ledger = desk.reconcile(source, again, service)
        assert again.code == {401: 77, 500: 69}[answer]
        assert len(service.calls) > calls
        assert again.json["counts"]["unknown"] == 20
        assert ledger.of("unsent", run=number)


# ── follow ──────────────────────────────────────────────────────────────────────────────────────


async def test_keys_without_a_job_are_not_complete(desk: Any, service: Any, keys: list[str]):
    """All jobs are done, but some keys have none: 3, counted by why, and told."""
    bad = {keys[3]: 400, keys[4]: 400, keys[7]: service.HANG_UP}
    service.answer = lambda call: bad.get(call.key)
    source = desk.csv(keys[:20])
    hold = desk.csv([keys[10]], "hold.csv")
    more = ("--exclude", hold, "--max-attempts", 1)
    assert (await desk.run(source, service, *more)).code == 3
    days_ago(desk.folder / LEDGER, 2)
    service.status = lambda jid: "done"
    ended = await desk.call("follow", LEDGER)
    assert ended.code == 3
    assert "16 erased. 3 keys of this ledger have no job (2 refused, 1 unknown)." in ended.err
    code, found = await follow(desk)
    assert (code, found["outcome"], found["counts"]["done"]) == (3, "complete", 16)
    assert found["without_job"] == {"refused": 2, "failed": 0, "unknown": 1, "sent": 0}
    assert {(a["reason"], a["count"]) for a in found["attention"]} == {
        ("refused", 2),
        ("unknown", 1),
    }
    assert found["next"] is None  # which input it was, and how it was read, is not all known here
    assert "use the same `run` command as before with --retry-failed" in ended.err
    service.answer = lambda call: None
    assert (await desk.run(source, service, *more, "--retry-failed")).code == 0
    assert service.per_key[keys[3]] == 2


async def test_a_failed_job_that_was_retried_counts_once(desk: Any, service: Any, keys: list[str]):
    """The job failed, the key was sent again and refused: one person, who has no job now. The old
    job is neither counted nor listed nor asked about."""
    source = desk.csv(keys[:4])
    await desk.run(source, service)
    failed = {service.jids[key][0] for key in keys[:2]}
    service.status = lambda jid: "error" if jid in failed else "done"
    assert (await follow(desk, "--now"))[1]["counts"]["error"] == 2
    service.answer = lambda call: 400 if call.key == keys[0] else None
    service.status = lambda jid: "done"
    await desk.run(source, service, "--retry-failed")
    asked = service.asked.copy()
    code, found = await follow(desk, "--now")
    assert (code, found["without_job"]["refused"]) == (3, 1)
    assert found["counts"] == {"jobs": 3, "done": 3, "error": 0, "not_found": 0, "pending": 0}
    assert found["error_jobs"] == []
    assert service.asked - asked == {service.jids[keys[1]][1]: 1}
    ended = await desk.call("follow", LEDGER)
    assert "all 3 jobs are done, 3 erased. 1 key of this ledger has no job (1 refused)" in ended.err


async def test_a_key_on_hold_counts_as_settled(desk: Any, service: Any, keys: list[str]):
    """Nobody expects a job of a key that is on hold."""
    source, hold = desk.csv(keys[:5]), desk.csv([keys[2]], "hold.csv")
    await desk.run(source, service, "--exclude", hold)
    days_ago(desk.folder / LEDGER, 2)
    code, found = await follow(desk)
    assert (code, found["counts"]["done"], sum(found["without_job"].values())) == (0, 4, 0)
    assert found["next"] is None


# ── verify ──────────────────────────────────────────────────────────────────────────────────────


async def test_only_done_is_erased(desk: Any, service: Any, keys: list[str]):
    """`verify` counts the erased, with and without an input; --expect-done wants all of them."""
    source = desk.csv([*keys[:6], keys[0]])
    await desk.run(source, service)
    code, found = await verify(desk, "--input", source)
    assert (code, found["erased"], found["states"]["in_progress"]) == (0, 0, 6)
    assert (await verify(desk, "--input", source, "--expect-done"))[0] == 3
    days_ago(desk.folder / LEDGER, 2)
    jids = list(service.jids.values())
    service.status = lambda jid: "error" if [jid] == jids[0] else "done"
    assert (await follow(desk))[0] == 3
    for options in ((), ("--input", source)):
        code, found = await verify(desk, *options)
        assert (code, found["erased"], found["states"]["job_failed"]) == (0, 5, 1)
        code, _ = await verify(desk, *options, "--expect-done")
        assert code == 3
    ended = await desk.call("verify", LEDGER, "--input", source, "--expect-done")
    assert (
        "Not verified: 1 not erased. Erased so far: 5 of 6 keys to be erased. "
        "Not erased: 1 job failed."
    ) in ended.err
    service.status = lambda jid: "done"
    await desk.run(source, service, "--retry-failed")
    days_ago(desk.folder / LEDGER, 2)
    assert (await follow(desk))[0] == 0
    for options in ((), ("--input", source)):
        code, found = await verify(desk, *options, "--expect-done")
        assert (code, found["erased"]) == (0, 6)


async def test_failed_jobs_are_counted_in_english(desk: Any, service: Any, keys: list[str]):
    """Two jobs failed; a table of one row says `row`."""
    await desk.run(desk.csv(keys[:2]), service)
    service.status = lambda jid: "error"
    ended = await desk.call("follow", LEDGER, "--now")
    assert "  2  error: job failed\n" in ended.out
    ended = await desk.call("verify", LEDGER)
    assert "Not erased: 2 jobs failed." in ended.err
    ended = await desk.call("verify", LEDGER, "--input", desk.csv(keys[:1], "one.csv"))
    assert "     1  row\n" in ended.out


async def test_a_chain_that_is_intact_is_no_word_about_people(
    desk: Any, service: Any, keys: list[str]
):
    """Without an input `verify` proves the chain (0), and says in its last line, in its table and
    in --json what became of everybody: one is erased, nine are not, and nothing sounds like all."""
    bad = {keys[1]: 400, keys[2]: service.HANG_UP, keys[3]: 429}
    service.answer = lambda call: bad.get(call.key)
    source = desk.csv([*keys[:6], "", keys[0]])
    await desk.run(source, service, "--max-attempts", 1, "--max-failures", 100)
    jids = {line["key"]: line["jid"] for line in desk.ledger().of("accepted")}
    service.status = {jids[keys[0]]: "done", jids[keys[4]]: "error"}.get
    service.status = lambda jid, of=service.status: of(jid) or "running"
    await follow(desk, "--now")
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait()
    more = desk.csv([*keys[:6], *keys[10:14]], "more.csv")
    running = await desk.start_run(more, service, "--ledger", LEDGER, "--concurrency", 2)
    await service.saw(8)
    running.signal(signal.SIGKILL)
    await running.process.communicate()
    code, found = await verify(desk)
    assert (code, found["erased"], found["states"]["sent"] > 1) == (0, 1, True)
    of = {word: count for word, count in found["states"].items() if count}
    assert sum(of.values()) == 10
    ended = await desk.call("verify", LEDGER, "--quiet")
    told = f"Not erased: {of['in_progress']} in progress, 1 job failed, 1 refused"
    assert ended.err.startswith("Verified: the chain is intact. Erased so far: 1 of 10 keys to be ")
    assert told in ended.err
    assert f"{of['sent']} sent without an outcome" in ended.err
    assert f"{of['sent']}  sent, without a recorded outcome: may have arrived" in ended.out
    reasons = {item["reason"]: item["count"] for item in found["attention"]}
    assert reasons.get("sent") == of["sent"]


async def test_a_ledger_that_is_being_written_is_told_so(desk: Any, service: Any, keys: list[str]):
    """While a process holds the lock, its last run did not break off."""
    source = desk.csv(keys[:20])
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 5 else None
    running = await desk.start_run(source, service, "--concurrency", 2)
    await service.saw(7)
    ended = await desk.call("verify", LEDGER)
    assert "being written by another process now" in ended.out
    assert "still running" in ended.out
    assert "broke off" not in ended.out
    running.signal(signal.SIGKILL)
    await running.process.communicate()
    ended = await desk.call("verify", LEDGER)
    assert "being written" not in ended.out
    assert "broke off" in ended.out
    with (desk.folder / LEDGER).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        _, found = await verify(desk)
        assert not found["ledgers"][0]["being_written"], "a reader writes nothing"


# ── what now ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [(None, 0, "follow"), (400, 3, "--retry-failed"), (500, 3, "run")],
    ids=["accepted", "refused", "failing"],
)
async def test_next_is_a_command_that_does_something(
    desk: Any, service: Any, keys: list[str], answer: int | None, code: int, word: str
):
    """`follow` once all is accepted, the same command while it would send something, the same with
    --retry-failed where only that would."""
    service.answer = lambda call: answer if call.key == keys[0] else None
    source = desk.csv(keys[:12])
    ended = await desk.run(source, service, "--max-attempts", 1)
    found = ended.json
    assert ended.code == code
    assert found["next"][:3] == ["python", "-m", "bulk_eraser"]
    assert word in found["next"]
    assert [(a["reason"], a["count"], a["lines"]) for a in found["attention"]] == (
        [] if answer is None else [(f"http_{answer}", 1, [2])]
    )
    before = Counter(service.per_key)
    if word == "follow":
        days_ago(desk.folder / LEDGER, 2)
        assert (await desk.call(*found["next"][3:], "--json")).code == 0
        assert service.asked.total() == 12
    else:
        service.answer = lambda call: None
        ended = await desk.call(*found["next"][3:])
        assert ended.code == 0
        assert service.per_key - before == {keys[0]: 1}


async def test_rows_that_cannot_be_sent_need_no_second_run(
    desk: Any, service: Any, keys: list[str]
):
    """With nothing left but a rejected row, a second run would do nothing, and is not advised."""
    source = desk.csv([*keys[:3], ""])
    ended = await desk.run(source, service)
    assert ended.code == 3
    assert "Continue with" not in ended.err
    assert "1  empty_key: the key is empty or blank (line 5)" in ended.err
    assert "follow" in ended.json["next"]


# ── only failing keys are left ──────────────────────────────────────────────────────────────────


async def test_many_keys_that_always_fail_do_not_block_the_batch(
    desk: Any, service: Any, keys: list[str]
):
    """Twelve such keys, alone at the end and alone in the next run, end as what they are (3): a
    question about a job of this ledger tells that the service is up."""
    bad = set(keys[20:32])
    service.answer = lambda call: 500 if call.key in bad else None
    source = desk.csv(keys[:100])
    options = ("--max-attempts", 1, "--max-outage", 60, "--max-failures", 100)
    for run in range(2):
        ended = await desk.run(source, service, *options)
        ledger = desk.reconcile(source, ended, service)
        assert ended.code == 3
        assert ended.json["counts"]["unknown"] == 12
        assert ended.json["requests"] == len(ledger.of("sent", run=run))
    assert set(service.asked) <= {line["jid"] for line in ledger.of("accepted")}
    assert service.asked


async def test_a_service_that_is_down_is_no_matter_of_keys(
    desk: Any, service: Any, keys: list[str]
):
    """Where the question about a job is not answered well either, it is an outage: 69."""
    source = desk.csv(keys[:40])
    service.answer = lambda call: None if call.n <= 20 else 503
    service.status = lambda jid: 503
    ended = await desk.run(source, service, "--max-outage", 3)
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["counts"]["accepted"]) == (69, 20)
    assert ended.json["counts"]["not_reached"] == 20
    assert service.asked


async def test_one_good_answer_to_a_question_is_not_enough(
    desk: Any, service: Any, keys: list[str]
):
    """Where calls are answered well after it, the service was only coming back: no key is ended."""
    bad = set(keys[20:32])
    service.answer = lambda call: 500 if call.key in bad else None

    def status(jid: str) -> str:
        service.answer = lambda call: None
        return "waiting"

    service.status = status
    source = desk.csv(keys[:40])
    ended = await desk.run(source, service, "--max-attempts", 8)
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["counts"]["accepted"]) == (0, 40)
    assert service.asked


async def test_retry_failed_is_not_advised_twice(desk: Any, service: Any, keys: list[str]):
    """A key that was refused once more is no matter of a further run."""
    service.answer = lambda call: 400 if call.key == keys[0] else None
    source = desk.csv(keys[:12])
    first = await desk.run(source, service)
    assert first.json["next"][-1] == "--retry-failed"
    again = await desk.run(source, service, "--retry-failed")
    assert (again.code, again.json["next"][3]) == (3, "follow")

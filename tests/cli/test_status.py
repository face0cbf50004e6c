"""`status`: what became of everybody at a glance; 0, 75, 3 or 79; offline, and nothing changed."""

import json
from typing import Any

import pytest

from tests.cli.conftest import rechained
from tests.cli.test_follow import days_ago

LEDGER = "keys.ledger.ndjson"
FIELDS = {
    *("outcome", "exit_code", "error", "next", "attention"),
    *("counts", "next_check_at", "deadlines", "batches"),
}


async def status(desk: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object, checked; without an API key, and nothing is changed."""
    before = desk.everything()
    ended = await desk.call("status", *arguments, "--json", without_api_key=True)
    assert desk.everything() == before
    assert ended.out.count("\n") == 1
    found = json.loads(ended.out)
    assert set(found) == FIELDS
    assert found["exit_code"] == ended.code
    for batch in found["batches"]:
        assert sum(batch["deadlines"].values()) == sum(
            count
            for state, count in batch["counts"].items()
            if state not in ("excluded", "rejected")
        )
    return ended.code, found


async def test_a_batch_from_its_first_day_to_its_last(desk: Any, service: Any, keys: list[str]):
    """Keys left by --limit, then jobs pending: 75. All erased: 0. The next command is `follow`, as
    long as there is something to ask."""
    source = desk.csv(keys[:6])
    await desk.run(source, service, "--limit", 4)
    code, found = await status(desk, LEDGER)
    assert (code, found["outcome"]) == (75, "incomplete")
    assert found["counts"]["in_progress"] == 4
    assert found["attention"] == [{"reason": "not_reached", "count": 2, "lines": []}]
    assert found["next"][-2:] == ["follow", LEDGER]
    assert found["next_check_at"].endswith("T00:00:00.000Z")
    await desk.run(source, service)
    days_ago(desk.folder / LEDGER, 2)
    followed = json.loads((await desk.call("follow", LEDGER, "--json")).out)
    code, found = await status(desk, LEDGER)
    assert (code, found["outcome"], found["next"], found["attention"]) == (0, "complete", None, [])
    assert (found["counts"]["erased"], found["next_check_at"]) == (6, None)
    assert found["batches"][0]["head"] == followed["head"]


async def test_keys_that_are_not_sent_are_75(desk: Any, service: Any, keys: list[str]):
    """Also where no job is pending: whoever asks for 0 must not stop here."""
    await desk.run(desk.csv(keys[:3]), service, "--limit", 1)
    days_ago(desk.folder / LEDGER, 2)
    await desk.call("follow", LEDGER)
    code, found = await status(desk, LEDGER)
    assert (code, found["counts"]["erased"], found["counts"]["not_reached"]) == (75, 1, 2)
    assert found["next"] is None


async def test_it_asks_when_follow_asks(desk: Any, service: Any, keys: list[str]):
    """`next_check_at` and what is overdue are those of `follow`."""
    await desk.run(desk.csv(keys[:3]), service)
    service.status = lambda jid: "running"
    days_ago(desk.folder / LEDGER, 40)
    followed = json.loads((await desk.call("follow", LEDGER, "--json")).out)
    code, found = await status(desk, LEDGER)
    assert (code, found["next_check_at"]) == (75, followed["next_check_at"])
    assert found["deadlines"]["overdue"] == followed["listed"]["overdue_jobs"] == 3
    code, found = await status(desk, LEDGER, "--received", "2100-01-01")
    assert (found["deadlines"]["ahead"], found["batches"][0]["first_deadline"]) == (3, "2100-02-01")


async def test_what_is_finished_with_failures_is_3(desk: Any, service: Any, keys: list[str]):
    """Refused, unknown and rejected rows are named by reason and line."""
    service.answer = lambda call: {keys[1]: 400, keys[2]: 500}.get(call.key)
    source = desk.csv([*keys[:4], ""])
    await desk.run(source, service, "--max-attempts", 2)
    days_ago(desk.folder / LEDGER, 2)
    await desk.call("follow", LEDGER)
    code, found = await status(desk, LEDGER)
    assert code == 3
    reasons = {it["reason"]: (it["count"], it["lines"]) for it in found["attention"]}
    assert reasons == {"http_400": (1, [3]), "http_500": (1, [4]), "empty_key": (1, [6])}


async def test_rejected_rows_are_fine_if_the_run_was_told_so(
    desk: Any, service: Any, keys: list[str]
):
    """Then all is well: 0; otherwise somebody's row was not sent: 3."""
    for options, expected in ((["--ok-if-rejected"], 0), ([], 3)):
        await desk.run(desk.csv([*keys[:2], ""]), service, *options)
        days_ago(desk.folder / LEDGER, 2)
        await desk.call("follow", LEDGER)
        code, found = await status(desk, LEDGER)
        assert (code, found["counts"]["rejected"]) == (expected, 1)


async def test_several_ledgers_are_summed_up_and_the_severest_counts(
    desk: Any, service: Any, keys: list[str]
):
    """Each is a batch of its own; a damaged one is 79, and the others are told all the same."""
    await desk.run(desk.csv(keys[:3], "a.csv"), service)
    await desk.run(desk.csv(keys[3:5], "b.csv"), service)
    code, found = await status(desk, "a.ledger.ndjson", "b.ledger.ndjson")
    assert (code, found["counts"]["in_progress"]) == (75, 5)
    assert [batch["counts"]["in_progress"] for batch in found["batches"]] == [3, 2]
    ledger = desk.folder / "a.ledger.ndjson"
    ledger.write_bytes(ledger.read_bytes().replace(b'"sent"', b'"seen"', 1))
    code, found = await status(desk, "a.ledger.ndjson", "b.ledger.ndjson")
    assert (code, found["outcome"]) == (79, "refused")
    assert found["next"][-2:] == ["verify", "a.ledger.ndjson"]
    assert [batch["standing"] for batch in found["batches"]] == ["not_proven", "open"]


async def test_it_is_told_to_people(desk: Any, service: Any, keys: list[str]):
    """What the batch is and the counts on stdout; the verdict and the next command on stderr."""
    source = desk.csv(keys[:3])
    await desk.run(source, service, "--requester", "Ada", "--limit", 2)
    ended = await desk.call("status", LEDGER, without_api_key=True)
    assert ended.code == 75
    for words in (LEDGER, "input keys.csv: 3 rows, 3 keys", "2  in progress", "1  not reached"):
        assert words in ended.out
    assert "Ask about the jobs tomorrow" in ended.out
    assert "Not finished: 0 of 3 customer keys are erased." in ended.err
    assert "the same `run` command as before" in ended.err
    assert ended.err.rstrip().endswith(f"follow {LEDGER}")


async def test_nothing_is_erased_by_a_rehearsal(desk: Any, keys: list[str]):
    """However the simulator ends."""
    await desk.call("run", desk.csv(keys[:3]), "--rehearse", "--rate", 0)
    ledger = desk.folder / "keys.rehearsal.ndjson"
    days_ago(ledger, 9)
    await desk.call("follow", ledger.name)
    ended = await desk.call("status", ledger.name)
    assert "This was a rehearsal: nothing was erased." in ended.err
    assert "Complete" not in ended.err
    assert "follow" not in ended.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["none.ledger.ndjson", "keys.csv", "."])
async def test_what_is_no_ledger_is_refused(desk: Any, keys: list[str], name: str):
    """2 for what cannot be read, 79 for what is something else."""
    desk.csv(keys[:2])
    code, found = await status(desk, name)
    assert code == (79 if name == "keys.csv" else 2)
    assert found["error"]


async def test_hostile_words_do_nothing_on_a_terminal(desk: Any, service: Any, keys: list[str]):
    """A ledger's words are printable, whoever wrote them."""
    await desk.run(desk.csv(keys[:1]), service)
    ledger = desk.folder / LEDGER
    evil = "\x1b]0;x\x07\r\n::error::evil"
    ledger.write_bytes(
        rechained(
            ledger.read_bytes(),
            lambda line: line | ({"target": evil} if "target" in line else {}),
        )
    )
    ended = await desk.call("status", LEDGER)
    assert "\x1b" not in ended.out + ended.err
    assert not [line for line in ended.out.splitlines() if line.startswith("::")]

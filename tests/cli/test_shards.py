"""`--shard i/N`: every key in exactly one shard, whatever runs them, and the sums still add up."""

import asyncio
import json
import random
import signal
from collections import Counter
from hashlib import blake2b
from typing import Any

import pytest

SUMMED_IN_CHECK = ("rows", "keys", "rejected", "duplicate", "excluded")


def shard_of(key: str, of: int) -> int:
    """From what is promised: the key's digest, as a number, by the number of shards; from 1."""
    digest = blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big") % of + 1


def own(source: Any, index: int, of: int) -> Any:
    """The input as one shard has it; the first one has the rows without a key."""
    rows = [(n, key) for n, key in source.rows if (shard_of(key, of) if key else 1) == index]
    return type(source)(source.path, rows)


def name(index: int, of: int) -> str:
    return f"keys.{index}of{of}.ledger.ndjson"


def mixed(keys: list[str], seed: int) -> list[str]:
    """Some rows twice or more, some without a key, in any order."""
    order = random.Random(seed)
    rows = [*keys, *order.choices(keys, k=len(keys) // 3), *[""] * 7]
    order.shuffle(rows)
    return rows


async def shards(
    desk: Any, service: Any, source: Any, of: int, *options: object, but: int = 0, **more: Any
) -> list[Any]:
    """All shards side by side, save one."""
    return await desk.together(
        *(
            desk.run(source, service, "--shard", f"{index}/{of}", *options, **more)
            for index in range(1, of + 1)
            if index != but
        )
    )


async def test_four_side_by_side_with_one_killed(desk: Any, service: Any, keys: list[str]):
    """Four processes over one input, one killed in the middle and run again: each key is sent by
    its own shard alone, no request is without its `sent` line, and no shard is faster than its
    part of the rate."""
    source = desk.csv(keys[:120])
    killed, of = 2, 4
    may_go_on = asyncio.Event()
    of_the_killed: list[str] = []

    def answer(call: Any) -> Any:
        if shard_of(call.key, of) == killed:
            of_the_killed.append(call.key)
            if len(of_the_killed) > 5:
                return may_go_on.wait()
        return None

    service.answer = answer
    paced = ("--rate", 80)
    running = await desk.start_run(source, service, "--shard", f"{killed}/{of}", *paced)
    others = asyncio.create_task(shards(desk, service, source, of, *paced, but=killed))
    await desk.until(lambda: len(of_the_killed) > 8)
    running.signal(signal.SIGKILL)
    await running.process.communicate()
    may_go_on.set()
    ended = await others
    ended.insert(killed - 1, await desk.run(source, service, "--shard", f"{killed}/{of}", *paced))
    sent = Counter[str]()
    for index, it in enumerate(ended, 1):
        mine = own(source, index, of)
        ledger = desk.reconcile(mine, it, service, shared=True, name=name(index, of))
        assert it.code == 0
        assert set(ledger.sent()) == {key for _, key in mine.rows}
        started = ledger.of("run_started")[-1]
        assert started["settings"]["rate"] == 20
        assert (started["shard"]["index"], started["shard"]["of"]) == (index, of)
        assert started["input"]["rows"] == 120
        requests = it.json["requests"]
        assert it.json["elapsed_s"] >= (requests - 3) / 20  # one interval may be caught up
        sent += ledger.sent()
    assert set(service.per_key) == set(keys[:120])
    assert all(service.per_key[key] <= sent[key] for key in keys[:120])
    assert sent.total() > 120  # what was in flight is sent again, and says so
    ledgers = [name(index, of) for index in range(1, of + 1)]
    verified = await desk.call("verify", *ledgers, "--input", source, "--json")
    assert verified.code == 0
    found = json.loads(verified.out)
    assert (found["states"]["in_progress"], found["missing_shards"]) == (120, [])


async def test_the_sums_are_those_of_the_whole(desk: Any, service: Any, keys: list[str]):
    """With duplicates, rejected rows and holds: what `check` and `run` count in all shards adds up
    to an unsharded `check`, and each row is booked once."""
    source, hold = desk.csv(mixed(keys[:90], 1)), desk.csv(keys[:90:9], "hold.csv")
    whole = (await desk.check(source, "--exclude", hold)).findings["counts"]
    assert whole["duplicate"] == 30
    checked, booked = Counter[str](), Counter[str]()
    for index in (1, 2, 3):
        ended = await desk.check(source, "--exclude", hold, "--shard", f"{index}/3")
        found = ended.findings
        assert ended.code == (3 if index == 1 else 0)
        assert found["input"]["rows"] == whole["rows"]
        assert found["shard"]["rows"] == found["counts"]["rows"]
        checked += Counter(found["counts"])
        ran = await desk.run(source, service, "--exclude", hold, "--shard", f"{index}/3")
        assert ran.code == (3 if index == 1 else 0)
        assert f"hard {index} of 3: {found['counts']['rows']} of {whole['rows']} rows" in ran.err
        mine = own(source, index, 3)
        desk.reconcile(mine, ran, service, held=keys[:90:9], shared=True, name=name(index, 3))
        booked += Counter(ran.json["counts"])
    assert {word: checked[word] for word in SUMMED_IN_CHECK} == {
        word: whole[word] for word in SUMMED_IN_CHECK
    }
    assert (booked["rejected"], booked["duplicate"], booked["excluded"]) == (7, 30, 10)
    assert (booked["rows"], booked["accepted"]) == (whole["rows"], 80)
    assert service.per_key == Counter(set(keys[:90]) - set(keys[:90:9]))
    ended = await desk.call("verify", *(name(index, 3) for index in (1, 2, 3)), "--json")
    states = json.loads(ended.out)["states"]
    assert (states["rejected"], states["excluded"], states["in_progress"]) == (7, 10, 80)


async def test_missing_shards_are_named_and_not_called_lost(
    desk: Any, service: Any, keys: list[str]
):
    """`verify` with a shard's ledger missing says which, and how many rows; nothing of them is
    said, so it is not verified. Without an input there is nothing to miss. `report` calls nothing
    complete."""
    source = desk.csv(mixed(keys[:60], 2))
    await shards(desk, service, source, 3)
    ledgers = [name(2, 3), name(3, 3)]
    ended = await desk.call("verify", *ledgers, "--input", source, "--json")
    found = json.loads(ended.out)
    missing = len(own(source, 1, 3).rows)
    assert ended.code == 3
    assert found["missing_shards"] == [{"index": 1, "of": 3}]
    assert (found["unaccounted"], found["states"]["missing_shard"]) == (0, missing)
    assert found["states"]["not_reached"] == found["states"]["rejected"] == found["extra"] == 0
    assert f"{missing} rows of which nothing is said, for want of shard 1 of 3" in ended.err
    ended = await desk.call("verify", *ledgers, "--input", source, "--rows", "rows.csv")
    desk.may_hold_keys.add(desk.folder / "rows.csv")
    assert ended.code == 3
    assert (desk.folder / "rows.csv").read_text().count("missing_shard") == missing
    ended = await desk.call("verify", *ledgers)
    assert ended.code == 0
    assert "No ledger of shard 1 of 3 is among these" in ended.out
    await desk.call("follow", name(2, 3), "--now", "--rate", "0")
    ended = await desk.call("status", name(2, 3))
    assert ended.code == 0
    assert "Shard 2 of 3 alone. Complete: all " in ended.err
    for options in ((), ("--input", source)):
        ended = await desk.call("report", name(2, 3), *options, "--html", "page.html")
        assert ended.code == 0
        assert "Of these shards alone, " in ended.err
        assert "omplete" not in ended.err
    ended = await desk.call("verify", name(1, 3), *ledgers, "--input", source, "--json")
    assert ended.code == 0
    assert "missing_shard" not in json.loads(ended.out)["states"]


async def test_a_rejected_row_is_not_taken_as_recorded_by_another_shard(
    desk: Any, service: Any, keys: list[str]
):
    """The first shard broke off before its rejected row was on record. That the ledger of another
    one has a later row does not hide it."""
    first = [key for key in keys if shard_of(key, 2) == 1][:20]
    second = [key for key in keys if shard_of(key, 2) == 2][:2]
    source = desk.csv([*first, "", *second, second[0]])
    rejected = len(first) + 2
    assert (await desk.run(source, service, "--shard", "2/2")).code == 0
    never = asyncio.Event()
    service.answer = lambda call: never.wait()
    running = await desk.start_run(source, service, "--shard", "1/2", "--concurrency", "1")
    await service.saw(3)
    running.signal(signal.SIGKILL)
    await running.process.communicate()
    never.set()
    ended = await desk.call("verify", name(1, 2), name(2, 2), "--input", source, "--json")
    found = json.loads(ended.out)
    assert ended.code == 3
    assert found["unaccounted"] == len(first) + 1
    service.answer = lambda call: None
    assert (await desk.run(source, service, "--shard", "1/2")).code == 3
    assert desk.ledger(name(1, 2)).of("rejected")[0]["line"] == rejected
    ended = await desk.call("verify", name(1, 2), name(2, 2), "--input", source)
    assert ended.code == 0


async def test_order_and_file_may_change(desk: Any, service: Any, keys: list[str]):
    """A key's shard is its own, not its row's: another file in another order has nothing to send,
    and keys that are new go to their own shard."""
    await shards(desk, service, desk.csv(keys[:50]), 2)
    assert len(service.calls) == 50
    source = desk.csv(reversed(keys[:60]))
    for index, it in enumerate(await shards(desk, service, source, 2), 1):
        assert it.code == 0
        desk.reconcile(own(source, index, 2), it, service, shared=True, name=name(index, 2))
    assert service.per_key == Counter(keys[:60])


@pytest.mark.parametrize(
    ("before", "after"),
    [("1/2", "2/2"), ("1/2", "1/3"), ("1/2", None), (None, "1/2")],
    ids=["another shard", "another number", "the whole", "of the whole"],
)
async def test_a_ledger_is_of_one_shard(
    desk: Any, service: Any, keys: list[str], before: str | None, after: str | None
):
    """With another one it is refused with 78; nothing is sent, nothing is written."""
    source, ledger = desk.csv(keys[:20]), ("--ledger", "keys.ledger.ndjson")
    await desk.run(source, service, *ledger, *(("--shard", before) if before else ()))
    seen, were = len(service.calls), desk.everything()
    ended = await desk.run(source, service, *ledger, *(("--shard", after) if after else ()))
    assert ended.code == 78
    assert "--shard" in ended.json["error"]
    assert len(service.calls) == seen
    assert desk.everything() == were


async def test_a_shard_may_have_no_key(desk: Any, service: Any, keys: list[str]):
    """More shards than keys: those without one end well, and all together are whole."""
    source = desk.csv(keys[:3])
    ended = await shards(desk, service, source, 6)
    assert {it.code for it in ended} == {0}
    assert sorted(it.json["counts"]["rows"] for it in ended)[0] == 0
    ledgers = [name(index, 6) for index in range(1, 7)]
    assert (await desk.call("verify", *ledgers, "--input", source)).code == 0


async def test_gates_look_at_all_rows(desk: Any, service: Any, keys: list[str]):
    """What makes the whole input doubtful refuses every shard, also those that do not have the
    rows: a torn end, a changed key, a hold in another spelling, and --strict."""
    torn = desk.file("torn.csv", "customerKey\n" + "\n".join([*keys[:20], keys[20][:6]]))
    rounded = desk.csv([*keys[:20], "4.01E+15"], "rounded.csv")
    plain, hold = desk.csv([*keys[:20]], "plain.csv"), desk.csv([keys[0].upper()], "hold.csv")
    empty = desk.csv([*keys[:20], ""], "empty.csv")
    for source, *options in (
        (torn,),
        (rounded,),
        (plain, "--exclude", hold),
        (empty, "--strict"),
    ):
        for index in (1, 2):
            ended = await desk.run(source, service, *options, "--shard", f"{index}/2")
            assert ended.code == 65, (source, index)
    assert service.calls == []


async def test_a_plan_carries_the_shard(desk: Any, service: Any, keys: list[str]):
    """`run --plan` runs the shard that was checked; another one that is said besides is refused. A
    plan of the whole input is carried out shard by shard, of the same input only."""
    source = desk.csv(keys[:40])
    target = ("--base-url", service.origin)
    await desk.check(source, "--shard", "2/3", "--plan", "plan.json", *target)
    await desk.check(source, "--plan", "whole.json", *target)
    plan = json.loads((desk.folder / "plan.json").read_text())
    mine = own(source, 2, 3)
    assert (plan["shard"], plan["keys"]) == ({"index": 2, "of": 3}, len(mine.rows))
    ended = await desk.call("run", "--plan", "plan.json", "--shard", "1/3", "--json")
    assert ended.code == 2
    assert "--shard says" in ended.json["error"]
    ended = await desk.call("run", "--plan", "plan.json", "--json", "--rate", "0")
    assert ended.code == 0
    desk.reconcile(mine, ended, service, shared=True, name=name(2, 3))
    assert set(service.per_key) == {key for _, key in mine.rows}
    of_whole = ("--plan", "whole.json", "--shard", "1/3", "--json", "--rate", "0")
    ended = await desk.call("run", *of_whole)
    assert ended.code == 0
    desk.reconcile(own(source, 1, 3), ended, service, shared=True, name=name(1, 3))
    changed = desk.csv(keys[:41])
    ended = await desk.call("run", changed, "--plan", "whole.json", "--shard", "3/3", "--json")
    assert ended.code == 2
    assert "the input was changed since" in ended.json["error"]


async def test_a_shard_is_that_of_the_key_not_of_its_pseudonym(
    desk: Any, service: Any, keys: list[str]
):
    """With --pseudonymize each shard has the same keys as without, and `verify` knows it."""
    pepper = desk.folder / "pepper"
    pepper.write_bytes(b"a pepper of more than sixteen bytes\n")
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    source = desk.csv(keys[:40])
    for index in (1, 2):
        ended = await desk.run(source, service, "--pseudonymize", "--shard", f"{index}/2", env=env)
        assert ended.code == 0
        assert {call.key for call in service.calls} == {
            key for _, key in own(source, index, 2).rows
        }
        service.calls.clear()
    options = ("--input", source, "--json")
    ended = await desk.call("verify", name(1, 2), name(2, 2), *options, env=env)
    assert ended.code == 0
    ended = await desk.call("verify", name(1, 2), *options, env=env)
    found = json.loads(ended.out)
    assert found["states"]["missing_shard"] == len(own(source, 2, 2).rows)
    assert found["unaccounted"] == 0


async def test_a_receipt_says_which_shard(desk: Any, service: Any, keys: list[str]):
    """Its counts are of that shard, so it names it; `verify` wants it to be the ledger's."""
    await desk.run(desk.csv(keys[:20]), service, "--shard", "2/2", "--receipt", "receipt.json")
    path = desk.folder / "receipt.json"
    receipt = json.loads(path.read_text())
    assert receipt["shard"] == desk.ledger(name(2, 2)).of("run_started")[0]["shard"]
    assert (await desk.call("verify", name(2, 2), "--receipt", "receipt.json")).code == 0
    path.write_text(json.dumps(receipt | {"shard": receipt["shard"] | {"index": 1}}))
    ended = await desk.call("verify", name(2, 2), "--receipt", "receipt.json")
    assert ended.code == 79
    assert "(shard)" in ended.err


async def test_an_export_has_shards_too(desk: Any, service: Any, keys: list[str]):
    """Each has a ledger of its own; a removal after it waits for the keys of its shard alone."""
    source = desk.csv(keys[:20])
    words = ("--output", "results", "--base-url", service.origin, "--yes", "--json", "--rate", "0")
    ended = await desk.call("export", source, *words, "--shard", "2/2")
    assert ended.code == 0
    ledger = desk.ledger("keys.2of2.export.ledger.ndjson")
    assert set(ledger.sent()) == {key for _, key in own(source, 2, 2).rows}
    export = ("--after-export", "keys.2of2.export.ledger.ndjson")
    ended = await desk.run(source, service, *export, "--shard", "2/2")
    assert ended.json["counts"]["not_exported"] == len(own(source, 2, 2).rows)


@pytest.mark.parametrize(
    ("asked", "variables", "shard"),
    [
        ("2/4", {}, (2, 4)),
        ("1/1", {}, (1, 1)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "0"}, (1, 4)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "3"}, (4, 4)),
        ("auto/4", {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}, (3, 4)),
        ("auto", {"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"}, (2, 4)),
        ("auto/4", {"CI_NODE_INDEX": "4", "CI_NODE_TOTAL": "4"}, (4, 4)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "1", "CI_NODE_TOTAL": "1"}, (2, 4)),
        ("0/4", {}, None),
        ("5/4", {}, None),
        ("1/0", {}, None),
        ("1/257", {}, None),
        ("2", {}, None),
        ("", {}, None),
        ("-1/4", {}, None),
        ("auto/4", {}, None),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}, None),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, None),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, None),
        ("auto/4", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "5"}, None),
        ("auto", {"CI_NODE_INDEX": "1"}, None),
        ("auto/4", {"JOB_COMPLETION_INDEX": "1", "AWS_BATCH_JOB_ARRAY_INDEX": "1"}, None),
    ],
)
async def test_which_shard_is_asked_for(
    desk: Any,
    keys: list[str],
    asked: str,
    variables: dict[str, str],
    shard: tuple[int, int] | None,
):
    """As typed, or from Kubernetes and AWS Batch, which count from 0, or GitLab, which counts from
    1 and knows how many; what is none, or cannot be told for certain, is 2."""
    source = desk.csv(keys[:5])
    ended = await desk.check(source, "--shard", asked, env=variables)
    found = ended.findings
    if shard is None:
        assert ended.code == 2
        assert "--shard" in found["error"] or "JOB_COMPLETION_INDEX" in found["error"]
    else:
        assert (found["shard"]["index"], found["shard"]["of"]) == shard


async def test_no_variable_asks_for_a_shard(desk: Any, service: Any, keys: list[str]):
    """One that was forgotten in the environment would leave out keys for good."""
    ended = await desk.run(desk.csv(keys[:9]), service, env={"BULK_ERASER_SHARD": "1/3"})
    assert ended.json["counts"]["accepted"] == 9

"""Nothing ends well, and no command is proposed, while somebody is not erased."""

import json
import signal
from collections import Counter
from typing import Any

import pytest


async def test_a_hold_that_comes_too_late_is_told_every_time(
    desk: Any, service: Any, keys: list[str]
):
    """A key that may have been sent stays a case for somebody, however often it is held."""
    source = desk.csv(keys[:3])
    hold = desk.csv([keys[0]], "hold.csv")
    service.answer = lambda call: 500 if call.key == keys[0] else None
    first = await desk.run(source, service, "--max-attempts", 2)
    assert first.json["counts"]["unknown"] == 1
    for _ in range(2):
        held = await desk.run(source, service, "--exclude", hold)
        assert (held.code, held.json["counts"]["held_too_late"]) == (3, 1)


@pytest.mark.parametrize("command", [("follow", "--now"), ("verify", "--expect-done")])
async def test_keys_that_a_run_left_are_not_forgotten(
    desk: Any, service: Any, keys: list[str], command: tuple[str, str]
):
    """The ledger's last run says that 99 keys were not reached: nothing is green."""
    await desk.run(desk.csv(keys[:100]), service, "--limit", 1)
    await desk.call("follow", "keys.ledger.ndjson", "--now")
    name, option = command
    ended = await desk.call(name, "keys.ledger.ndjson", option, "--json")
    assert ended.code != 0, ended.err


async def test_what_is_no_longer_on_hold_is_expected_to_be_done(
    desk: Any, service: Any, keys: list[str]
):
    """The hold was lifted and the run that would have sent the key was ended before it."""
    source = desk.csv(keys[:3])
    hold = desk.csv(keys[1:3], "hold.csv")
    await desk.run(source, service, "--exclude", hold)

    async def slowly(call: Any) -> None:
        running.signal(signal.SIGINT)

    service.answer = slowly
    running = await desk.start_run(source, service, "--no-exclude", "--concurrency", 1)
    assert (await running.ended()).json["counts"]["not_reached"] == 1
    await desk.call("follow", "keys.ledger.ndjson", "--now")
    ended = await desk.call(
        *("verify", "keys.ledger.ndjson", "--input", source, "--expect-done", "--json")
    )
    assert ended.code == 3, ended.err


def cut_after(path: Any, type_: str, which: int) -> None:
    """Leave of a ledger what a kill right after the n-th line of a type may leave: whole groups."""
    kept, seen = b"", 0
    for line in path.read_bytes().splitlines(keepends=True):
        kept += line
        seen += line.startswith(b'{"type":"%b"' % type_.encode())
        if seen >= which and line.startswith(b'{"type":"commit"'):
            break
    path.write_bytes(kept)


@pytest.mark.parametrize("after", ["run_started", "accepted"])
async def test_a_run_that_broke_off_reached_nobody_of_an_earlier_input(
    desk: Any, service: Any, keys: list[str], after: str
):
    """The ledger holds 20 people of another input, all erased. That says nothing of the 202 of the
    last one, of whom 2 were in the first as well: no command takes one for another."""
    name = "keys.ledger.ndjson"
    await desk.run(desk.csv(keys[:20]), service)
    last = desk.csv(keys[18:220], "last.csv")
    await desk.run(last, service, "--ledger", name, "--concurrency", 1)
    cut_after(desk.folder / name, after, {"run_started": 2, "accepted": 23}[after])
    named = Counter(line["type"] for line in desk.ledger(name).runs[1])
    missing = 200 - named["sent"]
    assert missing > 0
    for _ in range(2):  # a follow in between changes nothing
        ended = await desk.call("follow", name, "--now", "--json")
        found = json.loads(ended.out)
        assert (ended.code, found["without_job"].get("not_reached")) == (3, missing), ended.err
    ended = await desk.call("verify", name, "--expect-done", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["states"]["not_reached"]) == (3, missing)
    await desk.run(last, service, "--ledger", name)
    for command, *options in (("follow", "--now"), ("verify", "--expect-done")):
        ended = await desk.call(command, name, *options)
        assert ended.code == 0, ended.err


async def test_of_several_ledgers_none_covers_for_another(desk: Any, service: Any, keys: list[str]):
    """One ledger has 20 people, the other broke off before the first of its 8: 8 not reached."""
    await desk.run(desk.csv(keys[:20]), service)
    await desk.run(desk.csv(keys[20:28], "other.csv"), service)
    names = ("keys.ledger.ndjson", "other.ledger.ndjson")
    await desk.call("follow", names[0], "--now")
    cut_after(desk.folder / names[1], "run_started", 1)
    ended = await desk.call("verify", *names, "--expect-done", "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["erased"], found["states"]["not_reached"]) == (3, 20, 8)


async def test_a_rehearsal_is_never_done(desk: Any, keys: list[str]):
    """In a rehearsal nobody is erased, so nobody is expected to be who is not."""
    name = "keys.rehearsal.ndjson"  # told or not, its name is the same
    for told in ([], ["--ledger", name]):
        await desk.call("run", desk.csv(keys[:3]), "--rehearse", "--json", *told)
    assert [it.name for it in desk.folder.glob("*.rehearsal.ndjson")] == [name]
    await desk.call("follow", name, "--now", "--wait", "--day", "0.01")
    ended = await desk.call("verify", name, "--expect-done", "--json")
    assert ended.code == 3, ended.err
    assert ended.err.count("nothing was erased") == 1, ended.err


async def test_a_rehearsal_among_several_ledgers_is_never_done(
    desk: Any, service: Any, keys: list[str]
):
    """All people of the real ledger are erased, in the rehearsal beside it nobody is: 3, with and
    without an input, whatever the order."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    await desk.call("follow", "keys.ledger.ndjson", "--now")
    await desk.call("run", source, "--rehearse")
    real, rehearsal = "keys.ledger.ndjson", "keys.rehearsal.ndjson"
    await desk.call("follow", rehearsal, "--now", "--wait", "--day", "0.01")
    assert (await desk.call("verify", real, "--expect-done")).code == 0
    for names in ((real, rehearsal), (rehearsal, real)):
        ended = await desk.call("verify", *names, "--expect-done")
        assert ended.code == 3, ended.err
        assert "Not verified: this is a rehearsal, in which nothing was erased" in ended.err
        assert "Erased so far" not in ended.err
        ended = await desk.call("verify", *names, "--expect-done", "--input", source)
        assert ended.code == 78
        assert "different targets" in ended.err


async def test_follow_proposes_the_keys_that_were_sent(desk: Any, service: Any, keys: list[str]):
    """The command that retries a refused key sends that key, and no other column."""
    rows = "".join(f"other-{key},{key}\n" for key in keys[:3])
    source = desk.file("keys.csv", f"customerKey,masterKey\n{rows}")
    service.answer = lambda call: 400 if call.key == keys[0] else None
    await desk.run(source, service, "--key-field", "masterKey")
    ended = await desk.call("follow", "keys.ledger.ndjson", "--now", "--json")
    proposed = json.loads(ended.out)["next"]
    assert proposed is None or "masterKey" in proposed


async def test_a_run_that_was_settled_and_erased_proposes_nothing(
    desk: Any, service: Any, keys: list[str]
):
    """Everybody is erased: there is nothing to follow."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    await desk.call("follow", "keys.ledger.ndjson", "--now")
    again = await desk.run(source, service)
    assert again.code == 0
    assert again.json["next"] is None


async def test_who_may_have_been_reached_is_unknown_when_too_many_failed(
    desk: Any, service: Any, keys: list[str]
):
    """--max-failures is no outage: who met a 500 may have a job, and is not `not reached`."""
    source = desk.csv(keys[:4])
    service.answer = lambda call: 500 if call.key == keys[0] else 400
    ended = await desk.run(source, service, "--max-failures", 1)
    assert ended.code == 69
    assert ended.json["counts"]["unknown"] == 1

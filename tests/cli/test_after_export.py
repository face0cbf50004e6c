"""`run --after-export`: only those are removed whose copy is on disk."""

import io
import zipfile
from typing import Any

import pytest

LEDGER = "keys.export.ledger.ndjson"


def archive(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(name, "x")
    return packed.getvalue()


async def exported(desk: Any, service: Any, source: object, *options: object, **more: Any) -> None:
    """Export all keys of it; the results of two of them cannot be had yet, one is lost, and of one
    there is no data."""
    words = ("--output", "results", "--base-url", service.origin, "--yes", "--json", "--rate", "0")
    ended = await desk.call("export", source, *words, *options, **more)
    assert ended.code == 0
    jids = [of_key[0] for of_key in service.jids.values()]
    service.status = lambda jid: "running" if jid in jids[:2] else "done"
    service.result = lambda jid: (
        404 if jid == jids[2] else archive("empty.txt" if jid == jids[3] else f"{jid}.jsonl")
    )
    ended = await desk.call("follow", LEDGER, "--now", "--json", "--rate", "0")
    assert ended.code == 75
    service.calls.clear()
    service.per_key.clear()


async def test_only_what_is_downloaded_is_removed(desk: Any, service: Any, keys: list[str]):
    """The others are not sent, and counted with the reason; the run is not finished: 75. Once they
    are downloaded, the same command sends them."""
    source = desk.csv(keys[:8])
    await exported(desk, service, source)
    ended = await desk.run(source, service, "--after-export", LEDGER)
    assert ended.code == 75
    counts = ended.json["counts"]
    assert (counts["accepted"], counts["not_exported"]) == (5, 3)
    assert {call.key for call in service.calls} == set(keys[3:8])
    [waiting] = [it for it in ended.json["attention"] if it["reason"] == "not_exported"]
    assert waiting["count"] == 3
    assert "follow" in ended.err
    ledger = desk.ledger()
    assert ledger.of("run_started")[0]["after_export"] == {
        "ledger": LEDGER,
        "head": desk.ledger(LEDGER).head,
    }
    assert ledger.of("run_started")[0]["sent_when_complete"] == 8
    ended = await desk.call("follow", "keys.ledger.ndjson", "--now", "--json")
    assert ended.code == 3  # three keys without a job
    service.status = lambda jid: "done"
    service.result = lambda jid: archive(f"{jid}.jsonl")
    await desk.call("follow", LEDGER, "--now", "--rate", "0")
    ended = await desk.run(source, service, "--after-export", LEDGER)
    assert ended.code == 75
    assert (ended.json["counts"]["accepted"], ended.json["counts"]["not_exported"]) == (2, 1)
    assert {call.key for call in service.calls} == {*keys[:2], *keys[3:8]}
    ended = await desk.call("verify", "keys.ledger.ndjson", "--input", source, "--json")
    assert ended.code == 3
    assert '"not_reached": 1' in ended.out


async def test_what_was_asked_once_is_not_forgotten(desk: Any, service: Any, keys: list[str]):
    """A later run of this ledger without the option is refused, unless it says so: 2."""
    source = desk.csv(keys[:8])
    await exported(desk, service, source)
    await desk.run(source, service, "--after-export", LEDGER)
    ended = await desk.run(source, service)
    assert ended.code == 2
    assert "--no-after-export" in ended.json["error"]
    assert len(service.calls) == 5
    ended = await desk.run(source, service, "--no-after-export")
    assert ended.code == 0
    assert len(service.calls) == 8


async def test_it_must_be_the_ledger_of_an_export_of_this_target(
    desk: Any, service: Any, keys: list[str]
):
    """That of erasures, none at all, or another target's: nothing is sent."""
    source = desk.csv(keys[:8])
    await exported(desk, service, source)
    await desk.run(source, service)
    service.calls.clear()
    own = ("--ledger", "new.ledger.ndjson")
    for path, code in (("keys.ledger.ndjson", 2), ("nothing.ledger.ndjson", 2), ("", 2)):
        ended = await desk.run(source, service, "--after-export", path, *own)
        assert ended.code == code
    target = ("--cluster-id", "w1234abcd", "--yes", "--json")
    ended = await desk.call("run", source, *target, "--after-export", LEDGER, *own)
    assert ended.code == 78
    assert not service.calls


@pytest.mark.parametrize("is_run", [True, False])
async def test_both_must_name_keys_alike(desk: Any, service: Any, keys: list[str], is_run: bool):
    """A key and its pseudonym are not found in each other's ledger: 78. Pseudonyms of one secret
    are."""
    pepper = desk.file("pepper", "p" * 40)
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    source = desk.csv(keys[:8])
    await exported(desk, service, source, *([] if is_run else ["--pseudonymize"]), env=env)
    mixed = ["--pseudonymize"] if is_run else []
    ended = await desk.run(source, service, "--after-export", LEDGER, *mixed, env=env)
    assert ended.code == 78
    assert not service.calls
    alike = [] if is_run else ["--pseudonymize"]
    ended = await desk.run(source, service, "--after-export", LEDGER, *alike, env=env)
    assert ended.json["counts"]["accepted"] == 5


async def test_a_plan_still_matches(desk: Any, service: Any, keys: list[str]):
    """It binds the keys of the input, of which fewer are sent for now."""
    source = desk.csv(keys[:8])
    await exported(desk, service, source)
    plan = desk.plan(source, service.origin)
    words = ("run", source, "--plan", plan, "--json", "--rate", "0", "--base-url", service.origin)
    ended = await desk.call(*words, "--after-export", LEDGER)
    assert ended.code == 75
    assert ended.json["counts"]["not_exported"] == 3


async def test_nobody_on_hold_is_sent_for_being_exported(desk: Any, service: Any, keys: list[str]):
    """The hold list comes first."""
    source = desk.csv(keys[:8])
    await exported(desk, service, source)
    held = desk.csv([keys[0], keys[7]], "held.csv")
    ended = await desk.run(source, service, "--after-export", LEDGER, "--exclude", held)
    counts = ended.json["counts"]
    assert (counts["excluded"], counts["not_exported"], counts["accepted"]) == (2, 2, 4)

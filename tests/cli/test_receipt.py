"""The receipt: the head and the counts of a run, to be kept where the ledger is not."""

import json
import shutil
from hashlib import sha256
from typing import Any

import pytest


async def test_it_says_what_the_run_was(desk: Any, service: Any, keys: list[str]):
    """Head, counts, input, target, times and who ordered it, as in the ledger, and no key."""
    source = desk.csv(keys[:6])
    options = ("--receipt", "receipt.json", "--requester", "Ada", "--reference", "T-1")
    ended = await desk.run(source, service, *options)
    receipt = json.loads((desk.folder / "receipt.json").read_text())
    ledger, ending = desk.ledger(), ended.json
    (started,) = ledger.of("run_started")
    (finished,) = ledger.of("run_finished")
    assert (receipt["type"], receipt["format"]) == ("receipt", 1)
    assert receipt["head"] == ledger.head == ending["head"]
    for name in ("outcome", "exit_code", "counts", "requests", "elapsed_s"):
        assert receipt[name] == ending[name]
    for name in ("run", "command", "tool", "api", "target", "base", "simulated", "keys", "input"):
        assert receipt[name] == started[name]
    assert (receipt["requester"], receipt["reference"]) == ("Ada", "T-1")
    assert receipt["ledger"] == "keys.ledger.ndjson"
    assert receipt["input"]["sha256"] == sha256(source.path.read_bytes()).hexdigest()
    assert receipt["started_at"] == started["at"] <= finished["at"] <= receipt["finished_at"]


async def test_the_same_command_again_writes_it_anew(desk: Any, service: Any, keys: list[str]):
    """A receipt in the way is replaced by that of the later run; the head kept before is a commit
    of the ledger still."""
    source, path = desk.csv(keys[:6]), desk.folder / "receipt.json"
    first = await desk.run(source, service, "--receipt", path, "--limit", 2)
    assert json.loads(path.read_text())["exit_code"] == first.code == 75
    second = await desk.run(source, service, "--receipt", path)
    assert json.loads(path.read_text())["head"] == second.json["head"]
    ended = await desk.call("verify", "keys.ledger.ndjson", "--expect-head", first.json["head"])
    assert ended.code == 0


@pytest.mark.parametrize("place", ["keys.csv", ".", "absent/receipt.json", ""])
async def test_a_place_that_will_not_do_is_refused(
    desk: Any, service: Any, keys: list[str], place: str
):
    """Another file, a folder, no folder, no name: 2 before anything is sent; nothing is changed."""
    source = desk.csv(keys[:6])
    before = desk.everything()
    ended = await desk.run(source, service, "--receipt", place)
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert (desk.everything(), service.calls) == (before, [])


async def test_the_ledger_is_not_replaced_by_its_receipt(desk: Any, service: Any, keys: list[str]):
    """The ledger's own name, however it is written and before it is there, is refused: 2, nothing
    is sent. So is the receipt of another ledger."""
    source = desk.csv(keys[:6])
    here = desk.folder / "keys.ledger.ndjson"
    (desk.folder / "link").symlink_to(desk.folder)
    names = ("keys.ledger.ndjson", "./keys.ledger.ndjson", here, "link/keys.ledger.ndjson")
    for name in names:
        assert (await desk.run(source, service, "--receipt", name)).code == 2
    assert (
        await desk.run(source, service, "--receipt", "keys.rehearsal.ndjson", "--rehearse")
    ).code == 2
    assert (service.calls, here.exists()) == ([], False)
    other = desk.csv(keys[10:12], "other.csv")
    await desk.run(other, service, "--receipt", "receipt.json")
    before = (desk.folder / "receipt.json").read_bytes()
    assert (await desk.run(source, service, "--receipt", "receipt.json")).code == 2
    assert (desk.folder / "receipt.json").read_bytes() == before


async def test_a_run_that_did_not_begin_has_none(desk: Any, service: Any, keys: list[str]):
    """Refused, or dry: there is nothing to give a receipt for."""
    source = desk.csv(keys[:6])
    options = ("--receipt", "receipt.json")
    await desk.run(source, service, *options, "--dry-run")
    await desk.run(source, service, *options, env={"ELEVATE_API_KEY": ""})
    assert not (desk.folder / "receipt.json").exists()


async def test_a_receipt_that_is_lost_is_told(desk: Any, service: Any, keys: list[str]):
    """Where it cannot be written at the end, the run ends with 74 and names the head to keep; the
    ledger is complete."""
    folder = desk.folder / "receipts"
    folder.mkdir()
    service.answer = lambda call: shutil.rmtree(folder) if call.n == 3 else None
    source = desk.csv(keys[:6])
    ended = await desk.run(source, service, "--receipt", folder / "receipt.json")
    ledger = desk.ledger()
    assert (ended.code, ended.json["outcome"]) == (74, "error")
    assert ledger.head in ended.json["error"]
    assert ledger.of("run_finished")[0]["exit_code"] == 0
    assert ended.json["counts"]["accepted"] == 6

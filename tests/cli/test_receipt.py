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


# ── verify --receipt, follow --receipt ──────────────────────────────────────────────────────────

LEDGER = "keys.ledger.ndjson"


async def verify(desk: Any, *options: object) -> tuple[int, dict[str, Any]]:
    ended = await desk.call("verify", LEDGER, "--json", *options)
    return ended.code, json.loads(ended.out)


async def test_a_receipt_is_checked_against_the_ledger(desk: Any, service: Any, keys: list[str]):
    """Of a run and of a follow: head, counts, target and all else agree, also when more follows."""
    source = desk.csv(keys[:6])
    await desk.run(source, service, "--receipt", "run.json", "--limit", 2, "--requester", "Ada")
    await desk.run(source, service)
    followed = await desk.call("follow", LEDGER, "--now", "--receipt", "follow.json", "--json")
    receipt = json.loads((desk.folder / "follow.json").read_text())
    ending = json.loads(followed.out)
    assert receipt["command"] == "follow"
    for name in ("head", "counts", "exit_code", "outcome", "requests"):
        assert receipt[name] == ending[name]
    receipts = ("--receipt", "run.json", "--receipt", "follow.json")
    code, found = await verify(desk, *receipts)
    assert (code, [each["differs"] for each in found["receipts"]]) == (0, [[], []])
    assert found["expected_heads"][receipt["head"]]["commits_after"] == 0
    ended = await desk.call("verify", LEDGER, *receipts)
    assert "Receipt run.json: says of its run what the ledger says" in ended.out


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("counts", {"rows": 6, "accepted": 6}, "counts"),
        ("target", "wother", "target"),
        ("exit_code", 3, "exit_code"),
        ("requester", "Eve", "requester"),
        ("run", "another", "run"),
        ("started_at", "2026-01-01T00:00:00.000Z", "started_at"),
    ],
)
async def test_a_receipt_that_says_otherwise_is_79(
    desk: Any, service: Any, keys: list[str], name: str, value: Any, word: str
):
    """The head is a commit, but what is said of the run is not what the ledger says."""
    await desk.run(desk.csv(keys[:6]), service, "--receipt", "receipt.json")
    path = desk.folder / "receipt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    code, found = await verify(desk, "--receipt", path)
    assert (code, found["receipts"][0]["differs"]) == (79, [word])
    ended = await desk.call("verify", LEDGER, "--receipt", "receipt.json")
    assert f"The receipt receipt.json does not say what the ledger says of its run ({word})" in (
        ended.err
    )


async def test_a_ledger_that_was_cut_off_is_found_by_its_receipt(
    desk: Any, service: Any, keys: list[str]
):
    """As with --expect-head: 79, and the receipt is named. So is the receipt of another ledger."""
    source = desk.csv(keys[:6])
    await desk.run(source, service, "--limit", 2)
    before = (desk.folder / LEDGER).read_bytes()
    await desk.run(source, service, "--receipt", "receipt.json")
    (desk.folder / LEDGER).write_bytes(before)
    code, found = await verify(desk, "--receipt", "receipt.json")
    assert code == 79
    assert "…, that of the receipt receipt.json, is not one of the commits" in found["error"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", None])
async def test_a_file_that_is_no_receipt_is_refused(
    desk: Any, service: Any, keys: list[str], content: bytes | None
):
    """2, and it is named; so is one that is not there."""
    await desk.run(desk.csv(keys[:6]), service)
    if content is not None:
        (desk.folder / "receipt.json").write_bytes(content)
    code, found = await verify(desk, "--receipt", "receipt.json")
    assert code == 2
    assert "receipt.json" in found["error"]


async def test_the_receipt_of_a_follow_replaces_nothing_else(
    desk: Any, service: Any, keys: list[str]
):
    """The ledger's own name, or another file: 2 before anything is asked or written."""
    await desk.run(desk.csv(keys[:6]), service)
    before = desk.everything()
    for place in (LEDGER, "keys.csv", "absent/receipt.json"):
        ended = await desk.call("follow", LEDGER, "--now", "--receipt", place)
        assert ended.code == 2
    assert (desk.everything(), service.asked.total()) == (before, 0)

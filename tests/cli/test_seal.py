"""`seal`: several ledgers bound by one small file, which then stands for them."""

import asyncio
import fcntl
import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SEAL = "keys.seal.ndjson"


def name(index: int, of: int = 3) -> str:
    return f"keys.{index}of{of}.ledger.ndjson"


LEDGERS = [name(1), name(2), name(3)]


async def run_shards(desk: Any, service: Any, source: object, *indices: int) -> None:
    for index in indices or (1, 2, 3):
        ended = await desk.run(source, service, "--shard", f"{index}/3")
        assert ended.code in (0, 3)


async def seal(desk: Any, *arguments: object) -> tuple[int, Any]:
    ended = await desk.call("seal", *arguments, "--json", without_api_key=True)
    found = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    return ended.code, found


def lines_of(desk: Any) -> list[dict[str, Any]]:
    """The lines of the seal, its digest recomputed by the rules of a ledger."""
    *lines, commit = (desk.folder / SEAL).read_bytes().splitlines(keepends=True)
    digest = sha256(b"0" * 64 + b"".join(lines)).hexdigest()
    ended = json.loads(commit)
    assert (ended["type"], ended["lines"], ended["sha256"]) == ("commit", len(lines), digest)
    return list(map(json.loads, lines))


async def verified(desk: Any, *options: object) -> tuple[int, Any]:
    ended = await desk.call("verify", SEAL, *options, "--json")
    return ended.code, json.loads(ended.out)


async def test_it_binds_all_shards(desk: Any, service: Any, keys: list[str]):
    """Heads, shards, counts and input of all, no key, and the digest is that of a ledger's chain;
    verify, status and report take it in the place of the ledgers."""
    source = desk.csv([*keys[:40], *keys[:5], ""])
    await run_shards(desk, service, source)
    code, found = await seal(desk, SEAL, *LEDGERS)
    assert code == 0
    first, *others = lines_of(desk)
    assert (first["type"], first["format"], first["missing"]) == ("seal", 1, [])
    assert (first["kind"], first["target"], first["accepted_twice"]) == (
        "removal",
        service.origin,
        0,
    )
    assert (first["states"]["in_progress"], first["states"]["rejected"]) == (40, 1)
    assert [it["sha256"] for it in first["inputs"]] == [
        sha256(source.path.read_bytes()).hexdigest()
    ]
    assert [it["ledger"] for it in others] == LEDGERS
    assert [it["head"] for it in others] == [desk.ledger(it).head for it in LEDGERS]
    assert [it["shard"]["index"] for it in others] == [1, 2, 3]
    assert sum(it["counts"]["rows"] for it in others) == len(source.rows)
    assert {it["input_sha256"] for it in others} == {first["inputs"][0]["sha256"]}
    code, of_all = await verified(desk, "--input", source)
    assert (code, of_all["unaccounted"], of_all["missing_shards"]) == (0, 0, [])
    assert [it["ledger"] for it in of_all["sealed"]] == LEDGERS
    assert {it["commits_after"] for it in of_all["sealed"]} == {0}
    ended = await desk.call("status", SEAL, "--json")
    assert [it["ledger"] for it in json.loads(ended.out)["batches"]] == LEDGERS
    ended = await desk.call("report", SEAL)
    assert all(desk.ledger(it).head in ended.out for it in LEDGERS)
    program = str(ROOT / "docs" / "check_ledger.py")
    checked = await asyncio.create_subprocess_exec(
        sys.executable, program, SEAL, cwd=desk.folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await checked.communicate()
    assert f"head {found['head']};" in out.decode()


async def test_a_batch_with_rejected_rows_is_not_complete(desk: Any, service: Any, keys: list[str]):
    """Rows without a key are those of the first shard. That the last one ended with 0 does not make
    them fine: the report calls nothing complete unless --ok-if-rejected was said of them."""
    source = desk.csv([*keys[:12], ""])
    for said, expected in (([], "needs_attention"), (["--ok-if-rejected"], "all_erased")):
        for index in (1, 2, 3):
            await desk.run(source, service, "--shard", f"{index}/3", *said)
        for ledger in LEDGERS:
            await desk.call("follow", ledger, "--now")
        assert (await seal(desk, SEAL, *LEDGERS))[0] == 0
        await desk.call("report", SEAL, "--json", "report.json", without_api_key=True)
        found = json.loads((desk.folder / "report.json").read_text())
        assert (found["states"]["erased"], found["states"]["rejected"]) == (12, 1)
        assert found["standing"] == expected


async def test_it_is_found_from_another_folder(desk: Any, service: Any, keys: list[str]):
    """Paths are relative to the seal, not to where one stands."""
    source = desk.csv(keys[:9])
    await run_shards(desk, service, source)
    (desk.folder / "seals").mkdir()
    path = f"seals/{SEAL}"
    assert (await seal(desk, path, *LEDGERS))[0] == 0
    ended = await desk.call("verify", path, "--input", source)
    assert ended.code == 0


async def test_what_is_not_whole_is_sealed_and_told(desk: Any, service: Any, keys: list[str]):
    """A missing shard, another input, a key that was accepted twice: 3, and the seal says it."""
    source = desk.csv(keys[:30])
    await run_shards(desk, service, source)
    code, found = await seal(desk, SEAL, name(1), name(3))
    assert code == 3
    assert found["missing_shards"] == [{"index": 2, "of": 3}] == lines_of(desk)[0]["missing"]
    code, of_all = await verified(desk, "--input", source)
    assert (code, of_all["missing_shards"]) == (3, [{"index": 2, "of": 3}])
    await desk.run(source, service, "--ledger", "again.ledger.ndjson")
    code, found = await seal(desk, SEAL, name(1), "again.ledger.ndjson")
    rows = desk.ledger(name(1)).of("run_started")[0]["shard"]["rows"]
    assert (code, found["accepted_twice"], found["missing_shards"]) == (3, rows, [])
    assert lines_of(desk)[0]["accepted_twice"] == rows
    desk.csv(keys[:31])
    await run_shards(desk, service, source, 3)
    code, found = await seal(desk, SEAL, *LEDGERS)
    assert (code, len(found["inputs"]), len(lines_of(desk)[0]["inputs"])) == (3, 2, 2)


async def test_a_ledger_that_grew_is_told(desk: Any, service: Any, keys: list[str]):
    """`follow` of the seal adds to the ledgers; `verify` says how much follows each sealed head."""
    await run_shards(desk, service, desk.csv(keys[:30]))
    await seal(desk, SEAL, *LEDGERS)
    before = {it: len(desk.ledger(it).raw.splitlines()) for it in LEDGERS}
    assert (await desk.call("follow", SEAL, "--now", "--rate", "0")).code == 0
    code, found = await verified(desk, "--expect-done")
    assert code == 0
    for it in found["sealed"]:
        added = len(desk.ledger(it["ledger"]).raw.splitlines()) - before[it["ledger"]]
        assert it["lines_after"] == added > 0
        assert it["commits_after"] > 0
    ended = await desk.call("verify", SEAL)
    assert f"Sealed head of {name(2)}: commit " in ended.out
    assert "nothing follows it" not in ended.out


@pytest.mark.parametrize("command", ["verify", "status", "report"])
async def test_a_ledger_that_was_cut_off_or_replaced_is_told(
    desk: Any, service: Any, keys: list[str], command: str
):
    """Its own chain is intact, but the sealed head is not in it, perhaps in another one: 79."""
    await run_shards(desk, service, desk.csv(keys[:30]))
    await seal(desk, SEAL, *LEDGERS)
    path = desk.folder / name(2)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    commits = [n for n, line in enumerate(lines) if line.startswith(b'{"type":"commit"')]
    for other in (b"".join(lines[: commits[-2] + 1]), (desk.folder / name(1)).read_bytes()):
        path.write_bytes(other)
        assert (await desk.call("verify", name(2))).code == 0
        ended = await desk.call(command, SEAL)
        assert ended.code == 79
        assert "head that was sealed" in ended.out + ended.err
    (desk.folder / name(1)).write_bytes(whole)  # each has taken the other's place
    assert (await desk.call(command, SEAL)).code == 79


async def test_follow_asks_nothing_of_a_ledger_that_was_cut_off(
    desk: Any, service: Any, keys: list[str]
):
    """Or exchanged: 79. The others are asked about all the same, and one that grew is followed."""
    await run_shards(desk, service, desk.csv(keys[:30]))
    await seal(desk, SEAL, *LEDGERS)
    path = desk.folder / name(2)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    commits = [n for n, line in enumerate(lines) if line.startswith(b'{"type":"commit"')]
    of_second = {line["jid"] for line in desk.ledger(name(2)).of("accepted")}
    service.status = lambda jid: "waiting"
    for other in (b"".join(lines[: commits[-2] + 1]), (desk.folder / name(3)).read_bytes()):
        path.write_bytes(other)
        service.asked.clear()
        ended = await desk.call("follow", SEAL, "--now", "--rate", "0")
        assert (ended.code, path.read_bytes()) == (79, other)
        assert f"The ledger {name(2)} does not have the head that was sealed" in ended.err
        assert service.asked
        assert not service.asked.keys() & of_second
        path.write_bytes(whole)
    assert (await desk.call("follow", SEAL, "--now", "--rate", "0")).code == 75
    assert service.asked.keys() & of_second


async def test_a_seal_that_was_changed_is_refused(desk: Any, service: Any, keys: list[str]):
    """One digit of a head changed, a line left out, something behind it: 79. One of a later
    version: 2."""
    await run_shards(desk, service, desk.csv(keys[:9]))
    await seal(desk, SEAL, *LEDGERS)
    path = desk.folder / SEAL
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    head = desk.ledger(name(1)).head.encode()
    for content in (
        whole.replace(head, bytes(reversed(head))),
        b"".join([lines[0], *lines[2:]]),
        whole + lines[1],
        whole[:-40],
    ):
        path.write_bytes(content)
        for command in ("verify", "status", "report", "follow"):
            ended = await desk.call(command, SEAL)
            assert ended.code == 79, (command, content)
            assert "not as it was written" in ended.err

    group = b"".join(lines[:-1]).replace(b'"format":1', b'"format":2')
    commit = json.loads(lines[-1])
    digest = sha256(b"0" * 64 + group).hexdigest()
    path.write_bytes(group + lines[-1].replace(commit["sha256"].encode(), digest.encode()))
    assert (await desk.call("verify", SEAL)).code == 2


async def test_nothing_is_sealed_that_cannot_be(desk: Any, service: Any, keys: list[str]):
    """A damaged ledger (79), ledgers of two targets (78), the same one twice, a seal among them, or
    a file in the way (2); nothing is written. An older seal is replaced."""
    source = desk.csv(keys[:30])
    await run_shards(desk, service, source)
    await desk.run(source, service, "--ledger", "other.ledger.ndjson", "--rehearse")
    good = (desk.folder / name(1)).read_bytes()
    (desk.folder / "bad.ledger.ndjson").write_bytes(good.replace(b'"attempt":1', b'"attempt":2', 1))
    assert (await seal(desk, "old.ndjson", *LEDGERS))[0] == 0
    were = desk.everything()
    for code, *arguments in (
        (79, SEAL, name(2), "bad.ledger.ndjson"),
        (78, SEAL, name(1), "other.rehearsal.ndjson"),
        (2, SEAL, name(1), name(1)),
        (2, SEAL, name(1), "old.ndjson"),
        (2, name(1), name(2)),
        (2, str(source), name(2)),
        (2, SEAL, "none.ledger.ndjson"),
    ):
        assert (await seal(desk, *arguments))[0] == code, arguments
    assert desk.everything() == were
    assert (await seal(desk, "old.ndjson", name(1)))[0] == 3
    assert desk.everything() != were


async def test_follow_asks_about_all_ledgers(desk: Any, service: Any, keys: list[str]):
    """Each ledger in turn, and one sum: 75 while jobs of one are pending, 3 for failures, 0 once
    all are done. One that is in use does not keep the others from being asked."""
    await run_shards(desk, service, desk.csv(keys[:30]))
    await seal(desk, SEAL, *LEDGERS)
    slow = [desk.ledger(it).of("accepted")[0]["jid"] for it in LEDGERS]
    options = ("--now", "--rate", "0", "--json")
    service.status = lambda jid: "running" if jid in slow else "done"
    ended = await desk.call("follow", SEAL, *options)
    found = json.loads(ended.out)
    assert ended.code == found["exit_code"] == 75
    counts = found["counts"]
    assert (counts["jobs"], counts["done"], counts["pending"]) == (30, 27, 3)
    assert (found["asked"], found["ledger"], found["head"]) == (30, SEAL, None)
    assert found["next"][-6:-4] == ["follow", SEAL]
    service.status = lambda jid: "error" if jid == slow[0] else "done"
    held = os.open(desk.folder / name(2), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    ended = await desk.call("follow", SEAL, *options)
    os.close(held)
    found = json.loads(ended.out)
    assert (ended.code, found["asked"]) == (75, 2)
    assert "another process" in found["error"]
    ended = await desk.call("follow", SEAL, *options)
    found = json.loads(ended.out)
    assert (ended.code, found["counts"]["done"], found["counts"]["error"]) == (3, 29, 1)
    assert len(found["error_jobs"]) == found["listed"]["error_jobs"] == 1
    assert found["asked"] == 1
    assert service.asked.total() == 33


async def test_what_stops_one_follow_stops_all(desk: Any, service: Any, keys: list[str]):
    """A refused API key is not tried on the next ledger; the sum says how many were not asked."""
    await run_shards(desk, service, desk.csv(keys[:30]))
    await seal(desk, SEAL, *LEDGERS)
    service.status = lambda jid: 401
    ended = await desk.call("follow", SEAL, "--now", "--json", "--concurrency", "1")
    found = json.loads(ended.out)
    assert ended.code == found["exit_code"] == 77
    assert "2 further ledgers" in found["error"]
    assert service.asked.total() == 1
    for option in (("--wait",), ("--receipt", "r.json")):
        ended = await desk.call("follow", SEAL, *option)
        assert ended.code == 2
        assert option[0] in ended.err


async def test_more_ledgers_than_can_be_looked_at_are_refused(desk: Any):
    """257 is one too many, and that is said."""
    ended = await desk.call("verify", *(f"{n}.ledger.ndjson" for n in range(257)))
    assert ended.code == 2
    assert "too many" in ended.err

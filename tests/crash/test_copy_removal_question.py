"""The whole way of a batch over simulated weeks, with SIGKILL in between: exported, removed once
exported, followed, probed; at every step the ledgers, the files and the service tell one story.

The service is the simulator in this process, on a clock that the test moves by whole days, so the
commands are told to ask about everything (`--now`). By hand, for fewer: COPY_KEYS=150
"""

import asyncio
import json
import os
import random
import signal
import sys
import zipfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.simulator.server import Simulator

ROOT = Path(__file__).parents[2]
API_KEY = "simulated-key"
KEYS = int(os.environ.get("COPY_KEYS", "2000"))
SEED = 20240430
PATIENCE_S = 300.0
CALM = {"job_late": 0.05, "no_data": 0.1, "came_back": 0.02}
WEATHER = CALM | {
    "http_500": 0.01,
    "http_503": 0.01,
    "drop_after": 0.005,
    "cut_body": 0.01,
    "result_no_zip": 0.01,
    "result_wrong_length": 0.01,
}


class World:
    """A folder with the batch, a service whose days the test moves, commands that are killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chance = random.Random(SEED)
        self.day = 20_000.0
        self.kills = 0
        self.keys = [f"{self.chance.getrandbits(128):032x}" for _ in range(KEYS)]
        (folder / "k.csv").write_text("customerKey\n" + "".join(f"{key}\n" for key in self.keys))
        self.simulator = Simulator(
            API_KEY, FaultRates(WEATHER, seed=SEED), 1.0, lambda: self.day, log=folder / "log"
        )

    async def start(self, *arguments: object) -> asyncio.subprocess.Process:
        words = [str(it) for it in arguments]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bulk_eraser", *words),
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "ELEVATE_API_KEY": API_KEY},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def call(self, *arguments: object) -> tuple[int, Any]:
        """Run to the end; the exit code, and the object of --json."""
        process = await self.start(*arguments, "--json")
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, json.loads(out)

    async def killed(self, ledger: str, *arguments: object) -> None:
        """Begin it, and kill it once its ledger has grown by some lines, or let it end before."""
        path = self.folder / ledger
        size = (path.stat().st_size if path.exists() else 0) + self.chance.randrange(1, 40_000)
        process = await self.start(*arguments, "--json")
        output = asyncio.ensure_future(process.communicate())
        async with asyncio.timeout(PATIENCE_S):
            while not output.done():
                if path.exists() and path.stat().st_size > size and process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                    self.kills += 1
                    break
                await asyncio.sleep(0.001)
            await output

    async def until_done(self, ledger: str, *arguments: object, kills: int = 2) -> tuple[int, Any]:
        for _ in range(kills):
            await self.killed(ledger, *arguments)
        return await self.call(*arguments)

    def lines(self, ledger: str) -> list[dict[str, Any]]:
        """Those of a ledger whose chain is intact to its end."""
        head, group, lines = "0" * 64, b"", list[dict[str, Any]]()
        for raw in (self.folder / ledger).read_bytes().splitlines(keepends=True):
            line = json.loads(raw)
            if line["type"] == "commit":
                head = sha256(head.encode() + group).hexdigest()
                assert head == line["sha256"]
                group = b""
            else:
                lines.append(line)
                group += raw
        assert group == b""
        return lines

    def requests(self, path: str) -> Counter[str]:
        """How often the service was asked for this, by key or jid."""
        found: Counter[str] = Counter()
        for raw in (self.folder / "log").read_bytes().splitlines():
            line = json.loads(raw)
            if line["path"].endswith(path):
                found[line["key"] or line["jid"]] += 1
        return found


def must_hold(found: Counter[str], lines: list[dict[str, Any]], kind: str, name: str) -> None:
    """The service saw no more requests than the ledger announced."""
    announced = Counter(line[name] for line in lines if line["type"] == kind)
    assert all(count <= announced[it] for it, count in found.items() if it in announced)


@pytest.mark.soak
async def test_the_copy_the_removal_and_the_question(tmp_path: Path) -> None:
    """Nobody is removed whose copy is not on disk, whole; nobody counts as erased by an export;
    those who came back are found, and nobody else."""
    world = World(tmp_path)
    await world.simulator.start()
    try:
        await must_go_well(world)
    finally:
        await world.simulator.stop()


async def must_go_well(world: World) -> None:
    origin, export, ledger = world.simulator.origin, "k.export.ledger.ndjson", "k.ledger.ndjson"
    sending = ("--base-url", origin, "--yes", "--rate", "0", "--max-failures", "100%")
    jobs = ("k.csv", *sending)
    following = ("--now", "--rate", "0")
    removing = ("run", *jobs, "--after-export", export)
    # 1. Export jobs, with kills; then days go by, and results are downloaded, with kills.
    exporting = ("export", *jobs, "--output", "results")
    code, ended = await world.until_done(export, *exporting)
    while code == 3 and ended["counts"]["unknown"] + ended["counts"]["failed"]:
        code, ended = await world.call(*exporting)
    assert code == 0
    code, ended = await world.call(*removing)
    assert (code, ended["counts"]["accepted"]) == (75, 0)  # no copy, no removal
    for _ in range(2):
        world.day += 6.1
        code, ended = await world.until_done(export, "follow", export, *following)
        assert code in (0, 3, 75)
        must_be_whole(world, export)
        code, ended = await world.call(*exporting, "--retry-failed")
        assert code in (0, 3)
    # 2. Only those are removed whose copy is there; what was lost is exported again meanwhile.
    copied = {it["key"] for it in world.lines(export) if it["type"] == "downloaded"}
    await world.until_done(ledger, *removing)
    sent = {it["key"] for it in world.lines(ledger) if it["type"] == "sent"}
    assert sent <= copied
    for _ in range(6):
        world.day += 6.1
        await world.until_done(export, "follow", export, *following, kills=1)
        await world.call(*exporting, "--retry-failed")
        await world.until_done(ledger, *removing, kills=1)
        code, ended = await world.until_done(ledger, "follow", ledger, *following, kills=1)
        if code == 0:
            break
    must_be_whole(world, export)
    assert code == 0, ended
    assert ended["counts"]["done"] == len(world.keys)
    # 3. Everybody is asked about, with kills: those who came back are found.
    probing = ("probe", ledger, "--sample", "100%", "--base-url", origin, "--yes", "--rate", "0")
    code, ended = await world.until_done(ledger, *probing)
    while code == 3:
        code, ended = await world.call(*probing)
    assert (code, ended["counts"]["asked"]) == (0, len(world.keys))
    for _ in range(5):
        world.day += 4.1
        code, ended = await world.until_done(ledger, "follow", ledger, *following)
        if code == 3:  # all are answered
            break
    probes = ended["probes"]
    rates = FaultRates(CALM, seed=SEED)
    back = {it for it in world.keys if rates.comes_back(it) and not rates.has_no_data(it)}
    told = {it["key"] for it in world.lines(ledger) if it.get("answer") == "came_back"}
    gone = {it["key"] for it in world.lines(ledger) if it.get("answer") == "nothing_left"}
    assert told <= back
    assert not gone & back
    assert probes["came_back"] + probes["nothing_left"] + probes["lost"] == len(world.keys)
    assert code == 3
    # 4. One story.
    must_hold(world.requests("create-remove-customer-job"), world.lines(ledger), "sent", "key")
    must_hold(world.requests("export-customer-job-result"), world.lines(export), "download", "jid")
    for name, words in ((ledger, "erased"), (export, "exported")):
        code, found = await world.call("verify", name, "--input", "k.csv")
        assert found["states"][words] == len(world.keys)
        assert found["findings"] == {}
        assert code == (3 if name == ledger else 0)  # somebody came back
    counts = {name: count for name, count in probes.items() if isinstance(count, int)}
    print(f"\n{len(world.keys)} keys, {world.kills} kills; probes: {counts}")
    assert world.kills >= 10


def must_be_whole(world: World, export: str) -> None:
    """Each file is a whole archive of one key, and has its line; each line has its file."""
    said = {it["file"]: it for it in world.lines(export) if it["type"] == "downloaded"}
    there = {it.name: it for it in (world.folder / "results").iterdir() if it.suffix == ".zip"}
    assert set(said) == set(there)
    for name, path in there.items():
        content = path.read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (
            said[name]["bytes"],
            said[name]["sha256"],
        )
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            is_empty = archive.namelist() == ["empty.txt"]
            assert is_empty is said[name]["is_empty"]
            assert is_empty or said[name]["jid"].encode() in archive.read("clicks.jsonl")

"""SIGKILL again and again, against a service with faults, reconciled key by key.

By hand for longer: KILL_KEYS=20000 KILL_ROUNDS=20 KILL_SEED=7 pytest tests/crash -m soak -s
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEYS = int(os.environ.get("KILL_KEYS", "8000"))
ROUNDS = int(os.environ.get("KILL_ROUNDS", "12"))
SEED = int(os.environ.get("KILL_SEED", "20240430"))
PATIENCE_S = 300.0
BYTES_OF_A_KEY = 420
FAULTS = {
    "http_400": "1%",
    "http_429": "1%",
    "http_500": "1%",
    "http_503": "1%",
    "drop_before": "2%",
    "drop_after": "2%",
    "cut_body": "2%",
}


async def command(*arguments: object, folder: Path, **streams: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bulk_eraser",
        *map(str, arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ELEVATE_API_KEY": "simulated-key"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        **streams,
    )


@asynccontextmanager
async def simulator(folder: Path, log: Path) -> AsyncIterator[str]:
    """The simulator in a process of its own, with faults and a request log; its origin."""
    faults = [part for name, rate in FAULTS.items() for part in ("--fault", f"{name}={rate}")]
    process = await command(
        *("simulate", "--port", 0, "--seed", SEED, "--log", log, *faults),
        folder=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.communicate()


async def run_until(ledger: Path, size: int, arguments: tuple[object, ...]) -> tuple[int, bytes]:
    """Run until the ledger has passed this size, then SIGKILL; or to the end, if that is sooner."""
    pipe = asyncio.subprocess.PIPE
    process = await command(*arguments, folder=ledger.parent, stdout=pipe)
    output = asyncio.ensure_future(process.communicate())
    async with asyncio.timeout(PATIENCE_S):
        while not output.done():
            if ledger.exists() and ledger.stat().st_size > size:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                break
            await asyncio.sleep(0.0005)
        out, _ = await output
    return process.returncode, out


def proven(raw: bytes) -> tuple[bytes, list[dict[str, Any]]]:
    """The longest prefix that ends in a valid commit, and its lines."""
    head, end, place = "0" * 64, 0, 0
    lines: list[dict[str, Any]] = []
    group: list[bytes] = []
    for line in raw.splitlines(keepends=True):
        place += len(line)
        if not line.startswith(b'{"type":"commit"') or not line.endswith(b"\n"):
            group.append(line)
            continue
        commit = json.loads(line)
        head = sha256(head.encode() + b"".join(group)).hexdigest()
        assert (commit["sha256"], commit["lines"]) == (head, len(group))
        lines += map(json.loads, group)
        group, end = [], place
    return raw[:end], lines


@pytest.mark.parametrize(
    ("number_of_keys", "rounds"), [(600, 3), pytest.param(KEYS, ROUNDS, marks=pytest.mark.soak)]
)
async def test_killed_again_and_again(tmp_path: Path, number_of_keys: int, rounds: int) -> None:
    """Killed at random moments and continued until it is done, a run loses no acceptance, sends
    no accepted key again, and the service saw no more requests for any key than `sent` lines."""
    chance = random.Random(SEED)
    keys = [f"{chance.getrandbits(128):032x}" for _ in range(number_of_keys)]
    source, ledger, log = (tmp_path / name for name in ("k.csv", "k.ledger.ndjson", "log"))
    source.write_text("customerKey\n" + "".join(f"{key}\n" for key in keys))
    began = time.monotonic()
    kills = 0
    prefixes: list[bytes] = []
    tails: list[bytes] = []
    async with simulator(tmp_path, log) as origin:
        arguments = ("run", source, "--base-url", origin, "--yes", "--json", "--rate", 0)
        whole = number_of_keys * BYTES_OF_A_KEY
        for number in range(rounds):
            before = ledger.stat().st_size if ledger.exists() else 0
            share = max(whole - before, 20_000) * 2 / (rounds - number + 1)
            growth = chance.choice([0, 1, chance.uniform(0, share), chance.uniform(0, share)])
            code, _ = await run_until(ledger, before + int(growth), arguments)
            assert code in (-signal.SIGKILL, 0, 3)
            kills += code == -signal.SIGKILL
            raw = ledger.read_bytes()
            prefix, lines = proven(raw)
            prefixes.append(prefix)
            tails += filter(None, [raw[len(prefix) :]])
            must_agree(lines, requests(log))
            chance.shuffle(keys)
            source.write_text("customerKey\n" + "".join(f"{key}\n" for key in keys))
        code, out = await run_until(ledger, sys.maxsize, arguments)
    ending = json.loads(out)
    raw = ledger.read_bytes()
    whole_prefix, lines = proven(raw)
    assert whole_prefix == raw
    assert code == ending["exit_code"] == 3
    must_agree(lines, requests(log))
    must_be_settled(keys, lines, ending["counts"])
    kept = sorted(path.read_bytes() for path in tmp_path.glob("*.tail"))
    assert kept == sorted(tails)
    assert all(map(raw.startswith, prefixes))
    sent = sum(line["type"] == "sent" for line in lines)
    print(
        f"\n{number_of_keys} keys, {kills} kills, {len(tails)} torn tails, "
        f"{len(requests(log))} requests, {sent} sent lines, {len(lines)} lines, "
        f"{time.monotonic() - began:.1f} s"
    )
    assert kills >= rounds // 2


def requests(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]


def must_agree(lines: list[dict[str, Any]], seen: list[dict[str, Any]]) -> None:
    """Ledger and request log tell the same story, at any moment."""
    sent = Counter(line["key"] for line in lines if line["type"] == "sent")
    for key, count in Counter(request["key"] for request in seen).items():
        assert count <= sent[key], f"{count} requests, {sent[key]} sent lines"
    jids = {(request["key"], request["jid"]) for request in seen if request["http_status"] == 200}
    accepted: set[str] = set()
    for line in lines:
        if line["type"] == "accepted":
            assert (line["key"], line["jid"]) in jids
            assert line["key"] not in accepted
            accepted.add(line["key"])
        elif line["type"] == "sent":
            assert line["key"] not in accepted, "an accepted key was sent again"


def must_be_settled(keys: list[str], lines: list[dict[str, Any]], counts: dict[str, int]) -> None:
    """Every key is accepted, or refused for good; the last run's counts are those of its rows."""
    last: dict[str, dict[str, Any]] = {}
    before: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line["type"] == "run_started":
            before = last.copy()
        elif "key" in line:
            last[line["key"]] = line
    assert set(last) == set(keys)
    states = Counter(line["type"] for line in last.values())
    assert set(states) == {"accepted", "failed"}
    assert all(line["permanent"] for line in last.values() if line["type"] == "failed")
    settled = sum(line["type"] == "accepted" for line in before.values())
    assert counts == dict.fromkeys(counts, 0) | {
        "rows": len(keys),
        "accepted": states["accepted"] - settled,
        "already_settled": settled,
        "failed": states["failed"],
    }

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
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from reconciling import command, must_agree, proven, requests, simulator

KEYS = int(os.environ.get("KILL_KEYS", "8000"))
ROUNDS = int(os.environ.get("KILL_ROUNDS", "12"))
SEED = int(os.environ.get("KILL_SEED", "20240430"))
PATIENCE_S = 300.0
BYTES_OF_A_KEY = 420


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
    async with simulator(tmp_path, log, SEED) as origin:
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

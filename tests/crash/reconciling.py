"""The command and the simulator in processes of their own, and what their files must tell alike."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FAULTS = {
    "http_400": "1%",
    "http_429": "1%",
    "http_500": "1%",
    "http_503": "1%",
    "drop_before": "2%",
    "drop_after": "2%",
    "cut_body": "2%",
}


async def command(
    *arguments: object, folder: Path, module: str = "bulk_eraser", **streams: Any
) -> asyncio.subprocess.Process:
    """Start `python -m MODULE`; without outputs, unless they are asked for."""
    nowhere = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *map(str, arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ELEVATE_API_KEY": "simulated-key"},
        **{"stdin": nowhere, "stdout": nowhere, "stderr": nowhere} | streams,
    )


@asynccontextmanager
async def simulator(folder: Path, log: Path, seed: int, *options: object) -> AsyncIterator[str]:
    """The simulator in a process of its own, with faults and a request log; its origin."""
    faults = [part for name, rate in FAULTS.items() for part in ("--fault", f"{name}={rate}")]
    process = await command(
        *("simulate", "--port", 0, "--seed", seed, "--log", log, *faults, *options),
        folder=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.communicate()


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


def requests(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]


def must_agree(lines: list[dict[str, Any]], seen: list[dict[str, Any]]) -> None:
    """Ledger and request log tell the same story, at any moment."""
    sent = Counter(line["key"] for line in lines if line["type"] == "sent")
    sent -= Counter(line["key"] for line in lines if line["type"] == "unsent")
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

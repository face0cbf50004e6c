"""A disk that is full in the middle of a record, whatever the record is, under the real command.

The ledger already holds one group, made as long as is needed for the record to stand across byte
65,536: of a file that may grow no further, or (as root) of a whole disk, a tmpfs of 64 KiB.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

ROOM = 1 << 16
PAGE = 1 << 12
TORN = b'{"type":"sent","at":"2024-03'
TYPES = [
    "run_started",
    "rejected",
    "duplicate",
    "excluded",
    "sent",
    "accepted",
    "failed",
    "unknown",
    "run_finished",
    "commit",
    "recovered",
]
AFTER_THE_FIRST_REQUEST = {"accepted", "failed", "unknown", "run_finished"}
WHERE_ITS_ROW_COMES = {"rejected", "duplicate", "excluded"}
DONE: dict[str, bytes] = {}
"""Kind of outcome → a ledger without any trouble, from which the places are taken. What rides in
one group is a matter of milliseconds, so that another run may miss them."""


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("nothing may be mounted here; the file that may grow no further ran")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(params=["file", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path, type_: str) -> Iterator[tuple[Any, ...]]:
    """The ledger's path, what limits the process, and what makes room again."""
    folder = tmp_path / "full"
    folder.mkdir()
    path = folder / "keys.ledger.ndjson"
    if request.param == "file":
        yield path, ROOM, None
        return
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk of 64 KiB; the file that may grow no further ran")
    with tmpfs(folder, ROOM + (PAGE if type_ == "recovered" else 0)):  # the tail has its page
        grow = ["mount", "-o", "remount,size=1m", folder]
        yield path, None, partial(subprocess.run, grow, check=True)


def first_group(began: bytes, target: str, length: int, tail: bytes = b"") -> bytes:
    """A group of exactly so many bytes, tail included: a run that began and was killed."""

    def build(padding: int) -> bytes:
        named = {"target": target, "base": target, "requester": "r" * padding}
        record = json.loads(began) | named
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        digest = sha256(b"0" * 64 + line).hexdigest()
        commit = {"type": "commit", "at": record["at"], "lines": 1, "sha256": digest}
        return line + json.dumps(commit, separators=(",", ":")).encode() + b"\n" + tail

    return build(length - len(build(0)))


def middle_of(type_: str, content: bytes) -> int:
    """The offset of the middle of the first line of this type."""
    begin = content.index(b'{"type":"%b"' % type_.encode())
    return (begin + content.index(b"\n", begin)) // 2


@pytest.fixture
def two_keys(desk: Any, service: Any, keys: list[str], type_: str) -> Any:
    """Run on a ledger: a row of each kind, and two keys to send, whose outcomes are in groups of
    their own; the first one's, or the second one's, is that of the test."""
    source = desk.csv([keys[0], "", keys[1], keys[0], keys[2]])
    hold = desk.file("hold.csv", f"customerKey\n{keys[2]}\n")
    options = ("--exclude", hold, "--concurrency", 1, "--max-attempts", 1)
    first = b'{"type":"failed"' if type_ == "failed" else b'{"type":"accepted"'

    async def run(path: Path, limit: int | None = None) -> Any:
        is_over = False

        async def answer(call: Any) -> int | None:
            if call.key == keys[0]:
                return 400 if type_ == "failed" else None
            await desk.until(lambda: is_over or first in path.read_bytes())
            return 500 if type_ == "unknown" and keys[0] in service.per_key else None

        service.answer = answer
        service.per_key.clear()
        ended = await desk.run(source, service, *options, "--ledger", path, file_size_limit=limit)
        is_over = True
        return source, ended

    return run


@pytest.mark.parametrize("type_", TYPES)
async def test_full_in_the_middle_of_a_record(
    desk: Any, service: Any, keys: list[str], two_keys: Any, type_: str, place: tuple[Any, ...]
):
    """74 at a proven prefix, nothing was sent that it does not know of, and with room again the
    same command ends as if nothing had been."""
    path, limit, make_room = place
    kind = type_ if type_ in ("failed", "unknown") else "accepted"
    torn = None
    while torn is None or not torn.startswith(b'{"type":"%b"' % type_.encode()):
        if torn is not None:  # missed: aim again
            path.unlink()
            del DONE[kind]
        if kind not in DONE:
            in_full = desk.folder / "in_full.ledger.ndjson"
            in_full.unlink(missing_ok=True)
            await two_keys(in_full)
            DONE[kind] = in_full.read_bytes()
        content = DONE[kind]
        began = content.partition(b"\n")[0]
        if type_ == "recovered":
            before = first_group(began, service.origin, ROOM - 40)
            path.write_bytes(before + TORN)
        else:
            before = first_group(began, service.origin, ROOM - middle_of(type_, content))
            path.write_bytes(before)

        _, ended = await two_keys(path, limit)
        left = path.read_bytes()
        assert (ended.code, ended.json["outcome"]) == (74, "error")
        assert left.startswith(before)
        assert len(left) == ROOM
        whole, _, torn = left.rpartition(b"\n")
    lines = [json.loads(line) for line in whole.split(b"\n")]
    sent = [line["key"] for line in lines if line["type"] == "sent"]
    assert all(count <= sent.count(key) for key, count in service.per_key.items())
    if type_ not in WHERE_ITS_ROW_COMES:
        assert bool(service.per_key) == (type_ in AFTER_THE_FIRST_REQUEST)

    if make_room is not None:
        _, again = await two_keys(path)
        assert again.code == 74, "the disk is still full: there is no room for the tail"
        assert path.read_bytes() == left
        make_room()
    source, ended = await two_keys(path)
    assert ended.code == 3
    result = desk.reconcile(source, ended, held=[keys[2]], name=f"full/{path.name}")
    assert result.raw.startswith(before)
    assert result.of("recovered")[-1]["bytes"] == len(left) - proven_length(left)
    outcomes = {key: line["type"] for key, line in result.last().items()}
    assert outcomes == {
        keys[0]: "failed" if type_ == "failed" else "accepted",
        keys[1]: "accepted",
        keys[2]: "excluded",
    }


def proven_length(content: bytes) -> int:
    """Up to the end of the last whole commit line."""
    begin = content.rindex(b'\n{"type":"commit"', 0, content.rindex(b"\n")) + 1
    return content.index(b"\n", begin) + 1

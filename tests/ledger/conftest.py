"""A small ledger as the command writes it, and a verifier that knows only what is promised."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.records import (
    Accepted,
    Excluded,
    Failed,
    InputFacts,
    Record,
    Rejected,
    RunFinished,
    RunStarted,
    Sent,
    Unknown,
)

AT = "2024-03-01T12:00:00.000Z"


@pytest.fixture
def facts() -> InputFacts:
    return InputFacts(
        name="keys.csv",
        bytes=120,
        sha256="ab" * 32,
        format="csv",
        key_field="customerKey",
        header=True,
        delimiter=";",
        encoding="utf-8",
        rows=4,
        keys=3,
        rejected=1,
        duplicate=0,
    )


@pytest.fixture
def run_started(facts: InputFacts) -> Callable[..., RunStarted]:
    """A `run_started` record; its fields can be given."""

    def build(**fields: Any) -> RunStarted:
        usual: dict[str, Any] = {
            "run": "r1",
            "command": "run",
            "tool": "t",
            "api": "v4",
            "target": "c1",
            "simulated": False,
            "input": facts,
            "exclude_sha256": None,
            "settings": {},
            "requester": None,
            "reference": None,
        }
        return RunStarted(**(usual | fields))

    return build


@pytest.fixture
def sent() -> Callable[[str], Sent]:
    """A `sent` record of a key."""
    return lambda key: Sent(key=key, line=2, attempt=1)


@pytest.fixture
def chained() -> Callable[[list[list[Record]]], list[bytes]]:
    """The bytes of each group, chained from the beginning."""

    def build(groups: list[list[Record]]) -> list[bytes]:
        encoded, head = [], GENESIS
        for records in groups:
            group, head = encode_group(head, records, AT)
            encoded.append(group)
        return encoded

    return build


@pytest.fixture
def groups(
    run_started: Callable[..., RunStarted],
    sent: Callable[[str], Sent],
    chained: Callable[[list[list[Record]]], list[bytes]],
) -> list[bytes]:
    """The groups of a small ledger: every kind of outcome, one to four lines each."""
    return chained(
        [
            [run_started()],
            [Rejected(line=5, error="empty_key"), Excluded(key="k4", line=6)],
            [sent("k1"), sent("k2"), sent("é3")],
            [_accepted("k1")],
            [
                _accepted("é3"),
                Unknown(key="k2", line=3, error="timeout", attempts=6),
                sent("k5"),
                sent("k6"),
            ],
            [_failed("k5"), _accepted("k6")],
            [RunFinished(run="r1", outcome="complete", exit_code=3, counts={}, elapsed_s=0.1)],
        ]
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.ledger.ndjson"


@pytest.fixture
def verify() -> Callable[[bytes], str]:
    """Proves a ledger's bytes as the promise to users describes it; returns the head."""

    def prove(content: bytes) -> str:
        previous, lines = "0" * 64, []
        assert content.endswith(b"\n") or not content
        for line in content.split(b"\n")[:-1]:
            record = json.loads(line)
            if record["type"] == "commit":
                assert record["lines"] == len(lines)
                previous = sha256(previous.encode() + b"".join(lines)).hexdigest()
                assert record["sha256"] == previous
                lines = []
            else:
                lines.append(line + b"\n")
        assert not lines
        return previous

    return prove


def _accepted(key: str) -> Accepted:
    return Accepted(
        key=key,
        line=2,
        jid=f"j-{key}",
        status="created",
        http_status=200,
        attempts=1,
        elapsed_ms=5,
    )


def _failed(key: str) -> Failed:
    return Failed(
        key=key,
        line=4,
        error="http_400",
        http_status=400,
        detail=None,
        attempts=1,
        permanent=True,
        possible_job=False,
    )

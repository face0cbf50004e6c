"""Small ledgers, written as the real writer does, and what they are summed up to."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.evidence.summary import Summary
from bulk_eraser.evidence.summing import summarize
from bulk_eraser.evidence.verify_request import VerifyRequest
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.records import (
    Accepted,
    Excluded,
    Failed,
    InputFacts,
    JobStatus,
    Record,
    Rejected,
    RunFinished,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)
from bulk_eraser.sending.counts import COUNTS

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def facts(**other: Any) -> InputFacts:
    known: dict[str, Any] = {
        "name": "k.csv",
        "bytes": 9,
        "sha256": "0" * 64,
        "format": "csv",
        "key_field": "customerKey",
        "header": True,
        "delimiter": ",",
        "encoding": "utf-8",
        "rows": 3,
        "keys": 3,
        "rejected": 0,
        "duplicate": 0,
    }
    return InputFacts(**known | other)


def started(command: str = "run", **other: Any) -> RunStarted:
    known: dict[str, Any] = {
        "run": "r",
        "command": command,
        "tool": "t",
        "api": "v4",
        "target": "w1234abcd",
        "simulated": False,
        "input": facts() if command == "run" else None,
        "exclude_sha256": None,
        "settings": {},
        "requester": None,
        "reference": None,
    }
    return RunStarted(**known | other)


def finished(exit_code: int = 0, outcome: str = "complete") -> RunFinished:
    counts = dict.fromkeys(COUNTS, 0)
    return RunFinished(run="r", outcome=outcome, exit_code=exit_code, counts=counts, elapsed_s=1.0)


def sent(key: str, line: int = 2, attempt: int = 1, **row: Any) -> Sent:
    return Sent(key=key, line=line, attempt=attempt, **row)


def unsent(key: str, line: int = 2) -> Unsent:
    return Unsent(key=key, line=line, attempt=1)


def accepted(key: str, line: int = 2, jid: str = "", **row: Any) -> Accepted:
    known: dict[str, Any] = {"status": "created", "http_status": 200, "attempts": 1}
    more = known | {"elapsed_ms": 40} | row
    return Accepted(key=key, line=line, jid=jid or f"jid-of-{key}", **more)


def failed(key: str, line: int = 2, *, permanent: bool = True, **row: Any) -> Failed:
    error = row.pop("error", "http_400" if permanent else "http_503")
    known: dict[str, Any] = {"http_status": 400, "detail": None, "attempts": 1}
    more = known | {"possible_job": False} | row
    return Failed(key=key, line=line, error=error, permanent=permanent, **more)


def unknown(key: str, line: int = 2, error: str = "timeout") -> Unknown:
    return Unknown(key=key, line=line, error=error, attempts=1)


def excluded(key: str, line: int = 2, reason: str | None = None) -> Excluded:
    return Excluded(key=key, line=line, reason=reason)


def rejected(line: int, error: str = "empty_key") -> Rejected:
    return Rejected(line=line, error=error)


def status(key: str, word: str, jid: str = "", due: str | None = None) -> JobStatus:
    return JobStatus(key=key, jid=jid or f"jid-of-{key}", status=word, next_check_at=due)


Day = str
Group = tuple[Day, list[Record]]


def written(path: Path, *groups: Group) -> Path:
    """A ledger of these groups, each with the day (or time) on which it was written."""
    head = GENESIS
    with path.open("wb") as file:
        for day, records in groups:
            at = day if "T" in day else f"{day}T10:00:00.000Z"
            group, head = encode_group(head, records, at)
            file.write(group)
    return path


def summed(*paths: Path, now: datetime = NOW, **how: Any) -> Summary:
    request = VerifyRequest(ledgers=[str(path) for path in paths], heads=how.pop("heads", ()))
    return summarize(request, now, lambda rows: None, **how)


@pytest.fixture
def summary_of(tmp_path: Path) -> Callable[..., Summary]:
    """The summary of a ledger of these groups."""

    def sum_up(*groups: Group, **how: Any) -> Summary:
        return summed(written(tmp_path / "k.ledger.ndjson", *groups), **how)

    return sum_up

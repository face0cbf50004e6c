"""Reports stay small, however many keys there are, and whatever became of them."""

from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.evidence.report.writers import WRITERS
from tests.unit.evidence.conftest import (
    facts,
    failed,
    rejected,
    sent,
    started,
    status,
    summed,
    unknown,
    written,
)

LONG = "é<|&" * 50
LARGEST = {"html": 300 << 10, "markdown": 64 << 10, "json": 300 << 10}


@pytest.mark.parametrize("keys", [2_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_no_report_grows_with_the_keys(tmp_path: Path, keys: int):
    """All of them failed, with long references, for thirty reasons, after fifty runs."""
    groups: list[Any] = [("2026-10-01", [started(input=facts(rows=keys, keys=keys, rejected=9))])]
    for n in range(keys):
        row = {"reference": f"{LONG[:190]}{n}"}
        key, error = f"k{n}", f"http_{400 + n % 15}"
        outcome = failed(key, n, error=error, **row) if n % 2 else unknown(key, n, error)
        groups.append((f"2026-10-01T10:{n // 60 % 60:02}:{n % 60:02}Z", [sent(key, n), outcome]))
    groups += [("2026-10-02", [rejected(n)]) for n in range(keys // 10)]
    for n in range(50):
        groups.append((f"2026-11-{n % 28 + 1:02}", [started("follow", run=f"f{n}")]))
        groups.append((f"2026-11-{n % 28 + 1:02}", [status("k0", "done")]))
    summary = summed(written(tmp_path / "k.ledger.ndjson", *groups))
    assert sum(failure.count for failure in summary.failures) == keys
    assert len(summary.failures) >= 30
    assert 100 < len(summary.rows) <= 300
    assert len(summary.timing.requests) <= 120
    assert sum(summary.timing.requests) == keys
    for name, writer in WRITERS.items():
        size = len(writer.make(summary).encode())
        assert size < LARGEST.get(name, 32 << 10), (name, size)

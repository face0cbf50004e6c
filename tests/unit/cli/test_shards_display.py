"""One line for all shards, counted out of what is added to their ledgers."""

import os
from pathlib import Path
from typing import Any

from bulk_eraser.cli.dask.display import Growth, ShardsDisplay
from bulk_eraser.cli.terminal.output import Output

BEFORE = b'{"type":"run_started"}\n{"type":"accepted","key":"0"}\n'
OUTCOMES = (
    b'{"type":"sent","key":"1"}\n{"type":"accepted","key":"1"}\n{"type":"failed","key":"2"}\n'
    b'{"type":"unknown","key":"{\\"type\\":\\"accepted\\""}\n{"type":"accepted","key":"3"}\n'
)


def test_only_what_is_added_counts(tmp_path: Path):
    """However the bytes come: an outcome counts once its line has begun in whole."""
    for cut in range(len(OUTCOMES)):
        ledger = tmp_path / f"{cut}.ledger.ndjson"
        ledger.write_bytes(BEFORE)
        growth = Growth(str(ledger))
        for part in (OUTCOMES[:cut], OUTCOMES[cut:]):
            with open(ledger, "ab") as file:
                file.write(part)
            growth.look()
        assert growth.counts == {"accepted": 2, "failed": 1, "unknown": 1}, cut


def test_a_part_is_read_on_where_the_one_before_it_ended(tmp_path: Path):
    """It begins as a copy, which does not count again."""
    ledger, part = tmp_path / "k.1of2.ledger.ndjson", tmp_path / "k.1of2.part1.ledger.ndjson"
    growth = Growth(str(ledger))
    ledger.write_bytes(BEFORE)
    growth.look()
    part.write_bytes(BEFORE + OUTCOMES)
    growth.look()
    assert growth.counts == {"accepted": 3, "failed": 1, "unknown": 1}


def test_the_line_says_how_far_and_how_they_stand(tmp_path: Path, monkeypatch: Any):
    """The sum of all shards, the limit, and the words for the shards."""
    ledgers = [str(tmp_path / f"k.{n}of2.ledger.ndjson") for n in (1, 2)]
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    display = ShardsDisplay(Output(), ledgers, 10, 50.0)
    for path in ledgers:
        Path(path).write_bytes(BEFORE + OUTCOMES)
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    line = display.line("2 of 2 shards running")
    assert line == (
        "100% · 10 of 10 keys · 6 accepted · 2 failed · 2 unknown · 2/s (limit 50/s) · "
        "2 of 2 shards running"
    )
    os.unlink(ledgers[0])
    assert display.line("").startswith("100%")

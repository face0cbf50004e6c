"""Parquet through the commands that people type: sent, resumed, refused and accounted for."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES = Path(__file__).parents[2] / "sample_inputs"


async def test_a_table_is_sent_resumed_and_accounted_for(desk: Any, service: Any, keys: list[str]):
    """From standard input as well as from a file; `verify` reads it as the run did."""
    content = io.BytesIO()
    pq.write_table(pa.table({"other": keys[:30], "customerKey": keys[30:60]}), content)
    source = desk.file("keys.parquet", content.getvalue())
    desk.may_hold_keys.add(source)
    first = await desk.run(source, service, "--limit", "12")
    options = ["--format", "parquet", "--ledger", "keys.ledger.ndjson", "--yes", "--json"]
    running = await desk.start(
        *("run", "-", "--base-url", service.origin, *options), stdin=asyncio.subprocess.PIPE
    )
    second = await running.ended(content.getvalue())
    assert (first.code, second.code) == (75, 0)
    assert set(service.per_key) == set(keys[30:60])
    ledger = desk.ledger()
    assert [line["line"] for line in ledger.of("accepted")] == list(range(1, 31))
    assert ledger.of("run_started")[0]["input"]["format"] == "parquet"
    verified = await desk.call("verify", "keys.ledger.ndjson", "--input", source)
    assert verified.code == 0


async def test_a_refused_table_leaves_nothing(desk: Any, service: Any):
    """65, a sentence, and neither request nor ledger."""
    before = set(desk.folder.iterdir())
    source = SAMPLES / "invalid" / "number_keys.parquet"
    ended = await desk.run(source, service, "--ledger", "keys.ledger.ndjson")
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert "is of type double" in ended.json["error"]
    assert service.calls == []
    assert set(desk.folder.iterdir()) == before

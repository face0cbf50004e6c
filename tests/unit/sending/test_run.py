"""A run in this process, where something of this process is what fails."""

import errno
import json
import os
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import ExitCode
from bulk_eraser.sending import given_jids
from bulk_eraser.sending.request import RunRequest
from bulk_eraser.sending.run import prepare
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake


async def test_no_room_for_jids_is_an_end_on_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """D9: where the temporary folder is full when a run has begun, nothing is sent, and its ledger
    says how it ended: the ledger itself can be written."""

    def full(_fd: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(given_jids, "IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    keys, ledger = tmp_path / "keys.csv", tmp_path / "keys.ledger.ndjson"
    keys.write_text("customerKey\nk-1\nk-2\n")
    request = RunRequest(Intake(InputReader(str(keys), Reading())), ledger_path=str(ledger))
    target = Target.of_base_url("http://127.0.0.1:9")  # nothing is to ask it
    with closing(prepare(request, RunSettings(target=target, api_version=ApiVersion.V4))) as run:
        result = await run.carry_out("api-key", lambda *_: nullcontext())
    assert (result.exit_code, result.outcome) == (ExitCode.LEDGER_WRITE, "error")
    assert "TMPDIR" in (result.error or "")
    lines = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    kinds = [line["type"] for line in lines if line["type"] != "commit"]
    assert kinds == ["run_started", "run_finished"]
    assert lines[-2]["exit_code"] == ExitCode.LEDGER_WRITE
    assert lines[-2]["counts"]["not_reached"] == 2

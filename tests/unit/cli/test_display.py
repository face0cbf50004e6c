"""What a run shows of itself, on a clock that the test moves."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from bulk_eraser.cli import display
from bulk_eraser.cli.output import Output, Progressing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(display.time, "monotonic", lambda: clock.now)
    return clock


def watched(settled: int) -> Any:
    return SimpleNamespace(settled=settled, to_send=3000, summary=lambda: [f"{settled} of 3000"])


async def test_the_first_line_has_a_rate(clock: Any):
    """Thirty seconds after the begin the rate is that of these thirty seconds."""
    dispatch = SimpleNamespace(retries=0, stopped_by=None)
    window = SimpleNamespace(limit=32, ceiling=32)
    breaker = SimpleNamespace(is_open=False)
    pace = SimpleNamespace(
        pause_left=0.0, silence=None, breaker=breaker, throttled_to=None, window=window
    )
    shown = display.Display(Output())
    with shown(watched(0), dispatch, pace):  # type: ignore[arg-type] # as much as is looked at
        clock.now += 30
        line = shown.line(watched(1500), dispatch, pace)  # type: ignore[arg-type] # as above
    assert line == "50% · 1500 of 3000 · 50/s · 30 s left"


@pytest.mark.parametrize(("progress", "tasks"), [("plain", 1), ("off", 0)])
async def test_progress_that_is_off_is_not_watched(progress: str, tasks: int):
    """Nothing looks at the run, so nothing can be printed of it."""
    shown = display.Display(Output(progress=Progressing(progress)))
    before = len(asyncio.all_tasks())
    with shown(watched(0), SimpleNamespace(), SimpleNamespace()):  # type: ignore[arg-type] # as above
        assert len(asyncio.all_tasks()) == before + tasks

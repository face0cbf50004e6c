"""What a run shows of itself, on a clock that the test moves."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from bulk_eraser.cli import display
from bulk_eraser.cli.output import Output, Progressing
from bulk_eraser.errors import Interrupted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(display.time, "monotonic", lambda: clock.now)
    return clock


def watched(settled: int) -> Any:
    return SimpleNamespace(settled=settled, to_send=3000, summary=lambda: [f"{settled} of 3000"])


def pace_of_a_good_service() -> Any:
    window = SimpleNamespace(limit=32, ceiling=32)
    breaker = SimpleNamespace(is_open=False)
    return SimpleNamespace(
        pause_left=0.0, silence=None, breaker=breaker, throttled_to=None, window=window
    )


async def test_the_first_line_has_a_rate(clock: Any):
    """Thirty seconds after the start the rate is that of these thirty seconds."""
    dispatch: Any = SimpleNamespace(retries=0, stopped_by=None)
    pace = pace_of_a_good_service()
    shown = display.Display(Output())
    with shown(watched(0), dispatch, pace):
        clock.now += 30
        line = shown.line(watched(1500), dispatch, pace)
    assert line == "50% · 1500 of 3000 · 50/s · 30 s left"


async def test_a_run_that_stops_has_no_time_left(clock: Any):
    """It will not reach its end, so neither a rate nor a time is shown."""
    dispatch: Any = SimpleNamespace(
        retries=0, stopped_by=Interrupted(signal.SIGINT), in_flight=[1, 2]
    )
    shown = display.Display(Output())
    with shown(watched(0), dispatch, pace_of_a_good_service()):
        clock.now += 30
        line = shown.line(watched(1500), dispatch, pace_of_a_good_service())
    assert line == (
        "50% · 1500 of 3000 · stopping: waiting for 2 requests in flight; Ctrl-C again stops now"
    )


@pytest.mark.parametrize(("progress", "tasks"), [("plain", 1), ("off", 0)])
async def test_progress_that_is_off_is_not_watched(progress: str, tasks: int):
    """Nothing looks at the run, so nothing can be printed of it."""
    shown = display.Display(Output(progress=Progressing(progress)))
    before = len(asyncio.all_tasks())
    with shown(watched(0), SimpleNamespace(), SimpleNamespace()):  # type: ignore[arg-type] # as above
        assert len(asyncio.all_tasks()) == before + tasks

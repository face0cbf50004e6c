"""What a run shows of itself, on a clock that the test moves."""

import asyncio
import signal
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from bulk_eraser.cli.terminal import display
from bulk_eraser.cli.terminal.output import Output, Progressing
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


def good_pool() -> Any:
    return SimpleNamespace(retries=0, stopped_by=None, errors=Counter())


async def test_the_first_line_has_a_rate(clock: Any):
    """Thirty seconds after the start the rate is that of these thirty seconds."""
    dispatch: Any = good_pool()
    pace = pace_of_a_good_service()
    shown = display.Display(Output())
    with shown(watched(0), dispatch, pace):
        clock.now += 30
        line = shown.line(watched(1500), dispatch, pace)
    assert line == "50% · 1500 of 3000 · 50/s · 30 s left"


async def test_the_limit_is_shown_beside_the_rate(clock: Any):
    """Whether it is the service or --rate that makes it slow can be seen."""
    for limit, text in (
        (50.0, "40/s (limit 50/s)"),
        (1200, "40/s (limit 1,200/s)"),
        (0.5, "0.5/s)"),
    ):
        shown = display.Display(Output(), limit)
        with shown(watched(0), good_pool(), pace_of_a_good_service()):
            clock.now += 30
            assert text in shown.line(watched(1200), good_pool(), pace_of_a_good_service())


async def test_the_last_errors_are_shown_by_kind(clock: Any):
    """The most frequent first, three of them at the most; old ones are forgotten."""
    pool, pace = good_pool(), pace_of_a_good_service()
    shown = display.Display(Output())
    with shown(watched(0), pool, pace):
        shown.line(watched(1), pool, pace)
        assert shown.last_errors() == ""
        pool.errors.update({"timeout": 3, "http_503": 1200, "connection_lost": 2, "dns": 1})
        clock.now += 20
        shown.line(watched(2), pool, pace)
        assert shown.last_errors() == "last errors: 1,200 http_503, 3 timeout, 2 connection_lost"
        pool.errors["dns"] += 4
        clock.now += 20
        shown.line(watched(3), pool, pace)
        assert shown.last_errors() == "last errors: 4 dns"
        clock.now += 40
        shown.line(watched(4), pool, pace)
        clock.now += 1
        shown.line(watched(5), pool, pace)
        assert shown.last_errors() == ""


async def test_another_pool_begins_anew(clock: Any):
    """Nothing of the day before is told of today's questions."""
    first, pace = good_pool(), pace_of_a_good_service()
    first.errors["timeout"] = 5
    shown = display.Display(Output())
    with shown(watched(0), first, pace):
        shown.line(watched(1), first, pace)
    second = good_pool()
    second.errors["timeout"] = 2
    with shown(watched(1), good_pool(), pace):
        shown.line(watched(2), second, pace)
        assert shown.last_errors() == "last errors: 2 timeout"


async def test_a_run_that_stops_has_no_time_left(clock: Any):
    """It will not reach its end, so neither a rate nor a time is shown."""
    dispatch: Any = SimpleNamespace(
        retries=0, stopped_by=Interrupted(signal.SIGINT), in_flight=[1, 2], errors=Counter()
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
    with shown(watched(0), good_pool(), SimpleNamespace()):  # type: ignore[arg-type] # as above
        assert len(asyncio.all_tasks()) == before + tasks

"""The one gate before every request, on a clock that the test holds."""

import asyncio
import random
from typing import Any

import pytest

from bulk_eraser.errors import ServiceDown
from bulk_eraser.pacing.pace import OUTSTANDING, Pace


def pace_on(time: Any, *, rate: float = 0.0, max_outage: float = 300.0, concurrency: int = 8):
    return Pace(rate, max_outage, concurrency, time.clock, time.sleep)


async def send(pace: Pace, time: Any, sent: list[float], amount: int) -> None:
    for _ in range(amount):
        await pace.turn()
        sent.append(time.now)


def most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for t in times if start <= t < start + 1 - 1e-9) for start in times)


@pytest.mark.parametrize("lateness", [0.0, 0.005, 0.05])
async def test_workers_share_one_rate(time: Any, lateness: float):
    """However many workers, however late they wake up: at most rate + 1 in any second."""
    chance = random.Random(3)
    time.late = lambda: chance.uniform(0, lateness)
    pace, sent = pace_on(time, rate=100), []
    await time.run(*(send(pace, time, sent, 25) for _ in range(32)))
    assert len(sent) == 800
    assert most_in_a_second(sorted(sent)) <= 101
    if lateness < 0.01:
        assert max(sent) - min(sent) <= 1.01 * 800 / 100


async def test_without_a_rate_nothing_waits(time: Any):
    """A rate of 0 lets all workers send at once."""
    pace, sent = pace_on(time), []
    await time.run(*(send(pace, time, sent, 10) for _ in range(8)))
    assert set(sent) == {1000.0}


@pytest.mark.parametrize("rate", [0.0, 1000.0])
@pytest.mark.parametrize("retry_after", [0.5, 1.0, 7.0, 60.0, 300.0])
async def test_retry_after_pauses_everyone(time: Any, rate: float, retry_after: float):
    """Nobody sends before the time that the service asked for, nor much later; the lateness is
    not the same every time."""
    ends = set()
    for _ in range(8):
        began = time.now
        pace, sent = pace_on(time, rate=rate), []
        assert pace.saw_bad("key", "http_429", retry_after) is None
        assert retry_after <= pace.pause_left <= retry_after + min(1.0, 0.1 * retry_after)
        await time.run(*(send(pace, time, sent, 3) for _ in range(8)))
        assert began + retry_after <= min(sent)
        assert min(sent) <= began + retry_after + min(1.0, 0.1 * retry_after)
        ends.add(min(sent) - began)
    assert len(ends) > 1


async def test_a_pause_that_begins_while_others_wait_holds_them_too(time: Any):
    """Workers that wait for the rate, or for a shorter pause, wait for the longer one."""
    pace, sent = pace_on(time, rate=1), []
    await pace.turn()
    await pace.turn()
    began = time.now

    async def pauses() -> None:
        pace.saw_bad("a", "http_503", 2.0)
        await time.sleep(0.5)
        pace.saw_bad("b", "http_503", 10.0)
        pace.saw_bad("c", "http_503", 1.0)  # a shorter one takes nothing back

    await time.run(send(pace, time, sent, 1), send(pace, time, sent, 1), pauses())
    assert min(sent) >= began + 10.5


async def test_a_wait_beyond_the_cap_stops_the_run(time: Any):
    """More than 300 s is not waited for: the run stops, the time is named, no pause begins."""
    pace = pace_on(time)
    why = pace.saw_bad("key", "http_503", 301.0)
    assert isinstance(why, ServiceDown)
    assert "301" in str(why)
    assert pace.pause_left == 0


async def test_a_pause_is_waited_out_before_the_service_is_left(time: Any):
    """While the service has asked for patience, and until it was asked once more, a run is not
    given up, however long ago the last good answer was."""
    pace = pace_on(time, max_outage=5)
    await pace.turn()
    pace.saw_bad("a", "http_503", 60.0)
    for _ in range(100):
        time.now += 1
        assert pace.expired() is None
    pace.saw_bad("a", "http_500", None)
    assert isinstance(pace.expired(), ServiceDown)


async def test_pauses_without_end_are_left(time: Any):
    """A service that answers every request after a pause with another one is left in the end."""
    pace, asked = pace_on(time, max_outage=5), []
    await pace.turn()

    def down() -> bool:
        return bool(asked and asked[-1]) or pace.expired() is not None

    for number in range(20):
        asked.append(pace.saw_bad(f"key-{number % 3}", "http_503", 1.0))
        if down():
            break
        time.now += 1.2
        if down():
            break
    assert down()
    assert time.now - 1000 < 10


async def test_a_good_answer_keeps_a_pausing_service(time: Any):
    """Pauses with good answers in between are no outage, however long they go on."""
    pace = pace_on(time, max_outage=5)
    await pace.turn()
    for number in range(50):
        assert pace.saw_bad(f"key-{number}", "http_429", 3.0) is None
        assert pace.expired() is None
        time.now += 4
        pace.saw_good()
        assert pace.expired() is None


async def test_an_empty_budget_delays_repeats(time: Any):
    """Repeats beyond the budget wait for it, about one a second; none is lost."""
    pace, paid = pace_on(time), []

    async def repeat() -> None:
        await pace.afford_repeat()
        paid.append(time.now)

    await time.run(*(repeat() for _ in range(30)))
    assert len(paid) == 30
    assert sum(at == 1000.0 for at in paid) == 10
    assert 19 <= max(paid) - 1000 <= 26


async def test_new_keys_wait_only_in_an_outage(time: Any):
    """New keys are free in good weather; in an outage they are paid from the same budget."""
    pace, began = pace_on(time), []

    async def begin() -> None:
        await pace.may_begin_key()
        began.append(time.now)

    await time.run(*(begin() for _ in range(100)))
    assert set(began) == {1000.0}
    pace.saw_bad("key", "http_500", None)  # never good: an outage
    began.clear()
    await time.run(*(begin() for _ in range(30)))
    assert sum(at == 1000.0 for at in began) == 10
    assert max(began) >= 1019


async def test_waiting_keys_are_let_go_when_it_ends(time: Any):
    """The first good answer lets every waiting key begin within a second."""
    pace, began = pace_on(time), []

    async def begin() -> None:
        await pace.may_begin_key()
        began.append(time.now)

    async def recover() -> None:
        await time.sleep(3.0)
        pace.saw_good()

    pace.saw_bad("key", "http_500", None)
    await time.run(recover(), *(begin() for _ in range(100)))
    assert len(began) == 100
    assert max(began) <= 1004.0 + 1e-6


async def test_the_first_request_starts_the_clock_of_an_outage(time: Any):
    """Seconds before the first request count for nothing."""
    pace = pace_on(time, max_outage=5)
    assert pace.first_request_at is None
    time.now += 1000
    await pace.turn()
    assert pace.first_request_at == time.now
    pace.saw_bad("key", "dns", None)
    time.now += 4.9
    assert pace.expired() is None
    time.now += 0.2
    assert isinstance(pace.expired(), ServiceDown)


async def test_a_worker_that_is_cancelled_blocks_nobody(time: Any):
    """A worker that is ended while it waits for its turn leaves the gate to the others."""
    pace, sent = pace_on(time, rate=1), []
    await pace.turn()
    await pace.turn()
    waiting = asyncio.ensure_future(pace.turn())
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    await time.run(send(pace, time, sent, 2))
    assert len(sent) == 2
    assert OUTSTANDING == 4

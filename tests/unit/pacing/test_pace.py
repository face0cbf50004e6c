"""The one gate before every request, on a clock that the test holds."""

import asyncio
import random
from typing import Any

import pytest

from bulk_eraser.errors import ContractBroken, ServiceDown
from bulk_eraser.pacing.pace import OUTSTANDING, Pace


def pace_on(time: Any, *, rate: float = 0.0, max_outage: float = 300.0, concurrency: int = 8):
    return Pace(rate, max_outage, concurrency, time.clock, time.sleep)


async def send(pace: Pace, time: Any, sent: list[float], amount: int) -> None:
    for _ in range(amount):
        with await pace.slot():
            sent.append(time.now)


async def turn(pace: Pace) -> None:
    with await pace.slot():
        pass


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
    await turn(pace)
    await turn(pace)
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
    await turn(pace)
    pace.saw_bad("a", "http_503", 60.0)
    for _ in range(100):
        time.now += 1
        assert pace.expired() is None
    pace.saw_bad("a", "http_500", None)
    assert isinstance(pace.expired(), ServiceDown)


async def test_a_pause_of_no_time_puts_nothing_off(time: Any):
    """`Retry-After: 0` asks for no pause, so the time without a good answer goes on as it was."""
    pace = pace_on(time, max_outage=5)
    await turn(pace)
    time.now += 1
    assert pace.saw_bad("a", "http_503", 0.0) is None
    time.now += 5
    assert isinstance(pace.expired(), ServiceDown)


async def test_pauses_without_end_are_left(time: Any):
    """A service that answers every request after a pause with another one is left in the end."""
    pace, asked = pace_on(time, max_outage=5), []
    await turn(pace)

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
    await turn(pace)
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
        await pace.afford_repeat(throttled=False)
        paid.append(time.now)

    await time.run(*(repeat() for _ in range(30)))
    assert len(paid) == 30
    assert sum(at == 1000.0 for at in paid) == 10
    assert 19 <= max(paid) - 1000 <= 26


async def test_a_repeat_of_a_429_is_paid_by_the_pause(time: Any):
    """It takes nothing from the budget, and does not wait for it."""
    pace, paid = pace_on(time), []

    async def repeat() -> None:
        await pace.afford_repeat(throttled=True)
        paid.append(time.now)

    await time.run(*(repeat() for _ in range(50)))
    assert paid == [1000.0] * 50
    assert len(paid) == 50


async def test_one_key_at_a_time_while_the_breaker_is_open(time: Any):
    """Of a pool that waits, one request leaves, and with its good answer all of them."""
    pace, sent = pace_on(time, concurrency=32), []

    async def try_one() -> None:
        with await pace.slot() as slot:
            sent.append((time.now, slot.is_probe))
            if slot.is_probe:
                await time.sleep(2.0)
                pace.saw_good()

    pace.saw_bad("key", "http_500", None)
    assert pace.breaker.is_open
    await time.run(*(try_one() for _ in range(32)))
    assert [probe for _, probe in sent] == [True] + [False] * 31
    assert sent[0][0] == 1000.5
    assert all(1002.5 <= at <= 1003 for at, _ in sent[1:])


async def test_a_loaded_service_gets_fewer_at_a_time(time: Any):
    """Answers that show load make room for fewer; who waits comes in the order of coming."""
    pace, order = pace_on(time, concurrency=8), []
    most = 0

    async def request(name: int, *, loaded: bool) -> None:
        nonlocal most
        with await pace.slot() as slot:
            order.append(name)
            most = max(most, pace.window.in_flight)
            await time.sleep(0.1)
            slot.came_back(accepted=not loaded, loaded=loaded)

    await time.run(*(request(n, loaded=True) for n in range(40)))
    small = pace.window.limit
    assert small < 8
    assert order == list(range(40))
    order.clear()
    most = 0
    await time.run(*(request(n, loaded=False) for n in range(small + 3)))
    assert most <= small + 1
    assert pace.window.in_flight == 0


async def test_a_place_that_was_given_to_a_cancelled_task_is_given_on(time: Any):
    """Whoever is ended just when its turn came lets the next one in."""
    pace, entered, let_go = pace_on(time, concurrency=1), [], asyncio.Event()

    async def hold() -> None:
        with await pace.slot():
            await let_go.wait()
        second.cancel()  # its place was given, and it has not woken up yet

    async def enter(name: str) -> None:
        with await pace.slot():
            entered.append(name)

    first = asyncio.ensure_future(hold())
    await asyncio.sleep(0)
    second = asyncio.ensure_future(enter("second"))
    third = asyncio.ensure_future(enter("third"))
    await asyncio.sleep(0)
    let_go.set()
    await asyncio.wait_for(third, 5)
    await asyncio.gather(first, second, return_exceptions=True)
    assert entered == ["third"]
    assert pace.window.in_flight == 0


async def test_html_behind_an_outage_is_seen_for_what_it_is(time: Any):
    """While the breaker is open, ten probes that meet HTML end the run (76) without long waits."""
    pace, why = pace_on(time), []

    async def probe(number: int) -> None:
        with await pace.slot() as slot:
            if not why:
                stop = pace.saw_bad(f"key-{number}", "bad_answer", None, probe=slot.is_probe)
                why.extend([stop] if stop else [])

    pace.saw_bad("first", "http_502", None)
    await time.run(*(probe(number) for number in range(10)), until=1020.0)
    assert isinstance(why[0], ContractBroken)
    assert time.now < 1005


async def test_a_429_without_retry_after_pauses_about_a_second(time: Any):
    """Nobody sends for 0.75 to 1.25 s, and a tenth of that as jitter."""
    pace = pace_on(time)
    assert pace.saw_bad("key", "http_429", None) is None
    assert 0.75 <= pace.pause_left <= 1.4


async def test_after_a_pause_the_pool_does_not_come_back_as_a_wave(time: Any):
    """Over half a second it comes back one by one, even without --rate."""
    pace, sent = pace_on(time, concurrency=32), []
    pace.saw_good()
    pace.saw_bad("key", "http_503", 2.0)
    await time.run(*(send(pace, time, sent, 1) for _ in range(32)))
    assert max(sent) - min(sent) >= 0.4
    assert len(set(sent)) >= 24


async def test_several_429_lower_the_rate_below_the_one_asked_for(time: Any):
    """What a throttled service answered well of late is what it is given, and told."""
    pace, sent = pace_on(time, rate=1000, concurrency=32), []
    for _ in range(100):
        pace.saw_good()
    for number in range(12):
        pace.saw_bad(f"key-{number}", "http_429", None)
    assert 90 <= (pace.throttled_to or 0) <= 100
    await time.run(*(send(pace, time, sent, 5) for _ in range(32)))
    assert most_in_a_second(sent) <= 110


async def test_the_first_request_starts_the_clock_of_an_outage(time: Any):
    """Seconds before the first request count for nothing."""
    pace = pace_on(time, max_outage=5)
    assert pace.first_request_at is None
    time.now += 1000
    await turn(pace)
    assert pace.first_request_at == time.now
    pace.saw_bad("key", "dns", None)
    time.now += 4.9
    assert pace.expired() is None
    time.now += 0.2
    assert isinstance(pace.expired(), ServiceDown)


async def test_a_worker_that_is_cancelled_blocks_nobody(time: Any):
    """A worker that is ended while it waits for its turn leaves the gate to the others."""
    pace, sent = pace_on(time, rate=1), []
    await turn(pace)
    await turn(pace)
    waiting = asyncio.ensure_future(turn(pace))
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    await time.run(send(pace, time, sent, 2))
    assert len(sent) == 2
    assert OUTSTANDING == 4


@pytest.mark.parametrize(("keys", "throttled"), [(5, True), (4, False)])
async def test_whether_the_pool_is_throttled_or_a_few_keys(time: Any, keys: int, throttled: bool):
    """A cut rate, and five different keys among the latest 429s: then no key is to blame."""
    pace = pace_on(time)
    for number in range(40):
        pace.saw_bad(f"key-{number % keys}", "http_429", None)
    assert pace.throttled_to is not None
    assert pace.is_pool_throttled is throttled

"""Each wait ends at its own deadline, though one timer serves all of them."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from bulk_eraser.elevate.time_limits import TimeLimits


class Loop:
    """A clock that is turned by hand, and the one timer that may be set on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "Handle":
        self.timers.append((when, callback))
        return Handle(self, (when, callback))

    def turn_to(self, now: float) -> None:
        """Go there, from timer to timer."""
        while due := [timer for timer in self.timers if timer[0] <= now]:
            when, callback = min(due, key=lambda timer: timer[0])
            self.timers.remove((when, callback))
            self.now = max(self.now, when)
            callback()
        self.now = now


class Handle:
    def __init__(self, loop: Loop, timer: tuple[float, Callable[[], None]]) -> None:
        self._loop = loop
        self._timer = timer

    def cancel(self) -> None:
        if self._timer in self._loop.timers:
            self._loop.timers.remove(self._timer)


class Wait:
    """Stands in for an exchange: notes when its time was said to be up."""

    def __init__(self, loop: Loop, deadline: float) -> None:
        self.deadline = deadline
        self.ended_at: float | None = None
        self._loop = loop

    def expire(self) -> None:
        assert self.ended_at is None, "ended twice"
        self.ended_at = self._loop.now


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def limits(loop: Loop) -> TimeLimits:
    return TimeLimits(cast("asyncio.AbstractEventLoop", cast("Any", loop)))


def begun(limits: TimeLimits, loop: Loop, deadline: float) -> Wait:
    wait = Wait(loop, deadline)
    limits.begin(wait)
    return wait


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (1, 1, 1)])
def test_each_ends_at_its_own_deadline(
    limits: TimeLimits, loop: Loop, order: tuple[int, ...]
) -> None:
    """In whatever order waits begin, none ends before or after its time: an exchange that waited
    for its connection is over sooner than those that began after it."""
    waits = [begun(limits, loop, 100.0 + seconds) for seconds in order]
    loop.turn_to(200.0)
    assert [wait.ended_at for wait in waits] == [100.0 + seconds for seconds in order]


def test_what_is_over_is_not_ended(limits: TimeLimits, loop: Loop) -> None:
    """An answer that was read in time is left alone, and takes no other's limit along."""
    read = begun(limits, loop, 101.0)
    late = begun(limits, loop, 102.0)
    limits.end(read)
    loop.turn_to(200.0)
    assert (read.ended_at, late.ended_at) == (None, 102.0)


def test_one_timer_for_all(limits: TimeLimits, loop: Loop) -> None:
    """However many exchanges there are, one timer waits, and none when all of them are over."""
    for number in range(1000):
        limits.end(begun(limits, loop, 101.0 + number))
    assert len(loop.timers) == 1
    loop.turn_to(2000.0)
    assert not loop.timers


def test_limits_begin_again_after_a_quiet_time(limits: TimeLimits, loop: Loop) -> None:
    """A limit that begins after all others were over is kept as well."""
    first = begun(limits, loop, 101.0)
    loop.turn_to(150.0)
    second = begun(limits, loop, 151.0)
    loop.turn_to(200.0)
    assert (first.ended_at, second.ended_at) == (101.0, 151.0)


def test_a_process_that_stood_still(limits: TimeLimits, loop: Loop) -> None:
    """Answers that came meanwhile are read first: the limit ends nothing before that could be, and
    what does not come then all the same."""
    answered = begun(limits, loop, 101.0)
    silent = begun(limits, loop, 102.0)
    later = begun(limits, loop, 160.0)
    (_, look), loop.timers[:] = loop.timers[0], []
    loop.now = 150.0
    look()
    assert (answered.ended_at, silent.ended_at) == (None, None)
    limits.end(answered)
    loop.turn_to(151.0)
    assert answered.ended_at is None
    assert silent.ended_at is not None
    assert silent.ended_at < 150.5
    loop.turn_to(200.0)
    assert later.ended_at == 160.0


def test_a_timer_that_is_early(limits: TimeLimits, loop: Loop) -> None:
    """A clock of milliseconds may wake it a little early: that is no reason to look again."""
    wait = begun(limits, loop, 101.0)
    (_, look), loop.timers[:] = loop.timers[0], []
    loop.now = 100.9995
    look()
    assert wait.ended_at == 100.9995
    assert not loop.timers


def test_closed(limits: TimeLimits, loop: Loop) -> None:
    """Closed, it leaves no timer behind."""
    begun(limits, loop, 101.0)
    limits.close()
    assert not loop.timers

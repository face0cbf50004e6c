"""Time that passes only when a test lets it: a clock, and a sleep that waits for it."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest


class FakeTime:
    """Runs coroutines on a clock of its own; `late` is by how much a sleep oversleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.late: Callable[[], float] = lambda: 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        waiter = asyncio.get_running_loop().create_future()
        wake = self.now + seconds + self.late()
        heapq.heappush(self._sleepers, (wake, next(self._number), waiter))
        await waiter

    async def run(self, *work: Coroutine[Any, Any, Any], until: float = float("inf")) -> None:
        """Let time pass until all of `work` is done, or until this time; what is left is ended."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
        while True:
            for _ in range(200):
                await asyncio.sleep(0)
            if all(task.done() for task in tasks) or not self._sleepers:
                break
            if self._sleepers[0][0] > until:
                self.now = until
                break
            self.now, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()

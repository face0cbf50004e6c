"""An event loop whose clock jumps to the next timer, so that minutes of a run take a second."""

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["VirtualLoop", "oversleeping", "run_virtually"]


class _Jumping(selectors.SelectSelector):
    """Waits for nobody: what would have been waited is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("nothing is left that could ever happen")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Does I/O with nobody; only timers and what they wake."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """The result of `main` on a loop of its own, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def oversleeping(most: float, chance: random.Random) -> Callable[[float], Awaitable[None]]:
    """A sleep that ends up to so many seconds late, as the timers of a real loop do."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds + chance.uniform(0.0, most))

    return sleep

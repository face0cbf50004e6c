"""A sleep that ends on time, to about a tenth of a millisecond."""

import asyncio
import time

__all__ = ["sleep_punctually"]

TIMER_S = 0.0012
"""So much later than asked the timers of an event loop may be."""


async def sleep_punctually(seconds: float) -> None:
    """The last moment is waited for awake, between the loop's other work: it costs a processor."""
    until = time.monotonic() + seconds
    if seconds > TIMER_S:
        await asyncio.sleep(seconds - TIMER_S)
    while time.monotonic() < until:  # noqa: ASYNC110 there is no event for a moment
        await asyncio.sleep(0)

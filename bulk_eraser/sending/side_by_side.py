"""Several runs or follows in one process, on one loop: what stops one touches no other."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from bulk_eraser.errors import BulkEraserError, internal_error
from bulk_eraser.sending.signals import Signals

__all__ = ["side_by_side"]

R = TypeVar("R")


async def side_by_side(
    calls: Mapping[str, Callable[[Signals], Awaitable[R]]],
    failed: Callable[[str, BulkEraserError], R],
) -> dict[str, R]:
    """What each comes to, by its name. One that raises, a bug as well, becomes what `failed` makes
    of it. A signal stops all of them, a second one at once."""
    signals = Signals()

    async def one(name: str) -> R:
        try:
            return await calls[name](signals)
        except BulkEraserError as error:
            return failed(name, error)
        except Exception as bug:  # it says nothing of the others
            return failed(name, internal_error(bug))

    results = await asyncio.gather(*map(one, calls))
    return dict(zip(calls, results, strict=True))

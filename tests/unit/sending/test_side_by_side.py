"""Several in one process: what ends one says nothing of the others, and signals reach all."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from bulk_eraser.errors import BulkEraserError, LedgerBusy
from bulk_eraser.sending.side_by_side import side_by_side
from bulk_eraser.sending.signals import Signals


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """What is installed stays installed, which is meant for the end of a process."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.getsignal(signum) for signum in signals}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Pool:
    """Something that a signal stops."""

    def __init__(self) -> None:
        self.stopped_by: BulkEraserError | None = None
        self.is_hurried = False
        self.stopped = asyncio.Event()

    def stop(self, why: BulkEraserError, *, hurry: bool = False) -> None:
        self.stopped_by = self.stopped_by or why
        self.is_hurried |= hurry
        self.stopped.set()


async def test_an_error_of_one_is_its_own_result():
    """A bug as well: the others go on to their ends, whenever that is."""
    others_failed = asyncio.Event()

    async def good(_signals: Signals) -> Any:
        await others_failed.wait()
        return "done"

    async def busy(_signals: Signals) -> Any:
        raise LedgerBusy("In use.")

    async def broken(_signals: Signals) -> Any:
        try:
            return {}["nothing"]
        finally:
            others_failed.set()

    told = await side_by_side(
        {"good": good, "busy": busy, "broken": broken},
        lambda name, error: (name, type(error).__name__, int(error.exit_code)),
    )
    assert list(told) == ["good", "busy", "broken"]
    assert told["good"] == "done"
    assert told["busy"] == ("busy", "LedgerBusy", 75)
    assert told["broken"] == ("broken", "BulkEraserError", 70)


async def test_a_first_signal_drains_all_and_a_second_one_hurries_them():
    """Also one that was draining already for a reason of its own; whoever comes later is stopped
    at once."""
    signals = Signals()
    draining, running, late = Pool(), Pool(), Pool()
    for pool in (draining, running):
        signals.attach(pool, pool)
    draining.stop(BulkEraserError("refused"))
    os.kill(os.getpid(), signal.SIGTERM)
    await running.stopped.wait()
    assert (running.is_hurried, draining.is_hurried) == (False, False)
    assert str(draining.stopped_by) == "refused"
    signals.attach(late, late)
    assert late.stopped_by is not None
    assert late.stopped_by.exit_code == 143
    running.stopped.clear()
    os.kill(os.getpid(), signal.SIGINT)
    await running.stopped.wait()
    assert all(pool.is_hurried for pool in (draining, running, late))


async def test_one_alone_that_drains_is_hurried_by_the_first_signal():
    """It is the only thing that is left to be stopped."""
    signals, pool = Signals(), Pool()
    signals.attach("owner", Pool())
    signals.attach("owner", pool)  # in the place of the first
    pool.stop(BulkEraserError("refused"))
    pool.stopped.clear()
    os.kill(os.getpid(), signal.SIGINT)
    await pool.stopped.wait()
    assert pool.is_hurried

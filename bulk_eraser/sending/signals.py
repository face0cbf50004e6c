"""What SIGINT, SIGTERM and SIGHUP do, from a command's start to its end.

raise_on_signals   until the loop takes over: the signal ends the command where it is
wait_for_input     while somebody is asked: a signal ends the wait, however it comes
Signals            while requests are on their way: drain first, give up second
ignore_signals     once the ending is decided: it only has to be told
"""

import os
import select
import signal
from contextlib import suppress
from typing import Protocol

from bulk_eraser.errors import BulkEraserError, Interrupted

__all__ = ["Signals", "Stoppable", "ignore_signals", "raise_on_signals", "wait_for_input"]


def raise_on_signals() -> None:
    """Until an event loop takes over, SIGTERM and SIGHUP end the command as Ctrl-C does."""

    def on_signal(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup means it
            signal.signal(signum, on_signal)


def ignore_signals() -> None:
    """What happened is decided; it only has to be told."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


def wait_for_input(fd: int) -> None:
    """Return once `fd` can be read, or raise what the handler of a signal raises.

    A plain read would miss a signal that comes between the last look at signals and its beginning,
    and wait for ever.
    """
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    before = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    try:
        while fd not in select.select([fd, woken], [], [])[0]:
            os.read(woken, 64)
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(waking)


class Stoppable(Protocol):
    """What a signal stops: a `Dispatch`, or a wait."""

    @property
    def stopped_by(self) -> BulkEraserError | None: ...

    def stop(self, why: BulkEraserError, *, hurry: bool = False) -> None: ...


class Signals:
    """The first signal drains what is in flight, a second one gives that up at once.

    It is one for all that run side by side, each known by its `owner`. Whoever is attached after
    the first signal is stopped at once.

    Installed before the ledger is touched, and left in place: the loop's own handlers would end
    with the loop, and a signal between its end and the process's would kill with a wrong code.
    """

    def __init__(self) -> None:
        import asyncio  # which is slow to import, and not needed by commands without a loop

        self._running: dict[object, Stoppable] = {}
        self._signum: int | None = None
        handled = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            handled.append(signal.SIGHUP)
        self._loop = asyncio.get_running_loop()
        for signum in handled:
            signal.signal(signum, self._hand_over)

    def attach(self, owner: object, running: Stoppable) -> None:
        """What signals stop from now on, in place of what the owner had attached before."""
        self._running[owner] = running
        if self._signum is not None:
            running.stop(Interrupted(self._signum))

    def _hand_over(self, signum: int, _frame: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it what could be stopped
            self._loop.call_soon_threadsafe(self._on_signal, signum)

    def _on_signal(self, signum: int) -> None:
        self._signum = self._signum or signum
        # If all are draining by now, for whatever reason, there is nothing else to hurry.
        stopping = all(it.stopped_by is not None for it in self._running.values())
        for it in list(self._running.values()):
            it.stop(Interrupted(signum), hurry=stopping)

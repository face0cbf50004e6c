"""Host names to addresses, so that no look-up that hangs keeps the process alive.

asyncio looks names up in threads that it waits for at the end, for as long as the resolver takes
(minutes, with a name server that is silent).
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import aiohttp

__all__ = ["resolver"]


def resolver() -> aiohttp.ThreadedResolver:
    """aiohttp's, with threads that end with the process."""
    return aiohttp.ThreadedResolver(cast("asyncio.AbstractEventLoop", _Lookups()))


class _Lookups:
    """The part of an event loop that it asks."""

    async def getaddrinfo(self, *what: Any, **how: Any) -> Any:
        return await _in_a_thread_that_nobody_waits_for(lambda: socket.getaddrinfo(*what, **how))

    async def getnameinfo(self, *what: Any) -> Any:
        return await _in_a_thread_that_nobody_waits_for(lambda: socket.getnameinfo(*what))


async def _in_a_thread_that_nobody_waits_for(ask: Callable[[], object]) -> object:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[object] = loop.create_future()

    def tell(result: object, error: Exception | None) -> None:
        if answer.done():  # given up
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        result, error = None, None
        try:
            result = ask()
        except Exception as failure:  # whatever it is, who asked is told
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody is there any more
            loop.call_soon_threadsafe(tell, result, error)

    try:
        threading.Thread(target=look_up, name="look-up", daemon=True).start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "no thread for a look-up") from None
    return await answer

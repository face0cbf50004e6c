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

from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Names"]

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AS_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Names(AbstractResolver):
    """Looks names up in threads that end with the process."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises `OSError`."""
        return await _in_a_thread_that_nobody_waits_for(lambda: _addresses(host, port, family))

    async def close(self) -> None:
        """Nothing to close, and nobody to wait for."""


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            # As text: an address that is valid on one link alone has the link's name in it.
            host=socket.getnameinfo(address, _AS_NUMBERS)[0],
            port=port,
            family=kind,
            proto=proto,
            flags=_NUMERIC,
        )
        for kind, _, proto, _, address in found
    ]


async def _in_a_thread_that_nobody_waits_for(
    ask: Callable[[], list[ResolveResult]],
) -> list[ResolveResult]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def tell(result: list[ResolveResult], error: Exception | None) -> None:
        if answer.done():  # given up
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def look_up() -> None:
        result, error = [], None
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

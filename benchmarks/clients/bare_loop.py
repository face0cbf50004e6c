"""The yardstick: what aiohttp takes by itself. No record, no retry, no pace.

    python bare_loop.py URL KEYS.csv IN_FLIGHT [CA.pem]

The way aiohttp's documentation shows it: one session, `async with session.post(…)`, `read()`.
Prints the seconds from the first request to the last answer.
"""

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator

import aiohttp


async def work(session: aiohttp.ClientSession, url: str, keys: Iterator[str]) -> None:
    for key in keys:
        async with session.post(url, params={"customerKey": key}) as response:
            body = await response.read()
            if response.status != 200 or b'"jid"' not in body:
                raise RuntimeError(f"not a good answer: {response.status}")


def keys_of(path: str) -> Iterator[str]:
    with open(path) as file:
        return iter(file.read().split()[1:])


async def main() -> None:
    url, path, in_flight, *ca = sys.argv[1:]
    bytearray(8 << 20)  # raises glibc's mmap threshold, as bulk-eraser does
    keys = keys_of(path)
    tls = ssl.create_default_context(cafile=ca[0]) if ca else True
    connector = aiohttp.TCPConnector(limit=int(in_flight), ssl=tls)
    headers = {"Api-Key": "benchmark", "Accept": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        began = time.monotonic()
        await asyncio.gather(*(work(session, url, keys) for _ in range(int(in_flight))))
        print(time.monotonic() - began)


if __name__ == "__main__":
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    run(main())

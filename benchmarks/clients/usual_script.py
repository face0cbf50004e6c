"""The script that one writes first: each call retried, each result written, each request logged.

    python usual_script.py URL KEYS.csv IN_FLIGHT RESULTS LOG

Tenacity's decorator on the call, aiofiles with a write and a flush a line, `logging` a request.
Prints the seconds from the first request to the last answer. It may lose results in a crash, and
does not continue: it is here for its speed only.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import aiofiles
import aiohttp
from tenacity import retry, stop_after_attempt, wait_random_exponential


@retry(stop=stop_after_attempt(6), wait=wait_random_exponential(max=30))
async def create_job(session: aiohttp.ClientSession, url: str, key: str) -> dict[str, str]:
    async with session.post(url, params={"customerKey": key}) as response:
        response.raise_for_status()
        return await response.json()


async def work(session: aiohttp.ClientSession, url: str, keys: Iterator[str], out) -> None:
    for key in keys:
        job = await create_job(session, url, key)
        at = datetime.now(UTC).isoformat()
        await out.write(json.dumps({"at": at, "key": key, **job}) + "\n")
        await out.flush()
        logging.info("created job %s", job["jid"])


def keys_of(path: str) -> Iterator[str]:
    with open(path) as file:
        return iter(file.read().split()[1:])


async def main() -> None:
    url, path, in_flight, results, log = sys.argv[1:]
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
    keys = keys_of(path)
    connector = aiohttp.TCPConnector(limit=int(in_flight))
    headers = {"Api-Key": "benchmark"}
    async with (
        aiofiles.open(results, "w") as out,
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
    ):
        began = time.monotonic()
        await asyncio.gather(*(work(session, url, keys, out) for _ in range(int(in_flight))))
        print(time.monotonic() - began)


if __name__ == "__main__":
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    run(main())

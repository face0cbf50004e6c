"""requests in a pool of threads, a session each; the results are not kept.

    python requests_threads.py URL KEYS.csv THREADS

Prints the seconds from the first request to the last answer.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

mine = threading.local()


def create_job(url: str, key: str) -> None:
    if not hasattr(mine, "session"):
        mine.session = requests.Session()
        mine.session.headers["Api-Key"] = "benchmark"
    response = mine.session.post(url, params={"customerKey": key}, timeout=30)
    response.raise_for_status()
    response.json()


def main() -> None:
    url, path, threads = sys.argv[1:]
    with open(path) as file:
        keys = file.read().split()[1:]
    began = time.monotonic()
    with ThreadPoolExecutor(int(threads)) as pool:
        for done in [pool.submit(create_job, url, key) for key in keys]:
            done.result()
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()

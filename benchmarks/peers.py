"""What is measured side by side: the yardstick, bulk-eraser, and what else could send the keys."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from keys import made_up_keys, write_csv
from measure import Figures, measured
from service import HERE

CLIENTS = HERE / "clients"
IN_FLIGHT = 64
HEADER = "Api-Key: benchmark"
YARDSTICK = "bare aiohttp loop"
OURS = "bulk-eraser run"
PARALLEL, XARGS, REQUESTS = "GNU parallel --joblog, curl", "xargs -P64 curl", "requests, 64 threads"
WRK = "wrk (no keys, no record)"


@dataclass(frozen=True)
class Peer:
    """`run` sends so many keys to a URL. A `share` of the keys is enough for a slow one."""

    name: str
    share: float
    run: Callable[[str, int], Figures]
    missing: str | None = None
    """How to install what is not there."""


def peers(folder: Path) -> list[Peer]:
    """All of them, in the order in which a round measures them."""
    bench = Clients(folder)
    return [
        Peer(YARDSTICK, 1, bench.bare_loop),
        Peer(OURS, 1, bench.bulk_eraser),
        Peer(WRK, 1, bench.wrk, lacks("wrk")),
        Peer("curl --parallel, one config", 0.2, bench.curl_parallel, lacks("curl")),
        Peer("usual asyncio script", 0.2, bench.usual_script),
        Peer(REQUESTS, 0.05, bench.requests_threads, lacks_module("requests")),
        Peer(XARGS, 0.005, bench.xargs_curl, lacks("xargs", "findutils") or lacks("curl")),
        Peer(PARALLEL, 0.005, bench.gnu_parallel, lacks("parallel") or lacks("curl")),
    ]


def lacks(program: str, package: str | None = None) -> str | None:
    return None if shutil.which(program) else f"apt install {package or program}"


def lacks_module(name: str) -> str | None:
    return None if find_spec(name) else "pip install -r benchmarks/requirements.txt"


def seconds(output: str) -> float:
    return float(output)


class Clients:
    """Each method sends `keys` keys to `url`, 64 at a time, and checks that it did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.api_key = folder / "api.key"
        self.api_key.write_text("benchmark\n")
        self.api_key.chmod(0o600)

    def bare_loop(self, url: str, keys: int, ca: Path | None = None) -> Figures:
        command = [sys.executable, CLIENTS / "bare_loop.py", url, self.csv(keys), IN_FLIGHT]
        return measured(words(*command, *([ca] if ca else [])), keys, run_s=seconds)

    def bulk_eraser(
        self,
        url: str,
        keys: int,
        *more: str | Path,
        rate: float = 0,
        in_flight: int = IN_FLIGHT,
        ledger: Path | None = None,
        program: tuple[str | Path, ...] = (sys.executable, "-m", "bulk_eraser"),
    ) -> Figures:
        """The whole command on a new ledger, which is deleted, or on `ledger`, which stays."""
        path = ledger or self.new(".ledger.ndjson")
        command = words(
            *program, "run", self.csv(keys), "--ledger", path, "--base-url", origin(url),
            "--api-key-file", self.api_key, "--concurrency", in_flight, "--rate", rate,
            "--yes", "--json", *more,
        )  # fmt: skip
        figures = measured(command, keys, run_s=lambda told: json.loads(told)["elapsed_s"] or 1e-9)
        counts = json.loads(figures.output)["counts"]
        if counts["accepted"] + counts["already_settled"] != keys:
            raise SystemExit(f"bulk-eraser did not settle {keys} keys: {figures.output}")
        if ledger is None:
            path.unlink()
        return figures

    def wrk(self, url: str, keys: int, in_flight: int = IN_FLIGHT, for_s: int = 0) -> Figures:
        """wrk runs for a time, not for a number of keys; `keys` gives how long, about."""
        script = self._folder / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.headers["Api-Key"] = "{HEADER[9:]}"\n')
        key = next(made_up_keys(1))
        for_s = for_s or max(1, keys // 20_000)
        told = measured(
            words("wrk", "-t1", f"-c{in_flight}", f"-d{for_s}", "-s", script,
                  f"{url}?customerKey={key}")
        )  # fmt: skip
        counted = re.search(r"(\d+) requests in", told.output)
        rate = re.search(r"Requests/sec: +([\d.]+)", told.output)
        if not counted or not rate or "Non-2xx" in told.output or "Socket errors" in told.output:
            raise SystemExit(f"wrk had errors:\n{told.output}")
        requests = int(counted[1])
        return told._replace(keys=requests, run_s=requests / float(rate[1]))

    def curl_parallel(self, url: str, keys: int) -> Figures:
        config = self._folder / "curl.config"
        with config.open("w") as file:
            for key in made_up_keys(keys):
                file.write(f'url = "{url}?customerKey={key}"\noutput = "/dev/null"\n')
        command = words("curl", "--parallel", "--parallel-max", IN_FLIGHT, "--silent", "--fail")
        return measured([*command, "-X", "POST", "-H", HEADER, "-K", str(config)], keys)

    def usual_script(self, url: str, keys: int) -> Figures:
        results, log = self.new(".results"), self.new(".log")
        command = [sys.executable, CLIENTS / "usual_script.py", url, self.csv(keys), IN_FLIGHT]
        figures = measured(words(*command, results, log), keys, run_s=seconds)
        results.unlink()
        log.unlink()
        return figures

    def requests_threads(self, url: str, keys: int) -> Figures:
        command = [sys.executable, CLIENTS / "requests_threads.py", url, self.csv(keys), IN_FLIGHT]
        return measured(words(*command), keys, run_s=seconds)

    def xargs_curl(self, url: str, keys: int) -> Figures:
        command = ["xargs", f"-P{IN_FLIGHT}", "-I{}", *curl_of_one(url)]
        return measured(command, keys, stdin=str(self.plain(keys)))

    def gnu_parallel(self, url: str, keys: int) -> Figures:
        log = self.new(".joblog")
        command = words("parallel", "--will-cite", f"-j{IN_FLIGHT}", "--joblog", log)
        return measured([*command, *curl_of_one(url)], keys, stdin=str(self.plain(keys)))

    def csv(self, keys: int) -> Path:
        """An input with so many keys, written once."""
        path = self._folder / f"{keys}.csv"
        return path if path.exists() else write_csv(path, keys)

    def plain(self, keys: int) -> Path:
        path = self._folder / f"{keys}.txt"
        path.write_text("".join(f"{key}\n" for key in made_up_keys(keys)))
        return path

    def new(self, ending: str) -> Path:
        self._runs += 1
        return self._folder / f"{self._runs}{ending}"


def words(*parts: object) -> list[str]:
    return [str(part) for part in parts]


def origin(url: str) -> str:
    return url.partition("/api/")[0]


def curl_of_one(url: str) -> list[str]:
    command = ["curl", "--silent", "--fail", "-o", "/dev/null", "-X", "POST", "-H"]
    return [*command, HEADER.replace(" ", ""), url + "?customerKey={}"]

"""One command from its start to its end: processor time, time, memory, as the kernel has them."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from service import to_the_clients_core

# As where it is installed: each start compiles nothing.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


class Figures(NamedTuple):
    """Of one run over `keys` keys (or requests).

    `cpu_s` is user and system time of the process and all that it started and waited for, `peak`
    the memory of the largest of them in bytes, `rate` keys a second between the first request and
    the last, where the command tells (`run_s`), else over its whole time.
    """

    keys: int
    cpu_s: float
    wall_s: float
    peak: int
    run_s: float
    output: str

    @property
    def cpu_us(self) -> float:
        """Processor time a key, in microseconds."""
        return 1e6 * self.cpu_s / self.keys

    @property
    def rate(self) -> float:
        return self.keys / self.run_s


def measured(
    command: Sequence[str],
    keys: int = 1,
    *,
    exit_codes: tuple[int, ...] = (0,),
    run_s: Callable[[str], float] | None = None,
    stdin: str = os.devnull,
) -> Figures:
    """Run `command` on the client's core. `run_s` finds its own time in what it printed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.monotonic()
        with open(stdin) as given:
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                env=ENVIRONMENT,
                preexec_fn=to_the_clients_core,
            )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output = out.read()
        if process.returncode not in exit_codes:
            raise SystemExit(
                f"{' '.join(command)} ended with {process.returncode}:\n{output}{err.read()}"
            )
    cpu_s = usage.ru_utime + usage.ru_stime
    own_time = run_s(output) if run_s else wall_s
    return Figures(keys, cpu_s, wall_s, usage.ru_maxrss * 1024, own_time, output)


class Medians(NamedTuple):
    """Over several runs of the same command; `over` is the median of the ratios to the yardstick,
    each taken within one round."""

    keys: int
    cpu_us: float
    rate: float
    peak: int
    over: float


def medians(runs: Sequence[Figures], yardstick: Sequence[Figures]) -> Medians:
    """`runs` and `yardstick` of the same rounds."""
    return Medians(
        keys=runs[0].keys,
        cpu_us=median(run.cpu_us for run in runs),
        rate=median(run.rate for run in runs),
        peak=max(run.peak for run in runs),
        over=median(run.cpu_us / bare.cpu_us for run, bare in zip(runs, yardstick, strict=True)),
    )

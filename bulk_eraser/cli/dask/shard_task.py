"""What a worker of an engine does for one shard: run the ordinary command, and return its result.

    wait for the ledger ─► run … --shard i/N ─► its --json

Nothing of the engine is in the process that sends. The plan ties all together: it lies beside the
ledgers, and whoever submits the shards holds its lock, and touches it, as long as they are to go
on. So a worker that cannot see the plan has another folder; one that finds it unlocked but touched
has no locks that hold, and writes a part of its own; and all that a task needs to be told is where
it is. Neither customer keys nor secrets are in a task.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any, Protocol

from bulk_eraser import __version__
from bulk_eraser.cli.dask.parts import is_closed, latest_part, new_part
from bulk_eraser.errors import ExitCode, LedgerBusy
from bulk_eraser.ledger.disk import is_being_written

__all__ = ["Order", "ShardEnd", "run_shard"]

LOOK_S = 0.25
WARNING = "Warning: "
FREE_WITHIN_S = 60.0
"""A process whose worker is gone ends within 6 s; one that stands still may take longer."""
STANDS_STILL_S = 20.0
"""Without locks, a ledger that is not written for so long is one whose process is gone."""
TOUCHED_WITHIN_S = 60.0
"""As long as a network file system may remember old times, and more."""
_OF_THE_WORKER = ("BULK_ERASER_API_KEY_FILE", "BULK_ERASER_PEPPER_FILE")
"""Variables of a worker that count. Its other options would not be those that were consented to."""
_OF_OTHERS = ("BULK_ERASER_", "ELEVATE_BASE_URL", "ELEVATE_CLUSTER_ID", "GITHUB_")


@dataclass(frozen=True)
class Order:
    """What a worker is told: paths, and the command's `arguments`."""

    version: str
    plan: str
    plan_sha256: str
    ledger: str
    arguments: list[str]
    pepper_file: str | None


@dataclass
class ShardEnd:
    """How one attempt ended: `result` is the object that the command printed, `exit_code` that of
    its process, negative if a signal killed it."""

    worker: str
    exit_code: int
    result: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def run_shard(order: Order) -> ShardEnd:
    """Run the shard to its end, or until whoever submitted it stops it, or is gone."""
    if order.version != __version__:
        return _refused(
            f"has bulk-eraser {__version__}, not {order.version}. Install the same version there"
        )
    if not _is_there(order):
        return _refused(
            f"does not see {order.plan}. All workers must reach the folder of the ledgers under "
            "the same path"
        )
    wanted: Wanted = _Locked(order.plan)
    if not wanted.still():
        wanted = _Touched(order.plan)
        if not wanted.is_touched_in_time():
            return _refused("finds that nobody holds the plan any more. Run the same command again")
    is_locking = isinstance(wanted, _Locked)
    if not _is_free_in_time(order.ledger, wanted, is_locking=is_locking):
        return _refused(
            f"finds {latest_part(order.ledger)} in use by another process. Run the same command "
            "again when that one has ended",
            ExitCode.NOT_FINISHED,
        )
    try:
        ledger = latest_part(order.ledger) if is_locking else new_part(order.ledger)
    except LedgerBusy as busy:
        return _refused(f"has waited in vain. {busy}", ExitCode.NOT_FINISHED)
    except OSError as error:
        why = f"cannot write beside {order.ledger}: {error.strerror}. Repair that"
        return _refused(why, ExitCode.LEDGER_WRITE)
    return _carried_out(order, ledger, wanted)


def _refused(why: str, code: ExitCode = ExitCode.CONFIGURATION) -> ShardEnd:
    worker = socket.gethostname()
    error = f"The worker on {worker} {why.removesuffix('.')}. Nothing was sent by it."
    return ShardEnd(worker, code, {"outcome": "refused", "exit_code": int(code), "error": error})


# ── is it to go on? ─────────────────────────────────────────────────────────────────────────────


def _is_there(order: Order) -> bool:
    try:
        with open(order.plan, "rb") as file:
            return sha256(file.read()).hexdigest() == order.plan_sha256
    except OSError:
        return False


class Wanted(Protocol):
    """Is the shard still to run?"""

    def still(self) -> bool: ...


class _Locked:
    """As long as whoever submitted it holds the lock of the plan."""

    def __init__(self, plan: str) -> None:
        self._plan = plan

    def still(self) -> bool:
        try:
            return is_being_written(self._plan)
        except OSError:
            return False


class _Touched:
    """Where locks do not hold: as long as the plan is there and touched now and then. Times of two
    machines are not compared, only whether the file's has changed."""

    def __init__(self, plan: str) -> None:
        self._plan = plan
        self._touched = self._time()
        self._seen_at = time.monotonic()

    def _time(self) -> int:
        try:
            return os.stat(self._plan).st_mtime_ns
        except OSError:
            return 0

    def still(self) -> bool:
        if (touched := self._time()) != self._touched:
            self._touched, self._seen_at = touched, time.monotonic()
        return touched != 0 and time.monotonic() - self._seen_at < TOUCHED_WITHIN_S

    def is_touched_in_time(self) -> bool:
        """Wait for a change, since the file may have been left behind."""
        before = self._touched
        while self.still():
            if self._touched != before:
                return True
            time.sleep(LOOK_S)
        return False


# ── one at a time ───────────────────────────────────────────────────────────────────────────────


def _is_free_in_time(ledger: str, wanted: Wanted, *, is_locking: bool) -> bool:
    """Wait for the process of an attempt whose worker is gone: so one at a time sends, and they
    are never faster than one."""
    until = time.monotonic() + FREE_WITHIN_S
    size, still_since = -1, time.monotonic()
    while wanted.still() and time.monotonic() < until:
        latest = latest_part(ledger)
        if is_locking:
            if not os.path.exists(latest) or not is_being_written(latest):
                return True
        else:
            now = os.path.getsize(latest) if os.path.exists(latest) else 0
            if now != size:
                size, still_since = now, time.monotonic()
            if is_closed(latest) or time.monotonic() - still_since > STANDS_STILL_S:
                return True
        time.sleep(LOOK_S)
    return False


# ── its process ─────────────────────────────────────────────────────────────────────────────────


def _carried_out(order: Order, ledger: str, wanted: Wanted) -> ShardEnd:
    module = ("-m", "bulk_eraser.cli.dask.shard_process")
    command = [sys.executable, *module, *order.arguments, "--ledger", ledger]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        subprocess.Popen(  # noqa: S603 the same program, without a shell
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=_environment(order),
            start_new_session=True,  # Ctrl-C at a terminal is for whoever submitted it
        ) as process,
    ):
        while process.poll() is None:
            if process.stdin is not None and not wanted.still():
                process.stdin.close()  # which stops it
            time.sleep(LOOK_S)
        lines = _all_of(err).splitlines()
        told = [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]
        return ShardEnd(socket.gethostname(), process.returncode, _object_in(_all_of(out)), told)


def _environment(order: Order) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _OF_THE_WORKER or not name.startswith(_OF_OTHERS)
    }
    if order.pepper_file is not None:
        kept["BULK_ERASER_PEPPER_FILE"] = order.pepper_file
    return kept


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _object_in(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:  # it was killed
        return {}
    return found if isinstance(found, dict) else {}

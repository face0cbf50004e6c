"""The engine that shards run on: Dask, of this computer or wherever its scheduler is."""

import asyncio
import json
import logging
import math
import os
import socket
import subprocess
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from warnings import catch_warnings

from bulk_eraser.cli.dask.local import SHARD
from bulk_eraser.cli.dask.several import LOCAL
from bulk_eraser.cli.dask.shard_task import Order, ShardEnd, run_shard
from bulk_eraser.errors import BulkEraserError, ConfigurationError, EngineLost, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Attempt", "Engine", "WorkerDied", "engine_at", "must_be_there"]

CONNECT_S = 10.0
LOST = (
    "The connection to the Dask scheduler was lost, so the shards were stopped. What was done is "
    "recorded. Once a scheduler is there, run the same command again, or continue each shard by "
    "itself with --shard i/N."
)
CLOSED_WITHIN_S = 15.0
SHARDS_OF_A_CORE = 2
"""At a time; they wait for the service most of it."""


class WorkerDied(Exception):
    """A worker was lost with the shard that it ran."""


class Attempt:
    """One attempt at a shard."""

    def __init__(self, future: "Future") -> None:
        self._future = future

    def is_over(self) -> bool:
        return bool(self._future.done())

    def end(self) -> ShardEnd:
        """Once it is over. Raises `WorkerDied`, `EngineLost`, `ConfigurationError`."""
        from distributed import KilledWorker

        try:
            is_lost = self._future.status in ("cancelled", "lost")
            error = None if is_lost else self._future.exception()
            end = None if is_lost or error else self._future.result()
        except (Exception, CancelledError):  # it was lost while it was asked
            is_lost = True
        if is_lost:
            raise EngineLost(LOST)
        if isinstance(error, KilledWorker):
            raise WorkerDied
        if error is not None:
            raise ConfigurationError(
                f"A worker could not begin ({type(error).__name__}). The same version of "
                "bulk-eraser, Dask and Python must be installed with the scheduler and on all "
                "workers."
            )
        if not isinstance(end, ShardEnd):
            raise ConfigurationError("A worker answered something else than a shard's result.")
        return end


class Engine:
    """A scheduler with at least one worker that offers the resource `shard`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def submit(self, order: Order) -> Attempt:
        """Never repeated by the engine, never taken from an earlier result, and only on workers
        that are meant for it. Raises `EngineLost`."""
        submit = self._client.submit
        try:
            return Attempt(submit(run_shard, order, pure=False, retries=0, resources={SHARD: 1}))
        except Exception:  # of any kind, and its text is not for users
            raise EngineLost(LOST) from None

    def is_lost(self) -> bool:
        """Also while it tries to connect again: what was submitted is given up by then."""
        return bool(self._client.status != "running")


def must_be_there(where: str) -> None:
    """Is Dask installed, and is there a scheduler, unless one is to be started?

    Raises `ConfigurationError`, `UsageError` for what is no address.
    """
    try:
        import distributed  # noqa: F401 it is only looked for
    except ImportError:
        raise ConfigurationError(
            "--dask needs Dask. Install it with: pip install 'bulk-eraser[dask]'. Nothing was sent."
        ) from None
    # What Dask logs, or says when it puts something away that is gone, is no text for users.
    logging.disable()
    sys.unraisablehook = lambda _unraisable: None
    if where == LOCAL:
        return
    address = _address_of(where)
    try:
        _must_answer(address)
    except Exception as error:  # of any kind; Dask's text is not for users either
        why = (isinstance(error, OSError) and error.strerror) or "it does not answer as one"
        tls = " Dask's own configuration must name the certificates for it."
        raise ConfigurationError(
            f"There is no Dask scheduler at {where} ({why}). Nothing was sent. Name its address, "
            f"such as tcp://10.0.0.5:8786, or use --dask local."
            f"{tls if address.startswith('tls:') else ''}"
        ) from None


@contextmanager
def engine_at(where: str, shards: int) -> Iterator[Engine]:
    """What `--dask` names: `local`, an address, or the path of a scheduler file.

    Raises `ConfigurationError` where no worker is meant for shards, `EngineLost`.
    """
    from distributed import Client

    with _local(shards) if where == LOCAL else nullcontext(_address_of(where)) as address:
        try:
            with catch_warnings(action="ignore"):  # of versions, which tasks look at themselves
                client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except Exception:  # of any kind, and it answered a moment ago
            raise EngineLost(LOST) from None
        try:
            _must_offer_shards(client, where)
            yield Engine(client)
        finally:
            with suppress(Exception):  # it may be gone, and all that matters is on disk
                client.close(timeout=2)


def _must_offer_shards(client: "Client", where: str) -> None:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(it["resources"].get(SHARD) for it in workers):
        raise ConfigurationError(
            f"No worker of the Dask scheduler at {where} is meant for shards. Start them with: "
            f"dask worker {where} --nthreads 1 --resources {SHARD}=1. Nothing was sent."
        )


def _must_answer(address: str) -> None:
    """Is it a scheduler? Raises what it is instead: a client that cannot connect tries for a long
    time, and cannot be put away silently."""
    from distributed.comm import connect
    from distributed.security import Security

    url = urlsplit(address)
    if url.scheme not in ("tcp", "tls"):
        raise ValueError
    # At once where nothing listens; what follows would try again and again.
    socket.create_connection((url.hostname or "", url.port or 0), CONNECT_S).close()

    async def greet() -> None:
        how = Security().get_connection_args("client")
        await (await connect(address, timeout=CONNECT_S, **how)).close()

    asyncio.run(greet())


@contextmanager
def _local(shards: int) -> Iterator[str]:
    """The address of a cluster on this computer, which ends with the block."""
    workers = min(shards, len(os.sched_getaffinity(0)))
    of_each = min(SHARDS_OF_A_CORE, math.ceil(shards / workers))
    command = [sys.executable, "-m", "bulk_eraser.cli.dask.local", str(workers), str(of_each)]
    with subprocess.Popen(  # noqa: S603 our own module, without a shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address:
                raise BulkEraserError("Internal error: no Dask cluster could be started here.")
            yield address
        finally:
            if process.stdin is not None:
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(CLOSED_WITHIN_S)
            process.kill()  # if it has not ended by itself


def _address_of(where: str) -> str:
    """Itself, or what a scheduler file says. Raises `UsageError` for what is neither."""
    if "://" in where:
        return where
    try:
        with open(where, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            "--dask must be local, an address such as tcp://10.0.0.5:8786, or a scheduler file, "
            f"not {where!r}. Nothing was sent."
        ) from None

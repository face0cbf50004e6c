"""All shards on a real Dask cluster whose parts are killed, reconciled key by key.

By hand for more: DASK_KEYS=100000 DASK_RATE=0 pytest tests/crash/test_dask.py -m soak -s
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from reconciling import command, must_agree, proven, requests, simulator

pytestmark = pytest.mark.soak

KEYS = int(os.environ.get("DASK_KEYS", "2000"))
RATE = float(os.environ.get("DASK_RATE", "400"))
SEED = 20240430
SHARDS = 4
PATIENCE_S = 300.0
API_KEY = "ek-on-no-wire-77aa"
PIPE = asyncio.subprocess.PIPE


class Cluster:
    """A scheduler and two workers, which reach it through a relay that keeps what passes."""

    def __init__(self, scheduler: asyncio.subprocess.Process, address: str, wire: bytearray):
        self.scheduler = scheduler
        self.address = address
        self.wire = wire
        self.nannies: list[asyncio.subprocess.Process] = []

    def workers(self) -> list[int]:
        """The processes in which tasks run; each is the child of a nanny."""
        return [pid for nanny in self.nannies for pid in children_of(nanny.pid)]

    def busy_worker(self) -> int:
        """One that runs a shard."""
        return next(pid for pid in self.workers() if shards_below(pid))


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    file = folder / "scheduler.json"
    scheduler = await command(
        *("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file),
        folder=folder,
        module="distributed.cli.dask_scheduler",
    )
    await until(lambda: file.exists() and file.stat().st_size)
    host, port = json.loads(file.read_text())["address"].removeprefix("tcp://").split(":")
    async with relay(host, int(port)) as (address, wire):
        it = Cluster(scheduler, address, wire)
        try:
            for _ in range(2):
                nanny = await command(
                    *(address, "--host", "127.0.0.1", "--nthreads", 2, "--resources", "shard=2"),
                    *("--no-dashboard", "--local-directory", folder / "dask"),
                    folder=folder,
                    module="distributed.cli.dask_worker",
                )
                it.nannies.append(nanny)
            await until(lambda: len(it.workers()) >= 2)
            yield it
        finally:
            for process in (*it.nannies, scheduler):
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


@asynccontextmanager
async def relay(host: str, port: int) -> AsyncIterator[tuple[str, bytearray]]:
    """What is said to the scheduler, and what it answers, byte for byte."""
    wire = bytearray()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await reader.read(65536):
                wire.extend(block)
                writer.write(block)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs = await asyncio.open_connection(host, port)
        except OSError:  # it was killed
            writer.close()
            return
        await asyncio.gather(pass_on(reader, theirs[1]), pass_on(theirs[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", wire
    finally:
        server.close()


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(word) for it in tasks for word in (it / "children").read_text().split()]
    return []


def grandchildren_of(pid: int) -> list[int]:
    return [it for child in children_of(pid) for it in children_of(child)]


def shards_below(pid: int) -> list[int]:
    """The processes of shards among the children."""
    return [it for it in children_of(pid) if b"shard_process" in words_of(it)]


def words_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 there is no event on the other side
            await asyncio.sleep(0.01)


class Batch:
    """An input, and what its shards have left behind."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(SEED)
        self.folder, self.log = folder, folder / "log"
        self.keys = [f"{chance.getrandbits(128):032x}" for _ in range(KEYS)]
        (folder / "k.csv").write_text("customerKey\n" + "".join(f"{key}\n" for key in self.keys))
        (folder / "elevate.key").write_text(API_KEY)
        (folder / "elevate.key").chmod(0o600)

    @property
    def ledgers(self) -> list[Path]:
        return [self.folder / f"k.{n}of{SHARDS}.ledger.ndjson" for n in range(1, SHARDS + 1)]

    def has_grown(self, share: float) -> bool:
        """Does each ledger that is there name so much of its keys, and is there one?"""
        sizes = [it.stat().st_size for it in self.ledgers if it.exists()]
        return len(sizes) == SHARDS and min(sizes) > share * KEYS / SHARDS * 330

    def arguments(self, origin: str, *more: object) -> tuple[object, ...]:
        source, key = self.folder / "k.csv", self.folder / "elevate.key"
        paced = ("--rate", RATE, "--api-key-file", key, "--base-url", origin)
        return ("run", source, "--yes", "--json", *paced, *more)

    def runs(self, ledger: Path) -> Iterator[list[dict[str, Any]]]:
        run: list[dict[str, Any]] = []
        for line in proven(ledger.read_bytes())[1]:
            if line["type"] == "run_started" and run:
                yield run
                run = []
            run.append(line)
        yield run

    def must_tell_one_story(self) -> None:
        """No request is without its `sent` line, no accepted key was sent again, and every key has
        an end; each shard kept to its part of the rate, one process after the other."""
        lines = [line for ledger in self.ledgers for line in proven(ledger.read_bytes())[1]]
        must_agree(lines, requests(self.log))
        last = {line["key"]: line["type"] for line in lines if "key" in line}
        assert set(last) == set(self.keys)
        assert set(last.values()) <= {"accepted", "failed"}
        for ledger in self.ledgers:
            before = ""
            for run in self.runs(ledger):
                assert before <= run[0]["at"]
                before = run[-1]["at"]
                finished = run[-1]
                if finished["type"] == "run_finished" and RATE:
                    sent = sum((it["type"] == "sent") - (it["type"] == "unsent") for it in run)
                    assert finished["elapsed_s"] >= (sent - 3) * SHARDS / RATE


async def ended(*arguments: object, folder: Path) -> tuple[int, Any, str]:
    return await told(await command(*arguments, folder=folder, stdout=PIPE, stderr=PIPE))


async def told(process: asyncio.subprocess.Process) -> tuple[int, Any, str]:
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err
    return process.returncode, json.loads(out) if out else None, err.decode()


async def test_submitter_and_worker_are_killed(tmp_path: Path) -> None:
    """Without whoever submitted them the shards finish what is in flight, and the same command
    continues. Then a worker is killed with its shards: they resume elsewhere, and all is sealed. No
    secret was on the wire."""
    batch = Batch(tmp_path)
    options = ("--api-key", API_KEY)
    async with simulator(tmp_path, batch.log, SEED, *options) as origin, cluster(tmp_path) as dask:
        run = batch.arguments(origin, "--shards", SHARDS, "--dask", dask.address)
        first = await command(*run, folder=tmp_path, stdout=PIPE, stderr=PIPE)
        await until(lambda: batch.has_grown(0.15))
        os.kill(first.pid, signal.SIGKILL)
        await first.communicate()
        await until(lambda: not any(map(shards_below, dask.workers())))
        ends = [list(batch.runs(it))[-1][-1] for it in batch.ledgers]
        assert {(it["type"], it.get("exit_code")) for it in ends} == {("run_finished", 143)}

        second = await command(*run, folder=tmp_path, stdout=PIPE, stderr=PIPE)
        await until(lambda: any(map(shards_below, dask.workers())) and batch.has_grown(0.4))
        killed = dask.busy_worker()
        shards = len(shards_below(killed))
        os.kill(killed, signal.SIGKILL)
        code, result, err = await told(second)
        assert API_KEY.encode() not in dask.wire
        assert str(tmp_path).encode() in dask.wire  # it was listened to
    assert (code, result["exit_code"], result["error"]) == (3, 3, None), err
    batch.must_tell_one_story()
    assert sum(len(list(batch.runs(it))) for it in batch.ledgers) >= 2 * SHARDS + shards
    assert result["counts"]["rows"] == KEYS
    verifying = ("verify", "k.seal.ndjson", "--input", "k.csv", "--json")
    _, verified, _ = await ended(*verifying, folder=tmp_path)
    assert (verified["unaccounted"], verified["missing_shards"], verified["error"]) == (0, [], None)
    assert verified["findings"] == {}
    assert not (tmp_path / "k.running.plan.json").exists()


async def test_the_scheduler_is_killed(tmp_path: Path) -> None:
    """The command says so; what the ledgers hold is continued by hand, and sealed."""
    batch = Batch(tmp_path)
    options = ("--api-key", API_KEY)
    async with simulator(tmp_path, batch.log, SEED, *options) as origin:
        async with cluster(tmp_path) as dask:
            run = batch.arguments(origin, "--shards", SHARDS, "--dask", dask.address)
            process = await command(*run, folder=tmp_path, stdout=PIPE, stderr=PIPE)
            await until(lambda: batch.has_grown(0.3))
            os.kill(dask.scheduler.pid, signal.SIGKILL)
            code, result, err = await told(process)
            assert code == result["exit_code"] == 75, err
            assert "--shard i/N" in result["error"]
            assert result["counts"]["rows"] == KEYS  # out of the ledgers
            assert not any(map(shards_below, dask.workers()))
        shards = [f"{n}/{SHARDS}" for n in range(1, SHARDS + 1)]
        by_hand = [ended(*batch.arguments(origin, "--shard", it), folder=tmp_path) for it in shards]
        assert {code for code, _, _ in await asyncio.gather(*by_hand)} == {3}
    batch.must_tell_one_story()
    sealing = ("seal", "k.seal.ndjson", *batch.ledgers, "--json")
    code, _, err = await ended(*sealing, folder=tmp_path)
    assert code == 0, err


async def test_ctrl_c_with_workers_of_this_computer(tmp_path: Path) -> None:
    """A terminal sends it to all that belongs to the command. The shards drain, their counts are
    told, and the same command continues. When a worker is killed then, its shards are begun again,
    visibly."""
    batch = Batch(tmp_path)
    options = ("--api-key", API_KEY)
    async with simulator(tmp_path, batch.log, SEED, *options) as origin:
        run = batch.arguments(origin, "--shards", SHARDS, "--dask", "local")
        process = await command(
            *run, folder=tmp_path, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        await until(lambda: batch.has_grown(0.2))
        os.killpg(process.pid, signal.SIGINT)
        code, result, err = await told(process)
        assert (code, result["outcome"]) == (130, "interrupted"), err
        assert result["counts"]["rows"] == KEYS
        assert 0 < result["counts"]["not_reached"] < KEYS
        assert {it["exit_code"] for it in result["shards"]} == {143}
        assert result["next"][1:] == ["-m", "bulk_eraser", *map(str, run)]
        process = await command(*run, folder=tmp_path, stdout=PIPE, stderr=PIPE)
        await until(lambda: any(map(shards_below, grandchildren_of(process.pid))))
        await until(lambda: batch.has_grown(0.4))
        worker = next(filter(shards_below, grandchildren_of(process.pid)))
        shards = len(shards_below(worker))
        os.kill(worker, signal.SIGKILL)
        code, result, err = await told(process)
        assert code == 3, err
        assert sum(it["attempts"] for it in result["shards"]) >= SHARDS + shards
    batch.must_tell_one_story()

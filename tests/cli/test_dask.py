"""`run --shards N --dask`: the command with a small cluster, what a worker does for a shard, and
what is refused. Workers of their own, and all that can die, are in tests/crash/test_dask.py."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser import __version__
from bulk_eraser.cli.dask import shard_task
from bulk_eraser.cli.dask.held_plan import HeldPlan
from bulk_eraser.cli.dask.parts import all_that_count
from bulk_eraser.cli.dask.shard_task import Order, ShardEnd, run_shard
from bulk_eraser.errors import LedgerBusy

ROOT = Path(__file__).parents[2]
LEDGER = "keys.1of2.ledger.ndjson"


CLUSTER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://",
                  resources={"shard": 2}, dashboard_address=None, memory_limit=0,
                  local_directory=".") as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one whose only worker is in the same process: it starts in a second."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd=tmp_path_factory.mktemp("dask"),
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture
def key_file(desk: Any, api_key: str) -> Path:
    path: Path = desk.folder / "elevate.key"
    path.write_text(api_key)
    path.chmod(0o600)
    desk.may_hold_the_api_key.add(path)
    return path


async def test_all_shards_by_one_command(
    desk: Any, service: Any, keys: list[str], scheduler: str, key_file: Path
):
    """One object, whose counts are those of the whole; one seal, which `verify` takes. A plan from
    another folder, with the same holds, then finds nothing to do."""
    source, hold = desk.csv([*keys[:50], "", keys[0]]), desk.csv(keys[:50:10], "hold.csv")
    refused = keys[1]
    service.answer = lambda call: 400 if call.key == refused else None
    command = ("--shards", 3, "--dask", scheduler, "--api-key-file", key_file, "--exclude", hold)
    ended = await desk.run(source, service, *command, without_api_key=True)
    found = json.loads(ended.out)
    assert (ended.code, found["outcome"], found["error"]) == (3, "complete", None)
    counts = {word: count for word, count in found["counts"].items() if count}
    whole = {"rows": 52, "accepted": 44, "failed": 1, "rejected": 1, "duplicate": 1, "excluded": 5}
    assert counts == whole
    assert found["requests"] == len(service.calls) == 45
    assert [it["exit_code"] for it in found["shards"]].count(3) in (1, 2)
    assert {it["attempts"] for it in found["shards"]} == {1}
    assert found["next"][-1] == "--retry-failed"
    assert {call.api_key for call in service.calls} == {key_file.read_text()}
    ended = await desk.call("verify", "keys.seal.ndjson", "--input", source)
    assert ended.code == 0
    seen, plan = len(service.calls), desk.folder / "plans" / "plan.json"
    plan.parent.mkdir()
    target = ("--base-url", service.origin)
    await desk.check(source, "--exclude", "hold.csv", "--plan", "plans/plan.json", *target)
    command = ("--shards", 3, "--dask", scheduler, "--api-key-file", key_file, "--json")
    ended = await desk.call("run", "--plan", plan, *command, without_api_key=True)
    found = json.loads(ended.out)
    assert (ended.code, found["counts"]["already_settled"], len(service.calls)) == (3, 44, seen)
    assert not (desk.folder / "keys.running.plan.json").exists()


async def test_what_is_wrong_on_a_worker_is_told_once(
    desk: Any, service: Any, keys: list[str], scheduler: str, key_file: Path
):
    """The gravest exit code, and why; nothing was sent, and the same command continues."""
    source = desk.csv(keys[:10])
    key_file.unlink()
    command = ("--shards", 2, "--dask", scheduler, "--api-key-file", key_file)
    ended = await desk.run(source, service, *command)
    found = json.loads(ended.out)
    assert ended.code == found["exit_code"] == 78
    assert ended.err.count("elevate.key cannot be read") == 1
    assert found["error"].startswith("The API key file")
    assert found["next"][2:4] == ["bulk_eraser", "run"]
    assert service.calls == []


@pytest.fixture
def worker(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a worker, with a key file and some variables of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("BULK_ERASER_RATE", "0.001")
    monkeypatch.setenv("ELEVATE_CLUSTER_ID", "w1234abcd")


async def plan_of(desk: Any, service: Any, source: Any) -> HeldPlan:
    await desk.check(source, "--plan", "plan.json", "--base-url", service.origin)
    content = (desk.folder / "plan.json").read_bytes()
    return HeldPlan(str(desk.folder / "running.plan.json"), content)


def order_of(desk: Any, source: Any, plan: HeldPlan) -> Order:
    ledger = str(desk.folder / LEDGER)
    arguments = [
        *("run", str(source), "--plan", plan.path, "--shard", "1/2"),
        *("--api-key-file", str(desk.folder / "elevate.key"), "--rate", "0", "--json", "--quiet"),
    ]
    return Order(__version__, plan.path, plan.sha256, ledger, arguments, pepper_file=None)


def seen_of(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the worker finds each time that it looks whether the shard is still wanted."""
    look, seen = shard_task._Locked.still, list[bool]()

    def look_and_note(self: Any) -> bool:
        seen.append(look(self))
        return seen[-1]

    monkeypatch.setattr(shard_task._Locked, "still", look_and_note)
    return seen


def shard_processes() -> list[tuple[int, str]]:
    """The processes of shards on this computer, with their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((int(folder.name), (folder / "cmdline").read_text()))
    return [it for it in found if "shard_process" in it[1]]


async def run_there(order: Order) -> ShardEnd:
    return await asyncio.to_thread(run_shard, order)


async def test_a_worker_runs_a_shard_to_its_end(
    desk: Any, service: Any, keys: list[str], worker: None
):
    """With the key of its own file, and none of its own options; the result is that of `run`."""
    source = desk.csv(keys[:40])
    plan = await plan_of(desk, service, source)
    end = await run_there(order_of(desk, source, plan))
    plan.close()
    assert (end.exit_code, end.result["exit_code"]) == (0, 0)
    assert [text[:13] for text in end.warnings] == ["the plan was "]  # by the same login
    assert end.result["counts"]["accepted"] == len(service.calls) > 10
    assert end.result["head"] == desk.ledger(LEDGER).head
    assert not os.path.exists(plan.path)


async def test_it_stops_once_the_plan_is_let_go(
    desk: Any, service: Any, keys: list[str], worker: None, monkeypatch: pytest.MonkeyPatch
):
    """Requests in flight are finished, the ledger is closed, and nothing more is sent."""
    source = desk.csv(keys[:60])
    plan = await plan_of(desk, service, source)
    may_be_answered = asyncio.Semaphore(5)
    service.answer = lambda call: may_be_answered.acquire()
    order = order_of(desk, source, plan)
    order.arguments.extend(["--concurrency", "2"])
    asked = seen_of(monkeypatch)
    running = asyncio.create_task(run_there(order))
    await service.saw(7)
    plan.close()
    await desk.until(lambda: False in asked)
    may_be_answered.release()
    may_be_answered.release()
    end = await running
    assert end.exit_code == end.result["exit_code"] == 143
    assert end.result["outcome"] == "interrupted"
    ledger = desk.ledger(LEDGER)
    assert ledger.of("run_finished")[0]["exit_code"] == 143
    assert all(service.per_key[key] <= ledger.sent()[key] for key in service.per_key)


async def test_it_ends_when_its_worker_is_killed(
    desk: Any, service: Any, keys: list[str], worker: None, monkeypatch: pytest.MonkeyPatch
):
    """The lifeline: the process of a shard drains as soon as nobody holds its standard input, and
    the next attempt waits for the ledger until it has."""
    source = desk.csv(keys[:60])
    plan = await plan_of(desk, service, source)
    may_go_on = asyncio.Event()
    service.answer = lambda call: None if call.n < 4 else may_go_on.wait()
    order = order_of(desk, source, plan)
    order.arguments.extend(["--concurrency", "2"])
    code = (
        "import json, sys; from bulk_eraser.cli.dask.shard_task import Order, run_shard; "
        "run_shard(Order(**json.load(sys.stdin)))"
    )
    first = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdin=asyncio.subprocess.PIPE
    )
    assert first.stdin is not None
    first.stdin.write(json.dumps(vars(order)).encode())
    first.stdin.close()
    await service.saw(5)
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    looked = list[tuple[str, bool]]()
    look = shard_task.is_being_written
    monkeypatch.setattr(
        shard_task,
        "is_being_written",
        lambda path: looked.append((path, look(path))) or looked[-1][1],
    )
    second = asyncio.create_task(run_there(order))
    await desk.until(lambda: second.done() or (order.ledger, True) in looked)
    seen = len(service.calls)
    may_go_on.set()
    end = await second
    assert end.exit_code == 0
    ledger = desk.ledger(LEDGER)
    assert [run["exit_code"] for run in ledger.of("run_finished")] == [143, 0]
    assert seen < len(service.calls)
    assert set(ledger.sent()) == set(service.per_key)
    assert ledger.sent() == service.per_key  # each was drained: nothing was sent again
    plan.close()


class HeldWithoutLock(HeldPlan):
    """On a file system where no other machine notices a lock; touched from time to time."""

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.touching = asyncio.create_task(self.go_on_touching())

    async def go_on_touching(self) -> None:
        while True:
            self.touch()
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self.touching.cancel()
        super().close()


async def test_without_locks_each_attempt_writes_a_part(
    desk: Any, service: Any, keys: list[str], worker: None, monkeypatch: pytest.MonkeyPatch
):
    """It begins as a copy of the part before it, so nothing accepted is sent again, and no file is
    written by two. One that was killed is waited for until it stands still."""
    monkeypatch.setattr(shard_task, "STANDS_STILL_S", 0.1)
    source = desk.csv(keys[:60])
    locked = await plan_of(desk, service, source)
    content = Path(locked.path).read_bytes()
    locked.close()
    plan = HeldWithoutLock(locked.path, content)
    never = asyncio.Event()
    service.answer = lambda call: None if call.n < 6 else never.wait()
    order = order_of(desk, source, plan)
    order.arguments.extend(["--concurrency", "2"])
    running = asyncio.create_task(run_there(order))
    await service.saw(7)
    process = next(pid for pid, words in shard_processes() if str(desk.folder) in words)
    os.kill(process, signal.SIGKILL)
    first = await running
    assert (first.exit_code, first.result) == (-signal.SIGKILL, {})
    never.set()
    part = [desk.folder / f"keys.1of2.part{n}.ledger.ndjson" for n in (1, 2)]
    written = part[0].read_bytes()
    second = await run_there(order)
    plan.close()
    assert second.exit_code == 0
    assert part[0].read_bytes() == written
    assert part[1].read_bytes().startswith(written)
    assert not (desk.folder / LEDGER).exists()
    ledger = desk.ledger(part[1].name)
    ledger.must_send_no_accepted_key_again()
    assert all(service.per_key[key] <= ledger.sent()[key] for key in service.per_key)
    assert all_that_count(str(desk.folder / LEDGER)) == [str(part[1])]
    part[0].write_bytes(written + b"written by one that was believed to be gone")
    assert all_that_count(str(desk.folder / LEDGER)) == [str(part[0]), str(part[1])]


async def test_a_plan_that_was_left_behind_runs_nothing(
    desk: Any, service: Any, keys: list[str], worker: None, monkeypatch: pytest.MonkeyPatch
):
    """Neither locked nor touched: whoever held it is gone."""
    monkeypatch.setattr(shard_task, "TOUCHED_WITHIN_S", 0.3)
    source = desk.csv(keys[:4])
    plan = await plan_of(desk, service, source)
    fcntl.flock(plan._fd, fcntl.LOCK_UN)
    end = await run_there(order_of(desk, source, plan))
    plan.close()
    assert end.exit_code == 78
    assert "nobody holds the plan" in end.result["error"]
    assert service.calls == []


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"version": "0.0.0"}, "same version"),
        ({"plan": "/nowhere/plan.json"}, "does not see"),
        ({"plan_sha256": "0" * 64}, "does not see"),
    ],
)
async def test_a_worker_refuses_what_is_not_as_it_should_be(
    desk: Any, service: Any, keys: list[str], worker: None, other: dict[str, str], why: str
):
    """Another version, a folder that is not shared, another plan: 78, and nothing is sent."""
    source = desk.csv(keys[:4])
    plan = await plan_of(desk, service, source)
    end = await run_there(replace(order_of(desk, source, plan), **other))
    plan.close()
    assert end.exit_code == 78
    assert why in end.result["error"]
    assert service.calls == []


async def test_a_key_file_that_is_missing_there_is_told(
    desk: Any, service: Any, keys: list[str], worker: None
):
    """As by `run` on that machine."""
    source = desk.csv(keys[:4])
    plan = await plan_of(desk, service, source)
    order = order_of(desk, source, plan)
    (desk.folder / "elevate.key").unlink()
    end = await run_there(order)
    plan.close()
    assert end.exit_code == 78
    assert "elevate.key cannot be read" in end.result["error"]


async def test_the_plan_is_held_by_one(desk: Any, service: Any, keys: list[str]):
    """A second one to run the same shards is refused; one that was killed holds nothing."""
    plan = await plan_of(desk, service, desk.csv(keys[:4]))
    with pytest.raises(LedgerBusy):
        HeldPlan(plan.path, b"{}")
    plan.close()
    HeldPlan(plan.path, b"{}").close()
    assert not os.path.exists(plan.path)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--shards", "2"), 2, "belong together"),
        (("--dask", "local"), 2, "belong together"),
        (("--shards", "0", "--dask", "local"), 2, "between 1 and 256"),
        (("--shards", "2", "--dask", "nothing"), 2, "--dask must be"),
        (("--shards", "2", "--dask", "local", "--shard", "1/2"), 2, "--shard cannot be used"),
        (("--shards", "2", "--dask", "local", "--limit", "5"), 2, "--limit cannot be used"),
        (("--shards", "2", "--dask", "local", "--receipt", "r"), 2, "--receipt cannot be used"),
    ],
)
async def test_what_does_not_go_together(
    desk: Any, service: Any, keys: list[str], options: tuple[str, ...], code: int, words: str
):
    """Is refused before anything is sent or written."""
    source = desk.csv(keys[:4])
    before = desk.everything()
    ended = await desk.run(source, service, *options)
    assert ended.code == code
    assert words in json.loads(ended.out)["error"]
    assert (service.calls, desk.everything()) == ([], before)


async def test_an_address_with_a_secret_goes_through_no_scheduler(desk: Any, service: Any):
    """Such as a signed one: it is refused before anybody is asked, and not repeated."""
    address = "https://127.0.0.1:1/keys.csv?signature=f00d"
    options = ("--shards", 2, "--dask", "local", "--ledger", "k.ledger.ndjson")
    ended = await desk.run(address, service, *options)
    assert ended.code == 2
    assert "may be a secret" in ended.err
    assert "f00d" not in ended.err + ended.out


async def test_ledgers_of_something_else_are_not_passed_over(
    desk: Any, service: Any, keys: list[str]
):
    """Of the whole input, or of another number of shards: their keys would be sent once more."""
    source = desk.csv(keys[:4])
    await desk.run(source, service, "--shard", "1/3")
    ended = await desk.run(source, service, "--shards", "2", "--dask", "local")
    assert ended.code == 78
    assert "is of 3 shards, not of 2" in ended.err
    (desk.folder / "keys.1of3.ledger.ndjson").unlink()
    await desk.run(source, service)
    ended = await desk.run(source, service, "--shards", "2", "--dask", "local")
    assert ended.code == 78
    assert "ledger of the whole input" in ended.err


async def test_a_dry_run_counts_what_all_shards_know(desk: Any, service: Any, keys: list[str]):
    """The survey is of the whole input, with the history of every ledger that is there."""
    source = desk.csv(keys[:40])
    ran = await desk.run(source, service, "--shard", "2/2")
    ended = await desk.run(source, service, "--shards", "2", "--dask", "local", "--dry-run")
    counts = json.loads(ended.out)["counts"]
    assert ended.code == 0
    assert counts["already_settled"] == ran.json["counts"]["accepted"]
    assert counts["not_reached"] == 40 - counts["already_settled"]
    assert "Ledgers " in ended.err
    assert ": continuing" in ended.err


async def test_without_the_extra_it_says_what_to_install(desk: Any, service: Any, keys: list[str]):
    """78, and the command that helps."""
    hidden = desk.folder / "without"
    (hidden / "distributed").mkdir(parents=True)
    (hidden / "distributed" / "__init__.py").write_text("raise ImportError")
    ended = await desk.run(
        desk.csv(keys[:4]),
        service,
        *("--shards", "2", "--dask", "local"),
        forked=False,
        env={"PYTHONPATH": f"{hidden}{os.pathsep}{ROOT}"},
    )
    assert ended.code == 78
    assert "pip install 'bulk-eraser[dask]'" in ended.err

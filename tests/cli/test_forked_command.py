"""A command that is forked, as in most tests, is what a process of its own would be."""

import signal
from typing import Any

import pytest

from bulk_eraser.cli.app import COMMANDS


@pytest.mark.parametrize(
    "arguments", [*((command, "--help") for command in COMMANDS), ("run", "--no-such-option")]
)
async def test_help_and_refusals_are_the_same(desk: Any, arguments: tuple[str, ...]):
    """Exit code and both outputs, to the letter."""
    assert await desk.call(*arguments) == await desk.call(*arguments, forked=False)


async def test_a_run_is_the_same(desk: Any, service: Any, keys: list[str]):
    """Code, counts and records; times, ids and digests are those of each run."""
    service.answer = lambda call: 400 if call.key == keys[3] else None
    source = desk.csv([*keys[:6], ""])
    endings, types = [], []
    for name, forked in (("forked.ledger.ndjson", True), ("alone.ledger.ndjson", False)):
        ended = await desk.run(source, service, "--ledger", name, forked=forked)
        ledger = desk.reconcile(source, ended, name=name)
        endings.append((ended.code, ended.json["counts"]))
        types.append(sorted((line["type"], line.get("key")) for line in ledger.lines))
    assert endings[0] == endings[1]
    assert types[0] == types[1]


async def test_children_share_nothing(desk: Any, keys: list[str]):
    """Variables, folder and limits are those of one command alone."""
    path = desk.csv(keys[:3])
    plan = ("--plan", "p.json", "--cluster-id", "acme")
    first = await desk.check(path, *plan, env={"NO_COLOR": "1"}, file_size_limit=1)
    second = await desk.check(path, *plan)
    assert (first.code, second.code) == (74, 0)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_signals_end_it(desk: Any, free_port: int, signum: int):
    """The code tells of the signal: the simulator ends by itself, unless it is killed."""
    codes = []
    for forked in (True, False):
        running = await desk.start("simulate", "--port", free_port, forked=forked)
        assert await running.process.stdout.readline()
        running.signal(signum)
        codes.append((await running.ended()).code)
    assert codes[0] == codes[1]

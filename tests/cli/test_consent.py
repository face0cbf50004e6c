"""Nothing is sent that nobody has agreed to."""

import asyncio
import os
import signal
from typing import Any

import pytest


def told(desk: Any, service: Any, source: object, *options: object) -> tuple[object, ...]:
    return ("run", source, "--base-url", service.origin, "--rate", "0", "--json", *options)


@pytest.mark.parametrize("stdin", [asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE])
@pytest.mark.parametrize("environment", [{}, {"BULK_ERASER_YES": "1"}, {"TERM": "xterm"}])
async def test_without_a_terminal_it_takes_yes(
    desk: Any, service: Any, keys: list[str], stdin: int, environment: dict[str, str]
):
    """Without a terminal and without --yes nothing is sent or written: 2. No variable, and no
    number that comes through a pipe, stands in for consent."""
    source = desk.csv(keys[:7])
    running = await desk.start(*told(desk, service, source), stdin=stdin, env=environment)
    ended = await running.ended(b"7\n" if stdin == asyncio.subprocess.PIPE else None)
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0


@pytest.mark.parametrize(
    "options", [(), ("--limit", "3"), ("--quiet",)], ids=["all", "limit", "quiet"]
)
async def test_the_right_number_is_consent(
    desk: Any, service: Any, keys: list[str], options: tuple[str, ...]
):
    """On a terminal the target, version and number of keys that will be sent are shown; typing
    that number starts the run."""
    source = desk.csv([*keys[:7], keys[0], ""])
    terminal = await desk.on_terminal(*told(desk, service, source, *options))
    number = 3 if "--limit" in options else 7
    await terminal.saw("confirm")
    await terminal.saw(f"({number})")
    assert service.origin in terminal.shown
    assert "v4" in terminal.shown
    assert "cannot be undone" in terminal.shown
    assert service.calls == []
    assert desk.ledger_size() == 0
    terminal.type(f"{number}\r")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == (75 if "--limit" in options else 3)
    assert len(service.calls) == number


@pytest.mark.parametrize("typed", ["8\r", "y\r", "yes\r", "\r", "7 7\r", "-7\r", "7.0\r", "\x04"])
async def test_anything_else_is_none(desk: Any, service: Any, keys: list[str], typed: str):
    """Another number, a word, nothing, or the end of input: 2, nothing sent, no ledger."""
    source = desk.csv(keys[:7])
    terminal = await desk.on_terminal(*told(desk, service, source))
    await terminal.saw("confirm")
    terminal.type(typed)
    ended = await terminal.ended()
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_ctrl_c_at_the_question(desk: Any, service: Any, keys: list[str]):
    """Ctrl-C instead of an answer ends with 130, nothing sent, no ledger."""
    terminal = await desk.on_terminal(*told(desk, service, desk.csv(keys[:7])))
    await terminal.saw("confirm")
    terminal.type("\x03")
    ended = await terminal.ended()
    assert (ended.code, ended.json["outcome"]) == (130, "interrupted")
    assert service.calls == []
    assert desk.ledger_size() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_at_the_question(desk: Any, service: Any, keys: list[str], signum: int):
    """A signal instead of an answer ends with 143, nothing sent, no ledger."""
    terminal = await desk.on_terminal(*told(desk, service, desk.csv(keys[:7])))
    await terminal.saw("confirm")
    terminal.running.signal(signum)
    ended = await terminal.ended()
    assert (ended.code, ended.json["outcome"]) == (143, "interrupted")
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_an_input_that_changes_at_the_question(desk: Any, service: Any, keys: list[str]):
    """Keys that are put into the file while the question stands are not sent: 65."""
    source = desk.csv(keys[:7])
    terminal = await desk.on_terminal(*told(desk, service, source))
    await terminal.saw("confirm")
    desk.csv(keys[100:107])
    terminal.type("7\r")
    ended = await terminal.ended()
    assert ended.code == 65
    assert service.calls == []


async def test_a_ledger_is_held_while_the_question_stands(desk: Any, service: Any, keys: list[str]):
    """What was shown stays true until it is answered: another run on the ledger has to wait."""
    source = desk.csv(keys[:9])
    await desk.run(source, service, "--limit", 2)
    terminal = await desk.on_terminal(*told(desk, service, source))
    await terminal.saw("(7)")
    other = await desk.run(source, service)
    assert other.code == 75
    terminal.type("7\r")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_a_new_ledger_is_not_begun_twice(desk: Any, service: Any, keys: list[str]):
    """When another run creates the ledger while the question stands, the answer comes too late:
    75, and no key is sent twice."""
    source = desk.csv(keys[:9])
    terminal = await desk.on_terminal(*told(desk, service, source))
    await terminal.saw("(9)")
    other = await desk.run(source, service)
    assert other.code == 0
    terminal.type("9\r")
    ended = await terminal.ended()
    assert ended.code == 75
    assert ended.json["error"]
    assert max(service.per_key.values()) == 1


@pytest.mark.parametrize("option", ["--yes", "--dry-run", "--rehearse"])
async def test_what_asks_no_question(desk: Any, service: Any, keys: list[str], option: str):
    """--yes is consent; --dry-run and --rehearse need none. On a terminal as well."""
    terminal = await desk.on_terminal(*told(desk, service, desk.csv(keys[:7]), option))
    ended = await terminal.ended()
    assert ended.code == 0
    assert "confirm" not in terminal.shown
    assert len(service.calls) == (7 if option == "--yes" else 0)


async def test_nothing_to_do_needs_no_consent(desk: Any, service: Any, keys: list[str]):
    """When every key is settled there is nothing to agree to."""
    source = desk.csv(keys[:7])
    await desk.run(source, service)
    ended = await desk.call(*told(desk, service, source))
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_what_was_typed_before_the_question_is_no_answer(
    desk: Any, service: Any, keys: list[str]
):
    """The right number, typed while the input is still being read, confirms nothing."""
    content = desk.csv(keys[:7]).path.read_text()
    slow = desk.folder / "slow.csv"
    os.mkfifo(slow)
    options = ("--ledger", "keys.ledger.ndjson")
    terminal = await desk.on_terminal(*told(desk, service, slow, *options))
    terminal.type("7\r")
    await asyncio.to_thread(slow.write_text, content)
    await terminal.saw("confirm: ")
    terminal.type("\x04")
    ended = await terminal.ended()
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_on_a_dumb_terminal_it_is_asked_too(desk: Any, service: Any, keys: list[str]):
    """With TERM=dumb somebody can answer; what cannot be is a live display."""
    source = desk.csv(keys[:7])
    terminal = await desk.on_terminal(*told(desk, service, source), env={"TERM": "dumb"})
    await terminal.saw("(7) to confirm")
    terminal.type("7\n")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert "\x1b" not in terminal.shown

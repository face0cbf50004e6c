"""What is printed where, and what is printed nowhere."""

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

SGR_COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7])[0-9;]*m")


def told(service: Any, source: object, *options: object) -> tuple[object, ...]:
    return ("run", source, "--base-url", service.origin, "--rate", "0", "--yes", *options)


async def test_results_on_stdout_all_else_on_stderr(desk: Any, service: Any, keys: list[str]):
    """Without --json stdout holds the counts; stderr how it ended and how to continue."""
    service.answer = lambda call: 400 if call.key == keys[3] else None
    source = desk.csv([*keys[:20], keys[0], ""])
    ended = await desk.call(*told(service, source, "--limit", 15))
    assert ended.code == 75
    numbers = dict(
        reversed(match) for match in re.findall(r"^ *(\d+)  (\w+)", ended.out, re.MULTILINE)
    )
    expected = {"accepted": "14", "failed": "1", "not": "5", "rejected": "1", "duplicate": "1"}
    assert expected.items() <= numbers.items()
    assert numbers["rows"] == "22"
    last = ended.err.splitlines()[-2:]
    assert "--limit" in last[0]
    assert last[1].startswith("Continue with: ")
    command = f"run {source} --base-url {service.origin} --rate 0 --yes --limit 15"
    assert last[1].endswith(command)
    head = desk.ledger().head
    assert head in ended.err


async def test_quiet_keeps_errors_and_the_ending(desk: Any, service: Any, keys: list[str]):
    """--quiet leaves stderr with how it ended."""
    source = desk.csv(keys[:5])
    ended = await desk.call(*told(service, source, "--quiet"))
    assert ended.code == 0
    assert ended.err.count("\n") == 1
    service.answer = lambda call: 403
    source = desk.csv(keys[4:9])
    ended = await desk.call(*told(service, source, "--quiet"))
    assert ended.code == 77
    assert ended.err.startswith("Error: ")
    assert "Once that is resolved, continue with: " in ended.err
    assert ended.err.count("\n") <= 3


async def test_a_complete_run_names_no_continuation(desk: Any, service: Any, keys: list[str]):
    """When there is nothing left to do, no command that continues is named."""
    ended = await desk.call(*told(service, desk.csv(keys[:5])))
    assert ended.code == 0
    assert "Continue" not in ended.err


@pytest.mark.parametrize("closed", [[1], [2], [1, 2], [0], [0, 1, 2]], ids=str)
async def test_closed_outputs_end_nothing(
    desk: Any, service: Any, keys: list[str], closed: list[int]
):
    """A command that is started without stdin, stdout or stderr has a complete ledger, and its
    exit code; nothing that it prints gets into another file."""
    service.answer = lambda call: 400 if call.key == keys[3] else None
    source = desk.csv(keys[:50])
    close = "".join(f"os.close({number})\n" for number in closed)
    ended = await desk.call(*told(service, source, "--json", "--verbose"), before=close)
    assert ended.code == 3
    ledger = desk.ledger()
    assert ledger.tail == b""
    assert len(ledger.of("accepted")) == 49
    assert ledger.lines[-1]["type"] == "run_finished"
    if 1 not in closed:
        assert ended.json["counts"]["failed"] == 1
    assert [path.name for path in desk.folder.iterdir() if path.suffix == ".csv"] == ["keys.csv"]


@pytest.mark.parametrize("json", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("full", ["stdout", "stderr", "both"])
async def test_full_outputs_end_nothing(
    desk: Any, service: Any, keys: list[str], full: str, json: tuple[str, ...]
):
    """A full disk behind stdout or stderr changes neither the ledger nor the exit code."""
    source = desk.csv(keys[:50])
    descriptor = os.open("/dev/full", os.O_WRONLY)
    streams = {name: descriptor for name in ("stdout", "stderr") if full in (name, "both")}
    running = await desk.start(*told(service, source, *json), **streams)
    os.close(descriptor)
    ended = await running.ended()
    assert ended.code == 0
    assert len(desk.ledger().of("accepted")) == 50


async def test_outputs_that_nobody_reads_any_more(desk: Any, service: Any, keys: list[str]):
    """A pipe whose reader has gone, as behind `| head`, changes nothing."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait()
    source = desk.csv(keys[:50])
    reader, writer = os.pipe()
    running = await desk.start(*told(service, source), stdout=writer, stderr=writer)
    os.close(writer)
    await service.saw(32)
    os.close(reader)
    gate.set()
    ended = await running.ended()
    assert ended.code == 0
    assert desk.ledger().lines[-1]["type"] == "run_finished"


async def test_the_live_display_is_for_terminals(desk: Any, service: Any, keys: list[str]):
    """On a terminal progress is shown live, and the last lines are plain text."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 20 else None
    source = desk.csv(keys[:40])
    terminal = await desk.on_terminal(*told(service, source, "--json"))
    await terminal.saw("20 of 40")
    gate.set()
    ended = await terminal.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert "Complete" in terminal.shown.splitlines()[-2]
    assert "follow" in terminal.shown.splitlines()[-1]


async def test_the_display_shows_limit_and_last_errors(desk: Any, service: Any, keys: list[str]):
    """What attempts failed with, also where a repeat mended it, and what --rate allows."""
    gate = asyncio.Event()
    service.answer = lambda call: 503 if call.n <= 3 else gate.wait() if call.n > 30 else None
    source = desk.csv(keys[:40])
    terminal = await desk.on_terminal(*told(service, source, "--rate", 200))
    await terminal.saw("last errors: 3 http_503")
    await terminal.saw("(limit 200/s)")
    gate.set()
    assert (await terminal.ended()).code == 0


async def test_the_display_says_what_holds_it_up(desk: Any, service: Any, keys: list[str]):
    """While the service asks for a pause, the display says so, and how a signal is taken."""
    pause = web.Response(status=503, headers={"Retry-After": "200"})
    service.answer = lambda call: None if call.n < 10 else pause if call.n == 10 else 503
    terminal = await desk.on_terminal(*told(service, desk.csv(keys[:40]), "--concurrency", 1))
    await terminal.saw("pause")
    terminal.type("\x03")
    ended = await terminal.ended()
    assert ended.code == 130
    assert "Stopped (Ctrl-C)" in terminal.shown


@pytest.mark.parametrize("columns", [60, 80])
async def test_a_terminal_breaks_between_words(
    desk: Any, service: Any, keys: list[str], columns: int
):
    """On a terminal no line but one with a single long word, or a command to copy, is longer than
    the terminal is wide, and what follows an indented line is indented; all words are there."""
    source = desk.csv([*keys[:7], "", "K\x00"])
    terminal = await desk.on_terminal(
        *told(service, source), columns=columns, env={"TERM": "dumb"}, stdout=subprocess.DEVNULL
    )
    ended = await terminal.ended()
    assert ended.code == 3
    shown = terminal.shown.replace("\r", "").splitlines()
    long = [line for line in shown if len(line) > columns]
    assert [line for line in long if " " in line.strip() and "follow" not in line] == []
    command = f"follow {desk.folder / 'keys.ledger.ndjson'}"
    assert any(line.endswith(command) for line in shown)
    reason = "  1  control_character: the key holds a control character, a"
    rest = {60: "\n     NUL or a line break (line 10)", 80: " NUL or a line break\n     (line 10)"}
    assert reason + rest[columns] in "\n".join(shown)


async def test_what_is_no_terminal_gets_whole_lines(desk: Any, service: Any, keys: list[str]):
    """A pipe gets a message as one line, however long, whatever COLUMNS says."""
    source = desk.csv(keys[:3])
    ended = await desk.call("check", source, "--key-field", "key", env={"COLUMNS": "40"})
    assert ended.code == 65
    assert ended.err.count("\n") == 1
    assert len(ended.err) > 100


async def test_all_accepted_is_not_told_as_all_erased(desk: Any, service: Any, keys: list[str]):
    """A run that finds nothing left to send says that its keys have a job, and no more."""
    source = desk.csv(keys[:5])
    first = await desk.call(*told(service, source))
    again = await desk.call(*told(service, source))
    assert (first.code, again.code) == (0, 0)
    for ended in (first, again):
        assert "Complete: every key of this input has a removal job." in ended.err
        assert "Accepted is not erased yet" in ended.err
        assert "settled" not in ended.out + ended.err
    rehearsed = await desk.call("run", source, "--rehearse")
    assert "Rehearsal complete: every key of this input has a simulated job." in rehearsed.err


@pytest.mark.parametrize(("progress", "shown"), [("auto", True), ("plain", False), ("off", False)])
async def test_how_progress_is_shown(
    desk: Any, service: Any, keys: list[str], progress: str, shown: bool
):
    """Only `auto` draws on a terminal; the variable says the same as the option."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 20 else None
    env = {"TERM": "xterm", "COLUMNS": "60", "BULK_ERASER_PROGRESS": progress}
    terminal = await desk.on_terminal(*told(service, desk.csv(keys[:40])), env=env)
    await service.saw(40)
    if shown:
        await terminal.saw("50% · 20 of 40 keys · 20 accepted")
    gate.set()
    ended = await terminal.ended()
    assert ended.code == 0
    assert ("\x1b[2K" in terminal.shown) is shown


async def test_a_forced_colour_is_no_terminal(desk: Any, service: Any, keys: list[str]):
    """FORCE_COLOR colours what is printed into a pipe; it does not draw there."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 20 else None
    env = {"FORCE_COLOR": "1", "TERM": "xterm"}
    running = await desk.start(*told(service, desk.csv(keys[:40])), env=env)
    await service.saw(40)
    gate.set()
    assert "\x1b[2K" not in (await running.ended()).err


async def test_a_service_that_is_down_is_told_while_it_lasts(
    desk: Any, keys: list[str], free_port: int
):
    """Since when, why and until when; how long the rest takes is not known then."""
    target = ("--base-url", f"http://127.0.0.1:{free_port}")
    terminal = await desk.on_terminal("run", desk.csv(keys[:40]), *target, "--yes")
    await terminal.saw("(nothing is listening there)")
    terminal.type("\x03")
    ended = await terminal.ended()
    assert ended.code == 130
    shown = " ".join(terminal.shown.split())
    down = r"no good answer for \d+ s \(nothing is listening there\); gives up after 30 s"
    assert re.search(down, shown)
    assert "/s · no good answer" not in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}], ids=["NO_COLOR", "colour"])
async def test_no_color_is_honoured(
    desk: Any, service: Any, keys: list[str], environment: dict[str, str]
):
    """With NO_COLOR an error on a terminal has no colour; without it, it has."""
    service.answer = lambda call: 403
    command = told(service, desk.csv(keys[:4]))
    terminal = await desk.on_terminal(*command, env={"TERM": "xterm"} | environment)
    ended = await terminal.ended()
    assert ended.code == 77
    assert bool(SGR_COLOUR.search(terminal.shown)) is not bool(environment)


async def test_the_api_key_is_found_nowhere(desk: Any, service: Any, keys: list[str], api_key: str):
    """A service that echoes the API key in bodies, headers and job ids gets it into no file or
    output, at the highest verbosity; and there is no option that would take it."""

    def echo(call: Any) -> web.Response | None:
        body = f'{{"message": "no {call.api_key} for {call.key}"}}'
        headers = {"X-Echo": call.api_key, "Set-Cookie": f"k={call.api_key}"}
        number = int(call.key[:8], 16)
        status = 400 if number % 5 == 0 else {1: 500, 2: 429, 3: 200}.get(number)
        if status is None:
            return None
        return web.Response(status=status, text=body, headers=headers)

    service.answer = echo
    source = desk.csv(keys[:64])
    options = ("--verbose", "--json", "--max-attempts", 2, "--max-failures", "100%")
    running = await desk.start(*told(service, source, *options), forked=False)
    await service.saw(1)
    assert api_key not in Path(f"/proc/{running.pid}/cmdline").read_text()
    ended = await running.ended()
    ledger = desk.reconcile(source, ended, service)
    assert (len(ledger.of("failed")), len(ledger.of("unknown"))) == (14, 2)
    assert api_key.encode() not in ledger.raw
    for option in (f"--api-key={api_key}", f"--apikey={api_key}"):
        refused = await desk.call(*told(service, source, option))
        assert refused.code == 2
    options_of_run = re.findall(r"--[a-z-]+", (await desk.call("run", "--help")).out)
    assert {option for option in options_of_run if "key" in option} == {
        "--api-key-file",
        "--key-field",
    }


@pytest.mark.parametrize(
    "content",
    ["id,note\n{0},x\n{1},x\n", "{0},x\n{1},x\n", "{0}\n{1}\n", "customerKey,{0}\n,{1}\n"],
    ids=["other-column", "no-header", "one-column", "empty"],
)
async def test_an_input_error_shows_no_customer_key(
    desk: Any, service: Any, keys: list[str], content: str
):
    """A file that cannot be read as meant is explained without a customer key, even if a key
    stands where a header should."""
    source = desk.csv([])
    source.path.write_text(content.format(*keys))
    ended = await desk.call(*told(service, source, "--json"))
    assert ended.code == 65
    assert ended.json["error"]
    assert service.calls == []


async def test_a_key_or_a_name_cannot_speak_to_terminal_or_ci(
    desk: Any, service: Any, keys: list[str]
):
    """ESC sequences and `::error::` in names, columns and answers are harmless where they are
    printed."""
    hostile = "x\x1b[2J\r::error::y.csv"
    service.answer = lambda call: web.Response(status=400, text="\x1b[2J\r\n::error::z")
    path = desk.folder / hostile
    path.write_text("\x1b[2J::error::,b\n1,2\n")
    for options in ((), ("--no-header", "--key-field", "2", "--verbose")):
        ended = await desk.call(*told(service, path, *options))
        assert ended.code == (3 if options else 65)
        printed = ended.out + ended.err
        assert "\x1b" not in printed
        assert "\r" not in printed
        assert not re.search(r"^\s*::", printed, re.MULTILINE)


async def test_a_traceback_is_never_shown(desk: Any, service: Any, keys: list[str]):
    """A bug anywhere ends with 70 and one sentence that names its place, not its data."""
    source = desk.csv(keys[:5])
    broken = (
        "import runpy\n"
        "from bulk_eraser.elevate import client\n"
        "def create(self, key, **how): raise ValueError(key + ' ' + self.__class__.__name__)\n"
        "client.ElevateClient.create_removal_job = create\n"
        "sys.argv = ['bulk-eraser', *sys.argv[4:]]\n"
        "runpy.run_module('bulk_eraser', run_name='__main__')\n"
    )
    ended = await desk.call(*told(service, source, "--json"), before=broken)
    ledger = desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["outcome"]) == (70, "error")
    assert "ValueError" in ended.json["error"]
    assert ledger.of("unknown")
    assert {line["error"] for line in ledger.of("unknown")} <= {"internal_error", "interrupted"}
    again = await desk.run(source, service)
    desk.reconcile(source, again, service)
    assert again.code == 0


async def test_a_plain_line_now_and_then(desk: Any, service: Any, keys: list[str]):
    """Without a terminal progress is a plain line from time to time, not a display."""
    never = asyncio.Event()
    service.answer = lambda call: never.wait() if call.n > 20 else None
    source = desk.csv(keys[:40])
    quick = (
        "import runpy\n"
        "from bulk_eraser.cli.terminal import display\n"
        "display.LINE_S = 0.05\n"
        "sys.argv = ['bulk-eraser', *sys.argv[4:]]\n"
        "runpy.run_module('bulk_eraser', run_name='__main__')\n"
    )
    running = await desk.start(*told(service, source), before=quick)
    await service.saw(21)
    shown = b""
    while b"20 of 40" not in shown:
        shown = await asyncio.wait_for(running.process.stderr.readline(), 20)
    running.signal(signal.SIGTERM)
    running.signal(signal.SIGINT)
    ended = await running.ended()
    assert ended.code in (130, 143)
    assert b"\x1b" not in shown

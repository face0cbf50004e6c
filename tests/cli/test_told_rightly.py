"""What could be told wrongly, or sent although it was not meant, and is neither."""

import asyncio
import json
import os
import re
from collections import Counter
from typing import Any

import pytest


async def test_a_hold_list_without_header_holds_its_first_key(desk: Any, service: Any):
    """A hold list whose first line is a key of the input is refused, not read as a header."""
    source = desk.csv(["anna", "berta", "carla"])
    hold = desk.folder / "hold.csv"
    hold.write_text("anna\nberta\n")
    for command in (("check", source, "--json"), ("run", source, "--base-url", service.origin)):
        ended = await desk.call(*command, "--exclude", hold, *(["--yes"] * (command[0] == "run")))
        assert ended.code == 65
        assert "first line of the hold list" in ended.err
    assert service.calls == []


async def test_a_hold_that_comes_too_late_is_told(desk: Any, service: Any, keys: list[str]):
    """Keys on hold that an earlier run has sent already are counted in a warning with their lines,
    and are not said to be unsent."""
    source = desk.csv(keys[:9])
    hold = desk.csv([keys[3], keys[8]], "hold.csv")
    first = await desk.run(source, service, "--limit", 5)
    second = await desk.run(source, service, "--exclude", hold)
    assert (first.code, second.code) == (75, 3)
    desk.reconcile(source, second, service, held=[keys[3], keys[8]])
    assert second.json["counts"]["held_too_late"] == 1
    assert "some rows need attention: 1 key came on hold too late." in second.err
    assert "Warning: 1 key on the hold list was sent in an earlier run (line 5)" in second.err
    assert service.per_key == Counter(keys[:8])


@pytest.mark.parametrize("quiet", [["--quiet"], []], ids=["quiet", ""])
async def test_who_is_asked_is_told_what_for(
    desk: Any, service: Any, keys: list[str], quiet: list[str]
):
    """Whatever else is quiet, the question comes with target, number, time and a warning."""
    source = desk.csv(keys[:7])
    terminal = await desk.on_terminal("run", source, "--base-url", service.origin, *quiet)
    await terminal.saw("confirm: ")
    for told in (f"Target {service.origin}, API v4", "7 keys will be sent", "cannot be undone"):
        assert told in terminal.shown
    terminal.type("\x03")
    assert (await terminal.ended()).code == 130
    assert "\r\nCancelled. Nothing was sent.\r\n" in terminal.shown
    assert service.calls == []


async def test_what_was_typed_before_the_question_is_no_answer(
    desk: Any, service: Any, keys: list[str]
):
    """A number that was typed before it was shown does not count as consent."""
    source = desk.csv(keys[:7])
    fifo = desk.folder / "fifo"
    os.mkfifo(fifo)
    terminal = await desk.on_terminal(
        *("run", fifo, "--format", "csv", "--ledger", "keys.ledger.ndjson"),
        *("--base-url", service.origin, "--rate", 0),
    )
    terminal.type("7\r")
    await asyncio.to_thread(fifo.write_bytes, source.path.read_bytes())
    await terminal.saw("confirm: ")
    terminal.type("8\r")
    ended = await terminal.ended()
    assert ended.code == 2
    assert service.calls == []


async def test_look_alikes_on_hold_are_not_said_to_be_sent(desk: Any, keys: list[str]):
    """Of two keys that look alike one may be on hold: neither is said to be sent."""
    source = desk.csv(["AB-1", "ab-1", *keys[:3]])
    hold = desk.csv(["AB-1"], "hold.csv")
    ended = await desk.call("check", source, "--exclude", hold)
    assert ended.code == 0
    assert "2  look_alike" in ended.out
    assert "each of them is sent" not in ended.out


@pytest.mark.parametrize("name", ["::error::x.csv", " ::add-mask::a.csv"])
async def test_a_name_cannot_begin_a_line_of_check(desk: Any, keys: list[str], name: str):
    """X6: what a CI system would take for a command never stands at the start of a line."""
    ended = await desk.call("check", desk.csv(keys[:3], name))
    assert ended.code == 0
    assert not re.search(r"^\s*::", ended.out + ended.err, re.MULTILINE)


@pytest.mark.parametrize("command", ["check", "run"])
async def test_json_holds_no_control_characters(
    desk: Any, service: Any, keys: list[str], command: str
):
    """X6: the object of --json can be shown on a terminal: C1 controls and marks of direction are
    escaped in it as well."""
    path = desk.folder / "a\x9b31m\u202e.csv"
    desk.may_hold_keys.add(path)
    path.write_text(f"b\x9b2J\u202e,note\n{keys[0]},x\n")
    options = ["--yes", "--base-url", service.origin] if command == "run" else []
    ended = await desk.call(command, path, "--json", *options)
    assert ended.code == 65
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", ended.out)
    assert "\x9b2J" in json.loads(ended.out)["error"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "customerKey,note\n{0};x\n{1};y\n"),
        ("b.csv", 'note,customerKey\n,{0}\n"5 inch,{1}\n6 inch",{2}\n'),
        ("c.csv", 'customerKey,note\nC-8,\nC-9,"5 inch\nC-10,x\nC-11,6 inch"\nC-12,x\n'),
        ("d.ndjson", '[\n{{"customerKey":"{0}"}},\n{{"customerKey":"{1}"}}\n]\n'),
    ],
    ids=["another delimiter", "two rows in a quote", "keys of several lengths", "JSON array"],
)
async def test_rows_that_cannot_be_told_apart(
    desk: Any, service: Any, keys: list[str], name: str, text: str
):
    """I5: a file whose rows are joined or taken apart in another way is refused as a whole."""
    source = desk.csv([], name)
    source.path.write_text(text.format(*keys))
    ended = await desk.run(source, service)
    assert ended.code == 65
    assert service.calls == []


async def test_a_header_in_the_middle_is_no_key(desk: Any, service: Any, keys: list[str]):
    """Files put one behind the other repeat header and byte order mark: never a customer key."""
    source = desk.csv([], "keys.csv")
    part = "\ufeffcustomerKey,{}\n{},x\n"
    source.path.write_text("".join(part.format(n, key) for n, key in enumerate(keys[:3])))
    source.rows = [(n, "" if n in (3, 5) else keys[n // 2 - 1]) for n in range(2, 7)]
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service)
    assert service.per_key == Counter(keys[:3])

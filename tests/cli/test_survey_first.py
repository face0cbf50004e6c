"""Everything is read, counted and told before the first request leaves."""

import asyncio
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which lets SIGINT be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def unread(fd: int) -> int:
    """How many bytes of a pipe nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


def is_idle(pid: int) -> bool:
    """Does the process wait for something, all of its threads?"""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all(
        (thread / "stat").read_text().rpartition(")")[2].split()[0] == "S" for thread in threads
    )


@pytest.mark.parametrize("way", ["stdin", "fifo"])
async def test_a_pipe_is_read_to_its_end_first(desk: Any, service: Any, keys: list[str], way: str):
    """I16: however slowly a pipe comes to its end, until then no request is seen, no ledger is
    begun, and no copy of it can be found in the temporary folder."""
    source = desk.csv(keys[:3000])
    content = source.path.read_bytes()
    options = ("--format", "csv", "--ledger", "keys.ledger.ndjson")
    if way == "stdin":
        ours, theirs = os.pipe()
        running = await desk.start_run("-", service, *options, stdin=ours)
    else:
        fifo = desk.folder / "fifo"
        os.mkfifo(fifo)
        running = await desk.start_run(fifo, service, *options)
        ours = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # so that we see what is unread
        theirs = os.open(fifo, os.O_WRONLY)
    there = set(desk.folder.iterdir())
    for start in range(0, len(content), 20_000):
        os.write(theirs, content[start : start + 20_000])
        looks = 0

        def waits_for_more() -> bool:
            nonlocal looks
            looks = looks + 1 if not unread(ours) and is_idle(running.pid) else 0
            return looks == 9

        await desk.until(waits_for_more)
        assert service.calls == []
        assert set(desk.folder.iterdir()) == there
    os.close(ours)
    os.close(theirs)
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0
    assert service.per_key == Counter(keys[:3000])


def mixed(desk: Any, keys: list[str]) -> tuple[Any, Path]:
    """1,300 rows with something of everything, and a hold list; 1,288 keys are left to send."""
    rows = list(keys[:1300])
    rows[3] = rows[4] = ""
    rows[8] = "a\x1bb"
    rows[20] = rows[21] = rows[22] = rows[2]
    rows[30] = f"\u00a0{rows[30]} "
    rows[40] = "anna@example.org"
    rows[41] = "berta@example.org"
    rows[50] = "#N/A"
    rows[61] = rows[60].upper()
    source = desk.csv(rows)
    source.rows = [(line, "" if "\x1b" in key else key.strip()) for line, key in source.rows]
    return source, desk.csv([*rows[100:106], keys[5000]], "hold.csv").path


TOLD = [
    "Input keys.csv: 1,300 rows, 1,294 different keys (csv, column customerKey, delimiter “,”, ",
    "3 rows rejected (not sent):",
    "2  empty_key: the key is empty or blank (lines 5 and 6)",
    "1  control_character: the key holds a control character, a NUL or a line break (line 10)",
    "3 duplicate rows: each key is sent once",
    "1 row with spaces around the key: sent without them",
    "6 keys on the hold list: not sent",
    "Warning: 1 key on the hold list hold.csv is not in this input",
    "Warning: 2 keys contain an @",
    "(lines 42 and 43)",
    "Warning: 1 key looks like NULL or #N/A",
    "(line 52)",
    "Warning: 2 keys differ from another only in upper and lower case or Unicode form",
    "(lines 62 and 63)",
    "keys.ledger.ndjson: new",
    "Target {origin}, API v3 ({origin}/api/admin/v3)",
    "At 40 requests a second, 1,288 keys will take at least 32 s.",
    "1,288 keys will be sent for removal. An erasure cannot be undone.",
]


@pytest.mark.parametrize("typed", ["1300\r", "1294\r", "\x04", "\x03"], ids=ascii)
async def test_all_is_told_before_it_is_asked(desk: Any, service: Any, keys: list[str], typed: str):
    """I15, I11, I10: a person at a terminal sees the exact target, count, duplicates, rejects,
    suspects and time at the rate, each in its place, before the question; the number of rows, that
    of different keys, EOF and Ctrl-C send nothing."""
    source, hold = mixed(desk, keys)
    before = set(desk.folder.iterdir())
    terminal = await desk.on_terminal(
        *("run", source, "--base-url", service.origin, "--api-version", "v3"),
        *("--rate", 40, "--exclude", hold, "--json"),
    )
    await terminal.saw("Type the number of keys (1288) to confirm: ")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).partition("Type the number")[0]
    told = [line.format(origin=service.origin) for line in TOLD]
    places = [shown.find(line) for line in told]
    assert -1 not in places, told[places.index(-1)]
    assert places == sorted(places)
    assert set(desk.folder.iterdir()) == before
    terminal.type(typed)
    ended = await terminal.ended()
    expected = (130, "interrupted") if typed == "\x03" else (2, "refused")
    assert (ended.code, ended.json["outcome"]) == expected
    assert ended.json["counts"]["accepted"] == ended.json["requests"] == 0
    assert service.calls == []
    assert set(desk.folder.iterdir()) == before


async def test_what_was_told_is_what_is_sent(desk: Any, service: Any, keys: list[str]):
    """The number that was shown, typed as it was shown, sends exactly so many keys: none that is
    held, rejected or a duplicate."""
    source, hold = mixed(desk, keys)
    terminal = await desk.on_terminal(
        *("run", source, "--base-url", service.origin),
        *("--rate", 0, "--exclude", hold, "--json"),
    )
    await terminal.saw("1,288 keys will be sent")
    await terminal.saw("to confirm: ")
    terminal.type("1,288\r")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service, held=keys[100:106])
    assert ended.code == 3
    assert len(service.calls) == 1288
    assert not set(keys[100:106]) & set(service.per_key)


async def test_a_log_tells_before_the_first_request(desk: Any, service: Any, keys: list[str]):
    """With --yes the same is in the log when the first request arrives, but for the reasons why
    rows are rejected: they stand once, at its end."""
    source, hold = mixed(desk, keys)
    log = desk.folder / "log.txt"
    told: list[str] = []
    service.answer = lambda call: told.append(log.read_text()) if call.n == 1 else None
    with log.open("wb") as stderr:
        ended = await desk.run(
            source, service, "--api-version", "v3", "--exclude", hold, "--limit", 9, stderr=stderr
        )
    assert ended.code == 75
    reasons = [line for line in TOLD if "_key: " in line or "_character: " in line]
    assert len(reasons) == 2
    expected = [line.format(origin=service.origin) for line in TOLD if "1,288" not in line]
    expected[1] = "3 rows rejected (not sent)\n"
    missing = [line for line in expected if line not in told[0]]
    assert missing == reasons
    assert [log.read_text().count(reason) for reason in reasons] == [1, 1]
    assert "9 keys will be sent for removal. An erasure cannot be undone." in told[0]


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""What a process needs counts from its fork on: its parent must be a small one."""


@pytest.mark.parametrize(
    ("few", "many"), [(1000, 150_000), pytest.param(600_000, 1_800_000, marks=pytest.mark.soak)]
)
async def test_the_memory_of_a_survey_is_flat(desk: Any, few: int, many: int):
    """P7: `check` of many more rows needs nowhere near as much more memory, and counts each of
    them."""

    def peak(rows: int) -> int:
        path = desk.folder / f"{rows}.csv"
        with path.open("w") as file:
            file.write("customerKey,note\n")
            file.writelines(f"{n:08x}-0b5e-4b1d-8bad-c0ffee{n:06x},x\n" for n in range(rows))
        ended = subprocess.run(
            [sys.executable, "-c", PEAK, sys.executable, "-m", "bulk_eraser", "check", str(path)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(desk.folder)},
            stdout=subprocess.PIPE,
            check=True,
        )
        path.unlink()
        printed, _, peak = ended.stdout.decode().rpartition("peak ")
        assert f"{rows:,}  different keys to send" in printed
        return int(peak)

    small, large = await asyncio.gather(asyncio.to_thread(peak, few), asyncio.to_thread(peak, many))
    print(f"\n{small:,} and {large:,} KiB")
    assert large < 1.5 * small

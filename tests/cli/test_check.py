"""`check` reads everything, tells what is there in numbers and lines, and leaves no trace."""

import asyncio
import gzip
import io
import json
import os
import re
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from backports import zstd

from bulk_eraser.records import ROW_ERRORS

HOSTILE = [
    "::error::owned",
    "**bold** | cell |",
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07\x1b[2J",
    "[link](http://evil.example)",
    "=cmd|'/c calc'!A1",
    "evil\u202ekey",
    "{braces} %s %d",
]


def of_csv(mark: str) -> dict[str, str]:
    """Word → a row of `note,customerKey,asked,ref` that is rejected with it."""
    return {
        "empty_key": "x, ,2024-05-01,r",
        "control_character": f"x,{mark}\x07,2024-05-01,r",
        "key_too_long": f"x,{mark}{'k' * 2048},2024-05-01,r",
        "field_too_long": f"{'n' * 131_073},{mark},2024-05-01,r",
        "line_too_long": f"{'n' * ((1 << 20) + 1)},{mark},2024-05-01,r",
        "malformed_csv": f'x,"{mark}"k,2024-05-01,r',
        "missing_field": "x",
        "too_many_fields": f"x,{mark},2024-05-01,r,more",
        "bad_received": f"x,{mark},2024-02-30,r",
        "bad_reference": f"x,{mark},2024-05-01,{'r' * 201}",
        "repeated_header": "note,customerKey,asked,ref",
    }


def of_ndjson(mark: str) -> dict[str, str]:
    """Word → a line that is rejected with it."""
    return {
        "malformed_json": f'{{"customerKey":"{mark}"',
        "wrong_type": '{"customerKey":7}',
        "missing_field": f'{{"key":"{mark}"}}',
        "duplicate_member": f'{{"customerKey":"{mark}","customerKey":"{mark}"}}',
        "lone_surrogate": f'{{"customerKey":"{mark}\\ud800"}}',
    }


def with_bad_rows(good: list[str], bad: dict[str, str], first_line: int) -> tuple[str, dict]:
    """Lines in which the nth kind of bad row stands n times, each with a good one behind it, and
    what is to be found of them."""
    lines: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    for times, (word, row) in enumerate(bad.items(), 1):
        places = []
        for _ in range(times):
            places.append(first_line + len(lines))
            lines += [row, good[len(lines) // 2]]
        found[word] = {"rows": times, "lines": places[:3]}
    return "\n".join(lines) + "\n", found


@pytest.fixture
def rejecting(desk: Any, keys: list[str]) -> list[tuple[Path, tuple[str, ...], dict[str, Any]]]:
    """Two inputs with every kind of bad row: file, options, and what is to be found."""
    mark = keys[5000]
    rows, of_rows = with_bad_rows([f"x,{key},2024-05-01,r" for key in keys], of_csv(mark), 2)
    options = ("--received-field", "asked", "--reference-field", "ref")
    objects = [json.dumps({"customerKey": key}) for key in keys]
    lines, of_lines = with_bad_rows(objects, of_ndjson(mark), 1)
    return [
        (desk.file("keys.csv", f"note,customerKey,asked,ref\n{rows}"), options, of_rows),
        (desk.file("keys.ndjson", lines), (), of_lines),
    ]


# ── what is found ───────────────────────────────────────────────────────────────────────────────


async def test_every_rejected_row_is_told_by_word_and_line(desk: Any, rejecting: Any):
    """Rows without a usable key are counted for each word of the list, with the first three lines
    of each; the rest goes on, and the exit code is 3."""
    words: set[str] = set()
    for path, options, expected in rejecting:
        ended = await desk.check(path, *options)
        found = ended.findings
        assert found["rejected"] == expected
        assert list(found["rejected"]) == sorted(expected, key=lambda word: -expected[word]["rows"])
        assert (ended.code, found["outcome"], found["error"]) == (3, "complete", None)
        bad = sum(word["rows"] for word in expected.values())
        assert found["counts"] == {
            "rows": 2 * bad,
            "keys": bad,
            "rejected": bad,
            "duplicate": 0,
            "excluded": 0,
            "stripped": 0,
        }
        words |= set(expected)
    assert words == set(ROW_ERRORS)


def listed(lines: list[int], count: int) -> str:
    """`2`, `2 and 3`, `2, 3 and 4`, or `2, 3, 4, …` where there are more."""
    text = ", ".join(map(str, lines))
    return f"{text}, …" if count > 3 else re.sub(r", (\d+)$", r" and \1", text)


async def test_the_table_says_the_same(desk: Any, rejecting: Any):
    """For people, stdout has a table with the same numbers and lines, and each word explained."""
    for path, options, expected in rejecting:
        ended = await desk.call("check", path, *options)
        assert ended.code == 3
        assert ended.err.startswith("Send it with: ")
        assert ended.err.count("\n") == 1
        told = {
            word: (int(count), lines)
            for count, word, lines in re.findall(
                r"^ +(\d+)  (\w+): .+ \(lines? ([\d, …and]+)\)$", ended.out, re.MULTILINE
            )
        }
        assert told == {
            word: (
                found["rows"],
                listed(found["lines"], found["rows"]),
            )
            for word, found in expected.items()
        }
        bad = sum(word["rows"] for word in expected.values())
        for text in (f"{2 * bad}  rows", f"{bad}  different keys", f"{bad}  rows rejected"):
            assert re.search(rf"^ +{text}\b", ended.out, re.MULTILINE)
        assert sha256(path.read_bytes()).hexdigest() in ended.out


async def test_the_run_that_is_proposed_names_its_target_once(desk: Any, keys: list[str]):
    """What was typed is repeated; only what is missing is to be filled in."""
    source = desk.csv(keys[:2])
    ended = await desk.call("check", source)
    assert ended.err.endswith("keys.csv --cluster-id ID --api-key-file FILE\n")
    ended = await desk.call("check", source, "--cluster-id", "w1234abcd")
    assert ended.err.endswith("keys.csv --cluster-id w1234abcd --api-key-file FILE\n")


async def test_every_odd_kind_of_key_is_told(desk: Any, keys: list[str]):
    """Keys like e-mail addresses, placeholders, keys that are no UUID among UUIDs, and keys that
    are equal but for case or Unicode form are counted, each once, with their first lines."""
    people = [f"{name}@example.com" for name in ("ann", "bob", "eve", "zoe")]
    odd = [*people, people[0], "NULL", "#n/a", "caf\u00e9", "cafe\u0301"]
    path = desk.csv([*keys[:10], keys[0].upper(), *odd]).path
    ended = await desk.check(path)
    assert ended.code == 0
    assert ended.findings["suspects"] == {
        "personal": {"keys": 4, "lines": [13, 14, 15]},
        "placeholder": {"keys": 2, "lines": [18, 19]},
        "not_uuid": {"keys": 8, "lines": [13, 14, 15]},
        "look_alike": {"keys": 4, "lines": [2, 12, 20]},
    }
    table = await desk.call("check", path)
    for word, number in (("personal", 4), ("placeholder", 2), ("not_uuid", 8), ("look_alike", 4)):
        assert re.search(rf"^ +{number}  {word}: ", table.out, re.MULTILINE)
    for printed in (ended.out + ended.err, table.out + table.err):
        assert not any(key in printed for key in odd if key != "NULL")


async def test_what_is_not_odd_is_not_told(desk: Any, keys: list[str]):
    """Where most keys are no UUIDs, that is how keys are there."""
    ended = await desk.check(desk.csv(["C-1", "C-2", "C-3", keys[0]]))
    assert ended.findings["suspects"] == {}


async def test_rounded_keys_refuse_but_are_told(desk: Any):
    """Keys that a spreadsheet has rounded are 65, with the lines; --allow numeric_like is 0. What
    else was found is told all the same."""
    path = desk.file("keys.csv", 'customerKey\n4711\n"4,01235E+15"\n4.01235E+15\n')
    refused = await desk.check(path)
    assert (refused.code, refused.findings["outcome"]) == (65, "refused")
    assert "lines 3 and 4" in refused.findings["error"]
    allowed = await desk.check(path, "--allow", "numeric_like")
    assert allowed.code == 0
    for ended in (refused, allowed):
        assert ended.findings["suspects"] == {"numeric_like": {"keys": 2, "lines": [3, 4]}}
        assert ended.findings["counts"]["keys"] == 3


async def test_counts_of_duplicates_blanks_and_holds(desk: Any, keys: list[str]):
    """Rows, different keys, duplicates, stripped blanks and keys on hold are counted, in the
    object and in the table."""
    rows = [*keys[:6], keys[0], keys[0], f" {keys[6]}", keys[7]]
    path = desk.csv(rows).path
    hold = desk.csv([keys[1], keys[7], keys[900]], "hold.csv").path
    ended = await desk.check(path, "--exclude", hold)
    assert ended.code == 0
    assert ended.findings["counts"] == {
        "rows": 10,
        "keys": 8,
        "rejected": 0,
        "duplicate": 2,
        "excluded": 2,
        "stripped": 1,
    }
    assert ended.findings["hold_list"] == {
        "name": "hold.csv",
        "sha256": sha256(hold.read_bytes()).hexdigest(),
        "keys": 3,
        "unknown": 1,
    }
    table = (await desk.call("check", path, "--exclude", hold)).out
    for text in ("10  rows$", "6  different keys to send", "2  different keys on the hold list"):
        assert re.search(rf"^ +{text}", table, re.MULTILINE)
    for text in ("2  duplicate rows", "1  row with spaces"):
        assert re.search(rf"^ +{text}", table, re.MULTILINE)


async def test_how_long_a_run_takes(desk: Any, keys: list[str]):
    """The time is that of the keys that are sent, at the rate that is asked for; none without."""
    source = desk.csv([*keys[:100], keys[0], ""])
    hold = desk.csv(keys[90:100], "hold.csv")
    expected = {
        (): (1.8, "50 requests a second, 90 keys will take at least 2 s."),
        ("--rate", "0.5"): (180.0, "0.5 requests a second, 90 keys will take at least 3 min."),
        ("--rate", "16.6667"): (5.4, "At 16.7 requests a second, 90 keys"),
        ("--rate", "0"): (None, None),
    }
    of_object = [desk.check(source, "--exclude", hold, *options) for options in expected]
    of_table = [desk.call("check", source, "--exclude", hold, *options) for options in expected]
    objects = await desk.together(*of_object)
    tables = await desk.together(*of_table)
    for ended, table, (seconds, told) in zip(objects, tables, expected.values(), strict=True):
        assert ended.findings["seconds_at_rate"] == seconds
        assert (told or "") in table.out
        assert ("requests a second" in table.out) == (told is not None)


# ── any file ────────────────────────────────────────────────────────────────────────────────────


def workbook(keys: list[str]) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in ["customerKey", *keys]:
        book.active.append([row])
    book.active.title = "Erase"
    book.save(content)
    return content.getvalue()


def plain(keys: list[str]) -> bytes:
    return "".join(f"{key},\n" for key in ["customerKey", *keys]).encode()


async def test_the_digest_is_that_of_the_file(desk: Any, keys: list[str]):
    """`sha256` and `bytes` are over the file as it is on disk, packed or not, as sha256sum tells;
    how it was read stands beside them."""
    text = plain(keys[:30])
    excel = b"\xef\xbb\xbfsep=;\r\n" + text.replace(b",\n", b";\r\n")
    expected: dict[str, tuple[bytes, dict[str, str]]] = {
        "k.csv.gz": (gzip.compress(text), {"format": "csv"}),
        "k.tsv.zst": (zstd.compress(text), {"delimiter": ","}),
        "k.xlsx": (workbook(keys[:30]), {"format": "xlsx", "sheet": "Erase"}),
        "a b.txt": (text.decode().encode("utf-16"), {"encoding": "utf-16"}),
        "k.csv": (excel, {"encoding": "utf-8-sig", "delimiter": ";"}),
    }
    paths = [desk.file(name, content) for name, (content, _) in expected.items()]
    endings = await desk.together(*map(desk.check, paths))
    for path, ended, (_, found) in zip(paths, endings, expected.values(), strict=True):
        facts = ended.findings["input"]
        assert ended.code == 0
        assert facts["sha256"] == sha256(path.read_bytes()).hexdigest()
        assert (facts["bytes"], facts["name"]) == (path.stat().st_size, path.name)
        assert (facts["rows"], facts["keys"], facts["key_field"]) == (30, 30, "customerKey")
        assert found.items() <= facts.items()


async def test_a_pipe_is_a_file(desk: Any, keys: list[str]):
    """Through stdin, a FIFO or a process substitution the findings are those of the file."""
    path = desk.csv([*keys[:3000], keys[0], ""]).path
    content = path.read_bytes()
    os.mkfifo(desk.folder / "pipe.csv")
    ours, theirs = os.pipe()
    running = [
        await desk.start_check(path),
        await desk.start_check("-", "--format", "csv", stdin=asyncio.subprocess.PIPE),
        await desk.start_check("pipe.csv"),
        await desk.start_check(f"/dev/fd/{ours}", "--format", "csv", pass_fds=(ours,)),
    ]
    os.close(ours)
    await asyncio.to_thread((desk.folder / "pipe.csv").write_bytes, content)
    await asyncio.to_thread(write_all, theirs, content)
    endings = [await one.ended(content if n == 1 else None) for n, one in enumerate(running)]
    found = [ended.findings for ended in endings]
    assert [ended.code for ended in endings] == [3] * 4
    names = [of_one["input"].pop("name") for of_one in found]
    assert names == ["keys.csv", "stdin", "pipe.csv", str(ours)]
    for of_one in found:
        del of_one["survey_s"]
        assert of_one.pop("next")[3] == "run"
        assert of_one == found[0]


def write_all(fd: int, content: bytes) -> None:
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(content)


# ── without a trace ─────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_sent_and_nothing_is_written(desk: Any, service: Any, keys: list[str]):
    """No request, no ledger, no other file, and neither API key nor target are needed; with both
    in the environment it is the same."""
    path = desk.csv([*keys[:500], *keys[:100]]).path
    before = desk.everything()
    both = {"ELEVATE_BASE_URL": service.origin, "ELEVATE_API_KEY": "x"}
    endings = await desk.together(
        desk.call("check", path, without_api_key=True),
        desk.call("check", path, "--json", without_api_key=True),
        desk.call("check", path, env=both),
    )
    assert [ended.code for ended in endings] == [0, 0, 0]
    assert desk.everything() == before
    assert service.calls == []


async def test_a_header_that_is_assumed_is_told(desk: Any):
    """Where the first line is a column's name only by its place, check and run say so."""
    source = desk.file("keys.csv", "alice\nbob\ncarol\n")
    for command in ("check", "run"):
        options = () if command == "check" else ("--dry-run", "--cluster-id", "acme")
        ended = await desk.call(command, source, *options)
        assert "name of the only column (alice)" in ended.out + ended.err
        assert "--no-header" in ended.out + ended.err
        named = await desk.call(command, source, "--key-field", "alice", *options)
        assert "only column" not in named.out + named.err


async def test_a_kill_leaves_nothing_behind(desk: Any, keys: list[str]):
    """Killed while it copies a pipe, no copy of the keys is left in the temporary folder."""
    running = await desk.start_check("-", "--format", "csv", stdin=asyncio.subprocess.PIPE)
    await fill(running, keys)
    running.signal(signal.SIGKILL)
    assert (await running.ended()).code == -signal.SIGKILL
    assert list(desk.folder.iterdir()) == []


async def fill(running: Any, keys: list[str]) -> None:
    """Return once the command reads its stdin, which goes on."""
    pipe = running.process.stdin
    for _ in range(10):  # more than the pipe and the buffers before it hold
        pipe.write(plain(keys))
    await pipe.drain()


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["INT", "TERM", "HUP"],
)
async def test_a_signal_while_a_pipe_is_copied(desk: Any, keys: list[str], signum: int, code: int):
    """A signal while the input comes in ends at once with 130 or 143 and one object; there is no
    plan and no other file."""
    options = ("-", "--format", "csv", "--plan", "plan.json", "--cluster-id", "acme")
    running = await desk.start_check(*options, stdin=asyncio.subprocess.PIPE)
    await fill(running, keys)
    running.signal(signum)
    ended = await running.ended()
    assert (ended.code, ended.findings["outcome"]) == (code, "interrupted")
    assert list(desk.folder.iterdir()) == []


@pytest.mark.parametrize("how", ["typed", "TERM"])
async def test_a_signal_while_the_rows_are_read(desk: Any, keys: list[str], how: str):
    """Ctrl-C or SIGTERM in the middle of a long file: 130 or 143, an older plan stays as it was,
    no other file."""
    path = desk.file("keys.csv", "customerKey\n" + "\n".join(keys * 120))
    plan = desk.plan(desk.csv(keys[:3], "old.csv"), "acme")
    before = desk.everything()
    options = ("--plan", plan, "--cluster-id", "acme", "--json")
    terminal = await desk.on_terminal("check", path, *options)
    await terminal.saw("Reading the input: 100,000 rows")
    if how == "typed":
        terminal.type("\x03")
    else:
        terminal.running.signal(signal.SIGTERM)
    ended = await terminal.ended()
    assert (ended.code, ended.findings["outcome"]) == (
        130 if how == "typed" else 143,
        "interrupted",
    )
    assert ended.findings["counts"] == {}
    assert desk.everything() == before


@pytest.mark.parametrize("format_", ["csv", "ndjson"])
async def test_hostile_keys_appear_nowhere(desk: Any, keys: list[str], format_: str):
    """No key, however it is made, and no control character of one reaches stdout, stderr or the
    plan; nor does one of the file's name."""
    evil = [f"{key}{text}" for key, text in zip(keys, HOSTILE * 3, strict=False)]
    name = f"a\x1b[31m::error::b.{format_}"
    make = desk.csv if format_ == "csv" else desk.ndjson
    source = make([*HOSTILE, *evil, *(key.upper() for key in evil), HOSTILE[0], "x@y"], name)
    hold = make([evil[0], f"{keys[99]}{HOSTILE[2]}"], f"hold.{format_}")
    options = ("--exclude", hold, "--plan", "plan.json", "--cluster-id", "acme")
    as_json, as_table = await desk.together(
        desk.check(source, *options), desk.call("check", source, *options)
    )
    assert (as_json.code, as_table.code) == (3, 3)
    assert as_json.findings["suspects"]["look_alike"]["keys"] > 30
    plan = (desk.folder / "plan.json").read_text()
    for text in (as_json.out, as_json.err, as_table.out, as_table.err, plan):
        assert not any(payload in text for payload in HOSTILE)
        assert all(char.isprintable() or char == "\n" for char in text)
        assert not re.search(r"^::", text, re.MULTILINE)


# ── refused ─────────────────────────────────────────────────────────────────────────────────────


async def test_wrong_options_are_refused(desk: Any, keys: list[str]):
    """What makes no sense is 2, with one object on stdout, a reason, and no file written."""
    wrong = [
        ("--delimiter", "ab"),
        ("--encoding", "klingon"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--exclude", ""),
        ("--key-field", ""),
        ("--plan", "plan.json"),
        ("--plan", "", "--cluster-id", "acme"),
        ("--plan", "plan.json", "--cluster-id", "a.b"),
        ("--plan", "plan.json", "--cluster-id", "acme", "--author", "J\udcf6rg"),
    ]
    path = desk.csv(keys[:3]).path
    before = desk.everything()
    endings = await desk.together(*(desk.check(path, *options) for options in wrong))
    ended_so = [(ended.code, ended.findings["outcome"]) for ended in endings]
    assert dict(zip(wrong, ended_so, strict=True)) == dict.fromkeys(wrong, (2, "refused"))
    assert all(ended.findings["error"] in ended.err for ended in endings)
    assert desk.everything() == before


async def test_a_command_that_cannot_be_parsed(desk: Any, keys: list[str]):
    """An unknown option, or one that only `run` has, is 2, with one object on stdout."""
    unknown = ("--plna", "--yes")
    path = desk.csv(keys[:3]).path
    calls = (desk.call("check", path, "--json", option) for option in unknown)
    for option, ended in zip(unknown, await desk.together(*calls), strict=True):
        assert ended.code == 2
        assert json.loads(ended.out)["outcome"] == "refused"
        assert option in json.loads(ended.out)["error"]


async def test_an_unusable_input_is_refused(desk: Any, keys: list[str]):
    """What cannot be read as a whole is 65, with the reason and the line, one object on stdout;
    no plan is written and an older one stays."""
    unusable = {
        "latin.csv": (b"customerKey\nk1\nk\xfc2\n", "line 3"),
        "quote.csv": (b'customerKey,n\nk-111,"open\nk-222,x\nk-333,x\n', "line 2"),
        "column.csv": (b"id,name\nk1,x\n", "id, name"),
        "keyless.csv": (b"customerKey,n\n,x\n,y\n", "empty_key (2)"),
        "cut.csv.gz": (gzip.compress(b"customerKey\nk1\nk2\n")[:-4], "truncated"),
        "typed.ndjson": (b'{"customerKey":7}\n', "wrong_type (1)"),
    }
    plan = desk.plan(desk.csv(keys[:3]), "acme")
    for name, (content, _) in unusable.items():
        desk.file(name, content)
    before = desk.everything()
    options = ("--plan", plan, "--cluster-id", "acme")
    names = [*unusable, "absent.csv"]
    endings = await desk.together(*(desk.check(name, *options) for name in names))
    reasons = [*(told for _, told in unusable.values()), "cannot be read"]
    for told, ended in zip(reasons, endings, strict=True):
        found = ended.findings
        assert (ended.code, found["outcome"], found["plan"]) == (65, "refused", None)
        assert told in found["error"]
        assert found["error"] in ended.err
    assert desk.everything() == before

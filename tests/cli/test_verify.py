"""`verify`: the chain, the runs, every row of the input; 0, 3 or 79, and nothing is changed."""

import asyncio
import csv
import json
import os
import shutil
import signal
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.cli.conftest import rechained

LEDGER = "keys.ledger.ndjson"


async def verify(desk: Any, *arguments: object, **more: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object; whatever it finds, nothing is changed."""
    before = desk.everything()
    ended = await desk.call("verify", *arguments, "--json", **more)
    assert ended.out.count("\n") == 1
    found = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    assert (found["error"] is None) == (ended.code in (0, 3))
    assert desk.everything() == before
    return ended.code, found


async def test_a_whole_run_holds(desk: Any, service: Any, keys: list[str]):
    """Every row of a finished run is accounted for, without a word about how the file is read; the
    run is told as it was, and the head is the one that `run` printed."""
    source = desk.csv([*keys[:40], keys[3], "", keys[4]])
    options = ("--requester", "Ada", "--reference", "T-1")
    ran = await desk.run(source, service, *options)
    code, found = await verify(desk, LEDGER, "--input", source, "--expect-head", ran.json["head"])
    assert (code, found["outcome"], found["unaccounted"], found["extra"]) == (0, "complete", 0, 0)
    states = {state: count for state, count in found["states"].items() if count}
    assert states == {"in_progress": 40, "duplicate": 2, "rejected": 1}
    (ledger,) = found["ledgers"]
    assert (ledger["head"], ledger["tail_bytes"], ledger["damage"]) == (ran.json["head"], 0, None)
    raw = desk.ledger().raw
    assert (ledger["lines"], ledger["bytes"]) == (raw.count(b"\n"), len(raw))
    assert ledger["commits"] == raw.count(b'{"type":"commit"')
    (run,) = ledger["runs"]
    assert (run["requester"], run["reference"], run["conserved"]) == ("Ada", "T-1", True)
    assert (run["outcome"], run["counts"]) == ("complete", ran.json["counts"])
    kept = found["expected_heads"][ran.json["head"]]
    assert (kept["commit"], kept["commits_after"]) == (ledger["commits"], 0)


async def test_some_options_of_the_reading_are_as_good_as_all(
    desk: Any, service: Any, keys: list[str]
):
    """Whoever repeats some of how the run read the file need not repeat the rest: the rows that it
    rejected are known. What says otherwise is another reading, in which they are not."""
    source = desk.file("keys.csv", f"customerKey,ticket,day\n{keys[0]},T-1,2026-11-02\n,T-2,\n")
    await desk.run(source, service, "--reference-field", "ticket", "--received-field", "day")
    for given in ((), ("--received-field", "day"), ("--delimiter", ",", "--format", "csv")):
        code, found = await verify(desk, LEDGER, "--input", source, *given)
        assert (code, found["unaccounted"]) == (0, 0)
    code, found = await verify(desk, LEDGER, "--input", source, "--reference-field", "day")
    assert (code, found["unaccounted"]) == (3, 1)


async def test_it_is_told_to_people(desk: Any, service: Any, keys: list[str]):
    """Without --json the findings are lines on stdout, the verdict is the last on stderr."""
    source = desk.csv(keys[:5])
    ran = await desk.run(source, service, "--limit", 3, "--requester", "Ada")
    ended = await desk.call("verify", LEDGER, "--input", source, "--expect-head", ran.json["head"])
    assert ended.code == 3
    for words in ("intact", ran.json["head"], "requester Ada", "3 accepted", "not finished (75)"):
        assert words in ended.out
    assert "2 rows unaccounted for (lines 5 and 6)" in ended.out
    assert "nothing follows it" in ended.out
    verdict = (
        "Not verified: 2 rows unaccounted for. Erased so far: 0 of 5 keys to be erased. "
        "Not erased: 3 in progress, 2 not reached.\n"
    )
    assert ended.err.endswith(verdict)
    await desk.run(source, service)
    ended = await desk.call("verify", LEDGER, "--input", source, "--expect-head", ran.json["head"])
    assert ended.code == 0
    assert ended.err.startswith("Verified: the chain is intact, and every row")
    assert "after it" in ended.out


async def test_every_state_of_a_row(desk: Any, service: Any, keys: list[str]):
    """Refused, unknown, held, rejected and duplicate rows are accounted for as what they are; the
    table has each row, and no key that a spreadsheet would run."""
    service.answer = lambda call: {keys[1]: 400, keys[2]: 500}.get(call.key)
    source = desk.csv([*keys[:4], keys[0], "", "=1+1", "@SUM"])
    hold = desk.csv([keys[3]], "hold.csv")
    ran = await desk.run(source, service, "--exclude", hold, "--max-attempts", 2)
    assert ran.code == 3
    table = desk.folder / "rows.csv"
    desk.may_hold_keys.add(table)
    ended = await desk.call("verify", LEDGER, "--input", source, "--rows", table, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["unaccounted"]) == (0, 0)
    assert found["states"] == {
        "erased": 0,
        "in_progress": 3,
        "job_failed": 0,
        "refused": 1,
        "failed": 0,
        "unknown": 1,
        "excluded": 1,
        "rejected": 1,
        "duplicate": 1,
        "sent": 0,
        "not_reached": 0,
    }
    assert table.stat().st_mode & 0o777 == 0o600
    rows = list(csv.reader(table.read_text().splitlines()))
    states = [
        "in_progress",
        "refused",
        "unknown",
        "excluded",
        "duplicate",
        "rejected",
        *["in_progress"] * 2,
    ]
    shown = [*keys[:4], keys[0], "", "'=1+1", "'@SUM"]
    lines = map(str, range(2, 10))
    assert rows[0][:3] == ["line", "key", "state"]
    assert [row[:3] for row in rows[1:]] == [
        list(cells) for cells in zip(lines, shown, states, strict=True)
    ]
    assert [row[3] for row in rows[1:]] == [
        "",
        "http_400",
        "http_500",
        *[""] * 2,
        "empty_key",
        "",
        "",
    ]
    again = await desk.call("verify", LEDGER, "--input", source, "--rows", table)
    assert (again.code, "already exists" in again.err) == (2, True)


OTHER = "other.ledger.ndjson"
COLUMNS = [
    *("line", "key", "state", "error", "reference"),
    *("received", "jid", "accepted_at", "job_status", "due", "hold_reason"),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    head, *rows = csv.reader(path.read_text().splitlines())
    assert head == COLUMNS
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.parametrize("names", [(LEDGER, OTHER), (OTHER, LEDGER)])
async def test_the_table_tells_all_of_a_row(
    desk: Any, service: Any, keys: list[str], names: tuple[str, str]
):
    """Job, times, status and deadline are those of the key's last job, also where its key was sent
    by two ledgers; of an error its word; of a row that was sent again and refused no old job."""
    people = [f"{key},T-{n},2026-10-{n + 1:02d}" for n, key in enumerate(keys[:5])]
    source = desk.file("keys.csv", "\n".join(["customerKey,ticket,asked", *people, ""]))
    fields = ("--reference-field", "ticket", "--received-field", "asked")
    service.answer = lambda call: 400 if call.key == keys[1] else None
    await desk.run(source, service, *fields)
    old = service.jids[keys[2]][0], service.jids[keys[3]][0]
    service.status = lambda jid: "error" if jid in old else "working"
    await desk.call("follow", LEDGER, "--now")
    service.answer = lambda call: 422 if call.key == keys[3] else None
    await desk.run(source, service, *fields, "--retry-failed")
    service.status = lambda jid: "done"
    await desk.call("follow", LEDGER, "--now")
    other = desk.csv(keys[:1], "other.csv")  # the first ledger has told its end
    await desk.run(other, service)
    table = desk.folder / "rows.csv"
    desk.may_hold_keys.add(table)
    await desk.call("verify", *names, "--input", source, *fields, "--rows", table)
    rows = rows_of(table)
    accepted = {line["jid"]: line["at"] for line in desk.ledger().of("accepted")}
    for n, (row, key) in enumerate(zip(rows, keys, strict=False)):
        assert (row["key"], row["reference"]) == (key, f"T-{n}")
        assert (row["received"], row["due"]) == (f"2026-10-{n + 1:02d}", f"2026-11-{n + 1:02d}")
        if n == 3:
            assert (row["state"], row["error"], row["jid"]) == ("refused", "http_422", "")
        else:
            assert (row["state"], row["job_status"], row["error"]) == ("erased", "done", "")
            jid = service.jids[key][0 if n == 0 else -1]
            assert (row["jid"], row["accepted_at"]) == (jid, accepted[jid])


async def test_a_row_without_a_date_is_due_a_month_after_its_run(
    desk: Any, service: Any, keys: list[str]
):
    """As `follow` counts it; a row that was not sent has neither job nor day."""
    source = desk.csv(keys[:2])
    await desk.run(source, service, "--limit", 1)
    started = date.fromisoformat(desk.ledger().of("run_started")[0]["at"][:10])
    table = desk.folder / "rows.csv"
    desk.may_hold_keys.add(table)
    await desk.call("verify", LEDGER, "--input", source, "--rows", table)
    sent, left = rows_of(table)
    assert 28 <= (date.fromisoformat(sent["due"]) - started).days <= 31
    assert (sent["state"], sent["job_status"], sent["jid"]) == (
        "in_progress",
        "",
        service.jids[keys[0]][0],
    )
    assert left == dict.fromkeys(COLUMNS, "") | {
        "line": "3",
        "key": keys[1],
        "state": "not_reached",
    }


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("a;=1+1", "a;'=1+1"),
        ("a; +1", "a;' +1"),
        ('a;"=1+1"', 'a;\'"=1+1"'),
        ("=1;-2", "'=1;'-2"),
        ("a;b=1", "a;b=1"),
    ],
)
async def test_no_cell_is_a_formula_whatever_separates_them(
    desk: Any, service: Any, keys: list[str], key: str, shown: str
):
    """A spreadsheet that splits at `;`, too, finds no formula behind it."""
    source = desk.ndjson([*keys[:3], key])
    await desk.run(source, service)
    table = desk.folder / "rows.csv"
    desk.may_hold_keys.add(table)
    await desk.call("verify", LEDGER, "--input", source, "--rows", table)
    assert rows_of(table)[-1]["key"] == shown


async def test_a_killed_run_is_not_accounted_for(desk: Any, service: Any, keys: list[str]):
    """Keys whose request may have left, without an outcome, and those that were never begun are
    unaccounted for until the run was continued; a second ledger does not hide it."""
    service.answer = lambda call: asyncio.sleep(99) if call.n > 20 else None
    source = desk.csv(keys[:400])
    running = await desk.start_run(source, service, "--concurrency", 4)
    await service.saw(24)
    running.signal(signal.SIGKILL)
    await running.ended()
    code, found = await verify(desk, LEDGER, "--input", source)
    states = found["states"]
    assert code == 3
    assert states["sent"] >= 4
    assert states["not_reached"] > 300
    assert states["in_progress"] + states["sent"] + states["not_reached"] == 400
    assert found["unaccounted"] == states["sent"] + states["not_reached"]
    assert found["ledgers"][0]["runs"][0]["outcome"] is None
    service.answer = lambda call: None
    await desk.run(source, service)
    code, found = await verify(desk, LEDGER, "--input", source)
    assert (code, found["states"]["in_progress"]) == (0, 400)


async def test_what_the_input_lacks_is_extra(desk: Any, service: Any, keys: list[str]):
    """Keys in the ledger that the input does not have are counted and named by their line there."""
    await desk.run(desk.csv(keys[:6]), service)
    part = desk.csv(keys[2:5], "part.csv")
    code, found = await verify(desk, LEDGER, "--input", part)
    assert (code, found["states"]["in_progress"], found["extra"]) == (0, 3, 3)
    lines = desk.ledger().raw.splitlines()
    named = {json.loads(lines[place["line"] - 1])["key"] for place in found["extra_lines"]}
    assert named == {keys[0], keys[1], keys[5]}
    other = desk.csv(keys[10:14], "other.csv")
    code, found = await verify(desk, LEDGER, "--input", other)
    assert (code, found["states"]["not_reached"], found["extra"]) == (3, 4, 6)
    assert found["unaccounted_lines"] == [2, 3, 4, 5]


async def test_a_rejected_row_must_be_on_record(desk: Any, service: Any, keys: list[str]):
    """A row without a usable key is accounted for by the run that read this very file, not by one
    that read another."""
    await desk.run(desk.csv(keys[:3]), service)
    longer = desk.csv([*keys[:3], "", ""], "longer.csv")
    code, found = await verify(desk, LEDGER, "--input", longer)
    assert (code, found["unaccounted"], found["unaccounted_lines"]) == (3, 2, [5, 6])
    await desk.run(longer, service, "--ledger", LEDGER)
    code, found = await verify(desk, LEDGER, "--input", longer)
    assert (code, found["unaccounted"]) == (0, 0)


@pytest.mark.parametrize("how", ["torn", "zeros", "half a group"])
async def test_a_tail_is_no_damage(desk: Any, service: Any, keys: list[str], how: str):
    """What a crash leaves behind the last commit is 3, and its size is told."""
    await desk.run(desk.csv(keys[:9]), service)
    path = desk.folder / LEDGER
    whole = path.read_bytes()
    tail = {"torn": b'{"type":"se', "zeros": bytes(5000), "half a group": whole[:300]}[how]
    path.write_bytes(whole + tail)
    code, found = await verify(desk, LEDGER)
    assert (code, found["ledgers"][0]["tail_bytes"]) == (3, len(tail))
    assert found["ledgers"][0]["bytes"] == len(whole)


@pytest.mark.parametrize("damage", ["edit", "remove", "swap", "insert", "commit"])
async def test_damage_is_79_and_named(desk: Any, service: Any, keys: list[str], damage: str):
    """A changed line is 79, and the last intact commit before it is named by number and line."""
    await desk.run(desk.csv(keys[:200]), service, "--concurrency", 2)
    path = desk.folder / LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    commits = [n for n, line in enumerate(lines) if line.startswith(b'{"type":"commit"')]
    begin = commits[3] + 1
    if damage == "edit":
        lines[begin] = lines[begin].replace(b"c0ffee", b"c0ffef")
    elif damage == "remove":
        del lines[begin]
    elif damage == "swap":
        lines[begin], lines[commits[4] + 1] = lines[commits[4] + 1], lines[begin]
    elif damage == "insert":
        lines.insert(begin, lines[begin])
    else:
        lines[commits[4]] = lines[commits[4]].replace(b'"lines":', b'"lines":1')
    path.write_bytes(b"".join(lines))
    code, found = await verify(desk, LEDGER)
    assert (code, found["outcome"]) == (79, "refused")
    assert f"after commit 4 ({found['ledgers'][0]['head'][:12]}…, line {begin})" in found["error"]
    assert found["ledgers"][0]["commits"] == 4


async def test_a_ledger_cut_at_a_commit_needs_its_head(desk: Any, service: Any, keys: list[str]):
    """Cut off behind a commit, the chain holds, and only the head that was kept shows it: 79. An
    earlier head is a commit of it, and what follows is counted."""
    ran = await desk.run(desk.csv(keys[:200]), service)
    path = desk.folder / LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    commits = [n for n, line in enumerate(lines) if line.startswith(b'{"type":"commit"')]
    path.write_bytes(b"".join(lines[: commits[-2] + 1]))
    assert (await verify(desk, LEDGER))[0] == 0
    code, found = await verify(desk, LEDGER, "--expect-head", ran.json["head"])
    assert (code, found["expected_heads"]) == (79, {ran.json["head"]: None})
    early = json.loads(lines[commits[1]])["sha256"]
    code, found = await verify(desk, LEDGER, "--expect-head", early.upper())
    kept = found["expected_heads"][early]
    assert (code, kept["commit"], kept["commits_after"]) == (0, 2, len(commits) - 3)
    assert kept["lines_after"] == commits[-2] - commits[1]


async def test_several_ledgers_account_together(desk: Any, service: Any, keys: list[str]):
    """The shards of an input account for it together; a key that two of them accepted is found."""
    whole = desk.csv(keys[:30], "whole.csv")
    for name, part in (("a", keys[:15]), ("b", keys[15:30])):
        await desk.run(desk.csv(part, f"{name}.csv"), service)
    both = ("a.ledger.ndjson", "b.ledger.ndjson")
    code, found = await verify(desk, *both, "--input", whole)
    assert (code, found["states"]["in_progress"], found["findings"]) == (0, 30, {})
    assert (await verify(desk, both[0], "--input", whole))[0] == 3
    await desk.run(desk.csv([keys[0], keys[20]], "c.csv"), service)
    code, found = await verify(desk, *both, "c.ledger.ndjson", "--input", whole)
    assert (code, found["findings"]["key_with_several_jids"]["count"]) == (3, 2)
    assert found["states"]["in_progress"] == 30


async def test_one_jid_for_two_keys_is_found(desk: Any, service: Any, keys: list[str]):
    """A ledger in which two keys have one jid shows one job: 3, with the line that repeats."""
    source = desk.csv(keys[:5])
    assert (await desk.run(source, service, "--concurrency", 1)).code == 0
    path = desk.folder / LEDGER
    one_job = {key: {"jid": "the-same"} for key in keys[:2]}
    path.write_bytes(
        rechained(
            path.read_bytes(),
            lambda line: (
                line | one_job[line["key"]]
                if line["type"] == "accepted" and line["key"] in one_job
                else line
            ),
        )
    )
    code, found = await verify(desk, LEDGER, "--input", source)
    assert (code, found["findings"]["jid_of_several_keys"]["count"]) == (3, 1)
    (place,) = found["findings"]["jid_of_several_keys"]["lines"]
    assert b'"jid":"the-same"' in desk.ledger().raw.splitlines()[place["line"] - 1]


async def test_what_cannot_be_verified_is_refused(desk: Any, service: Any, keys: list[str]):
    """No file, a folder, no digest, a table without an input: 2; another file: 79; none: 3."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    (desk.folder / "empty").write_bytes(b"")
    shutil.copy(desk.folder / LEDGER, desk.folder / "copy.ledger.ndjson")
    cases = [
        (2, ("absent",)),
        (2, (desk.folder,)),
        (2, (LEDGER, "--expect-head", "12ab")),
        (2, (LEDGER, "--rows", "rows.csv")),
        (65, (LEDGER, "--input", "absent.csv")),
        (79, (source,)),
        (79, (LEDGER, source)),
        (3, ("empty",)),
        (0, (LEDGER, "copy.ledger.ndjson")),
    ]
    for expected, arguments in cases:
        code, found = await verify(desk, *arguments)
        assert code == expected, arguments
        if expected == 2:
            assert found["outcome"] == "refused"
    assert found["findings"] == {}


async def test_a_rehearsal_is_no_erasure(desk: Any, service: Any, keys: list[str]):
    """A rehearsal accounts for nothing: 3, and it says so; beside a real ledger, or one of another
    target, it is refused for one input (78)."""
    source = desk.csv(keys[:8])
    await desk.run(source, service, "--rehearse")
    await desk.run(source, service, "--limit", 3)
    code, found = await verify(desk, "keys.rehearsal.ndjson", "--input", source)
    assert (code, found["rehearsal"]) == (3, True)
    ended = await desk.call("verify", "keys.rehearsal.ndjson", "--input", source)
    assert "nothing was erased" in ended.err
    code, found = await verify(desk, LEDGER, "keys.rehearsal.ndjson", "--input", source)
    assert (code, "different targets" in found["error"]) == (78, True)
    assert (await verify(desk, "keys.rehearsal.ndjson"))[0] == 0


async def test_a_key_that_was_held_too_late_is_told_as_sent(
    desk: Any, service: Any, keys: list[str]
):
    """A key whose request may have left before it came onto the hold list is not “not sent”."""
    source = desk.csv(keys[:3])
    service.answer = lambda call: asyncio.sleep(99) if call.key == keys[1] else None
    running = await desk.start_run(source, service)
    await desk.until(lambda: desk.ledger_size() and len(service.calls) == 3)
    running.signal(signal.SIGKILL)
    await running.ended()
    service.answer = lambda call: None
    hold = desk.csv([keys[1]], "hold.csv")
    await desk.run(source, service, "--exclude", hold)
    code, found = await verify(desk, LEDGER, "--input", source)
    assert (code, found["states"]["sent"], found["states"]["excluded"]) == (3, 1, 0)
    assert found["unaccounted_lines"] == [3]


async def test_the_order_of_ledgers_changes_nothing(desk: Any, service: Any, keys: list[str]):
    """Where several name a key that none accepted, what is least certain is told."""
    source = desk.csv(keys[:2])
    service.answer = lambda call: 400
    await desk.run(source, service, "--ledger", "failed.ledger.ndjson")
    hold = desk.csv(keys[:2], "hold.csv")
    await desk.run(source, service, "--ledger", "held.ledger.ndjson", "--exclude", hold)
    both = ("failed.ledger.ndjson", "held.ledger.ndjson")
    for ledgers in (both, both[::-1]):
        code, found = await verify(desk, *ledgers, "--input", source)
        assert (code, found["states"]["refused"]) == (0, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line | ({"counts": {}} if line["type"] == "run_finished" else {}),
        lambda line: line | ({"attempts": -1} if line["type"] == "accepted" else {}),
        lambda line: line | ({"attempts": 0} if line["type"] == "accepted" else {}),
        lambda line: line | ({"format": 99} if line["type"] == "run_started" else {}),
        lambda line: line | ({"settings": 7} if line["type"] == "run_started" else {}),
        lambda line: line | ({"key": 7} if line["type"] == "accepted" else {}),
    ],
    ids=["counts", "attempts", "no attempt", "format", "settings", "key"],
)
async def test_a_forged_line_is_79(desk: Any, service: Any, keys: list[str], change: Any):
    """Lines that no run writes, under a chain made anew, fail verification; none is a bug."""
    await desk.run(desk.csv(keys[:4]), service)
    path = desk.folder / LEDGER
    path.write_bytes(rechained(path.read_bytes(), change))
    code, found = await verify(desk, LEDGER)
    assert (code, found["outcome"]) == (79, "refused")


async def test_an_input_from_a_pipe(desk: Any, service: Any, keys: list[str]):
    """A FIFO is read once, as it is named; a ledger that is one is refused."""
    source = desk.csv(keys[:5])
    await desk.run(source, service)
    fifo = desk.folder / "fifo"
    os.mkfifo(fifo)
    running = await desk.start("verify", LEDGER, "--input", fifo, "--format", "csv", "--json")
    await asyncio.to_thread(fifo.write_bytes, source.path.read_bytes())
    ended = await running.ended()
    assert (ended.code, json.loads(ended.out)["states"]["in_progress"]) == (0, 5)
    assert (await desk.call("verify", fifo)).code == 2
    assert (await desk.run(source, service, "--receipt", fifo)).code == 2


async def test_a_full_temporary_folder_is_74(desk: Any, service: Any, keys: list[str]):
    """What is wrong is said: not a word about the ledger being in order, or out of it."""
    await desk.run(desk.csv(keys[:5]), service)
    limit = (
        "from bulk_eraser import key_partitions as p; p.MEMORY_ALLOWANCE = 64; "
        "p.KeyPartitions.__init__.__defaults__ = (64,); import bulk_eraser.cli.app as a, tempfile; "
        "tempfile.TemporaryFile = lambda: open('/dev/full', 'wb', 0); "
        "sys.argv = ['bulk-eraser', *sys.argv[4:]]; a.main()"
    )
    ended = await desk.call("verify", LEDGER, before=limit)
    assert ended.code == 74
    assert "temporary folder" in ended.err


# ── one sheet of several ────────────────────────────────────────────────────────────────────────


async def test_each_sheet_has_a_ledger(desk: Any, service: Any, keys: list[str]):
    """The default ledger of one sheet of several has the sheet's name, as far as it can stand in
    the name of a file; `verify` names the sheet that it read and those that it did not. A workbook
    with one sheet keeps the plain name."""
    sheets = {"May": keys[:3], "June: <all>/2": keys[3:5]}
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, part in sheets.items():
        sheet = book.create_sheet("x")
        sheet.title = "".join(char for char in title if char not in ":/")
        for row in ["customerKey", *part]:
            sheet.append([row])
    book.save(desk.folder / "book.xlsx")
    single = openpyxl.Workbook()
    single.active.title = "Keys"
    for row in ["customerKey", *keys[5:7]]:
        single.active.append([row])
    single.save(desk.folder / "one.xlsx")
    desk.may_hold_keys |= {desk.folder / "book.xlsx", desk.folder / "one.xlsx"}
    ledgers = []
    for path, title in (("book.xlsx", "May"), ("book.xlsx", "June <all>2"), ("one.xlsx", "Keys")):
        options = ("--sheet", title, "--base-url", service.origin, "--rate", "0", "--yes")
        ended = await desk.call("run", path, *options, "--json")
        assert ended.code == 0, ended.err
        ledgers.append(ended.json["ledger"])
    names = ["book.May.ledger.ndjson", "book.June_all_2.ledger.ndjson", "one.ledger.ndjson"]
    assert ledgers == names
    told = await desk.call("verify", names[0], "--input", "book.xlsx")
    assert told.code == 0, told.err
    assert "Sheet May was read. Not read: June <all>2\n" in told.out
    alone = await desk.call("verify", names[2], "--input", "one.xlsx", "--json")
    assert json.loads(alone.out)["other_sheets"] == []


async def test_two_sheets_never_share_a_ledger_by_default(desk: Any, service: Any, keys: list[str]):
    """Sheets whose names come to the same name of a file are 2, unless a ledger is named: the
    second would continue the first one's."""
    book = openpyxl.Workbook()
    book.active.title = "May 1"
    for title in ("May_1", "June"):
        book.create_sheet(title)
    for number, sheet in enumerate(book.worksheets):
        for row in ("customerKey", *keys[number : number + 2]):
            sheet.append([row])
    book.save(desk.folder / "book.xlsx")
    desk.may_hold_keys.add(desk.folder / "book.xlsx")
    target = ("--base-url", service.origin, "--rate", "0", "--yes")
    for title in ("May 1", "May_1"):
        ended = await desk.call("run", "book.xlsx", "--sheet", title, *target)
        assert ended.code == 2
        assert "would have the same ledger" in ended.err
    assert not list(desk.folder.glob("*.ledger.ndjson"))
    assert (await desk.call("run", "book.xlsx", "--sheet", "June", *target)).code == 0
    named = ("--sheet", "May 1", "--ledger", "may.ledger.ndjson")
    assert (await desk.call("run", "book.xlsx", *named, *target)).code == 0


# ── a title above the header ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_a_title_above_the_header(desk: Any, service: Any, keys: list[str], kind: str):
    """The refusal offers --header-row with the line; with it the keys are sent, the ledger has it,
    and `verify` reads the file in the same way."""
    rows = [["Customers to erase", ""], ["", ""], ["name", "customerKey"]]
    rows += [["Anna", key] for key in keys[:3]]
    source = desk.folder / f"keys.{kind}"
    if kind == "csv":
        source.write_text("".join(f"{a},{b}\n" for a, b in rows))
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(source)
    desk.may_hold_keys.add(source)
    options = ("--base-url", service.origin, "--rate", "0", "--yes", "--json")
    refused = await desk.call("run", source, *options)
    assert refused.code == 65
    assert "customerKey is on line 3. Use --header-row 3." in refused.json["error"]
    blank = await desk.call("run", source, *options, "--header-row", "2")
    assert (blank.code, "nothing on line 2" in blank.json["error"]) == (65, True)
    ended = await desk.call("run", source, *options, "--header-row", "3")
    assert ended.code == 0, ended.err
    assert set(service.per_key) == set(keys[:3])
    ledger = desk.ledger("keys.ledger.ndjson")
    assert ledger.of("run_started")[0]["input"]["header_row"] == 3
    assert [line["line"] for line in ledger.of("accepted")] == [4, 5, 6]
    verified = await desk.call("verify", "keys.ledger.ndjson", "--input", source)
    assert verified.code == 0, verified.err


async def test_a_header_row_that_makes_no_sense(desk: Any, keys: list[str]):
    """0, together with --no-header, or of NDJSON: 2."""
    source, objects = desk.csv(keys[:3]), desk.ndjson(keys[:3], "keys.ndjson")
    cases = [
        (source, "--header-row", "0"),
        (source, "--header-row", "1", "--no-header"),
        (objects, "--header-row", "1"),
    ]
    for ended in await desk.together(*(desk.check(*case) for case in cases)):
        assert (ended.code, ended.findings["outcome"]) == (2, "refused")
        assert "--header-row" in ended.findings["error"]

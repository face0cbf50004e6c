"""A plan is what one person checked: `run --plan` sends exactly that, or nothing."""

import asyncio
import json
import os
import pwd
import re
import shlex
import signal
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import openpyxl
import pytest


def command(service: Any, source: object, *options: object) -> tuple[object, ...]:
    """`run` without --yes."""
    return ("run", source, "--base-url", service.origin, "--rate", "0", "--json", *options)


def of_file(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def of_keys(keys: Iterable[str]) -> str:
    """SHA-256 over keys in order, each ended by a newline."""
    digest = sha256()
    for key in keys:
        digest.update(key.encode() + b"\n")
    return digest.hexdigest()


@pytest.fixture
def rows(keys: list[str]) -> list[str]:
    """Keys of an input with a duplicate and a row without a key."""
    return [*keys[:12], keys[3], "", *keys[12:15]]


@pytest.fixture
def api_key_file(desk: Any, api_key: str) -> Path:
    path: Path = desk.file("elevate.key", api_key)
    path.chmod(0o600)
    desk.may_hold_the_api_key.add(path)
    return path


# ── what a plan says ────────────────────────────────────────────────────────────────────────────


async def test_a_plan_binds_what_was_checked(desk: Any, rows: list[str], keys: list[str]):
    """The plan names input, digest, reading options, number and digest of the keys in their
    order, target, version, author and time, and holds no customer key."""
    source = desk.csv(rows)
    options = ("--plan", "plan.json", "--cluster-id", "ACME", "--author", "Ada")
    ended = await desk.check(source, *options)
    assert ended.code == 3
    plan = json.loads((desk.folder / "plan.json").read_text())
    assert plan.pop("login") == pwd.getpwuid(os.getuid()).pw_name
    assert plan.pop("path") == str(source.path)  # as it was typed
    asked = plan.pop("reading")
    assert asked == dict.fromkeys(asked) | {"format": "csv", "header": True}
    assert ended.findings["plan"] == "plan.json"
    assert ended.findings["keys_sha256"] == plan["keys_sha256"] == of_keys(keys[:15])
    assert plan.pop("tool").startswith("bulk-eraser ")
    made_at = datetime.strptime(plan.pop("made_at"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - made_at < timedelta(minutes=1)
    expected = json.loads(desk.plan(source, "acme", name="mine.json").read_text())
    assert plan == {name: expected[name] for name in plan}
    assert set(expected) == {*plan, "tool", "made_at", "login", "path", "reading"}


async def test_a_plan_binds_the_hold_list(desk: Any, rows: list[str], keys: list[str]):
    """Keys on hold are neither counted nor in `keys_sha256`; the list stands there with its name,
    digest and number of keys."""
    hold = desk.csv([keys[0], keys[3], keys[800], keys[0]], "hold.csv").path
    options = ("--plan", "plan.json", "--cluster-id", "acme", "--api-version", "v3")
    await desk.check(desk.csv(rows), "--exclude", hold, *options)
    plan = json.loads((desk.folder / "plan.json").read_text())
    held = {"path": str(hold), "name": "hold.csv", "sha256": of_file(hold), "keys": 3}
    assert plan["hold_list"] == held
    assert plan["keys"] == 13
    assert plan["keys_sha256"] == of_keys([*keys[1:3], *keys[4:15]])
    assert (plan["target"], plan["api"], plan["input"]["keys"]) == ("acme", "v3", 15)


async def test_who_made_it(desk: Any, keys: list[str]):
    """The author is --author, else BULK_ERASER_AUTHOR, else the login name; whatever it is made
    of, it is harmless on a terminal."""
    source = desk.csv(keys[:3])
    evil = "\x1b[2J\x1b]0;Ada\x07::error::"
    authors: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "Ada Lovelace": (("--author", "Ada Lovelace"), {"BULK_ERASER_AUTHOR": "Bob"}),
        "Bob": ((), {"BULK_ERASER_AUTHOR": "Bob"}),
        pwd.getpwuid(os.getuid()).pw_name: ((), {}),
        evil: (("--author", evil), {}),
    }
    endings = await desk.together(
        *(
            desk.call(
                "check", source, "--cluster-id", "acme", "--plan", f"{n}.json", *options, env=env
            )
            for n, (options, env) in enumerate(authors.values())
        )
    )
    for n, (author, ended) in enumerate(zip(authors, endings, strict=True)):
        assert ended.code == 0
        assert json.loads((desk.folder / f"{n}.json").read_text())["made_by"] == author
        printed = ended.out + ended.err
        assert all(char.isprintable() or char == "\n" for char in printed)
        assert author == evil or f"made by {author}\n" in printed


async def test_a_name_that_is_no_text(desk: Any, keys: list[str]):
    """A login name that cannot stand in a file of UTF-8 is 2, not an internal error."""
    options = ("--plan", "plan.json", "--cluster-id", "acme")
    ended = await desk.check(desk.csv(keys[:3]), *options, env={"LOGNAME": "J\udcf6rg"})
    assert (ended.code, ended.findings["outcome"]) == (2, "refused")
    assert not (desk.folder / "plan.json").exists()


# ── where it is written ─────────────────────────────────────────────────────────────────────────


async def test_a_plan_replaces_an_older_plan(desk: Any, keys: list[str]):
    """A plan takes the place of an older one, whole; no other file is left beside it."""
    source, options = desk.csv(keys[:9]), ("--plan", "plan.json", "--cluster-id", "acme")
    old = desk.plan(desk.csv(keys[9:20], "old.csv"), "other", made_by="x" * 5000)
    before = desk.everything()
    assert (await desk.check(source, *options)).code == 0
    plan = json.loads(old.read_text())
    assert (plan["keys_sha256"], plan["target"]) == (of_keys(keys[:9]), "acme")
    assert desk.everything() == before | {old: old.read_bytes()}


async def test_a_plan_replaces_nothing_else(desk: Any, service: Any, keys: list[str]):
    """An input, hold list, ledger or any other thing named by mistake stays as it was: 2."""
    source, hold = desk.csv(keys[:5]), desk.csv(keys[4:6], "hold.csv")
    await desk.run(source, service)
    desk.plan(source, "acme", name="newer.json", format=3)
    os.mkfifo(desk.folder / "fifo")
    before = desk.everything()
    names = ["keys.csv", "hold.csv", "keys.ledger.ndjson", "newer.json", "fifo", "/dev/stdout"]
    options = ("--exclude", hold, "--cluster-id", "acme", "--plan")
    endings = await desk.together(*(desk.check(source, *options, name) for name in names))
    ended_so = [(ended.code, ended.findings["outcome"]) for ended in endings]
    assert dict(zip(names, ended_so, strict=True)) == dict.fromkeys(names, (2, "refused"))
    assert desk.everything() == before


async def test_a_plan_that_cannot_be_written(desk: Any, keys: list[str]):
    """Where the folder is missing or is none, or the disk is full, it is 74; an older plan stays,
    and nothing half-written is left."""
    source = desk.csv(keys[:5])
    old = desk.plan(desk.csv(keys[5:9], "old.csv"), "acme")
    before = desk.everything()
    options = ("--json", "--cluster-id", "acme", "--plan")
    endings = await desk.together(
        desk.call("check", source, *options, f"{source}/plan.json"),
        desk.call("check", source, *options, old, file_size_limit=100),
        desk.call("check", source, *options, "new.json", file_size_limit=100),
    )
    for ended in endings:
        found = ended.findings
        assert (ended.code, found["outcome"], found["plan"]) == (74, "error", None)
        assert found["counts"]["keys"] == 5
        assert "--plan" in found["error"]
    assert desk.everything() == before


async def test_the_environment_names_no_plan_to_write(desk: Any, service: Any, keys: list[str]):
    """BULK_ERASER_PLAN is for `run`: `check` writes nothing because of it, and `run` is bound by
    it as by --plan."""
    source = desk.csv(keys[:6])
    plan = desk.plan(source, service.origin)
    env = {"BULK_ERASER_PLAN": str(plan), "ELEVATE_BASE_URL": service.origin}
    before = desk.everything()
    other = desk.csv(keys[6:10], "other.csv")
    for one in (source, other):
        assert (await desk.check(one, env=env)).findings["plan"] is None
    refused = await desk.call("run", other, "--json", env=env)
    assert (refused.code, service.calls) == (2, [])
    assert desk.everything() == before | {other.path: other.path.read_bytes()}
    ended = await desk.call("run", source, "--json", env=env)
    desk.reconcile(source, ended, service)
    assert (ended.code, len(service.calls)) == (0, 6)


# ── carried out ─────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_is_consent_without_a_terminal(
    desk: Any, service: Any, rows: list[str], keys: list[str]
):
    """Without --yes and without a terminal, `run --plan` sends exactly the planned keys in their
    order; `run_started` names the plan's digest, author and time beside who ordered it."""
    source = desk.csv(rows)
    hold = desk.csv([keys[2], keys[7]], "hold.csv").path
    options = ("--exclude", hold)
    target = ("--base-url", service.origin)
    made = await desk.check(source, *options, *target, "--author", "Ada", "--plan", "plan.json")
    who = ("--requester", "Bob", "--reference", "T-1")
    ended = await desk.call(*command(service, source, *options, *who, "--plan", "plan.json"))
    ledger = desk.reconcile(source, ended, service, held=[keys[2], keys[7]])
    assert ended.code == 3
    planned = [key for key in keys[:15] if key not in (keys[2], keys[7])]
    assert [line["key"] for line in ledger.of("sent")] == planned
    assert service.per_key == dict.fromkeys(planned, 1)
    assert made.findings["keys_sha256"] == of_keys(planned)
    started = ledger.of("run_started")[0]
    plan = desk.folder / "plan.json"
    made_at = json.loads(plan.read_text())["made_at"]
    assert started["plan"] == {"sha256": of_file(plan), "made_by": "Ada", "made_at": made_at}
    assert (started["requester"], started["reference"]) == ("Bob", "T-1")


async def test_a_plan_by_another_hand_is_a_plan(
    desk: Any, service: Any, rows: list[str], keys: list[str]
):
    """What is bound is what is promised: a plan written by the rules alone is carried out, and a
    run without one says so."""
    source = desk.csv(rows)
    ended = await desk.call(
        *command(service, source, "--plan", desk.plan(source, service.origin), "--limit", 9)
    )
    desk.reconcile(source, ended, service)
    assert (ended.code, len(service.calls)) == (75, 9)
    ended = await desk.run(source, service)
    ledger = desk.reconcile(source, ended, service)
    assert [line["plan"] is None for line in ledger.of("run_started")] == [False, True]


async def test_a_plan_does_not_replace_the_question(desk: Any, service: Any, keys: list[str]):
    """On a terminal the number of keys is asked for with a plan as well."""
    source = desk.csv(keys[:7])
    plan = desk.plan(source, service.origin)
    terminal = await desk.on_terminal(*command(service, source, "--plan", plan))
    await terminal.saw("(7)")
    assert service.calls == []
    terminal.type("7\r")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service)
    assert ended.code == 0


async def test_a_killed_run_goes_on_with_its_plan(desk: Any, service: Any, keys: list[str]):
    """Killed in the middle, the same command with the same plan continues: the ledger has every
    key accepted once, and each of its runs names the plan."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 60 else None
    source = desk.csv([*keys[:150], keys[0], ""])
    plan = desk.plan(source, service.origin)
    again = command(service, source, "--plan", plan, "--concurrency", 8)
    running = await desk.start(*again)
    await service.saw(68)
    running.signal(signal.SIGKILL)
    await running.ended()
    gate.set()
    ended = await desk.call(*again)
    ledger = desk.reconcile(source, ended, service)
    assert ended.code == 3
    accepted = [line["key"] for line in ledger.of("accepted")]
    assert sorted(accepted) == keys[:150]
    assert [line["plan"]["sha256"] for line in ledger.of("run_started")] == [of_file(plan)] * 2


async def test_a_plan_in_portions(desk: Any, service: Any, keys: list[str]):
    """With --limit a plan is carried out in portions, 75 while keys are left, and what the ledger
    knows by then does not make the plan another one."""
    service.answer = lambda call: 400 if call.key == keys[4] else None
    source = desk.csv(keys[:12])
    again = command(service, source, "--plan", desk.plan(source, service.origin), "--limit", 5)
    for code, sent in ((75, 5), (75, 10), (3, 12)):
        ended = await desk.call(*again)
        desk.reconcile(source, ended, service)
        assert (ended.code, len(service.calls)) == (code, sent)


async def test_a_plan_can_be_rehearsed(desk: Any, keys: list[str]):
    """A rehearsal is bound by the plan but for its target; nothing else is needed."""
    source = desk.csv(keys[:20])
    plan = desk.plan(source, "acme")
    options = ("--rehearse", "--json", "--rate", "0", "--plan", plan)
    ended = await desk.call("run", source, *options, without_api_key=True)
    assert ended.code == 0
    ledger = desk.ledger("keys.rehearsal.ndjson")
    assert ledger.of("run_started")[0]["plan"]["sha256"] == of_file(plan)
    assert ledger.of("run_started")[0]["target"] == "rehearsal"
    before = desk.everything()
    refused = await desk.call("run", source, *options, "--api-version", "v3")
    assert (refused.code, "--api-version says 'v3'" in refused.json["error"]) == (2, True)
    assert desk.everything() == before


async def test_a_dry_run_compares_too(desk: Any, service: Any, keys: list[str]):
    """--dry-run with a plan says what a run would: 0 if it matches, 2 if not; it writes and sends
    nothing."""
    source = desk.csv(keys[:20])
    plan = desk.plan(source, service.origin)
    other = desk.plan(source, "acme", name="other.json")
    before = desk.everything()
    good, refused = await desk.together(
        *(desk.call(*command(service, source, "--dry-run", "--plan", one)) for one in (plan, other))
    )
    assert (good.code, good.json["counts"]["not_reached"]) == (0, 20)
    assert (refused.code, refused.json["outcome"]) == (2, "refused")
    assert "but the plan has 'acme'" in refused.json["error"]
    assert desk.everything() == before
    assert service.calls == []


# ── nothing has to be said again ────────────────────────────────────────────────────────────────


async def test_a_plan_says_all_that_was_said(desk: Any, service: Any, keys: list[str]):
    """Input, how it is read, hold list, what is let through, target and version come from the plan;
    `next` gives `follow` the version, which it cannot know."""
    days = [f"2024-05-{n:02}" for n in range(1, 8)]
    content = "".join(f"x|{key}\n" for key in [*days, *keys[:3]])
    desk.file("all.txt", content)
    desk.file("hold.txt", f"x|{keys[1]}\n")
    (desk.folder / "plans").mkdir()
    reading = ("--no-header", "--key-field", "2", "--delimiter", "|", "--allow", "dates")
    target = ("--base-url", service.origin, "--api-version", "v3")
    options = (*reading, *target, "--exclude", "hold.txt", "--plan", "plans/all.json")
    made = await desk.check("all.txt", *options)
    assert made.code == 0, made.err
    plan = json.loads((desk.folder / "plans" / "all.json").read_text())
    assert (plan["path"], plan["hold_list"]["path"]) == ("../all.txt", "../hold.txt")
    ended = await desk.call("run", "--plan", "plans/all.json", "--json", "--rate", "0")
    assert ended.code == 0, ended.err
    assert set(service.per_key) == {*days, keys[0], keys[2]}
    assert {call.path.split("/")[3] for call in service.calls} == {"v3"}
    assert ended.json["ledger"] == "all.ledger.ndjson"
    assert ended.json["next"][-2:] == ["--api-version", "v3"]


async def test_who_made_the_plan_is_shown(desk: Any, service: Any, keys: list[str]):
    """A run names author and time, says that the plan matches, and warns where the login is that
    of the author, whatever name the plan has."""
    source, me = desk.csv(keys[:3]), pwd.getpwuid(os.getuid()).pw_name
    other = desk.plan(source, service.origin, made_by="Ada", login="ada")
    same = desk.plan(source, service.origin, name="same.json", made_by="Ada", login=me)
    by_other, by_me = await desk.together(
        *(desk.call("run", "--dry-run", "--plan", plan) for plan in (other, same))
    )
    assert f"Plan {other} by Ada, 2 Jan 2030, 03:04 UTC: matches\n" in by_other.err
    assert "Four eyes" not in by_other.err
    assert f"Plan {same} by Ada, 2 Jan 2030, 03:04 UTC: matches\n" in by_me.err
    assert f"was made with the login that runs it ({me}). Four eyes" in by_me.err


async def test_the_environment_must_agree_as_well(desk: Any, service: Any, keys: list[str]):
    """A variable counts as said: where it says something else it is 2 and is named; where it says
    the same, or is empty, it is no matter."""
    source = desk.csv(keys[:3])
    plan = desk.plan(source, service.origin)
    hold = desk.csv(keys[:1], "hold.csv").path
    others = {
        "BULK_ERASER_KEY_FIELD": "note",
        "BULK_ERASER_DELIMITER": ";",
        "BULK_ERASER_NO_HEADER": "1",
        "BULK_ERASER_API_VERSION": "v3",
        "BULK_ERASER_ALLOW": "dates",
        "BULK_ERASER_EXCLUDE": str(hold),
        "ELEVATE_BASE_URL": "https://gateway.example.com",
        "ELEVATE_CLUSTER_ID": "acme",
    }
    options = ("run", "--json", "--plan", plan)
    before = desk.everything()
    endings = await desk.together(
        *(desk.call(*options, env={name: value}) for name, value in others.items())
    )
    for name, ended in zip(others, endings, strict=True):
        assert (ended.code, ended.json["outcome"]) == (2, "refused"), name
        assert f"{name} says " in ended.json["error"]
    assert (service.calls, desk.everything()) == ([], before)
    env = {
        "BULK_ERASER_KEY_FIELD": "customerKey",
        "BULK_ERASER_DELIMITER": "comma",
        "BULK_ERASER_NO_HEADER": "0",
        "BULK_ERASER_ENCODING": "UTF8",
        "BULK_ERASER_API_VERSION": "v4",
        "BULK_ERASER_SHEET": "",
        "ELEVATE_BASE_URL": f"{service.origin}/",
    }
    ended = await desk.call(*options, env=env)
    assert ended.code == 0, ended.err
    assert len(service.calls) == 3


async def test_an_input_that_was_moved(desk: Any, service: Any, keys: list[str]):
    """It is 2, with the place where it was; named as INPUT it is carried out, by whatever name,
    as long as its bytes are the planned ones."""
    source = desk.csv(keys[:4])
    plan = desk.plan(source, service.origin)
    moved = source.path.rename(desk.folder / "moved.data")
    desk.may_hold_keys.add(moved)
    gone = await desk.call("run", "--json", "--plan", plan)
    assert (gone.code, gone.json["outcome"]) == (2, "refused")
    assert f"there is no {source.path}. If it was moved, name it with INPUT" in gone.json["error"]
    other = desk.csv(keys[4:8], "other.csv")
    wrong = await desk.call("run", other, "--json", "--plan", plan)
    assert (wrong.code, "is another one" in wrong.json["error"]) == (2, True)
    assert service.calls == []
    ended = await desk.call("run", moved, "--json", "--plan", plan)
    assert (ended.code, len(service.calls)) == (0, 4)


async def test_what_came_from_a_pipe_must_be_named(desk: Any, service: Any, keys: list[str]):
    """A plan of a pipe says that it needs INPUT, and so does `run` without a plan."""
    plan = desk.plan(desk.csv(keys[:4]), service.origin, path=None)
    for options, told in ((("--plan", plan), "from a pipe"), ((), "No INPUT given")):
        ended = await desk.call("run", "--json", *options)
        assert (ended.code, ended.json["outcome"]) == (2, "refused")
        assert told in ended.json["error"]
        assert "INPUT" in ended.json["error"]
    assert service.calls == []


# ── as typed ────────────────────────────────────────────────────────────────────────────────────


def workbook(path: Path, keys: list[str]) -> None:
    book = openpyxl.Workbook()
    for title in ("Notes", "To erase"):
        sheet = book.create_sheet(title)
        for row in ["customerKey", *keys]:
            sheet.append([row])
    book.save(path)


async def test_the_printed_command_carries_the_plan_out(
    desk: Any, service: Any, keys: list[str], api_key_file: Path
):
    """What `check` prints at its end is the command that runs the plan, whatever options it was
    given and however they were spelled; only the names of files have to be filled in."""
    part = [keys[n * 10 : n * 10 + 5] for n in range(6)]
    hold = desk.file("hold list.tsv", f"x\t{part[0][4]}\n")
    tabs = "".join(f"2024-05-0{n}\t{key}\n" for n, key in enumerate(part[0], 1))
    plain = "".join(f"{key},x\n" for key in part[5])
    desk.file("it's a list.txt", tabs)
    desk.file("latin.csv", ("customerKey,n\nstra\u00dfe," + "\n".join(part[1])).encode("cp1252"))
    desk.file("mark.csv", "\ufeffid,n\n" + "".join(f"{key},x\n" for key in part[2]))
    desk.file("wide.csv", ("\ufeffid,n\n" + ",x\n".join(part[3])).encode("utf-16-le"))
    workbook(desk.folder / "book.xlsx", part[4])
    desk.may_hold_keys.add(desk.folder / "book.xlsx")
    given: list[tuple[tuple[object, ...], bytes | None, list[str]]] = [
        (
            (
                *("it's a list.txt", "--no-header", "--key-field", "2", "--received-field", "1"),
                *("--delimiter", "tab", "--exclude", hold, "--author", "A. L."),
            ),
            None,
            part[0][:4],
        ),
        (("latin.csv", "--encoding", "latin-1", "--author=Ada"), None, ["stra\u00dfe"]),
        (("mark.csv", "--encoding", "UTF-8", "--key-field", "id"), None, part[2]),
        (("wide.csv", "--encoding", "UTF-16LE", "--key-field=id"), None, part[3]),
        (("book.xlsx", "--encoding", "cp1252", "--sheet", "To erase"), None, part[4]),
        (("-", "--format", "csv", "--no-header", "--key-field", "1"), plain.encode(), part[5]),
    ]

    async def carry_out(n: int, options: tuple[object, ...], feed: bytes | None) -> Any:
        stdin = asyncio.subprocess.DEVNULL if feed is None else asyncio.subprocess.PIPE
        target = ("--base-url", service.origin, "--rate", "0", "--api-version", "v3")
        arguments = (*options, *target, "--plan", f"the plan {n}.json")
        checked = await (await desk.start("check", *arguments, stdin=stdin)).ended(feed)
        assert checked.code == 0, checked.err
        printed = re.search(r"^Carry it out with.*: python -m (.+)$", checked.err, re.MULTILINE)
        assert printed
        _, *typed = shlex.split(printed[1])
        if feed is not None:
            typed[typed.index("FILE")] = "piped.ledger.ndjson"
        typed[typed.index("FILE")] = str(api_key_file)
        run = await desk.start(*typed, "--json", without_api_key=True, stdin=stdin)
        return await run.ended(feed)

    endings = await desk.together(
        *(carry_out(n, options, feed) for n, (options, feed, _) in enumerate(given))
    )
    for (options, _, _), ended in zip(given, endings, strict=True):
        assert ended.code == 0, (options, ended.err)
    expected = [key for _, _, sent in given for key in sent] + part[1][1:]
    assert sorted(service.per_key) == sorted(expected)
    assert {call.path for call in service.calls} == {
        "/api/admin/v3/event-data/create-remove-customer-job"
    }


# ── refused ─────────────────────────────────────────────────────────────────────────────────────


async def refused(desk: Any, service: Any, cases: dict[Any, tuple[Any, Any, tuple[Any, ...]]]):
    """Run each case (input, plan, options) with --yes; all must be 2, and nothing may happen.

    Returns the reasons by case.
    """
    before = desk.everything()
    endings = await desk.together(
        *(
            desk.run(source, service, "--plan", plan, *options)
            for source, plan, options in cases.values()
        )
    )
    ended_so = {
        case: (ended.code, ended.json["outcome"])
        for case, ended in zip(cases, endings, strict=True)
    }
    assert ended_so == dict.fromkeys(cases, (2, "refused"))
    assert service.calls == []
    assert desk.everything() == before
    return [ended.json["error"] for ended in endings]


async def test_another_input_is_refused(desk: Any, service: Any, rows: list[str], keys: list[str]):
    """A byte changed, rows sorted, added, taken away or repeated, even where the keys are the
    same: 2, and it says that the input was changed."""
    plan = desk.plan(desk.csv(rows), service.origin)
    changed: dict[str, list[str]] = {
        "byte": [keys[900], *rows[1:]],
        "sorted": sorted(rows),
        "added": [*rows, keys[20]],
        "repeated": [*rows, rows[0]],
    }
    cases = {
        name: (desk.csv(other, f"{n}.csv"), plan, ())
        for n, (name, other) in enumerate(changed.items())
    }
    same_keys = desk.csv(rows, "blank.csv").path
    desk.file(same_keys.name, same_keys.read_bytes() + b"\n")
    cases["a blank line"] = (same_keys, plan, ())
    for reason in await refused(desk, service, cases):
        assert "input was changed" in reason


async def test_another_reading_is_refused(desk: Any, service: Any, rows: list[str]):
    """Each reading option that says something else than the plan is 2, and is named."""
    source = desk.csv(rows)
    plan = desk.plan(source, service.origin)
    options = [
        ("--key-field", "note"),
        ("--delimiter", ";"),
        ("--encoding", "cp1252"),
        ("--format", "ndjson"),
        ("--no-header",),
        ("--sheet", "Keys"),
        ("--received-field", "note"),
    ]
    cases = {option: (source, plan, option) for option in options}
    for option, reason in zip(options, await refused(desk, service, cases), strict=True):
        assert option[0] in reason
        assert option[-1] in reason


async def test_another_target_or_version_is_refused(desk: Any, service: Any, rows: list[str]):
    """A plan is for one target and one version of the API: anything else is 2, and is named."""
    source = desk.csv(rows)
    plan = desk.plan(source, service.origin)
    cases = {
        "--base-url": (source, plan, ("--base-url", "http://127.0.0.1:1")),
        "--api-version": (source, plan, ("--api-version", "v3")),
    }
    for what, reason in zip(cases, await refused(desk, service, cases), strict=True):
        assert what in reason
        assert service.origin in reason or "v4" in reason


async def test_a_cluster_is_one_target(desk: Any, keys: list[str]):
    """A plan for one cluster is 2 for another one, whatever the case of its name."""
    source = desk.csv(keys[:3])
    plan = desk.plan(source, "acme")
    options = ("--json", "--dry-run", "--plan", plan, "--cluster-id")
    good, other = await desk.together(
        *(desk.call("run", source, *options, cluster) for cluster in ("ACME", "acme2"))
    )
    assert (good.code, other.code) == (0, 2)
    assert "--cluster-id says 'acme2', but the plan has 'acme'" in other.json["error"]


async def test_another_hold_list_is_refused(
    desk: Any, service: Any, rows: list[str], keys: list[str]
):
    """A hold list that is gone, another one, changed, added or taken away is 2 and is named, even
    where it holds the same keys back; by another name it is the same."""
    source, hold = desk.csv(rows), desk.csv(keys[:3], "hold.csv").path
    facts = {"path": "hold.csv", "name": "hold.csv", "sha256": of_file(hold), "keys": 3}
    gone = desk.plan(source, service.origin, name="gone.json", hold_list=facts | {"path": "g.csv"})
    held = {"hold_list": facts, "keys": 12, "keys_sha256": of_keys(keys[3:15])}
    plan = desk.plan(source, service.origin, **held)
    without = desk.plan(source, service.origin, name="without.json")
    lists = {
        "other": keys[2:6],
        "with an unknown key": [*keys[:3], keys[900]],
        "shorter": keys[:2],
    }
    cases: dict[str, tuple[Any, Any, tuple[object, ...]]] = {
        name: (source, plan, ("--exclude", desk.csv(content, f"{n}.csv")))
        for n, (name, content) in enumerate(lists.items())
    }
    cases["gone"] = (source, gone, ())
    cases["taken away"] = (source, plan, ("--no-exclude",))
    cases["added"] = (source, without, ("--exclude", hold))
    reasons = await refused(desk, service, cases)
    assert all("hold list" in reason for reason in reasons)
    told = dict(zip(cases, reasons, strict=True))
    assert f"there is no {desk.folder / 'g.csv'}" in told["gone"]
    assert "--no-exclude says no hold list, but the plan has the hold list" in told["taken away"]
    assert "--exclude says the hold list" in told["added"]
    renamed = desk.csv(keys[:3], "renamed.csv")
    ended = await desk.call(*command(service, source, "--plan", plan, "--exclude", renamed))
    desk.reconcile(source, ended, service, held=keys[:3])
    assert set(service.per_key) == set(keys[3:15])


async def test_a_plan_edited_by_hand_is_refused(
    desk: Any, service: Any, rows: list[str], keys: list[str]
):
    """Whatever is changed in a plan of what it binds is 2, and is named."""
    source = desk.csv(rows)
    hold_path = desk.csv(keys[:1], "hold.csv").path
    hold = {"path": str(hold_path), "name": "hold.csv", "sha256": "0" * 64, "keys": 1}
    edits: list[tuple[str, object, str]] = [
        ("keys", 14, "number of keys: 14"),
        ("keys_sha256", of_keys(reversed(keys[:15])), "keys_sha256"),
        ("hold_list", hold, "hold list"),
        ("target", "acme", "but the plan has 'acme'"),
        ("base", "https://a.example/api/admin/v4", "has 'https://a.example/api"),
        ("key_field", "note", "--key-field: 'note'"),
        ("format", 3, "newer version"),
        ("format", 1, "older version"),
    ]
    cases = {
        (n, field): (
            source,
            desk.plan(source, service.origin, name=f"{n}.json", **{field: value}),
            (),
        )
        for n, (field, value, _) in enumerate(edits)
    }
    reasons = await refused(desk, service, cases)
    for (_, _, told), reason in zip(edits, reasons, strict=True):
        assert told in reason


async def test_what_is_no_plan_is_refused(desk: Any, service: Any, rows: list[str]):
    """A file that is no plan, is cut, or is not there is 2, and says so."""
    source = desk.csv(rows)
    cut = desk.plan(source, service.origin)
    cut.write_bytes(cut.read_bytes()[:-2])
    plans = {"cut": cut, "the input": source, "absent": "absent.json"}
    cases = {name: (source, plan, ()) for name, plan in plans.items()}
    for reason in await refused(desk, service, cases):
        assert re.search("is not a plan|cannot be read", reason)


async def test_a_plan_binds_the_whole_address(desk: Any, service: Any, keys: list[str]):
    """Two tenants behind one host are two targets: 2, and no request."""
    source, plan = desk.csv(keys[:4]), desk.folder / "tenant.plan.json"
    target = ("--base-url", f"{service.origin}/tenant-a", "--plan", plan)
    checked = await desk.call("check", source, *target)
    assert checked.code == 0
    other = ("--base-url", f"{service.origin}/tenant-b", "--plan", plan)
    ended = await desk.call("run", source, *other, "--json")
    assert ended.code == 2
    assert "/tenant-b/api/admin/v4', but the plan has" in ended.json["error"]
    assert service.calls == []


@pytest.mark.parametrize("consent", [(), ("--yes",)])
async def test_an_empty_name_is_no_plan(desk: Any, service: Any, keys: list[str], consent: Any):
    """--plan with the empty text of an unset variable is 2, also where --yes would be consent."""
    source = desk.csv(keys[:4])
    command = ("run", source, "--base-url", service.origin, "--json", "--plan", "", *consent)
    ended = await desk.call(*command)
    assert (ended.code, service.calls) == (2, [])
    assert "--plan names no file" in ended.json["error"]

"""The copy before the removal: export jobs, and results that are on disk, or lost, and never else.

The service of these tests has every job `done` at once; `--now` asks about it all the same.
"""

import asyncio
import io
import json
import os
import signal
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.conftest import rechained
from tests.cli.test_follow import days_ago

LEDGER = "keys.export.ledger.ndjson"
FOLDER = "results"


def archive(name: str = "clicks.jsonl", content: str = '{"a":1}\n') -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo(name), content)  # of one time, whenever it is made
    return packed.getvalue()


EMPTY = archive("empty.txt", "")


def data_of(jid: str) -> bytes:
    return archive(content=f'{{"of":"{jid}"}}\n')


async def exported(desk: Any, service: Any, source: object, *options: object, **more: Any) -> Any:
    """Create export jobs with consent."""
    arguments = ("--base-url", service.origin, "--yes", "--json", "--rate", "0")
    return await desk.call("export", source, "--output", FOLDER, *arguments, *options, **more)


async def followed(desk: Any, *options: object, **more: Any) -> Any:
    started = await desk.start(*follow_words(*options), **more)
    return await started.ended()


def follow_words(*options: object) -> tuple[object, ...]:
    return ("follow", LEDGER, "--now", "--json", "--rate", "0", *options)


def told(ended: Any) -> dict[str, Any]:
    assert ended.out.count("\n") == 1
    ending: dict[str, Any] = json.loads(ended.out)
    assert ending["exit_code"] == ended.code
    return ending


def files(desk: Any) -> dict[str, bytes]:
    folder = desk.folder / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_an_export_from_its_jobs_to_its_files(desk: Any, service: Any, keys: list[str]):
    """Each key has an export job, each result lies in a file named by line and jid, as it came;
    the ledger says so, and verify that nobody is erased by it."""
    source = desk.csv([*keys[:5], keys[0], ""])
    ended = await exported(desk, service, source)
    assert ended.code == 3  # the row without a key
    assert {call.path.rsplit("/", 1)[1] for call in service.calls} == {"create-export-customer-job"}
    desk.reconcile(source, ended, service, name=LEDGER)
    service.result = lambda jid: EMPTY if jid == service.jids[keys[1]][0] else data_of(jid)
    ended = await followed(desk)
    ending = told(ended)
    assert ended.code == 0
    assert ending["counts"] == dict.fromkeys(ending["counts"], 0) | {
        "jobs": 5,
        "downloaded": 4,
        "empty": 1,
    }
    assert "erased" not in ended.out + ended.err
    there = files(desk)
    lines = desk.ledger(LEDGER).of("downloaded")
    assert {line["file"]: line["bytes"] for line in lines} == {
        name: len(content) for name, content in there.items()
    }
    for line in lines:
        [jid] = service.jids[line["key"]]
        is_empty = line["key"] == keys[1]
        assert line["file"] == f"{line['line']}-{jid}{'.empty' if is_empty else ''}.zip"
        assert line["is_empty"] is is_empty
        assert there[line["file"]] == (EMPTY if is_empty else data_of(jid))
        assert service.downloads[jid] == 1
    ended = await desk.call("verify", LEDGER, "--input", source, "--expect-done", "--json")
    found = told(ended)
    assert found["kind"] == "export"
    assert found["states"]["exported"] == 5
    assert "erased" not in found["states"]
    assert found["erased"] == 0


async def test_a_result_is_asked_for_once(desk: Any, service: Any, keys: list[str]):
    """What is downloaded is settled: neither its status nor its result is asked for again."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.result = data_of
    await followed(desk)
    before = service.asked.total(), service.downloads.total()
    assert (await followed(desk)).code == 0
    assert (service.asked.total(), service.downloads.total()) == before


@pytest.mark.parametrize("word", ["created", "waiting", "running", "whatever"])
async def test_what_is_not_done_is_not_downloaded(
    desk: Any, service: Any, keys: list[str], word: str
):
    """It is pending, and asked about another day: 75."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.status = lambda jid: word
    ended = await followed(desk)
    assert ended.code == 75
    assert told(ended)["counts"]["pending"] == 3
    assert not service.downloads


# ── which ledger it is ──────────────────────────────────────────────────────────────────────────


async def test_no_erasure_on_the_ledger_of_an_export(desk: Any, service: Any, keys: list[str]):
    """`run` refuses it, and so do status, report and certificate, which say who is erased: 2,
    nothing sent."""
    source = desk.csv(keys[:3])
    await exported(desk, service, source)
    service.result = data_of
    await followed(desk)
    sent, before = len(service.calls), (desk.folder / LEDGER).read_bytes()
    ended = await desk.run(source, service, "--ledger", LEDGER)
    assert ended.code == 2
    assert "erase nobody" in ended.json["error"]
    for command in ("status", "report"):
        ended = await desk.call(command, LEDGER)
        assert ended.code == 2
        assert "erase nobody" in ended.err
    ended = await desk.call("certificate", LEDGER, "--line", "2", "--output", "proof")
    assert ended.code == 2
    assert "nothing to certify" in ended.err
    assert len(service.calls) == sent
    assert (desk.folder / LEDGER).read_bytes() == before


async def test_no_export_on_the_ledger_of_erasures(desk: Any, service: Any, keys: list[str]):
    """`export` refuses it, and `follow` downloads nothing there."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    ended = await exported(desk, service, source, "--ledger", "keys.ledger.ndjson")
    assert ended.code == 2
    assert "no exports" in ended.json["error"]
    ended = await desk.call("follow", "keys.ledger.ndjson", "--output", FOLDER)
    assert ended.code == 2
    ended = await desk.call("follow", "keys.ledger.ndjson", "--now", "--json")
    assert told(ended)["counts"] == {
        "jobs": 3,
        "done": 3,
        "error": 0,
        "not_found": 0,
        "pending": 0,
    }
    assert not service.downloads


async def test_ledgers_of_both_kinds_do_not_add_up(desk: Any, service: Any, keys: list[str]):
    """verify takes them one by one: 78."""
    source = desk.csv(keys[:3])
    await desk.run(source, service)
    await exported(desk, service, source)
    ended = await desk.call("verify", LEDGER, "keys.ledger.ndjson")
    assert ended.code == 78


@pytest.mark.parametrize("forged", ["job_status", "run_started"])
async def test_a_line_of_the_other_kind_is_found(
    desk: Any, service: Any, keys: list[str], forged: str
):
    """Whoever makes an export look like an erasure is found out: 79, and nobody is erased."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.status = lambda jid: "error"
    await followed(desk)

    def change(line: dict[str, Any]) -> dict[str, Any]:
        if forged == "job_status" and line["type"] == "export_status":
            line |= {"type": "job_status", "status": "done"}
        if forged == "run_started" and line.get("command") == "follow":
            line["export"] = None
        return line

    path = desk.folder / LEDGER
    path.write_bytes(rechained(path.read_bytes(), change))
    ended = await desk.call("verify", LEDGER, "--json")
    assert ended.code == 79
    assert "line_of_another_kind" in told(ended)["findings"]
    assert told(ended)["erased"] == 0


# ── consent, and where results go ───────────────────────────────────────────────────────────────


async def test_an_export_needs_consent_and_a_folder(desk: Any, service: Any, keys: list[str]):
    """Without --yes, or without --output, nothing is sent: 2."""
    source = desk.csv(keys[:3])
    target = ("--base-url", service.origin)
    ended = await desk.call("export", source, "--output", FOLDER, *target)
    assert ended.code == 2
    assert "Consent is missing" in ended.err
    ended = await desk.call("export", source, "--yes", *target)
    assert ended.code == 2
    assert "--output" in ended.err
    assert not service.calls


async def test_unencrypted_results_are_warned_of(desk: Any, service: Any, keys: list[str]):
    """By export and by follow, loudly; with what each of them can do about it."""
    ended = await exported(desk, service, desk.csv(keys[:3]))
    assert "UNENCRYPTED" in ended.err
    assert "Encrypt them with --encrypt-to" in ended.err
    ended = await followed(desk)
    assert "UNENCRYPTED" in ended.err
    assert "use the same `export` command first, with --encrypt-to" in ended.err


async def test_a_folder_that_others_can_read_is_refused(desk: Any, service: Any, keys: list[str]):
    """78, before any job is created; one that cannot be made is 74."""
    (desk.folder / FOLDER).mkdir(mode=0o755)
    (desk.folder / FOLDER).chmod(0o755)
    source = desk.csv(keys[:3])
    ended = await exported(desk, service, source)
    assert ended.code == 78
    ended = await exported(desk, service, source, "--output", "no/such/folder")
    assert ended.code == 74
    assert not service.calls


async def test_results_may_go_elsewhere(desk: Any, service: Any, keys: list[str]):
    """`follow --output` takes the place of the folder that the ledger names."""
    await exported(desk, service, desk.csv(keys[:2]))
    service.result = data_of
    ended = await followed(desk, "--output", "elsewhere")
    assert ended.code == 0
    assert len(list((desk.folder / "elsewhere").iterdir())) == 2
    assert files(desk) == {}
    runs = desk.ledger(LEDGER).of("run_started")
    assert [it["export"]["output"].rpartition("/")[2] for it in runs] == [FOLDER, "elsewhere"]
    ended = await followed(desk)
    assert told(ended)["output"] == str(desk.folder / FOLDER)  # the option was for one time


async def test_results_for_one_recipient_only(desk: Any, service: Any, keys: list[str]):
    """With --encrypt-to each file is age's, and its holder reads what came; nothing is left of it
    unencrypted, and no warning is needed."""
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    source = desk.csv(keys[:3])
    ended = await exported(desk, service, source, "--encrypt-to", str(identity.to_public()))
    assert "UNENCRYPTED" not in ended.err
    service.result = lambda jid: EMPTY if jid == service.jids[keys[1]][0] else data_of(jid)
    ended = await followed(desk)
    assert ended.code == 0
    there = files(desk)
    assert len(there) == 3
    for name, content in there.items():
        jid = name.partition("-")[2].split(".")[0]
        assert name.endswith(".zip.age")
        expected = EMPTY if ".empty." in name else data_of(jid)
        assert pyrage.decrypt(content, [identity]) == expected
        assert expected not in content


@pytest.mark.parametrize("text", ["age1", "AGE-SECRET-KEY-1QQQQ", "someone@example.com", ""])
async def test_what_is_no_recipient(desk: Any, service: Any, keys: list[str], text: str):
    """2, before any job is created."""
    pytest.importorskip("pyrage")
    ended = await exported(desk, service, desk.csv(keys[:3]), "--encrypt-to", text)
    assert ended.code == 2 or (text == "" and ended.code == 0)
    assert bool(service.calls) is (text == "")


async def test_without_the_extra_it_says_what_to_install(desk: Any, service: Any, keys: list[str]):
    """78, and nothing is sent."""
    (desk.folder / "pyrage.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(desk.folder), str(Path(__file__).parents[2])])
    ended = await exported(
        desk,
        service,
        desk.csv(keys[:3]),
        "--encrypt-to",
        "age1x",
        env={"PYTHONPATH": path},
        forked=False,
    )
    assert ended.code == 78
    assert "bulk-eraser[age]" in ended.json["error"]
    assert not service.calls


# ── results that are none ───────────────────────────────────────────────────────────────────────


def cut(request_body: bytes) -> web.Response:
    """A body that is shorter than its Content-Length."""
    response = web.Response(body=request_body, content_type="application/zip")
    response.headers["Content-Length"] = str(len(request_body) + 1)
    response.force_close()
    return response


BROKEN: dict[str, Any] = {
    "html": lambda jid: web.Response(text="<!doctype html><p>Log in", content_type="text/html"),
    "no_zip": lambda jid: b"PK" + b"x" * 500,
    "cut_zip": lambda jid: data_of(jid)[:-10],
    "wrong_length": lambda jid: cut(data_of(jid)),
    "nothing": lambda jid: b"",
    "packed": lambda jid: web.Response(
        body=data_of(jid), headers={"Content-Encoding": "gzip"}, content_type="application/zip"
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_download_is_lost_and_never_done(
    desk: Any, service: Any, keys: list[str], kind: str
):
    """It is tried again; once the service has it no more, it is lost: 3, with the line, no file,
    and not exported. --retry-failed creates a new job, whose result can be had."""
    source = desk.csv(keys[:4])
    await exported(desk, service, source)
    [bad] = service.jids[keys[2]]

    def result(jid: str) -> Any:
        if jid != bad:
            return data_of(jid)
        return BROKEN[kind](jid) if service.downloads[jid] == 1 else 404

    service.result = result
    ended = await followed(desk)
    ending = told(ended)
    assert ended.code == 3
    assert (ending["counts"]["downloaded"], ending["counts"]["lost"]) == (3, 1)
    assert [job["line"] for job in ending["lost_jobs"]] == [4]
    [lost] = desk.ledger(LEDGER).of("lost")
    assert (lost["key"], lost["jid"], lost["error"]) == (keys[2], bad, "result_gone")
    assert len(files(desk)) == 3
    assert not any(bad in name for name in files(desk))
    assert "1 lost" in ended.err
    ended = await exported(desk, service, source, "--retry-failed")
    assert ended.json["counts"]["accepted"] == 1
    ended = await followed(desk)
    assert ended.code == 0
    assert len(files(desk)) == 4


async def test_what_is_no_archive_again_and_again_is_lost(desk: Any, service: Any, keys: list[str]):
    """After the attempts of a run, with the reason."""
    await exported(desk, service, desk.csv(keys[:4]))
    [bad] = service.jids[keys[2]]
    service.result = lambda jid: b"no archive" if jid == bad else data_of(jid)
    ended = await followed(desk, "--max-attempts", "2")
    assert ended.code == 3
    [lost] = desk.ledger(LEDGER).of("lost")
    assert lost["error"] == "no_archive"
    assert service.downloads[bad] == 2
    attempts = [
        line["attempt"] for line in desk.ledger(LEDGER).of("download") if line["jid"] == bad
    ]
    assert attempts == [1, 2]


@pytest.mark.parametrize("is_endless", [True, False])
async def test_a_result_that_is_too_large_is_not_read(
    desk: Any, service: Any, keys: list[str], is_endless: bool
):
    """Reading stops at --max-result-bytes; it is lost, nothing of it is left on disk."""
    await exported(desk, service, desk.csv(keys[:2]))
    [bad] = service.jids[keys[1]]
    taken = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal taken
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))
            taken += 1 << 16

    class Endless(web.StreamResponse):
        async def prepare(self, request: Any) -> Any:
            await endless(request)

    def result(jid: str) -> Any:
        if jid != bad:
            return data_of(jid)
        return Endless() if is_endless else bytes(3_000_000)

    service.result = result
    ended = await followed(desk, "--max-result-bytes", "100_000".replace("_", ""))
    assert ended.code == 3
    [lost] = desk.ledger(LEDGER).of("lost")
    assert lost["error"] == "result_too_large"
    assert len(files(desk)) == 1
    assert service.downloads[bad] == 1
    assert taken < 20_000_000


async def test_the_result_of_somebody_else(desk: Any, service: Any, keys: list[str]):
    """A cache hands out the first person's data for all: that is nobody else's copy."""
    await exported(desk, service, desk.csv(keys[:4]))
    same = archive(content="the first one's")
    service.result = lambda jid: same
    ended = await followed(desk)
    assert ended.code == 3
    assert told(ended)["counts"]["downloaded"] == 1
    assert [line["error"] for line in desk.ledger(LEDGER).of("lost")] == ["same_result"] * 3
    assert len(files(desk)) == 1


async def test_empty_results_are_all_alike(desk: Any, service: Any, keys: list[str]):
    """Of several people there may be no data."""
    await exported(desk, service, desk.csv(keys[:4]))
    service.result = lambda jid: EMPTY
    ended = await followed(desk)
    assert ended.code == 0
    assert told(ended)["counts"]["empty"] == 4


async def test_a_result_that_has_expired(desk: Any, service: Any, keys: list[str]):
    """Whether the service says not_found, or has no result: it failed, 3."""
    await exported(desk, service, desk.csv(keys[:3]))
    [first] = service.jids[keys[0]]
    [second] = service.jids[keys[1]]
    service.status = lambda jid: "not_found" if jid == first else "done"
    service.result = lambda jid: 404 if jid == second else data_of(jid)
    ended = await followed(desk)
    counts = told(ended)["counts"]
    assert ended.code == 3
    assert (counts["downloaded"], counts["not_found"], counts["lost"]) == (1, 1, 1)


async def test_where_no_result_is_there_at_all_it_stops(desk: Any, service: Any, keys: list[str]):
    """Ten in a row without one good download are the matter of the service: 76, and those that
    were not asked for are not lost."""
    await exported(desk, service, desk.csv(keys[:40]))
    service.result = lambda jid: 404
    ended = await followed(desk, "--concurrency", "1")
    assert ended.code == 76
    assert len(desk.ledger(LEDGER).of("lost")) == 9
    service.result = data_of
    ended = await followed(desk)
    assert ended.code == 3
    assert told(ended)["counts"]["downloaded"] == 31


async def test_a_service_in_trouble_loses_nothing(desk: Any, service: Any, keys: list[str]):
    """Refusals without a result leave it where it is: asked for again."""
    await exported(desk, service, desk.csv(keys[:4]))
    [bad] = service.jids[keys[2]]
    service.result = lambda jid: 503 if jid == bad else data_of(jid)
    ended = await followed(desk, "--max-attempts", "2", "--max-outage", "5")
    assert ended.code in (69, 75)
    assert told(ended)["counts"]["pending"] == 1
    assert desk.ledger(LEDGER).of("lost") == []
    service.result = data_of
    assert (await followed(desk)).code == 0
    assert len(files(desk)) == 4


@pytest.mark.parametrize("jid", ["../../up", "/abs", "a/b", ".hidden", "x" * 300, "\N{BELL}"])
async def test_a_strange_jid_is_no_path(desk: Any, service: Any, keys: list[str], jid: str):
    """Its file lies in the folder, under a plain name."""
    service.answer = lambda call: web.json_response({"jid": jid, "status": "created"})
    await exported(desk, service, desk.csv(keys[:1]))
    service.result = data_of
    assert (await followed(desk)).code == 0
    [name] = files(desk)
    assert len(name) < 100
    assert name.isascii()
    assert "/" not in name


async def test_nothing_is_unpacked(desk: Any, service: Any, keys: list[str]):
    """Names that lead elsewhere, links, and a bomb stay in their archive, as they came."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../escaped", "x")
        file.writestr("/tmp/escaped", "x")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("bomb", bytes(50_000_000))
    content = packed.getvalue()
    await exported(desk, service, desk.csv(keys[:1]))
    service.result = lambda jid: content
    before = set(desk.folder.parent.rglob("*"))
    assert (await followed(desk)).code == 0
    new = set(desk.folder.parent.rglob("*")) - before
    assert len(new) == 1
    assert list(files(desk).values()) == [content]


# ── kills, signals, a full disk ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_known", [True, False])
async def test_killed_while_a_result_comes(
    desk: Any, service: Any, keys: list[str], is_known: bool
):
    """Its `download` line is on disk, no file has its name. The next follow tries again: where the
    service has it no more it is lost, and what was left of it is removed."""
    await exported(desk, service, desk.csv(keys[:2]))
    [cut_off] = service.jids[keys[1]]
    hold = asyncio.Event()

    class Slow(web.StreamResponse):
        async def prepare(self, request: Any) -> Any:
            writer = await super().prepare(request)
            await self.write(data_of(cut_off)[:30])
            await hold.wait()
            return writer

    def result(jid: str) -> Any:
        if jid != cut_off:
            return data_of(jid)
        return Slow() if service.downloads[jid] == 1 else 404

    service.result = result
    running = await desk.start(*follow_words())
    folder = desk.folder / FOLDER
    await desk.until(lambda: sorted(it[-4:] for it in os.listdir(folder)) == [".zip", "part"])
    running.signal(signal.SIGKILL)
    await running.ended()
    hold.set()
    left = files(desk)
    assert sorted(name.rpartition(".")[2] for name in left) == ["part", "zip"]
    assert len([it for it in desk.ledger(LEDGER).of("download") if it["jid"] == cut_off]) == 1
    service.status = lambda jid: "done" if is_known else "not_found"
    ended = await followed(desk)
    assert ended.code == 3
    lost = [line["jid"] for line in desk.ledger(LEDGER).of("lost")]
    assert lost == ([cut_off] if is_known else [])
    assert sorted(name.rpartition(".")[2] for name in files(desk)) == ["zip"]


async def test_killed_before_the_ledger_says_so(desk: Any, service: Any, keys: list[str]):
    """The file is there, its line is not: the next follow records it, without a request, although
    the service has it no more."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.result = data_of
    before = (desk.folder / LEDGER).read_bytes()
    await followed(desk)
    there = files(desk)
    (desk.folder / LEDGER).write_bytes(before)  # as if nothing of it had been committed
    service.result = lambda jid: 404
    service.downloads.clear()
    ended = await followed(desk)
    assert ended.code == 0
    assert told(ended)["counts"]["downloaded"] == 3
    assert not service.downloads
    assert files(desk) == there
    for line in desk.ledger(LEDGER).of("downloaded"):
        assert line["bytes"] == len(there[line["file"]])


async def test_a_copy_that_is_there_is_no_failure(desk: Any, service: Any, keys: list[str]):
    """Killed between file and line, and the service does not know the job any more, because its
    result was had: the copy is on record as downloaded, not the job as failed."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.result = data_of
    await followed(desk)
    there = files(desk)
    path = desk.folder / LEDGER
    before, _, _ = path.read_bytes().partition(b'{"type":"downloaded"')
    assert before.rstrip(b"\n").rpartition(b"\n")[2].startswith(b'{"type":"commit"')
    path.write_bytes(before)
    service.status = lambda jid: "not_found"
    service.downloads.clear()
    ended = await followed(desk)
    assert ended.code == 0
    assert told(ended)["counts"]["downloaded"] == 3
    assert not service.downloads
    assert files(desk) == there


async def test_a_signal_waits_for_what_comes(desk: Any, service: Any, keys: list[str]):
    """Ctrl-C while a result comes: it is read to its end, and is on disk and on record."""
    await exported(desk, service, desk.csv(keys[:1]))
    [jid] = service.jids[keys[0]]
    go_on = asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return data_of(jid)

    service.result = lambda jid: slow()
    running = await desk.start(*follow_words())
    await service.was_downloaded_from(1)
    running.signal(signal.SIGINT)
    go_on.set()
    ended = await running.ended()
    assert ended.code == 130
    assert len(desk.ledger(LEDGER).of("downloaded")) == 1
    assert list(files(desk).values()) == [data_of(jid)]


async def test_a_full_disk_stops_the_downloads(desk: Any, service: Any, keys: list[str]):
    """A file that may grow no further: 74, nothing is called downloaded that is not there."""
    await exported(desk, service, desk.csv(keys[:2]))
    large = os.urandom(200_000).hex()
    service.result = lambda jid: archive(content=jid + large)
    ended = await followed(desk, file_size_limit=100_000)
    assert ended.code == 74
    assert FOLDER in told(ended)["error"]
    assert desk.ledger(LEDGER).of("downloaded") == []
    assert files(desk) == {}
    assert (await followed(desk)).code == 0
    assert len(files(desk)) == 2


async def test_too_little_room_for_a_result_is_known_before(
    desk: Any, service: Any, keys: list[str]
):
    """With less room than the largest result may take, none is asked for: 74."""
    await exported(desk, service, desk.csv(keys[:2]))
    service.result = data_of
    ended = await followed(desk, "--max-result-bytes", "900000000000")
    assert ended.code == 74
    assert "too little room" in told(ended)["error"]
    assert not service.downloads


async def test_no_more_results_come_at_once_than_there_is_room_for(
    desk: Any, service: Any, keys: list[str]
):
    """Each of them may be as large as the largest, and once asked for it is gone at the service."""
    await exported(desk, service, desk.csv(keys[:6]))
    coming, most = 0, 0

    class Counted(web.StreamResponse):
        def __init__(self, jid: str) -> None:
            super().__init__()
            self.jid = jid

        async def prepare(self, request: Any) -> Any:
            nonlocal coming, most
            coming += 1
            most = max(most, coming)
            writer = await super().prepare(request)
            for byte in data_of(self.jid)[:-1]:  # so that others could come meanwhile
                await self.write(bytes([byte]))
                await asyncio.sleep(0)
            coming -= 1
            await self.write(data_of(self.jid)[-1:])
            return writer

    service.result = Counted
    space = os.statvfs(desk.folder)
    for_one = space.f_bavail * space.f_frsize * 6 // 10
    ended = await followed(desk, "--max-result-bytes", min(for_one, 10**12))
    assert ended.code == 0
    assert told(ended)["counts"]["downloaded"] == 6
    assert most == 1 or for_one > 10**12


async def test_an_export_is_found_in_a_ledger_with_pseudonyms(
    desk: Any, service: Any, keys: list[str]
):
    """A copy without keys says the same of its jobs and files."""
    await exported(desk, service, desk.csv(keys[:3]))
    service.result = data_of
    await followed(desk)
    pepper = desk.folder / "pepper"
    pepper.write_text("p" * 40)
    pepper.chmod(0o600)
    ended = await desk.call("pseudonymize", LEDGER, env={"BULK_ERASER_PEPPER_FILE": str(pepper)})
    assert ended.code == 0
    copy = desk.folder / "keys.export.pseudonyms.ledger.ndjson"
    assert keys[0].encode() not in copy.read_bytes()
    ended = await desk.call("verify", copy.name, "--json")
    assert told(ended)["states"]["exported"] == 3


async def test_a_result_is_found_however_it_was_put_there(desk: Any, service: Any, keys: list[str]):
    """The results of a follow that was killed are found as well if the next one encrypts, and are
    not asked for again: the service has them no more."""
    pyrage = pytest.importorskip("pyrage")
    source = desk.csv(keys[:3])
    await exported(desk, service, source)
    before = (desk.folder / LEDGER).read_bytes()
    service.result = data_of
    await followed(desk)
    (desk.folder / LEDGER).write_bytes(before)
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    await exported(desk, service, source, "--encrypt-to", recipient)
    service.result = lambda jid: 404
    ended = await followed(desk)
    assert ended.code == 0
    assert told(ended)["counts"]["downloaded"] == 3


async def test_a_result_that_is_not_fetched_in_time_is_listed(
    desk: Any, service: Any, keys: list[str]
):
    """Done for five days by the first answer that said so, and never downloaded: it expires soon,
    however often it was asked about since."""
    await exported(desk, service, desk.csv(keys[:2]))
    [bad] = service.jids[keys[1]]
    service.result = lambda jid: 503 if jid == bad else data_of(jid)
    few = ("--max-attempts", "1", "--max-outage", "2")
    ended = await followed(desk, *few)
    assert told(ended)["listed"]["expiring_jobs"] == 0
    days_ago(desk.folder / LEDGER, 5)
    ended = await followed(desk, *few)
    assert [job["jid"] for job in told(ended)["expiring_jobs"]] == [bad]
    ended = await followed(desk, *few)
    assert told(ended)["listed"]["expiring_jobs"] == 1
    service.result = data_of
    ended = await followed(desk)
    assert told(ended)["listed"]["expiring_jobs"] == 0

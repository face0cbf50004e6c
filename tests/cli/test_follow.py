"""`follow`: every job that is due is asked about, each answer is on record, only `done` is done."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.conftest import rechained

LEDGER = "keys.ledger.ndjson"
LISTS = ("error_jobs", "not_found_jobs", "slow_jobs", "at_risk_jobs", "overdue_jobs")


def days_ago(path: Path, days: float) -> None:
    """Rewrite a ledger as if all of it had happened so many days earlier."""

    def earlier(line: dict[str, Any]) -> dict[str, Any]:
        for field in ("at", "next_check_at"):
            if line.get(field):
                then = datetime.fromisoformat(line[field]) - timedelta(days=days)
                line[field] = then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return line

    path.write_bytes(rechained(path.read_bytes(), earlier))


async def follow(desk: Any, *options: object, **more: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object, checked against what is promised of it."""
    ended = await desk.call("follow", LEDGER, "--json", *options, **more)
    return ended.code, told(ended)


def told(ended: Any) -> dict[str, Any]:
    assert ended.out.count("\n") == 1
    found = json.loads(ended.out)
    assert found["exit_code"] == ended.code
    counts = found["counts"]
    assert counts["jobs"] == sum(count for name, count in counts.items() if name != "jobs")
    assert found["listed"] == {} or all(found["listed"][n] == len(found[n]) for n in LISTS)
    return found


async def test_jobs_are_followed_to_their_end(desk: Any, service: Any, keys: list[str]):
    """A day after their creation all jobs are asked about once; while some are pending it is 75,
    when all are done 0; each answer is a line, and `accepted` stays as it was."""
    source = desk.csv(keys[:12])
    ran = await desk.run(source, service)
    days_ago(desk.folder / LEDGER, 2)
    accepted = desk.ledger().of("accepted")
    jids = {line["jid"]: line["key"] for line in accepted}
    late = set(list(jids)[:3])
    service.status = lambda jid: "running" if jid in late else "done"
    code, found = await follow(desk)
    assert (code, found["outcome"], found["asked"]) == (75, "incomplete", 12)
    assert found["counts"] == {"jobs": 12, "done": 9, "error": 0, "not_found": 0, "pending": 3}
    assert service.asked == dict.fromkeys(jids, 1)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00.000Z")
    assert found["next_check_at"] == tomorrow
    ledger = desk.ledger()
    answers = ledger.of("job_status")
    assert {line["jid"]: line["key"] for line in answers} == jids
    for line in answers:
        pending = line["jid"] in late
        assert line["status"] == ("running" if pending else "done")
        assert line["next_check_at"] == (tomorrow if pending else None)
        assert set(line) == {"type", "at", "key", "jid", "status", "next_check_at"}
    started, finished = ledger.runs[-1][0], ledger.runs[-1][-1]
    assert (started["command"], started["input"]) == ("follow", None)
    assert (started["target"], started["keys"]) == (service.origin, "raw")
    assert (finished["exit_code"], finished["counts"]) == (75, found["counts"])
    assert found["head"] == ledger.head != ran.json["head"]
    code, found = await follow(desk)
    assert (code, found["asked"], found["requests"]) == (75, 0, 0)
    days_ago(desk.folder / LEDGER, 1)
    service.status = lambda jid: "done"
    code, found = await follow(desk)
    assert (code, found["asked"], found["counts"]["done"]) == (0, 3, 12)
    assert desk.ledger().of("accepted") == [
        line | {"at": new["at"]}
        for line, new in zip(accepted, desk.ledger().of("accepted"), strict=True)
    ]
    again = await desk.run(source, service)
    assert (again.code, again.json["requests"]) == (0, 0)
    verified = await desk.call("verify", LEDGER, "--input", source)
    assert verified.code == 0


async def test_nothing_is_due_on_the_first_day(desk: Any, service: Any, keys: list[str]):
    """A job waits until the next day, so it is not asked about before; --now asks all the same."""
    await desk.run(desk.csv(keys[:4]), service)
    service.status = lambda jid: "created"
    assert (await follow(desk))[1]["asked"] == 0
    code, found = await follow(desk, "--now")
    assert (code, found["asked"], found["counts"]["pending"]) == (75, 4, 4)
    assert (await follow(desk, "--now"))[1]["asked"] == 4


async def test_jobs_that_ended_badly_are_findings(desk: Any, service: Any, keys: list[str]):
    """`error` and `not_found` are finished and listed with line and jid: 3 at the end. With
    --retry-failed they get new jobs, and the old ones are asked about no more."""
    source = desk.csv(keys[:6])
    await desk.run(source, service)
    jid = {line["key"]: line["jid"] for line in desk.ledger().of("accepted")}
    bad = {jid[keys[1]]: "error", jid[keys[4]]: "not_found"}
    service.status = lambda jid: bad.get(jid, "done")
    code, found = await follow(desk, "--now")
    assert (code, found["outcome"]) == (3, "complete")
    assert [(job["line"], job["jid"]) for job in found["error_jobs"]] == [(3, jid[keys[1]])]
    assert [(job["line"], job["jid"]) for job in found["not_found_jobs"]] == [(6, jid[keys[4]])]
    told_to_people = await desk.call("follow", LEDGER, "--now")
    assert f"line 3, jid {jid[keys[1]]}" in told_to_people.out
    assert told_to_people.code == 3
    asked = service.asked.copy()
    plain = await desk.run(source, service)
    assert plain.json["requests"] == 0
    ended = await desk.run(source, service, "--retry-failed")
    assert (ended.code, ended.json["counts"]["accepted"]) == (0, 2)
    assert (service.per_key[keys[1]], service.per_key[keys[4]]) == (2, 2)
    code, found = await follow(desk, "--now")
    assert (code, found["counts"]["done"], found["asked"]) == (0, 6, 2)
    assert all(service.asked[old] == asked[old] for old in bad)


async def test_unknown_words_are_kept_and_pending(desk: Any, service: Any, keys: list[str]):
    """A word outside of the list breaks nothing: it is recorded as it came."""
    await desk.run(desk.csv(keys[:2]), service)
    service.status = lambda jid: "Archivé \u200b"
    code, found = await follow(desk, "--now")
    assert (code, found["counts"]["pending"]) == (75, 2)
    assert {line["status"] for line in desk.ledger().of("job_status")} == {"Archivé \u200b"}


async def test_a_word_of_the_service_does_nothing_to_a_terminal(
    desk: Any, service: Any, keys: list[str]
):
    """Escapes and line breaks in it, and 60 kB of it, are shown as harmless, few characters."""
    gate = asyncio.Event()
    source = desk.csv(keys[:2])
    await desk.run(source, service)
    odd = "\x1b]0;mine\x07\n::error::" + "x" * 60_000
    first = service.jids[keys[0]][0]

    async def status(jid: str) -> web.Response:
        if jid != first:
            await gate.wait()
        return web.json_response({"jid": jid, "status": odd})

    service.status = status
    terminal = await desk.on_terminal("follow", LEDGER, "--now")
    await terminal.saw("::error::")
    gate.set()
    shown = (await terminal.ended()).err
    assert "\x1b]0" not in shown
    assert "\n::error" not in shown
    assert "x" * 40 not in shown


@pytest.mark.parametrize(
    "body",
    [
        '{"status": "done"}',
        '{"jid": "another", "status": "done"}',
        '{"jid": "JID"}',
        '{"jid": "JID", "status": ""}',
        '{"jid": "JID", "status": 7}',
        "<html>done</html>",
        "",
    ],
)
async def test_an_answer_that_is_none_is_not_booked(
    desk: Any, service: Any, keys: list[str], body: str
):
    """Without the jid that was asked for and a word, nothing is recorded; the job is pending."""
    await desk.run(desk.csv(keys[:3]), service)
    good = desk.ledger().of("accepted")[0]["jid"]

    async def status(jid: str) -> Any:
        if jid == good:
            return "done"
        await service.was_asked(3)  # so that a good answer comes first
        return web.Response(text=body.replace("JID", jid))

    service.status = status
    code, found = await follow(desk, "--now", "--max-attempts", 2)
    assert (code, found["asked"], found["unanswered"]) == (75, 1, 2)
    assert [line["jid"] for line in desk.ledger().of("job_status")] == [good]


@pytest.mark.parametrize(
    ("answer", "code"), [(403, 77), (401, 77), (404, 76), (302, 76), (410, 76)]
)
async def test_what_concerns_every_job_stops(
    desk: Any, service: Any, keys: list[str], answer: int, code: int
):
    """Refused credentials, a version that is gone, a redirect: as in `run`; the ledger is closed
    properly, and nothing is booked."""
    await desk.run(desk.csv(keys[:60]), service)
    service.status = lambda jid: answer
    ended, found = await follow(desk, "--now", "--concurrency", 4)
    assert (ended, found["outcome"]) == (code, "stopped")
    assert service.asked.total() <= 8
    assert desk.ledger().of("run_finished")[-1]["exit_code"] == code
    assert found["counts"]["pending"] == 60


async def test_a_bad_day_at_the_service(desk: Any, service: Any, keys: list[str]):
    """5xx and lost connections are repeated, each from the budget, until all have answered; what
    never answers is asked again next time."""
    await desk.run(desk.csv(keys[:40]), service)
    jids = [line["jid"] for line in desk.ledger().of("accepted")]
    poisoned = jids[7]

    def status(jid: str) -> Any:
        if jid == poisoned:
            return 500
        return 503 if service.asked[jid] == 1 and jids.index(jid) % 4 == 0 else "done"

    service.status = status
    code, found = await follow(desk, "--now", "--max-attempts", 3, "--rate", 0)
    assert (code, found["counts"]["done"], found["unanswered"]) == (75, 39, 1)
    assert found["retries"] == 12
    service.status = lambda jid: "done"
    code, found = await follow(desk, "--now")
    assert (code, found["asked"]) == (0, 1)


async def test_deadlines(desk: Any, service: Any, keys: list[str]):
    """The month begins with the row's own date, else with --received, else with the run; what is
    over or near is listed with its line, and --fail-if-overdue makes it 3."""
    today = datetime.now(UTC).date()

    def ago(days: int) -> str:
        return (today - timedelta(days=days)).isoformat()

    rows = [(keys[0], ago(40)), (keys[1], ago(27)), (keys[2], ago(3)), (keys[3], "")]
    lines = "".join(f"{key},{asked}\n" for key, asked in rows)
    source = desk.file("keys.csv", f"customerKey,asked\n{lines}")
    ran = await desk.run(source, service, "--received-field", "asked")
    assert ran.code == 0
    service.status = lambda jid: "waiting"
    code, found = await follow(desk, "--now")
    assert code == 75
    assert [job["line"] for job in found["overdue_jobs"]] == [2]
    assert [job["line"] for job in found["at_risk_jobs"]] == [3]
    code, found = await follow(desk, "--now", "--received", ago(90), "--fail-if-overdue")
    assert (code, [job["line"] for job in found["overdue_jobs"]]) == (3, [2, 5])
    assert [job["deadline_from"] for job in found["overdue_jobs"]] == ["row", "option"]
    days_ago(desk.folder / LEDGER, 35)
    told = await desk.call("follow", LEDGER)
    guessed = [line for line in told.out.splitlines() if "if received on the day of" in line]
    assert [line.split(",")[0].strip() for line in guessed if "due by" in line] == ["line 5"] * 2
    code, found = await follow(desk, "--fail-if-overdue")
    assert (code, [job["line"] for job in found["overdue_jobs"]]) == (3, [2, 5])
    assert [job["line"] for job in found["slow_jobs"]] == [2, 3, 4, 5]
    service.status = lambda jid: "done"
    code, found = await follow(desk, "--now", "--fail-if-overdue")
    assert (code, found["listed"]) == (0, dict.fromkeys(LISTS, 0))


async def test_a_kill_loses_no_answer(desk: Any, service: Any, keys: list[str]):
    """Killed while it asks, what was recorded is not asked again that day, the rest is."""
    await desk.run(desk.csv(keys[:300]), service)
    days_ago(desk.folder / LEDGER, 2)
    service.status = lambda jid: asyncio.sleep(99) if service.asked.total() > 150 else "running"
    running = await desk.start("follow", LEDGER, "--json", "--concurrency", 8, "--rate", 0)
    await service.was_asked(155)
    await desk.until(lambda: (desk.folder / LEDGER).read_bytes().count(b'"job_status"') >= 100)
    running.signal(signal.SIGKILL)
    await running.ended()
    answered = {line["jid"] for line in desk.ledger().of("job_status")}
    assert len(answered) >= 100
    service.status, service.asked = (lambda jid: "running"), type(service.asked)()
    code, found = await follow(desk, "--rate", 0)
    assert (code, found["asked"]) == (75, 300 - len(answered))
    assert not answered & set(service.asked)


async def test_an_interrupt_drains(desk: Any, service: Any, keys: list[str]):
    """SIGINT lets what is in flight finish: 130, and the command that continues is the same."""
    await desk.run(desk.csv(keys[:50]), service)
    go_on = asyncio.Event()

    async def status() -> str:
        await go_on.wait()
        return "done"

    service.status = lambda jid: status() if service.asked.total() > 20 else "done"
    options = ("--json", "--now", "--concurrency", 4, "--rate", 0)
    running = await desk.start("follow", LEDGER, *options)
    await service.was_asked(24)
    running.signal(signal.SIGINT)
    go_on.set()
    ended = await running.ended()
    found = told(ended)
    assert (ended.code, found["outcome"]) == (130, "interrupted")
    assert found["counts"]["done"] == service.asked.total() == 24
    assert (await follow(desk, "--now"))[1]["asked"] == 26


async def test_waiting_goes_on_day_after_day(desk: Any, service: Any, keys: list[str]):
    """--wait stays until all are finished: with a short day each job is asked once a day, in one
    run; a signal between two days ends it."""
    await desk.run(desk.csv(keys[:5]), service)
    service.status = lambda jid: "done" if service.asked[jid] == 3 else "running"
    code, found = await follow(desk, "--wait", "--day", 0.4)
    assert (code, found["asked"], found["counts"]["done"]) == (0, 15, 5)
    assert set(service.asked.values()) == {3}
    assert len(desk.ledger().of("run_started")) == 2
    other = desk.csv(keys[10:12], "other.csv")
    await desk.run(other, service)
    service.status = lambda jid: "running"
    asked = service.asked.total()
    running = await desk.start(
        "follow", "other.ledger.ndjson", "--json", "--wait", "--now", "--day", 1000
    )
    await service.was_asked(asked + 2)
    await desk.until(lambda: b'"job_status"' in (desk.folder / "other.ledger.ndjson").read_bytes())
    running.signal(signal.SIGTERM)
    ended = await running.ended()
    assert (ended.code, told(ended)["outcome"]) == (143, "interrupted")


async def test_a_night_without_questions_is_no_outage(desk: Any, service: Any, keys: list[str]):
    """With --wait, a few failures after a long pause are repeated; the time between two days is not
    one without a good answer."""
    await desk.run(desk.csv(keys[:4]), service)

    def status(jid: str) -> Any:
        if service.asked[jid] == 1:
            return "running"
        if service.asked.total() > 8:
            return "done"
        return web.Response(status=503, headers={"Retry-After": "0"})  # four on the second day

    service.status = status
    options = ("--wait", "--now", "--day", 3, "--max-outage", 1, "--rate", 0)
    code, found = await follow(desk, *options)
    assert (code, found["counts"]["done"], found["retries"]) == (0, 4, 4)


async def test_the_target_is_the_ledgers(desk: Any, service: Any, keys: list[str]):
    """Options may repeat the target; another one is 78, no ledger 2, one in use 75, and a short day
    is for this computer only. Nothing is asked or written."""
    await desk.run(desk.csv(keys[:2]), service)
    assert (await follow(desk, "--base-url", service.origin))[0] == 75
    cluster = desk.folder / "acme.ledger.ndjson"
    whole = (desk.folder / LEDGER).read_bytes()
    before = desk.everything()
    refused = [
        (78, (LEDGER, "--base-url", f"{service.origin}/other"), {}),
        (78, (LEDGER, "--cluster-id", "acme"), {}),
        (78, (LEDGER,), {"ELEVATE_API_KEY": ""}),
        (2, ("absent.ledger.ndjson",), {}),
        (2, (LEDGER, "--received", "yesterday"), {}),
        (2, (LEDGER, "--received", "2024-02-30"), {}),
        (2, (LEDGER, "--day", "0"), {}),
        (79, ("keys.csv",), {}),
    ]
    for code, arguments, env in refused:
        ended = await desk.call("follow", *arguments, "--json", env=env)
        assert (ended.code, told(ended)["outcome"]) == (code, "refused"), arguments
    assert desk.everything() == before
    assert service.asked == {}
    cluster.write_bytes(rechained(whole, _of_cluster))
    cluster.chmod(0o600)
    ended = await desk.call("follow", cluster, "--day", 2, "--json")
    assert (ended.code, "simulated service" in told(ended)["error"]) == (2, True)


def _of_cluster(line: dict[str, Any]) -> dict[str, Any]:
    """As if it had been written for the cluster acme."""
    return line | ({"target": "acme", "base": None} if line["type"] == "run_started" else {})


async def test_an_old_ledger_is_followed_at_its_own_service(
    desk: Any, service: Any, keys: list[str]
):
    """A ledger that knows the origin of its address only is asked there: another address, typed or
    in the environment, is 78; a path at the same origin is meant."""
    await desk.run(desk.csv(keys[:2]), service)
    path = desk.folder / LEDGER
    path.write_bytes(
        rechained(path.read_bytes(), lambda line: {k: v for k, v in line.items() if k != "base"})
    )
    before = desk.everything()
    other = "http://127.0.0.1:1"
    for options, env in (
        ((), {"ELEVATE_BASE_URL": other}),
        (("--base-url", other), {}),
        (("--base-url", f"{other}/x"), {}),
    ):
        code, found = await follow(desk, "--now", *options, env=env)
        assert (code, found["outcome"]) == (78, "refused")
    assert desk.everything() == before
    assert (await follow(desk, "--now", "--base-url", service.origin))[0] == 0


async def test_what_does_not_answer_is_asked_the_next_day(desk: Any, service: Any, keys: list[str]):
    """With --wait a job that gets no answer that counts is asked once a day like the others."""
    await desk.run(desk.csv(keys[:3]), service)
    odd, other = (line["jid"] for line in desk.ledger().of("accepted")[:2])

    def status(jid: str) -> Any:
        late = service.asked[other] < 3
        return (400 if jid == odd else "running") if late and jid in (odd, other) else "done"

    service.status = status
    code, found = await follow(desk, "--wait", "--day", 0.5, "--rate", 0)
    assert (code, found["counts"]["done"], service.asked[other]) == (0, 3, 3)
    assert service.asked[odd] <= 4


async def test_one_job_that_is_not_there_stops_nothing(desk: Any, service: Any, keys: list[str]):
    """404 for a single job, after others were answered, is no version that is gone; for many it
    is."""
    await desk.run(desk.csv(keys[:40]), service)
    jids = [line["jid"] for line in desk.ledger().of("accepted")]

    async def status(jid: str) -> Any:
        if jid != jids[0]:
            return "done"
        await service.was_asked(20)
        return 404

    service.status = status
    code, found = await follow(desk, "--now", "--rate", 0)
    assert (code, found["counts"]["done"], found["unanswered"]) == (75, 39, 1)
    more = desk.csv(keys[100:160], "keys.csv")
    await desk.run(more, service, "--same-batch")
    service.status = lambda jid: 404 if service.asked.total() > 60 else "running"
    code, found = await follow(desk, "--now", "--rate", 0, "--concurrency", 2)
    assert (code, found["outcome"]) == (76, "stopped")


@pytest.mark.parametrize("odd", ["received", "jid"])
async def test_an_odd_line_spoils_no_ending(desk: Any, service: Any, keys: list[str], odd: str):
    """A date at the end of the calendar and a jid of many kilobytes are followed like others."""
    if odd == "jid":
        long = {"jid": "j" * 60_000, "status": "created"}
        service.answer = lambda call: web.json_response(long) if call.n == 1 else None
    lines = f"{keys[0]},9999-12-31\n{keys[1]},2024-05-01\n"
    source = desk.file("keys.csv", f"customerKey,asked\n{lines}")
    await desk.run(source, service, "--received-field", "asked", "--concurrency", 1)
    service.status = lambda jid: "running"
    code, found = await follow(desk, "--now")
    assert code == 75
    assert (found["asked"], found["unanswered"]) == ((1, 1) if odd == "jid" else (2, 0))
    assert [job["line"] for job in found["overdue_jobs"]] == [3]
    assert desk.ledger().of("run_finished")[-1]["exit_code"] == 75


async def test_one_hand_at_a_time(desk: Any, service: Any, keys: list[str]):
    """While a run writes the ledger, `follow` is 75 and writes nothing, and the other way round."""
    service.answer = lambda call: asyncio.sleep(99) if call.n > 2 else None
    source = desk.csv(keys[:8])
    running = await desk.start_run(source, service, "--concurrency", 2)
    await service.saw(4)
    code, found = await follow(desk)
    assert (code, found["outcome"]) == (75, "refused")
    running.signal(signal.SIGKILL)
    await running.ended()
    service.status = lambda jid: asyncio.sleep(99)
    following = await desk.start("follow", LEDGER, "--now")
    await service.was_asked(1)
    ended = await desk.run(source, service)
    assert (ended.code, ended.json["outcome"]) == (75, "refused")
    following.signal(signal.SIGKILL)
    await following.ended()


async def test_another_version_goes_on(desk: Any, service: Any, keys: list[str]):
    """A ledger begun on v3 is followed on v4, and each run says its own; v3 warns of its end."""
    ran = await desk.run(desk.csv(keys[:2]), service, "--api-version", "v3")
    assert "API version v3" in ran.err
    assert "31 Dec 2026" in ran.err
    assert (await follow(desk, "--now"))[0] == 0
    assert [line["api"] for line in desk.ledger().of("run_started")] == ["v3", "v4"]
    old = await desk.call("follow", LEDGER, "--api-version", "v2")
    assert "end of life on 30 Apr 2024" in old.err


async def test_pseudonyms_are_followed_without_pepper(desk: Any, service: Any, keys: list[str]):
    """A jid is all that is needed, so the pepper may stay where it is."""
    pepper = desk.folder / "pepper"
    pepper.write_bytes(b"long enough to be none to guess")
    pepper.chmod(0o600)
    source = desk.csv(keys[:3])
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    await desk.run(source, service, "--pseudonymize", env=env)
    assert (await follow(desk, "--now"))[0] == 0
    assert not any(key.encode() in desk.ledger().raw for key in keys[:3])
    again = await desk.run(source, service, "--pseudonymize", env=env)
    assert (again.code, again.json["requests"]) == (0, 0)


async def test_a_rehearsal_is_followed_too(desk: Any, service: Any, keys: list[str]):
    """Its jobs live in their jids, so the embedded simulator knows them again."""
    source = desk.csv(keys[:3])
    await desk.run(source, service, "--rehearse")
    ended = await desk.call(
        "follow", "keys.rehearsal.ndjson", "--json", "--wait", "--day", 0.2, "--rate", 0
    )
    assert (ended.code, told(ended)["counts"]["done"]) == (0, 3)
    assert told(ended)["rehearsal"]
    assert "3 jobs are done, nothing erased, because this is a rehearsal." in ended.err
    assert service.asked == {}

"""The question whether anything is left: a sample that can be drawn again, and what came of it."""

import asyncio
import io
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bulk_eraser.cli.terminal.ending import as_typed
from tests.cli.conftest import rechained

LEDGER = "keys.ledger.ndjson"
DOCS = Path(__file__).parents[2] / "docs"


def archive(*names: str, content: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


EMPTY = archive("empty.txt")


async def erased(desk: Any, service: Any, source: object, *options: object) -> None:
    """All keys of it are erased; then the service is as new."""
    await desk.run(source, service, *options)
    service.status = lambda jid: "done"
    assert (await desk.call("follow", LEDGER, "--now", "--rate", "0")).code == 0
    service.calls.clear()
    service.per_key.clear()
    service.jids.clear()
    service.result = lambda jid: EMPTY


def words(sample: object, *options: object) -> tuple[object, ...]:
    return ("probe", LEDGER, "--sample", sample, "--yes", "--json", "--rate", "0", *options)


async def probed(desk: Any, sample: object, *options: object, **more: Any) -> Any:
    return await desk.call(*words(sample, *options), **more)


async def followed(desk: Any, *options: object) -> Any:
    return await desk.call("follow", LEDGER, "--now", "--json", "--rate", "0", *options)


def told(ended: Any) -> dict[str, Any]:
    ending: dict[str, Any] = json.loads(ended.out)
    assert ending["exit_code"] == ended.code
    return ending


def output_of(code: str, path: Path) -> str:
    """What a program of its own says of a file."""
    command = [sys.executable, "-I", "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_sample_of_whom_nothing_is_left(desk: Any, service: Any, keys: list[str]):
    """An export job for each of the sampled people, and no other; an empty result says that nothing
    is left. All faces say how many, and what that means for the others."""
    await erased(desk, service, desk.csv(keys[:200]))
    ended = await probed(desk, 60)
    assert ended.code == 0
    assert told(ended)["counts"] == {
        "population": 200,
        "sampled": 60,
        "asked": 60,
        "failed": 0,
        "not_reached": 0,
    }
    assert {call.path.rsplit("/", 1)[1] for call in service.calls} == {"create-export-customer-job"}
    assert len({call.key for call in service.calls}) == len(service.calls) == 60
    ended = await followed(desk)
    assert ended.code == 0
    probes = told(ended)["probes"]
    assert (probes["sampled"], probes["nothing_left"], probes["population"]) == (60, 60, 200)
    assert told(ended)["counts"]["done"] == 200
    assert service.downloads.total() == 60
    for command in ("status", "verify", "report"):
        ended = await desk.call(command, LEDGER)
        assert ended.code == 0
        assert "60 of 60 sampled people: nothing left." in ended.out
        assert "at most 10 of the 200 erased people (5.0%)" in ended.out.replace("\n", " ")
    assert not [path for path in desk.folder.iterdir() if path.is_dir()]  # nothing was stored


async def test_the_sample_can_be_drawn_again(desk: Any, service: Any, keys: list[str]):
    """By the program in docs/probe.md, from the ledger alone, also from a copy without keys."""
    await erased(desk, service, desk.csv(keys[:100]))
    await probed(desk, 17)
    [code] = re.findall(r"```python\n(.+?)```", (DOCS / "probe.md").read_text(), re.DOTALL)
    pepper = desk.file("pepper", "p" * 40)
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    await desk.call("pseudonymize", LEDGER, env=env)
    for name in (LEDGER, "keys.pseudonyms.ledger.ndjson"):
        path = desk.folder / name
        assert output_of(code, path) == "17 of 100: as drawn\n"
        path.write_text(path.read_text().replace('"seed":"', '"seed":"0', 1))
        assert output_of(code, path) == "17 of 100: NOT as drawn\n"


async def test_verify_draws_the_samples_again(desk: Any, service: Any, keys: list[str]):
    """Each from those who were erased by then; also of a copy without keys."""
    service.status = lambda jid: "done" if jid in service.jids[keys[0]] else "running"
    source = desk.csv(keys[:30])
    await desk.run(source, service)
    await followed(desk)
    await probed(desk, 60)
    service.status = lambda jid: "done"
    await followed(desk)
    await probed(desk, 17)
    await probed(desk, "100%")
    assert [line["size"] for line in desk.ledger().of("probe_drawn")] == [1, 17, 30]
    pepper = desk.file("pepper", "p" * 40)
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    await desk.call("pseudonymize", LEDGER, env=env)
    for name in (LEDGER, "keys.pseudonyms.ledger.ndjson"):
        found = told(await desk.call("verify", name, "--json"))
        assert (found["exit_code"], found["findings"]) == (0, {}), name


async def test_a_sample_that_its_seed_does_not_draw_is_found(
    desk: Any, service: Any, keys: list[str]
):
    """Whoever asked about people of their own choice, or about fewer, and made the digests anew."""
    await erased(desk, service, desk.csv(keys[:30]))
    await probed(desk, 5)
    path = desk.folder / LEDGER
    right, ledger = path.read_bytes(), desk.ledger()
    [drawn] = ledger.of("probe_drawn")
    sampled = [line["key"] for line in ledger.of("probe_key")]
    kept = next(line for line in ledger.of("accepted") if line["key"] not in sampled)
    first = ledger.of("probe_key")[0]
    number = 1 + [line["type"] for line in map(json.loads, right.splitlines())].index("probe_drawn")
    other = {"key": kept["key"], "line": kept["line"]}

    def another(line: dict[str, Any]) -> dict[str, Any]:
        of_probe = line["type"].startswith("probe_") and line.get("key") == first["key"]
        return line | other if of_probe else line

    def of_kind(kind: str, **fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda line: line | fields if line["type"] == kind else line

    def chosen(line: dict[str, Any]) -> dict[str, Any]:
        is_it = line["type"] == "probe_asked" and line["key"] == first["key"]
        return line | other if is_it else line

    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "another seed": of_kind("probe_drawn", seed="0" * 32),
        "a larger population": of_kind("probe_drawn", population=31),
        "fewer": of_kind("probe_drawn", size=4),
        "another person": another,
        "somebody who is not in it": chosen,
        "people of no sample": of_kind("probe_drawn", probe="none"),
    }
    assert rechained(right, dict) == right
    for change, made in changes.items():
        path.write_bytes(rechained(right, made))
        found = told(await desk.call("verify", LEDGER, "--json"))
        assert (found["exit_code"], list(found["findings"])) == (79, ["wrong_sample"]), change
        lines = [place["line"] for place in found["findings"]["wrong_sample"]["lines"]]
        if change != "somebody who is not in it":
            assert lines[0] == number, change
        else:
            assert len(lines) == 1
    assert drawn["population"] == 30


async def test_somebody_came_back(desk: Any, service: Any, keys: list[str]):
    """Anything but an empty result: 3. Names and sizes of the files are on record, and nothing of
    what is in them; with what it may mean and what to do."""
    await erased(desk, service, desk.csv(keys[:30]))
    await probed(desk, "100%")
    back = keys[7]
    secret = "what-they-bought-5531"
    names = (f"clicks-{back}.jsonl", "bell\a.jsonl")
    service.result = lambda jid: (
        archive(*names, content=secret) if jid in service.jids[back] else EMPTY
    )
    ended = await followed(desk)
    assert ended.code == 3
    found = told(ended)["probes"]
    assert (found["nothing_left"], found["came_back"]) == (29, 1)
    [it] = found["back"]
    assert it["line"] == 9
    assert [file["size"] for file in it["files"]] == [len(secret)] * 2
    assert "clicks-███.jsonl" in it["files"][0]["name"]
    assert it["files"][1]["name"].isprintable()
    [attention] = [it for it in told(ended)["attention"] if it["reason"] == "came_back"]
    assert attention["lines"] == [9]
    [jid] = service.jids[back]
    for command in ("status", "verify", "report"):
        ended = await desk.call(command, LEDGER)
        assert "cookie" in ended.out
        assert f"Data came back of: line 9, jid {jid}." in ended.out
    ended = await desk.call("follow", LEDGER, "--now")
    assert f"Data came back of: line 9, jid {jid}." in ended.out
    assert "30 erased; data of 1 sampled person came back." in ended.err
    assert attention in told(await desk.call("status", LEDGER, "--json"))["attention"]
    assert secret.encode() not in (desk.folder / LEDGER).read_bytes()
    ended = await desk.call("verify", LEDGER)
    assert ended.code == 3
    assert "data of 1 sampled person came back" in ended.err
    assert (await desk.call("status", LEDGER)).code == 3
    assert (await followed(desk)).code == 3


async def test_a_lost_answer_takes_nothing_back(desk: Any, service: Any, keys: list[str]):
    """Somebody came back by one sample, and the answer of the next one is lost: still 3."""
    await erased(desk, service, desk.csv(keys[:5]))
    await probed(desk, "100%")
    service.result = lambda jid: archive("clicks.jsonl") if jid in service.jids[keys[2]] else EMPTY
    assert (await followed(desk)).code == 3
    await probed(desk, "100%")
    service.result = lambda jid: 404
    ended = await followed(desk, "--max-attempts", "1")
    assert ended.code == 3
    probes = told(ended)["probes"]
    assert (probes["came_back"], probes["nothing_left"], probes["lost"]) == (1, 4, 0)
    for command in ("status", "verify"):
        assert (await desk.call(command, LEDGER)).code == 3


async def test_everybody_asked_about_again_is_waited_for(desk: Any, service: Any, keys: list[str]):
    """A second sample of people who have an answer: not finished, in every command, until it is
    answered as well."""
    await erased(desk, service, desk.csv(keys[:5]))
    await probed(desk, "100%")
    assert (await followed(desk)).code == 0
    await probed(desk, "100%")
    ended = await desk.call("status", LEDGER)
    assert ended.code == 75
    assert (
        "5 of 5 sampled people: nothing left. 5 asked about again, not answered yet." in ended.out
    )
    assert "Next: " in ended.err
    service.status = lambda jid: "waiting"
    ended = await desk.call("follow", LEDGER, "--now", "--rate", "0")
    assert ended.code == 75
    assert "Not finished: all 5 jobs are done, 5 erased; 5 probes not answered yet." in ended.err
    service.status = lambda jid: "done"
    assert (await followed(desk)).code == 0


async def test_nobody_is_certified_whose_data_is_there_again(
    desk: Any, service: Any, keys: list[str]
):
    """The page would say that the data is erased, and the ledger knows better."""
    await erased(desk, service, desk.csv(keys[:5]))
    await probed(desk, "100%")
    service.result = lambda jid: archive("clicks.jsonl") if jid in service.jids[keys[2]] else EMPTY
    await followed(desk)
    before = (desk.folder / LEDGER).read_bytes()
    ended = await desk.call("certificate", LEDGER, "--line", "4", "--html", "4.html", "--json")
    assert ended.code == 3
    [jid] = service.jids[keys[2]]
    assert jid in told(ended)["error"]
    assert told(ended)["attention"] == [{"reason": "came_back", "count": 1, "lines": [4]}]
    assert not (desk.folder / "4.html").exists()
    assert (desk.folder / LEDGER).read_bytes() == before
    desk.may_hold_keys.add(desk.folder / "3.html")
    assert (await desk.call("certificate", LEDGER, "--line", "3", "--html", "3.html")).code == 0


async def test_answers_take_days(desk: Any, service: Any, keys: list[str]):
    """Until then it is pending (75), and nothing is claimed."""
    await erased(desk, service, desk.csv(keys[:30]))
    await probed(desk, 10)
    service.status = lambda jid: "waiting"
    ended = await followed(desk)
    assert ended.code == 75
    assert told(ended)["next_check_at"] is not None
    assert told(ended)["probes"]["waiting"] == 10
    ended = await desk.call("status", LEDGER)
    assert ended.code == 75
    assert "confidence" not in ended.out
    assert f"follow {LEDGER}" in ended.err
    assert not service.downloads
    ended = await desk.call("follow", LEDGER, "--json")  # not due before tomorrow
    assert ended.code == 75
    assert service.asked.total() == 40


@pytest.mark.parametrize("how", ["not_found", "error", "gone", "html"])
async def test_a_lost_answer_is_none(desk: Any, service: Any, keys: list[str], how: str):
    """Whatever does not come whole says nothing of the person."""
    await erased(desk, service, desk.csv(keys[:30]))
    await probed(desk, "100%")
    [bad] = service.jids[keys[3]]
    if how in ("not_found", "error"):
        service.status = lambda jid: how if jid == bad else "done"
    elif how == "gone":
        service.result = lambda jid: 404 if jid == bad else EMPTY
    else:
        service.result = lambda jid: b"<!doctype html>" if jid == bad else EMPTY
    ended = await followed(desk, "--max-attempts", "2")
    assert ended.code == 0
    probes = told(ended)["probes"]
    assert (probes["nothing_left"], probes["lost"], probes["came_back"]) == (29, 1, 0)
    assert "29 of 30 sampled people: nothing left. 1 without an answer (lost)." in (
        (await desk.call("verify", LEDGER)).out
    )


async def test_interrupted_it_goes_on_with_the_same_sample(
    desk: Any, service: Any, keys: list[str]
):
    """The same command asks about the rest of the sample; a further one draws anew."""
    await erased(desk, service, desk.csv(keys[:100]))
    service.answer = lambda call: 403 if call.n > 12 else None
    ended = await probed(desk, 40, "--concurrency", "1")
    assert ended.code == 77
    counts = told(ended)["counts"]
    assert (counts["asked"], counts["not_reached"]) == (12, 28)
    service.answer = lambda call: None
    ended = await probed(desk, 40)
    assert told(ended)["counts"]["asked"] == 40
    ledger = desk.ledger()
    [drawn] = ledger.of("probe_drawn")
    sampled = {line["key"] for line in ledger.of("probe_key")}
    assert {line["key"] for line in ledger.of("probe_asked")} == sampled
    assert len(sampled) == 40
    sent = Counter(line["key"] for line in ledger.of("probe_sent"))
    assert all(service.per_key[key] <= sent[key] for key in service.per_key)
    assert set(service.per_key) <= sampled
    await probed(desk, 40)
    assert len(desk.ledger().of("probe_drawn")) == 2
    assert drawn["seed"] != desk.ledger().of("probe_drawn")[1]["seed"]


async def test_killed_in_the_middle(desk: Any, service: Any, keys: list[str]):
    """After a kill the sample is the same, and nobody was asked about without a line."""
    await erased(desk, service, desk.csv(keys[:100]))
    hold = asyncio.Event()
    service.answer = lambda call: hold.wait() if call.n > 20 else None
    running = await desk.start(*words(60))
    await service.saw(25)
    running.signal(9)
    await running.ended()
    hold.set()
    service.answer = lambda call: None
    ended = await probed(desk, 60)
    assert told(ended)["counts"]["asked"] == 60
    ledger = desk.ledger()
    assert len(ledger.of("probe_drawn")) == 1
    sent = Counter(line["key"] for line in ledger.of("probe_sent"))
    assert all(service.per_key[key] <= sent[key] for key in service.per_key)
    assert (await followed(desk)).code == 0


async def test_who_cannot_be_asked_about(desk: Any, service: Any, keys: list[str]):
    """A refused key is told (3), and tried again by the same command."""
    await erased(desk, service, desk.csv(keys[:20]))
    service.answer = lambda call: 400 if call.key == keys[4] else None
    ended = await probed(desk, "100%")
    assert ended.code == 3
    assert told(ended)["counts"]["failed"] == 1
    assert told(ended)["attention"][0]["lines"] == [6]
    service.answer = lambda call: None
    assert (await probed(desk, "100%")).code == 0
    assert service.per_key[keys[4]] == 2


async def test_erasures_are_as_they_were(desk: Any, service: Any, keys: list[str]):
    """A probe is no erasure and no new job of the key: `run` and `verify` find what they found."""
    source = desk.csv(keys[:20])
    await erased(desk, service, source)
    before = told(await desk.call("verify", LEDGER, "--input", source, "--json"))
    await probed(desk, 10)
    await followed(desk)
    after = told(await desk.call("verify", LEDGER, "--input", source, "--expect-done", "--json"))
    assert after["states"] == before["states"]
    assert after["findings"] == {}
    ended = await desk.run(source, service)
    assert ended.json["counts"]["already_settled"] == 20
    assert not service.per_key.keys() - {line["key"] for line in desk.ledger().of("probe_key")}


@pytest.mark.parametrize("sample", ["0", "-1", "x", "0%", "101%", "1e3", ""])
async def test_what_is_no_sample(desk: Any, service: Any, keys: list[str], sample: str):
    """2, and nothing is sent."""
    await erased(desk, service, desk.csv(keys[:20]))
    before = (desk.folder / LEDGER).read_bytes()
    assert (await probed(desk, sample)).code == 2
    assert not service.calls
    assert (desk.folder / LEDGER).read_bytes() == before


async def test_consent_is_needed(desk: Any, service: Any, keys: list[str]):
    """Without a terminal it takes --yes; on one, the number."""
    await erased(desk, service, desk.csv(keys[:20]))
    ended = await desk.call("probe", LEDGER, "--sample", "5")
    assert ended.code == 2
    terminal = await desk.on_terminal("probe", LEDGER, "--sample", "5", "--rate", "0")
    await terminal.saw("confirm")
    assert not service.calls
    terminal.type("5\r")
    assert (await terminal.ended()).code == 0
    assert len(service.calls) == 5


async def test_the_next_command_is_enough(desk: Any, service: Any, keys: list[str]):
    """It names the way to the API key that was typed; as it was printed, it works."""
    await erased(desk, service, desk.csv(keys[:5]))
    api_key = desk.file("own.key", "a-made-up-key")
    api_key.chmod(0o600)
    ended = await probed(desk, 5, "--api-key-file", api_key)
    assert told(ended)["next"][-4:] == ["follow", LEDGER, "--api-key-file", str(api_key)]
    assert f"Ask for the answers once a day with: {as_typed(told(ended)['next'])}\n" in ended.err


async def test_whom_there_is_to_ask_about(desk: Any, service: Any, keys: list[str]):
    """Nobody erased yet, pseudonyms, an export, a rehearsal, no ledger: 2, nothing is sent."""
    source = desk.csv(keys[:5])
    await desk.run(source, service)
    service.calls.clear()
    ended = await probed(desk, 3)
    assert ended.code == 2
    assert "erased yet" in told(ended)["error"]
    assert (await desk.call("probe", "none.ledger.ndjson", "--sample", "3", "--yes")).code == 2
    words_ = ("--base-url", service.origin, "--output", "results", "--yes", "--rate", "0")
    await desk.call("export", source, *words_)
    export = "keys.export.ledger.ndjson"
    service.calls.clear()
    ended = await desk.call("probe", export, "--sample", "3", "--yes")
    assert ended.code == 2
    assert "nothing to probe" in ended.err
    pepper = desk.file("pepper", "p" * 40)
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    service.status = lambda jid: "done"
    await followed(desk)
    await desk.call("pseudonymize", LEDGER, env=env)
    ended = await desk.call(
        "probe", "keys.pseudonyms.ledger.ndjson", "--sample", "3", "--yes", env=env
    )
    assert ended.code == 2
    assert "holds pseudonyms" in ended.err
    assert not service.calls


async def test_one_jid_for_several_people_is_no_answer(desk: Any, service: Any, keys: list[str]):
    """A gateway that answers everybody with the first one's job has asked about one person."""
    await erased(desk, service, desk.csv(keys[:20]))
    service.answer = lambda call: web.json_response({"jid": "same", "status": "created"})
    ended = await probed(desk, 5, "--max-attempts", "2")
    assert ended.code in (3, 76)
    assert len(desk.ledger().of("probe_asked")) == 1


async def test_a_jid_from_an_earlier_probe_is_no_answer(desk: Any, service: Any, keys: list[str]):
    """Another person's export job says nothing of this one, also if it was given days ago."""
    await erased(desk, service, desk.csv(keys[:20]))
    assert (await probed(desk, 3)).code == 0
    first = desk.ledger().of("probe_asked")[0]
    other = next(key for key in keys[:20] if key != first["key"])
    service.answer = lambda call: (
        web.json_response({"jid": first["jid"], "status": "created"}) if call.key == other else None
    )
    ended = await probed(desk, "100%", "--max-attempts", "2")
    assert (ended.code, told(ended)["counts"]["failed"]) == (3, 1)
    assert service.per_key[other] >= 2
    asked = Counter(line["jid"] for line in desk.ledger().of("probe_asked"))
    assert set(asked.values()) == {1}

"""`report`: every writer out of a real run; no key unless asked for; 0 once it is written, 79."""

import csv
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.cli.test_follow import days_ago

LEDGER = "keys.ledger.ndjson"
WRITERS = {
    "html": "r.html",
    "markdown": "r.md",
    "json": "r.json",
    "csv": "r.csv",
    "junit": "r.xml",
    "metrics": "r.prom",
    "dotenv": "r.env",
}
ALL = [word for name, path in WRITERS.items() for word in (f"--{name}", path)]


async def a_batch(desk: Any, service: Any, keys: list[str]) -> Any:
    """Of six keys one is refused, one unknown, one on hold; a row without a key, a duplicate; all
    jobs are done but one. Returns the input."""
    service.answer = lambda call: {keys[1]: 400, keys[2]: 500}.get(call.key)
    source = desk.file(
        "keys.csv",
        "customerKey,ticket,asked\n"
        + "".join(f"{key},T-{n},2026-11-0{n + 1}\n" for n, key in enumerate(keys[:6]))
        + f"{keys[0]},T-9,2026-11-09\n,T-8,2026-11-08\n",
    )
    hold = desk.file("hold.csv", f"customerKey,reason\n{keys[5]},=a court case\n")
    options = ("--reference-field", "ticket", "--received-field", "asked", "--max-attempts", 2)
    await desk.run(source, service, "--exclude", hold, *options, "--requester", "Ada")
    days_ago(desk.folder / LEDGER, 2)
    jids = {line["key"]: line["jid"] for line in desk.ledger().of("accepted")}
    service.status = lambda jid: "running" if jid == jids[keys[4]] else "done"
    await desk.call("follow", LEDGER)
    return source


async def report(desk: Any, *arguments: object, code: int = 0) -> Any:
    """Without an API key; the ledger is as it was."""
    before = (desk.folder / LEDGER).read_bytes()
    ended = await desk.call("report", *arguments, without_api_key=True)
    assert ended.code == code, ended.err
    assert (desk.folder / LEDGER).read_bytes() == before
    return ended


async def test_every_writer_tells_the_same(desk: Any, service: Any, keys: list[str]):
    """All files at once, with the numbers of `verify`; the ledger is read once, and no file and no
    output holds a key (which is looked for after every test)."""
    source = await a_batch(desk, service, keys)
    ended = await report(desk, LEDGER, "--input", source, *ALL)
    verified = await desk.call("verify", LEDGER, "--input", source, "--json")
    states = json.loads(verified.out)["states"]
    assert {s: n for s, n in states.items() if n} == {
        "erased": 2,
        "in_progress": 1,
        "refused": 1,
        "unknown": 1,
        "excluded": 1,
        "rejected": 1,
        "duplicate": 1,
    }
    texts = {name: (desk.folder / path).read_text() for name, path in WRITERS.items()}
    found = json.loads(texts["json"])
    assert found["states"] == states
    assert (found["requesters"], found["is_input_read"]) == (["Ada"], True)
    for state, count in states.items():
        assert f"ERASURE_{state.upper()}={count}\n" in texts["dotenv"]
        assert f'state="{state}"}} {count}\n' in texts["metrics"]
    rows = list(csv.DictReader(texts["csv"].removeprefix("\ufeff").splitlines()))
    assert [row["state"] for row in rows].count("erased") == states["erased"]
    assert len(rows) == sum(states.values()) == 8
    root = ET.fromstring(texts["junit"])
    assert int(str(root.get("failures"))) == 1 + 2 + 1  # not everybody is, two reasons, a reject
    verdict = "Not complete: 2 of 5 customer keys are erased, and some rows need attention."
    assert verdict in texts["html"]
    assert "**Not complete: 2 of 5 customer keys are erased" in texts["markdown"]
    assert ended.err.rstrip().endswith(verdict)
    assert ended.out == ""
    for path in WRITERS.values():
        assert f"Written: {path}\n" in ended.err


class Program(HTMLParser):
    """What stands on the page as a program."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self._is_in = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._is_in |= tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._is_in &= tag != "pre"

    def handle_data(self, data: str) -> None:
        self.text += data if self._is_in else ""


def alone(program: Path, ledger: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", program, ledger]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_the_program_on_the_page_agrees(desk: Any, service: Any, keys: list[str]):
    """Copied from the page and run without this project's packages, it prints the same head; one
    changed letter in the ledger, and it says so."""
    await a_batch(desk, service, keys)
    await report(desk, LEDGER, "--html", "r.html", "--json", "r.json")
    program = desk.folder / "copied.py"
    program.write_text(Program((desk.folder / "r.html").read_text()).text)
    said = alone(program, desk.folder / LEDGER)
    (proof,) = json.loads((desk.folder / "r.json").read_text())["ledgers"]
    assert f"{proof['lines']} lines; head {proof['head']}; 0 bytes behind it" in said.stdout
    raw = (desk.folder / LEDGER).read_bytes()
    (desk.folder / LEDGER).write_bytes(raw.replace(b'"T-0"', b'"T-1"', 1))
    assert alone(program, desk.folder / LEDGER).returncode == 1
    (desk.folder / LEDGER).write_bytes(raw)


@pytest.mark.parametrize("with_input", [True, False])
async def test_the_table_has_what_is_known_of_each_key(
    desk: Any, service: Any, keys: list[str], with_input: bool
):
    """By line, reference, jid; with a mark of UTF-8 at its start; the key only with --show-keys."""
    source = await a_batch(desk, service, keys)
    options = ["--input", source] if with_input else []
    await report(desk, LEDGER, *options, "--csv", "r.csv")
    content = (desk.folder / "r.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfline,key,state,")
    rows = {row["line"]: row for row in csv.DictReader(content.decode("utf-8-sig").splitlines())}
    accepted = {str(line["line"]): line for line in desk.ledger().of("accepted")}
    assert rows["2"] == {
        "line": "2",
        "key": "",
        "state": "erased",
        "error": "",
        "reference": "T-0",
        "received": "2026-11-01",
        "jid": accepted["2"]["jid"],
        "accepted_at": accepted["2"]["at"],
        "job_status": "done",
        "due": "2026-12-01",
        "hold_reason": "",
    }
    assert (rows["3"]["state"], rows["3"]["error"], rows["3"]["due"]) == (
        "refused",
        "http_400",
        "2026-12-02",
    )
    assert (rows["4"]["state"], rows["4"]["error"]) == ("unknown", "http_500")
    assert (rows["6"]["state"], rows["6"]["job_status"]) == ("in_progress", "running")
    assert (rows["7"]["state"], rows["7"]["hold_reason"]) == ("excluded", "'=a court case")
    more = {"8": "duplicate", "9": "rejected"} if with_input else {}
    assert {line: rows[line]["state"] for line in list(rows)[6:]} == more
    desk.may_hold_keys.add(desk.folder / "shown.csv")
    await report(desk, LEDGER, *options, "--csv", "shown.csv", "--show-keys")
    shown = (desk.folder / "shown.csv").read_text("utf-8-sig")
    by_line = {row["line"]: row["key"] for row in csv.DictReader(shown.splitlines())}
    assert [by_line[str(line)] for line in range(2, 8)] == keys[:6]


async def test_an_input_is_all_that_is_counted(desk: Any, service: Any, keys: list[str]):
    """Other keys of the ledger are told as such, and are in no other number."""
    await desk.run(desk.csv(keys[:5]), service)
    await report(desk, LEDGER, "--input", desk.csv(keys[:2], "two.csv"), "--json", "r.json")
    found = json.loads((desk.folder / "r.json").read_text())
    assert (found["states"]["in_progress"], found["extra"], found["to_be_erased"]) == (2, 3, 2)
    assert found["deadlines"]["ahead"] == sum(found["days"]["waiting"]) == 2
    assert [job["count"] for job in found["jobs"]] == [2]


async def test_without_a_file_it_is_text(desk: Any, service: Any, keys: list[str]):
    """On stdout, the verdict first; nothing on stderr that is not needed."""
    await a_batch(desk, service, keys)
    ended = await report(desk, LEDGER)
    assert ended.out.startswith("Not complete: 2 of 5 customer keys are erased")
    for words in ("requester Ada", "1 refused: http_400", "(line 3)", "Method and limits", "head "):
        assert words in ended.out
    assert ended.err == ""


async def test_nightly_it_takes_the_place_of_the_last(desk: Any, service: Any, keys: list[str]):
    """Whole or not at all; another file is never overwritten, and nothing is written then."""
    await desk.run(desk.csv(keys[:2]), service)
    for _ in range(2):
        await report(desk, LEDGER, *ALL)
    modes = {path: (desk.folder / path).stat().st_mode & 0o777 for path in WRITERS.values()}
    assert modes == dict.fromkeys(WRITERS.values(), 0o600) | {"r.prom": 0o644}
    before = desk.everything()
    for option, path in (("--html", "keys.csv"), ("--csv", LEDGER), ("--json", "r.html")):
        ended = await report(desk, LEDGER, "--markdown", "new.md", option, path, code=2)
        assert path in ended.err
    ended = await report(desk, LEDGER, "--html", "x", "--csv", "./x", code=2)
    assert "same file" in ended.err
    assert desk.everything() == before


async def test_a_damaged_ledger_is_told_and_79(desk: Any, service: Any, keys: list[str]):
    """The report is written, and says so before all else."""
    await desk.run(desk.csv(keys[:4]), service)
    ledger = desk.folder / LEDGER
    ledger.write_bytes(ledger.read_bytes().replace(b'"sent"', b'"seen"', 1))
    ended = await report(desk, LEDGER, *ALL, code=79)
    assert ended.err.splitlines()[-1].startswith("Not proven: ")
    assert "<strong" in (desk.folder / "r.html").read_text()
    assert "Not proven: " in (desk.folder / "r.html").read_text()
    assert "ERASURE_STANDING=not_proven\n" in (desk.folder / "r.env").read_text()
    assert "bulk_eraser_ledger_proven{" in (desk.folder / "r.prom").read_text()


async def test_everybody_is_erased(desk: Any, service: Any, keys: list[str]):
    """Only then it is called complete."""
    await desk.run(desk.csv(keys[:3]), service)
    assert "Complete" not in (await report(desk, LEDGER)).out
    days_ago(desk.folder / LEDGER, 6)
    await desk.call("follow", LEDGER)
    ended = await report(desk, LEDGER, "--junit", "r.xml")
    assert ended.err.endswith("Complete: all 3 customer keys are erased.\n")
    assert ET.parse(desk.folder / "r.xml").getroot().get("failures") == "0"


async def test_what_was_kept_is_checked(desk: Any, service: Any, keys: list[str]):
    """A head and a receipt, as `verify` does; what is not there is 79."""
    await desk.run(desk.csv(keys[:3]), service, "--receipt", "receipt.json")
    head = desk.ledger().head
    ended = await report(desk, LEDGER, "--receipt", "receipt.json", "--expect-head", head)
    assert f"the expected head {head} is one of the commits" in ended.out
    await report(desk, LEDGER, "--expect-head", "0" * 63 + "1", code=79)


async def test_pseudonyms_stand_in_the_table(desk: Any, service: Any, keys: list[str]):
    """As the ledger has them: they are no keys."""
    (desk.folder / "pepper").write_text("x" * 40)
    env = {"BULK_ERASER_PEPPER_FILE": "pepper"}
    await desk.run(desk.csv(keys[:2]), service, "--pseudonymize", env=env)
    await report(desk, LEDGER, "--csv", "r.csv")
    rows = csv.DictReader((desk.folder / "r.csv").read_text("utf-8-sig").splitlines())
    assert [row["key"] for row in rows] == [it["key"] for it in desk.ledger().of("accepted")]


async def test_a_full_disk_leaves_the_last_report(desk: Any, service: Any, keys: list[str]):
    """74, and the file of yesterday is whole."""
    await desk.run(desk.csv(keys[:30]), service)
    await report(desk, LEDGER, "--html", "r.html", "--csv", "r.csv")
    before = desk.everything()
    running = await desk.start("report", LEDGER, "--html", "r.html", file_size_limit=4000)
    ended = await running.ended()
    assert (ended.code, "cannot be written" in ended.err) == (74, True)
    running = await desk.start("report", LEDGER, "--csv", "r.csv", file_size_limit=1000)
    assert (await running.ended()).code == 74
    assert desk.everything() == before


async def test_a_table_that_cannot_be_finished_is_not_there(
    desk: Any, service: Any, keys: list[str]
):
    """An input that is none ends it before anything is put in place."""
    await desk.run(desk.csv(keys[:3]), service)
    desk.file("empty.csv", "")
    await report(desk, LEDGER, "--input", "empty.csv", "--csv", "r.csv", code=65)
    assert not [path for path in os.listdir(desk.folder) if path.startswith(("r.", "tmp"))]


# ── in GitHub Actions ───────────────────────────────────────────────────────────────────────────


def in_actions(folder: Path) -> dict[str, str]:
    return {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}


async def test_a_step_has_its_summary_and_annotations(desk: Any, service: Any, keys: list[str]):
    """A section for each command; at most three annotations, on stderr; --json as promised."""
    service.answer = lambda call: 400 if call.key in keys[:2] else None
    env = in_actions(desk.folder)
    source = desk.csv([*keys[:6], ""])
    ran = await desk.run(source, service, "--max-failures", 9, env=env)
    assert (ran.code, ran.json["counts"]["failed"]) == (3, 2)
    notes = [line for line in ran.err.splitlines() if line.startswith("::")]
    assert len(notes) == 3
    assert notes[0].startswith("::warning title=bulk-eraser run::Reached the end")
    await desk.call("follow", LEDGER, env=env)
    verified = await desk.call("verify", LEDGER, "--json", env=env)
    assert json.loads(verified.out)["exit_code"] == verified.code
    summary = (desk.folder / "summary.md").read_text()
    sections = [line for line in summary.splitlines() if line.startswith("### ")]
    assert [line.split(" (")[1] for line in sections] == ["3)", "75)", "0)"]
    assert "### bulk-eraser run: reached its end, needs attention" in summary
    assert "| 4 | accepted: the service created a removal job |" in summary
    assert "lines 2 and 3" in summary
    assert "Next: <code>" in summary


async def test_what_was_refused_is_an_error(desk: Any, service: Any, keys: list[str]):
    """Also where the command did not get to its work."""
    env = in_actions(desk.folder)
    ended = await desk.call("run", desk.csv(keys[:2]), "--base-url", service.origin, env=env)
    assert ended.code == 2
    assert sum(line.startswith("::error title=") for line in ended.err.splitlines()) == 1
    assert "### bulk-eraser run: refused (2)" in (desk.folder / "summary.md").read_text()


async def test_no_summary_without_github(desk: Any, service: Any, keys: list[str]):
    """Nothing is annotated elsewhere, and a summary that cannot be written changes nothing."""
    env = {"GITHUB_STEP_SUMMARY": str(desk.folder / "summary.md")}
    ended = await desk.run(desk.csv(keys[:2]), service, env=env)
    assert (ended.code, "::" in ended.err) == (0, False)
    assert not (desk.folder / "summary.md").exists()
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(desk.folder)}
    ended = await desk.call("verify", LEDGER, env=env)
    assert (ended.code, ended.err.count("::notice title=")) == (0, 1)

"""Certificates of people who were probed: what was answered is in the statement, and nobody gets
one of whom data came back."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from bulk_eraser.evidence.certificate.erased import ErasedKeys
from bulk_eraser.evidence.certificate.merkle import GrowingTree
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import ledger_blocks, replay
from bulk_eraser.records import LeafSecret, Root
from bulk_eraser.wording import time_in_words
from tests.cli.test_certificate import (
    LEDGER,
    Foreign,
    audited,
    certify,
    forged,
    plainly,
    signing_key,
    verified,
)
from tests.cli.test_probe import EMPTY, archive, erased, followed, probed
from tests.cli.test_pseudonyms import NEW, name_of, pepper_in

ONE_BY_ONE = ("--concurrency", 1)
"""So that keys are accepted in the order of their lines."""


async def asked_about_all(desk: Any, service: Any, keys: list[str]) -> None:
    """All of them are erased, and asked about; nothing is answered yet."""
    await erased(desk, service, desk.csv(keys), *ONE_BY_ONE)
    assert (await probed(desk, "100%")).code == 0


def statement_in(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(Foreign(path.read_text()).leaf)
    return said


def somebody_is_back(service: Any, key: str) -> None:
    """The export of that key, and of nobody else, has data from now on."""
    service.result = lambda jid: (
        archive("clicks.jsonl", content="x") if jid in service.jids[key] else EMPTY
    )


def of_key(lines: list[dict[str, Any]], key: str) -> dict[str, Any]:
    (found,) = (line for line in lines if line["key"] == key)
    return found


async def test_what_was_answered_is_certified(desk: Any, service: Any, keys: list[str]):
    """A question that waits for its answer says nothing, and asks for no new root; once nothing is
    left, that is in the statement, on the page and in what a check prints. The certificate from
    before stays good, and `verify` finds both roots right."""
    await erased(desk, service, desk.csv(keys[:5]), *ONE_BY_ONE)
    before, early = await certify(desk, "--line", 3, name="early.proof")
    await probed(desk, "100%")
    waiting, path = await certify(desk, "--line", 3, name="waiting.proof")
    assert (waiting["head"], waiting["new_root"]) == (before["head"], False)
    assert "probe" not in statement_in(path)
    assert (await followed(desk)).code == 0
    found, path = await certify(desk, "--line", 3, *signing_key(desk))
    assert (found["new_root"], found["leaves"], found["index"]) == (True, 5, 1)
    foreign = Foreign(path.read_text())
    assert foreign.is_good(found["verifier_key"])
    asked = of_key(desk.ledger().of("probe_asked"), keys[1])
    answered = of_key(desk.ledger().of("probe_answered"), keys[1])
    said = statement_in(path)["probe"]
    assert said == {
        "asked_at": asked["at"],
        "jid": asked["jid"],
        "answered_at": answered["at"],
        "answer": "nothing_left",
    }
    assert (await verified(desk, path))["statement"]["probe"] == said
    ended = await desk.call("verify-certificate", path)
    when = time_in_words(asked["at"])
    assert f"{when}: asked whether anything is left, export job {asked['jid']}" in ended.out
    assert "nothing left, as the service had answered by then" in ended.out
    assert "nothing_left" in plainly(path, desk.folder / "signer.pub.pem").stdout
    again, page = await certify(desk, "--line", 3, name="c.html")
    assert (again["head"], again["new_root"]) == (found["head"], False)
    text = page.read_text()
    assert f"On {when} Elevate was asked whether any data is left under your key" in text
    assert f"{time_in_words(answered['at'])}: nothing." in text
    assert (await verified(desk, early))["exit_code"] == 0
    assert "probe" not in statement_in(early)
    heads = ("--expect-head", before["head"], "--expect-head", found["head"])
    assert (await audited(desk, *heads))["findings"] == {}


async def test_nobody_is_certified_who_came_back(desk: Any, service: Any, keys: list[str]):
    """Nothing hides it: 3, with what to do, and the root stands for the others alone. So it is
    until a later question is answered with nothing left."""
    await erased(desk, service, desk.csv(keys[:5]), *ONE_BY_ONE)
    _, early = await certify(desk, "--line", 3, name="early.proof")
    await probed(desk, "100%")
    somebody_is_back(service, keys[1])
    assert (await followed(desk)).code == 3
    before = desk.everything()
    refused, path = await certify(desk, "--line", 3)
    assert (refused["exit_code"], refused["outcome"]) == (3, "incomplete")
    assert refused["attention"] == [{"reason": "came_back", "count": 1, "lines": [3]}]
    assert of_key(desk.ledger().of("probe_asked"), keys[1])["jid"] in refused["error"]
    assert "Ask Voyado" in refused["error"]
    assert (path.exists(), desk.everything()) == (False, before)
    other, path = await certify(desk, "--line", 4)
    assert (other["exit_code"], other["leaves"], other["index"]) == (0, 4, 1)
    assert statement_in(path)["probe"]["answer"] == "nothing_left"
    assert (await certify(desk, "--line", 3, name="no.proof"))[0]["exit_code"] == 3
    assert (await verified(desk, early))["exit_code"] == 0
    found = await audited(desk)
    assert (found["exit_code"], found["findings"], found["erased"]) == (3, {}, 5)
    service.result = lambda jid: EMPTY
    await probed(desk, "100%")
    assert (await certify(desk, "--line", 3))[0]["exit_code"] == 3
    assert (await followed(desk)).code == 0
    found, path = await certify(desk, "--line", 3)
    assert (found["exit_code"], found["leaves"]) == (0, 5)
    last = desk.ledger().of("probe_asked")[-5:]
    assert statement_in(path)["probe"]["jid"] == of_key(last, keys[1])["jid"]
    assert (await audited(desk))["findings"] == {}


async def test_an_answer_that_is_lost_says_nothing(desk: Any, service: Any, keys: list[str]):
    """Neither of somebody of whom nothing else is known, nor against what was known before: who
    came back is still that, also for `verify` and `status`."""
    await asked_about_all(desk, service, keys[:4])
    somebody_is_back(service, keys[1])
    whole = service.result
    lost = service.jids[keys[2]][:]
    service.result = lambda jid: b"<!doctype html>" if jid in lost else whole(jid)
    assert (await followed(desk, "--max-attempts", 1)).code == 3
    found, path = await certify(desk, "--line", 4)
    assert (found["exit_code"], "probe" in statement_in(path)) == (0, False)
    await probed(desk, "100%")
    service.result = lambda jid: b"<!doctype html>"
    await followed(desk, "--max-attempts", 1)
    assert (await certify(desk, "--line", 3))[0]["exit_code"] == 3
    found, path = await certify(desk, "--line", 2)
    assert statement_in(path)["probe"]["jid"] == service.jids[keys[0]][0]
    probes = (await audited(desk))["probes"]
    assert (probes["came_back"], probes["nothing_left"], probes["lost"]) == (1, 2, 1)
    assert (await desk.call("status", LEDGER)).code == 3


def a_root_of_format(path: Path, format_: int) -> None:
    """As it was written before statements said anything of probes."""
    scan, secret, content = LedgerScan(), bytes(32), path.read_bytes()
    with closing(ErasedKeys()) as erased_keys:
        replay(scan, ledger_blocks(str(path)), [erased_keys])
        tree = GrowingTree()
        for _, leaf in erased_keys.leaves(
            lambda at, size: content[at : at + size], secret, len(content), with_probes=False
        ):
            tree.add(leaf)
    at = "2030-01-02T03:04:05.000Z"
    group, covers = encode_group(scan.head, [LeafSecret(secret=secret.hex())], at)
    root = Root(format=format_, root=tree.root().hex(), leaves=tree.leaves, covers=covers)
    path.write_bytes(content + group + encode_group(covers, [root], at)[0])


async def test_a_root_from_before_probes_is_right_and_not_used(
    desk: Any, service: Any, keys: list[str]
):
    """Format 1: over everybody who is erased, also who came back; none of format 2 is, and a later
    one cannot be read."""
    await asked_about_all(desk, service, keys[:4])
    somebody_is_back(service, keys[1])
    await followed(desk)
    path = desk.folder / LEDGER
    content = path.read_bytes()
    for format_, code, words in ((2, 79, ["wrong_root"]), (3, 79, []), (1, 3, [])):
        path.write_bytes(content)
        a_root_of_format(path, format_)
        found = await audited(desk)
        assert (found["exit_code"], list(found["findings"])) == (code, words), format_
    assert (await certify(desk, "--line", 3))[0]["exit_code"] == 3
    found, certificate = await certify(desk, "--line", 2)
    assert (found["new_root"], found["leaves"]) == (True, 3)
    assert statement_in(certificate)["probe"]["answer"] == "nothing_left"
    assert [line["format"] for line in desk.ledger().of("root")] == [1, 2]
    assert (await audited(desk))["findings"] == {}


async def test_answers_that_were_changed_make_a_root_wrong(
    desk: Any, service: Any, keys: list[str]
):
    """Whoever turns `came_back` into `nothing_left`, or the other way round, behind a root."""
    await asked_about_all(desk, service, keys[:4])
    somebody_is_back(service, keys[1])
    await followed(desk)
    await certify(desk, "--line", 2)
    path = desk.folder / LEDGER
    right = path.read_bytes()
    assert (await audited(desk))["findings"] == {}
    for fields in ({"answer": "nothing_left"}, {"answer": "came_back"}, {"answer": "lost"}):
        path.write_bytes(forged(right, "probe_answered", fields))
        found = await audited(desk)
        assert (found["exit_code"], list(found["findings"])) == (79, ["wrong_root"]), fields


async def test_the_answers_stay_in_a_copy_with_pseudonyms(desk: Any, service: Any, keys: list[str]):
    """Of pseudonyms the same is certified, and the same is refused."""
    await asked_about_all(desk, service, keys[:3])
    somebody_is_back(service, keys[1])
    await followed(desk)
    assert (await desk.call("pseudonymize", LEDGER, env=pepper_in(desk))).code == 0
    path = desk.folder / "copy.proof"
    assert (await desk.call("certificate", NEW, "--line", 2, "--output", path)).code == 0
    said = statement_in(path)
    assert (said["key"], said["probe"]["answer"]) == (name_of(keys[0]), "nothing_left")
    assert (await desk.call("certificate", NEW, "--line", 3, "--output", path)).code == 3
    assert (await audited(desk, ledger=NEW))["findings"] == {}

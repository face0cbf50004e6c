"""Ledgers that hold pseudonyms instead of customer keys: all works as before, with the pepper."""

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.ledger.chain import commit_group

PEPPER = b"a pepper of more than sixteen bytes"
NEW = "keys.pseudonyms.ledger.ndjson"


def pepper_in(desk: Any, content: bytes = PEPPER + b"\n", name: str = "pepper") -> dict[str, str]:
    """The environment that names a file with this pepper, which nobody else can read."""
    path: Path = desk.folder / name
    path.write_bytes(content)
    path.chmod(0o600)
    return {"BULK_ERASER_PEPPER_FILE": str(path)}


def name_of(key: str) -> str:
    return hmac.new(PEPPER, key.encode(), "sha256").hexdigest()


async def test_the_ledger_holds_no_key(desk: Any, service: Any, keys: list[str]):
    """Every line names the HMAC-SHA256 of its key, `detail` included nothing else; the service
    gets the keys as they are."""
    service.answer = lambda call: {keys[1]: 400, keys[2]: 500}.get(call.key)
    source, hold = desk.csv([*keys[:8], keys[0]]), desk.csv([keys[7]], "hold.csv")
    options = ("--exclude", hold, "--max-attempts", 2, "--pseudonymize")
    ended = await desk.run(source, service, *options, env=pepper_in(desk))
    assert ended.code == 3
    ledger = desk.ledger()
    assert not any(key.encode() in ledger.raw for key in keys[:8])
    assert {line["key"] for line in ledger.lines if "key" in line} == set(map(name_of, keys[:8]))
    assert set(service.per_key) == set(keys[:7])
    (started,) = ledger.of("run_started")
    assert started["keys"] == "hmac-sha256"
    assert PEPPER.decode() not in json.dumps(started)
    assert [line["first_line"] for line in ledger.of("duplicate")] == [2]


async def test_it_continues_by_key(desk: Any, service: Any, keys: list[str]):
    """A run that is continued sends what is left, whatever the order; rejected and duplicate rows
    are counted as before, and `verify` accounts for every row."""
    pepper = pepper_in(desk)
    source = desk.csv([*keys[:20], keys[3], ""])
    first = await desk.run(source, service, "--limit", 8, "--pseudonymize", env=pepper)
    assert first.code == 75
    source = desk.csv([*reversed(keys[:20]), keys[3], ""])
    second = await desk.run(source, service, "--pseudonymize", env=pepper)
    assert (second.code, second.json["counts"]["already_settled"]) == (3, 8)
    assert service.per_key == dict.fromkeys(keys[:20], 1)
    verify = ("verify", "keys.ledger.ndjson", "--input", source, "--json")
    ended = await desk.call(*verify, env=pepper)
    assert (ended.code, json.loads(ended.out)["states"]["in_progress"]) == (0, 20)
    for env in ({}, pepper_in(desk, b"another pepper, long enough", "other")):
        ended = await desk.call(*verify, env=env)
        assert (ended.code, "pepper" in json.loads(ended.out)["error"]) == (78, True)


async def test_pseudonyms_and_keys_do_not_mix(desk: Any, service: Any, keys: list[str]):
    """A ledger of the one kind is not continued as the other, nor with another pepper: 78, nothing
    is sent or written."""
    pepper, other = pepper_in(desk), pepper_in(desk, PEPPER + b"!", "other")
    source = desk.csv(keys[:6])
    await desk.run(source, service, "--limit", 2, "--pseudonymize", env=pepper)
    raw = ("--ledger", "raw.ledger.ndjson")
    await desk.run(source, service, "--limit", 2, *raw)
    before, sent = desk.everything(), len(service.calls)
    for options, env in (
        ([], None),
        (["--pseudonymize"], other),
        (["--pseudonymize", *raw], pepper),
        (["--pseudonymize"], None),
        (["--pseudonymize", "--dry-run"], other),
    ):
        ended = await desk.run(source, service, *options, env=env)
        assert (ended.code, ended.json["outcome"]) == (78, "refused")
    assert (desk.everything(), len(service.calls)) == (before, sent)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 78, "is empty"),
        (b"\n", 78, "is empty"),
        (b"x" * 4097, 78, "more than 4096 bytes"),
        (None, 78, "cannot be read"),
        (b"short", 0, "shorter than 16 bytes"),
    ],
)
async def test_a_pepper_file_that_is_none(
    desk: Any, service: Any, keys: list[str], content: bytes | None, code: int, words: str
):
    """Nothing in it, too much, no file: 78; one that might be guessed is a warning."""
    env = pepper_in(desk, content or b"")
    if content is None:
        (desk.folder / "pepper").unlink()
    ended = await desk.run(desk.csv(keys[:2]), service, "--pseudonymize", env=env)
    assert (ended.code, len(service.calls)) == (code, 0 if code else 2)
    assert words in ended.err


async def test_a_pepper_that_others_can_read_is_a_warning(desk: Any, service: Any, keys: list[str]):
    """As for the API key's file."""
    env = pepper_in(desk)
    (desk.folder / "pepper").chmod(0o644)
    ended = await desk.run(desk.csv(keys[:2]), service, "--pseudonymize", env=env)
    assert (ended.code, "can be read by others" in ended.err) == (0, True)


async def test_a_ledger_is_converted(desk: Any, service: Any, keys: list[str]):
    """The copy holds pseudonyms and all else as it was, proves itself, names the head that it comes
    from, and is continued: no accepted key is sent again. The old one is as it was."""
    service.answer = lambda call: {keys[1]: 400, keys[2]: 500}.get(call.key)
    source = desk.csv([*keys[:30], keys[0], ""])
    ran = await desk.run(source, service, "--limit", 20, "--max-attempts", 1, "--requester", "Ada")
    old, pepper = desk.ledger(), pepper_in(desk)
    converted = await desk.call("pseudonymize", "keys.ledger.ndjson", "--json", env=pepper)
    assert converted.code == 0
    assert desk.ledger().raw == old.raw
    new = desk.ledger(NEW)
    assert not any(key.encode() in new.raw for key in keys)
    told = json.loads(converted.out)
    assert (told["head"], told["lines"]) == (new.head, new.raw.count(b"\n"))
    derived, *lines = new.lines
    assert (derived["type"], derived["head"]) == ("derived_from", ran.json["head"])
    assert derived["lines"] == old.raw.count(b"\n")
    for was, now in zip(old.lines, lines, strict=True):
        if "key" in was:
            was["key"] = name_of(was["key"])
        if was["type"] == "run_started":
            was |= {"keys": "hmac-sha256", "pepper_check": now["pepper_check"]}
        assert was == now
    verify = ("verify", NEW, "--input", source, "--json")
    before = json.loads((await desk.call(*verify, env=pepper)).out)
    assert (before["states"]["in_progress"], before["states"]["not_reached"]) == (18, 10)
    assert before["ledgers"][0]["derived_from"]["head"] == ran.json["head"]
    options = ("--ledger", NEW, "--pseudonymize", "--max-attempts", 1)
    ended = await desk.run(source, service, *options, env=pepper)
    assert (ended.code, ended.json["counts"]["already_settled"]) == (3, 18)
    repeated = {key for key, times in service.per_key.items() if times > 1}
    assert repeated == {keys[2]}


async def test_only_a_whole_ledger_is_converted(desk: Any, service: Any, keys: list[str]):
    """A taken name, a tail, no ledger, pseudonyms already: 2; damage: 79; no pepper: 78; in use:
    75; no folder: 74. Nothing is left of a copy that was not finished."""
    pepper, source = pepper_in(desk), desk.csv(keys[:30])
    await desk.run(source, service)
    whole = (desk.folder / "keys.ledger.ndjson").read_bytes()
    torn = desk.file("torn.ledger.ndjson", whole + b'{"type":')
    damaged = desk.file("damaged.ledger.ndjson", whole.replace(b"c0ffee", b"c0ffef", 1))
    desk.file("taken", "x")
    await desk.call("pseudonymize", "keys.ledger.ndjson", env=pepper)
    before = desk.everything()
    cases = [
        (2, ("keys.ledger.ndjson",), pepper),
        (2, ("keys.ledger.ndjson", "--output", "taken"), pepper),
        (2, (torn,), pepper),
        (2, ("absent",), pepper),
        (2, (NEW,), pepper),
        (79, (damaged,), pepper),
        (78, ("keys.ledger.ndjson", "--output", "y"), {}),
        (74, ("keys.ledger.ndjson", "--output", "no/y"), pepper),
    ]
    for code, arguments, env in cases:
        ended = await desk.call("pseudonymize", *arguments, "--json", env=env)
        assert ended.code == code, arguments
        assert json.loads(ended.out)["error"]
    assert desk.everything() == before
    service.answer = lambda call: asyncio.sleep(99)
    running = await desk.start_run(desk.csv(keys[40:44], "b.csv"), service)
    await service.saw(34)
    ended = await desk.call("pseudonymize", "b.ledger.ndjson", env=pepper)
    assert ended.code == 75
    running.signal(9)
    await running.ended()


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"merged","at":"","keys":["KEY"]}',
        '{"type":"merged","at":"","key":"KEY","line":2}',
        '{"type":"sent","at":"","key":"KEY","line":2,"attempt":1,"was":"KEY"}',
        '["KEY"]',
        "KEY",
    ],
)
async def test_a_key_in_a_place_that_is_not_known_is_not_kept(
    desk: Any, service: Any, keys: list[str], line: str
):
    """A line or field of a later version may hold customer keys: 79, and nothing is written."""
    await desk.run(desk.csv(keys[:3]), service)
    path = desk.folder / "keys.ledger.ndjson"
    content = line.replace("KEY", keys[0]).encode() + b"\n"
    group, _ = commit_group(desk.ledger().head, content, "2026-01-01T00:00:00.000Z")
    path.write_bytes(path.read_bytes() + group)
    before = desk.everything()
    ended = await desk.call("pseudonymize", path.name, "--json", env=pepper_in(desk))
    assert (ended.code, json.loads(ended.out)["outcome"]) == (79, "refused")
    assert "does not know" in ended.err
    assert {*desk.everything()} - {*before} == {desk.folder / "pepper"}


async def test_a_column_of_keys_is_no_reference(desk: Any, service: Any, keys: list[str]):
    """Where a reference would keep the customer key all the same: 2, and nothing is sent."""
    source = desk.csv(keys[:3])
    options = ("--pseudonymize", "--reference-field", "customerKey")
    ended = await desk.run(source, service, *options, env=pepper_in(desk))
    assert (ended.code, service.calls) == (2, [])


async def test_a_reference_with_the_key_is_converted_too(desk: Any, service: Any, keys: list[str]):
    """What a column kept of the key is replaced like the key."""
    lines = "".join(f"{key},request of {key}\n" for key in keys[:4])
    source = desk.file("keys.csv", f"customerKey,note\n{lines}")
    await desk.run(source, service, "--reference-field", "note")
    ended = await desk.call("pseudonymize", "keys.ledger.ndjson", env=pepper_in(desk))
    assert ended.code == 0
    new = desk.ledger(NEW)
    assert not any(key.encode() in new.raw for key in keys[:4])
    assert f"request of {name_of(keys[0])}" in {line.get("reference") for line in new.lines}


async def test_old_and_new_are_not_verified_as_one(desk: Any, service: Any, keys: list[str]):
    """Keys and pseudonyms cannot be compared: 78. The old head is told as what it is: 3."""
    ran = await desk.run(desk.csv(keys[:4]), service)
    await desk.call("pseudonymize", "keys.ledger.ndjson", env=pepper_in(desk))
    both = await desk.call("verify", "keys.ledger.ndjson", NEW, "--json")
    assert (both.code, "different ways" in json.loads(both.out)["error"]) == (78, True)
    ended = await desk.call("verify", NEW, "--expect-head", ran.json["head"])
    assert (ended.code, "was derived" in ended.out) == (3, True)

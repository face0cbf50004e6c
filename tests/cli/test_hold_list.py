"""Keys on hold are not sent; a hold that would not take effect is refused before anything is."""

import gzip
import io
import json
from hashlib import sha256
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd


def lines_of(keys: list[str]) -> bytes:
    return "".join(f"{key}\n" for key in ["customerKey", *keys]).encode()


def objects_of(keys: list[str]) -> bytes:
    return "".join(json.dumps({"customerKey": key}) + "\n" for key in keys).encode()


def workbook_of(keys: list[str]) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in ["customerKey", *keys]:
        book.active.append([row])
    book.save(content)
    return content.getvalue()


def table_of(keys: list[str]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"customerKey": keys}), content)
    return content.getvalue()


FORMS = {
    "hold.csv": lines_of,
    "hold.csv.gz": lambda keys: gzip.compress(lines_of(keys)),
    "hold.ndjson.zst": lambda keys: zstd.compress(objects_of(keys)),
    "hold.xlsx": workbook_of,
    "hold.parquet": table_of,
    "hold.txt": lambda keys: b"\xef\xbb\xbf" + lines_of(keys).replace(b"\n", b"\r\n"),
}


async def test_a_hold_list_of_any_form(desk: Any, service: Any, keys: list[str]):
    """A hold list may be packed, a workbook, or of another format than the input, as its own name
    tells: its keys are excluded, all others are sent, and `run_started` has the file's digest."""
    sources = [
        desk.csv(keys[n * 20 : n * 20 + 12], f"{n}.csv")
        if n % 2
        else desk.ndjson(keys[n * 20 : n * 20 + 12], f"{n}.ndjson")
        for n in range(len(FORMS))
    ]
    held = [[source.rows[3][1], source.rows[7][1]] for source in sources]
    lists = [
        desk.file(name, form(part)) for (name, form), part in zip(FORMS.items(), held, strict=True)
    ]
    endings = await desk.together(
        *(
            desk.run(source, service, "--exclude", hold, "--format", source.path.suffix[1:])
            for source, hold in zip(sources, lists, strict=True)
        )
    )
    for source, hold, part, ended in zip(sources, lists, held, endings, strict=True):
        name = f"{source.path.stem}.ledger.ndjson"
        ledger = desk.reconcile(source, ended, service, held=part, shared=True, name=name)
        assert ended.code == 0
        excluded = [(line["key"], line["line"]) for line in ledger.of("excluded")]
        assert excluded == [(key, line) for line, key in source.rows if key in part]
        digest = sha256(hold.read_bytes()).hexdigest()
        assert ledger.of("run_started")[0]["exclude_sha256"] == digest
    on_hold = {key for part in held for key in part}
    assert service.per_key == {
        key: 1 for source in sources for _, key in source.rows if key not in on_hold
    }


async def test_a_key_off_the_list_is_sent_next_time(desk: Any, service: Any, keys: list[str]):
    """A key that was on hold is sent once it is off the list, and never again; a key that comes
    onto the list after it was accepted stays settled."""
    source = desk.csv([*keys[:10], keys[4], ""])
    for held, sent in ((keys[2:6], 6), (keys[4:8], 8), (keys[900:901], 10), (keys[:10], 10)):
        hold = desk.csv(held, "hold.csv")
        ended = await desk.run(source, service, "--exclude", hold)
        ledger = desk.reconcile(source, ended, service, held=held)
        assert (ended.code, len(service.calls)) == (3, sent)
    assert set(service.per_key.values()) == {1}
    assert [len(ledger.of("excluded", run=run)) for run in range(4)] == [4, 4, 0, 10]


async def test_a_forgotten_hold_list_is_refused(desk: Any, service: Any, keys: list[str]):
    """Where an earlier run had a hold list, a run without is 2, with an empty name for it as
    well: nothing is sent, nothing is written, and it says what to do."""
    source, hold = desk.csv(keys[:8]), desk.csv(keys[:3], "hold.csv")
    await desk.run(source, service, "--exclude", hold, "--limit", 2)
    before = desk.everything()
    for options, env in ((["--exclude", ""], {}), ([], {"BULK_ERASER_EXCLUDE": ""})):
        ended = await desk.run(source, service, *options, env=env)
        assert (ended.code, ended.json["outcome"]) == (2, "refused")
        assert "--exclude" in ended.json["error"]
    assert len(service.calls) == 2
    assert desk.everything() == before


async def test_the_environment_forgets_no_hold_list(desk: Any, service: Any, keys: list[str]):
    """--no-exclude must be typed each time: a variable would switch the guard off for good."""
    hold = desk.csv(keys[:1], "hold.csv").path
    source = desk.csv(keys[:5])
    await desk.run(source, service, "--exclude", hold)
    ended = await desk.run(source, service, env={"BULK_ERASER_NO_EXCLUDE": "1"})
    assert ended.code == 2
    assert "--no-exclude" in ended.json["error"]


async def test_an_empty_name_is_no_hold_list(desk: Any, service: Any, keys: list[str]):
    """--exclude with the empty text of an unset variable is 2 on a new ledger as well: the keys
    that were to be held are not sent."""
    source = desk.csv(keys[:8])
    before = desk.everything()
    ended = await desk.run(source, service, "--exclude", "")
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert service.calls == []
    assert desk.everything() == before


async def test_the_environment_names_the_hold_list(desk: Any, service: Any, keys: list[str]):
    """BULK_ERASER_EXCLUDE is the hold list of `check` and `run` alike."""
    source, hold = desk.csv(keys[:8]), desk.csv(keys[:3], "hold.csv")
    env = {"BULK_ERASER_EXCLUDE": str(hold)}
    assert (await desk.check(source, env=env)).findings["counts"]["excluded"] == 3
    ended = await desk.run(source, service, env=env)
    desk.reconcile(source, ended, service, held=keys[:3])
    assert set(service.per_key) == set(keys[3:8])


async def test_a_hold_list_in_another_encoding_is_refused(desk: Any, service: Any):
    """An input in cp1252 with a hold list in UTF-8 would hold nobody: 65, and nothing is sent."""
    source = desk.file("keys.csv", "customerKey\nÅsa\nBo\n".encode("cp1252"))
    hold = desk.file("hold.csv", "customerKey\nÅsa\n".encode())
    ended = await desk.run(source, service, "--encoding", "cp1252", "--exclude", hold)
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert "hold.csv is UTF-8" in ended.json["error"]
    assert service.calls == []


async def test_unknown_entries_are_counted(desk: Any, service: Any, keys: list[str]):
    """Entries of the hold list that the input does not have are counted in a warning, each once,
    and neither stop the run nor are named."""
    source = desk.csv(keys[:8])
    hold = desk.csv([keys[0], *keys[900:903], keys[900], f" {keys[1]} "], "hold.csv")
    ended = await desk.run(source, service, "--exclude", hold, "--quiet")
    desk.reconcile(source, ended, service, held=keys[:2])
    assert ended.code == 0
    assert "Warning: 3 keys on the hold list hold.csv are not in" in ended.err
    checked = await desk.check(source, "--exclude", hold)
    assert checked.findings["hold_list"]["unknown"] == 3
    assert "Warning: 3 keys on the hold list" in checked.err
    quiet = await desk.check(source, "--exclude", desk.csv(keys[:2], "hold.csv"))
    assert "Warning" not in quiet.err


async def test_a_near_miss_is_refused(desk: Any, service: Any, keys: list[str]):
    """An entry that the input has in another case or Unicode form only would not be held: 65 with
    its line, for `run` and `check`; no request, no ledger, no plan."""
    source = desk.csv([*keys[:5], "Stra\u00dfe-1", "caf\u00e9-2", "\uff21-3"])
    near = [
        "STRASSE-1",
        "cafe\u0301-2",
        keys[0].upper(),
        "caf\u00e9\u200b-2",
    ]
    lists = [desk.csv([keys[1], entry], f"hold{n}.csv") for n, entry in enumerate(near)]
    lists += [desk.csv([near[0], keys[2], *near[1:]], "all.csv")]
    plan = desk.plan(source, "acme")
    before = desk.everything()
    endings = await desk.together(*(desk.run(source, service, "--exclude", hold) for hold in lists))
    checked = await desk.check(
        source, "--exclude", lists[-1], "--plan", plan, "--cluster-id", "acme"
    )
    for ended in endings:
        assert (ended.code, ended.json["outcome"]) == (65, "refused")
    reasons = [ended.json["error"] for ended in endings]
    assert all("line 3)" in reason for reason in reasons[:-1])
    assert "lines 2, 4 and 5)" in reasons[-1]
    assert (checked.code, checked.findings["error"]) == (65, reasons[-1])
    assert service.calls == []
    assert desk.everything() == before


async def test_both_spellings_in_the_input_are_two_keys(desk: Any, service: Any, keys: list[str]):
    """Where the input has the held spelling as well, just that one is held."""
    upper = keys[0].upper()
    source = desk.csv([*keys[:4], upper])
    ended = await desk.run(source, service, "--exclude", desk.csv([upper], "hold.csv"))
    desk.reconcile(source, ended, service, held=[upper])
    assert ended.code == 0
    assert set(service.per_key) == set(keys[:4])


async def test_a_hold_list_that_cannot_be_read_is_refused(desk: Any, service: Any, keys: list[str]):
    """A hold list with a row that has no usable key, with rounded keys, cut, empty, without the
    key's column, or absent is 65 with line or reason: no hold is passed over."""
    source = desk.csv(keys[:8])
    unreadable = {
        "blank.csv": (b"customerKey,n\nk1,x\n ,x\n", "line 3"),
        "rounded.csv": (b'customerKey,n\nk1,x\n"4,01E+15",x\n', "line 3"),
        "cut.csv.gz": (gzip.compress(lines_of(keys[:8]))[:-9], "truncated"),
        "other.csv": (b"id,name\nk1,x\n", "no column customerKey"),
        "headless.csv": (lines_of(keys[:3])[len("customerKey\n") :], "--no-header"),
    }
    for name, (content, _) in unreadable.items():
        desk.file(name, content)
    before = desk.everything()
    names = [*unreadable, "absent.csv"]
    endings = await desk.together(*(desk.run(source, service, "--exclude", name) for name in names))
    reasons = [*(told for _, told in unreadable.values()), "cannot be read"]
    for told, ended in zip(reasons, endings, strict=True):
        assert (ended.code, ended.json["outcome"]) == (65, "refused")
        assert told in ended.json["error"]
    assert service.calls == []
    assert desk.everything() == before


async def test_the_number_asked_for_leaves_out_what_is_held(
    desk: Any, service: Any, keys: list[str]
):
    """The number that is shown and typed is that of the keys that are sent: without those on
    hold, duplicates, rejected rows and what is settled."""
    source = desk.csv([*keys[:20], keys[0], ""])
    hold = desk.csv([*keys[15:20], keys[700]], "hold.csv")
    await desk.run(source, service, "--exclude", hold, "--limit", 4)
    arguments = ("--base-url", service.origin, "--rate", "0", "--json", "--exclude", hold)
    terminal = await desk.on_terminal("run", source, *arguments)
    await terminal.saw("(11)")
    assert "5 keys on the hold list: not sent" in terminal.shown
    terminal.type("11\r")
    ended = await terminal.ended()
    desk.reconcile(source, ended, service, held=keys[15:20])
    assert (ended.code, len(service.calls)) == (3, 15)
    assert not set(keys[15:20]) & set(service.per_key)


async def test_when_all_keys_are_held_nothing_is_sent(desk: Any, service: Any, keys: list[str]):
    """An input of held keys alone is settled well, and needs no consent."""
    source = desk.csv(keys[:5])
    hold = desk.ndjson(keys[:5], "hold.ndjson")
    arguments = ("--base-url", service.origin, "--json", "--exclude", hold)
    ended = await desk.call("run", source, *arguments)
    desk.reconcile(source, ended, service, held=keys[:5])
    assert (ended.code, service.calls) == (0, [])


async def test_the_reason_of_a_hold_is_on_record(desk: Any, service: Any, keys: list[str]):
    """It stands in the `excluded` line, which `verify` and the auditor's program take as any other,
    and a run without a reason writes the line as ever."""
    source = desk.csv(keys[:6])
    content = f"customerKey,reason\n{keys[1]},Court case 117 of {keys[1]}\n{keys[4]},\n"
    ended = await desk.run(source, service, "--exclude", desk.file("hold.csv", content))
    ledger = desk.reconcile(source, ended, service, held=[keys[1], keys[4]])
    first, second = ledger.of("excluded")
    assert first["reason"] == "Court case 117 of ███"
    assert set(second) == {"type", "at", "key", "line"}
    verified = await desk.call("verify", "keys.ledger.ndjson", "--input", source)
    assert verified.code == 0


async def test_the_reason_stays_where_keys_are_pseudonyms(desk: Any, service: Any, keys: list[str]):
    """An exception without its reason is no evidence; the key is not in it."""
    pepper = desk.file("pepper", "a pepper of more than sixteen bytes\n")
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    hold = desk.file("hold.ndjson", json.dumps({"customerKey": keys[1], "reason": f"x {keys[1]}"}))
    arguments = ("--exclude", hold, "--pseudonymize")
    await desk.run(desk.csv(keys[:3]), service, *arguments, env=env)
    ledger = desk.ledger()
    assert keys[1].encode() not in ledger.raw
    assert [line["reason"] for line in ledger.of("excluded")] == ["x ███"]

"""The date and the reference of single requests stay with their key in the ledger."""

import asyncio
import datetime
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

OPTIONS = ("--received-field", "asked", "--reference-field", "ticket")
Fact = tuple[str, str]


def rows_of(desk: Any, rows: list[tuple[str, str, str]], name: str = "keys.csv") -> Any:
    """An input with a date and a reference beside each key."""
    source = desk.csv([key for key, _, _ in rows], name)
    lines = (f"{key},{asked},{ticket}\n" for key, asked, ticket in rows)
    desk.file(name, "customerKey,asked,ticket\n" + "".join(lines))
    return source


def facts_of(line: dict[str, Any]) -> dict[str, str]:
    return {name: line[name] for name in ("received", "reference") if name in line}


async def test_every_line_about_a_key_has_its_facts(desk: Any, service: Any, keys: list[str]):
    """`sent`, `accepted`, `failed`, `unknown`, `duplicate` and `excluded` lines carry the date and
    the reference of their own row, of each attempt as well."""
    answers = {keys[1]: [400], keys[2]: [500, 500], keys[3]: [503, None], keys[4]: [429, 429]}
    service.answer = lambda call: answers.get(call.key, [None] * 9)[call.nth - 1]
    rows = [(key, f"2024-05-{n:02}", f"T-{n}") for n, key in enumerate(keys[:6], 1)]
    rows += [(keys[0], "2024-06-01", "T-again"), ("", "2024-06-02", "T-none")]
    source = rows_of(desk, rows)
    hold = desk.csv([keys[5]], "hold.csv")
    options = ("--exclude", hold, "--max-attempts", 2, *OPTIONS)
    ended = await desk.run(source, service, *options)
    ledger = desk.reconcile(source, ended, service, held=[keys[5]])
    assert ended.code == 3
    facts = {n: {"received": row[1], "reference": row[2]} for n, row in enumerate(rows, 2)}
    about_keys = [line for line in ledger.lines if "key" in line]
    assert all(facts_of(line) == facts[line["line"]] for line in about_keys)
    types = {line["type"] for line in about_keys}
    assert types == {"sent", "accepted", "failed", "unknown", "duplicate", "excluded"}
    assert ledger.sent()[keys[2]] == ledger.sent()[keys[3]] == 2
    assert [facts_of(line) for line in ledger.of("rejected")] == [{}]
    named = ledger.of("run_started")[0]["input"]
    assert (named["received_field"], named["reference_field"]) == ("asked", "ticket")


async def test_facts_are_there_only_when_asked_for(desk: Any, service: Any, keys: list[str]):
    """Without the options no line has facts, and what stands in those columns is not judged; a row
    that says nothing has none, and one option does not bring the other."""
    odd = rows_of(desk, [(keys[0], "yesterday", "r" * 900), (keys[1], "", " ")], "odd.csv")
    rows = [(keys[2], "2024-05-01", "T"), (keys[3], "", " "), (keys[4], "2024-05-02", "")]
    one = rows_of(desk, rows, "one.csv")
    both = [{"received": "2024-05-01", "reference": "T"}, {}, {"received": "2024-05-02"}]
    expected: dict[str, tuple[Any, tuple[str, ...], list[dict[str, str]]]] = {
        "a.ledger.ndjson": (odd, (), [{}, {}]),
        "b.ledger.ndjson": (one, OPTIONS, both),
        "c.ledger.ndjson": (one, OPTIONS[2:], [{"reference": "T"}, {}, {}]),
    }
    endings = await desk.together(
        *(
            desk.run(source, service, *options, "--ledger", name)
            for name, (source, options, _) in expected.items()
        )
    )
    for (name, (_, _, facts)), ended in zip(expected.items(), endings, strict=True):
        assert ended.code == 0
        for type_ in ("sent", "accepted"):
            lines = sorted(desk.ledger(name).of(type_), key=lambda line: line["line"])
            assert [facts_of(line) for line in lines] == facts


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
async def test_bad_facts_are_rejected(desk: Any, service: Any, keys: list[str], kind: str):
    """A date that is none, or not YYYY-MM-DD, rejects its row as bad_received, a reference that
    cannot stand as bad_reference: with its line, and nothing is sent for it. --strict refuses."""
    bad = {
        "bad_received": [
            "2024-02-30",
            "30.04.2024",
            "2024-5-1",
            "20240501",
            "05/01/2024",
            "\u0662",
        ],
        "bad_reference": ["r" * 201, "a\x07b"],
    }
    rows: list[tuple[str, str, str, str]] = [(keys[0], "2024-02-29", "ok", "")]
    rows += [(keys[n], date, "ok", "bad_received") for n, date in enumerate(bad["bad_received"], 1)]
    rows += [(keys[20], "2024-05-01", text, "bad_reference") for text in bad["bad_reference"]]
    path = write(desk, kind, [row[:3] for row in rows])
    options = (*OPTIONS, "--ledger", "k.ledger.ndjson")
    if kind == "csv":
        strict = await desk.run(path, service, *options, "--strict")
        assert (strict.code, strict.json["outcome"]) == (65, "refused")
        assert "line 3: bad_received" in strict.json["error"]
        assert service.calls == []
        assert desk.ledger_size("k.ledger.ndjson") == 0
    ended = await desk.run(path, service, *options)
    assert (ended.code, ended.json["counts"]["rejected"]) == (3, len(rows) - 1)
    assert set(service.per_key) == {keys[0]}
    ledger = desk.ledger("k.ledger.ndjson")
    first = 1 if kind == "ndjson" else 2
    assert [(line["line"], line["error"]) for line in ledger.of("rejected")] == [
        (n, word) for n, (_, _, _, word) in enumerate(rows, first) if word
    ]
    assert facts_of(ledger.of("accepted")[0]) == {"received": "2024-02-29", "reference": "ok"}


def write(desk: Any, kind: str, rows: list[tuple[Any, Any, Any]]) -> Path:
    header = ("customerKey", "asked", "ticket")
    if kind == "ndjson":
        lines = (json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows)
        content: str | bytes = "".join(lines)
    elif kind == "csv":
        content = "".join(",".join(row) + "\n" for row in (header, *rows))
    else:
        book, file = openpyxl.Workbook(), io.BytesIO()
        for row in (header, *rows):
            book.active.append(row)
        book.save(file)
        content = file.getvalue()
    path: Path = desk.file(f"keys.{kind}", content)
    return path


async def test_what_a_date_and_a_reference_may_be(desk: Any, service: Any, keys: list[str]):
    """A time behind the date is left out, a date cell of a workbook is a date, a whole number is a
    reference; members within members are named by dotted paths."""
    cells = [
        (keys[0], datetime.date(2024, 5, 1), 4711),
        (keys[1], datetime.datetime(2024, 5, 2, 23, 59), "T-2"),
        (keys[2], "2024-05-03", 1e6),
        (keys[3], None, None),
    ]
    texts = [
        (keys[10], "2024-05-01T23:30:00+02:00", "4711"),
        (keys[11], " 2024-05-02 ", " T-2 "),
        (keys[12], "2024-05-03 00:00:00.000Z", "1000000"),
        (keys[13], "", ""),
    ]
    nested = "".join(
        json.dumps({"customer": {"key": key}, "case": {"asked": asked, "no": ticket}}) + "\n"
        for key, asked, ticket in (
            (keys[20], "2024-05-01", 4711),
            (keys[21], "2024-05-02T00:00:00Z", "T-2"),
            (keys[22], "2024-05-03", 1000000),
            (keys[23], None, None),
        )
    )
    paths = ("--key-field", "customer.key", "--received-field", "case.asked")
    given = {
        "a": (write(desk, "xlsx", cells), OPTIONS),
        "b": (write(desk, "csv", texts), OPTIONS),
        "c": (desk.file("n.ndjson", nested), (*paths, "--reference-field", "case.no")),
    }
    endings = await desk.together(
        *(
            desk.run(path, service, *options, "--ledger", f"{name}.ledger.ndjson")
            for name, (path, options) in given.items()
        )
    )
    for name, ended in zip(given, endings, strict=True):
        assert ended.code == 0, ended.err
        assert [facts_of(line) for line in desk.ledger(f"{name}.ledger.ndjson").of("sent")] == [
            {"received": "2024-05-01", "reference": "4711"},
            {"received": "2024-05-02", "reference": "T-2"},
            {"received": "2024-05-03", "reference": "1000000"},
            {},
        ]


async def test_a_held_key_keeps_its_facts(desk: Any, service: Any, keys: list[str]):
    """A key that was excluded and is sent by a later run has its date and reference on all lines,
    those of the row that is read then."""
    rows = [(key, f"2024-05-{n:02}", f"T-{n}") for n, key in enumerate(keys[:4], 1)]
    source = rows_of(desk, rows)
    for held in (keys[1:3], keys[900:901]):
        hold = desk.csv(held, "hold.csv")
        ended = await desk.run(source, service, "--exclude", hold, *OPTIONS)
        ledger = desk.reconcile(source, ended, service, held=held)
        assert ended.code == 0
    for n in (1, 2):
        lines = [line for line in ledger.lines if line.get("key") == keys[n]]
        assert [line["type"] for line in lines] == ["excluded", "sent", "accepted"]
        expected = {"received": rows[n][1], "reference": rows[n][2]}
        assert [facts_of(line) for line in lines] == [expected] * 3


async def test_facts_of_a_column_that_is_not_there(desk: Any, service: Any, keys: list[str]):
    """A column that is named and is not there, or is there twice, is 65 and is named; nothing is
    sent."""
    path = desk.file("keys.csv", f"customerKey,asked,asked\n{keys[0]},2024-05-01,x\n")
    before = desk.everything()
    endings = await desk.together(
        *(desk.run(path, service, "--received-field", name) for name in ("when", "asked"))
    )
    for name, ended in zip(("when", "asked"), endings, strict=True):
        assert (ended.code, ended.json["outcome"]) == (65, "refused")
        assert f"column {name}" in ended.json["error"]
        assert "--received-field" in ended.json["error"]
    assert service.calls == []
    assert desk.everything() == before


# ── what was surveyed is what is sent ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["in place", "same time"])
async def test_what_changes_behind_the_survey_is_not_sent(
    desk: Any, service: Any, keys: list[str], how: str
):
    """While the service is slow the file is changed, even so that size and time stay: 65, no key
    of the changed part is seen by the service, and no line says what was not surveyed."""
    gate = asyncio.Event()
    service.answer = lambda call: gate.wait() if call.n > 4 else None
    note = "n" * 100_000  # ten rows to a block
    rows = [(key, "2024-05-01", f"T-{n}") for n, key in enumerate(keys[:60])]
    source = rows_of(desk, rows)
    path = source.path
    lines = "".join(f"{key},{asked},{ticket},{note}\n" for key, asked, ticket in rows)
    desk.file("keys.csv", f"customerKey,asked,ticket,note\n{lines}")
    running = await desk.start_run(source, service, "--concurrency", 2, *OPTIONS)
    await service.saw(6)
    content, status = path.read_bytes(), path.stat()
    changed = content.replace(keys[50].encode(), keys[950].encode())
    changed = changed.replace(b"2024-05-01,T-51", b"2024-05-31,T-51")
    assert len(changed) == len(content)
    assert changed != content
    running.signal(signal.SIGSTOP)  # it sees the change as a whole
    await desk.until(lambda: Path(f"/proc/{running.pid}/stat").read_text().split()[2] == "T")
    with path.open("r+b") as file:
        file.write(changed)
    if how == "same time":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    running.signal(signal.SIGCONT)
    gate.set()
    ended = await running.ended()
    assert (ended.code, ended.json["outcome"]) == (65, "stopped")
    ledger = desk.reconcile(source, ended, service)
    seen = set(service.per_key)
    assert seen <= set(keys[:50])
    assert keys[950] not in ledger.sent()
    assert all(facts_of(line)["received"] == "2024-05-01" for line in ledger.of("sent"))
    if how == "same time":
        assert len(seen) > 30
    else:
        path.write_bytes(content)
        again = await desk.run(source, service, *OPTIONS)
        desk.reconcile(source, again, service)
        assert again.code == 0
        assert set(service.per_key) == set(keys[:60])


# ── dates in another form ───────────────────────────────────────────────────────────────────────


async def test_dates_as_a_spreadsheet_writes_them(desk: Any, service: Any, keys: list[str]):
    """With --received-format the dates are read in that form, recorded as YYYY-MM-DD, and any other
    one is rejected; `verify` reads the file as the run did."""
    dates = ["05.01.2026", "5.1.2026", "2026-01-05", "31.02.2026", "01/05/2026", ""]
    lines = [f"{key},{day}\n" for key, day in zip(keys, dates, strict=False)]
    source = desk.file("keys.csv", f"customerKey,asked\n{''.join(lines)}")
    form = ("--received-field", "asked", "--received-format", "%d.%m.%Y")
    ended = await desk.run(source, service, *form)
    assert (ended.code, ended.json["counts"]["rejected"]) == (3, 3)
    ledger = desk.ledger()
    received = {line["key"]: line.get("received") for line in ledger.of("accepted")}
    assert received == {keys[0]: "2026-01-05", keys[1]: "2026-01-05", keys[5]: None}
    assert {line["error"] for line in ledger.of("rejected")} == {"bad_received"}
    assert ledger.of("run_started")[0]["input"]["received_format"] == "%d.%m.%Y"
    verified = await desk.call("verify", "keys.ledger.ndjson", "--input", source, "--json")
    states = json.loads(verified.out)["states"]
    assert (states["rejected"], states["in_progress"]) == (3, 3)


async def test_most_dates_are_unreadable(desk: Any, keys: list[str]):
    """Where dates are what most rows are rejected for, the error is about dates, and not about the
    column with the keys."""
    lines = "".join(f"{key},05.01.2026\n" for key in keys[:9])
    source = desk.file("keys.csv", f"customerKey,asked\n{lines},05.01.2026\n")
    ended = await desk.call("check", source, "--received-field", "asked", "--json")
    error = json.loads(ended.out)["error"]
    assert ended.code == 65
    assert "bad_received (9), empty_key (1)" in error
    assert "not written as YYYY-MM-DD. Name the way they are written with --received-f" in error
    assert "--key-field" not in error


async def test_a_form_that_is_none(desk: Any, keys: list[str]):
    """What is no form of a date, or has no column, is 2 and says how it is written."""
    source = desk.file("keys.csv", f"customerKey,asked\n{keys[0]},05.01.2026\n")
    column = ("--received-field", "asked")
    forms = ["", "DD.MM.YYYY", "%d.%m", "%d.%m.%y", "%d.%m.%Y %p", "%d.%m.%Y %d", "%", "%%d %m %Y"]
    cases = [(*column, "--received-format", form) for form in forms]
    cases.append(("--received-format", "%d.%m.%Y"))
    endings = await desk.together(*(desk.check(source, *case) for case in cases))
    for case, ended in zip(cases, endings, strict=True):
        assert (ended.code, ended.findings["outcome"]) == (2, "refused"), case
        assert "--received-format" in ended.findings["error"]


async def test_a_column_of_other_dates(desk: Any, keys: list[str]):
    """Where every row is rejected for its date, the advice is the form of the dates, not the column
    with the keys."""
    source = desk.file("keys.csv", f"customerKey,asked\n{keys[0]},05.01.2026\n")
    ended = await desk.check(source, "--received-field", "asked")
    assert ended.code == 65
    assert "--received-format" in ended.findings["error"]
    assert "--key-field" not in ended.findings["error"]

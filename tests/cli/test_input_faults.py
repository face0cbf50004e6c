"""The faults that inputs have, each by its number, through the commands that people type.

What can be read is read as it was meant and arrives byte for byte; what cannot is refused before a
request or a ledger exists, and `check` says of every file what `run` says.
"""

import asyncio
import gzip
import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from backports import zstd

SAMPLES = Path(__file__).parents[2] / "sample_inputs"
MIB = 1 << 20


def put(desk: Any, name: str, content: bytes | str, rows: Iterable[tuple[int, str]] = ()) -> Any:
    """A file with exactly this content; `rows` are its rows as line and key, "" where rejected."""
    source = desk.csv([], name)
    source.path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source.rows = list(rows)
    return source


async def both(
    desk: Any, service: Any, source: Any, *options: object, ledger: str = "keys.ledger.ndjson"
) -> tuple[Any, Any, dict[str, Any]]:
    """`run` with consent, `check` beside it, and what that found."""
    run, check = await asyncio.gather(
        desk.run(source, service, "--ledger", ledger, *options),
        desk.call("check", source, "--json", *options),
    )
    return run, check, json.loads(check.out)


async def refused(desk: Any, service: Any, source: Any, *options: object) -> str:
    """Both commands refuse the input with 65 and the same words, which are returned.

    Nothing was sent, and nothing was written.
    """
    before = set(desk.folder.iterdir())
    run, check, found = await both(desk, service, source, *options)
    assert (run.code, run.json["outcome"]) == (65, "refused")
    assert (check.code, found["outcome"]) == (65, "refused")
    assert found["error"] == run.json["error"]
    assert f"Error: {found['error']}" in run.err
    assert service.calls == []
    assert set(desk.folder.iterdir()) == before
    return str(found["error"])


async def erased(
    desk: Any,
    service: Any,
    source: Any,
    *options: object,
    ledger: str = "keys.ledger.ndjson",
    shared: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """Every usable key of the input arrived once as it is and is accepted, which `check` foretold;
    returns the ledger, and what `check` found.

    `shared` allows that the service saw other keys before.
    """
    run, check, found = await both(desk, service, source, *options, ledger=ledger)
    written = desk.reconcile(source, run, service, shared=shared, name=ledger)
    keys = {key for _, key in source.rows if key}
    rejected = [line for line, key in source.rows if not key]
    assert {key: service.per_key[key] for key in keys} == dict.fromkeys(keys, 1)
    assert shared or service.per_key.keys() == keys
    assert written.last().keys() == {line["key"] for line in written.of("accepted")} == keys
    assert [line["line"] for line in written.of("rejected")] == rejected
    assert run.code == check.code == (3 if rejected else 0)
    foretold = {
        "rows": len(source.rows),
        "keys": len(keys),
        "rejected": len(rejected),
        "duplicate": len(source.rows) - len(keys) - len(rejected),
    }
    assert foretold.items() <= found["counts"].items()
    assert found["input"].items() >= foretold.items()
    return written, found


def words(ledger: Any) -> dict[int, str]:
    """Line → why its row was rejected."""
    return {line["line"]: line["error"] for line in ledger.of("rejected")}


# ── files as people have them ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoding", "delimiter", "start"),
    [
        ("utf-8-sig", ";", "sep=;\r\n"),
        ("utf-8-sig", ";", '"sep=;"\r\n'),
        ("utf-16", "\t", ""),
        ("utf-16-be", "\t", "\ufeff"),
    ],
    ids=["I1", "I1-quoted-sep", "I2", "I2-big-endian"],
)
async def test_a_file_as_excel_saves_it(
    desk: Any, service: Any, keys: list[str], encoding: str, delimiter: str, start: str
):
    """I1, I2: byte order mark, `sep=`, quoted header, CRLF, a cell of two lines, `;;;` and blank
    lines at the end are read as meant, and each line is named as an editor counts it."""
    d = delimiter
    text = f'{start}"Kunden{d}nr"{d}"customerKey"{d}Anmerkung\r\n'
    rows = []
    for number, key in enumerate(keys[:40]):
        rows.append((text.count("\r\n") + 1, key))
        note = f'"sagte ""nein""{d}\r\nzweite Zeile"' if number % 10 == 3 else "Zoë"
        text += f"{number}{d}{key}{d}{note}\r\n"
    text += f"{d * 3}\r\n" * 3 + "\r\n\r\n"
    source = put(desk, "keys.csv", text.removeprefix("\ufeff").encode(encoding), rows)
    if start == "\ufeff":
        source.path.write_bytes(text.encode(encoding))
    ledger, found = await erased(desk, service, source)
    facts = ledger.of("run_started")[0]["input"]
    assert (facts["key_field"], facts["delimiter"]) == ("customerKey", delimiter)
    assert found["input"] == facts


async def test_the_samples_are_read_as_their_readme_says(desk: Any, service: Any):
    """I1, I2, I8: each sample gives the keys that its README counts, and each arrives once."""
    table = re.findall(
        r"^\| `([\w.]+)` \| [^|]+ \| (?:`([^`]+)` )?\| ([\d,]+) \| ([\d,]+) \| (\d+) \| (\d+) \|$",
        (SAMPLES / "README.md").read_text(),
        re.MULTILINE,
    )
    assert len(table) == 12
    small = [row for row in table if row[0] != "demo.csv"]
    endings = await asyncio.gather(
        *(
            desk.run(
                SAMPLES / name,
                service,
                "--ledger",
                f"{name}.ledger.ndjson",
                *options.split(),
            )
            for name, options, *_ in small
        )
    )
    sent: Counter[str] = Counter()
    for (name, _, *numbers), ended in zip(small, endings, strict=True):
        rows, keys, rejected, duplicate = (int(number.replace(",", "")) for number in numbers)
        counts = ended.json["counts"]
        assert (counts["rows"], counts["accepted"]) == (rows, keys), name
        assert (counts["rejected"], counts["duplicate"]) == (rejected, duplicate), name
        sent += desk.ledger(f"{name}.ledger.ndjson").sent()
    assert service.per_key == sent
    assert all(
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}", k) for k in sent
    )


async def test_bytes_that_are_not_utf_8(desk: Any, service: Any, keys: list[str]):
    """I3: without a byte order mark nothing is guessed; the refusal names line, offset and option,
    and with the option the key arrives as it was meant."""
    good = "".join(f"{key};x\r\n" for key in keys[:1500])
    content = f"customerKey;name\r\n{good}".encode() + "Zoé-1;Åsa\r\n".encode("cp1252")
    source = put(desk, "keys.csv", content, [*enumerate(keys[:1500], 2), (1502, "Zoé-1")])
    error = await refused(desk, service, source)
    assert f"line 1502, byte offset {content.index(0xE9)}" in error
    assert "--encoding cp1252" in error
    await erased(desk, service, source, "--encoding", "cp1252")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "Name;Kunden-ID;Datum",
            ["no column customerKey", "Name, Kunden-ID, Datum", "--key-field"],
        ),
        ("customerKey;Name;customerKey", ["customerKey twice", "customerKey, Name, customerKey"]),
        ("CustomerKey;Name", ["no column customerKey", "CustomerKey, Name"]),
        ("{key};Anna", ["looks like a row", "--no-header"]),
        ("{key}", ["--no-header"]),
    ],
    ids=["missing", "twice", "other-case", "no-header", "no-header-one-column"],
)
async def test_a_key_column_that_cannot_be_told(
    desk: Any, service: Any, keys: list[str], header: str, says: list[str]
):
    """I4: a key's column that is missing, there twice, or has no header is refused; the columns
    that are there are listed, but never a first row, which may be a customer."""
    rest = ";x" * header.count(";")
    lines = [header.format(key=keys[0]), *(f"{key}{rest}" for key in keys[1:9])]
    error = await refused(desk, service, put(desk, "keys.csv", "\n".join(lines)))
    assert [part for part in says if part not in error] == []


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("place", [700, 1499])
async def test_a_stray_quote(desk: Any, service: Any, keys: list[str], closed: bool, place: int):
    """I5: a quote that swallows rows is refused with the line on which it opened, wherever it
    stands, so none of the good rows before it is sent."""
    lines = ["customerKey,size", *(f"{key},27 inch" for key in keys[:1500])]
    lines[place - 1] = f'{keys[place - 2]},"27 inch'
    if closed:
        lines[place] = f'{keys[place - 1]},27 inch"'
    error = await refused(desk, service, put(desk, "keys.csv", "\n".join(lines)))
    assert f"opened on line {place}" in error


async def test_what_is_far_too_large(desk: Any, service: Any, keys: list[str]):
    """I6: a field, line, nesting, number or key beyond all measure rejects its own row only."""
    long = "x" * 131_073
    lines = ["customerKey,note", *(f"{key},x" for key in keys[:9])]
    lines[2:2] = [f"{keys[20]},{long}", f"{keys[21]},{'y,' * MIB}", f"{'k' * 2049},x", "x" * MIB]
    rows = [(2, keys[0]), *((n, "") for n in (3, 4, 5, 6)), *enumerate(keys[1:9], 7)]
    source = put(desk, "a.csv", "\n".join(lines), rows)
    ledger, found = await erased(desk, service, source, ledger="a.ledger.ndjson")
    assert words(ledger) == {
        3: "field_too_long",
        4: "line_too_long",
        5: "key_too_long",
        6: "field_too_long",
    }
    assert found["rejected"]["field_too_long"] == {"rows": 2, "lines": [3, 6]}

    member = '{{"customerKey":"{}","x":{}}}'.format
    values = ["1", "[" * 5000 + "]" * 5000, "9" * 5000, f'"{"z" * MIB}"', "2"]
    lines = [member(key, value) for key, value in zip(keys[40:45], values, strict=True)]
    rows = [(1, keys[40]), (2, ""), (3, ""), (4, ""), (5, keys[44])]
    source = put(desk, "b.ndjson", "\n".join(lines), rows)
    ledger, _ = await erased(desk, service, source, ledger="b.ledger.ndjson", shared=True)
    assert words(ledger) == {2: "malformed_json", 3: "malformed_json", 4: "line_too_long"}


@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_a_key_that_cannot_be_sent(desk: Any, service: Any, keys: list[str], form: str):
    """I7: a key that is empty, blank, or holds what no key holds is rejected with its line; no
    empty `customerKey=` is ever seen. Blanks around a key are taken off and counted."""
    raws = {
        "": "empty_key",
        "   ": "empty_key",
        "\u00a0\u2003": "empty_key",
        "\ufeff": "empty_key",
        "a\x00b": "control_character",
        "a\tb": "control_character",
        "a\x1b[2Jb": "control_character",
        "a\x7fb": "control_character",
        "a\u0085b": "control_character",
        "a\u2028b": "control_character",
        "a\nb": "control_character",
        f" {keys[1]}\u00a0": "",
        f"\t{keys[2]}": "",
    }
    if form == "ndjson":
        raws |= {"a\ud800b": "lone_surrogate", "\udfff": "lone_surrogate"}
        lines = [json.dumps({"customerKey": raw, "note": "x"}) for raw in [keys[0], *raws]]
    else:
        lines = ["note,customerKey", *(f'x,"{raw}"' for raw in [keys[0], *raws])]
    text, rows, expected = "", [], {}
    for raw, line in zip([keys[0], *raws], lines[form == "csv" :], strict=True):
        number = 1 + (form == "csv") + text.count("\n")
        text += line + "\n"
        rows.append((number, "" if raws.get(raw) else raw.strip()))
        if raws.get(raw):
            expected[number] = raws[raw]
    header = "note,customerKey\n" if form == "csv" else ""
    source = put(desk, f"keys.{form}", header + text, rows)
    ledger, found = await erased(desk, service, source)
    assert words(ledger) == expected
    assert found["counts"]["stripped"] == 2
    assert "" not in service.per_key


async def test_an_ndjson_row_without_one_text_key(desk: Any, service: Any, keys: list[str]):
    """I8: a key that is no text, is there twice or not at all, and a line that is no object, are
    each rejected with the right word, and the rest goes on."""
    lines = {
        '{"customerKey": 4012350000000001}': "wrong_type",
        '{"customerKey": null}': "wrong_type",
        '{"customerKey": true}': "wrong_type",
        '{"customerKey": {"id": "a"}}': "wrong_type",
        '{"customerKey": ["a"]}': "wrong_type",
        '{"customerKey": "a", "customerKey": "b"}': "duplicate_member",
        '{"customerKey": "a", "customer\\u004bey": "a"}': "duplicate_member",
        '{"CustomerKey": "a"}': "missing_field",
        '{"note": {"customerKey": "a"}}': "missing_field",
        '"a"': "wrong_type",
        '[{"customerKey": "a"}]': "wrong_type",
        "null": "wrong_type",
        '{"customerKey": "a"': "malformed_json",
        '{"customerKey": "a"} {"customerKey": "b"}': "malformed_json",
        "{'customerKey': 'a'}": "malformed_json",
        "a": "malformed_json",
    }
    good = json.dumps({"customerKey": keys[0]})
    text = "\n".join([good, *lines, "", json.dumps({"customerKey": keys[1]})])
    rows = [(1, keys[0]), *((n, "") for n in range(2, 18)), (19, keys[1])]
    ledger, found = await erased(desk, service, put(desk, "keys.ndjson", text, rows))
    assert words(ledger) == dict(enumerate(lines.values(), 2))
    assert {w: entry["rows"] for w, entry in found["rejected"].items()} == Counter(lines.values())


@pytest.mark.parametrize("key", ["4,01235E+15", "4e+15"])
async def test_keys_that_a_spreadsheet_has_rounded(
    desk: Any, service: Any, keys: list[str], key: str
):
    """I9: one rounded key refuses the whole input with its line, unless it is said to be right;
    then it is sent as it stands."""
    text = "customerKey;x\n" + "".join(f"{k};x\n" for k in [*keys[:5], key])
    source = put(desk, "keys.csv", text, list(enumerate([*keys[:5], key], 2)))
    error = await refused(desk, service, source)
    assert "line 7" in error
    assert "--allow numeric_like" in error
    await erased(desk, service, source, "--allow", "numeric_like")


async def test_the_same_key_again(desk: Any, service: Any, keys: list[str]):
    """I10: however a key is spelled in the file, it is one key: sent once, and each further row is
    a duplicate that points at the first one's line."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in keys[0])
    spellings = [
        f'"{keys[0]}"',
        f'"{escaped}"',
        f'" {keys[0]}\\u00a0"',
        f'"{keys[1]}"',
        f'"{keys[0]}"',
    ]
    lines = [f'{{"customerKey":{spelling}}}' for spelling in spellings]
    rows = [(n, keys[1] if n == 6 else keys[0]) for n in (1, 2, 4, 6, 7)]
    text = "\n".join([lines[0], lines[1], "", lines[2], " ", *lines[3:]])
    ledger, found = await erased(
        desk, service, put(desk, "keys.ndjson", text, rows), "--allow", "duplicates"
    )
    pointed = [(line["key"], line["line"], line["first_line"]) for line in ledger.of("duplicate")]
    assert pointed == [(keys[0], n, 1) for n in (2, 4, 7)]
    assert found["counts"]["duplicate"] == 3


async def test_the_last_row_is_torn(desk: Any, service: Any, keys: list[str]):
    """I17: a download that broke off within a key is refused, unless that is said to be a key."""
    torn = [*keys[:5], keys[5][:15]]
    source = put(desk, "keys.csv", "\n".join(["customerKey", *torn]), list(enumerate(torn, 2)))
    assert "--allow torn_end" in await refused(desk, service, source)
    await erased(desk, service, source, "--allow", "torn_end")


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("dates", ["24.11.1964", "09.02.1970"]),
        ("personal", ["anna@example.org", "b@example.org"]),
        ("placeholder", ["undefined", "#N/A"]),
        ("duplicates", ["SE", "SE", "SE", "SE"]),
    ],
)
async def test_the_wrong_column(
    desk: Any, service: Any, keys: list[str], word: str, wrong: list[str]
):
    """I18: most keys are none, or most rows are the same: refused, unless the word is given."""
    rows = [keys[0], *wrong]
    source = desk.csv(rows)
    error = await refused(desk, service, source)
    assert error.endswith(f"use --allow {word}.")
    assert not any(each in error for each in wrong)
    await erased(desk, service, source, "--allow", word)


async def test_two_columns_that_were_read_as_one(desk: Any, service: Any, keys: list[str]):
    """I18: a header without the separator of the rows: `C-1;Anna` is no key, and is not sent."""
    rows = [f"C-{number};{keys[number]}" for number in range(3)]
    source = put(desk, "keys.csv", "\n".join(["customerKey", *rows, ""]), list(enumerate(rows, 2)))
    assert "--delimiter" in await refused(desk, service, source)
    await erased(desk, service, source, "--allow", "separator")


async def test_keys_that_differ_in_form_only(desk: Any, service: Any, keys: list[str]):
    """I11: keys equal but for case or Unicode form are different keys: each is sent as it stands,
    and a warning counts them."""
    pairs = [keys[10], keys[10].upper(), "zoé-1", "zoe\u0301-1", "ſ-7", "s-7", "K-7", "\u212a-7"]
    source = put(
        desk,
        "keys.csv",
        "customerKey\n" + "\n".join([keys[0], *pairs]),
        list(enumerate([keys[0], *pairs], 2)),
    )
    run, _, found = await both(desk, service, source)
    desk.reconcile(source, run, service)
    assert run.code == 0
    assert service.per_key == Counter([keys[0], *pairs])
    assert found["suspects"]["look_alike"] == {"keys": 8, "lines": [3, 4, 5]}
    assert "Warning: 8 keys differ from another only in upper and lower case" in run.err


# ── files that are not what they seem ───────────────────────────────────────────────────────────


PLAIN = ("customerKey\n" + "".join(f"K-{n}\n" for n in range(500))).encode()


def workbook(*cells: tuple[int, int]) -> bytes:
    """A sheet with a key's column in A, and text in `cells` (row, column)."""
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row, column in ((1, 1), *cells):
        book.active.cell(row, column, "K-1" if row > 1 else "customerKey")
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("keys.csv", b"", "is empty"),
        ("keys.csv.gz", gzip.compress(b"", mtime=0), "no rows"),
        ("keys.csv.gz", gzip.compress(PLAIN, mtime=0)[:-9], "truncated or damaged"),
        ("keys.csv.gz", gzip.compress(PLAIN, mtime=0)[:-8] + bytes(8), "truncated or damaged"),
        ("keys.csv.gz", gzip.compress(PLAIN, mtime=0) + b"K-501\n", "truncated or damaged"),
        ("keys.csv.zst", zstd.compress(PLAIN)[:-4], "truncated or damaged"),
        ("keys.csv.gz", PLAIN, "is not a gzip file"),
        ("keys.csv.zst", gzip.compress(PLAIN, mtime=0), "is a gzip file but is not named .gz"),
        ("keys.csv", zstd.compress(PLAIN), "is a Zstandard file but is not named .zst"),
        ("keys.csv", workbook((2, 1)), "Name an Excel workbook .xlsx"),
        ("keys.xlsx", PLAIN, "cannot be read as an Excel workbook"),
        ("keys.xlsx", workbook((2, 1))[:-30], "cannot be read as an Excel workbook"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_is_not_what_it_seems(
    desk: Any, service: Any, name: str, content: bytes, why: str
):
    """I12: an empty or cut file, and one that is packed otherwise than its name says, are refused,
    although most of their keys could be read."""
    assert why in await refused(desk, service, put(desk, name, content))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("b.ndjson.zst", zstd.compress),
        pytest.param("keys.csv.gz", gzip.compress, marks=pytest.mark.soak),
    ],
)
async def test_a_file_that_unpacks_without_end(desk: Any, service: Any, name: str, pack: Any):
    """I12: a line of 256 MiB, packed into some kilobytes, costs neither memory nor a request."""
    source = put(desk, name, pack(b"customerKey\n") + pack(b"k" * MIB) * 256)
    assert source.path.stat().st_size < 300_000
    limit = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (160 << 20, 160 << 20))"
    ended = await desk.run(source, service, "--format", name.split(".")[1], before=limit)
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert "line_too_long (1)" in ended.json["error"]
    assert service.calls == []
    assert desk.ledger_size() == 0


def bomb(part: str, start: str, unit: str, times: int) -> bytes:
    """A workbook with a key, of which one part goes on with `unit` so often."""
    content, relations = io.BytesIO(workbook((2, 1))), "xl/_rels/workbook.xml.rels"
    with zipfile.ZipFile(content) as packed:
        parts = {name: packed.read(name) for name in packed.namelist() if name != part}
    shared = b'<Relationship Id="x" Type="x/sharedStrings" Target="sharedStrings.xml"/>'
    parts[relations] = parts[relations].replace(b"</Relationships>", shared + b"</Relationships>")
    parts.setdefault("xl/sharedStrings.xml", b"<sst/>")
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in parts.keys() - {part}:
            packed.writestr(name, parts[name])
        with packed.open(part, "w") as stream:
            stream.write(start.encode())
            for _ in range(times // 100):
                stream.write(unit.encode() * 100)
    return content.getvalue()


STRINGS = ("xl/sharedStrings.xml", "<sst>", f"<si><t>{'x' * 2000}</t></si>")
CELLS = (
    "xl/worksheets/sheet1.xml",
    "<worksheet><sheetData><row>",
    "<c><v>" + "7" * 6000 + "</v></c>",
)


@pytest.mark.parametrize(
    ("bomb_of", "limit", "code", "why"),
    [
        pytest.param(
            (*STRINGS, 150_000),
            600,
            65,
            "is too large to be read as a workbook",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            (*STRINGS, 150_000), 160, 78, "There is too little memory", marks=pytest.mark.soak
        ),
        ((*CELLS, 15_000), 160, 65, "is too large to be read as a workbook"),
    ],
    ids=["strings", "strings-in-little-memory", "cells"],
)
async def test_a_workbook_that_unpacks_without_end(
    desk: Any, service: Any, bomb_of: Any, limit: int, code: int, why: str
):
    """I12: some kilobytes that unpack to gigabytes end with a sentence and an object of JSON, also
    where memory is short; nothing is sent and nothing written."""
    source = put(desk, "keys.xlsx", bomb(*bomb_of))
    assert source.path.stat().st_size < 10 * MIB
    little = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({limit << 20},) * 2)"
    ended = await desk.run(source, service, before=little)
    assert (ended.code, ended.json["outcome"]) == (code, "refused")
    assert why in ended.json["error"]
    assert ended.err.strip() == f"Error: {ended.json['error']}"
    assert service.calls == []
    assert desk.ledger_size() == 0


async def test_a_file_that_needs_more_memory_than_there_is(desk: Any, service: Any):
    """I12: a Zstandard window that finds no room is not told as damage of the file."""
    options = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)  # flushed, so that the size is not known ahead
    content = packer.compress(PLAIN) + packer.flush(packer.FLUSH_BLOCK) + packer.flush()
    source = put(desk, "keys.csv.zst", content)
    little = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (100 << 20, 100 << 20))"
    ended = await desk.run(source, service, before=little)
    assert (ended.code, ended.json["outcome"]) == (78, "refused")
    assert "There is too little memory" in ended.json["error"]
    assert service.calls == []


async def test_an_input_that_changed_between_runs(desk: Any, service: Any, keys: list[str]):
    """I13: the next run goes on by key, says that the input has changed, and records its digest;
    of an unchanged input it says nothing."""
    source = desk.csv(keys[:9])
    said = "The input has changed since the last run. This run continues by key, not by position."
    first = await desk.run(source, service, "--limit", 4)
    again = await desk.run(source, service, "--limit", 2)
    source = desk.csv([*keys[20:22], *reversed(keys[:9])])
    third = await desk.run(source, service)
    ledger = desk.reconcile(source, third, service)
    assert (first.code, again.code, third.code) == (75, 75, 0)
    assert [said in ended.err for ended in (first, again, third)] == [False, False, True]
    assert third.json["counts"]["already_settled"] == 6
    assert service.per_key == Counter([*keys[:9], *keys[20:22]])
    digests = [line["input"]["sha256"] for line in ledger.of("run_started")]
    assert digests[0] == digests[1] != digests[2]


async def test_keys_that_mean_something_in_a_query(desk: Any, service: Any):
    """I14, X5, X6: keys that mean something in a URL, spreadsheet, terminal, CI log or page arrive
    byte for byte and stand in the ledger unchanged; no output repeats them."""
    hostile = [
        *("a+b", "a#b", "a&customerKey=b", "a%20b", "a%", "a/b?c=d", "a b", "a  b", "..", ";a"),
        *("é", "e\u0301", "😀", "\U0010ffff", "\u202ea", "x" * 2048),
        *("=1+1", "@SUM(A1)", "+1", "-1", "=cmd|' /C calc'!A0"),
        *("::error::x", "##[error]x", "::add-mask::a", "**x**", "<img src=x>", "[x](javascript:y)"),
        *('"quoted"', "it's", "a,b", "\\", "{{x}}", "${IFS}", "`id`"),
    ]
    text = "customerKey,note\n" + "".join('"{}",x\n'.format(k.replace('"', '""')) for k in hostile)
    source = put(desk, "keys.csv", text, list(enumerate(hostile, 2)))
    run, check = await asyncio.gather(
        desk.run(source, service, "--verbose"), desk.call("check", source)
    )
    ledger = desk.reconcile(source, run, service)
    assert (run.code, check.code) == (0, 0)
    assert service.per_key == Counter(hostile)
    assert [line["key"] for line in ledger.of("accepted")] == sorted(
        hostile, key=[line["key"] for line in ledger.of("accepted")].index
    )
    printed = run.out + run.err + check.out + check.err
    assert [key for key in hostile if len(key) > 6 and key in printed] == []


async def test_keys_that_look_personal(desk: Any, service: Any, keys: list[str]):
    """I15: keys that look like e-mail addresses are counted in a warning before the first request,
    with the lines of the first ones, and never shown."""
    source = desk.csv([*keys[:5], *(f"anna.{n}@example.org" for n in range(5))])
    told: list[str] = []
    told_in = desk.folder / "told.txt"

    def answer(call: Any) -> None:
        told.append(told_in.read_text())

    service.answer = answer
    with told_in.open("wb") as stderr:
        ended = await desk.run(source, service, stderr=stderr)
    desk.reconcile(source, ended, service)
    assert "Warning: 5 keys contain an @" in told[0]
    assert "(lines 7, 8, 9, …)" in told[0]
    check = await desk.call("check", source, "--json")
    assert json.loads(check.out)["suspects"]["personal"] == {"keys": 5, "lines": [7, 8, 9]}
    assert "anna" not in told_in.read_text() + ended.out + check.out + check.err


async def test_ways_in_that_are_no_plain_file(desk: Any, service: Any, keys: list[str]):
    """I16: a packed stdin, a process substitution and a folder with blanks are read as a file is,
    by both commands."""
    text = ("customerKey\n" + "\n".join(keys[:30])).encode()
    folder = desk.folder / "two words"
    folder.mkdir()
    source = put(
        desk, f"{folder.name}/my keys.csv.gz", gzip.compress(text), [*enumerate(keys[:30], 2)]
    )
    ended = await desk.run(source, service)
    desk.reconcile(source, ended, service, name=f"{folder.name}/my keys.ledger.ndjson")
    assert ended.code == 0

    for command in ("run", "check"):
        options = ["--format", "csv", "--json"]
        if command == "run":
            options += ["--base-url", service.origin, "--yes", "--ledger", "keys.ledger.ndjson"]
        ours, theirs = os.pipe()
        os.write(theirs, text)
        os.close(theirs)
        substituted = await desk.call(command, f"/dev/fd/{ours}", *options, pass_fds=[ours])
        os.close(ours)
        running = await desk.start(command, "-", *options, stdin=asyncio.subprocess.PIPE)
        piped = await running.ended(zstd.compress(text))
        for ended in (substituted, piped):
            assert ended.code == 0
            assert json.loads(ended.out)["counts"]["rows"] == 30
    assert service.per_key == Counter(keys[:30] * 2)


# ── what may be told, and where keys may go ─────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["another column", "the key's column"])
async def test_names_in_a_file_cannot_speak_to_a_terminal(
    desk: Any, service: Any, keys: list[str], place: str
):
    """X6: escape sequences, carriage returns and CI commands in the names of files and columns are
    harmless in what `check` and `run` say, whether the input is read well or refused."""
    evil = "a\x1b[2Jb\x9b31m\r::error::c\u202e"
    path = desk.folder / "k\x1b]0;owned\x07\r::error::x.csv"
    desk.may_hold_keys.add(path)
    names = ["customerKey", evil] if place == "another column" else [evil, "note"]
    header = ",".join(f'"{name}"' for name in names)
    path.write_text(f"{header}\n" + "".join(f"{key},x\n" for key in keys[:5]), newline="")
    run = ("run", path, "--base-url", service.origin, "--yes", "--ledger", "keys.ledger.ndjson")
    endings = await asyncio.gather(
        *(desk.call(*command, "--reference-field", evil) for command in (("check", path), run))
    )
    assert {ended.code for ended in endings} == ({0} if names[1] == evil else {65})
    for ended in endings:
        for printed in (ended.out, ended.err):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed)
            assert not re.search(r"^\s*::", printed, re.MULTILINE)


async def test_keys_go_nowhere_unencrypted(desk: Any, service: Any, keys: list[str]):
    """X7: plain http to another host is refused by `run` and for a plan, and a plan for one target
    carries out nothing at another; nothing is sent or written."""
    source = desk.csv(keys[:3])
    remote = "http://gateway.example.com"
    before = set(desk.folder.iterdir())
    for command in (("run", source, "--yes"), ("check", source, "--plan", "a.plan.json")):
        ended = await desk.call(*command, "--base-url", remote, "--json")
        assert ended.code == 78
        assert "https" in json.loads(ended.out)["error"]
    assert set(desk.folder.iterdir()) == before
    planned = await desk.call("check", source, "--plan", "a.plan.json", "--cluster-id", "w1234abcd")
    assert planned.code == 0
    ended = await desk.run(source, service, "--plan", "a.plan.json")
    assert (ended.code, ended.json["outcome"]) == (2, "refused")
    assert "w1234abcd" in ended.json["error"]
    assert service.calls == []
    assert desk.ledger_size() == 0

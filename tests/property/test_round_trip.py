"""From a file that another program wrote to what a service reads from the query: the same keys.

The files are written by Python's csv and json and by openpyxl, in whatever dialect; the service is
a real one on loopback, which takes the bytes of the query as they came. Each row's key arrives as
it was, outer blanks apart, or its row is rejected: none is lost, changed or added.
"""

import asyncio
import csv
import gzip
import io
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import openpyxl
import pytest
from aiohttp import web
from backports import zstd
from examples import examples
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.sending.request import RunRequest
from bulk_eraser.sending.run import prepare
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Allow, Intake

ROOT = Path(__file__).parents[2]
SOME = settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FEWER = settings(SOME, max_examples=examples(100))

BLANKS = " \t\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b"
BLANKS += "\u202f\u205f\u3000\ufeff"
NO_KEY = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
FIRST = "first-1"


# ── a service, and the way to it ────────────────────────────────────────────────────────────────


class Service:
    """Creates a job for every request; `queries` are the raw query strings."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self.queries: list[str] = []
        self.origin = ""

    async def start(self) -> web.ServerRunner:
        server = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{server.addresses[0][1]}"
        return server

    def keys(self) -> list[str]:
        """What a service reads from the queries since the last call."""
        queries, self.queries = self.queries, []
        keys = []
        for query in queries:
            name, _, value = query.partition("=")
            assert name == "customerKey"
            assert re.fullmatch(r"[A-Za-z0-9._~%-]+", value)  # read alike by every decoder
            keys.append(unquote_to_bytes(value).decode())
        return keys

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.queries.append(request.raw_path.partition("?")[2])
        return web.json_response({"jid": f"job-{len(self.queries)}", "status": "created"})


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One loop for service and batches; what batches do to signals is taken back."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with asyncio.Runner() as runner:
        service = Service(runner)
        server = runner.run(service.start())
        yield service
        runner.run(server.cleanup())
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Row(NamedTuple):
    """What was put into the file: `line` is where the row starts."""

    line: int
    raw: str


def arrives(
    service: Service,
    name: str,
    content: bytes,
    rows: list[Row],
    reading: Reading,
    may_be_rejected: str = "",
) -> None:
    """Erase the file's keys; service and ledger must have exactly those of `rows`.

    A key with a character of `may_be_rejected` may be rejected instead, never changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        ledger = Path(folder, "keys.ledger.ndjson")
        intake = Intake(reader=InputReader(str(path), reading), allowed=frozenset(Allow))
        target = Target.of_base_url(service.origin)
        batch = prepare(
            RunRequest(intake=intake, ledger_path=str(ledger)),
            RunSettings(target=target, api_version=ApiVersion.V4, rate=0, concurrency=8),
        )
        try:
            ending = service.run(batch.carry_out("api-key", lambda *_: nullcontext()))
        finally:
            batch.close()
        lines = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    rejected = {line["line"] for line in lines if line["type"] == "rejected"}
    sent: dict[str, int] = {}
    must_be_rejected = {line for line, raw in rows if set(may_be_rejected) & set(raw)} & rejected
    duplicates = []
    for line, raw in rows:
        key = raw.strip(BLANKS)
        if line in must_be_rejected or not key or NO_KEY.search(key) or len(key.encode()) > 2048:
            must_be_rejected.add(line)
        elif key in sent:
            duplicates.append((key, line, sent[key]))
        else:
            sent[key] = line
    assert rejected == must_be_rejected
    assert ending.counts["rows"] == len(rows)
    seen = service.keys()
    assert sorted(seen) == sorted(sent)
    accepted = {line["key"]: line["line"] for line in lines if line["type"] == "accepted"}
    assert accepted == sent
    noted = [(r["key"], r["line"], r["first_line"]) for r in lines if r["type"] == "duplicate"]
    assert noted == duplicates


# ── keys that somebody might really have, and others ────────────────────────────────────────────


def hostile(characters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Keys of signs that mean something to a URL, CSV, JSON, XML or terminal, among others."""
    words = [
        "e\u0301",
        "\u212a",
        "%20",
        "%2B",
        "&customerKey=",
        "&amp;",
        "<t>",
        "_x0041",
        "::error::",
        '""',
        "  ",
    ]
    signs = st.sampled_from([*"+#&%/?=;:@,|'\"\\<>[]{}()!*$^`~. \xa0\xadéß", *words])
    pieces = signs | characters | st.sampled_from(["a", "Key", "7", "-"])
    return st.lists(pieces, max_size=12).map("".join)


def text_of(**which: object) -> st.SearchStrategy[str]:
    return hostile(st.characters(**which))  # type: ignore[arg-type]


in_csv = text_of(exclude_categories=["Cs"], exclude_characters="\r\n")
in_cp1252 = text_of(codec="cp1252", exclude_characters="\r\n").filter(
    lambda key: key.encode("cp1252", "ignore").decode("cp1252") == key
)
in_json = text_of() | st.text(st.characters(categories=["Cs", "Cc"]), min_size=1, max_size=2)
in_xlsx = text_of(
    exclude_categories=["Cs"],
    exclude_characters="\ufffe\uffff" + "".join(map(chr, {*range(32)} - {9, 10, 13})),
)
notes = st.text("ab,;|\t\"' \n", max_size=8).map(lambda note: f"x{note.strip()}")


class Dialect(NamedTuple):
    delimiter: str
    quoting: int
    end: str
    place: int


dialects = st.builds(
    Dialect,
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 2),
)


def written_as_csv(rows: list[tuple[str, str]], dialect: Dialect) -> tuple[str, list[Row]]:
    """The file's text, and where its rows are; the key beside two notes."""
    out = io.StringIO()
    delimiter, quoting, end, place = dialect
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    header = ["note", "when"]
    header.insert(place, "customerKey")
    writer.writerow(header)
    placed = []
    for raw, note in [(FIRST, "x"), *rows]:
        placed.append(Row(out.getvalue().count("\n") + 1, raw))
        fields = [note, "2025-02-01"]
        fields.insert(place, raw)
        writer.writerow(fields)
    return out.getvalue(), placed


@SOME
@given(
    rows=st.lists(st.tuples(in_csv, notes), max_size=12),
    dialect=dialects,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@example(
    rows=[("a+b", "x"), ("a b", "x"), ("a%2Bb", "x")],
    dialect=Dialect(",", 0, "\n", 0),
    encoding="utf-8",
)
@example(
    rows=[(' "a"', "x"), ('"a"', "x"), ("\ufeffa", "x")],
    dialect=Dialect(";", 1, "\r\n", 2),
    encoding="utf-8-sig",
)
def test_keys_written_as_csv_arrive(
    service: Service,
    rows: list[tuple[str, str]],
    dialect: Dialect,
    encoding: str,
) -> None:
    """Whatever the dialect and encoding, each key of a CSV file arrives as it was written."""
    text, placed = written_as_csv(rows, dialect)
    arrives(service, "keys.csv", text.encode(encoding), placed, Reading(), '"')


@FEWER
@given(rows=st.lists(st.tuples(in_cp1252, notes), max_size=12), dialect=dialects)
@example(rows=[("Zoé€™-1", "x"), ("\xa0Åsa\xad", "x")], dialect=Dialect(";", 0, "\r\n", 1))
def test_keys_of_a_named_encoding_arrive(
    service: Service, rows: list[tuple[str, str]], dialect: Dialect
) -> None:
    """With --encoding cp1252 each key arrives as the characters that it stood for."""
    text, placed = written_as_csv(rows, dialect)
    content = text.encode("cp1252")
    assume(content.isascii() or not is_utf8(content))  # which is refused: it would garble keys
    arrives(service, "keys.csv", content, placed, Reading(encoding="cp1252"), '"')


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@FEWER
@given(
    rows=st.lists(in_csv.filter(str.strip), max_size=12),  # a blank line is no row
    header=st.booleans(),
    delimiter=st.none() | st.sampled_from([",", ";", "\t", "|", "^"]),
    packed=st.booleans(),
)
def test_keys_in_an_only_column_arrive(
    service: Service,
    rows: list[str],
    header: bool,
    delimiter: str | None,
    packed: bool,
) -> None:
    """Keys alone in their file arrive, with a header or without, with a delimiter or none.

    Where no delimiter is known, a key that ends in one may be two fields, and is rejected.
    """
    raws = [FIRST, *rows]
    text = "".join('"{}"\n'.format(raw.replace('"', '""')) for raw in raws)
    lines = [Row(line, raw) for line, raw in enumerate(raws, 1 + header)]
    content = ("customerKey\n" * header + text).encode()
    reading = Reading(header=header, delimiter=delimiter)
    arrives(service, "keys.csv", content, lines, reading, '"' if delimiter else '";|')


@SOME
@given(
    rows=st.lists(st.tuples(in_json, st.booleans(), st.booleans()), max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    nested=st.booleans(),
)
@example(
    rows=[("\ud800", True, False), ("a\ud83d\ude00", True, False)],
    end="\n",
    encoding="utf-8",
    nested=False,
)
@example(
    rows=[("a\x00", True, False), ("", False, False), (" \t", False, True)],
    end="\n",
    encoding="utf-8",
    nested=True,
)
def test_keys_written_as_json_arrive(
    service: Service,
    rows: list[tuple[str, bool, bool]],
    end: str,
    encoding: str,
    nested: bool,
) -> None:
    """Each text of the key's member arrives, escaped or not, beside others, within another."""
    lines, placed = [], []
    for number, (raw, escape, behind) in enumerate([(FIRST, False, False), *rows]):
        inner = (
            {"customerKey": raw} if not behind else {"note": 'x"customerKey', "customerKey": raw}
        )
        whole = {"a": [1, None], "visitor": inner} if nested else inner
        surrogates = re.search("[\ud800-\udfff]", raw) is not None
        lines.append(json.dumps(whole, ensure_ascii=escape or surrogates))
        placed.append(Row(1 + number * end.count("\n"), _joined(raw)))
    reading = Reading(key_field="visitor.customerKey" if nested else None)
    content = end.join(lines).encode(encoding)
    arrives(service, "keys.ndjson", content, placed, reading)


def _joined(text: str) -> str:
    """Pairs of surrogates are one character, as every reader of JSON takes them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@FEWER
@given(rows=st.lists(in_xlsx, max_size=12), place=st.integers(0, 2), first=st.integers(1, 3))
@example(
    rows=["=1+1", "@SUM", "00123", "TRUE", "1e5", "#N/A", "'a", "2025-01-01"], place=1, first=1
)
@example(rows=[" a ", "a  b", "a\nb", "a\tb", "<t>&amp;</t>", "_x0041"], place=0, first=2)
def test_keys_written_as_a_workbook_arrive(
    service: Service, rows: list[str], place: int, first: int
) -> None:
    """Each text cell of the key's column arrives, wherever the table begins in the sheet."""
    assume(not any(re.search("_x[0-9a-fA-F]{4}_", raw) for raw in rows))  # Excel's own escape
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    raws = ["customerKey", FIRST, *rows]
    for number, raw in enumerate(raws, first):
        for column in range(3):
            cell = sheet.cell(number, column + 2, "x")
            if column == place:
                cell.value = raw
                cell.data_type = "s"  # else `=1+1` is a formula
    content = io.BytesIO()
    book.save(content)
    placed = [Row(line, raw) for line, raw in enumerate(raws[1:], first + 1)]
    arrives(service, "keys.xlsx", content.getvalue(), placed, Reading())


# ── the same through the command ────────────────────────────────────────────────────────────────


FIXED = ["a+b c", "50%", "a&customerKey=b", "é", "€“x”", '"q"', ";x", "=1+1", "ÿ~"]


@pytest.mark.parametrize("name", ["cp1252.csv", "keys.csv.gz", "keys.xlsx", "keys.ndjson.zst"])
def test_the_command_sends_what_is_in_the_file(service: Service, tmp_path: Path, name: str) -> None:
    """`run` sends the keys of each kind of file byte for byte, and nothing else."""
    path = tmp_path / name
    dialect = Dialect(";", csv.QUOTE_MINIMAL, "\r\n", 1)
    text, _ = written_as_csv([(key, "x") for key in FIXED], dialect)
    options = []
    if name == "cp1252.csv":
        path.write_bytes(text.encode("cp1252"))
        options = ["--encoding", "cp1252"]
    elif name == "keys.csv.gz":
        path.write_bytes(gzip.compress(text.encode("utf-16")))
    elif name == "keys.xlsx":
        book = openpyxl.Workbook()
        assert book.active is not None
        for row, key in enumerate(["customerKey", FIRST, *FIXED], 1):
            book.active.cell(row, 1, key).data_type = "s"
        book.save(path)
    else:
        lines = [json.dumps({"customerKey": key}) + "\n" for key in [FIRST, *FIXED]]
        path.write_bytes(zstd.compress("".join(lines).encode("utf-8-sig")))
    code, said = service.run(_erase(service, name, *options, cwd=tmp_path))
    assert code == 0, said
    assert sorted(service.keys()) == sorted([FIRST, *FIXED])


async def _erase(service: Service, *arguments: str, cwd: Path) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_eraser", "run", *arguments),
        *("--base-url", service.origin, "--yes", "--rate", "0"),
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ELEVATE_API_KEY": "k"},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    return process.returncode, said

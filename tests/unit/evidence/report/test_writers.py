"""What is written out of a summary: read back by foreign parsers, harmless whatever it holds."""

import csv
import html
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from bulk_eraser.errors import UsageError
from bulk_eraser.evidence.report.as_markdown import escaped
from bulk_eraser.evidence.report.pictures import bar_of, days_of, timeline_of
from bulk_eraser.evidence.report.text import at_a_glance, in_full
from bulk_eraser.evidence.report.words import sums
from bulk_eraser.evidence.report.writers import WRITERS, must_be_replaceable, write
from bulk_eraser.evidence.row_table import Cells, table_writer
from bulk_eraser.evidence.summary import Standing, Summary, Timing
from bulk_eraser.records import PlanFacts
from tests.unit.evidence.conftest import (
    accepted,
    excluded,
    facts,
    failed,
    finished,
    rejected,
    sent,
    started,
    status,
    unknown,
)

HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=a()>]]>&amp;{{7*7}}{% raw %}|`*_[x](http://e.vil)'
    "\r\n::error::\x1b[31m\u202e\x00=cmd|' /C calc'!A0 @ada #1 www.e.vil http://e.vil"
)
SECRET = "customer-key-5e17"
RUN, LATER = "2026-11-20", "2026-11-27"


@pytest.fixture
def hostile(summary_of: Any) -> Summary:
    """A summary with hostile text wherever text comes from outside, and keys that are secret."""
    row = {"reference": HOSTILE}
    run = started(
        input=facts(name=HOSTILE, rows=10, keys=9, rejected=1),
        requester=HOSTILE,
        reference=HOSTILE,
        target=HOSTILE,
        api=HOSTILE,
        tool=HOSTILE,
        exclude_sha256=HOSTILE,
        plan=PlanFacts(sha256=HOSTILE, made_by=HOSTILE, made_at=HOSTILE),
    )
    keys = [f"{SECRET}-{n}" for n in range(6)]
    end = finished(3)
    end.outcome = HOSTILE
    end.counts |= {"rows": 10, "accepted": 2, "failed": 1, "unknown": 1, "rejected": 1}
    end.counts["excluded"] = 1
    end.counts["not_reached"] = 4
    return summary_of(  # type: ignore[no-any-return]
        (RUN, [run, *(sent(key, n + 2, **row) for n, key in enumerate(keys))]),
        (RUN, [accepted(keys[0], 2, jid=HOSTILE, **row), accepted(keys[1], 3, **row)]),
        (RUN, [failed(keys[2], 4, error=HOSTILE, **row), unknown(keys[3], 5, HOSTILE)]),
        (RUN, [rejected(9, HOSTILE), excluded(f"{SECRET}-7", 10, HOSTILE), end]),
        (LATER, [started("follow", run="q"), status(keys[0], "error", HOSTILE)]),
        (LATER, [status(keys[1], HOSTILE, due=HOSTILE)]),
    )


def made(name: str, summary: Summary) -> str:
    return WRITERS[name].make(summary)


# ── hostile text, and keys ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [*WRITERS, "text", "glance"])
def test_no_report_holds_a_key(hostile: Summary, name: str):
    """Unless it was asked for, which is another summary."""
    of_text = {"text": in_full, "glance": at_a_glance}
    content = of_text[name](hostile) if name in of_text else made(name, hostile)
    assert SECRET not in content


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "json"])
def test_nothing_acts_on_a_terminal_or_hides(hostile: Summary, name: str):
    """No escape sequence, no NUL, no mark that turns the direction of text."""
    content = made(name, hostile)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", content)
    assert not re.search(r"&#(0|27|8238);", content)


def test_text_for_a_terminal_is_printable(hostile: Summary):
    for line in (in_full(hostile) + at_a_glance(hostile)).split("\n"):
        assert line.isprintable()


class Page(HTMLParser):
    """The page as a parser sees it: tags and texts; each tag must be closed in its turn."""

    VOID = ("meta", "br", "rect", "path", "line")

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_whole_and_nothing_in_it_is_run_or_fetched(hostile: Summary):
    """Hostile text is text. No script, no handler, no address but that of SVG's name space."""
    content = made("html", hostile)
    page = Page(content)
    names = Counter(name for name, _ in page.tags)
    assert not {"script", "img", "link", "iframe", "object", "a", "form", "base"} & set(names)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href")]
        assert "style" not in attributes
    assert not re.search(r"@import|url\(", content)
    assert "onerror=a()>]]>&amp;{{7*7}}" in "".join(page.texts)
    policy = next(it["content"] for it in page.named("meta") if it.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize("name", ["html", "markdown", "json", "text"])
def test_a_hold_is_told_with_its_reason(summary_of: Any, name: str):
    """How many, where, and why, as the hold list says it, or that it says nothing."""
    summary = summary_of(
        (RUN, [started(exclude_sha256="f" * 64)]),
        (
            RUN,
            [excluded("a", 2, "court case 7"), excluded("b", 3), excluded("c", 9, "court case 7")],
        ),
    )
    content = in_full(summary) if name == "text" else made(name, summary)
    plain = html.unescape(re.sub(r"<[^>]+>", " ", content))
    assert "court case 7" in plain
    if name != "json":
        assert "lines 2 and 9" in plain
        assert "the hold list gives no reason" in plain


def test_a_row_stands_once_on_the_page_with_all_its_reasons(summary_of: Any):
    """What became of it, and that its month is over; rows that differ in nothing are not merged."""
    late = {"received": "2026-09-01"}
    summary = summary_of(
        (RUN, [started(), *(sent(key, 2, **late) for key in "ab"), sent("c", 3)]),
        (RUN, [failed("a", 2, **late), failed("b", 2, **late), failed("c", 3)]),
    )
    assert len(summary.rows) == 5
    rows = re.findall(r"<td>(refused[^<]*)</td>", made("html", summary))
    assert rows == ["refused; the month is over"] * 2 + ["refused"]


def test_the_first_page_names_the_first_exceptions_and_the_sum_of_the_others(summary_of: Any):
    """Of long reasons it has the beginning; the annex has all, whole."""
    reasons = [f"reason {n:02} {'why ' * 40}end" for n in range(12)]
    held = [excluded(f"k{n}", 2 + n, reason) for n, reason in enumerate(reasons)]
    content = made("html", summary_of((RUN, [started(exclude_sha256="f" * 64), *held])))
    first, annexes = content.split('<div class="annexes">')
    assert [n for n in range(12) if f"“reason {n:02} why" in first] == list(range(10))
    assert '<td class="n">2</td><th scope="row">2 other reasons</th>' in first
    assert "end”" not in first
    assert all(f"“{reason}”" in annexes for reason in reasons)


def test_the_sums_are_shown(summary_of: Any):
    """Those who are to be erased, and those who are not, as sums of the table."""
    run = started(input=facts(rows=7, keys=5, rejected=2), exclude_sha256="f" * 64)
    run.sent_when_complete = 3
    sent_ = [sent(key, 2 + n) for n, key in enumerate("abc")]
    others = [excluded("x", 5), excluded("y", 6), rejected(7), rejected(8)]
    outcomes = [accepted("a", 2), accepted("b", 3), failed("c", 4)]
    summary = summary_of((RUN, [run, *sent_]), (RUN, [*outcomes, *others]))
    assert sums(summary) == [
        "2 + 1 = 3 customer keys to be erased.",
        "2 + 2 = 4 on hold, without a usable key, or repeated.",
    ]
    run.sent_when_complete, run.input = 1, facts(rows=1, keys=1)
    alone = summary_of((RUN, [run, sent("a")]), (RUN, [accepted("a")]))
    assert sums(alone) == ["1 customer key to be erased."]


def test_the_page_can_be_read_aloud(hostile: Summary):
    """Its language, headings in order, a caption for each table, a scope for each head of a row or
    column, a name and a description for each picture."""
    page = Page(made("html", hostile))
    assert page.named("html") == [{"lang": "en"}]
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    assert len(page.named("table")) == len(page.named("caption"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.named("th"))
    ids = {attributes.get("id") for _, attributes in page.tags}
    for picture in page.named("svg"):
        if picture.get("aria-hidden") != "true":
            assert picture["role"] == "img"
            assert set(str(picture["aria-labelledby"]).split()) <= ids
    labels = [attributes.get("aria-labelledby") for _, attributes in page.tags]
    assert all(set(label.split()) <= ids for label in labels if label)
    of_ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(of_ids) == len(set(of_ids))


def test_markdown_is_text_for_a_parser(hostile: Summary):
    """Only headings, tables, lists and strong text of our own; no link, no image, no HTML."""
    content = made("markdown", hostile)
    tokens = MarkdownIt("commonmark").enable("table").parse(content)
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {"link_open", "image", "html_inline", "code_block", "fence", "hr"}
    assert [it.content for it in tokens if it.type == "html_block"] == [
        "<!-- bulk-eraser report -->\n"
    ]
    assert not re.search(r"(?<![\w])(@\w|www\.|https?:)", content)
    cells = [
        "".join(child.content for child in token.children or ())
        for token in tokens
        if token.type == "inline"
    ]
    assert any("<script>alert(1)</script>" in cell for cell in cells)
    assert len({line.count(" | ") for line in content.splitlines() if "script" in line}) > 1


@pytest.mark.parametrize("text", ["- a", "1. a", "    a", "# a", "> a", "=", "---", "+ a", "2) a"])
def test_a_line_of_markdown_begins_nothing(text: str):
    """Whatever a text begins with, it is a paragraph."""
    tokens = MarkdownIt("commonmark").parse(escaped(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


def test_junit_is_xml_with_a_case_for_each_promise_and_reason(hostile: Summary):
    root = ET.fromstring(made("junit", hostile))
    cases = list(root.iter("testcase"))
    failures = [case for case in cases if case.find("failure") is not None]
    assert root.get("tests") == str(len(cases))
    assert root.get("failures") == str(len(failures)) == root.find("testsuite").get("failures")  # type: ignore[union-attr]
    groups = Counter(case.get("classname") for case in cases)
    reasons = len(hostile.failures) + len(hostile.rejected)
    assert groups["bulk-eraser.reason"] == reasons == 5
    names = [str(case.get("name")) for case in cases]
    assert sum("<script>" in name for name in names) == 3


@pytest.mark.parametrize(
    ("standing", "failure", "skipped"),
    [("all_erased", False, False), ("open", False, True), ("needs_attention", True, False)],
)
def test_everybody_is_erased_is_a_case(
    hostile: Summary, standing: str, failure: bool, skipped: bool
):
    """It holds, cannot be said yet, or fails."""
    root = ET.fromstring(made("junit", replace(hostile, standing=Standing(standing))))
    (case,) = [it for it in root.iter("testcase") if it.get("name") == "everybody is erased"]
    assert (case.find("failure") is not None, case.find("skipped") is not None) == (
        failure,
        skipped,
    )


def test_metrics_are_read_by_prometheus(hostile: Summary):
    """Each sample with its help and type; counts as in the summary; nothing but states, deadlines,
    errors and the ledger's name in labels."""
    families = list(text_string_to_metric_families(made("metrics", hostile)))
    assert all(family.documentation and family.type == "gauge" for family in families)
    samples = [sample for family in families for sample in family.samples]
    assert {label for sample in samples for label in sample.labels} == {
        *("ledger", "state", "deadline", "error"),
    }
    keys = {it.labels["state"]: it.value for it in samples if it.name == "bulk_eraser_keys"}
    assert keys == hostile.states
    assert next(it.value for it in samples if it.name == "bulk_eraser_ledger_proven") == 1


def test_dotenv_has_nothing_that_a_shell_would_act_on(hostile: Summary):
    """Names that are no options of ours; words, digits and times as values."""
    lines = made("dotenv", hostile).splitlines()
    assert all(re.fullmatch(r"ERASURE_[A-Z_]+=[0-9A-Za-z:._,+-]*", line) for line in lines)
    values = dict(line.split("=") for line in lines)
    assert values["ERASURE_STANDING"] == hostile.standing
    assert int(values["ERASURE_REFUSED"]) == hostile.states["refused"] == 1
    assert values["ERASURE_HEAD"] == hostile.ledgers[0].head


def test_json_has_every_field(hostile: Summary):
    found = json.loads(made("json", hostile))
    assert (found["type"], found["format"], found["states"]) == ("report", 1, hostile.states)
    assert found["standing"] == hostile.standing
    assert set(found) - {"type", "format"} == set(vars(hostile))


def test_a_table_has_no_formula():
    file = io.StringIO(newline="")
    add = table_writer(file)
    add(Cells(2, reference="=1+1", jid="@SUM", state="-2", error="a;=1"))
    _, row = csv.reader(io.StringIO(file.getvalue()))
    assert [row[0], row[2], row[3], row[4], row[6]] == ["2", "'-2", "a;'=1", "'=1+1", "'@SUM"]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────


def test_the_bar_adds_up_and_shows_one_among_a_million(hostile: Summary):
    """Side by side over the whole width; nobody rounded to nothing, nor all to 100 %."""
    states = dict.fromkeys(hostile.states, 0) | {"erased": 1_000_000, "refused": 1, "failed": 900}
    bar = bar_of(replace(hostile, states=states))
    assert (bar.total, [it.count for it in bar.segments]) == (1_000_901, [1_000_000, 1, 900])
    assert bar.segments[0].x == 0
    for before, after in zip(bar.segments, bar.segments[1:], strict=False):
        assert before.x + before.width == pytest.approx(after.x, abs=0.02)
    assert bar.segments[-1].x + bar.segments[-1].width == pytest.approx(720, abs=0.02)
    assert min(it.width for it in bar.segments) > 2
    assert [it.percent for it in bar.segments] == ["> 99.9 %", "< 0.1 %", "< 0.1 %"]
    assert len({it.letter for it in bar.segments}) == 3
    whole = bar_of(replace(hostile, states={"erased": 7}))
    assert [(it.percent, it.width) for it in whole.segments] == [("100 %", 720)]


def test_no_picture_without_anything_to_show(summary_of: Any):
    empty = summary_of((RUN, [started(input=facts(rows=0, keys=0), sent_when_complete=0)]))
    assert (bar_of(empty).segments, days_of(empty), timeline_of(empty)) == ([], None, None)
    for name in WRITERS:
        assert made(name, empty)


def test_the_timeline_has_a_column_for_each_second_with_requests(hostile: Summary):
    chart = timeline_of(replace(hostile, timing=Timing(2, [5, 0, 9], [0, 0, 3], {})))
    assert chart is not None
    assert (chart.first.count("M"), chart.second.count("M"), chart.top) == (2, 1, 9)


# ── files ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", WRITERS)
def test_a_report_replaces_its_own_kind_only(tmp_path: Path, hostile: Summary, name: str):
    """Yesterday's report, or an empty file; never another kind, a ledger, a folder or a link."""
    path = tmp_path / "report"
    begins = WRITERS[name].begins
    for _ in range(2):
        must_be_replaceable(name, str(path), begins)
        write(name, str(path), hostile)
        assert path.read_bytes().startswith(begins)
        assert path.stat().st_mode & 0o777 == (0o644 if name == "metrics" else 0o600)
    path.write_bytes(b"")
    must_be_replaceable(name, str(path), begins)
    for other in WRITERS:
        if other != name:
            write(other, str(path), hostile)
            with pytest.raises(UsageError, match="no report that"):
                must_be_replaceable(name, str(path), begins)
    write(name, str(path), hostile)
    (tmp_path / "link").symlink_to(path)
    others = ("", "link", "none/x", "k.ledger.ndjson")
    for refused in (tmp_path / other for other in others):
        with pytest.raises(UsageError):
            must_be_replaceable(name, str(refused), begins)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["k.ledger.ndjson", "link", "report"]

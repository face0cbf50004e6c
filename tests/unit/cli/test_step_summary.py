"""The section and the annotations of a step in GitHub Actions are text, short, and no commands."""

from bulk_eraser.cli.terminal.step_summary import annotations, section
from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.errors import Attention, ExitCode, Result
from bulk_eraser.sending.request import RunResult
from bulk_eraser.wording import labels_of

HOSTILE = "a\r\n::error::b %0A|<script>`[x](y)` ::set-output name=x::\x1b[31m @ada"


def result_of(code: int = 3, outcome: str = "complete") -> RunResult:
    result = RunResult(outcome=outcome, exit_code=code)
    result.counts |= {"rows": 1_234_567, "accepted": 1_234_565, "failed": 2}
    result.attention = [Attention("http_400", 2, [7, 3]), Attention(HOSTILE, 1)]
    result.next = ["bulk-eraser", "run", HOSTILE]
    return result


def test_annotations_are_one_line_each_and_hold_no_command():
    """The verdict first, then reasons; three at the most."""
    result = result_of()
    result.attention *= 9
    lines = annotations("run", result, [HOSTILE, "Then."])
    assert len(lines) == 3
    assert lines[1] == (
        "::warning title=bulk-eraser run::2 http_400: the service answered http_400 (lines 3 and 7)"
    ).replace("answered http_400", "answered 400")
    for line in lines:
        assert "\n" not in line
        assert "\r" not in line
        assert "\x1b" not in line
        assert line.count("::") == 2
    assert "%250A" in lines[0]
    assert annotations("run", Result(), []) == []


def test_the_gravest_reasons_are_annotated():
    """A hold that came too late, then what concerns most; three lines in all."""
    result = result_of()
    counts = {"empty_key": 1, "http_400": 27, "held_too_late": 2, "timeout": 9}
    result.attention = [Attention(word, count) for word, count in counts.items()]
    _, first, second = annotations("run", result, ["x"])
    assert "::2 held_too_late: " in first
    assert "::27 http_400: " in second
    rows = (
        section("run", result, labels_of(JobKind.REMOVAL), ["x"])
        .split("where |\n")[1]
        .splitlines()[1:5]
    )
    assert [row.split(" | ")[0] for row in rows] == ["| 2", "| 27", "| 9", "| 1"]


def test_a_reason_is_not_told_twice():
    """`unknown: may or may not have arrived`, and not `unknown: unknown: …`."""
    result = result_of()
    result.attention = [Attention("unknown", 2)]
    assert "::2 unknown: may or may not" in annotations("follow", result, ["x"])[1]


def test_verify_is_verified_or_not():
    """By its own word, and not “not finished”."""
    said = section("verify", result_of(3, "incomplete"), labels_of(JobKind.REMOVAL), ["x"])
    assert said.startswith("### bulk-eraser verify: not verified (3)")
    assert "verify: verified (0)" in section(
        "verify", result_of(0), labels_of(JobKind.REMOVAL), ["x"]
    )


def test_the_level_is_that_of_the_exit_code():
    """Pending jobs are no failure for six days; rows that need attention are a warning."""
    levels = {0: "notice", 75: "notice", 3: "warning", 69: "error", 79: "error", 2: "error"}
    for code, level in levels.items():
        (line, *_) = annotations("follow", result_of(code), ["x"])
        assert line.startswith(f"::{level} ")
    busy = result_of(ExitCode.NOT_FINISHED)
    busy.error = "Another process uses the ledger."
    assert annotations("run", busy, ["x"])[0].startswith("::error ")


def test_the_section_has_counts_reasons_and_the_next_command():
    """Only what is not 0; every foreign text escaped."""
    text = section("run", result_of(), labels_of(JobKind.REMOVAL), ["Reached the end.", HOSTILE])
    assert text.startswith("### bulk-eraser run: reached its end, needs attention (3)\n")
    assert "| 1,234,565 | accepted: the service created a removal job |" in text
    assert "not reached" not in text
    assert "lines 3 and 7" in text
    assert "Next: <code>bulk-eraser run " in text
    assert not any(mark in text for mark in ("<script", "`", "[x]", "@ada", "\x1b", "::"))
    assert text.count("\n|") < 12


def test_the_section_stays_small():
    """However many reasons there are, and however long they are."""
    result = result_of()
    result.attention = [Attention("|" * 100_000, 1, [1] * 5)] * 5_000
    result.next = ["x" * 1_000_000]
    assert (
        len(section("run", result, labels_of(JobKind.REMOVAL), ["é<" * 1_000_000]).encode())
        < 64 << 10
    )

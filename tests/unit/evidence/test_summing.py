"""A summary says of every key what became of it, once, as of a given time."""

from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.evidence.key_rows import KeyRows
from bulk_eraser.evidence.row_table import WINDOW
from bulk_eraser.evidence.summary import OTHER_REASONS, TO_BE_ERASED, Deadlines, Standing
from bulk_eraser.ledger.key_state import KeyState
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
    summed,
    unknown,
    unsent,
    written,
)

RUN = "2026-11-20"
LATER = "2026-11-27"


def states_of(summary: Any) -> dict[str, int]:
    return {state: count for state, count in summary.states.items() if count}


def one_of_each() -> list[Any]:
    """A run that leaves keys in every state, in groups as `written` takes them."""
    keys = "edrjfupx"
    run = [started(input=facts(rows=11, keys=9, rejected=2), exclude_sha256="f" * 64)]
    run[0].sent_when_complete = 9
    outcomes = [
        accepted("e", 2),
        accepted("d", 3),
        failed("r", 4),
        accepted("j", 5),
        failed("f", 6, permanent=False),
        unknown("u", 7),
        excluded("x", 9),
        rejected(10),
        rejected(11, "wrong_type"),
    ]
    asked = [started("follow", run="q"), status("e", "done"), status("j", "error")]
    pending = [status("d", "running", due="2026-11-28T00:00:00.000Z")]
    return [
        (RUN, run),
        (RUN, [sent(key, 2 + n) for n, key in enumerate(keys[:-1])]),
        (RUN, outcomes),
        (LATER, asked + pending),
    ]


def test_every_state_is_counted_once_and_explained(summary_of: Any):
    """Each key is in one state; failures, jobs, deadlines and days each add up to these."""
    summary = summary_of(*one_of_each())
    assert states_of(summary) == {
        "erased": 1,
        "in_progress": 1,
        "job_failed": 1,
        "refused": 1,
        "failed": 1,
        "unknown": 1,
        "excluded": 1,
        "rejected": 2,
        "sent": 1,
        "not_reached": 2,
    }
    assert summary.to_be_erased == 9
    found = {(it.state, it.error): (it.count, it.lines) for it in summary.failures}
    assert found == {
        ("job_failed", "error"): (1, [5]),
        ("refused", "http_400"): (1, [4]),
        ("failed", "http_503"): (1, [6]),
        ("unknown", "timeout"): (1, [7]),
        ("sent", ""): (1, [8]),
    }
    assert summary.failed == 5
    jobs = {(it.status, it.is_asked): it.count for it in summary.jobs}
    assert jobs == {("done", True): 1, ("running", True): 1, ("error", True): 1}
    assert {it.error: (it.count, it.lines) for it in summary.rejected} == {
        "empty_key": (1, [10]),
        "wrong_type": (1, [11]),
    }
    months = summary.deadlines
    assert (months.kept, months.ahead, months.from_run) == (1, 8, 9)
    assert months.first == "2026-12-20"
    assert (summary.days.erased[7], summary.days.waiting[9]) == (1, 6)
    assert (sum(summary.days.erased), sum(summary.days.waiting)) == (1, 6)
    assert (summary.next_check_at, summary.due_now) == ("2026-11-28T00:00:00.000Z", 1)
    assert summary.standing is Standing.NEEDS_ATTENTION


def test_holds_are_counted_by_their_last_reason(summary_of: Any):
    """Each key once; what the hold list said last counts, and a key that was sent is on no hold."""
    run = {"exclude_sha256": "f" * 64}
    summary = summary_of(
        (RUN, [started(**run), excluded("a", 2, "old"), excluded("b", 3), excluded("c", 4, "x")]),
        (RUN, [sent("d", 5), accepted("d", 5)]),
        (LATER, [started(run="r2", **run), excluded("a", 2, "new"), excluded("b", 3)]),
        (LATER, [excluded("d", 5, "new"), excluded("e", 6, "new"), sent("c", 4), accepted("c", 4)]),
    )
    assert [(it.reason, it.count, it.lines) for it in summary.holds] == [
        ("new", 2, [2, 6]),
        ("", 1, [3]),
    ]
    assert sum(it.count for it in summary.holds) == summary.states["excluded"] == 3
    assert [(it.why, it.state, it.line) for it in summary.rows] == [
        ("held_too_late", "in_progress", 5)
    ]


def test_a_reason_for_each_of_many_holds_is_told_as_other_reasons(summary_of: Any):
    """A hundred are told apart; memory does not grow with the rest, and the sum is right."""
    held = [excluded(f"k{n}", 2 + n, f"case {n % 250}") for n in range(500)]
    summary = summary_of((RUN, [started(exclude_sha256="f" * 64), *held]))
    assert len(summary.holds) == 101
    assert summary.holds[0].reason == OTHER_REASONS
    assert summary.holds[0].count == 300
    assert sum(it.count for it in summary.holds) == 500


def test_rows_to_look_at_are_named_without_their_keys(summary_of: Any):
    """By line, reference and jid; with the key only if that is asked for, or it is none."""
    groups = [
        (RUN, [started()]),
        (RUN, [sent("key-a", 7, reference="T-1"), sent("key-b", 8)]),
        (RUN, [accepted("key-a", 7, reference="T-1"), unknown("key-b", 8)]),
        (LATER, [started("follow", run="q"), status("key-a", "not_found")]),
    ]
    summary = summary_of(*groups)
    lost, open_ = summary.rows
    assert (lost.why, lost.line, lost.reference, lost.jid) == (
        "job_failed",
        7,
        "T-1",
        "jid-of-key-a",
    )
    assert (lost.job_status, lost.due, lost.key) == ("not_found", "2026-12-20", "")
    assert (open_.why, open_.line, open_.error, open_.jid) == ("unknown", 8, "timeout", "")
    assert {row.key for row in summary_of(*groups, show_keys=True).rows} == {"key-a", "key-b"}


@pytest.mark.parametrize(
    ("received", "done", "expected"),
    [
        ("2026-10-27", LATER, "kept"),
        ("2026-10-26", LATER, "late"),
        ("2026-11-07", None, "ahead"),
        ("2026-11-05", None, "at_risk"),
        ("2026-10-29", None, "at_risk"),
        ("2026-10-28", None, "overdue"),
    ],
)
def test_the_month_is_looked_at_for_everybody(
    summary_of: Any, received: str, done: str | None, expected: str
):
    """From the row's date to the answer, or to now; the last day itself is in time."""
    answer = [(done, [started("follow", run="q"), status("a", "done")])] if done else []
    row = {"received": received}
    summary = summary_of(
        (RUN, [started(input=facts(keys=1, rows=1), sent_when_complete=1), sent("a", **row)]),
        (RUN, [accepted("a", **row)]),
        *answer,
    )
    months = summary.deadlines
    assert {
        name: getattr(months, name) for name in ("kept", "late", "ahead", "at_risk", "overdue")
    }[expected] == 1
    assert months.kept + months.late + months.ahead + months.at_risk + months.overdue == 1
    assert (months.from_run, months.first is None) == (0, done is not None)
    assert [row.why for row in summary.rows] == (
        [expected] if expected in ("at_risk", "overdue") else []
    )


def test_a_month_without_a_date_counts_from_the_run_or_as_told(summary_of: Any):
    """From the day on which the run began, also for keys that were never sent."""
    groups = [
        ("2026-10-01", [started(sent_when_complete=3), sent("a")]),
        ("2026-10-02", [accepted("a")]),
    ]
    assert summary_of(*groups).deadlines == Deadlines(overdue=3, first="2026-11-01", from_run=3)
    told = summary_of(*groups, received=date(2026, 11, 20)).deadlines
    assert told == Deadlines(ahead=3, first="2026-12-20", from_run=0)


def test_a_key_that_is_sent_without_an_answer_keeps_its_own_date(summary_of: Any):
    """Its `sent` line has the date, and no outcome takes its place."""
    summary = summary_of(
        (RUN, [started(input=facts(keys=1, rows=1), sent_when_complete=1)]),
        (RUN, [sent("a", 5, received="2026-10-01")]),
    )
    assert summary.deadlines == Deadlines(overdue=1, first="2026-11-01", from_run=0)
    assert {(row.why, row.line) for row in summary.rows} == {("sent", 5), ("overdue", 5)}


def test_who_is_overdue_is_named_first(summary_of: Any):
    """Then those whose month is nearly over, then failures; one person may be among several."""
    old, near = {"received": "2026-10-01"}, {"received": "2026-11-01"}
    summary = summary_of(
        (RUN, [started(), sent("a", 2, **old), accepted("a", 2, **old)]),
        (RUN, [sent("b", 3, **near), failed("b", 3, **near)]),
        (LATER, [started("follow", run="q"), status("a", "error")]),
    )
    whys = [(row.why, row.line) for row in summary.rows]
    assert whys == [("overdue", 2), ("at_risk", 3), ("job_failed", 2), ("refused", 3)]


def test_a_job_that_was_never_asked_about_is_due_on_the_next_day(summary_of: Any):
    """At 00:00 UTC; what is due is told as of now."""
    groups = [(RUN, [started(), sent("a"), accepted("a")])]
    summary = summary_of(*groups, now=datetime(2026, 11, 20, 23, tzinfo=UTC))
    assert (summary.next_check_at, summary.due_now) == ("2026-11-21T00:00:00.000Z", 0)
    assert summary_of(*groups).due_now == 1
    assert [(job.status, job.is_asked) for job in summary.jobs] == [("created", False)]


def test_an_answer_about_an_earlier_job_is_no_word_about_the_last(summary_of: Any):
    """After --retry-failed the new job counts, and its own answers."""
    summary = summary_of(
        (RUN, [started(), sent("a"), accepted("a", jid="old")]),
        ("2026-11-21", [started("follow", run="q"), status("a", "error", jid="old")]),
        ("2026-11-22", [started(run="s"), sent("a"), accepted("a", jid="new")]),
    )
    assert [(job.status, job.is_asked) for job in summary.jobs] == [("created", False)]
    assert (summary.failures, states_of(summary)["in_progress"]) == ([], 1)
    assert summary.next_check_at == "2026-11-23T00:00:00.000Z"


def test_a_failure_that_was_mended_is_none(summary_of: Any):
    """What a later run made good is no reason any more; what it took back is not reached."""
    summary = summary_of(
        (RUN, [started(sent_when_complete=2), sent("a"), unknown("a"), sent("b", 3)]),
        (RUN, [unsent("b", 3)]),
        (LATER, [started(run="s", sent_when_complete=2), sent("a"), accepted("a")]),
    )
    assert states_of(summary) == {"in_progress": 1, "not_reached": 1}
    assert summary.failures == []


def test_rejected_rows_are_those_of_the_last_input(summary_of: Any):
    """A corrected file has its own; that they are fine is what the run was told."""
    old, new = facts(rejected=2), facts(sha256="1" * 64, rejected=1)
    groups = [
        (RUN, [started(input=old), rejected(4), rejected(5)]),
        (LATER, [started(run="s", input=new), rejected(4, "wrong_type"), finished(3)]),
    ]
    summary = summary_of(*groups)
    assert [(it.error, it.count) for it in summary.rejected] == [("wrong_type", 1)]
    assert (summary.states["rejected"], summary.rejected_is_fine) == (1, False)
    assert [it.sha256[0] for it in summary.inputs] == ["0", "1"]


def done(key: str) -> list[Any]:
    return [started("follow", run="q"), status(key, "done")]


def ends(*records: Any, code: int = 0, **input_: int) -> list[Any]:
    """A run of one key."""
    one = facts(rows=1, keys=1, **input_)
    run = started(input=one, sent_when_complete=1)
    end = finished(code)
    end.run = "other"  # its counts are of no matter here, so it is none that verify compares
    return [(RUN, [run, *records])]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([*ends(sent("a"), accepted("a")), (LATER, done("a"))], "all_erased"),
        (ends(sent("a"), accepted("a")), "open"),
        (ends(), "open"),
        (ends(sent("a"), failed("a")), "needs_attention"),
        (ends(sent("a")), "needs_attention"),
        ([*ends(sent("a"), accepted("a"), rejected(3), rejected=1), (LATER, done("a"))],
         "needs_attention"),
        ([(RUN, [started(simulated=True), sent("a"), accepted("a")]), (LATER, done("a"))],
         "rehearsal"),
        ([(RUN, [started(input=facts(rows=0, keys=0), sent_when_complete=0)])], "nobody"),
        (ends(accepted("a")), "not_proven"),
    ],
)  # fmt: skip
def test_the_gravest_is_said_first(summary_of: Any, groups: Any, expected: str):
    """`all_erased` only where nobody is left, for whatever reason."""
    assert summary_of(*groups).standing == expected


def test_a_hold_that_came_too_late_needs_attention(summary_of: Any):
    """The key counts under its state; that it is on hold is told beside it."""
    again = started(run="s", exclude_sha256="f" * 64, sent_when_complete=1)
    summary = summary_of(*ends(sent("a"), accepted("a")), (LATER, [again, excluded("a")]))
    assert (summary.held_too_late, states_of(summary)) == (1, {"in_progress": 1})
    [row] = summary.rows
    assert (row.why, row.jid, row.line) == ("held_too_late", "jid-of-a", 2)
    assert summary.standing is Standing.NEEDS_ATTENTION


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_ledgers_tell_each_key_once(tmp_path: Path, order: tuple[int, int]):
    """A key of both is told by the one that decides its state, with that one's dates and rows."""
    of_each = [
        [(RUN, [started(), sent("x", 2), failed("x", 2)])],
        [
            ("2026-11-10", [started(), sent("x", 9), accepted("x", 9)]),
            ("2026-11-10", [sent("y", 10), unknown("y", 10)]),
        ],
    ]
    paths = [written(tmp_path / f"{n}.ledger.ndjson", *of_each[n]) for n in order]
    rows: list[Any] = []
    summary = summed(*paths, add_row=rows.append)
    assert states_of(summary) | {"not_reached": 0} == {
        "in_progress": 1,
        "unknown": 1,
        "not_reached": 0,
    }
    assert [(it.why, it.line) for it in summary.rows] == [("unknown", 10)]
    assert [(row.line, row.state) for row in rows] == [(9, "in_progress"), (10, "unknown")]
    assert [it.ledger for it in summary.ledgers] == [f"{n}.ledger.ndjson" for n in order]


def test_every_key_is_a_row_in_the_order_of_the_ledger(tmp_path: Path):
    """Also those that were only sent, or on hold; the key itself only if asked for."""
    path = written(tmp_path / "k.ledger.ndjson", *one_of_each())
    rows: list[Any] = []
    summed(path, add_row=rows.append)
    assert [row.line for row in rows] == [8, 2, 3, 4, 5, 6, 7, 9]
    assert [row.state for row in rows][:3] == ["sent", "erased", "in_progress"]
    assert {row.key for row in rows} == {""}
    shown: list[Any] = []
    summed(path, add_row=shown.append, show_keys=True)
    assert "".join(row.key for row in shown) == "pedrjfux"


def test_a_row_is_read_wherever_its_lines_stand(tmp_path: Path):
    """Across the windows in which a ledger is read again, or longer than one of them."""
    keys = [f"k{n}" for n in range(400)]
    jids = {key: f"jid-{n}" + "x" * (50_000 if n % 97 == 5 else n) for n, key in enumerate(keys)}
    run = [(RUN, [started(), *(sent(key, n) for n, key in enumerate(keys, 2))])]
    run += [(RUN, [accepted(key, n, jid=jids[key])]) for n, key in enumerate(keys, 2)]
    asked = [(LATER, [status(key, f"word-{key}", jids[key])]) for key in reversed(keys)]
    rows: list[Any] = []
    later = (LATER, [started("follow", run="q")])
    path = written(tmp_path / "k.ledger.ndjson", *run, later, *asked)
    summed(path, add_row=rows.append, show_keys=True)
    assert {row.key: row.jid for row in rows} == jids
    assert all(row.job_status == f"word-{row.key}" for row in rows)
    assert path.stat().st_size > 4 * WINDOW


def test_what_stands_before_a_break_is_summed_up(tmp_path: Path):
    """The summary of a damaged ledger says so before all else."""
    path = written(
        tmp_path / "k.ledger.ndjson", *ends(sent("a"), accepted("a")), (LATER, done("a"))
    )
    content = path.read_bytes().replace(b'"status":"done"', b'"status":"gone"')
    path.write_bytes(content)
    written_after = summed(path)
    assert written_after.standing in (Standing.NOT_PROVEN, Standing.OPEN)  # torn, or changed
    path.write_bytes(content.replace(b'"target":"w', b'"target":"v'))
    changed = summed(path)
    assert changed.standing is Standing.NOT_PROVEN
    assert changed.error


def test_percentiles_and_requests_come_from_the_lines(summary_of: Any):
    """Repeats are counted as such; latency to three per cent; what is between runs is left out."""
    slow = [accepted(f"k{n}", n, elapsed_ms=n) for n in range(1, 101)]
    summary = summary_of(
        ("2026-11-20T10:00:00.000Z", [started(), *(sent(f"k{n}", n) for n in range(1, 101))]),
        ("2026-11-20T10:00:03.000Z", [sent("k7", 7, 2)]),
        ("2026-11-20T10:00:03.000Z", slow),
        ("2026-11-22T10:00:00.000Z", [started(run="s")]),
        ("2026-11-22T10:00:01.000Z", [sent("z", 200)]),
    )
    timing = summary.timing
    assert (timing.width_s, timing.requests, timing.repeats) == (
        1,
        [100, 0, 0, 1, 0, 1],
        [0, 0, 0, 1, 0, 0],
    )
    assert timing.latency_ms == {"p50": 50, "p90": 88, "p95": 92, "p99": 96, "p100": 100}
    assert [(run.requests, run.repeats) for run in summary.runs] == [(101, 1), (1, 0)]
    assert sum(summary.states[state] for state in TO_BE_ERASED) == summary.to_be_erased


def test_an_expected_head_is_looked_for(tmp_path: Path):
    """As in `verify`: one that is no commit is the gravest there is."""
    path = written(tmp_path / "k.ledger.ndjson", *ends(sent("a"), accepted("a")))
    head = summed(path).ledgers[0].head
    assert summed(path, heads=[head]).expected_heads[head]
    assert summed(path, heads=["a" * 64]).standing is Standing.NOT_PROVEN


def test_a_ledger_may_grow_while_its_rows_are_noted():
    """Its size is asked for first; what was added since comes last."""
    with closing(KeyRows([10, 5])) as rows:
        keys = [(1, 4, 0), (0, 900, 0), (0, 10, 7), (0, 1, 0)]
        rows.add_all((KeyState.ERASED, places) for places in keys)
        assert [places for _, places in rows] == [(0, 1, 0), (0, 10, 7), (1, 4, 0), (0, 900, 0)]

"""Whatever lines a ledger has, its summary counts every key once, and as `verify` does."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_eraser.evidence.summary import FAILURES, TO_BE_ERASED
from bulk_eraser.evidence.verification import verify
from bulk_eraser.evidence.verify_request import VerifyRequest, VerifyResult
from tests.unit.evidence.conftest import (
    accepted,
    excluded,
    facts,
    failed,
    rejected,
    sent,
    started,
    status,
    summed,
    unknown,
    unsent,
    written,
)

KEYS = "abcd"
DATES = st.sampled_from([None, "2026-09-30", "2026-10-29", "2026-11-25"])


@st.composite
def lines(draw: st.DrawFn) -> list[Any]:
    """What a run may write about a key, or what nobody writes."""
    key, jid, row = draw(st.sampled_from(KEYS)), draw(st.sampled_from("jk")), {}
    if received := draw(DATES):
        row = {"received": received}
    number = KEYS.index(key) + 2
    about = draw(st.sampled_from(["sent", "unsent", "ok", "no", "not now", "?", "held", "asked"]))
    word = draw(st.sampled_from(["done", "error", "not_found", "running"]))
    due = "2026-11-29T00:00:00.000Z" if word == "running" else None
    return {
        "sent": [sent(key, number, **row)],
        "unsent": [unsent(key, number)],
        "ok": [sent(key, number, **row), accepted(key, number, jid, **row)],
        "no": [sent(key, number, **row), failed(key, number, **row)],
        "not now": [sent(key, number, **row), failed(key, number, permanent=False, **row)],
        "?": [sent(key, number), unknown(key, number)],
        "held": [excluded(key, number), rejected(9)],
        "asked": [status(key, word, jid, due)],
    }[about]


@st.composite
def ledgers(draw: st.DrawFn) -> list[tuple[str, list[Any]]]:
    """Groups of several runs, a day or more apart."""
    day, groups = date(2026, 10, 1), []
    for number in range(draw(st.integers(1, 3))):
        day += timedelta(days=draw(st.integers(0, 20)))
        command = draw(st.sampled_from(["run", "run", "follow"]))
        begin = started(command, run=f"r{number}", input=facts() if command == "run" else None)
        begin.sent_when_complete = draw(st.sampled_from([None, 3, 6])) if begin.input else None
        if begin.input:
            begin.exclude_sha256 = draw(st.sampled_from([None, "f" * 64]))
        groups.append((day.isoformat(), [begin]))
        groups += [(day.isoformat(), group) for group in draw(st.lists(lines(), max_size=6))]
    return groups


@settings(max_examples=examples(200))
@given(st.lists(ledgers(), min_size=1, max_size=2))
def test_everything_adds_up(of_each: list[list[tuple[str, list[Any]]]]):
    """States as in `verify`; failures, jobs, months, days, rows of the table: sums of these."""
    with TemporaryDirectory() as folder:
        paths = [
            written(Path(folder) / f"{number}.ledger.ndjson", *groups)
            for number, groups in enumerate(of_each)
        ]
        rows: list[Any] = []
        summary = summed(*paths, add_row=rows.append)
        verified = VerifyResult()
        verify(VerifyRequest(ledgers=list(map(str, paths))), verified, lambda rows: None)
    states = summary.states
    assert states == verified.states
    assert summary.held_too_late == verified.held_too_late
    assert summary.to_be_erased == sum(states[state] for state in TO_BE_ERASED)
    by_state: Counter[str] = Counter()
    for failure in summary.failures:
        by_state[failure.state] += failure.count
        assert 0 < len(failure.lines) <= failure.count
    assert by_state == {state: states[state] for state in FAILURES if states[state]}
    with_job = states["erased"] + states["in_progress"] + states["job_failed"]
    assert sum(job.count for job in summary.jobs) == with_job
    months = summary.deadlines
    of_months = months.kept + months.late + months.ahead + months.at_risk + months.overdue
    assert of_months == summary.to_be_erased
    assert months.kept + months.late == summary.erased == sum(summary.days.erased)
    assert (months.first is None) == (summary.erased == summary.to_be_erased)
    assert 0 <= months.from_run <= summary.to_be_erased
    assert (summary.next_check_at is None) == (states["in_progress"] == 0)
    assert summary.due_now <= states["in_progress"]
    told = Counter(row.state for row in rows)
    named = {state: count for state, count in states.items() if state != "rejected"}
    not_named = named.pop("not_reached")
    assert {state: count for state, count in told.items() if state != "not_reached"} == {
        state: count for state, count in named.items() if count
    }
    found = [row.line for row in rows if row.line]  # a forged line may be all there is
    assert len(set(found)) == len(found) <= len(rows) <= len(KEYS)
    assert not_named >= 0

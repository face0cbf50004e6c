"""The fold of records into counts: each row in exactly one, on every way that a row can go."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.records import Accepted, Commit, Duplicate, Failed, Rejected, Sent, Unknown, Unsent
from bulk_eraser.sending.counts import COUNTS, Tally
from bulk_eraser.survey.decision import Action, Decision

BEFORE = {
    Decision(Action.SEND, KeyState.NOT_SENT): "not_reached",
    Decision(Action.SEND, KeyState.SENT): "not_reached",
    Decision(Action.SEND, KeyState.EXCLUDED): "not_reached",
    Decision(Action.SEND, KeyState.UNKNOWN): "unknown",
    Decision(Action.SEND, KeyState.FAILED): "failed",
    Decision(Action.SEND, KeyState.REFUSED): "failed",
    Decision(Action.SEND, KeyState.JOB_FAILED): "job_failed",
    Decision(Action.KEEP, KeyState.REFUSED): "failed",
    Decision(Action.KEEP, KeyState.IN_PROGRESS): "already_settled",
    Decision(Action.KEEP, KeyState.ERASED): "already_settled",
    Decision(Action.KEEP, KeyState.JOB_FAILED): "job_failed",
    Decision(Action.REJECT, KeyState.NOT_SENT): "rejected",
    Decision(Action.DUPLICATE, KeyState.NOT_SENT): "duplicate",
    Decision(Action.EXCLUDE, KeyState.NOT_SENT): "excluded",
    Decision(Action.EXCLUDE, KeyState.IN_PROGRESS): "excluded",
}
"""The count in which a row stands before anything is done about it in this run."""
NEW = Decision(Action.SEND, KeyState.NOT_SENT)
AGAIN = Decision(Action.SEND, KeyState.UNKNOWN)
ACCEPTED = Decision(Action.KEEP, KeyState.IN_PROGRESS)
REJECTED = Decision(Action.REJECT, KeyState.NOT_SENT)
DUPLICATE = Decision(Action.DUPLICATE, KeyState.NOT_SENT)


def outcome(kind: str, line: int):
    key = f"key-{line}"
    if kind == "accepted":
        return Accepted(
            key=key, line=line, jid="j", status=None, http_status=200, attempts=1, elapsed_ms=1
        )
    if kind == "failed":
        return Failed(
            key=key,
            line=line,
            error="http_400",
            http_status=400,
            detail=None,
            attempts=1,
            permanent=True,
            possible_job=False,
        )
    return Unknown(key=key, line=line, error="timeout", attempts=1)


def sent(line: int, attempt: int = 1) -> Sent:
    return Sent(key=f"key-{line}", line=line, attempt=attempt)


@pytest.mark.parametrize("decision", BEFORE)
def test_before_a_run_each_row_has_its_count(decision: Decision):
    """A row's decision says in which count it stands before anything is sent."""
    tally = Tally(Counter({decision: 7}))
    too_late = decision == Decision(Action.EXCLUDE, KeyState.IN_PROGRESS)
    expected = dict.fromkeys(COUNTS, 0) | {"rows": 7, BEFORE[decision]: 7}
    expected["held_too_late"] = 7 * too_late
    assert tally.counts() == expected
    assert tally.to_send == (7 if decision.is_sent else 0)
    assert tally.is_conserved()


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(list(BEFORE)),
            st.sampled_from(["untouched", "sent", "unsent", "accepted", "failed", "unknown"]),
            st.integers(1, 4),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_every_way_is_counted_once(rows: list[tuple[Decision, str, int]]):
    """Whatever becomes of the rows, the counts are those of their last states and add up, after
    every single record."""
    tally = Tally(Counter(decision for decision, _, _ in rows))
    expected = Counter(rows=len(rows))
    settled = 0
    for line, (decision, end, attempts) in enumerate(rows, 2):
        if not decision.is_sent or end == "untouched":
            expected[BEFORE[decision]] += 1
            continue
        tally.expect(line, decision)
        for attempt in range(1, attempts + 1):
            tally.fold([sent(line, attempt)])
            assert tally.is_conserved()
        if end == "unsent" and attempts == 1:
            tally.fold([Unsent(key=f"key-{line}", line=line, attempt=1)])
            expected[BEFORE[decision]] += 1
        elif end in ("sent", "unsent"):
            if end == "unsent":  # a repeat: the first attempt left
                tally.fold([Unsent(key=f"key-{line}", line=line, attempt=attempts)])
            expected["not_reached"] += 1
        else:
            tally.fold([outcome(end, line)])
            expected[end] += 1
            settled += 1
        assert tally.is_conserved()
    expected["held_too_late"] = sum(
        decision == Decision(Action.EXCLUDE, KeyState.IN_PROGRESS) for decision, _, _ in rows
    )
    assert tally.counts() == {name: expected[name] for name in COUNTS}
    assert tally.settled == settled
    assert tally.failures == tally.errors.total() <= settled


def test_the_order_within_a_group_does_not_matter_between_keys():
    """`sent` lines of new keys and outcomes of others ride in one group."""
    tally = Tally(Counter({AGAIN: 2, NEW: 1}))
    tally.expect(2, AGAIN)
    tally.expect(3, AGAIN)
    tally.expect(4, NEW)
    tally.fold([sent(2), sent(3)])
    tally.fold([outcome("accepted", 2), sent(4), outcome("failed", 3), sent(4, 2)])
    counts = dict.fromkeys(COUNTS, 0) | {"rows": 3, "accepted": 1, "failed": 1, "not_reached": 1}
    assert tally.counts() == counts
    assert tally.errors == {"http_400": 1}


def test_rows_that_are_booked_were_counted_before():
    """`rejected` and `duplicate` lines stand for what the survey has counted already."""
    tally = Tally(Counter({REJECTED: 1, DUPLICATE: 1}))
    before = tally.counts()
    tally.fold([Rejected(line=2, error="empty_key"), Duplicate(key="k", line=4, first_line=3)])
    tally.fold([Commit(lines=2, sha256="0" * 64)])
    assert tally.counts() == before


def test_what_does_not_add_up_is_noticed():
    """An outcome for a row that was never to be sent is no conservation."""
    tally = Tally(Counter({ACCEPTED: 3}))
    tally.fold([outcome("accepted", 2)])
    assert not tally.is_conserved()

"""Statements: what is none is refused, whoever put it into a tree."""

import pytest

from bulk_eraser.evidence.certificate.statement import Probed, Statement, leaf_of, statement_in

PROBED = Statement(
    statement="erased",
    key="k",
    keys="raw",
    line=2,
    target="w1234abcd",
    sent_at="2026-11-01T00:00:00.000Z",
    accepted_at="2026-11-01T00:00:01.000Z",
    jid="j",
    done_at="2026-11-02T00:00:00.000Z",
    probe=Probed(
        asked_at="2026-11-03T00:00:00.000Z",
        jid="p",
        answered_at="2026-11-09T00:00:00.000Z",
        answer="nothing_left",
    ),
    random="00" * 16,
)


def test_a_statement_with_a_probe_is_one():
    assert statement_in(leaf_of(PROBED)) == PROBED


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (b'"answer":"nothing_left"', b'"answer":"came_back"'),
        (b',"answer":"nothing_left"', b""),
        (b'"asked_at":"2026-11-03T00:00:00.000Z",', b""),
        (b'"jid":"p"', b'"jid":"p","files":[]'),
        (b'"jid":"p"', b'"jid": "p"'),
    ],
)
def test_nobody_is_erased_who_came_back(now: bytes, then: bytes):
    """Nor is half of an answer one."""
    leaf = leaf_of(PROBED)
    assert leaf.count(now) == 1
    with pytest.raises(ValueError):
        statement_in(leaf.replace(now, then))

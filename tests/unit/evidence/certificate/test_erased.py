"""Whatever the lines: a leaf for each key that `verify` calls erased, in order, at every point."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_eraser import key_partitions
from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.evidence.audit import Audit
from bulk_eraser.evidence.certificate.erased import ErasedKeys
from bulk_eraser.evidence.certificate.statement import Statement, statement_in
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import ledger_blocks, replay
from bulk_eraser.records import (
    Accepted,
    Excluded,
    Failed,
    JobStatus,
    Record,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)

SECRET = bytes(range(32))
STARTED = RunStarted(
    run="r",
    command="run",
    tool="t",
    api="v4",
    target="w1234abcd",
    simulated=False,
    input=None,
    exclude_sha256=None,
    settings={},
    requester=None,
    reference=None,
)
keys, jids = st.sampled_from(["a", "é", 'k"3', "\\"]), st.sampled_from(["j1", "j2"])


@st.composite
def lines(draw: st.DrawFn) -> Record:
    of_key = {"key": draw(keys), "line": draw(st.integers(2, 9))}
    of_row = of_key | {"reference": draw(st.none() | st.just("T")), "received": None}
    jid = draw(jids)
    kinds = [
        Sent(**of_row, attempt=1),
        Unsent(**of_key, attempt=1),
        Accepted(**of_row, jid=jid, status="s", http_status=200, attempts=1, elapsed_ms=5),
        Unknown(**of_row, error="timeout", attempts=1),
        Excluded(**of_row),
        Failed(
            **of_row,
            error="http_400",
            http_status=400,
            detail=None,
            attempts=1,
            permanent=draw(st.booleans()),
            possible_job=False,
        ),
    ]
    statuses = [
        JobStatus(key=of_key["key"], jid=jid, status=status, next_check_at=None)
        for status in ("done", "error", "running")
    ]
    # Those that lead to an erased key, more often.
    return draw(st.sampled_from([*kinds, kinds[2], kinds[2], *statuses, *[statuses[0]] * 4]))


def written(folder: str, groups: Sequence[Sequence[Record]]) -> tuple[Path, list[int]]:
    """A ledger, and the offsets behind each of its groups."""
    head, content, ends = GENESIS, b"", []
    for number, group in enumerate([[STARTED], *groups]):
        at = f"2026-11-{number // 24 + 1:02}T{number % 24:02}:00:00.0{number:02}Z"
        raw, head = encode_group(head, group, at)
        content += raw
        ends.append(len(content))
    path = Path(folder, "k.ledger.ndjson")
    path.write_bytes(content)
    return path, ends


def statements(path: Path, before: int) -> list[Statement]:
    content = path.read_bytes()
    with closing(ErasedKeys()) as erased:
        replay(LedgerScan(), ledger_blocks(str(path)), [erased])
        leaves = erased.leaves(lambda at, size: content[at : at + size], SECRET, before)
        return [statement_in(leaf) for _, leaf in leaves]


@settings(max_examples=examples(300))
@given(st.lists(st.lists(lines(), min_size=1, max_size=5), max_size=12))
def test_a_leaf_for_each_key_that_is_erased(groups: list[list[Record]]):
    """At the end, and as of any group before, as if the ledger ended there."""
    with tempfile.TemporaryDirectory() as folder:
        path, ends = written(folder, groups)
        whole = path.read_bytes()
        for end in {ends[-1], ends[len(ends) // 2]}:
            path.write_bytes(whole)
            found = statements(path, end)
            path.write_bytes(whole[:end])
            assert found == statements(path, end)
            with closing(Audit([str(path)])) as audit:
                assert len(found) == audit.walk()[KeyState.ERASED]
            by_key = {it.key: it for it in found}
            assert len(by_key) == len(found)
            assert len({it.random for it in found}) == len(found)
            for it in found:
                assert it.sent_at <= it.accepted_at <= it.done_at or it.sent_at[:4] == "1970"


def test_the_times_are_those_of_the_lines():
    """Of the request that was accepted, of the job that counts, of the first answer that it is
    done; in the order of the `accepted` lines, however far they are from each other."""
    job = {"status": "s", "http_status": 200, "attempts": 1, "elapsed_ms": 5}
    of_a, of_b = {"key": "a", "line": 2}, {"key": "b", "line": 3}
    done = {"status": "done", "next_check_at": None}
    groups: list[list[Record]] = [
        [Sent(**of_a, attempt=1), Sent(**of_b, attempt=1)],  # 1
        [Accepted(**of_b, jid="jb", **job)],  # 2
        [Accepted(**of_a, jid="old", **job)],
        [JobStatus(key="a", jid="old", status="error", next_check_at=None)],
        [Sent(**of_a, attempt=1)],  # 5
        [Sent(**of_a, attempt=2)],  # 6
        [Excluded(key="c", line=4)] * 900,
        [Accepted(**of_a, jid="new", **job)],  # 8
        [JobStatus(key="a", jid="new", **done)],  # 9
        [JobStatus(key="a", jid="new", **done), JobStatus(key="b", jid="jb", **done)],  # 10
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, ends = written(folder, groups)
        b, a = statements(path, ends[-1])

    def at(number: int) -> str:
        return f"2026-11-01T{number:02}:00:00.0{number:02}Z"

    assert (b.key, b.sent_at, b.accepted_at, b.done_at) == ("b", at(1), at(2), at(10))
    assert (a.key, a.sent_at, a.accepted_at, a.done_at) == ("a", at(6), at(8), at(9))
    assert (a.jid, a.target, a.keys, a.received) == ("new", "w1234abcd", "raw", None)


def test_what_does_not_fit_into_memory_comes_out_the_same(tmp_path: Path):
    """With next to no memory, from the temporary file."""
    job = {"status": "s", "http_status": 200, "attempts": 1, "elapsed_ms": 5}
    groups: list[list[Record]] = [
        [
            Sent(key=f"k{n}", line=n, attempt=1),
            Accepted(key=f"k{n}", line=n, jid=f"j{n}", **job),
            JobStatus(key=f"k{n}", jid=f"j{n}", status="done", next_check_at=None),
        ]
        for n in range(2, 600)
    ]
    head, content = GENESIS, b""
    for group in [[STARTED], *groups]:
        raw, head = encode_group(head, group, "2026-11-01T00:00:00.000Z")
        content += raw
    path = tmp_path / "k.ledger.ndjson"
    path.write_bytes(content)
    usual = statements(path, len(content))
    assert [it.line for it in usual] == list(range(2, 600))
    with mock.patch.object(key_partitions.KeyPartitions.__init__, "__defaults__", (1000,)):
        assert statements(path, len(content)) == usual


def test_a_line_without_a_time_is_damage(tmp_path: Path):
    """It ends with a sentence, not with a bug."""
    raw, _ = encode_group(GENESIS, [Sent(key="k", line=2, attempt=1)], "yesterday")
    path = tmp_path / "k.ledger.ndjson"
    path.write_bytes(raw)
    with closing(ErasedKeys()) as erased, pytest.raises(LedgerDamaged, match="whose time is none"):
        replay(LedgerScan(), [raw], [erased])

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
    ProbeAnswered,
    ProbeAsked,
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
    """About a key, its job, or a probe of it."""
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
    answer = draw(st.sampled_from(["nothing_left", "came_back", "lost"]))
    asked = ProbeAsked(probe="p", **of_key, jid=jid)
    answered = ProbeAnswered(probe="p", **of_key, jid=jid, answer=answer, error=None, files=[])
    probes = [asked, answered, asked, answered]
    # Those that lead to an erased key, more often.
    often = [kinds[2], kinds[2], *statuses, *[statuses[0]] * 4]
    return draw(st.sampled_from([*kinds, *probes, *often]))


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


def statements(path: Path, before: int, *, with_probes: bool = True) -> list[Statement]:
    content = path.read_bytes()
    with closing(ErasedKeys()) as erased:
        replay(LedgerScan(), ledger_blocks(str(path)), [erased])

        def read_at(at: int, size: int) -> bytes:
            return content[at : at + size]

        leaves = erased.leaves(read_at, SECRET, before, with_probes=with_probes)
        return [statement_in(leaf) for _, leaf in leaves]


def last_answer(groups: Sequence[Sequence[Record]], key: str) -> str | None:
    """To the last question about a key that was asked in a group behind that of its job."""
    asked: dict[str, tuple[int, int]] = {}
    answers: dict[tuple[int, int], str] = {}
    since = len(groups)
    for number, group in enumerate(groups):
        for place, record in enumerate(group):
            if getattr(record, "key", None) != key:
                continue
            if isinstance(record, Accepted):
                since = number
            elif isinstance(record, ProbeAsked):
                asked.setdefault(record.jid, (number, place))
            elif isinstance(record, ProbeAnswered) and record.answer != "lost":
                answers[asked.get(record.jid, (-1, 0))] = record.answer
    last = max(answers, default=(-1, 0))
    return answers[last] if last[0] > since else None


@st.composite
def erased_and_probed(draw: st.DrawFn) -> list[list[Record]]:
    """The usual way of a key, each line in a group of its own."""
    of_key, jid = {"key": draw(keys), "line": 2}, draw(jids)
    probe, answer = draw(jids), draw(st.sampled_from(["nothing_left", "came_back", "lost"]))
    usual: list[Record] = [
        Accepted(**of_key, jid=jid, status="s", http_status=200, attempts=1, elapsed_ms=5),
        JobStatus(key=of_key["key"], jid=jid, status="done", next_check_at=None),
        ProbeAsked(probe="p", **of_key, jid=probe),
        ProbeAnswered(probe="p", **of_key, jid=probe, answer=answer, error=None, files=[]),
    ]
    return [[record] for record in usual[draw(st.integers(0, 2)) :]]


any_group = st.lists(lines(), min_size=1, max_size=5).map(lambda group: [group])
stories = st.lists(st.one_of(any_group, erased_and_probed()), max_size=9).map(
    lambda parts: [group for part in parts for group in part]
)


@settings(max_examples=examples(300))
@given(stories)
def test_a_leaf_for_each_key_that_is_erased(groups: list[list[Record]]):
    """At the end, and as of any group before, as if the ledger ended there; but for those who came
    back. What else a probe has told is in the leaf."""
    with tempfile.TemporaryDirectory() as folder:
        path, ends = written(folder, groups)
        whole = path.read_bytes()
        for number in {len(ends) - 1, len(ends) // 2}:
            end = ends[number]
            path.write_bytes(whole)
            found = statements(path, end)
            everybody = statements(path, end, with_probes=False)
            path.write_bytes(whole[:end])
            assert found == statements(path, end)
            with closing(Audit([str(path)])) as audit:
                assert len(everybody) == audit.walk()[KeyState.ERASED]
            answers = {it.key: last_answer(groups[:number], it.key) for it in everybody}
            assert [(it.key, it.probe.answer if it.probe else None) for it in found] == [
                (key, answer) for key, answer in answers.items() if answer != "came_back"
            ]
            by_key = {it.key: it for it in found}
            assert len(by_key) == len(found)
            assert len({it.random for it in found}) == len(found)
            for it in found:
                assert it.sent_at <= it.accepted_at <= it.done_at or it.sent_at[:4] == "1970"


def test_the_last_question_about_the_last_job_counts():
    """Whatever the order of the answers: not one about an older job, nor one that is lost."""
    of_a = {"key": "a", "line": 2}

    def accepted(jid: str) -> list[Record]:
        job = {"status": "s", "http_status": 200, "attempts": 1, "elapsed_ms": 5}
        return [Accepted(**of_a, jid=jid, **job)]

    def status(jid: str, word: str = "done") -> list[Record]:
        return [JobStatus(key="a", jid=jid, status=word, next_check_at=None)]

    def asked(jid: str) -> list[Record]:
        return [ProbeAsked(probe=jid, **of_a, jid=jid)]

    def answered(jid: str, answer: str) -> list[Record]:
        return [ProbeAnswered(probe=jid, **of_a, jid=jid, answer=answer, error=None, files=[])]

    steps: list[tuple[list[Record], str | None]] = [
        (accepted("j1"), "nobody"),
        (status("j1"), None),
        (asked("p1"), None),
        (asked("p2"), None),
        (asked("p3"), None),
        (answered("p2", "nothing_left"), "p2"),
        (answered("p1", "came_back"), "p2"),  # asked before
        (answered("p3", "lost"), "p2"),
        (asked("p4"), "p2"),
        (answered("p4", "came_back"), "nobody"),
        (asked("p5"), "nobody"),
        (answered("p5", "lost"), "nobody"),
        (status("j1", "error"), "nobody"),
        (asked("p6"), "nobody"),
        (accepted("j2"), "nobody"),
        (status("j2"), None),
        (answered("p6", "came_back"), None),  # asked about the job before
        (asked("p7"), None),
        (answered("p7", "nothing_left"), "p7"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, ends = written(folder, [group for group, _ in steps])
        for (_, said), end in zip(steps, ends[1:], strict=True):
            found = statements(path, end)
            assert [it.probe.jid if it.probe else None for it in found] == (
                [] if said == "nobody" else [said]
            )


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

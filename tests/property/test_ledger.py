"""Any ledger, any crash, any change: what was committed is kept, or the ledger is refused."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.key_partitions import PARTITIONS
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import KeyHistory, LedgerFacts
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import replay
from bulk_eraser.records import (
    Accepted,
    Duplicate,
    Excluded,
    Failed,
    InputFacts,
    Record,
    Rejected,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)

AT = "2024-03-01T12:00:00.000Z"

keys = st.one_of(
    st.sampled_from(["k1", "k2", "k3", "é", '"}\n{"type":"commit"']),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
numbers = st.integers(1, 10**9)
jids = st.sampled_from(["j1", "j2", "j3"])
digests = st.sampled_from(["aa" * 32, "bb" * 32])


def runs() -> st.SearchStrategy[RunStarted]:
    facts = st.builds(
        InputFacts,
        name=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        bytes=numbers,
        sha256=digests,
        format=st.just("csv"),
        key_field=st.none() | st.just("customerKey"),
        header=st.booleans(),
        delimiter=st.just(";"),
        encoding=st.just("utf-8"),
        rows=numbers,
        keys=numbers,
        rejected=numbers,
        duplicate=numbers,
    )
    return st.builds(
        RunStarted,
        run=st.just("r"),
        command=st.just("run"),
        tool=st.just("t"),
        api=st.just("v4"),
        target=st.just("c1"),
        simulated=st.booleans(),
        input=facts,
        exclude_sha256=st.none() | digests,
        settings=st.just({}),
        requester=st.none(),
        reference=st.none(),
    )


def outcomes() -> st.SearchStrategy[Record]:
    return st.one_of(
        st.builds(Sent, key=keys, line=numbers, attempt=numbers),
        st.builds(
            Accepted,
            key=keys,
            line=numbers,
            jid=jids,
            status=st.none() | st.just("created"),
            http_status=st.just(200),
            attempts=numbers,
            elapsed_ms=numbers,
        ),
        st.builds(
            Failed,
            key=keys,
            line=numbers,
            error=st.just("http_400"),
            http_status=st.just(400),
            detail=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            attempts=numbers,
            permanent=st.booleans(),
            possible_job=st.booleans(),
        ),
        st.builds(Unknown, key=keys, line=numbers, error=st.just("timeout"), attempts=numbers),
        st.builds(Unsent, key=keys, line=numbers, attempt=numbers),
        st.builds(Excluded, key=keys, line=numbers),
        st.builds(Rejected, line=numbers, error=st.just("empty_key")),
        st.builds(Duplicate, key=keys, line=numbers, first_line=numbers),
        runs(),
    )


@st.composite
def ledgers(draw: st.DrawFn, min_groups: int = 1) -> list[bytes]:
    """The bytes of each group of a ledger; the first begins with a run."""
    further = st.lists(outcomes(), min_size=1, max_size=5)
    groups = draw(st.lists(further, min_size=min_groups - 1, max_size=7))
    encoded, head = [], GENESIS
    for records in [[draw(runs())], *groups]:
        group, head = encode_group(head, records, AT)
        encoded.append(group)
    return encoded


class Folded:
    """All that a run asks a ledger for."""

    def __init__(self) -> None:
        self.facts, self.history = LedgerFacts(), KeyHistory()
        self.folds = [self.facts, self.history]

    def state(self) -> dict[str, Any]:
        states = {}
        for partition in range(PARTITIONS):
            states |= self.history.states(partition)
        return {
            "states": states,
            "recorded": dict(self.facts._recorded),
            "target": (self.facts.target, self.facts.keys_kind),
            "run": (self.facts.had_hold_list, self.facts.last_input),
        }


def replayed(*contents: bytes) -> dict[str, Any]:
    """The state after the proven part of each content, one after the other."""
    folded = Folded()
    for content in contents:
        replay(LedgerScan(), iter([content]), folded.folds)
    return folded.state()


@contextmanager
def opened(content: bytes) -> Iterator[tuple[LedgerFile, Path, Folded]]:
    """A ledger on disk, opened, and what was read of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.ledger.ndjson")
        path.write_bytes(content)
        folded = Folded()
        file = LedgerFile(str(path), folded.folds)
        try:
            yield file, path, folded
        finally:
            file.close()


@settings(max_examples=examples(150), deadline=None)
@given(ledgers(), st.data())
def test_any_prefix_of_any_ledger_recovers(groups: list[bytes], data: st.DataObject) -> None:
    """To the state of as many whole groups as it holds, without an error."""
    content = b"".join(groups)
    cut = data.draw(st.integers(0, len(content)))
    whole = max(n for n, end in enumerate([0, *accumulate(map(len, groups))]) if end <= cut)
    with opened(content[:cut]) as (file, path, folded):
        assert folded.state() == replayed(b"".join(groups[:whole]))
        recovered = file.begin()
        assert path.read_bytes() == b"".join(groups[:whole])
        aside = [(path.parent / told.file).read_bytes() for told in recovered]
        assert b"".join([*groups[:whole], *aside]) == content[:cut]


@settings(max_examples=examples(150), deadline=None)
@given(ledgers(), st.data())
def test_replay_of_more_extends_replay_of_less(groups: list[bytes], data: st.DataObject) -> None:
    """replay(a + b) is replay(a), then replay(b); nothing that a says of a key is forgotten."""
    at = data.draw(st.integers(0, len(groups)))
    folded, scan = Folded(), LedgerScan()
    replay(scan, iter(groups[:at]), folded.folds)
    less = folded.state()
    replay(scan, iter(groups[at:]), folded.folds)
    more = folded.state()
    assert more == replayed(b"".join(groups))
    assert less["states"].keys() <= more["states"].keys()
    assert all(more["recorded"][which] >= line for which, line in less["recorded"].items())
    assert not at or less["target"] == more["target"]


@settings(max_examples=examples(400), deadline=None)
@given(ledgers(min_groups=2), st.data())
def test_any_changed_byte_before_the_last_group_is_found(
    groups: list[bytes], data: st.DataObject
) -> None:
    """79, unless it lies in the time that a commit line states, which no digest covers."""
    content = b"".join(groups)
    offset = data.draw(st.integers(0, len(content) - len(groups[-1]) - 1))
    byte = data.draw(st.sampled_from([content[offset] ^ 1, 10, 0, 32, 34]) | st.integers(0, 255))
    assume(byte != content[offset])
    changed = content[:offset] + bytes([byte]) + content[offset + 1 :]
    times = [m.span() for m in re.finditer(rb'(?m)(?<=^{"type":"commit","at":")[^"]+', content)]
    try:
        with opened(changed) as (_file, _path, folded):
            event("in the time of a commit")
            assert any(begin <= offset < end for begin, end in times)
            assert folded.state() == replayed(content)
    except LedgerDamaged:
        event("found")


@settings(max_examples=examples(200), deadline=None)
@given(ledgers(min_groups=2), st.data())
def test_any_line_changed_before_the_last_group_is_found(
    groups: list[bytes], data: st.DataObject
) -> None:
    """Removed, doubled, moved to any other place, or another line put in."""
    lines = [line + b"\n" for line in b"".join(groups).split(b"\n")[:-1]]
    before_last = len(lines) - groups[-1].count(b"\n")
    at = data.draw(st.integers(0, before_last - 1))
    changed = lines.copy()
    what = data.draw(st.sampled_from(["removed", "doubled", "moved", "inserted"]))
    if what == "removed":
        del changed[at]
    elif what == "doubled":
        changed.insert(at, lines[at])
    elif what == "moved":
        changed.insert(data.draw(st.integers(0, len(lines) - 1)), changed.pop(at))
    else:
        changed.insert(at, data.draw(st.sampled_from(lines)))
    assume(changed != lines)
    event(what)
    with pytest.raises(LedgerDamaged), opened(b"".join(changed)):
        pass


@settings(max_examples=examples(200), deadline=None)
@given(
    ledgers(), st.binary(max_size=200) | st.sampled_from([b"\n", b"{}\n", b'{"type":"commit"\n'])
)
def test_no_addition_takes_anything_away(groups: list[bytes], garbage: bytes) -> None:
    """Whatever stands behind a valid ledger, its state stays as it was."""
    content = b"".join(groups)
    with opened(content + garbage) as (file, path, folded):
        assert folded.state() == replayed(content)
        file.begin()
        assert path.read_bytes() == content

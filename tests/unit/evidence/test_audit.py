"""What no run ever writes is found in a ledger whose chain is intact."""

from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_eraser.evidence import key_events
from bulk_eraser.evidence.audit import Audit
from bulk_eraser.evidence.findings import FINDINGS, FORGED
from bulk_eraser.key_partitions import PARTITIONS, digest_of
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.records import (
    Accepted,
    Excluded,
    Failed,
    InputFacts,
    JobStatus,
    Record,
    Recovered,
    RunFinished,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)
from bulk_eraser.sending.counts import COUNTS

FACTS = InputFacts(
    name="k.csv",
    bytes=9,
    sha256="0" * 64,
    format="csv",
    key_field="customerKey",
    header=True,
    delimiter=",",
    encoding="utf-8",
    rows=3,
    keys=2,
    rejected=1,
    duplicate=0,
)


def started(command: str = "run") -> RunStarted:
    return RunStarted(
        run="r",
        command=command,
        tool="t",
        api="v4",
        target="c",
        simulated=False,
        input=FACTS if command == "run" else None,
        exclude_sha256=None,
        settings={},
        requester=None,
        reference=None,
    )


def status(key: str, word: str, jid: str = "") -> JobStatus:
    return JobStatus(key=key, jid=jid or f"jid-of-{key}", status=word, next_check_at=None)


def finished(outcome: str = "complete", run: str = "r", **counts: int) -> RunFinished:
    usual = {"rows": 3, "accepted": 2, "rejected": 1}
    whole = dict.fromkeys(COUNTS, 0) | usual | counts
    return RunFinished(run=run, outcome=outcome, exit_code=3, counts=whole, elapsed_s=1.0)


def sent(key: str, attempt: int = 1) -> Sent:
    return Sent(key=key, line=2, attempt=attempt)


def unsent(key: str, attempt: int = 1) -> Unsent:
    return Unsent(key=key, line=2, attempt=attempt)


def accepted(key: str, jid: str = "", attempts: int = 1) -> Accepted:
    return Accepted(
        key=key,
        line=2,
        jid=jid or f"jid-of-{key}",
        status="created",
        http_status=200,
        attempts=attempts,
        elapsed_ms=1,
    )


def failed(key: str, *, permanent: bool = False) -> Failed:
    return Failed(
        key=key,
        line=2,
        error="http_400",
        http_status=400,
        detail=None,
        attempts=1,
        permanent=permanent,
        possible_job=False,
    )


@pytest.fixture
def findings(tmp_path: Path) -> Callable[..., dict[str, int]]:
    """Word → count for a ledger of these records, each a group of its own."""

    def find(*records: Record) -> dict[str, int]:
        path, head = tmp_path / "a.ledger.ndjson", GENESIS
        with path.open("wb") as file:
            for record in records:
                group, head = encode_group(head, [record], "2024-01-01T00:00:00.000Z")
                file.write(group)
        with closing(Audit([str(path)])) as audit:
            audit.walk()
            assert audit.ledgers[0].damage is None
            assert audit.findings.is_forged == any(map(audit.findings.counts.get, FORGED))
            assert set(audit.findings.counts) <= set(FINDINGS)
            return dict(audit.findings.counts)

    return find


TWO = [started(), sent("a"), sent("b"), accepted("a"), accepted("b")]


def test_an_honest_ledger_has_no_findings(findings: Any):
    """Runs that broke off, repeats, and refused keys that are tried again are nothing to find."""
    assert findings(*TWO, finished()) == {}
    assert findings(started(), sent("a")) == {}
    assert findings(started(), sent("a"), sent("a", 2), accepted("a", attempts=2)) == {}
    assert findings(started(), sent("a"), failed("a"), started(), sent("a"), accepted("a")) == {}
    unknown = Unknown(key="a", line=2, error="timeout", attempts=1)
    assert findings(started(), sent("a"), unknown, started(), sent("a"), accepted("a")) == {}
    assert findings(started(), sent("a"), sent("a", 2), unsent("a", 2), unknown) == {}
    assert findings(started(), sent("a"), unsent("a"), started(), sent("a"), accepted("a")) == {}
    held = Excluded(key="a", line=2)
    assert findings(*TWO, finished(), started(), held) == {}
    followed = [*TWO, finished(), started("follow"), status("a", "running"), status("a", "error")]
    assert findings(*followed) == {}
    assert findings(*followed, started("follow"), held, status("a", "done")) == {}
    again = [started(), sent("a"), accepted("a", "j2"), status("a", "done", "j2")]
    assert findings(*followed, *again) == {}


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ([started(), accepted("a")], "more_attempts_than_sent"),
        ([started(), sent("b"), accepted("a")], "more_attempts_than_sent"),
        ([started(), sent("a"), accepted("a", attempts=2)], "more_attempts_than_sent"),
        ([started(), sent("a"), started(), accepted("a")], "more_attempts_than_sent"),
        ([started(), sent("a"), unsent("a"), accepted("a")], "more_attempts_than_sent"),
        ([started(), unsent("a")], "unsent_without_sent"),
        ([started(), sent("a"), unsent("a"), unsent("a")], "unsent_without_sent"),
        ([started(), sent("a"), started(), unsent("a")], "unsent_without_sent"),
        ([*TWO, accepted("a")], "settled_twice"),
        ([started(), sent("a"), failed("a", permanent=True), accepted("a")], "settled_twice"),
        ([*TWO, finished(), started(), sent("a")], "sent_after_accepted"),
        ([*TWO, finished(rows=4)], "counts_differ"),
        ([*TWO, finished(accepted=1, failed=1)], "counts_differ"),
        ([*TWO, finished(rejected=0, duplicate=1)], "counts_differ"),
        ([*TWO, finished(accepted=3, rejected=0)], "counts_differ"),
        ([started(), sent("a"), failed("a"), finished(accepted=0, unknown=2)], "counts_differ"),
        ([*TWO, finished(not_reached=1)], "counts_differ"),
        (
            [
                started(),
                sent("a"),
                Unknown(key="a", line=2, error="timeout", attempts=1),
                finished(accepted=0, failed=2),
            ],
            "counts_differ",
        ),
        ([*TWO, Excluded(key="c", line=4), finished()], "counts_differ"),
        ([*TWO, finished(), finished()], "outside_of_run"),
        ([*TWO, finished(run="another")], "outside_of_run"),
        ([Recovered(bytes=1, sha256="", file=""), finished(), *TWO], "outside_of_run"),
        ([started(), status("a", "done"), *TWO[1:]], "status_without_job"),
        ([*TWO, status("a", "done", "jid-of-b")], "status_without_job"),
        ([*TWO, status("c", "done")], "status_without_job"),
    ],
)
def test_what_no_run_writes_is_found(findings: Any, records: list[Record], word: str):
    """Each rule by which the lines of a run fit each other, broken once."""
    assert set(findings(*records)) == {word}


def test_a_run_that_was_stopped_need_not_have_reached_its_held_keys(findings: Any):
    """Where a run ends before it wrote what is on hold, its counts are ahead of its lines."""
    stopped = finished("stopped", accepted=0, excluded=1, not_reached=1)
    assert findings(started(), sent("a"), stopped) == {}


def test_one_jid_of_two_keys_is_no_forgery(findings: Any):
    """It is the service that gave it twice."""
    twice = [started(), sent("a"), sent("b"), accepted("a", "j"), accepted("b", "j"), finished()]
    assert findings(*twice) == {"jid_of_several_keys": 1}


def test_it_may_be_asked_partition_by_partition(tmp_path: Path):
    """A ledger that is torn in its first group has no key, and its states are empty."""
    path = tmp_path / "torn.ndjson"
    path.write_bytes(b'{"type":"run_started","at":"2024')
    with closing(Audit([str(path)])) as audit:
        assert all(audit.states(part) == {} for part in range(PARTITIONS))
        assert audit.ledgers[0].tail_bytes == path.stat().st_size
        assert audit.ledgers[0].commits == 0


words = st.sampled_from(["done", "error", "running"])
of_keys = st.sampled_from("abc")
attempts = st.integers(0, 2)
lines_of_keys = st.one_of(
    st.builds(sent, of_keys, attempts),
    st.builds(accepted, of_keys, st.sampled_from(["", "j"]), attempts),
    st.builds(accepted, of_keys),
    st.builds(unsent, of_keys),
    st.builds(status, of_keys, words, st.sampled_from(["", "j"])),
    st.builds(failed, of_keys, permanent=st.booleans()),
    st.builds(lambda key: Excluded(key=key, line=2), of_keys),
    st.builds(started, st.sampled_from(["run", "follow"])),
    st.builds(finished),
)
usual = of_keys.map(lambda key: [sent(key), accepted(key)])
histories = st.lists(lines_of_keys.map(lambda record: [record]) | usual, max_size=12)


def audited(paths: list[str], known: set[bytes]) -> tuple[object, ...]:
    """All that an audit tells of keys."""
    with closing(Audit(paths)) as audit:
        states = [audit.states(part, known) for part in range(PARTITIONS)]
        runs = [run.lines_by_type for account in audit.ledgers for run in account.runs]
        found = audit.findings.counts, audit.findings.places, audit.held_too_late
        return states, runs, found, audit.extra, audit.extra_places


@settings(max_examples=examples(600), deadline=None)
@given(ledgers=st.lists(histories, min_size=1, max_size=2), known=st.sets(of_keys))
def test_what_is_kept_as_one_is_as_if_kept_apart(
    tmp_path_factory: pytest.TempPathFactory,
    ledgers: list[list[list[Record]]],
    known: set[str],
) -> None:
    """A key that was sent and accepted is kept as one event; whatever else its lines say, all is
    found that is found when each line is one."""
    folder, paths = tmp_path_factory.mktemp("ledgers"), []
    for number, groups in enumerate(ledgers):
        paths.append(str(folder / f"{number}.ndjson"))
        head = GENESIS
        with open(paths[-1], "wb") as file:
            for record in [started(), *chain(*groups)]:
                group, head = encode_group(head, [record], "2024-01-01T00:00:00.000Z")
                file.write(group)
    digests = set(map(digest_of, known))
    together = audited(paths, digests)
    # None is held back to the next group.
    with mock.patch.object(key_events, "MOST_JUST_SENT", -1):
        assert together == audited(paths, digests)

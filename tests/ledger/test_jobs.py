"""Which jobs a ledger knows, in which state, and when they are due."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import LedgerDamaged, TemporaryFolderFull
from bulk_eraser.key_partitions import KeyPartitions
from bulk_eraser.ledger import jobs as jobs_module
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.ledger.jobs import JobBook, JobState, KnownJob, accepted_at, accepted_lines
from bulk_eraser.ledger.key_state import (
    NEVER_NAMED,
    KeyState,
    LastState,
    event_of,
    jid_number,
    state_after,
)
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import ledger_blocks, replay
from bulk_eraser.records import (
    Accepted,
    DerivedFrom,
    Excluded,
    JobStatus,
    Record,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
)
from bulk_eraser.sending.deadlines import Calendar

FIRST = "2024-05-01T10:00:00.000Z"
NEXT_DAY = Calendar().next_check_at


def jid_at(path: Path, place: int) -> str:
    """The jid of the `accepted` line at this place of the file."""
    content = path.read_bytes()
    return accepted_at(lambda offset, size: content[offset : offset + size], place).jid


def accepted(key: str, jid: str) -> Accepted:
    return Accepted(
        key=key, line=2, jid=jid, status="created", http_status=200, attempts=1, elapsed_ms=5
    )


def status(key: str, jid: str, word: str, again: str | None = None) -> JobStatus:
    return JobStatus(key=key, jid=jid, status=word, next_check_at=again)


@pytest.fixture
def book(path: Path, run_started: Any) -> Iterator[Callable[..., JobBook]]:
    """The book of a ledger of these records, each a group of its own, one a day at 10:00."""
    books = []

    def build(*records: Record) -> JobBook:
        head = GENESIS
        with path.open("wb") as file:
            for day, record in enumerate([run_started(), *records], 1):
                group, head = encode_group(head, [record], f"2024-05-{day:02}T10:00:00.000Z")
                file.write(group)
        books.append(JobBook())
        replay(LedgerScan(), ledger_blocks(str(path)), books[-1:])
        return books[-1]

    yield build
    for opened in books:
        opened.close()


def due(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_new_job_is_due_the_day_after(book: Any, path: Path):
    """From its `accepted` line on, at 00:00 UTC of the next day; the line is found again."""
    made = book(accepted("a", "ja"), accepted("b", "jb"))
    jobs = sorted(made.keys(NEXT_DAY), key=lambda job: job.place)
    assert [jid_at(path, job.place) for job in jobs] == ["ja", "jb"]
    assert [job.state for job in jobs] == [JobState.NEVER_ASKED] * 2
    assert [job.due_at for job in jobs] == [due("2024-05-03T00:00Z"), due("2024-05-04T00:00Z")]
    assert made.run_starts == [FIRST]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("done", JobState.DONE),
        ("error", JobState.ERROR),
        ("not_found", JobState.NOT_FOUND),
        ("created", JobState.PENDING),
        ("waiting", JobState.PENDING),
        ("running", JobState.PENDING),
        ("started", JobState.PENDING),
        ("Done", JobState.PENDING),
    ],
)
def test_the_last_answer_counts(book: Any, word: str, state: JobState):
    """A word that is not known is pending; what is not finished is due when its line says."""
    again = "2024-05-09T00:00:00.000Z"
    made = book(accepted("a", "ja"), status("a", "ja", "running", again), status("a", "ja", word))
    (job,) = made.keys(NEXT_DAY)
    assert job.state is state
    made = book(accepted("a", "ja"), status("a", "ja", "running", again))
    (job,) = made.keys(NEXT_DAY)
    assert (job.state, job.due_at) == (JobState.PENDING, due(again))


def test_a_superseded_job_is_followed_no_more(book: Any, path: Path):
    """A key's last `accepted` counts; an answer about an earlier jid says nothing of it."""
    made = book(
        accepted("a", "old"),
        status("a", "old", "error"),
        accepted("a", "new"),
        status("a", "old", "done"),
        status("b", "jb", "done"),
    )
    (job,) = made.keys(NEXT_DAY)
    assert (jid_at(path, job.place), job.state) == ("new", JobState.NEVER_ASKED)


def test_an_answer_that_is_noted_counts_at_once(book: Any):
    """What this run recorded is known without reading the file again."""
    made = book(accepted("a", "ja"))
    made.note([status("a", "ja", "waiting", "2024-05-07T00:00:00.000Z")])
    (job,) = made.keys(NEXT_DAY)
    assert (job.state, job.due_at) == (JobState.PENDING, due("2024-05-07T00:00Z"))
    made.note([status("a", "ja", "done")])
    assert [job.state for job in made.keys(NEXT_DAY)] == [JobState.DONE]


def test_only_finished_jobs_are_finished(book: Any):
    """Lines of other types are passed over; done, error and not_found end a job."""
    made = book(accepted("a", "ja"), Excluded(key="b", line=3), status("a", "ja", "done"))
    job, state = sorted(made.keys(NEXT_DAY), key=lambda key: isinstance(key, KeyState))
    assert state is KeyState.EXCLUDED
    assert job.state.is_finished
    assert [state for state in JobState if not state.is_finished] == [
        JobState.NEVER_ASKED,
        JobState.PENDING,
        JobState.READY,
    ]


def test_a_full_temporary_folder_is_told(book: Any, monkeypatch: pytest.MonkeyPatch):
    """Not as a fault of the ledger."""

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "secret")

    monkeypatch.setattr(KeyPartitions, "extend", full)
    with pytest.raises(TemporaryFolderFull, match=r"temporary folder .* No space left"):
        book(accepted("a", "ja"))


def test_a_long_line_is_read_whole(book: Any, path: Path):
    """A jid may be as long as an answer's body."""
    made = book(accepted("a", "j" * 60_000))
    (job,) = made.keys(NEXT_DAY)
    assert jid_at(path, job.place) == "j" * 60_000


def test_lines_near_each_other_are_read_together(book: Any, path: Path):
    """Of many places that ascend, one reading serves many; long lines and gaps are no trouble."""
    made = book(*(accepted(f"k{n}", "j" * (50_000 if n % 9 == 4 else n)) for n in range(25)))
    places = sorted(job.place for job in made.keys(NEXT_DAY))
    content, readings = path.read_bytes(), list[int]()

    def read_at(offset: int, size: int) -> bytes:
        readings.append(offset)
        return content[offset : offset + size]

    assert [len(line.jid) for line in accepted_lines(read_at, places)] == [
        50_000 if n % 9 == 4 else n for n in range(25)
    ]
    assert len(readings) < 15
    assert [line.key for line in accepted_lines(read_at, places[::-6])] == [
        f"k{n}" for n in range(24, -1, -6)
    ]


STARTED = RunStarted(
    run="r",
    command="run",
    tool="t",
    api="v4",
    target="w",
    simulated=False,
    input=None,
    exclude_sha256=None,
    settings={},
    requester=None,
    reference=None,
)
keys = st.sampled_from(["a", "b"])
jids = st.sampled_from(["j1", "j2"])
about_one = {"line": st.just(2)}
any_line = st.one_of(
    st.builds(accepted, keys, jids),
    st.builds(Sent, key=keys, **about_one, attempt=st.just(1)),
    st.builds(Unsent, key=keys, **about_one, attempt=st.just(1)),
    st.builds(Excluded, key=keys, **about_one),
    st.builds(Unknown, key=keys, **about_one, error=st.just("timeout"), attempts=st.just(1)),
    st.builds(status, keys, jids, st.sampled_from(["done", "error", "not_found", "running"])),
)


@settings(max_examples=examples(600), deadline=None)
@given(groups=st.lists(st.lists(any_line, min_size=1, max_size=4), max_size=6), held=st.booleans())
def test_keys_stand_as_line_by_line(groups: list[list[Any]], held: bool) -> None:
    """A key has a job exactly when its state says so, and it is that of its last `accepted` line,
    in the state that the last answer about that jid told; else its state is handed out."""
    path = Path(tempfile.mkdtemp()) / "ledger"
    states: dict[str, LastState] = {}
    jobs: dict[str, tuple[str, JobState]] = {}
    words = {"done": JobState.DONE, "error": JobState.ERROR, "not_found": JobState.NOT_FOUND}
    head, named = GENESIS, set[str]()
    with path.open("wb") as file:
        for records in [[STARTED], *groups]:
            group, head = encode_group(head, records, FIRST)
            file.write(group)
            for record in records:
                if (event := event_of(record)) is None:
                    continue
                key, jid = record.key, getattr(record, "jid", "")
                states[key] = state_after(states.get(key, NEVER_NAMED), event, jid_number(jid))
                if isinstance(record, Accepted):
                    jobs[key] = jid, JobState.NEVER_ASKED
                elif isinstance(record, JobStatus) and jobs.get(key, ("",))[0] == jid:
                    jobs[key] = jid, words.get(record.status, JobState.PENDING)
                if not isinstance(record, JobStatus):
                    named.add(key)
    expected = [
        jobs[key] if now[0].has_job else now[0] for key, now in states.items() if key in named
    ]
    with (
        closing(JobBook()) as book,
        mock.patch.object(jobs_module, "MOST_JUST_SENT", 1000 if held else 0),
    ):
        replay(LedgerScan(), ledger_blocks(str(path)), [book])
        found = [
            (jid_at(path, it.place), it.state) if isinstance(it, KnownJob) else it
            for it in book.keys(NEXT_DAY)
        ]
    shutil.rmtree(path.parent)
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_a_key_accepted_before_any_run_is_damage(path: Path):
    """No command writes that; it is not taken for a job of some run."""
    origin = DerivedFrom(ledger="a", head=GENESIS, lines=1, tool="t", keys="raw", pepper_check=None)
    group, _ = encode_group(GENESIS, [origin, accepted("one", "j1")], FIRST)
    path.write_bytes(group)
    with closing(JobBook()) as book, pytest.raises(LedgerDamaged, match="before the first run"):
        replay(LedgerScan(), ledger_blocks(str(path)), [book])

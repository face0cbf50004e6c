"""The writer: what a commit promises, company in one group, and how it ends when the disk fails."""

import asyncio
import errno
import json
import os
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bulk_eraser.errors import BulkEraserError, LedgerWriteError
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.records import Record, Sent

DEADLINE = 20.0


class Disk:
    """The real disk, its calls counted; a sync can be held back, and a call made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = self.syncs = 0
        self.failing = ""
        self.is_syncing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._gate = threading.Event()
        self._gate.set()
        self._write, self._fdatasync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)

    def hold(self) -> None:
        self._gate.clear()
        self.is_syncing.clear()

    def release(self) -> None:
        self._gate.set()

    def write(self, fd: int, content: bytes) -> int:
        if threading.current_thread() is threading.main_thread():
            return self._write(fd, content)  # the event loop's own wake-ups
        self.writes += 1
        if self.failing == "write":
            raise OSError(errno.ENOSPC, "no space")
        return self._write(fd, content)

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        self._loop.call_soon_threadsafe(self.is_syncing.set)
        assert self._gate.wait(DEADLINE)
        if self.failing == "fdatasync":
            raise OSError(errno.EIO, "gone")
        self._fdatasync(fd)


class Book:
    """A writer on a real file, and what it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = LedgerFile(str(path))
        self.file.begin()
        self.told: list[str] = []
        self.failures: list[BulkEraserError] = []
        self.news = asyncio.Event()
        self.ledger = LedgerWriter(self.file, self._on_commit, self.failures.append)

    def _on_commit(self, records: Sequence[Record]) -> None:
        self.told += [record.key for record in records if isinstance(record, Sent)]
        self.news.set()

    def groups(self) -> list[list[str]]:
        """The keys in each committed group on disk, lines without a commit left out."""
        groups: list[list[str]] = []
        keys: list[str] = []
        for line in self.path.read_bytes().split(b"\n")[:-1]:
            record = json.loads(line)
            if record["type"] == "commit":
                groups.append(keys)
                keys = []
            else:
                keys.append(record["key"])
        return groups

    async def close(self) -> None:
        await asyncio.gather(self.ledger.close(), return_exceptions=True)
        self.file.close()


@pytest.fixture
async def book(path: Path) -> AsyncIterator[Book]:
    book = Book(path)
    yield book
    await book.close()


@pytest.fixture
async def disk(book: Book, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.release()


Key = Callable[[str], Sent]


# ── commit ──────────────────────────────────────────────────────────────────────────────────────


async def test_commit_returns_only_after_the_sync(book: Book, disk: Disk, sent: Key) -> None:
    """While the disk has not confirmed, nobody is told: neither the waiter nor the counts."""
    disk.hold()
    waiting = asyncio.create_task(book.ledger.commit([sent("a")]))
    async with asyncio.timeout(DEADLINE):
        await disk.is_syncing.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert book.told == []
        disk.release()
        await waiting
    assert (book.told, book.groups(), disk.syncs) == (["a"], [["a"]], 1)


async def test_records_are_counted_before_their_waiter_goes_on(book: Book, sent: Key) -> None:
    """What a worker sees after its commit includes its own records."""
    for key in "abc":
        await book.ledger.commit([sent(key)])
        assert book.told[-1] == key


async def test_commit_takes_along_what_was_appended_before(book: Book, sent: Key) -> None:
    """An empty commit is a wait for all that was handed over so far, in its order."""
    book.ledger.append(sent("a"))
    book.ledger.append(sent("b"))
    await book.ledger.commit()
    assert book.groups() == [["a", "b"]]
    await book.ledger.commit()
    assert book.groups() == [["a", "b"]], "an empty commit writes no empty group"


async def test_many_commits_at_once_are_one_group(book: Book, disk: Disk, sent: Key) -> None:
    """A slow disk gets one sync for all that waits, and the waiters really wait for it."""
    disk.hold()
    async with asyncio.timeout(DEADLINE):
        first = asyncio.create_task(book.ledger.commit([sent("first")]))
        await disk.is_syncing.wait()
        others = [asyncio.create_task(book.ledger.commit([sent(f"{n}")])) for n in range(1000)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(task.done() for task in [first, *others])
        assert disk.writes == 1
        disk.release()
        await asyncio.gather(first, *others)
    assert book.groups() == [["first"], [f"{n}" for n in range(1000)]]
    assert (disk.writes, disk.syncs) == (2, 2)


async def test_workers_share_syncs_without_being_held_together(
    book: Book, disk: Disk, sent: Key
) -> None:
    """64 workers that wait for each of their commits need far fewer syncs than commits."""

    async def work(name: int) -> None:
        for number in range(20):
            await book.ledger.commit([sent(f"{name}-{number}")])

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(work(name) for name in range(64)))
    assert sum(map(len, book.groups())) == 64 * 20
    assert disk.syncs <= 64 * 20 / 10


# ── append ──────────────────────────────────────────────────────────────────────────────────────


async def test_append_is_committed_soon_without_anybody_waiting(
    book: Book, disk: Disk, sent: Key
) -> None:
    """It lingers a moment for company, then it is on disk."""
    for key in "abc":
        book.ledger.append(sent(key))
    assert disk.writes == 0
    async with asyncio.timeout(DEADLINE):
        await book.news.wait()
    assert (book.groups(), disk.syncs) == ([["a", "b", "c"]], 1)


@pytest.mark.parametrize("commits", [True, False], ids=["by a commit", "by itself"])
async def test_append_is_committed_soon_again_and_again(
    commits: bool, book: Book, sent: Key
) -> None:
    """However the group before it came to disk."""
    async with asyncio.timeout(DEADLINE):
        for key in "abc":
            book.news.clear()
            book.ledger.append(sent(key))
            if commits:
                await book.ledger.commit()
            await book.news.wait()
        book.news.clear()
        book.ledger.append(sent("d"))
        await book.news.wait()
    assert book.groups() == [["a"], ["b"], ["c"], ["d"]]


async def test_a_steady_stream_does_not_put_the_commit_off(book: Book, sent: Key) -> None:
    """Each further append rides along; it does not start the wait again."""
    async with asyncio.timeout(DEADLINE):
        while not book.news.is_set():
            book.ledger.append(sent("k"))
            await asyncio.sleep(0)
    assert book.groups()


async def test_append_during_a_sync_is_committed_by_itself(
    book: Book, disk: Disk, sent: Key
) -> None:
    """What comes while the disk works is not forgotten when the disk is done."""
    disk.hold()
    async with asyncio.timeout(DEADLINE):
        waiting = asyncio.create_task(book.ledger.commit([sent("a")]))
        await disk.is_syncing.wait()
        book.ledger.append(sent("b"))
        disk.release()
        await waiting
        while "b" not in book.told:
            book.news.clear()
            await book.news.wait()
    assert book.groups() == [["a"], ["b"]]


# ── the file that comes out ─────────────────────────────────────────────────────────────────────


async def test_what_many_tasks_hand_over_is_a_valid_ledger(
    book: Book, sent: Key, verify: Callable[[bytes], str]
) -> None:
    """Every record exactly once, those of one task in their order, the head as announced."""
    chance = random.Random(5)

    async def work(name: int) -> None:
        for number in range(50):
            record = sent(f"{name}-{number}")
            if chance.random() < 0.5:
                book.ledger.append(record)
            else:
                await book.ledger.commit([record])

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(work(name) for name in range(20)))
        await book.ledger.close()
    keys = [key for group in book.groups() for key in group]
    for name in range(20):
        mine = [key for key in keys if key.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(50)]
    assert len(keys) == 20 * 50
    assert book.told == keys
    assert verify(book.path.read_bytes()) == book.ledger.head


async def test_the_time_is_that_of_the_commit(book: Book, sent: Key) -> None:
    """UTC, RFC 3339, milliseconds, on every line."""
    await book.ledger.commit([sent("a"), sent("b")])
    times = {json.loads(line)["at"] for line in book.path.read_bytes().splitlines()}
    (at,) = times
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(at)) < timedelta(minutes=1)


async def test_a_second_writer_goes_on_where_the_first_ended(
    book: Book,
    run_started: Callable[[], Record],
    sent: Key,
    verify: Callable[[bytes], str],
) -> None:
    """The chain runs through the runs."""
    await book.ledger.commit([run_started(), sent("a")])
    await book.close()
    file = LedgerFile(str(book.path))
    file.begin()
    ledger = LedgerWriter(file, lambda _records: None, lambda _error: None)
    await ledger.commit([sent("b")])
    await ledger.close()
    file.close()
    assert verify(book.path.read_bytes()) == ledger.head


# ── cancelled ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when", ["before the write", "during the sync"])
async def test_a_cancelled_commit_loses_nothing(
    when: str, book: Book, disk: Disk, sent: Key
) -> None:
    """Its record is committed with the others, whose waits end as usual."""
    disk.hold()
    async with asyncio.timeout(DEADLINE):
        doomed = asyncio.create_task(book.ledger.commit([sent("doomed")]))
        await asyncio.sleep(0)
        if when == "during the sync":
            await disk.is_syncing.wait()
        doomed.cancel()
        other = asyncio.create_task(book.ledger.commit([sent("other")]))
        with pytest.raises(asyncio.CancelledError):
            await doomed
        disk.release()
        await other
        await book.ledger.commit([sent("later")])
    assert [key for group in book.groups() for key in group] == ["doomed", "other", "later"]
    assert book.failures == []


async def test_a_cancelled_close_does_not_cut_a_group_short(
    book: Book, disk: Disk, sent: Key
) -> None:
    """The writer ends its work even if whoever closes it cannot wait."""
    disk.hold()
    book.ledger.append(sent("a"))
    async with asyncio.timeout(DEADLINE):
        closing = asyncio.create_task(book.ledger.close())
        await disk.is_syncing.wait()
        book_is_told = asyncio.create_task(book.news.wait())
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        disk.release()
        await book_is_told
    assert book.told == ["a"]


# ── closing ─────────────────────────────────────────────────────────────────────────────────────


async def test_close_commits_what_waits(book: Book, sent: Key) -> None:
    """Nothing that was handed over is left behind, and closing twice is harmless."""
    book.ledger.append(sent("a"))
    await book.ledger.close()
    await book.ledger.close()
    assert book.groups() == [["a"]]


@pytest.mark.parametrize("keys", [[], ["b"]])
async def test_close_ends_every_wait(keys: list[str], book: Book, disk: Disk, sent: Key) -> None:
    """A commit that waits while another task closes is answered, with or without records."""
    disk.hold()
    async with asyncio.timeout(DEADLINE):
        first = asyncio.create_task(book.ledger.commit([sent("a")]))
        await disk.is_syncing.wait()
        second = asyncio.create_task(book.ledger.commit([sent(key) for key in keys]))
        await asyncio.sleep(0)
        closing = asyncio.create_task(book.ledger.close())
        await asyncio.sleep(0)
        disk.release()
        await asyncio.gather(first, second, closing)
    assert sum(book.groups(), []) == ["a", *keys]  # noqa: RUF017 two short lists


async def test_what_comes_after_close_is_refused_aloud(book: Book, sent: Key) -> None:
    """A record that nobody would write is an error, not a silence and not a hang."""
    await book.ledger.close()
    with pytest.raises(BulkEraserError, match="Internal error"):
        book.ledger.append(sent("late"))
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(BulkEraserError, match="Internal error"):
            await book.ledger.commit([sent("late")])
    assert book.groups() == []


# ── the disk fails ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failing", ["write", "fdatasync"])
async def test_after_a_failed_write_or_sync_nothing_is_written_any_more(
    failing: str, book: Book, disk: Disk, sent: Key
) -> None:
    """All who wait get the error, the owner is told once, later calls fail, the disk rests."""
    await book.ledger.commit([sent("good")])
    disk.failing = failing
    before = (disk.writes, disk.syncs)
    async with asyncio.timeout(DEADLINE):
        waits = await asyncio.gather(
            *(book.ledger.commit([sent(f"lost-{n}")]) for n in range(50)), return_exceptions=True
        )
        disk.failing = ""  # it would work again, but must not be asked
        assert all(isinstance(error, LedgerWriteError) for error in waits)
        for _ in range(3):
            with pytest.raises(LedgerWriteError):
                book.ledger.append(sent("more"))
            with pytest.raises(LedgerWriteError):
                await book.ledger.commit([sent("more")])
            with pytest.raises(LedgerWriteError):
                await book.ledger.close()
    assert book.failures == [waits[0]]
    assert (disk.writes - before[0], disk.syncs - before[1]) == (1, failing == "fdatasync")
    assert book.told == ["good"]
    assert book.groups()[0] == ["good"]


async def test_what_waits_behind_a_failing_sync_gets_the_error_too(
    book: Book, disk: Disk, sent: Key
) -> None:
    """Also those whose records were not yet part of the group that failed."""
    disk.hold()
    disk.failing = "fdatasync"
    async with asyncio.timeout(DEADLINE):
        first = asyncio.create_task(book.ledger.commit([sent("a")]))
        await disk.is_syncing.wait()
        second = asyncio.create_task(book.ledger.commit([sent("b")]))
        gone = asyncio.create_task(book.ledger.commit([sent("c")]))
        book.ledger.append(sent("d"))
        await asyncio.sleep(0)
        gone.cancel()
        closing = asyncio.create_task(book.ledger.close())
        await asyncio.sleep(0)
        disk.release()
        ends = await asyncio.gather(first, second, closing, return_exceptions=True)
    assert [type(end) for end in ends] == [LedgerWriteError] * 3
    assert len(book.failures) == 1
    assert (disk.writes, disk.syncs) == (1, 1)


async def test_a_ledger_that_was_moved_away_stops_the_writer(
    book: Book, disk: Disk, sent: Key
) -> None:
    """Noticed before the next group is written: 74, and the moved file stays as it was."""
    await book.ledger.commit([sent("a")])
    moved = book.path.rename(book.path.with_name("moved"))
    content = moved.read_bytes()
    with pytest.raises(LedgerWriteError) as raised:
        await book.ledger.commit([sent("b")])
    assert raised.value.exit_code == 74
    assert book.failures == [raised.value]
    assert (moved.read_bytes(), disk.writes) == (content, 1)
    assert not book.path.exists()


async def test_a_record_that_cannot_be_written_is_an_internal_error(book: Book, sent: Key) -> None:
    """70, told once and to all, and the message does not hold what the record held."""
    async with asyncio.timeout(DEADLINE):
        waits = await asyncio.gather(
            book.ledger.commit([sent("k\ud800")]),
            book.ledger.commit([sent("good")]),
            return_exceptions=True,
        )
    (failure,) = book.failures
    assert waits == [failure, failure]
    assert failure.exit_code == 70
    assert "UnicodeEncodeError" in str(failure)
    assert "k\\ud800" not in repr(failure)
    assert "surrogates" not in str(failure)
    assert book.path.read_bytes() == b""


async def test_a_bug_in_the_counting_ends_the_waits(path: Path, sent: Key) -> None:
    """A writer that could not tell of a group reports it instead of hanging."""
    file = LedgerFile(str(path))
    file.begin()
    failures: list[BulkEraserError] = []

    def miscount(_records: Sequence[Record]) -> None:
        raise ZeroDivisionError("secret")

    ledger = LedgerWriter(file, miscount, failures.append)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(BulkEraserError, match="ZeroDivisionError") as raised:
            await ledger.commit([sent("a")])
        with pytest.raises(BulkEraserError):
            await ledger.close()
    assert failures == [raised.value]
    assert "secret" not in str(raised.value)
    file.close()

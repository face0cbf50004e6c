"""Repeats of one key: full jitter, nothing but `AgainError` repeated, and the caller decides when
it is enough."""

import asyncio

import pytest

from bulk_eraser.elevate.retrying import AgainError, repeat_until_settled
from bulk_eraser.elevate.verdict import Kind, Verdict
from bulk_eraser.errors import LedgerWriteError

AGAIN = Verdict(Kind.AGAIN, "http_503", 503, maybe_done=True)
DEAD = Verdict(Kind.AGAIN, "connection_lost", maybe_done=True, at_once=True)
ACCEPTED = Verdict(Kind.ACCEPTED, http_status=200, jid="job-1")


class Repeats:
    """Runs `repeat_until_settled` over prepared verdicts or errors; notes waits and questions."""

    def __init__(self, *coming: Verdict | BaseException, enough: int = 1_000) -> None:
        self.waits: list[float] = []
        self.asked = 0
        self.attempts = 0
        self._coming = list(coming)
        self._enough = enough

    async def run(self, first: Verdict) -> Verdict:
        return await repeat_until_settled(first, self._attempt, self._give_up, self._sleep)

    async def _attempt(self) -> Verdict:
        self.attempts += 1
        coming = self._coming.pop(0)
        if isinstance(coming, BaseException):
            raise coming
        return coming

    def _give_up(self) -> bool:
        self.asked += 1
        return self.asked >= self._enough

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_until_it_is_settled() -> None:
    """Attempts go on until one is settled; each failure is one question and one wait."""
    repeats = Repeats(AGAIN, DEAD, ACCEPTED)
    assert await repeats.run(AGAIN) is ACCEPTED
    assert (repeats.attempts, repeats.asked, len(repeats.waits)) == (3, 3, 3)


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.REFUSED, Kind.STOP])
async def test_what_is_settled_ends_it(kind: Kind) -> None:
    """Accepted, refused and stopped are ends, whether they come first or later."""
    settled = Verdict(kind, "http_400", 400)
    assert await Repeats().run(settled) is settled
    later = Repeats(settled)
    assert await later.run(AGAIN) is settled
    assert later.attempts == 1


@pytest.mark.parametrize("enough", [1, 2, 5])
async def test_giving_up(enough: int) -> None:
    """After each failure the caller is asked; when it says yes, the last verdict is the error's."""
    verdicts = [Verdict(Kind.AGAIN, f"http_50{n}", 500 + n) for n in range(6)]
    repeats = Repeats(*verdicts[1:], enough=enough)
    with pytest.raises(AgainError) as last:
        await repeats.run(verdicts[0])
    assert last.value.verdict is verdicts[enough - 1]
    assert (repeats.attempts, repeats.asked, len(repeats.waits)) == (enough - 1, enough, enough - 1)
    assert str(last.value) == verdicts[enough - 1].error


async def test_full_jitter() -> None:
    """The wait after the n-th attempt is anywhere between 0 and min(30, 0.5 x 2^(n-1)) seconds."""
    runs = [Repeats(*[AGAIN] * 9, ACCEPTED) for _ in range(200)]
    for repeats in runs:
        await repeats.run(AGAIN)
    waits = zip(*(repeats.waits for repeats in runs), strict=True)
    for bound, some in zip([0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30], waits, strict=True):
        assert 0 <= min(some) < 0.2 * bound
        assert 0.8 * bound < max(some) <= bound
        assert 0.3 * bound < sum(some) / len(some) < 0.7 * bound


async def test_a_dead_connection_is_repeated_at_once() -> None:
    """Only the first attempt's dead connection is repeated at once; later ones wait with jitter."""
    runs = [Repeats(DEAD, DEAD, ACCEPTED) for _ in range(20)]
    for repeats in runs:
        await repeats.run(DEAD)
    first, *later = zip(*(repeats.waits for repeats in runs), strict=True)
    assert set(first) == {0.0}
    assert all(min(some) > 0 for some in later)


async def test_a_dead_connection_after_another_failure_waits() -> None:
    """A dead connection at the second attempt is not repeated at once."""
    runs = [Repeats(DEAD, ACCEPTED) for _ in range(20)]
    for repeats in runs:
        await repeats.run(AGAIN)
    assert all(repeats.waits[1] > 0 for repeats in runs)


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        TimeoutError(),
        OSError(28, "disk full"),
        ValueError("a bug"),
        LedgerWriteError("cannot be written"),
        ExceptionGroup("several", [ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_nothing_else_is_repeated(error: BaseException) -> None:
    """A cancellation, a bug or a disk error goes through at once and unchanged."""
    repeats = Repeats(error, ACCEPTED)
    with pytest.raises(type(error)) as raised:
        await repeats.run(AGAIN)
    assert raised.value is error
    assert (repeats.attempts, repeats.asked, len(repeats.waits)) == (1, 1, 1)


async def test_a_cancellation_while_waiting() -> None:
    """Cancelled while it waits for the next attempt, it ends and makes no other one."""
    waiting = asyncio.Event()
    repeats = Repeats(ACCEPTED)

    async def sleep(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    repeat = repeat_until_settled(AGAIN, repeats._attempt, lambda: False, sleep)
    task = asyncio.create_task(repeat)
    async with asyncio.timeout(5):
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert repeats.attempts == 0


async def test_many_keys_at_the_same_time() -> None:
    """Each of many keys that are repeated at the same time ends with its own verdict."""

    async def own(number: int) -> str:
        mine = Verdict(Kind.AGAIN, f"own_{number}")

        async def attempt() -> Verdict:
            await asyncio.sleep(0)
            return mine

        asked = iter([False] * (number % 5) + [True])

        async def sleep(_seconds: float) -> None:
            await asyncio.sleep(0)

        with pytest.raises(AgainError) as last:
            await repeat_until_settled(mine, attempt, lambda: next(asked), sleep)
        return last.value.verdict.error

    assert await asyncio.gather(*map(own, range(50))) == [f"own_{n}" for n in range(50)]

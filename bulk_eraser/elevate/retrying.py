"""Repeats of one key with tenacity: full jitter, a bounded number of attempts.

The first attempt is made without tenacity, which then takes over with the failure already known
as its attempt 1. One `AsyncRetrying` object per key: a shared one mixes calls up.
"""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from bulk_eraser.elevate.verdict import Verdict

__all__ = ["AgainError", "repeat_until_settled"]

_full_jitter = wait_random_exponential(multiplier=0.5, max=30)
"""Uniform between 0 and min(30, 0.5 x 2^(n-1)) s after the n-th attempt (AWS' full jitter)."""


class AgainError(Exception):
    """The attempt calls for another one; the only exception that is retried."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.error)
        self.verdict = verdict


async def repeat_until_settled(
    first: Verdict,
    attempt: Callable[[], Awaitable[Verdict]],
    give_up: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]],
) -> Verdict:
    """Call `attempt` until its verdict is not `AGAIN`, and return that.

    `first` is the verdict of the attempt already made; `give_up` is asked after each failure.
    Raises `AgainError` with the last verdict when it says yes.
    """
    known: list[Verdict] = [first]

    # tenacity counts the attempts it makes itself; the one that failed already is played to it.
    async def attempt_or_known() -> Verdict:
        verdict = known.pop() if known else await attempt()
        if verdict.kind is verdict.kind.AGAIN:
            raise AgainError(verdict)
        return verdict

    retrying = AsyncRetrying(
        sleep=sleep,
        stop=lambda _state: give_up(),
        wait=_wait,
        # What is retried is listed. "Anything but" would swallow CancelledError (tenacity #529).
        retry=retry_if_exception_type(AgainError),
        reraise=True,
    )
    return await retrying(attempt_or_known)


def _wait(state: RetryCallState) -> float:
    """At once on a new connection when the first one was dead, else with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, AgainError) and error.verdict.at_once and state.attempt_number == 1:
        return 0.0
    return _full_jitter(state)

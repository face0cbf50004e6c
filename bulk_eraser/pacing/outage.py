"""Is it the key or the service? Bookkeeping over all answers of the pool.

An outage is when nothing was ever answered well, or when several different keys failed in a row
since the last good answer. While it lasts, attempts are not held against a key, new keys wait,
and what is still tried is paid from the retry budget.
"""

from typing import NamedTuple

from bulk_eraser.errors import BulkEraserError, ContractBroken, ServiceDown

__all__ = ["Outage", "Silence"]

MANY_KEYS = 10
NEVER_GOOD_S = 30.0
FEW_FAILURES = 3
"""Fewer failures since the last good answer are no outage, however long ago that was."""
_IN_WORDS = {
    "connection_refused": "nothing is listening there",
    "dns": "host name not found",
    "cannot_connect": "no connection",
    "connection_lost": "connection lost",
    "bad_answer": "an answer that is not Elevate's",
}
"""Of `records.ATTEMPT_ERRORS`, those that a person would stumble over."""


class Silence(NamedTuple):
    """No good answer for `seconds`, after `limit` of which the run ends; `seen` is what came."""

    seconds: float
    limit: float
    seen: str


class Outage:
    """`limit` is --max-outage in seconds; it is shorter while there never was a good answer.

    `outstanding` is how many keys are under way at the most: where that is less than MANY_KEYS, so
    few failing keys are many already. `successes` counts the good answers so far,
    `ever_good` is whether there was one.
    """

    def __init__(self, limit: float, outstanding: int) -> None:
        self._limit = limit
        self._many = min(MANY_KEYS, outstanding)
        self.successes = 0
        self.ever_good = False
        self._good_at: float | None = None
        self._failing: set[str] = set()
        self._failures = 0
        self._bad_answers: set[str] = set()
        self._errors: set[str] = set()

    @property
    def is_on(self) -> bool:
        if not self._failing:
            return False
        # Before the first good answer one failure is enough: the address may be wrong altogether.
        return not self.ever_good or len(self._failing) >= self._many

    def silence(self, now: float) -> Silence | None:
        """How long it lasts, while it is on."""
        if not self.is_on or self._good_at is None:
            return None
        return Silence(max(0.0, now - self._good_at), self._patience, self._seen())

    @property
    def several_fail(self) -> bool:
        """Did more than one key fail since the last good answer?"""
        return len(self._failing) > 1

    def begin(self, now: float) -> None:
        """The first request leaves: from here on the service had its chance."""
        if self._good_at is None:
            self._good_at = now

    def saw_good(self, now: float) -> None:
        """An answer about a key: accepted or refused."""
        self._good_at = now
        self.successes += 1
        if not self.ever_good or self._failing:
            self.ever_good = True
            self._failing.clear()
            self._failures = 0
            self._bad_answers.clear()
            self._errors.clear()

    def forgive(self, seconds: float) -> None:
        """Time that does not count as time without a good answer."""
        if self._good_at is not None:
            self._good_at += seconds

    def saw_bad(self, key: str, error: str) -> BulkEraserError | None:
        """An attempt that calls for another. Returns why to stop, if it is to stop (76)."""
        if len(self._failing) < 2 * MANY_KEYS:  # more are not needed to tell, and cost memory
            self._failing.add(key)
        self._failures += 1
        self._errors.add(error)
        # A row of bad answers is another service; 5xx or timeouts in between are bad weather.
        if error != "bad_answer":
            self._bad_answers.clear()
            return None
        self._bad_answers.add(key)
        return self._no_elevate() if len(self._bad_answers) >= self._many else None

    def expired(self, now: float) -> BulkEraserError | None:
        """Why to stop, when there was no good answer for too long (69; 76 if all were bad)."""
        # 1. At a low rate a minute may hold two requests, and both may fail by chance.
        enough = FEW_FAILURES if self.ever_good else 1
        if self._failures < enough or self._good_at is None:
            return None
        # 2. It may come back.
        limit = self._patience
        if now - self._good_at < limit:
            return None
        # 3. It answers all the time, but not as Elevate.
        if self._errors == {"bad_answer"}:
            return self._no_elevate()
        return ServiceDown(
            f"The service gave no good answer for {limit:.0f} s ({self._seen()}). No customer key "
            "was marked failed because of it. Run the same command again later."
        )

    @property
    def _patience(self) -> float:
        """Where nothing was ever answered, waiting long helps nobody."""
        return self._limit if self.ever_good else min(self._limit, NEVER_GOOD_S)

    def _seen(self) -> str:
        words = (_IN_WORDS.get(error, error) for error in sorted(self._errors))
        return ", ".join(word.replace("http_", "HTTP ") for word in words)

    def _no_elevate(self) -> ContractBroken:
        count = len(self._bad_answers)
        keys = "1 key" if count == 1 else f"{count} different keys in a row"
        return ContractBroken(
            "The service answers, but not as Elevate does (HTML, no jid, cut off, or one jid "
            f"for several keys), for {keys}. No customer key was marked failed. Check the cluster "
            "id or --base-url, then run the same command again."
        )

"""Questions for the status of jobs: the first half of a follow, and all of it for erasures."""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from msgspec.structs import replace

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import (
    ACCEPTED,
    REFUSED,
    Answer,
    NetworkFault,
    Verdict,
    classify_status,
)
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import JobAnswer, JobStatus, time_text
from bulk_eraser.sending.deadlines import Calendar
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

__all__ = ["MANY_NOT_THERE", "Answers", "Asking"]

MANY_NOT_THERE = 10
"""Jobs that 404 was the answer for; then it is the version that is gone."""


class Answers:
    """How often each status word was the answer, for the display, in little memory: the words are
    the service's, of any length and number."""

    MOST_WORDS = 20
    MOST_CHARACTERS = 40

    def __init__(self) -> None:
        self.total = 0
        self._words: Counter[str] = Counter()

    def note(self, statuses: Iterable[str]) -> None:
        for status, count in Counter(statuses).items():
            self.total += count
            word = status[: self.MOST_CHARACTERS]
            if word in self._words or len(self._words) < self.MOST_WORDS:
                self._words[word] += count

    def most_common(self) -> list[str]:
        return [f"{count:,} {word}" for word, count in self._words.most_common(4)]


class Asking:
    """The `Work` of a follow: one pass over the jobs that are due, told in lines of one `kind`.

    `errors` counts the jobs that stay without an answer, by error word.
    """

    def __init__(
        self,
        due: Iterator[Call],
        calendar: Calendar,
        ledger: LedgerWriter,
        client: ElevateClient,
        pace: Pace,
        settings: RunSettings,
        kind: type[JobAnswer],
    ) -> None:
        self.errors: Counter[str] = Counter()
        self._due = due
        self._calendar = calendar
        self._ledger = ledger
        self._client = client
        self._pace = pace
        self._settings = settings
        self._not_there: set[str] = set()
        self._kind = kind
        self._time_text = lru_cache(1)(time_text)  # mostly the begin of one and the same day

    async def next_calls(self, most: int) -> list[Call]:
        return await asyncio.to_thread(lambda: list(islice(self._due, most)))

    async def announce(self, calls: Sequence[Call]) -> None:
        """A question may be repeated as often as one likes."""

    def call(self, call: Call) -> Coroutine[Any, Any, Answer | NetworkFault]:
        return self._client.job_status(call.key, anew=call.anew, leaves=call.leaves)

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        verdict = classify_status(came, call.key, self._settings.api_version)
        if verdict.http_status not in (404, 410) or not self._pace.outage.successes:
            return verdict
        # After good answers it is this job's matter, unless many are not there.
        self._not_there.add(call.key)
        if len(self._not_there) >= MANY_NOT_THERE:
            return verdict
        return replace(verdict, kind=REFUSED, stop=None)

    async def ask(self) -> None:
        """All calls are such questions already."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:  # noqa: ARG002 as `Work` has it
        if verdict.kind is not ACCEPTED:
            self.errors[verdict.error] += 1
            return
        status = verdict.status or ""
        if status in ("error", "not_found") or (status == "done" and self._kind is JobStatus):
            next_check_at = None
        elif status == "done":  # of all but a removal, a result is to be had at once
            next_check_at = time_text()
        else:
            next_check_at = self._time_text(self._calendar.next_check_at(time.time()))
        self._ledger.append(self._kind(**call.fields, status=status, next_check_at=next_check_at))

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """Nothing happened to the job: it is asked about next time."""

"""From “created” to “done”: ask for the status of every job that is due.

    ledger ─► jobs that are due ─► GET ─► what it means ─► `job_status` line

Only `done` means erased, and it comes days after the request. A job is asked about once a day; what
is finished is not asked about again, and `accepted` is never rewritten.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from itertools import islice
from typing import Any

from bulk_eraser import __version__
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, Verdict, classify_status
from bulk_eraser.errors import Attention, BulkEraserError, ExitCode, internal_error
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.jobs import JobBook, accepted_lines
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import Accepted, JobStatus, Record, RunStarted, time_text
from bulk_eraser.sending.deadlines import Calendar
from bulk_eraser.sending.job_survey import JobSurvey
from bulk_eraser.sending.lifecycle import Observe, Session, carry_out
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.request import FollowRequest, FollowResult
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings
from bulk_eraser.simulator import Simulator

__all__ = ["Follow", "FollowedLedger"]

LOOK_S = 60.0
MANY_NOT_THERE = 10
"""Jobs that 404 was the answer for; then it is the version that is gone."""
EXAMPLES = 3
"""Lines that are named for a reason."""


class Answers:
    """How often each status word was the answer, for the display, in little memory: the words are
    the service's, of any length and number."""

    MOST_WORDS = 20
    MOST_CHARACTERS = 40

    def __init__(self) -> None:
        self.total = 0
        self._words: Counter[str] = Counter()

    def note(self, status: str) -> None:
        self.total += 1
        word = status[: self.MOST_CHARACTERS]
        if word in self._words or len(self._words) < self.MOST_WORDS:
            self._words[word] += 1

    def most_common(self) -> list[str]:
        return [f"{count:,} {word}" for word, count in self._words.most_common(4)]


class Asking:
    """The `Work` of a follow: one pass over the jobs that are due.

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
    ) -> None:
        self.errors: Counter[str] = Counter()
        self._due = due
        self._calendar = calendar
        self._ledger = ledger
        self._client = client
        self._pace = pace
        self._settings = settings
        self._not_there: set[str] = set()

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
        return verdict._replace(kind=Kind.REFUSED, stop=None)

    async def ask(self) -> None:
        """All calls are such questions already."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:  # noqa: ARG002 as `Work` has it
        if verdict.kind is not Kind.ACCEPTED:
            self.errors[verdict.error] += 1
            return
        status = verdict.status or ""
        finished = status in ("done", "error", "not_found")
        again = None if finished else time_text(self._calendar.next_check_at(time.time()))
        self._ledger.append(JobStatus(**call.fields, status=status, next_check_at=again))

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """Nothing happened to the job: it is asked about next time."""


class FollowedLedger:
    """A ledger that is locked and read for its jobs, once. Close it when done.

    Raises as `LedgerFile` does.
    """

    def __init__(self, path: str) -> None:
        self.facts = LedgerFacts()
        self.book = JobBook()
        try:
            self.file = LedgerFile(path, [self.facts, self.book])
        except BaseException:  # whatever refused it, the temporary file is given back
            self.book.close()
            raise

    def close(self) -> None:
        self.book.close()
        self.file.close()


class Follow:
    """One `follow` of a ledger, from its first question to its result."""

    def __init__(
        self, request: FollowRequest, settings: RunSettings, ledger: FollowedLedger
    ) -> None:
        self.request = request
        self.settings = settings
        self.file = ledger.file
        self.to_send = 0
        self.settled = 0
        self.run_started: RunStarted | None = None
        self._facts = ledger.facts
        self._book = ledger.book
        self._answers = Answers()
        self._errors: Counter[str] = Counter()
        self._jobs = self._look_at_jobs()
        self._without_job = self._lacking()

    @property
    def due(self) -> int:
        """How many jobs are asked about now."""
        return len(self._jobs.due)

    async def carry_out(self, api_key: str, observe: Observe) -> FollowResult:
        """Ask, once or until all is finished. Raises what makes the start impossible."""
        return await carry_out(self, self.file, self.settings, self.request.route, api_key, observe)

    # ── as the lifecycle asks ───────────────────────────────────────────────────────────────

    def started(self) -> RunStarted:
        settings, recorded = self.settings, self.settings.recorded()
        asked = ("concurrency", "rate", "max_attempts", "timeout_s", "max_outage_s")
        order = {"now": self.request.now, "wait": self.request.wait}
        self.run_started = RunStarted(
            run=str(uuid.uuid4()),
            command="follow",
            tool=f"bulk-eraser {__version__}",
            api=settings.api_version.value,
            target=settings.target.name,
            base=settings.target.named_base,
            simulated=settings.simulated,
            keys=self._facts.keys_kind or "raw",
            pepper_check=self._facts.pepper_check,
            input=None,
            exclude_sha256=None,
            settings={name: recorded[name] for name in asked} | order,
            requester=None,
            reference=None,
        )
        return self.run_started

    def simulator(self, api_key: str) -> Simulator | None:
        day_s = self.request.calendar.day_s
        return Simulator(api_key, day_s=day_s) if self.settings.simulated else None

    async def send(self, session: Session) -> BulkEraserError | None:
        while True:
            began = time.time()
            self.to_send, self.settled = self.due, 0
            pace = session.new_pace()  # a day without a question is no outage
            asking = Asking(
                map(_call_of, accepted_lines(self.file.read_at, self._jobs.due)),
                self.request.calendar,
                session.ledger,
                session.client,
                pace,
                self.settings,
            )
            pool = await session.perform(asking, pace)
            self._errors += asking.errors
            if pool.stopped_by or not self.request.wait or not self._look_again().pending:
                return pool.stopped_by
            if await self._is_stopped_before_the_next(pool, began):
                return pool.stopped_by
            self._jobs = self._look_at_jobs()  # it is another day

    def committed(self, records: Sequence[Record]) -> None:
        answers = [record for record in records if isinstance(record, JobStatus)]
        self._book.note(answers)
        self.settled += len(answers)
        for answer in answers:
            self._answers.note(answer.status)

    async def result(self, error: BulkEraserError | None, session: Session) -> FollowResult:
        result = FollowResult(ledger=self.file.path, rehearsal=self.settings.simulated)
        result.elapsed_s = session.elapsed_s
        result.asked, result.unanswered = self._answers.total, self._errors.total()
        result.requests, result.retries = session.requests, session.retries
        result.without_job |= self._without_job
        try:
            jobs = await asyncio.to_thread(self._look_again)
            jobs.put_into(result, with_lists=error is None)
        except Exception as bug:  # how it ended must be on record, whatever is wrong with a line
            error = error or internal_error(bug)
        self._conclude(result, error)
        words = {"error": result.error_jobs, "not_found": result.not_found_jobs}
        result.attention = [
            Attention(f"job_{word}", result.counts[word], [job.line for job in jobs[:EXAMPLES]])
            for word, jobs in words.items()
            if result.counts[word]
        ] + [Attention(word, count) for word, count in result.without_job.items() if count]
        return result

    def summary(self) -> list[str]:
        """How far it is, for the display."""
        parts = [f"{self.settled:,} of {self.to_send:,} jobs asked about"]
        return parts + self._answers.most_common()

    # ── which jobs ──────────────────────────────────────────────────────────────────────────

    def _look_at_jobs(self) -> JobSurvey:
        return JobSurvey(self._book, self.request, self.file.read_at, time.time())

    def _lacking(self) -> Counter[str]:
        """How many keys have no removal job, by the word of their state; without those on hold.

        Also those that the last run left for a later one, of which the ledger need not know. A key
        that was sent again after its job had failed is one of them: that job is followed no more.
        """
        states = self._jobs.states
        lacking = Counter({state.word: n for state, n in states.items() if not state.has_job})
        del lacking["excluded"]
        lacking["not_reached"] = self._facts.not_reached(states)
        return +lacking

    def _look_again(self) -> JobSurvey:
        """As they are now; they are as before where none has answered."""
        if self._answers.total:
            self._jobs = self._look_at_jobs()
        return self._jobs

    async def _is_stopped_before_the_next(self, pool: Pool, began: float) -> bool:
        """Wait for the day after the one on which the asking began, also for those that did not
        answer. The wall clock may jump, so it is looked at often."""
        due_at = self.request.calendar.next_check_at(began)
        while (left := due_at - time.time()) > 0:
            if await pool.stopped_within(min(left, LOOK_S)):
                return True
        return False

    # ── how it ended ────────────────────────────────────────────────────────────────────────

    def _conclude(self, result: FollowResult, error: BulkEraserError | None) -> None:
        """Outcome and exit code, from the state of every job."""
        pending = result.counts["pending"]
        if error is not None:
            result.fail(error, begun=True)
            return
        # Pending comes before failed: what is not finished may still end well, or badly.
        if pending:
            result.outcome, result.exit_code = "incomplete", ExitCode.NOT_FINISHED
        elif result.counts["error"] or result.counts["not_found"] or self._without_job:
            result.exit_code = ExitCode.SOME_ROWS
        # Asked for with an option, so it counts more than that jobs are pending.
        if self.request.fail_if_overdue and result.listed["overdue_jobs"]:
            result.exit_code = ExitCode.SOME_ROWS


def _call_of(accepted: Accepted) -> Call:
    return Call(accepted.jid, {"key": accepted.key, "jid": accepted.jid})

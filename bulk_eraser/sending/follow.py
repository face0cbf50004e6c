"""From “created” to “done”: ask for the status of every job that is due.

    ledger ─► jobs that are due ─► queue ─► workers ─ one GET each ─► `job_status` line

Only `done` means erased, and it comes days after the request. A job is asked about once a day; what
is finished is not asked about again, and `accepted` is never rewritten.
"""

import asyncio
import time
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from bulk_eraser import __version__
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.route import Route
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, Verdict, classify_status
from bulk_eraser.errors import (
    BulkEraserError,
    ExitCode,
    Interrupted,
    LedgerWriteError,
    internal_error,
)
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.jobs import JobBook, JobState, KnownJob
from bulk_eraser.ledger.writer import Ledger
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import JobStatus, Record, RunFinished, RunStarted, time_text
from bulk_eraser.sending.deadlines import Calendar, deadline_of, is_at_risk
from bulk_eraser.sending.pool import Dispatch, Job
from bulk_eraser.sending.service import connected
from bulk_eraser.sending.signals import Signals
from bulk_eraser.settings import RunSettings
from bulk_eraser.simulator import Simulator

__all__ = ["Follow", "FollowEnding", "FollowOrder", "ListedJob"]

LOOK_S = 60.0
MANY_NOT_THERE = 10
"""Jobs that 404 was the answer for; then it is the version that is gone."""
LISTED = 1000
"""Jobs that a list of the ending names at the most."""
COUNTS = ("jobs", "done", "error", "not_found", "pending")


@dataclass(frozen=True)
class FollowOrder:
    """Which jobs to ask about. `now` means all unfinished ones, `wait` until all are finished;
    `received` is the date of requests that have none of their own."""

    ledger_path: str
    now: bool = False
    wait: bool = False
    received: date | None = None
    fail_if_overdue: bool = False
    route: Route = field(default_factory=Route)
    calendar: Calendar = field(default_factory=Calendar)


@dataclass(frozen=True)
class ListedJob:
    """A job that somebody should look at; `line` is that of its row, `deadline` YYYY-MM-DD."""

    line: int
    jid: str
    created_at: str
    deadline: str


@dataclass
class FollowEnding:
    """How it ended: the object that `--json` prints.

    `counts` are of the jobs by state, with their sum in `jobs`; `asked` is how many were answered
    in this run. The lists name the first thousand, `listed` counts all of each.
    """

    outcome: str
    exit_code: int
    error: str | None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    asked: int = 0
    unanswered: int = 0
    requests: int = 0
    retries: int = 0
    next_check_at: str | None = None
    listed: dict[str, int] = field(default_factory=dict)
    error_jobs: list[ListedJob] = field(default_factory=list)
    not_found_jobs: list[ListedJob] = field(default_factory=list)
    slow_jobs: list[ListedJob] = field(default_factory=list)
    at_risk_jobs: list[ListedJob] = field(default_factory=list)
    overdue_jobs: list[ListedJob] = field(default_factory=list)
    elapsed_s: float = 0.0
    ledger: str | None = None
    head: str | None = None


class Asking(Dispatch):
    """One pass over the jobs that are due; see `Dispatch` for what is promised of it.

    `answered` counts the answers that were recorded, `errors` the jobs that stay without one.
    """

    def __init__(
        self,
        due: Iterator[Job],
        calendar: Calendar,
        ledger: Ledger,
        client: ElevateClient,
        pace: Pace,
        settings: RunSettings,
    ) -> None:
        super().__init__(ledger, client, pace, settings)
        self.errors: Counter[str] = Counter()
        self._not_there: set[str] = set()
        self._due = due
        self._calendar = calendar

    async def _produce(self) -> None:
        size = (self._waiting + 1) // 2
        while batch := await asyncio.to_thread(lambda: list(islice(self._due, size))):
            await self._wait_for_room(len(batch))
            self._unsettled += len(batch)
            self._hand_out(batch)
        self._all_produced()

    async def _announce(self, job: Job, attempt: int) -> None:
        """A question may be repeated as often as one likes."""

    async def _call(self, job: Job) -> Answer | NetworkFault:
        return await self._client.job_status(job.key)

    def _judge(self, job: Job, came: Answer | NetworkFault) -> Verdict:
        verdict = classify_status(came, job.key, self._settings.api_version)
        if verdict.http_status not in (404, 410) or not self._pace.outage.successes:
            return verdict
        self._not_there.add(job.key)  # after good answers it is this job's matter, unless many are
        if len(self._not_there) >= MANY_NOT_THERE:
            return verdict
        return verdict._replace(kind=Kind.REFUSED, stop=None)

    def _settle(self, job: Job, verdict: Verdict) -> None:
        if verdict.kind is Kind.ACCEPTED:
            status = verdict.status or ""
            finished = status in ("done", "error", "not_found")
            again = None if finished else time_text(self._calendar.next_check_at(time.time()))
            self._ledger.append(JobStatus(**job.whose, status=status, next_check_at=again))
        else:
            self.errors[verdict.error] += 1
        self._settled()

    def _leave(self, job: Job, error: str) -> None:
        """Nothing happened to the job: it is asked about next time."""


class Follow:
    """One `follow` of a ledger from its lock to its ending. Close it when done."""

    def __init__(self, order: FollowOrder, settings: RunSettings, file: LedgerFile) -> None:
        self.order = order
        self.settings = settings
        self.file = file
        self.book = JobBook(order.ledger_path, order.calendar.next_check_at)
        self.to_send = 0
        self.settled = 0
        self.seen: Counter[str] = Counter()
        self.requests = 0
        self.retries = 0
        self.errors: Counter[str] = Counter()
        self._first_request_at: float | None = None

    def close(self) -> None:
        self.book.close()
        self.file.close()

    def told(self) -> list[str]:
        """How far it is, for the display."""
        parts = [f"{self.settled:,} of {self.to_send:,} jobs asked about"]
        return parts + [f"{count:,} {status}" for status, count in self.seen.most_common(4)]

    def due(self) -> "array[int]":
        """The places of the jobs to ask about now; 8 bytes for each."""
        now, ask_all = time.time(), self.order.now
        return array(
            "Q",
            (
                job.place
                for job in self.book.jobs()
                if not job.state.is_finished and (ask_all or job.due_at <= now)
            ),
        )

    async def carry_out(
        self,
        api_key: str,
        observe: Callable[["Follow", Dispatch, Pace], AbstractContextManager[None]],
    ) -> FollowEnding:
        """Ask, once or until all is finished. Raises what makes the start impossible."""
        signals = Signals()
        settings = self.settings
        recovered = self.file.begin()
        asking: Asking | None = None
        ledger = Ledger(
            self.file,
            on_commit=self._committed,
            on_failure=lambda error: asking.stop(error) if asking else None,
        )
        started = self._run_started()
        error: BulkEraserError | None = None
        try:
            await ledger.commit([*recovered, started])
            day_s = self.order.calendar.day_s
            simulator = Simulator(api_key, day_s=day_s) if settings.simulated else None
            async with connected(settings, self.order.route, api_key, simulator) as client:
                while True:
                    began = time.time()
                    due = self.due()
                    self.to_send, self.settled = len(due), 0
                    jobs = map(self._job_at, due)
                    pace = self._new_pace()  # a day without a question is no outage
                    asking = Asking(jobs, self.order.calendar, ledger, client, pace, settings)
                    signals.attach(asking)
                    with observe(self, asking, pace):
                        await asking.run()
                    await ledger.commit()
                    self._add_up(asking, pace)
                    if asking.stopped_by or not (self.order.wait and self._is_pending()):
                        break
                    if await self._is_stopped_before_the_next(asking, began):
                        break
            error = asking.stopped_by
        except BulkEraserError as failure:
            error = failure
        except Exception as bug:
            error = internal_error(bug)
        now = time.monotonic()
        return await self._finish(ledger, started.run, error, now - (self._first_request_at or now))

    def _new_pace(self) -> Pace:
        settings = self.settings
        return Pace(settings.rate, settings.max_outage, settings.concurrency, time.monotonic)

    async def _is_stopped_before_the_next(self, asking: Asking, began: float) -> bool:
        """Wait for the day after the one on which the asking began, also for those that did not
        answer. The wall clock may jump, so it is looked at often."""
        due_at = self.order.calendar.next_check_at(began)
        while (left := due_at - time.time()) > 0:
            if await asking.stopped_within(min(left, LOOK_S)):
                return True
        return False

    def _committed(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, JobStatus):
                self.book.note(record)
                self.settled += 1
                self.seen[record.status] += 1

    def _job_at(self, place: int) -> Job:
        accepted = self.book.accepted(place)
        return Job(accepted.jid, {"key": accepted.key, "jid": accepted.jid})

    def _is_pending(self) -> bool:
        return any(not job.state.is_finished for job in self.book.jobs())

    def _add_up(self, asking: Asking, pace: Pace) -> None:
        self._first_request_at = self._first_request_at or pace.first_request_at
        self.requests += asking.requests
        self.retries += asking.retries
        self.errors += asking.errors

    # ── how it ended ────────────────────────────────────────────────────────────────────────

    async def _finish(
        self, ledger: Ledger, run: str, error: BulkEraserError | None, elapsed: float
    ) -> FollowEnding:
        ending = FollowEnding("complete", ExitCode.COMPLETE, None, ledger=self.file.path)
        ending.asked, ending.unanswered = self.seen.total(), self.errors.total()
        ending.requests, ending.retries = self.requests, self.retries
        ending.elapsed_s = round(elapsed, 3)
        try:
            await asyncio.to_thread(self._survey_jobs, ending, with_lists=error is None)
        except Exception as bug:  # how it ended must be on record, whatever is wrong with a line
            error = error or internal_error(bug)
        self._judge(ending, error)
        try:
            if not isinstance(error, LedgerWriteError):
                ledger.append(
                    RunFinished(
                        run=run,
                        outcome=ending.outcome,
                        exit_code=ending.exit_code,
                        counts=ending.counts,
                        elapsed_s=ending.elapsed_s,
                    )
                )
            await ledger.close()
        except BulkEraserError as failure:
            self._judge(ending, failure)
        ending.head = ledger.head
        return ending

    def _judge(self, ending: FollowEnding, error: BulkEraserError | None) -> None:
        counts = ending.counts
        if error is not None:
            broken = error.exit_code in (ExitCode.INTERNAL, ExitCode.LEDGER_WRITE)
            ending.outcome = "error" if broken else "stopped"
            if isinstance(error, Interrupted):
                ending.outcome = "interrupted"
            ending.exit_code, ending.error = error.exit_code, str(error)
        elif self.order.fail_if_overdue and ending.listed["overdue_jobs"]:
            ending.outcome = "incomplete" if counts["pending"] else "complete"
            ending.exit_code = ExitCode.SOME_ROWS
        elif counts["pending"]:
            ending.outcome, ending.exit_code = "incomplete", ExitCode.NOT_FINISHED
        elif counts["error"] or counts["not_found"]:
            ending.exit_code = ExitCode.SOME_ROWS

    def _survey_jobs(self, ending: FollowEnding, *, with_lists: bool) -> None:
        """Count every job by its state, and list those that somebody should look at; the lists
        take time, which there is none of when the run was stopped."""
        counts, listed = ending.counts, Counter[str]()
        now, next_due = time.time(), float("inf")
        today = datetime.now(UTC).date()
        for known in self.book.jobs():
            counts["jobs"] += 1
            state = known.state
            counts[state.name.lower() if state.is_finished else "pending"] += 1
            if not state.is_finished:
                next_due = min(next_due, known.due_at)
            if state is JobState.DONE or not with_lists:
                continue
            job, deadline = self._listed(known)
            names = [f"{state.name.lower()}_jobs"] if state.is_finished else []
            if not state.is_finished and self.order.calendar.is_slow(known.created_at, now):
                names.append("slow_jobs")
            if deadline < today:
                names.append("overdue_jobs")
            elif is_at_risk(deadline, today):
                names.append("at_risk_jobs")
            for name in names:
                listed[name] += 1
                if listed[name] <= LISTED:
                    getattr(ending, name).append(job)
        kinds = ("error_jobs", "not_found_jobs", "slow_jobs", "at_risk_jobs", "overdue_jobs")
        ending.listed = {name: listed[name] for name in kinds}
        for name in kinds:
            getattr(ending, name).sort(key=lambda job: (job.line, job.jid))
        if next_due < float("inf"):
            ending.next_check_at = time_text(next_due)

    def _listed(self, known: KnownJob) -> tuple[ListedJob, date]:
        accepted = self.book.accepted(known.place)
        if accepted.received:
            received = date.fromisoformat(accepted.received)
        else:
            run_start = self.book.run_starts[known.run][:10]
            received = self.order.received or date.fromisoformat(run_start)
        deadline = deadline_of(received)
        return ListedJob(accepted.line, accepted.jid, accepted.at, deadline.isoformat()), deadline

    # ── where it asks ───────────────────────────────────────────────────────────────────────

    def _run_started(self) -> RunStarted:
        history, settings = self.file.history, self.settings
        return RunStarted(
            run=str(uuid.uuid4()),
            command="follow",
            tool=f"bulk-eraser {__version__}",
            api=settings.api_version.value,
            target=settings.target.name,
            base=settings.target.named_base,
            simulated=settings.simulated,
            keys=history.keys_kind or "raw",
            pepper_check=history.pepper_check,
            input=None,
            exclude_sha256=None,
            settings=self._recorded(),
            requester=None,
            reference=None,
        )

    def _recorded(self) -> dict[str, Any]:
        asked = ("concurrency", "rate", "max_attempts", "timeout_s", "max_outage_s")
        recorded = self.settings.recorded()
        order = {"now": self.order.now, "wait": self.order.wait}
        return {name: recorded[name] for name in asked} | order

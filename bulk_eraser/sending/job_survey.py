"""How all jobs of a ledger stand: which are due, how many are in which state, and which of them
somebody should look at."""

from array import array
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from bulk_eraser.ledger.jobs import JobBook, JobState, KnownJob, accepted_at
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.records import time_text
from bulk_eraser.sending.deadlines import (
    EXPIRES_SOON_DAYS,
    RESULT_DAYS,
    deadline_of,
    is_at_risk,
)
from bulk_eraser.sending.request import (
    ExportFollowResult,
    FollowRequest,
    FollowResult,
    ListedJob,
)

__all__ = ["JobSurvey"]

LISTED = 1000
"""Jobs that a list of the result names at the most."""
_PENDING, _READY, _DONE = JobState.PENDING, JobState.READY, JobState.DONE
_EMPTY = JobState.EMPTY
LISTS = ("error_jobs", "not_found_jobs", "slow_jobs", "at_risk_jobs", "overdue_jobs")
LISTS_OF_EXPORT = ("lost_jobs", "expiring_jobs", *LISTS)


class JobSurvey:
    """One pass over a book, at `now` (seconds since 1970).

    `due` has the places of the jobs to ask about, 8 bytes for each, in the order of the ledger;
    `ready` those of the exports whose result can be had, in no order, and `may_have_expired` those
    of them that are done for a week, or nearly. `pending` counts the jobs that are not finished.
    `states` counts the keys, those with a job as `IN_PROGRESS`, however it stands.
    """

    def __init__(
        self,
        book: JobBook,
        request: FollowRequest,
        read_at: Callable[[int, int], bytes],
        now: float,
    ) -> None:
        self._request = request
        self._run_starts = book.run_starts
        self._read_at = read_at
        self._now = now
        calendar = request.calendar
        self._slow_before = calendar.slow_before(now)
        self._expires_soon = calendar.done_before(now, RESULT_DAYS - EXPIRES_SOON_DAYS)
        self._expired_before = calendar.done_before(now, RESULT_DAYS - 1)
        self.ready = array("Q")
        self.may_have_expired: set[int] = set()
        self._today = datetime.now(UTC).date()
        self.states: Counter[KeyState] = Counter()
        self._job_states: Counter[JobState] = Counter()
        self._next_due = float("inf")
        self._counts: Counter[str] = Counter()
        self._trouble: Exception | None = None
        self._listed: dict[str, list[ListedJob]] = {name: [] for name in LISTS_OF_EXPORT}
        # Most jobs came on few days, so what a day's deadline means is worked out once.
        self._deadline = lru_cache(1 << 12)(self._deadline_of)
        self.due = self._look(book)

    @property
    def pending(self) -> int:
        return sum(n for state, n in self._job_states.items() if not state.is_finished)

    def put_into(self, result: FollowResult, *, with_lists: bool) -> None:
        """Counts, the next day, and the lists. Raises what was wrong with a line of a list."""
        result.counts["jobs"] = self._job_states.total()
        for state, count in self._job_states.items():
            if state.is_finished and state.name.lower() in result.counts:
                result.counts[state.name.lower()] = count
        result.counts["pending"] = self.pending
        if self._next_due < float("inf"):
            result.next_check_at = time_text(self._next_due)
        if with_lists and self._trouble:
            raise self._trouble
        for name in LISTS_OF_EXPORT if isinstance(result, ExportFollowResult) else LISTS:
            jobs = self._listed[name] if with_lists else []
            setattr(result, name, sorted(jobs, key=lambda job: (job.line, job.jid)))
            result.listed[name] = self._counts[name] if with_lists else 0

    def _look(self, book: JobBook) -> "array[int]":
        due, until = array("Q"), float("inf") if self._request.now else self._now
        next_due, slow_before = self._next_due, self._slow_before
        job_states = self._job_states
        for job in book.keys(self._request.calendar.next_check_at):
            if isinstance(job, KeyState):
                self.states[job] += 1
                continue
            state = job.state
            job_states[state] += 1
            if _DONE <= state <= _EMPTY:  # all is well
                continue
            if state is _READY:
                self.ready.append(job.place)
                if job.due_at <= self._expired_before:
                    self.may_have_expired.add(job.place)
            if state < _DONE:
                next_due = min(next_due, job.due_at)
                if job.due_at <= until:
                    due.append(job.place)
            try:
                late = self._deadline(job.received, job.run)[1]
                if late or state > _PENDING or job.created_at <= slow_before:  # few jobs
                    for name in self._reasons(job, late):
                        self._put_on_list(name, job)
            except Exception as error:  # the jobs are asked about all the same
                self._trouble = error
        self._next_due, self.states[KeyState.IN_PROGRESS] = next_due, job_states.total()
        return array("Q", sorted(due))

    def _reasons(self, job: KnownJob, late: str | None) -> list[str]:
        """The lists that it belongs to; none for most jobs. `late` is the one of a deadline."""
        # 1. What the law asks for.
        reasons = [late] if late else []
        # 2. How the job stands; a job may be on both kinds of lists.
        if job.state.has_failed:
            reasons.append(f"{job.state.name.lower()}_jobs")
        elif job.state is JobState.READY:
            reasons += ["expiring_jobs"] if job.due_at <= self._expires_soon else []
        elif job.created_at <= self._slow_before:
            reasons.append("slow_jobs")
        return reasons

    def _deadline_of(self, received: date | None, run: int) -> tuple[date, str | None]:
        """Until when a job must be done, and the list for one that may be late; the person asked
        by the row, else by the option, else when the run began."""
        day = received or self._request.received or date.fromisoformat(self._run_starts[run][:10])
        deadline = deadline_of(day)
        if deadline < self._today:
            return deadline, "overdue_jobs"
        return deadline, "at_risk_jobs" if is_at_risk(deadline, self._today) else None

    def _put_on_list(self, name: str, job: KnownJob) -> None:
        self._counts[name] += 1
        if self._counts[name] <= LISTED:
            self._listed[name].append(self._shown(job))

    def _shown(self, job: KnownJob) -> ListedJob:
        accepted = accepted_at(self._read_at, job.place)
        deadline, _ = self._deadline(job.received, job.run)
        by_option = "option" if self._request.received else "run"
        return ListedJob(
            accepted.line,
            accepted.jid,
            accepted.at,
            deadline.isoformat(),
            "row" if job.received else by_option,
        )

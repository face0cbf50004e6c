"""From “created” to “done”: ask for the status of every job that is due.

    ledger ─► jobs that are due ─► GET ─► what it means ─► `job_status` line
                                                       └─► `export_status` line ─► downloads

Only `done` means erased, and it comes days after the request. A job is asked about once a day; what
is finished is not asked about again, and `accepted` is never rewritten. The result of an export
that is done is downloaded at once.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from bulk_eraser import __version__
from bulk_eraser.errors import (
    Attention,
    BulkEraserError,
    ExitCode,
    UsageError,
    internal_error,
)
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.jobs import JobBook, accepted_lines
from bulk_eraser.ledger.probes import ProbeBook, ProbedKey, attention_of
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import (
    Accepted,
    Downloaded,
    ExportFacts,
    ExportStatus,
    JobAnswer,
    JobStatus,
    Lost,
    ProbeStatus,
    Record,
    RunStarted,
    time_text,
)
from bulk_eraser.sending.asking import Answers, Asking
from bulk_eraser.sending.destinations import ExportFolder, ProbeAnswers
from bulk_eraser.sending.downloading import Downloading
from bulk_eraser.sending.encryption import Recipient
from bulk_eraser.sending.job_survey import JobSurvey
from bulk_eraser.sending.lifecycle import Observe, Session, carry_out
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.request import ExportFollowResult, FollowRequest, FollowResult
from bulk_eraser.sending.result_folder import ResultFolder
from bulk_eraser.sending.signals import Signals
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

if TYPE_CHECKING:
    from bulk_eraser.simulator.server import Simulator

__all__ = ["Follow", "FollowedLedger", "folder_of"]

LOOK_S = 60.0
_BAD_ENDS = ("error", "not_found", "lost")
EXAMPLES = 3
"""Lines that are named for a reason."""


class FollowedLedger:
    """A ledger that is locked and read for its jobs, once. Close it when done.

    Raises as `LedgerFile` does.
    """

    def __init__(self, path: str) -> None:
        self.facts = LedgerFacts()
        self.book = JobBook()
        self.probes = ProbeBook()
        try:
            self.file = LedgerFile(path, [self.facts, self.book, self.probes])
        except BaseException:  # whatever refused it, the temporary file is given back
            self.book.close()
            raise

    def close(self) -> None:
        self.book.close()
        self.file.close()


class Follow:
    """One `follow` of a ledger, from its first question to its result.

    `export` says where results are put; None for erasures. Which of the two it is, the ledger says
    alone.
    """

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
        self.export = _as_asked(request, ledger.facts.export)
        self._book = ledger.book
        self._probes = ledger.probes
        self._answers = Answers()
        self._ended = 0
        self._folder: ResultFolder | None = None
        self._errors: Counter[str] = Counter()
        self._jobs = self._look_at_jobs()
        self._without_job = self._lacking()

    @property
    def due(self) -> int:
        """How many jobs are asked about now."""
        return len(self._jobs.due)

    @property
    def probes_due(self) -> int:
        """How many probes are asked about now."""
        return len(self._due_probes())

    async def carry_out(
        self, api_key: str, observe: Observe, signals: Signals | None = None
    ) -> FollowResult:
        """Ask, once or until all is finished. Raises what makes the start impossible."""
        return await carry_out(
            self, self.file, self.settings, self.request.route, api_key, observe, signals
        )

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
            export=self.export,
        )
        return self.run_started

    def simulator(self, api_key: str) -> "Simulator | None":
        if not self.settings.simulated:
            return None
        from bulk_eraser.simulator.server import Simulator  # a server takes its time to import

        return Simulator(api_key, day_s=self.request.calendar.day_s)

    async def send(self, session: Session) -> BulkEraserError | None:
        if self.export is None:
            return await self._ask_and_download(session)
        self._folder = folder_of(self.export)  # before anything is asked: it may be refused
        with closing(self._folder):
            return await self._ask_and_download(session)

    async def _ask_and_download(self, session: Session) -> BulkEraserError | None:
        folder = self._folder
        while True:
            began = time.time()
            if folder is not None:
                await self._record_what_is_there(session, folder)
            pace = session.new_pace()  # a day without a question is no outage
            pool = await self._ask(session, pace)
            if folder is not None and not pool.stopped_by and self._look_again().ready:
                pool = await self._download(session, pace, folder)
            if not pool.stopped_by:
                pool = await self._answer_probes(session, pace) or pool
            if pool.stopped_by or not self.request.wait or not self._is_pending():
                return pool.stopped_by
            if await self._is_stopped_before_the_next(pool, began):
                return pool.stopped_by
            self._jobs = self._look_at_jobs()  # it is another day

    async def _record_what_is_there(self, session: Session, folder: ResultFolder) -> None:
        """Results that a follow which broke off had put into the folder.

        Before the service is asked: it may not know a job any more whose result was had, and the
        copy would count as failed.
        """
        places = sorted(self._jobs.ready)
        with closing(ExportFolder(folder, 0)) as destination:
            for line in accepted_lines(self.file.read_at, places):
                found = await asyncio.to_thread(destination.found, _download_of(line))
                if found is not None:
                    session.ledger.append(found)
        await session.ledger.commit()
        self._jobs = self._look_again()

    async def _ask(self, session: Session, pace: Pace) -> Pool:
        self.to_send, self.settled = self.due, 0
        due = map(_call_of, accepted_lines(self.file.read_at, self._jobs.due))
        return await self._ask_about(due, ExportStatus if self.export else JobStatus, session, pace)

    async def _ask_about(
        self, due: Iterator[Call], kind: type[JobAnswer], session: Session, pace: Pace
    ) -> Pool:
        calendar, ledger, client = self.request.calendar, session.ledger, session.client
        asking = Asking(due, calendar, ledger, client, pace, self.settings, kind)
        pool = await session.perform(asking, pace)
        self._errors += asking.errors
        return pool

    async def _download(self, session: Session, pace: Pace, folder: ResultFolder) -> Pool:
        places, old = sorted(self._jobs.ready), self._jobs.may_have_expired
        lines = accepted_lines(self.file.read_at, places)
        ready = ((_download_of(it), place in old) for it, place in zip(lines, places, strict=True))
        with closing(ExportFolder(folder, len(places))) as destination:
            downloading = Downloading(
                ready, destination, session.ledger, session.client, pace, self.settings
            )
            pool = await session.perform(downloading, pace)
        self._errors += downloading.errors
        return pool

    async def _answer_probes(self, session: Session, pace: Pace) -> Pool | None:
        """Ask about the probes that are due, and look at results; None if there are none."""
        due = self._due_probes()
        if not due:
            return None
        self.to_send, self.settled = len(due), 0
        pool = await self._ask_about(map(_question_of, due), ProbeStatus, session, pace)
        ready = self._probes.ready()
        if pool.stopped_by or not ready:
            return pool
        calls = ((_call_of_probe(it), True) for it in ready)
        downloading = Downloading(
            calls, ProbeAnswers(), session.ledger, session.client, pace, self.settings
        )
        pool = await session.perform(downloading, pace)
        self._errors += downloading.errors
        return pool

    def committed(self, records: Sequence[Record]) -> None:
        answers = [record for record in records if isinstance(record, JobAnswer)]
        of_jobs, ends = answers, list[Downloaded | Lost]()
        if len(answers) < len(records) or self._probes.drawn:
            of_jobs = [record for record in answers if not isinstance(record, ProbeStatus)]
            ends = [record for record in records if isinstance(record, Downloaded | Lost)]
            self._probes.note(records)
        self._book.note([*of_jobs, *ends])
        self.settled += len(answers)
        self._answers.note([answer.status for answer in answers])
        self._ended += len(ends)
        if self._folder is not None:
            for answer in answers:
                if answer.next_check_at is None:
                    self._folder.forget(answer.jid)

    async def result(self, error: BulkEraserError | None, session: Session) -> FollowResult:
        result = FollowResult(ledger=self.file.path, rehearsal=self.settings.simulated)
        if self.export is not None:
            result = ExportFollowResult(ledger=self.file.path, output=self.export.output)
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
        counts, words = result.counts, {"error": result.error_jobs}
        words["not_found"] = result.not_found_jobs
        if isinstance(result, ExportFollowResult):
            words |= {"lost": result.lost_jobs, "expiring": result.expiring_jobs}
            counts = counts | {"expiring": result.listed["expiring_jobs"]}
        result.attention = [
            Attention(f"job_{word}", counts[word], [job.line for job in jobs[:EXAMPLES]])
            for word, jobs in words.items()
            if counts[word]
        ] + [Attention(word, count) for word, count in result.without_job.items() if count]
        result.attention += attention_of(result.probes) if result.probes else []
        return result

    def summary(self) -> list[str]:
        """How far it is, for the display."""
        parts = [f"{self.settled:,} of {self.to_send:,} jobs asked about"]
        if self._ended:
            parts.append(f"{self._ended:,} results settled")
        return parts + self._answers.most_common()

    def _is_pending(self) -> bool:
        return bool(self._look_again().pending or self._probes.waiting)

    # ── which jobs ──────────────────────────────────────────────────────────────────────────

    def _look_at_jobs(self) -> JobSurvey:
        return JobSurvey(self._book, self.request, self.file.read_at, time.time())

    def _due_probes(self) -> list[ProbedKey]:
        now = float("inf") if self.request.now else time.time()
        return self._probes.due(now, self.request.calendar.next_check_at)

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
        if self._answers.total or self._ended:
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
        result.probes = self._probes.summary()
        next_due = self._probes.next_due(self.request.calendar.next_check_at)
        if next_due < float("inf"):
            at = time_text(next_due)
            result.next_check_at = min(at, result.next_check_at or at)
        pending = result.counts["pending"] or self._probes.waiting
        if error is not None:
            result.fail(error, begun=True)
            return
        # Pending comes before failed: what is not finished may still end well, or badly.
        if pending:
            result.outcome, result.exit_code = "incomplete", ExitCode.NOT_FINISHED
        elif (
            any(result.counts.get(word) for word in _BAD_ENDS)
            or self._without_job
            or (result.probes is not None and result.probes.came_back)
        ):
            result.exit_code = ExitCode.SOME_ROWS
        # Asked for with an option, so it counts more than that jobs are pending.
        if self.request.fail_if_overdue and result.listed["overdue_jobs"]:
            result.exit_code = ExitCode.SOME_ROWS


def _as_asked(request: FollowRequest, recorded: ExportFacts | None) -> ExportFacts | None:
    """Where results are put: as the last `export` said, unless it is asked for otherwise.

    Raises `UsageError` where that is asked of erasures.
    """
    if recorded is not None:
        return ExportFacts(
            output=request.output or recorded.output,
            encrypt_to=recorded.encrypt_to,
            max_result_bytes=request.max_result_bytes or recorded.max_result_bytes,
        )
    if request.output is None and request.max_result_bytes is None:
        return None
    raise UsageError(
        "--output and --max-result-bytes are for the ledger of an export; this one has removal "
        "jobs."
    )


def folder_of(export: ExportFacts) -> ResultFolder:
    """Raises as `ResultFolder` and `Recipient` do."""
    recipient = Recipient(export.encrypt_to) if export.encrypt_to else None
    return ResultFolder(export.output, export.max_result_bytes, recipient)


def _download_of(accepted: Accepted) -> Call:
    fields = {"key": accepted.key, "line": accepted.line, "jid": accepted.jid}
    return Call(accepted.jid, fields)


def _question_of(probed: ProbedKey) -> Call:
    return Call(probed.jid, {"key": probed.key, "jid": probed.jid})


def _call_of_probe(probed: ProbedKey) -> Call:
    fields = {"probe": probed.probe, "key": probed.key, "line": probed.line, "jid": probed.jid}
    return Call(probed.jid, fields)


def _call_of(accepted: Accepted) -> Call:
    return Call(accepted.jid, {"key": accepted.key, "jid": accepted.jid})

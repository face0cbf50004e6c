"""One run from the survey to its result: what `run` and `export` do, without their face.

`prepare` reads and decides (nothing is written, nothing is sent); `Run.carry_out` creates the
ledger, creates the jobs, and closes the ledger with `run_finished`.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import msgspec

from bulk_eraser import __version__
from bulk_eraser.errors import (
    Attention,
    BulkEraserError,
    ExitCode,
    TooManyFailures,
    UsageError,
)
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import KeyHistory, LedgerFacts
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.records import AfterExport, Record, RunStarted
from bulk_eraser.sending.counts import Tally
from bulk_eraser.sending.creation import Creation
from bulk_eraser.sending.exported import ExportedKeys
from bulk_eraser.sending.lifecycle import Observe, Session, carry_out
from bulk_eraser.sending.request import RunRequest, RunResult
from bulk_eraser.sending.signals import Signals
from bulk_eraser.sending.suiting import (
    must_be_the_same_batch,
    must_belong,
    must_keep_no_key,
)
from bulk_eraser.settings import RunSettings
from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.survey.checks import must_be_usable, survey_of
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.survey import Survey

if TYPE_CHECKING:
    from bulk_eraser.simulator.server import Simulator

__all__ = ["Run", "prepare"]

FEW_ERRORS = 5
"""Of the errors of failed keys, so many are named where they end a run."""
REHEARSAL_FAULTS = FaultRates(
    {
        "http_429": 0.005,
        "http_500": 0.005,
        "http_503": 0.005,
        "drop_before": 0.005,
        "drop_after": 0.005,
        "cut_body": 0.005,
    }
)


class Run:
    """A surveyed input, its ledger, and how to send. Close it when done.

    `facts` are those of the ledger before this run, `to_send` is how many keys it will send.
    """

    def __init__(
        self,
        request: RunRequest,
        settings: RunSettings,
        survey: Survey,
        file: LedgerFile,
        facts: LedgerFacts,
        survey_s: float,
        after_export: AfterExport | None = None,
    ) -> None:
        self._after_export = after_export
        self.request = request
        self.settings = settings
        self.survey = survey
        self.file = file
        self.facts = facts
        self.tally = Tally(survey.decisions)
        self.to_send = min(self.tally.to_send, settings.limit or self.tally.to_send)
        self.run_started: RunStarted | None = None
        self._survey_s = round(survey_s, 3)

    def close(self) -> None:
        self.survey.close()
        self.file.close()

    async def carry_out(
        self, api_key: str, observe: Observe, signals: Signals | None = None
    ) -> RunResult:
        """Send what is to be sent. Raises what makes the start impossible (`LedgerWriteError`,
        `LedgerBusy`)."""
        return await carry_out(
            self, self.file, self.settings, self.request.route, api_key, observe, signals
        )

    def dry_result(self) -> RunResult:
        """What is so now. Keys that would be sent may still end well; what nobody would send
        again, and rows that cannot be sent, do not."""
        result = self._counted(RunResult())
        if self.tally["rejected"] or self._ends_badly() or self._refused_for_good():
            result.exit_code = ExitCode.SOME_ROWS
        result.head = self.file.head if self.file.exists else None
        return result

    # ── as the lifecycle asks ───────────────────────────────────────────────────────────────

    def started(self) -> RunStarted:
        hold_list, plan, naming = self.survey.hold_list, self.request.plan, self.survey.naming
        self.run_started = RunStarted(
            run=str(uuid.uuid4()),
            command="export" if self.request.export else "run",
            tool=f"bulk-eraser {__version__}",
            api=self.settings.api_version.value,
            target=self.settings.target.name,
            base=self.settings.target.named_base,
            simulated=self.settings.simulated,
            keys=naming.kind,
            pepper_check=naming.pepper_check,
            input=self.survey.facts(),
            exclude_sha256=hold_list.sha256 if hold_list else None,
            settings=self.settings.recorded(),
            requester=self.request.requester,
            reference=self.request.reference,
            plan=plan.facts if plan else None,
            sent_when_complete=self.survey.keys_sent_before + self.survey.keys_never_sent,
            export=self.request.export,
            after_export=self._after_export,
            shard=self.survey.shard_facts(),
        )
        return self.run_started

    def simulator(self, api_key: str) -> "Simulator | None":
        if not self.settings.simulated:
            return None
        from bulk_eraser.simulator.server import Simulator  # a server takes its time to import

        return Simulator(api_key, REHEARSAL_FAULTS)

    async def send(self, session: Session) -> BulkEraserError | None:
        creation = Creation(
            self.survey,
            self.facts,
            session.ledger,
            session.client,
            self.tally,
            self.settings,
            self.request.kind,
        )
        with closing(creation):
            return (await session.perform(creation, session.new_pace())).stopped_by

    def committed(self, records: Sequence[Record]) -> BulkEraserError | None:
        """Counts are of what is on disk. Stops if too many keys failed."""
        self.tally.fold(records)
        limit = self.settings.max_failures
        failures, settled = self.tally.failures, self.tally.settled
        if not limit.is_exceeded(failures, settled):
            return None
        errors = ", ".join(f"{n:,} {word}" for word, n in self.tally.errors.most_common(FEW_ERRORS))
        again = " and --retry-failed" if self.tally.refused else ""
        return TooManyFailures(
            f"{failures} of {settled} keys failed ({errors}), more than --max-failures "
            f"{limit.text} allows. Look at the errors, then run the same command again; if these "
            f"keys are meant, with a higher --max-failures{again}."
        )

    async def result(self, error: BulkEraserError | None, session: Session) -> RunResult:
        result = self._counted(RunResult())
        result.requests, result.retries = session.requests, session.retries
        result.elapsed_s = session.elapsed_s
        self._conclude(result, error or self._disagreement())
        return result

    # ── how far it is, and how it ended ─────────────────────────────────────────────────────

    @property
    def settled(self) -> int:
        return self.tally.settled

    def summary(self) -> list[str]:
        tally = self.tally
        parts = [f"{tally.settled:,} of {self.to_send:,} keys", f"{tally['accepted']:,} accepted"]
        return parts + [f"{tally[name]:,} {name}" for name in ("failed", "unknown") if tally[name]]

    @property
    def left(self) -> int:
        """How many keys --limit leaves for a later run, whatever their state."""
        return self.tally.to_send - self.to_send

    def _counted(self, result: RunResult) -> RunResult:
        result.counts, result.survey_s = self.tally.counts(), self._survey_s
        result.attention = [item for item in self._attention() if item.count]
        result.ledger = self.file.path
        result.shard = msgspec.to_builtins(self.survey.shard_facts())
        return result

    def _attention(self) -> Iterator[Attention]:
        """What somebody should look at: rows that were not sent, what failed, now or earlier."""
        survey, tally, lines = self.survey, self.tally, self.survey.kept_lines
        for word, count in survey.own_errors.most_common():
            yield Attention(word, count, survey.error_lines[word])
        for word, count in tally.errors.most_common():
            yield Attention(word, count, tally.error_lines[word])
        yield Attention("refused", self._refused_for_good(), lines.get(KeyState.REFUSED, []))
        yield Attention("job_failed", tally["job_failed"], lines.get(KeyState.JOB_FAILED, []))
        yield Attention("held_too_late", tally["held_too_late"], survey.held_too_late_lines)
        yield Attention("not_exported", tally["not_exported"])
        yield Attention("not_reached", tally["not_reached"])

    @property
    def can_be_mended(self) -> bool:
        """Would the same command send something again?"""
        failed = self.tally["failed"] - self._refused_for_good() - self.tally.refused
        left = self.tally["not_reached"] + self.tally["not_exported"] + self.tally["unknown"]
        return bool(left or failed)

    @property
    def can_be_retried(self) -> bool:
        """Would --retry-failed send something that the same command does not?"""
        refused = self._refused_for_good() + self.tally.refused
        return bool(refused or self.tally["job_failed"])

    @property
    def has_pending_jobs(self) -> bool:
        """Is there a job of this input whose end is not recorded?"""
        kept = self.survey.count(action=Action.KEEP, state=KeyState.IN_PROGRESS)
        return bool(kept or self.tally["accepted"])

    def _conclude(self, result: RunResult, error: BulkEraserError | None) -> None:
        """Outcome and exit code, from the last state of every row."""
        tally = self.tally
        if error is not None:
            result.fail(error, begun=True)
        # Keys are left on purpose (--limit); without an error nothing else leaves any.
        elif tally["not_reached"] or tally["not_exported"] or self.left:
            result.outcome, result.exit_code = "incomplete", ExitCode.NOT_FINISHED
        elif tally["failed"] or tally["unknown"] or self._has_bad_rows() or self._ends_badly():
            result.exit_code = ExitCode.SOME_ROWS

    def _has_bad_rows(self) -> bool:
        return bool(self.tally["rejected"]) and not self.request.is_ok_if_rejected

    def _ends_badly(self) -> bool:
        """Is there something that sending more keys does not mend?"""
        return bool(self.tally["job_failed"] or self.tally["held_too_late"])

    def _refused_for_good(self) -> int:
        return self.survey.count(action=Action.KEEP, state=KeyState.REFUSED)

    def _disagreement(self) -> BulkEraserError | None:
        """A run that cannot show that every row is accounted for never says success."""
        if self.tally.is_conserved() and self.tally["not_reached"] <= self.left:
            return None
        return BulkEraserError(
            "Internal error: the counts do not add up to the rows of the input. The ledger holds "
            "what was done; please report this."
        )


def prepare(
    request: RunRequest,
    settings: RunSettings,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Run:
    """Open the ledger, read the whole input, decide about every row. Writes and sends nothing.

    Raises `UsageError`, `InputError`, `ConfigurationError` and the ledger's errors.
    """
    began = time.monotonic()
    intake, plan = request.intake, request.plan
    with ExitStack() as opened:  # whatever refuses the run, Ctrl-C as well, all is given back
        history = opened.enter_context(closing(KeyHistory()))
        # What can be told from ledgers alone comes before the input is read, which takes longer.
        had = [_facts_of_earlier(path, history, request, settings) for path in request.earlier]
        facts = LedgerFacts()
        file = LedgerFile(request.ledger_path, [facts, history], readonly=dry_run)
        opened.callback(file.close)
        must_belong(file, facts, request, settings, intake.part)
        had.append(facts)
        if any(it.had_hold_list for it in had) and not intake.hold_list:
            _must_want_no_hold_list(request)
        if any(it.had_after_export for it in had) and not request.after_export:
            _must_want_all(request)
        exported = None
        if request.after_export is not None:
            exported = ExportedKeys(request.after_export, intake.naming, settings)
            opened.callback(exported.close)
        survey = survey_of(
            intake,
            history.states,
            retry_failed=settings.retry_failed,
            exported=exported.digests if exported else None,
            progress=progress,
        )
        opened.callback(survey.close)
        must_be_usable(survey, intake)
        must_keep_no_key(survey)
        if not request.is_same_batch:
            must_be_the_same_batch(file, survey)
        if plan is not None:
            plan.must_match(survey)
        history.close()  # every row is decided
        if exported is not None:
            exported.close()
        opened.pop_all()
        return Run(
            request,
            settings,
            survey,
            file,
            facts,
            time.monotonic() - began,
            exported.facts if exported else None,
        )


def _facts_of_earlier(
    path: str, history: KeyHistory, request: RunRequest, settings: RunSettings
) -> LedgerFacts:
    """Of a ledger that is not written; its keys go into `history`. Raises as `prepare`."""
    facts = LedgerFacts()
    with closing(LedgerFile(path, [facts, history], readonly=True)) as file:
        must_belong(file, facts, request, settings, request.earlier[path])
    return facts


def _must_want_no_hold_list(request: RunRequest) -> None:
    if not request.no_hold_list:
        raise UsageError(
            "Earlier runs of this ledger had a hold list. Name it again with --exclude, or "
            "use --no-exclude if nobody is on hold any more."
        )


def _must_want_all(request: RunRequest) -> None:
    if not request.no_after_export:
        raise UsageError(
            "Earlier runs of this ledger sent only keys that were exported. Name the export "
            "again with --after-export, or use --no-after-export to send all of them."
        )

"""One run from the survey to its ending: what `bulk-eraser run` does, without its face.

`prepare` reads and decides (nothing is written, nothing is sent); `Batch.carry_out` creates the
ledger, erases, and closes the ledger with `run_finished`.
"""

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager

from bulk_eraser import __version__
from bulk_eraser.errors import (
    BulkEraserError,
    ConfigurationError,
    ExitCode,
    Interrupted,
    LedgerWriteError,
    UsageError,
    internal_error,
)
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS, RAW, KeyNaming
from bulk_eraser.ledger.writer import Ledger
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import RunFinished, RunStarted
from bulk_eraser.sending.counts import Tally
from bulk_eraser.sending.erase import Erasure
from bulk_eraser.sending.order import Ending, Order
from bulk_eraser.sending.service import connected
from bulk_eraser.sending.signals import Signals
from bulk_eraser.settings import RunSettings
from bulk_eraser.simulator import FaultRates, Simulator
from bulk_eraser.survey.checks import must_be_usable, survey_of
from bulk_eraser.survey.survey import Survey

__all__ = ["Batch", "prepare"]

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


class Batch:
    """A surveyed input, its ledger, and how to send. Close it when done."""

    def __init__(
        self, order: Order, settings: RunSettings, survey: Survey, file: LedgerFile, survey_s: float
    ) -> None:
        self.order = order
        self.settings = settings
        self.survey = survey
        self.file = file
        self.survey_s = survey_s
        self.tally = Tally(survey.fates)
        self.started: RunStarted | None = None
        self.to_send = min(self.tally.to_send, settings.limit or self.tally.to_send)

    @property
    def settled(self) -> int:
        return self.tally.settled

    def told(self) -> list[str]:
        """How far it is, for the display."""
        tally = self.tally
        parts = [f"{tally.settled:,} of {self.to_send:,} keys", f"{tally['accepted']:,} accepted"]
        return parts + [f"{tally[name]:,} {name}" for name in ("failed", "unknown") if tally[name]]

    @property
    def left(self) -> int:
        """How many keys --limit leaves for a later run, whatever their state."""
        return self.tally.to_send - self.to_send

    def close(self) -> None:
        self.survey.close()
        self.file.close()

    async def carry_out(
        self,
        api_key: str,
        observe: Callable[["Batch", Erasure, Pace], AbstractContextManager[None]],
    ) -> Ending:
        """Send what is to be sent. `observe` is entered while keys are on their way.

        Raises what makes the start impossible (`LedgerWriteError`, `LedgerBusy`).
        """
        signals = Signals()
        pace = Pace(
            self.settings.rate,
            self.settings.max_outage,
            self.settings.concurrency,
            time.monotonic,
        )
        recovered = self.file.begin()
        erasure: Erasure | None = None
        ledger = Ledger(
            self.file,
            on_commit=lambda records: erasure.committed(records) if erasure else None,
            on_failure=lambda error: erasure.stop(error) if erasure else None,
        )
        self.started = started = self._run_started()
        error: BulkEraserError | None = None
        try:
            await ledger.commit([*recovered, started])
            simulated = self.settings.simulated
            simulator = Simulator(api_key, REHEARSAL_FAULTS) if simulated else None
            async with connected(self.settings, self.order.route, api_key, simulator) as client:
                erasure = Erasure(
                    self.survey,
                    self.file.history.recorded_until(self.survey.facts()),
                    ledger,
                    client,
                    pace,
                    self.tally,
                    self.settings,
                )
                signals.attach(erasure)
                with observe(self, erasure, pace):
                    await erasure.run()
            error = erasure.stopped_by
            await ledger.commit()
        except BulkEraserError as failure:
            error = failure
        except Exception as bug:
            error = internal_error(bug)
        now = time.monotonic()
        elapsed = now - (pace.first_request_at or now)
        error = error or self._disagreement()
        return await self._finish(ledger, started.run, erasure, error, elapsed)

    async def _finish(
        self,
        ledger: Ledger,
        run: str,
        erasure: Erasure | None,
        error: BulkEraserError | None,
        elapsed: float,
    ) -> Ending:
        """Close the ledger with how the run ended."""
        outcome, code = self._judge(error)
        try:
            if not isinstance(error, LedgerWriteError):
                ledger.append(
                    RunFinished(
                        run=run,
                        outcome=outcome,
                        exit_code=code,
                        counts=self.tally.counts(),
                        elapsed_s=round(elapsed, 3),
                    )
                )
            await ledger.close()
        except BulkEraserError as failure:
            error = failure
            outcome, code = self._judge(error)
        return Ending(
            outcome=outcome,
            exit_code=code,
            error=str(error) if error else None,
            counts=self.tally.counts(),
            requests=erasure.requests if erasure else 0,
            retries=erasure.retries if erasure else 0,
            survey_s=round(self.survey_s, 3),
            elapsed_s=round(elapsed, 3),
            ledger=self.file.path,
            head=ledger.head,
        )

    def _run_started(self) -> RunStarted:
        hold_list, plan, naming = self.survey.hold_list, self.order.plan, self.survey.naming
        return RunStarted(
            run=str(uuid.uuid4()),
            command="run",
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
            requester=self.order.requester,
            reference=self.order.reference,
            plan=plan.facts if plan else None,
        )

    def _judge(self, error: BulkEraserError | None) -> tuple[str, ExitCode]:
        """Outcome and exit code, from the last state of every row."""
        tally = self.tally
        if error is not None:
            broken = error.exit_code in (ExitCode.INTERNAL, ExitCode.LEDGER_WRITE)
            outcome = "error" if broken else "stopped"
            return ("interrupted" if isinstance(error, Interrupted) else outcome), error.exit_code
        if tally["not_reached"] or self.left:
            return "incomplete", ExitCode.NOT_FINISHED
        if tally["failed"] or tally["unknown"] or tally["rejected"]:
            return "complete", ExitCode.SOME_ROWS
        return "complete", ExitCode.COMPLETE

    def _disagreement(self) -> BulkEraserError | None:
        """A run that cannot show that every row is accounted for never says success."""
        if self.tally.is_conserved() and self.tally["not_reached"] <= self.left:
            return None
        return BulkEraserError(
            "Internal error: the counts do not add up to the rows of the input. The ledger holds "
            "what was done; please report this."
        )


def prepare(
    order: Order,
    settings: RunSettings,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Batch:
    """Open the ledger, read the whole input, decide about every row. Writes and sends nothing.

    Raises `UsageError`, `InputError`, `ConfigurationError` and the ledger's errors.
    """
    began = time.monotonic()
    intake, plan = order.intake, order.plan
    if plan is not None:
        target = None if settings.simulated else settings.target
        plan.must_suit(intake.reader.asked, target, settings.api_version)
    file = LedgerFile(order.ledger_path, readonly=dry_run)
    survey: Survey | None = None
    try:
        _must_be_the_same_target(file, settings)
        _must_name_keys_alike(file, intake.naming)
        if file.history.held and not intake.hold_list and not order.no_hold_list:
            raise UsageError(
                "Earlier runs of this ledger had a hold list. Name it again with --exclude, or "
                "say --no-exclude if nobody is on hold any more."
            )
        standings, again = file.history.standings, settings.retry_failed
        survey = survey_of(intake, standings, retry_failed=again, progress=progress)
        must_be_usable(survey, intake)
        _must_keep_no_key(survey)
        if plan is not None:
            plan.must_match(survey)
        return Batch(order, settings, survey, file, time.monotonic() - began)
    except BaseException:  # Ctrl-C as well: the lock and the temporary files are given back
        if survey is not None:
            survey.close()
        file.close()
        raise


def _must_be_the_same_target(file: LedgerFile, settings: RunSettings) -> None:
    history = file.history
    if history.target is not None and history.target != settings.target.name:
        raise ConfigurationError(
            f"The ledger {file.path} belongs to the target {history.target}, this run to "
            f"{settings.target.name}. A ledger has one target: name another with --ledger."
        )
    base = settings.target.named_base
    if history.base is not None and base is not None and history.base != base:
        raise ConfigurationError(
            f"The ledger {file.path} belongs to the address {history.base}, this run to {base}. "
            "A ledger has one target: name another with --ledger."
        )


def _must_keep_no_key(survey: Survey) -> None:
    reading = survey.reader.reading
    if survey.naming.kind != RAW and reading.key_field in (
        reading.reference_field,
        reading.received_field,
    ):
        raise UsageError(
            "--pseudonymize would keep the customer keys all the same: --reference-field names "
            "their column. Name another, or leave it out."
        )


def _must_name_keys_alike(file: LedgerFile, naming: KeyNaming) -> None:
    """A ledger has one kind of names, or a key would look new that was sent long ago."""
    history = file.history
    if history.keys_kind is None:
        return
    if history.keys_kind != naming.kind:
        advice = {
            (RAW, PSEUDONYMS): "holds the customer keys as they are: leave --pseudonymize out, or "
            "convert it with `bulk-eraser pseudonymize`",
            (PSEUDONYMS, RAW): "holds pseudonyms of the keys: say --pseudonymize, with the pepper "
            "that it was begun with",
        }.get((history.keys_kind, naming.kind), "names keys in a way that this version cannot")
        raise ConfigurationError(f"The ledger {file.path} {advice}. Nothing was sent.")
    if history.pepper_check != naming.pepper_check:
        raise ConfigurationError(
            f"The ledger {file.path} was begun with another pepper than the one in "
            "BULK_ERASER_PEPPER_FILE, so its keys would not be recognized. Nothing was sent. Name "
            "the right file."
        )

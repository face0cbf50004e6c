"""The main job: one removal job for every customer key.

    survey ─► producer ─ commits `sent` ─► queue ─► workers ─ one POST each ─► outcome to the ledger
                                                       │ again?
                                                       └─► repeat (tenacity): budget, `sent`, POST

A request leaves only when its `sent` line is on disk. How calls are sent, repeated and stopped is
in `dispatch`. Whatever concerns one key is recorded here; whatever concerns all stops the run, and
the keys that were not settled keep `sent` as their last line.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, Verdict, classify
from bulk_eraser.errors import LedgerWriteError, ServiceDown
from bulk_eraser.ledger.writer import Ledger
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import (
    Accepted,
    Duplicate,
    Excluded,
    Failed,
    Record,
    Rejected,
    Sent,
    Unknown,
)
from bulk_eraser.sending.counts import Tally
from bulk_eraser.sending.pool import Dispatch, Job
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.rows import KeyRow, RejectedRow
from bulk_eraser.survey.survey import Fate, RowFate, Survey

__all__ = ["Erasure"]

GROUP = 1000


class Erasure(Dispatch):
    """One run over a decided survey; see `Dispatch` for what is promised of `run` and `stop`."""

    def __init__(
        self,
        survey: Survey,
        recorded_until: int,
        ledger: Ledger,
        client: ElevateClient,
        pace: Pace,
        tally: Tally,
        settings: RunSettings,
    ) -> None:
        super().__init__(ledger, client, pace, settings)
        self._survey = survey
        self._recorded_until = recorded_until
        self._tally = tally

    async def _produce(self) -> None:
        """Hand out the keys in order, each after its `sent` line was committed."""
        await self._record_rows_not_sent()
        sendable = (row for row in self._survey.second_reading() if row.fate.is_sent)
        rows = islice(sendable, self._settings.limit)
        batch_size = (self._waiting + 1) // 2
        while batch := await asyncio.to_thread(_take, rows, batch_size):
            await self._wait_for_room(len(batch))
            self._survey.reader.file.must_be_unchanged()
            jobs = [
                Job(row.row.key, self._whose(row.row))
                for row in batch
                if isinstance(row.row, KeyRow)
            ]
            for row in batch:
                self._tally.expect(row.row.line, row.fate)
            self._unsettled += len(jobs)
            await self._ledger.commit([Sent(**job.whose, attempt=1) for job in jobs])
            self._hand_out(jobs)
        self._all_produced()

    async def _announce(self, job: Job, attempt: int) -> None:
        await self._ledger.commit([Sent(**job.whose, attempt=attempt)])

    async def _call(self, job: Job) -> Answer | NetworkFault:
        return await self._client.create_removal_job(job.key)

    def _judge(self, job: Job, came: Answer | NetworkFault) -> Verdict:  # noqa: ARG002 the key says nothing
        return classify(came, self._settings.api_version)

    # ── outcomes ────────────────────────────────────────────────────────────────────────────

    def _settle(self, job: Job, verdict: Verdict) -> None:
        """Record the key's outcome."""
        if verdict.kind is Kind.ACCEPTED:
            self._ledger.append(
                Accepted(
                    **job.whose,
                    jid=verdict.jid,
                    status=verdict.status,
                    http_status=200,
                    attempts=job.attempt,
                    elapsed_ms=round((time.monotonic() - job.began) * 1000),
                )
            )
        elif verdict.kind is Kind.REFUSED or (self.stopped_by is None and not verdict.maybe_done):
            self._ledger.append(self._failed(job, verdict))
        elif self.stopped_by is None:
            self._ledger.append(Unknown(**job.whose, error=verdict.error, attempts=job.attempt))
        else:
            self._leave(job, "interrupted")
            return
        self._settled()

    def _failed(self, job: Job, verdict: Verdict) -> Failed:
        return Failed(
            **job.whose,
            error=verdict.error,
            http_status=verdict.http_status,
            detail=job.detail,
            attempts=job.attempt,
            permanent=verdict.kind is Kind.REFUSED,
            possible_job=job.maybe_done,
        )

    def _leave(self, job: Job, error: str) -> None:
        """The run ends before this key is settled.

        An attempt that may have been carried out makes it `unknown`; otherwise, and when the
        service was down for all, `sent` stays its last line. Both are sent again by the next run.
        """
        if job.maybe_done and not isinstance(self.stopped_by, ServiceDown | LedgerWriteError):
            self._ledger.append(Unknown(**job.whose, error=error, attempts=job.attempt))

    async def _record_rows_not_sent(self) -> None:
        """Book rejected and duplicate rows once per input, excluded ones once per run."""
        survey = self._survey
        excluded = survey.fates[Fate.EXCLUDED] > 0
        if not excluded and survey.last_line_not_sent <= self._recorded_until:
            return
        records = (record for row in survey.second_reading() if (record := self._not_sent(row)))
        while batch := await asyncio.to_thread(_take, records, GROUP):
            await self._ledger.commit(batch)

    def _not_sent(self, row: RowFate) -> Record | None:
        line = row.row.line
        if isinstance(row.row, RejectedRow):
            known = line <= self._recorded_until
            return None if known else Rejected(line=line, error=row.row.error)
        if row.fate is Fate.DUPLICATE:
            if line <= self._recorded_until:
                return None
            return Duplicate(**self._whose(row.row), first_line=row.first_line)
        return Excluded(**self._whose(row.row)) if row.fate is Fate.EXCLUDED else None

    def _whose(self, row: KeyRow) -> dict[str, Any]:
        """What every ledger line about this row's key begins with."""
        whose: dict[str, Any] = {"key": self._survey.naming.name_of(row.key), "line": row.line}
        if row.received is not None:
            whose["received"] = row.received
        if row.reference is not None:
            whose["reference"] = row.reference
        return whose

    # ── stopping ────────────────────────────────────────────────────────────────────────────

    def committed(self, records: Sequence[Record]) -> None:
        """Records are on disk: count them, and stop if too many keys failed."""
        self._tally.fold(records)
        limit = self._settings.max_failures
        failures, settled = self._tally.refusals, self._tally.settled
        if limit.is_exceeded(failures, settled):
            self.stop(
                ServiceDown(
                    f"{failures} of {settled} keys failed, more than --max-failures {limit.text} "
                    "allows. Look at the errors, then run the same command again, with a higher "
                    "--max-failures if these keys are meant."
                )
            )


_T = TypeVar("_T")


def _take(items: Iterator[_T], count: int) -> list[_T]:
    return list(islice(items, count))

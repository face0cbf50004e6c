"""The main job: one job for every customer key, which removes its data, or exports it.

    survey ─► next keys ─► `sent` committed ─► POST ─► what it means ─► outcome to the ledger

A request leaves only when its `sent` line is on disk. How calls are spaced, repeated and stopped is
in `pool`. Whatever concerns one key is recorded here; a key that was not settled when the run
stopped keeps `sent` as its last line, and is sent again by the next one.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, cast

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.elevate.verdict import (
    ACCEPTED,
    NO_JOB,
    REFUSED,
    Answer,
    NetworkFault,
    Verdict,
    classify,
    classify_status,
)
from bulk_eraser.errors import BulkEraserError, LedgerWriteError, ServiceDown
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.records import (
    Accepted,
    Duplicate,
    Excluded,
    Failed,
    Record,
    Rejected,
    Sent,
    Unknown,
    Unsent,
)
from bulk_eraser.sending.counts import Tally
from bulk_eraser.sending.given_jids import GivenJids
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings
from bulk_eraser.sources.rows import KeyRow, RejectedRow
from bulk_eraser.survey.decision import DECISIONS, Action
from bulk_eraser.survey.survey import DecidedRow, Survey

__all__ = ["Creation"]

_NOTHING_TO_DO = [it for it in DECISIONS if it.action is Action.KEEP or it.is_elsewhere]
MOST_RECORDS = 1000
"""Lines about rows that are not sent, in one group."""


class Creation:
    """The `Work` of a run: a decided survey, key by key, into the ledger; `kind` is that of all its
    jobs.

    `facts` are those of the ledger before this run. The tally is told of every key that is about to
    be sent. Raises `TemporaryFolderFull` where the temporary folder is full. Close it when done.
    """

    def __init__(
        self,
        survey: Survey,
        facts: LedgerFacts,
        ledger: LedgerWriter,
        client: ElevateClient,
        tally: Tally,
        settings: RunSettings,
        kind: JobKind = JobKind.REMOVAL,
    ) -> None:
        self._is_export = kind is JobKind.EXPORT
        self._survey = survey
        self._recorded_until = facts.recorded_until(survey.facts())
        self._known_jid = facts.last_accepted.jid if facts.last_accepted else None
        self._ledger = ledger
        self._client = client
        self._tally = tally
        self._settings = settings
        self._rows = self._rows_to_do()
        self._given = GivenJids(tally.to_send)
        self._given_before = facts.last_accepted

    def close(self) -> None:
        self._given.close()

    async def next_calls(self, most: int) -> list[Call]:
        """The next keys; on the way to them, rows that are not sent are recorded."""
        while True:
            rows, records = await asyncio.to_thread(self._take, most)
            for record in records:
                self._ledger.append(record)
            if rows or not records:
                return [self._call_of(row) for row in rows]
            await self._ledger.commit()  # a million rejected rows must not wait in memory

    async def announce(self, calls: Sequence[Call]) -> None:
        if not calls[0].announced:  # keys that were read a moment ago
            self._survey.reader.file.must_be_unchanged()
        for call in calls:
            call.announced += 1
        await self._ledger.commit([Sent(**call.fields, attempt=call.announced) for call in calls])

    def call(self, call: Call) -> Coroutine[Any, Any, Answer | NetworkFault]:
        client = self._client
        create = client.create_export_job if self._is_export else client.create_removal_job
        return create(call.key, anew=call.anew, leaves=call.leaves)

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        verdict = classify(came, self._settings.api_version)
        is_job = verdict.kind is ACCEPTED
        return NO_JOB if is_job and self._is_of_another(call, verdict.jid) else verdict

    def _is_of_another(self, call: Call, jid: str) -> bool:
        """Was this jid given to another key?"""
        # 1. Of earlier runs only the last one is known, which is what a cache would answer with.
        #    To the same key it may be given again, with --retry-failed.
        before = self._given_before
        if before is not None and before.jid == jid:
            return bool(before.key != call.fields["key"])
        # 2. An accepted key is not sent again in this run.
        return not self._given.is_new(jid)

    async def ask(self) -> Verdict | None:
        """The status of some job, of this run or an earlier one."""
        if self._known_jid is None:
            return None
        came = await self._client.job_status(self._known_jid)
        return classify_status(came, self._known_jid, self._settings.api_version)

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        if verdict.kind is ACCEPTED:
            self._known_jid = verdict.jid
            self._ledger.append(_accepted(call, verdict))
        elif verdict.kind is REFUSED:
            self._ledger.append(_failed(call, verdict))
        elif stopped_by is not None:  # it would have been tried again
            self.leave(call, "interrupted", stopped_by)
        elif verdict.maybe_done:
            self._ledger.append(Unknown(**call.fields, error=verdict.error, attempts=call.attempt))
        else:
            self._ledger.append(_failed(call, verdict))

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """The next run sends the key again.

        1. What was announced and did not leave is taken back: the last attempt, or, where none of
           this run came to a connection, all of them. The key is then what it was before.
        2. One that may have been carried out makes the key `unknown`, unless the service was down
           for all: then `sent` stays its last line. What was unknown before stays so in any case.
        """
        if isinstance(stopped_by, LedgerWriteError):
            return
        key, line = call.fields["key"], call.fields["line"]
        kept = call.attempt if call.ever_left else 0
        for attempt in range(call.announced, kept, -1):
            self._ledger.append(Unsent(key=key, line=line, attempt=attempt))
        was_down = isinstance(stopped_by, ServiceDown)
        if call.ever_left and call.maybe_done and (call.was_unknown or not was_down):
            self._ledger.append(Unknown(**call.fields, error=error, attempts=call.attempt))

    # ── rows ────────────────────────────────────────────────────────────────────────────────

    def _rows_to_do(self) -> Iterator[DecidedRow]:
        """The rows that are sent in this run, and those of which the ledger has yet to know.

        All rows are read, also behind the last key of --limit: that is the independent count.
        """
        left = self._settings.limit
        for row in self._survey.second_reading(but=_NOTHING_TO_DO):
            if not row.decision.is_sent:
                if self._is_to_be_recorded(row):
                    yield row
            elif left is None or left > 0:
                left = left and left - 1
                yield row

    def _is_to_be_recorded(self, row: DecidedRow) -> bool:
        """Rejected and duplicate rows once per input, excluded ones once per run."""
        return row.decision.action is Action.EXCLUDE or row.row.line > self._recorded_until

    def _take(self, most: int) -> tuple[list[DecidedRow], list[Record]]:
        """The next rows to send, and the lines about rows that are not sent."""
        rows: list[DecidedRow] = []
        records: list[Record] = []
        while len(rows) < most and len(records) < MOST_RECORDS:
            row = next(self._rows, None)
            if row is None:
                break
            if row.decision.is_sent:
                rows.append(row)
            else:
                records.append(self._not_sent(row))
        return rows, records

    def _call_of(self, row: DecidedRow) -> Call:
        key_row = cast("KeyRow", row.row)  # or it would have been rejected
        self._tally.expect(key_row.line, row.decision)
        was_unknown = row.decision.state in (KeyState.SENT, KeyState.UNKNOWN)
        return Call(
            key_row.key,
            self._fields(key_row),
            was_unknown=was_unknown,
            maybe_done=was_unknown,
        )

    def _not_sent(self, row: DecidedRow) -> Record:
        if isinstance(row.row, RejectedRow):
            return Rejected(line=row.row.line, error=row.row.error)
        if row.decision.action is Action.DUPLICATE:
            return Duplicate(**self._fields(row.row), first_line=row.first_line)
        return Excluded(**self._fields(row.row), reason=row.reason)

    def _fields(self, row: KeyRow) -> dict[str, Any]:
        """What every ledger line about this row's key begins with."""
        fields: dict[str, Any] = {"key": self._survey.naming.name_of(row.key), "line": row.line}
        if row.received is not None:
            fields["received"] = row.received
        if row.reference is not None:
            fields["reference"] = row.reference
        return fields


def _accepted(call: Call, verdict: Verdict) -> Accepted:
    return Accepted(
        **call.fields,
        jid=verdict.jid,
        status=verdict.status,
        http_status=200,
        attempts=call.attempt,
        elapsed_ms=round((time.monotonic() - call.began) * 1000),
    )


def _failed(call: Call, verdict: Verdict) -> Failed:
    return Failed(
        **call.fields,
        error=verdict.error,
        http_status=verdict.http_status,
        detail=call.detail,
        attempts=call.attempt,
        permanent=verdict.kind is REFUSED,
        possible_job=call.maybe_done,
    )

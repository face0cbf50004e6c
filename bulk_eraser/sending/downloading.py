"""The second half of a follow of exports: results that are `done`, into their folder.

    job is done ─► `download` committed ─► GET ─► whole? ─► on disk under its name ─► `downloaded`

The service removes a result once it was downloaded, and a week after `done`. So whatever came is on
disk before the ledger says so, and what did not come whole is tried again at once. Where it cannot
be had any more it is `lost`, and never called downloaded.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from bulk_eraser.elevate.archive import is_empty_export
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import (
    NO_ARCHIVE,
    Answer,
    Kind,
    NetworkFault,
    Verdict,
    classify_result,
)
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import Accepted, Download, Downloaded, Lost
from bulk_eraser.sending.asking import MANY_NOT_THERE
from bulk_eraser.sending.given_jids import GivenJids
from bulk_eraser.sending.result_folder import Kept, Result, ResultFolder
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

__all__ = ["Downloading"]

_GONE = (404, 410)


class Downloading:
    """The `Work` of downloads: the results of the export jobs that are `ready`, once each.

    Each of them comes with whether it is so long done that it may have expired. `pace` is that of
    the questions before: by their good answers the service is known to be there. `errors` counts
    the jobs whose result is not there yet, by error word. Close it when done.
    """

    def __init__(
        self,
        ready: Iterator[tuple[Accepted, bool]],
        number: int,
        folder: ResultFolder,
        ledger: LedgerWriter,
        client: ElevateClient,
        pace: Pace,
        settings: RunSettings,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self._ready = ready
        self._folder = folder
        self._ledger = ledger
        self._client = client
        self._pace = pace
        self._settings = settings
        self._kept: dict[str, Kept] = {}
        self._refused: dict[str, str] = {}
        self._may_have_expired: set[str] = set()
        self._gone = 0
        self._arrived = 0
        self._contents = GivenJids(number)

    def close(self) -> None:
        self._contents.close()

    async def next_calls(self, most: int) -> list[Call]:
        """The next results; those that are on disk already are recorded, and not asked for."""
        while jobs := list(islice(self._ready, most)):
            calls = []
            for job, may_have_expired in jobs:
                kept = await asyncio.to_thread(self._folder.found, job.line, job.jid)
                call = Call(job.jid, {"key": job.key, "line": job.line, "jid": job.jid})
                if kept is None:
                    calls.append(call)
                    if may_have_expired:
                        self._may_have_expired.add(job.jid)
                else:
                    self._ledger.append(_downloaded(call, kept))
            if calls:
                return calls
        return []

    async def announce(self, calls: Sequence[Call]) -> None:
        self._folder.must_have_room()
        for call in calls:
            call.announced += 1
        await self._ledger.commit(
            [Download(**call.fields, attempt=call.announced) for call in calls]
        )

    async def call(self, call: Call) -> Answer | NetworkFault:
        """One download; when it returns, what came whole is on disk."""
        jid, line = call.key, call.fields["line"]
        with self._folder.new(line, jid) as result:
            came = await self._client.export_result(jid, result, anew=call.anew, leaves=call.leaves)
            result.must_be_written()
            if result.is_too_large:
                self._refused[jid] = "result_too_large"
            elif classify_result(came, self._settings.api_version).kind is Kind.ACCEPTED:
                await self._keep(jid, result)
        return came

    async def _keep(self, jid: str, result: Result) -> None:
        """Have what came whole on disk, if it is a result and nobody else's."""
        try:
            is_empty = is_empty_export(result.files())
        except ValueError:
            return
        # Two people's data are not alike to the last byte: a cache on the way would hand out the
        # first one's for all.
        if not is_empty and not self._contents.is_new(result.sha256):
            self._refused[jid] = "same_result"
            return
        self._kept[jid] = await _to_its_end(lambda: result.keep(is_empty=is_empty))
        self._arrived += 1

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        verdict = classify_result(came, self._settings.api_version)
        if why := self._refused.pop(call.key, None):
            return Verdict(Kind.REFUSED, why, verdict.http_status)
        if verdict.kind is Kind.ACCEPTED and call.key not in self._kept:
            return NO_ARCHIVE
        if verdict.http_status in _GONE and self._pace.outage.successes:
            # After good answers it is this result's matter, unless none of many is there that
            # should be: then this version, or something on the way, has no results at all.
            self._gone += call.key not in self._may_have_expired
            if self._arrived or self._gone < MANY_NOT_THERE:
                return Verdict(Kind.REFUSED, "result_gone", verdict.http_status)
        return verdict

    async def ask(self) -> None:
        """Nothing: the questions before were answered well."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        self._may_have_expired.discard(call.key)
        if verdict.kind is Kind.ACCEPTED:
            self._ledger.append(_downloaded(call, self._kept.pop(call.key)))
        elif verdict.kind is Kind.REFUSED or self._is_spent(verdict, stopped_by):
            self._ledger.append(Lost(**call.fields, error=verdict.error))
        elif stopped_by is None:
            self.errors[verdict.error] += 1

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """The next follow looks for it in the folder, then at the service."""

    def _is_spent(self, verdict: Verdict, stopped_by: BulkEraserError | None) -> bool:
        """Did what is no archive come again and again, so that nothing else is to be expected?"""
        return stopped_by is None and verdict.error == NO_ARCHIVE.error


async def _to_its_end(keep: Callable[[], Kept]) -> Kept:
    """In a thread, and not cut short when the run ends: the service has it no more. The caller is
    cancelled afterwards, once what came of it is recorded."""
    kept = asyncio.ensure_future(asyncio.to_thread(keep))
    is_cancelled = False
    while not kept.done():
        try:
            await asyncio.shield(kept)
        except asyncio.CancelledError:
            is_cancelled = True
        except BulkEraserError:
            break
    if is_cancelled:
        asyncio.current_task().cancel()  # type: ignore[union-attr] # this runs in one
    return kept.result()


def _downloaded(call: Call, kept: Kept) -> Downloaded:
    return Downloaded(
        **call.fields,
        file=kept.file,
        bytes=kept.size,
        sha256=kept.sha256,
        is_empty=kept.is_empty,
    )

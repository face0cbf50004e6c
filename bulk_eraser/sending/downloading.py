"""The second half of a follow of exports or probes: results that are `done`, to where they go.

    job is done ─► `download` committed ─► GET ─► whole? ─► on disk under its name ─► `downloaded`

The service removes a result once it was downloaded, and a week after `done`. So whatever came is on
disk before the ledger says so, and what did not come whole is tried again at once. Where it cannot
be had any more it is `lost`, and never called downloaded.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic

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
from bulk_eraser.records import Record
from bulk_eraser.sending.asking import MANY_NOT_THERE
from bulk_eraser.sending.destinations import Came, Destination
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

__all__ = ["Downloading"]

_GONE = (404, 410)


class Downloading(Generic[Came]):
    """The `Work` of downloads: the results that are `ready`, once each, into their `destination`.

    Each of them comes with whether it is so long done that it may have expired. `pace` is that of
    the questions before: by their good answers the service is known to be there. `errors` counts
    the jobs whose result is not there yet, by error word.
    """

    def __init__(
        self,
        ready: Iterator[tuple[Call, bool]],
        destination: Destination[Came],
        ledger: LedgerWriter,
        client: ElevateClient,
        pace: Pace,
        settings: RunSettings,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self._ready = ready
        self._destination = destination
        self._ledger = ledger
        self._client = client
        self._pace = pace
        self._settings = settings
        self._arrived: dict[str, Record] = {}
        self._refused: dict[str, str] = {}
        self._may_have_expired: set[str] = set()
        self._gone = 0
        self._good = 0

    async def next_calls(self, most: int) -> list[Call]:
        """The next results; those that are there already are recorded, and not asked for."""
        while jobs := list(islice(self._ready, most)):
            calls = []
            for call, may_have_expired in jobs:
                found = await asyncio.to_thread(self._destination.found, call)
                if found is not None:
                    self._ledger.append(found)
                    continue
                calls.append(call)
                if may_have_expired:
                    self._may_have_expired.add(call.key)
            if calls:
                return calls
        return []

    async def announce(self, calls: Sequence[Call]) -> None:
        for call in calls:
            call.announced += 1
        lines = [line for call in calls if (line := self._destination.announced(call))]
        if lines:
            await self._ledger.commit(lines)

    async def call(self, call: Call) -> Answer | NetworkFault:
        """One download; when it returns, what came whole is where it belongs."""
        await self._destination.have_room()
        with self._destination.new(call) as incoming:
            came = await self._client.export_result(
                call.key, incoming, anew=call.anew, leaves=call.leaves
            )
            if incoming.trouble is not None:
                raise self._destination.write_error(incoming.trouble)
            if incoming.is_too_large:
                self._refused[call.key] = "result_too_large"
            elif classify_result(came, self._settings.api_version).kind is Kind.ACCEPTED:
                await self._take(call, incoming)
        return came

    async def _take(self, call: Call, incoming: Came) -> None:
        """Deal with what came whole, if it is the result."""
        try:
            files = incoming.files()
        except ValueError:
            return
        if why := self._destination.refuses(incoming, files):
            self._refused[call.key] = why
            return
        arrived = self._destination.arrived
        self._arrived[call.key] = await _to_its_end(lambda: arrived(call, incoming, files))
        self._good += 1

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        verdict = classify_result(came, self._settings.api_version)
        if why := self._refused.pop(call.key, None):
            return Verdict(Kind.REFUSED, why, verdict.http_status)
        if verdict.kind is Kind.ACCEPTED and call.key not in self._arrived:
            return NO_ARCHIVE
        if verdict.http_status in _GONE and self._pace.outage.successes:
            # After good answers it is this result's matter, unless none of many is there that
            # should be: then this version, or something on the way, has no results at all.
            self._gone += call.key not in self._may_have_expired
            if self._good or self._gone < MANY_NOT_THERE:
                return Verdict(Kind.REFUSED, "result_gone", verdict.http_status)
        return verdict

    async def ask(self) -> None:
        """Nothing: the questions before were answered well."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        self._may_have_expired.discard(call.key)
        if verdict.kind is Kind.ACCEPTED:
            self._ledger.append(self._arrived.pop(call.key))
        elif verdict.kind is Kind.REFUSED or self._is_spent(verdict, stopped_by):
            self._ledger.append(self._destination.lost(call, verdict.error))
        elif stopped_by is None:
            self.errors[verdict.error] += 1

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """The next follow looks for it where it may be, then at the service."""

    def _is_spent(self, verdict: Verdict, stopped_by: BulkEraserError | None) -> bool:
        """Did what is no archive come again and again, so that nothing else is to be expected?"""
        return stopped_by is None and verdict.error == NO_ARCHIVE.error


async def _to_its_end(keep: Callable[[], Record]) -> Record:
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

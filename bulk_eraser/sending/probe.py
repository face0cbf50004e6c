"""The question after the erasure: does the service still have anything of a sample of people?

    erased jobs ─► sample drawn, on disk ─► `probe_sent` committed ─► export job ─► `probe_asked`

An export of somebody of whom nothing is left holds a single `empty.txt`. `follow` looks at the
results, days later. The same command continues a sample that is not asked about to its end.
"""

import secrets
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from bulk_eraser import __version__
from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import NO_JOB, Answer, Kind, NetworkFault, Verdict, classify
from bulk_eraser.errors import Attention, BulkEraserError, ExitCode, UsageError
from bulk_eraser.ledger.jobs import JobState, KnownJob, accepted_lines
from bulk_eraser.ledger.probes import ProbeBook, ProbedKey
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.ledger.writer import LedgerWriter
from bulk_eraser.records import (
    Accepted,
    ProbeAsked,
    ProbeDrawn,
    ProbeFailed,
    ProbeKey,
    ProbeSent,
    Record,
    RunStarted,
)
from bulk_eraser.sending.deadlines import Calendar
from bulk_eraser.sending.follow import FollowedLedger
from bulk_eraser.sending.given_jids import GivenJids
from bulk_eraser.sending.lifecycle import Observe, Session, carry_out
from bulk_eraser.sending.request import ProbeRequest, ProbeResult
from bulk_eraser.sending.sample import draw, sample_size
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

__all__ = ["Probe"]

EXAMPLES = 3
"""Lines that are named for a reason."""


class Probe:
    """One probe of a ledger, or the rest of one. `to_send` is how many people it asks about.

    `drawn` says what the sample is, `is_new` whether it was drawn now. Raises `UsageError` for a
    ledger in which nobody is erased, or whose keys are not known.
    """

    def __init__(
        self, request: ProbeRequest, settings: RunSettings, ledger: FollowedLedger
    ) -> None:
        self.request = request
        self.settings = settings
        self.file = ledger.file
        self.run_started: RunStarted | None = None
        self._facts = ledger.facts
        self._ledger = ledger
        self._asked = 0
        self._failed: list[ProbeFailed] = []
        self._must_be_possible()
        self.drawn, self.people, self.is_new = self._sample()
        self.to_send = len(self.people)

    async def carry_out(self, api_key: str, observe: Observe) -> ProbeResult:
        """Ask. Raises what makes the start impossible."""
        return await carry_out(self, self.file, self.settings, self.request.route, api_key, observe)

    # ── the sample ──────────────────────────────────────────────────────────────────────────

    def _must_be_possible(self) -> None:
        path, facts = self.file.path, self._facts
        if facts.export is not None:
            raise UsageError(
                f"The ledger {path} is that of an export, which erased nobody: there is nothing to "
                "probe. Name the ledger of the erasures."
            )
        if self.settings.simulated:
            raise UsageError(
                f"The ledger {path} is that of a rehearsal, which erased nobody: there is nothing "
                "to probe."
            )
        if facts.keys_kind != RAW:
            raise UsageError(
                f"The ledger {path} holds pseudonyms, and the service has to be asked with the "
                "customer keys. Probe before you pseudonymize."
            )

    def _sample(self) -> tuple[ProbeDrawn, list[ProbedKey], bool]:
        """The last sample of this size if it is not asked about to its end, else a new one."""
        book, text = self._ledger.probes, self.request.sample
        for drawn in reversed(book.drawn):
            if drawn.sample == text and (rest := book.unasked(drawn.probe)):
                return drawn, rest, False
        places = sorted(
            job.place
            for job in self._ledger.book.keys(Calendar().next_check_at)
            if isinstance(job, KnownJob) and job.state is JobState.DONE
        )
        size = sample_size(text, len(places))
        if not places:
            raise UsageError(
                f"Nobody in the ledger {self.file.path} is erased yet, so there is nobody to ask "
                "about. Use `follow` first."
            )
        drawn = ProbeDrawn(
            probe=str(uuid.uuid4()),
            seed=secrets.token_hex(16),
            sample=text,
            size=size,
            population=len(places),
        )
        sampled = draw(drawn.seed, size, accepted_lines(self.file.read_at, places))
        return drawn, [_probed(drawn, it) for it in sampled], True

    # ── as the lifecycle asks ───────────────────────────────────────────────────────────────

    def started(self) -> RunStarted:
        settings, recorded = self.settings, self.settings.recorded()
        asked = ("concurrency", "rate", "max_attempts", "timeout_s", "max_outage_s")
        self.run_started = RunStarted(
            run=str(uuid.uuid4()),
            command="probe",
            tool=f"bulk-eraser {__version__}",
            api=settings.api_version.value,
            target=settings.target.name,
            base=settings.target.named_base,
            simulated=settings.simulated,
            input=None,
            exclude_sha256=None,
            settings={name: recorded[name] for name in asked} | {"sample": self.request.sample},
            requester=None,
            reference=None,
        )
        return self.run_started

    def simulator(self, api_key: str) -> None:
        """Rehearsals erased nobody."""

    async def send(self, session: Session) -> BulkEraserError | None:
        if self.is_new:  # who is sampled is on disk before anybody is asked about
            keys = (ProbeKey(probe=it.probe, key=it.key, line=it.line) for it in self.people)
            await session.ledger.commit([self.drawn, *keys])
        with closing(GivenJids(self.to_send)) as given:
            before = self._ledger.probes
            work = Probing(
                iter(self.people), session.ledger, session.client, given, before, self.settings
            )
            return (await session.perform(work, session.new_pace())).stopped_by

    def committed(self, records: Sequence[Record]) -> None:
        self._asked += sum(isinstance(record, ProbeAsked) for record in records)
        self._failed += [record for record in records if isinstance(record, ProbeFailed)]

    async def result(self, error: BulkEraserError | None, session: Session) -> ProbeResult:
        result = ProbeResult(ledger=self.file.path, seed=self.drawn.seed)
        result.requests, result.retries = session.requests, session.retries
        result.elapsed_s = session.elapsed_s
        failed = len(self._failed)
        result.counts |= {
            "population": self.drawn.population,
            "sampled": self.drawn.size,
            "asked": self.drawn.size - self.to_send + self._asked,
            "failed": failed,
            "not_reached": self.to_send - self._asked - failed,
        }
        words = dict.fromkeys(record.error for record in self._failed)
        for word in words:
            lines = [record.line for record in self._failed if record.error == word]
            result.attention.append(Attention(word, len(lines), lines[:EXAMPLES]))
        if error is not None:
            result.fail(error, begun=True)
        elif failed:
            result.exit_code = ExitCode.SOME_ROWS
        return result

    # ── how far it is ───────────────────────────────────────────────────────────────────────

    @property
    def settled(self) -> int:
        return self._asked + len(self._failed)

    def summary(self) -> list[str]:
        return [f"{self.settled:,} of {self.to_send:,} people asked about"]


class Probing:
    """The `Work` of a probe: one export job for each of `people`, none of which was given to
    somebody else, now or `before`."""

    def __init__(
        self,
        people: Iterator[ProbedKey],
        ledger: LedgerWriter,
        client: ElevateClient,
        given: GivenJids,
        before: ProbeBook,
        settings: RunSettings,
    ) -> None:
        self._people = people
        self._ledger = ledger
        self._client = client
        self._given = given
        self._before = before
        self._settings = settings

    async def next_calls(self, most: int) -> list[Call]:
        return [
            Call(it.key, {"probe": it.probe, "key": it.key, "line": it.line})
            for it in islice(self._people, most)
        ]

    async def announce(self, calls: Sequence[Call]) -> None:
        for call in calls:
            call.announced += 1
        await self._ledger.commit(
            [ProbeSent(**call.fields, attempt=call.announced) for call in calls]
        )

    def call(self, call: Call) -> Coroutine[Any, Any, Answer | NetworkFault]:
        return self._client.create_export_job(call.key, anew=call.anew, leaves=call.leaves)

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        verdict = classify(came, self._settings.api_version)
        if verdict.kind is Kind.ACCEPTED and (
            not self._given.is_new(verdict.jid) or self._before.is_of_another(verdict.jid, call.key)
        ):
            return NO_JOB
        return verdict

    async def ask(self) -> None:
        """Nothing: a probe that does not come through is asked again."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        if verdict.kind is Kind.ACCEPTED:
            self._ledger.append(ProbeAsked(**call.fields, jid=verdict.jid))
        elif verdict.kind is Kind.REFUSED or stopped_by is None:
            self._ledger.append(ProbeFailed(**call.fields, error=verdict.error))

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """Not asked about, as far as is known: the same command asks again, which does no harm."""


def _probed(drawn: ProbeDrawn, accepted: Accepted) -> ProbedKey:
    return ProbedKey(drawn.probe, accepted.key, accepted.line)

"""`bulk-eraser status`: what became of everybody, when to ask next, what to do now. Offline."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bulk_eraser.cli.options.bundles import argument, command
from bulk_eraser.cli.options.shared import OutputOptions, ReceivedOptions, date_of
from bulk_eraser.cli.terminal.ending import as_typed, command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Attention, ExitCode, Result, severest
from bulk_eraser.evidence.report.text import at_a_glance
from bulk_eraser.evidence.report.words import ADVICE, headline, remarks
from bulk_eraser.evidence.seal import named_by
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.evidence.summing import summarize
from bulk_eraser.evidence.verify_request import VerifyRequest
from bulk_eraser.ledger.probes import attention_of
from bulk_eraser.wording import printable, probed

__all__ = ["Batch", "StatusResult", "look_at", "status"]


@dataclass(frozen=True)
class Batch:
    """One ledger of `status`: what became of everybody, when to ask next, deadlines."""

    ledger: str
    head: str
    standing: str
    counts: dict[str, int]
    next_check_at: str | None
    deadlines: dict[str, int]
    first_deadline: str | None


@dataclass
class StatusResult(Result):
    """How several batches stand. `counts` and `deadlines` are sums over `batches`."""

    counts: dict[str, int] = field(default_factory=dict)
    next_check_at: str | None = None
    deadlines: dict[str, int] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StatusOptions(ReceivedOptions):
    """What `status` has and no other command."""

    heading = "What is looked at"

    ledger: tuple[str, ...] = argument(
        "LEDGER", "The ledgers to look at, or seals of them.", several=True
    )


@command(
    ("What became of everybody?", "bulk-eraser status customers.ledger.ndjson"),
    ("Of every batch in this folder", "bulk-eraser status *.ledger.ndjson"),
)
def status(given: StatusOptions, told: OutputOptions) -> int:
    """Say at a glance what became of everybody, when to ask next, and what to do now.

    Reads the ledgers alone: changes nothing, sends nothing, needs no API key. A batch whose jobs
    are pending, or whose keys are not all sent, ends with 75; one that is finished with failures
    with 3.
    """
    output, result = told.output(), StatusResult()
    summaries: list[tuple[str, Summary]] = []

    def work() -> StatusResult:
        named = named_by(given.ledger)
        for path in named.ledgers:
            sealed = [it for it in named.sealed if it.ledger == path]
            summaries.append((path, look_at(result, path, given.received, output, sealed)))
        return result

    def tell(output: Output, result: StatusResult) -> None:
        for path, summary in summaries:
            _tell(output, path, summary)
        if result.error:
            output.error(printable(result.error))

    return conclude(output, result, work, tell, tell)


# ── what it comes to ────────────────────────────────────────────────────────────────────────────


def look_at(
    result: StatusResult,
    path: str,
    received: str | None,
    output: Output,
    sealed: Sequence[SealedHead] = (),
) -> Summary:
    """Take one more ledger into the result. Raises `UsageError` where there is none, and for a
    `received` that is no date."""
    summary = summarize(
        VerifyRequest(ledgers=[path], sealed=sealed, by_itself=True),
        datetime.now(UTC),
        output.survey_progress,
        received=date_of("--received", received),
    )
    _add(result, path, summary)
    return summary


_DEADLINES = ("kept", "late", "ahead", "at_risk", "overdue")


def _add(result: StatusResult, path: str, summary: Summary) -> None:
    """Take one more batch into the result."""
    deadlines = {name: getattr(summary.deadlines, name) for name in _DEADLINES}
    result.batches.append(
        Batch(
            ledger=path,
            head=summary.ledgers[0].head,
            standing=summary.standing,
            counts=summary.states,
            next_check_at=summary.next_check_at,
            deadlines=deadlines,
            first_deadline=summary.deadlines.first,
        )
    )
    for sums, more in ((result.counts, summary.states), (result.deadlines, deadlines)):
        for name, count in more.items():
            sums[name] = sums.get(name, 0) + count
    checks = [at for at in (result.next_check_at, summary.next_check_at) if at]
    result.next_check_at = min(checks, default=None)
    result.attention += _attention(summary)
    if result.next is None:
        result.next = _next(path, summary)
    code = severest([result.exit_code, _exit_code(summary)])
    result.exit_code = code
    if code is ExitCode.LEDGER_DAMAGED:
        result.outcome, result.error = "refused", result.error or summary.error
    else:
        result.outcome = "complete" if code is ExitCode.COMPLETE else "incomplete"


def _exit_code(summary: Summary) -> ExitCode:
    if summary.standing is Standing.NOT_PROVEN:
        return ExitCode.LEDGER_DAMAGED
    if summary.states["in_progress"] or summary.states["not_reached"] or _waits(summary):
        return ExitCode.NOT_FINISHED
    if summary.standing is Standing.NEEDS_ATTENTION or summary.failed:
        return ExitCode.SOME_ROWS
    return ExitCode.COMPLETE


def _waits(summary: Summary) -> bool:
    """Is somebody asked about by a probe, and not answered?"""
    return summary.probes is not None and summary.probes.waiting > 0


def _attention(summary: Summary) -> list[Attention]:
    found = [Attention(it.error or it.state, it.count, it.lines) for it in summary.failures]
    found += [Attention(it.error, it.count, it.lines) for it in summary.rejected]
    counts = {
        "not_reached": summary.states["not_reached"],
        "held_too_late": summary.held_too_late,
        "at_risk": summary.deadlines.at_risk,
        "overdue": summary.deadlines.overdue,
    }
    found += [Attention(word, count) for word, count in counts.items() if count]
    return found + (attention_of(summary.probes) if summary.probes is not None else [])


def _next(path: str, summary: Summary) -> list[str] | None:
    """The `follow` while jobs are pending, `verify` for a ledger that is not as it was written. The
    `run` for keys that are not sent is not known here: not all of its options are in the ledger."""
    if summary.standing is Standing.NOT_PROVEN:
        return command_of("verify", path)
    if (summary.states["in_progress"] or _waits(summary)) and not summary.simulated:
        return command_of("follow", path)
    return None


# ── what is told ────────────────────────────────────────────────────────────────────────────────


def _tell(output: Output, path: str, summary: Summary) -> None:
    """The counts on stdout, the verdict and what to do on stderr."""
    output.result(at_a_glance(summary))
    told = probed(summary.probes) if summary.probes is not None else []  # at a glance
    others = [remark for remark in remarks(summary) if remark not in told]
    shard = summary.ledgers[0].shard
    of_shard = [f"Shard {shard} alone."] if shard else []
    output.always(" ".join([*of_shard, headline(summary), *others[:3]]))
    states = [it.state for it in summary.failures] + ["not_reached"]
    words = [word for word in dict.fromkeys(states) if summary.states[word]]
    for word in [*words, *(["rejected"] if summary.states["rejected"] else [])]:
        output.say(f"  {word}: {ADVICE[word]}")
    if command := _next(path, summary):
        output.always("Next:", command=as_typed(command))

"""The summary of ledgers, out of what `verify` finds and notes on the way."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import fields, replace
from datetime import date, datetime, timedelta

import msgspec

from bulk_eraser import __version__
from bulk_eraser.errors import ExitCode, UsageError
from bulk_eraser.evidence.accounting import LedgerAccount, RunAccount
from bulk_eraser.evidence.key_notes import LISTED, Alike, KeyNotes
from bulk_eraser.evidence.key_rows import KeyRows
from bulk_eraser.evidence.notes import Notes
from bulk_eraser.evidence.row_table import AddRow, Cells, LedgerLines, cells_of_key
from bulk_eraser.evidence.run_notes import EXAMPLES, RunNotes
from bulk_eraser.evidence.summary import (
    FAILURES,
    TO_BE_ERASED,
    Days,
    Deadlines,
    Failure,
    Hold,
    JobWord,
    LedgerProof,
    ListedRow,
    Reject,
    RunFacts,
    Standing,
    Summary,
    Timing,
)
from bulk_eraser.evidence.verification import verify
from bulk_eraser.evidence.verify_request import VerifyRequest, VerifyResult
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.records import (
    Accepted,
    Failed,
    InputFacts,
    JobStatus,
    ProbeAnswered,
    ProbeSent,
    ProbeStatus,
    RunStarted,
    Sent,
    Unknown,
    Unsent,
    time_text,
)
from bulk_eraser.sending.deadlines import deadline_of

__all__ = ["summarize"]

MOST_DAYS = 61
"""Days that are told apart; a month and the two by which it may be extended are not of interest
day by day."""
MOST_ROWS = 300
"""Rows that are listed in all."""
_TEXTS = [it.name for it in fields(ListedRow) if it.name not in ("why", "line")]
PERCENTILES = (50, 90, 95, 99, 100)


def summarize(
    request: VerifyRequest,
    now: datetime,
    progress: Callable[[int], None],
    *,
    received: date | None = None,
    show_keys: bool = False,
    add_row: AddRow | None = None,
) -> Summary:
    """Read the ledgers once, as `verify` does, and sum them up as of `now` (UTC).

    `received` is the date of requests that have none of their own. `add_row` is given every row of
    the input, or, without one, every key that the ledgers name. Keys that are no pseudonyms are in
    neither unless `show_keys`. Raises what `verify` raises, and `UsageError` where a ledger cannot
    be read again.
    """
    result = VerifyResult()
    with ExitStack() as opened:
        by_key = add_row is not None and request.input_path is None
        rows = opened.enter_context(closing(KeyRows(_sizes(request)))) if by_key else None
        keys = KeyNotes(now.date(), received, rows.add_all if rows is not None else None)
        notes = Notes(opened.enter_context(closing(keys)), received=received)

        def add(cells: Cells) -> None:
            is_told = show_keys or notes.accounts[0].keys_kind != RAW
            if add_row is not None:
                add_row(cells if is_told else Cells._make((cells[0], "", *cells[2:])))

        if not by_key and add_row is not None:
            notes.add_row = add
        verify(request, result, progress, notes)
        result.settle_stamps(result.receipts)
        _must_be_of_erasures(request, result)
        summary = _summary(result, notes, now)
        lines = opened.enter_context(closing(notes.lines()))
        for state, places in rows or ():
            add(cells_of_key(state.word, places, lines))
        listed = _listed_rows(notes, lines, show_keys=show_keys)
        holds = [replace(it, lines=_lines_of_hold(it, notes, lines)) for it in summary.holds]
    failures = [
        replace(it, lines=sorted(row.line for row in listed[it.state, it.error])[:EXAMPLES])
        for it in summary.failures
    ]
    of_all = [row for rows_ in listed.values() for row in rows_]
    return replace(summary, rows=of_all, failures=failures, holds=holds)


def _must_be_of_erasures(request: VerifyRequest, result: VerifyResult) -> None:
    """Raises `UsageError` for exports: what is said here is who is erased."""
    if result.kind == "export":
        raise UsageError(
            f"The ledger {request.ledgers[0]} is that of an export, whose jobs erase nobody. Use "
            "`verify` to see what became of its keys, and `follow` to download results."
        )


def _sizes(request: VerifyRequest) -> list[int]:
    """Of each ledger in bytes; what cannot be read is told when it is read."""
    return [os.path.getsize(path) if os.path.exists(path) else 0 for path in request.ledgers]


def _summary(result: VerifyResult, notes: Notes, now: datetime) -> Summary:
    """All but what is read again from the ledgers."""
    starts = [run.started for account in notes.accounts for run in account.runs]
    inputs = _inputs(starts, result)
    to_be_erased = sum(result.states[state] for state in TO_BE_ERASED)
    last = inputs[-1].identity() if inputs else ()
    rejected = notes.runs.rejected.get(last, {})
    alike, today = notes.keys.alike, now.date()
    jobs = [(it, count) for it, count in alike.items() if it.state.has_job]
    due = [(_due_at(it), count) for it, count in jobs if it.state is KeyState.IN_PROGRESS]
    summary = Summary(
        made_at=time_text(now.timestamp()),
        tool=f"bulk-eraser {__version__}",
        standing=Standing.OPEN,
        error=result.error,
        ledgers=[_ledger(account) for account in notes.accounts],
        targets=_different(start.target for start in starts),
        apis=_different(start.api for start in starts),
        requesters=_different(start.requester for start in starts),
        references=_different(start.reference for start in starts),
        plans=list(dict.fromkeys(start.plan for start in starts if start.plan)),
        simulated=result.rehearsal,
        keys=notes.accounts[0].keys_kind,
        inputs=inputs,
        received=notes.received.isoformat() if notes.received else None,
        is_input_read=result.input is not None,
        states=result.states,
        to_be_erased=to_be_erased,
        rejected=[Reject(word, it.count, it.lines) for word, it in rejected.items()],
        rejected_is_fine=_is_rejected_fine(notes),
        holds=_holds(alike),
        held_too_late=result.held_too_late,
        jobs=_job_words(jobs),
        next_check_at=min((at for at, _ in due), default=None),
        due_now=sum(count for at, count in due if at <= time_text(now.timestamp())),
        deadlines=_deadlines(result, notes),
        days=_days(alike, today),
        failures=_failures(alike),
        rows=[],
        timing=_timing(notes.runs),
        runs=[
            _run(number, run, notes.runs.repeats[number, n])
            for number, account in enumerate(notes.accounts)
            for n, run in enumerate(account.runs)
        ],
        findings=result.findings,
        expected_heads=result.expected_heads,
        receipts=result.receipts,
        timestamps=result.timestamps,
        not_good_stamps=result.not_good_stamps,
        unstamped=result.unstamped,
        unaccounted=result.unaccounted,
        extra=result.extra,
        missing_shards=result.missing_shards,
        probes=result.probes,
    )
    return replace(summary, standing=_standing(summary, result.exit_code))


# ── facts ───────────────────────────────────────────────────────────────────────────────────────


def _different(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _inputs(starts: list[RunStarted], result: VerifyResult) -> list[InputFacts]:
    """Each input once, the last one last."""
    read = [start.input for start in starts if start.input is not None]
    if result.input is not None:
        read.append(msgspec.convert(result.input, InputFacts))
    found: dict[tuple[object, ...], InputFacts] = {}
    for facts in read:
        found.pop(facts.identity(), None)
        found[facts.identity()] = facts
    return list(found.values())


def _ledger(account: LedgerAccount) -> LedgerProof:
    return LedgerProof(
        ledger=os.path.basename(account.path),
        head=account.head,
        commits=account.commits,
        lines=account.lines,
        bytes=account.bytes,
        tail_bytes=account.tail_bytes,
        damage=account.damage,
        being_written=account.being_written,
        derived_from=account.derived_from.head if account.derived_from else None,
        shard=str(account.facts.shard) if account.facts.shard else None,
    )


_OF_A_REQUEST = (JobStatus, ProbeSent, ProbeStatus, ProbeAnswered)
"""Other lines than `sent` that stand for a request each."""


def _run(ledger: int, run: RunAccount, repeats: int) -> RunFacts:
    started, finished, lines = run.started, run.finished, run.lines
    return RunFacts(
        ledger=ledger,
        run=started.run,
        command=started.command,
        at=started.at,
        finished_at=finished.at if finished else None,
        tool=started.tool,
        api=started.api,
        target=started.target,
        requester=started.requester,
        reference=started.reference,
        plan=started.plan,
        outcome=finished.outcome if finished else None,
        exit_code=finished.exit_code if finished else None,
        accepted=lines[Accepted],
        failed=lines[Failed],
        unknown=lines[Unknown],
        requests=lines[Sent] - lines[Unsent] + sum(lines[kind] for kind in _OF_A_REQUEST),
        repeats=repeats,
        hold_list=started.exclude_sha256,
    )


def _is_rejected_fine(notes: Notes) -> bool:
    """Did each ledger whose last run rejected rows end well? Then it was told to.

    One of several shards has the rows without a key, and it need not be the last of them.
    """
    ended = []
    for account in notes.accounts:
        runs = [run.finished for run in account.runs if run.started.input]
        if runs and (runs[-1] is None or runs[-1].counts.get("rejected")):
            ended.append(runs[-1])
    return bool(ended) and all(it and it.exit_code == ExitCode.COMPLETE for it in ended)


def _standing(summary: Summary, exit_code: int) -> Standing:
    states = summary.states
    unrecorded = summary.unaccounted - states["sent"] - states["not_reached"]
    rejected = 0 if summary.rejected_is_fine else states["rejected"]
    if exit_code == ExitCode.LEDGER_DAMAGED:
        return Standing.NOT_PROVEN
    if summary.simulated:
        return Standing.REHEARSAL
    if summary.failed or rejected or summary.held_too_late or summary.findings:
        return Standing.NEEDS_ATTENTION
    if summary.probes is not None and summary.probes.came_back:
        return Standing.NEEDS_ATTENTION
    if summary.deadlines.overdue or unrecorded > 0:
        return Standing.NEEDS_ATTENTION
    if summary.missing_shards:  # of the whole batch nothing is known
        return Standing.OPEN
    if not summary.to_be_erased:
        return Standing.NOBODY
    return Standing.ALL_ERASED if summary.erased == summary.to_be_erased else Standing.OPEN


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def _due_at(alike: Alike) -> str:
    """When a pending job is to be asked about: before the first answer, the day after it."""
    if alike.status is not None and alike.status.due_at:
        return alike.status.due_at
    created = date.fromordinal(alike.line.day) if alike.line else date.min
    return f"{created + timedelta(days=1)}T00:00:00.000Z"


def _job_words(jobs: list[tuple[Alike, int]]) -> list[JobWord]:
    words: Counter[tuple[bool, str]] = Counter()
    for alike, count in jobs:
        told = alike.status or alike.line
        words[alike.status is not None, told.word if told else ""] += count
    return [JobWord(word, count, is_asked) for (is_asked, word), count in words.most_common()]


def _failures(alike: Counter[Alike]) -> list[Failure]:
    counts: Counter[tuple[KeyState, str]] = Counter()
    for it, count in alike.items():
        if it.state.word in FAILURES:
            counts[it.state, it.word] += count
    return [
        Failure(state.word, word, count, [], state.may_have_arrived)
        for (state, word), count in counts.most_common()
    ]


def _holds(alike: Counter[Alike]) -> list[Hold]:
    counts: Counter[str] = Counter()
    for it, count in alike.items():
        if it.state is KeyState.EXCLUDED:
            counts[it.line.word if it.line else ""] += count
    most_first = sorted(counts.items(), key=lambda it: (-it[1], it[0]))
    return [Hold(reason, count, []) for reason, count in most_first]


def _lines_of_hold(hold: Hold, notes: Notes, lines: LedgerLines) -> list[int]:
    """The first lines of the input that are on hold for this reason."""
    places = sorted(notes.keys.places.get((KeyState.EXCLUDED.word, hold.reason), ()))
    return sorted(lines.read(ledger, place).line for ledger, place, _ in places[:EXAMPLES])


def _days(alike: Counter[Alike], today: date) -> Days:
    days = Days([0] * (MOST_DAYS + 1), [0] * (MOST_DAYS + 1))
    for it, count in alike.items():
        if it.line is None or it.state is KeyState.EXCLUDED:
            continue
        is_erased = it.state is KeyState.ERASED
        until = it.status.day if is_erased and it.status else today.toordinal()
        took = min(MOST_DAYS, max(0, until - it.line.since))
        (days.erased if is_erased else days.waiting)[took] += count
    return days


def _deadlines(result: VerifyResult, notes: Notes) -> Deadlines:
    """Of everybody who is to be erased; those whom no ledger names count from the last run."""
    counts: Counter[str] = Counter()
    first: list[int] = []
    not_named = result.states["not_reached"]
    for it, count in notes.keys.alike.items():
        if it.state is KeyState.EXCLUDED or it.line is None:
            continue
        if it.state is KeyState.NOT_SENT:
            not_named -= (count := min(count, not_named))
        counts["from_run"] += 0 if it.line.is_dated else count
        if it.state is KeyState.ERASED:
            counts[_kept_or_late(it)] += count
        elif count:
            counts[notes.keys.urgency_of(it.line.since)] += count
            first.append(it.line.since)
    if not_named:
        since = notes.keys.since(_last_start(notes))
        counts["from_run"] += 0 if notes.received else not_named
        counts[notes.keys.urgency_of(since)] += not_named
        first.append(since)
    due = deadline_of(date.fromordinal(min(first))).isoformat() if first else None
    return Deadlines(**counts, first=due)


def _kept_or_late(alike: Alike) -> str:
    if alike.line is None or alike.status is None:
        return "kept"
    due = deadline_of(date.fromordinal(alike.line.since)).toordinal()
    return "kept" if alike.status.day <= due else "late"


def _last_start(notes: Notes) -> str:
    starts = [run.started for account in notes.accounts for run in account.runs]
    return max((start.at for start in starts if start.input is not None), default="")


def _listed_rows(
    notes: Notes, lines: LedgerLines, *, show_keys: bool
) -> dict[tuple[str, str], list[ListedRow]]:
    """The rows that somebody should look at, by why, read again from the ledgers."""
    found: dict[tuple[str, str], list[ListedRow]] = defaultdict(list)
    all_ = [why for why in notes.keys.places if why[0] != KeyState.EXCLUDED.word]
    most = max(EXAMPLES, MOST_ROWS // max(1, len(all_)))
    show_keys = show_keys or notes.accounts[0].keys_kind != RAW
    for why in sorted(all_, key=_rank):
        state = why[0] if why[0] in FAILURES else why[1]
        for place in sorted(notes.keys.places[why])[: min(LISTED, most)]:
            cells = cells_of_key(state, place, lines)._asdict()
            texts = {name: str(cells[name]) for name in _TEXTS}
            texts["key"] = texts["key"] if show_keys else ""
            found[why].append(ListedRow(why=why[0], line=int(cells["line"] or 0), **texts))
    return found


def _rank(why: tuple[str, str]) -> tuple[int, str]:
    """The most urgent first."""
    return ("held_too_late", "overdue", "at_risk", *FAILURES).index(why[0]), why[1]


def _timing(runs: RunNotes) -> Timing:
    timeline = runs.timeline
    latency = {
        f"p{share}": ms
        for share in PERCENTILES
        if (ms := runs.durations.percentile(share / 100)) is not None
    }
    width, length = timeline.width_s, timeline.length
    return Timing(width, timeline.sent[:length], timeline.repeats[:length], latency)

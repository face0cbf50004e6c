"""A summary for a terminal: at a glance, or in full."""

import os
from datetime import datetime

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.report.words import (
    ADVICE,
    HOW_TO_CHECK,
    LIMITS,
    deadline_lines,
    failure_meaning,
    first_deadline,
    from_run,
    headline,
    hold_meaning,
    next_check,
    remarks,
    where_held_too_late,
)
from bulk_eraser.evidence.summary import RunFacts, Summary
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.wording import (
    STATE_MEANINGS,
    counted,
    plural,
    printable,
    probed,
    run_ending,
    stamp_in_words,
    time_in_words,
)

__all__ = ["at_a_glance", "in_full"]


def at_a_glance(summary: Summary) -> str:
    """What a batch is, what became of everybody, when to ask next, deadlines."""
    why = [f"  {it.count:,} {it.state}: {failure_meaning(it)}" for it in summary.failures]
    probes = probed(summary.probes) if summary.probes is not None else []
    lines = [*_what(summary), *_states(summary), *probes, *_times(summary), *why]
    return "\n".join([printable(line) for line in lines])


def in_full(summary: Summary) -> str:
    """The report for a terminal."""
    sections = {
        "What became of everybody": [*_states(summary), *remarks(summary)],
        "The batch": [*_what(summary), *_order(summary)],
        "The month for an answer": _times(summary),
        "What to do": _to_do(summary),
        "How it went": _timing(summary),
        "Runs": [_run(run) for run in summary.runs],
        "Method and limits": list(LIMITS),
        "Proof": [*_proof(summary), *HOW_TO_CHECK],
    }
    lines = [headline(summary)]
    for title, section in sections.items():
        lines += ["", title, *(f"  {line}" for line in section)] if section else []
    return "\n".join(printable(line) for line in lines)


def _what(summary: Summary) -> list[str]:
    names = ", ".join(ledger.ledger for ledger in summary.ledgers)
    target = f"target {', '.join(summary.targets)}, API {', '.join(summary.apis)}"
    lines = [f"{names}: {target}" if summary.targets else f"{names}: no run"]
    lines += [
        f"  input {it.name}: {counted(it.rows, 'row')}, {counted(it.keys, 'key')}, "
        f"SHA-256 {it.sha256}"
        for it in summary.inputs
    ]
    return lines


def _order(summary: Summary) -> list[str]:
    lines = [f"requester {', '.join(summary.requesters)}"] if summary.requesters else []
    lines += [f"reference {', '.join(summary.references)}"] if summary.references else []
    for plan in summary.plans:
        made = time_in_words(plan.made_at)
        lines.append(f"plan by {plan.made_by}, {made}, SHA-256 {plan.sha256}")
    raw = "customer keys as they are" if summary.keys == "raw" else "pseudonyms (HMAC-SHA256)"
    return [*lines, f"the ledger holds {raw}"]


def _states(summary: Summary) -> list[str]:
    total = sum(summary.states.values())
    width = max(6, len(f"{total:,}"))
    what = plural(total, "row") if summary.is_input_read else "in all"
    states = {state: count for state, count in summary.states.items() if count}
    lines = [f"{count:>{width},}  {STATE_MEANINGS[state]}" for state, count in states.items()]
    return [*lines, f"{total:>{width},}  {what}"]


def _times(summary: Summary) -> list[str]:
    now = datetime.fromisoformat(summary.made_at)
    lines = [f"{count:>6,}  {what}" for count, what in deadline_lines(summary)]
    if first := first_deadline(summary):
        lines.append(f"First deadline of somebody who is not erased: {first}.")
    return [line for line in (*lines, from_run(summary), next_check(summary, now)) if line]


def _to_do(summary: Summary) -> list[str]:
    lines = []
    if late := summary.held_too_late:
        lines.append(f"{late:,} came on hold too late ({where_held_too_late(summary)})")
        lines.append(f"  {ADVICE['held_too_late']}")
    for failure in summary.failures:
        where = f" ({lines_of(failure.lines, failure.count)})" if failure.lines else ""
        lines.append(f"{failure.count:,} {failure.state}: {failure_meaning(failure)}{where}")
        lines.append(f"  {ADVICE[failure.state]}")
    for reject in summary.rejected:
        where = lines_of(reject.lines, reject.count)
        meaning = ROW_ERRORS.get(reject.error, "no usable key")
        lines.append(f"{reject.count:,} rejected, {reject.error}: {meaning} ({where})")
    for hold in summary.holds:
        where = lines_of(hold.lines, hold.count)
        lines.append(f"{hold.count:,} excluded, on hold: {hold_meaning(hold)} ({where})")
    others = [it for it in ("rejected", "not_reached", "in_progress") if summary.states[it]]
    lines += [f"{summary.states[state]:,} {state}: {ADVICE[state]}" for state in others]
    return lines


def _timing(summary: Summary) -> list[str]:
    timing = summary.timing
    if not timing.requests:
        return []
    requests = counted(sum(timing.requests), "request")
    lines = [f"{requests}, {counted(sum(timing.repeats), 'repeat')} among them"]
    if latency := timing.latency_ms:
        parts = ", ".join(f"{share} {ms:,} ms" for share, ms in latency.items())
        lines.append(f"from a key's first attempt to its job: {parts}")
    return lines


def _run(run: RunFacts) -> str:
    when = time_in_words(run.at)
    ending = run_ending(run.outcome, run.exit_code)
    asked = "asked about sampled people" if run.command == "probe" else "asked about jobs"
    what = f"{run.accepted:,} accepted" if run.command == "run" else asked
    return f"{when} {run.command}: {counted(run.requests, 'request')}, {what}; {ending}"


def _proof(summary: Summary) -> list[str]:
    lines = []
    for ledger in summary.ledgers:
        state = ledger.damage or "the chain is intact"
        lines.append(f"{ledger.ledger}: {state}")
        lines.append(f"head {ledger.head} ({counted(ledger.lines, 'line')})")
    for head, place in summary.expected_heads.items():
        found = "is one of the commits" if place else "is not among the commits"
        lines.append(f"the expected head {head} {found}")
    for stamp in summary.timestamps:
        name = os.path.basename(stamp["stamp"])
        lines.append(f"time stamp {name}: {stamp_in_words(stamp)}")
    return lines

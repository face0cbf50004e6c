"""What `verify` found: as one object, as lines for people, as a table of rows."""

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bulk_eraser.cli.output import Output
from bulk_eraser.cli.wording import counted, lines_of, printable
from bulk_eraser.errors import ExitCode, LedgerWriteError, UsageError
from bulk_eraser.evidence.audit import FINDINGS, Audit, LedgerAccount, RunAccount
from bulk_eraser.sources.rows import KeyRow, RejectedRow
from bulk_eraser.survey.survey import Fate, Survey

__all__ = [
    "STATES",
    "Verified",
    "judge",
    "note_findings",
    "note_ledgers",
    "note_rows",
    "tell",
    "write_rows",
]

EXAMPLES = 5
STATES = {
    Fate.SETTLED: "accepted",
    Fate.SEND_JOB_LOST: "job_lost",
    Fate.SEND_REFUSED: "failed",
    Fate.SEND_FAILED: "failed",
    Fate.SEND_UNKNOWN: "unknown",
    Fate.SEND_HELD: "excluded",
    Fate.REJECTED: "rejected",
    Fate.DUPLICATE: "duplicate",
    Fate.SEND_SENT: "sent",
    Fate.SEND_NEW: "missing",
}
"""What became of a row, in the order in which it is told. The last two are not accounted for."""
_TOLD = {
    "accepted": "accepted: the service created a removal job",
    "job_lost": "accepted, but the job's last status is error or not_found",
    "failed": "failed: refused, or certainly not carried out",
    "unknown": "unknown: perhaps carried out, without an answer that counts",
    "excluded": "on the hold list: not sent",
    "rejected": "rejected: no usable key, not sent",
    "duplicate": "duplicate rows: the key stands earlier in the input",
    "sent": "sent, without a recorded outcome: run again",
    "missing": "missing: in no ledger",
}
_FORMULA = re.compile(r"[=+\-@\t\r]")


@dataclass
class Verified:
    """What `verify` found: the object that `--json` prints.

    `states` counts the rows of the input by what became of them; `unaccounted` are those that are
    missing, sent without an outcome, or rejected without a line that says so, `unaccounted_lines`
    the first of them. `extra` counts the keys of the ledgers that the input does not have.
    """

    outcome: str = "complete"
    exit_code: int = ExitCode.COMPLETE
    error: str | None = None
    ledgers: list[dict[str, Any]] = field(default_factory=list)
    expected_heads: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    input: dict[str, Any] | None = None
    states: dict[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    unaccounted_lines: list[int] = field(default_factory=list)
    extra: int = 0
    extra_lines: list[dict[str, Any]] = field(default_factory=list)
    rehearsal: bool = False


def note_ledgers(verified: Verified, audit: Audit, heads: list[str]) -> None:
    verified.expected_heads = dict.fromkeys(heads)
    verified.rehearsal = audit.is_rehearsal
    for account in audit.ledgers:
        facts = {
            name: getattr(account, name)
            for name in ("head", "commits", "lines", "bytes", "tail_bytes", "damage")
        }
        derived = msgspec.to_builtins(account.derived_from)
        if account.derived_from is not None and account.derived_from.head in heads:
            verified.expected_heads[account.derived_from.head] = _of_the_old_one(account)
        runs = [_run(run) for run in account.runs]
        verified.ledgers.append(
            {"ledger": account.path, **facts, "derived_from": derived, "runs": runs}
        )
        for head, (commit, line) in account.kept.items():
            verified.expected_heads[head] = {
                "ledger": account.path,
                "commit": commit,
                "commits_after": account.commits - commit,
                "lines_after": account.lines - line,
            }


def _of_the_old_one(account: LedgerAccount) -> dict[str, Any]:
    """The place of a head that the first line only says to be that of the ledger before."""
    return {
        "ledger": account.path,
        "commit": None,
        "commits_after": account.commits,
        "lines_after": account.lines,
    }


def _run(run: RunAccount) -> dict[str, Any]:
    started, finished = run.started, run.finished
    return {
        "run": started.run,
        "command": started.command,
        "at": started.at,
        "finished_at": finished.at if finished else None,
        "tool": started.tool,
        "api": started.api,
        "target": started.target,
        "simulated": started.simulated,
        "requester": started.requester,
        "reference": started.reference,
        "plan": msgspec.to_builtins(started.plan),
        "input": msgspec.to_builtins(started.input),
        "outcome": finished.outcome if finished else None,
        "exit_code": finished.exit_code if finished else None,
        "counts": finished.counts if finished else None,
        "lines": dict(run.lines),
        "conserved": run.is_conserved,
    }


def note_rows(verified: Verified, audit: Audit, survey: Survey) -> None:
    """What became of every row of the input."""
    facts = survey.facts()
    verified.input = msgspec.to_builtins(facts)
    states: Counter[str] = Counter()
    recorded = audit.recorded_until(facts)
    for row in survey.second_reading():
        state = STATES[row.fate]
        states[state] += 1
        unrecorded = isinstance(row.row, RejectedRow) and row.row.line > recorded
        if unrecorded or state in ("sent", "missing"):
            verified.unaccounted += 1
            if len(verified.unaccounted_lines) < EXAMPLES:
                verified.unaccounted_lines.append(row.row.line)
    verified.states = {state: states[state] for state in dict.fromkeys(STATES.values())}
    verified.extra = audit.extra
    verified.extra_lines = _places(audit, audit.extra_places)


def note_findings(verified: Verified, audit: Audit) -> None:
    found = audit.findings
    for word, count in found.counts.items():
        verified.findings[word] = {"count": count, "lines": _places(audit, found.places[word])}


def judge(verified: Verified, audit: Audit) -> None:
    """79 for what nobody wrote, 3 for what is not accounted for."""
    damaged = [account for account in audit.ledgers if account.damage]
    lost = [head for head, place in verified.expected_heads.items() if place is None]
    unproven = any(place and place["commit"] is None for place in verified.expected_heads.values())
    if damaged:
        verified.error = damaged[0].damage
    elif lost:
        verified.error = (
            f"The expected head {lost[0][:12]}… is none of the commits: the ledger was cut off "
            "before it, or rewritten."
        )
    elif audit.findings.is_forged:
        verified.error = "The ledger holds lines that no run writes; see the findings."
    if verified.error:
        verified.outcome, verified.exit_code = "refused", ExitCode.LEDGER_DAMAGED
    elif (
        verified.unaccounted
        or unproven
        or (verified.rehearsal and verified.input is not None)
        or audit.findings.counts
        or any(account.tail_bytes or not account.commits for account in audit.ledgers)
    ):
        verified.outcome, verified.exit_code = "incomplete", ExitCode.SOME_ROWS


def _places(audit: Audit, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"ledger": audit.ledgers[number].path, "line": line} for number, line in places]


def write_rows(path: str, survey: Survey) -> None:
    """A CSV of line, key and state of every row; read by a spreadsheet, no key is a formula.

    Raises `UsageError` for a file that is there already, `LedgerWriteError` if it cannot be
    written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("line", "key", "state"))
            for row, fate, _first_line in survey.second_reading():
                key = row.key if isinstance(row, KeyRow) else ""
                guard = "'" if _FORMULA.match(key) else ""
                table.writerow((row.line, guard + key, STATES[fate]))
    except FileExistsError:
        raise UsageError(f"{path} is there already. Name another file with --rows.") from None
    except OSError as error:
        raise LedgerWriteError(
            f"The table {path} cannot be written: {error.strerror}. Name another place with --rows."
        ) from None


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def tell(output: Output, verified: Verified) -> None:
    """The findings on stdout, how it ended on stderr."""
    if not output.json:
        for ledger in verified.ledgers:
            output.result("\n".join(_ledger_lines(ledger)))
        for head, place in verified.expected_heads.items():
            output.result(_head_line(head, place))
        if verified.input is not None:
            output.result("\n".join(_row_lines(verified)))
        for word, found in verified.findings.items():
            where = lines_of([place["line"] for place in found["lines"]], found["count"])
            output.result(f"{word}: {found['count']:,}; {FINDINGS[word]} ({where} of the ledger)")
    if verified.error:
        output.error(printable(verified.error))
    elif verified.exit_code == ExitCode.COMPLETE:
        whole = ", and every row of the input is accounted for" if verified.input else ""
        extra = counted(verified.extra, "key")
        if verified.rehearsal:
            output.warn("this is a rehearsal, in which nothing was erased.")
        but = f" The ledger also has {extra} that the input lacks." if verified.extra else ""
        output.always(f"All holds: the chain is intact{whole}.{but}")
    else:
        output.always(f"Not all holds: {'; '.join(_what_is_open(verified))}.")


def _ledger_lines(ledger: dict[str, Any]) -> list[str]:
    intact = "damaged; intact are" if ledger["damage"] else "intact:"
    size = f"{ledger['bytes']:,} bytes"
    lines = [
        f"Ledger {printable(ledger['ledger'])}: {intact} {counted(ledger['commits'], 'commit')}, "
        f"{counted(ledger['lines'], 'line')}, {size}",
        f"  head {ledger['head']}",
    ]
    if derived := ledger["derived_from"]:
        lines.append(
            f"  derived from {printable(derived['ledger'])}, head {printable(derived['head'])}: "
            "with pseudonyms instead of keys"
        )
    if ledger["tail_bytes"]:
        lines.append(
            f"  {counted(ledger['tail_bytes'], 'byte')} behind the last commit prove nothing: a "
            "run broke off, or is writing now"
        )
    return lines + [_run_line(run) for run in ledger["runs"]]


def _run_line(run: dict[str, Any]) -> str:
    parts = [f"API {run['api']}, target {run['target']}"]
    parts += [f"{name} {run[name]}" for name in ("requester", "reference") if run[name]]
    if run["plan"]:
        parts.append(f"plan by {run['plan']['made_by']}")
    ending = f"{run['outcome']} ({run['exit_code']})" if run["outcome"] else "broke off"
    word = "job_status" if run["command"] == "follow" else "accepted"
    what = f"{run['lines'].get(word, 0):,} {word}"
    return printable(f"  {run['at']} {run['command']}: {', '.join(parts)}: {what}, {ending}")


def _head_line(head: str, place: dict[str, Any] | None) -> str:
    if place is None:
        return f"Expected head {head}: not among the commits"
    if place["commit"] is None:
        return (
            f"Expected head {head}: that of the ledger from which this one was derived, as its "
            "first line says. Expect the head that `pseudonymize` printed"
        )
    after = "nothing follows it"
    if place["commits_after"]:
        commits, lines = place["commits_after"], place["lines_after"]
        after = f"{counted(commits, 'commit')} ({counted(lines, 'line')}) after it"
    return f"Expected head {head}: commit {place['commit']:,}, {after}"


def _row_lines(verified: Verified) -> list[str]:
    facts = verified.input or {}
    width = max(6, len(f"{facts['rows']:,}"))
    lines = [
        f"Input {printable(facts['name'])}: {facts['bytes']:,} bytes, SHA-256 {facts['sha256']}",
        f"{facts['rows']:>{width},}  rows",
    ]
    for state, count in verified.states.items():
        if count:
            lines.append(f"{count:>{width},}  {_TOLD[state]}")
    if not any(
        run["input"] and run["input"]["sha256"] == facts["sha256"]
        for ledger in verified.ledgers
        for run in ledger["runs"]
    ):
        lines.append("No run of these ledgers read exactly this file.")
    if verified.unaccounted:
        where = lines_of(verified.unaccounted_lines, verified.unaccounted)
        lines.append(f"{counted(verified.unaccounted, 'row')} unaccounted for ({where})")
    if verified.extra:
        where = lines_of([place["line"] for place in verified.extra_lines], verified.extra)
        lines.append(
            f"{counted(verified.extra, 'key')} in the ledger that this input does not have "
            f"({where} of the ledger)"
        )
    return lines


def _what_is_open(verified: Verified) -> list[str]:
    found = []
    if verified.rehearsal:
        found.append("this is a rehearsal, in which nothing was erased")
    if any(place and place["commit"] is None for place in verified.expected_heads.values()):
        found.append("an expected head is that of the ledger before")
    if verified.unaccounted:
        found.append(f"{counted(verified.unaccounted, 'row')} unaccounted for")
    if any(ledger["tail_bytes"] for ledger in verified.ledgers):
        found.append("something stands behind the last commit")
    if any(not ledger["commits"] for ledger in verified.ledgers):
        found.append("a ledger has no commit yet")
    return found + [f"{word} ({found_['count']:,})" for word, found_ in verified.findings.items()]

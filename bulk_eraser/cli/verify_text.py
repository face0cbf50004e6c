"""What `verify` found, in words."""

from typing import Any

from bulk_eraser.cli.output import Output
from bulk_eraser.cli.wording import counted, lines_of, printable
from bulk_eraser.errors import ExitCode
from bulk_eraser.evidence.audit import FINDINGS
from bulk_eraser.evidence.verification import VerifyResult

__all__ = ["tell"]

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


def tell(output: Output, verified: VerifyResult) -> None:
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


def _row_lines(verified: VerifyResult) -> list[str]:
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


def _what_is_open(verified: VerifyResult) -> list[str]:
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

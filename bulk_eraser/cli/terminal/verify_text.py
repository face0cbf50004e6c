"""What `verify` found, in words."""

import shlex
from typing import Any

from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.errors import ExitCode, lines_of
from bulk_eraser.evidence.findings import FINDINGS
from bulk_eraser.evidence.verify_request import VerifyResult
from bulk_eraser.shard import Shard, shards_in_words
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

__all__ = ["tell", "what_is_open"]

_NOT_ERASED = {
    "in_progress": "in progress",
    "job_failed": "job failed",
    "refused": "refused",
    "failed": "failed",
    "unknown": "unknown",
    "sent": "sent without an outcome",
    "not_reached": "not reached",
}
"""The states of keys that are to be erased and are not, in few words."""


def tell(output: Output, verified: VerifyResult) -> None:
    """The findings on stdout, how it ended on stderr."""
    if not output.json:
        for ledger in verified.ledgers:
            output.result("\n".join(_ledger_lines(ledger)))
        for head, place in verified.expected_heads.items():
            output.result(_head_line(head, place))
        for sealed in verified.sealed:
            output.result(_sealed_line(sealed))
        for receipt in verified.receipts:
            output.result(_receipt_line(receipt))
        for stamp in sorted(verified.timestamps, key=lambda it: it["commit"] or 0):
            output.result(_stamp_line(stamp))
        if verified.input is not None:
            output.result("\n".join(_row_lines(verified)))
        elif verified.states:
            output.result("\n".join(_key_lines(verified)))
        if verified.missing_shards:
            output.result(f"No ledger of {_missing(verified)} is among these")
        for word, found in verified.findings.items():
            where = lines_of([place["line"] for place in found["lines"]], found["count"])
            output.result(f"{word}: {found['count']:,}; {FINDINGS[word]} ({where} of the ledger)")
    if verified.probes is not None and not output.json:
        output.result("\n".join(probed(verified.probes)))
    if verified.error:
        output.error(printable(verified.error))
    elif verified.exit_code == ExitCode.COMPLETE:
        whole = ", and every row of the input is accounted for" if verified.input else ""
        extra = counted(verified.extra, "key")
        but = f" The ledger also has {extra} that the input lacks." if verified.extra else ""
        output.always(f"Verified: the chain is intact{whole}. {_erased(verified)}{but}")
    else:
        erased = "" if verified.rehearsal else f" {_erased(verified)}"  # it is told as open
        output.always(f"Not verified: {'; '.join(what_is_open(verified))}.{erased}")


def _erased(verified: VerifyResult) -> str:
    """The auditor's one question, and what became of all others who were to be erased."""
    if verified.rehearsal:
        return "This is a rehearsal: nothing was erased."
    states, is_export = verified.states, verified.kind == "export"
    others = [
        _of_state(states[state], word) for state, word in _NOT_ERASED.items() if states[state]
    ]
    well = states["exported"] if is_export else verified.erased
    keys = well + sum(states[state] for state in _NOT_ERASED)
    if states["rejected"]:  # somebody's row, but nobody knows whose
        others.append(f"{counted(states['rejected'], 'row')} rejected")
    done = "exported" if is_export else "erased"
    so_far = f"{done.title()} so far: {well:,} of {counted(keys, 'key')} to be {done}."
    rest = f" Not {done}: {', '.join(others)}." if others else ""
    return f"{so_far}{rest}{' An export erases nobody.' if is_export else ''}"


def _missing(verified: VerifyResult) -> str:
    return shards_in_words([Shard(**it) for it in verified.missing_shards])


def _of_state(number: int, word: str) -> str:
    return f"{counted(number, 'job')} failed" if word == "job failed" else f"{number:,} {word}"


def _meaning(verified: VerifyResult, state: str) -> str:
    meaning = STATE_MEANINGS[state]
    if verified.kind == "removal":
        return meaning
    return meaning.replace(JobKind.REMOVAL, JobKind.EXPORT)


def _key_lines(verified: VerifyResult) -> list[str]:
    """What became of the keys of the ledgers, where there is no input."""
    total = sum(verified.states.values()) - verified.states["rejected"]
    width = max(6, len(f"{total:,}"))
    states = {state: count for state, count in verified.states.items() if count}
    return [
        f"{total:>{width},}  different {plural(total, 'key')}",
        *(f"{count:>{width},}  {_meaning(verified, state)}" for state, count in states.items()),
    ]


def _ledger_lines(ledger: dict[str, Any]) -> list[str]:
    intact = "damaged; intact before that:" if ledger["damage"] else "intact:"
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
    if ledger["being_written"]:
        lines.append("  being written by another process now; verify it again when that has ended")
    elif ledger["tail_bytes"]:
        tail = counted(ledger["tail_bytes"], "byte")
        lines.append(f"  {tail} after the last commit prove nothing: a run broke off")
    runs, last = ledger["runs"], len(ledger["runs"]) - 1
    is_being_written = ledger["being_written"]
    return lines + [_run_line(run, is_being_written and n == last) for n, run in enumerate(runs)]


def _run_line(run: dict[str, Any], is_last_of_one_being_written: bool) -> str:
    parts = [f"API {run['api']}, target {run['target']}"]
    if shard := run["shard"]:
        parts.append(f"shard {shard['index']} of {shard['of']}")
    parts += [f"{name} {run[name]}" for name in ("requester", "reference") if run[name]]
    if run["plan"]:
        parts.append(f"plan by {run['plan']['made_by']}")
    if run["command"] == "follow":
        lines = run["lines"]
        answers = lines.get("job_status", 0) + lines.get("export_status", 0)
        what = f"{counted(answers, 'answer')} about jobs"
        if downloaded := lines.get("downloaded", 0):
            what += f", {counted(downloaded, 'download')}"
        if about_probes := lines.get("probe_status", 0) + lines.get("probe_answered", 0):
            what += f", {about_probes:,} about probes"
    elif run["command"] == "probe":
        what = f"{run['lines'].get('probe_asked', 0):,} sampled people asked about"
    else:
        what = f"{run['lines'].get('accepted', 0):,} accepted"
    ending = _ending(run, is_last_of_one_being_written)
    when = time_in_words(run["at"])
    return printable(f"  {when}, {run['command']}: {', '.join(parts)}: {what}; {ending}")


def _ending(run: dict[str, Any], is_under_way: bool) -> str:
    if not run["outcome"]:
        return "still running" if is_under_way else "broke off"
    return run_ending(run["outcome"], run["exit_code"])


def _head_line(head: str, place: dict[str, Any] | None) -> str:
    if place is None:
        return f"Expected head {head}: not among the commits"
    if place["commit"] is None:
        return (
            f"Expected head {head}: that of the ledger from which this one was derived, as its "
            "first line says. Expect the head that `pseudonymize` printed"
        )
    return f"Expected head {head}: commit {place['commit']:,}, {_what_follows(place)}"


def _sealed_line(sealed: dict[str, Any]) -> str:
    of = f"Sealed head of {printable(sealed['ledger'])}"
    if sealed["commit"] is None:
        return f"{of}: not among its commits"
    return f"{of}: commit {sealed['commit']:,}, {_what_follows(sealed)}"


def _what_follows(place: dict[str, Any]) -> str:
    if not place["commits_after"]:
        return "nothing follows it"
    commits, lines = place["commits_after"], place["lines_after"]
    return f"{counted(commits, 'commit')} ({counted(lines, 'line')}) after it"


def _receipt_line(receipt: dict[str, Any]) -> str:
    agrees = "says of its run what the ledger says"
    if receipt["differs"]:
        agrees = f"differs from the ledger in {', '.join(receipt['differs'])}"
    return printable(f"Receipt {receipt['receipt']}: {agrees}")


def _stamp_line(stamp: dict[str, Any]) -> str:
    line = f"Time stamp {printable(stamp['stamp'])}: {printable(stamp_in_words(stamp))}"
    if stamp["head"] and stamp["state"] == "unchecked":
        words = ["openssl", "ts", "-verify", "-digest", stamp["head"], "-in", stamp["stamp"]]
        line += f". Check it with: {printable(shlex.join(words))} -CAfile PEM"
    return line


def _row_lines(verified: VerifyResult) -> list[str]:
    facts = verified.input or {}
    width = max(6, len(f"{facts['rows']:,}"))
    lines = [
        f"Input {printable(facts['name'])}: {facts['bytes']:,} bytes, SHA-256 {facts['sha256']}",
    ]
    if others := verified.other_sheets:
        names = ", ".join(map(printable, others))
        lines.append(f"Sheet {printable(facts['sheet'])} was read. Not read: {names}")
    lines.append(f"{facts['rows']:>{width},}  {plural(facts['rows'], 'row')}")
    for state, count in verified.states.items():
        if count:
            lines.append(f"{count:>{width},}  {_meaning(verified, state)}")
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


def what_is_open(verified: VerifyResult) -> list[str]:
    """Why it is not verified, if no error says so; nothing where it is."""
    found = []
    if verified.rehearsal:
        found.append("this is a rehearsal, in which nothing was erased")
    if any(place and place["commit"] is None for place in verified.expected_heads.values()):
        found.append("an expected head is that of the ledger before")
    if verified.input is not None and verified.missing_shards:
        rows = counted(verified.states["missing_shard"], "row")
        found.append(f"{rows} of which nothing is said, for want of {_missing(verified)}")
    if verified.unaccounted:
        found.append(f"{counted(verified.unaccounted, 'row')} unaccounted for")
    if any(ledger["tail_bytes"] for ledger in verified.ledgers):
        found.append("something follows the last commit")
    if verified.expect_done and verified.not_erased:
        done = "exported" if verified.kind == "export" else "erased"
        found.append(f"{verified.not_erased:,} not {done}")
    if verified.held_too_late:
        found.append(f"{counted(verified.held_too_late, 'key')} came on hold too late")
    if verified.probes is not None and verified.probes.came_back:
        back = verified.probes.came_back
        people = "1 sampled person" if back == 1 else f"{back:,} sampled people"
        found.append(f"data of {people} came back")
    if verified.not_good_stamps:
        found.append(f"{counted(verified.not_good_stamps, 'time stamp')} not good, or missing")
    if verified.unstamped:
        found.append(f"{counted(verified.unstamped, 'ledger')} without a time stamp")
    if any(not ledger["commits"] for ledger in verified.ledgers):
        found.append("a ledger has no commit yet")
    return found + [f"{word} ({found_['count']:,})" for word, found_ in verified.findings.items()]

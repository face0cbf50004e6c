"""What `verify` does and finds: the ledgers audited, every row of the input accounted for.

One pass over each ledger, one survey of the input, and one more reading of its rows, which tells
what became of each and writes the table of rows, if one is asked for.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import file_digest
from typing import Any

import msgspec

from bulk_eraser.errors import (
    Attention,
    BulkEraserError,
    ConfigurationError,
    ExitCode,
)
from bulk_eraser.evidence.accounting import LedgerAccount, RunAccount
from bulk_eraser.evidence.audit import Audit, AuditFold
from bulk_eraser.evidence.key_notes import KeyNotes
from bulk_eraser.evidence.notes import Notes
from bulk_eraser.evidence.probe_notes import ProbeNotes
from bulk_eraser.evidence.receipt import Receipt, differences, read_receipt
from bulk_eraser.evidence.row_table import RowPlaces, cells_of_row, new_table
from bulk_eraser.evidence.run_notes import Reason
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.evidence.second_reading import SecondReading
from bulk_eraser.evidence.timestamp import OF_ANOTHER, Stamp, StampedResult
from bulk_eraser.ledger.chain import GENESIS
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.probes import Probes
from bulk_eraser.ledger.pseudonyms import RAW, RAW_KEYS, KeyNaming
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake, read_survey
from bulk_eraser.survey.decision import DECISIONS, Action
from bulk_eraser.survey.survey import Survey

__all__ = ["STATES", "VerifyRequest", "VerifyResult", "verify"]

EXAMPLES = 5
STATES = (
    "exported",
    "erased",
    "in_progress",
    "job_failed",
    "refused",
    "failed",
    "unknown",
    "excluded",
    "rejected",
    "duplicate",
    "sent",
    "not_reached",
    "missing_shard",
)
"""What became of a row, in the order in which it is told. The last three are not accounted for; the
last one is there only where ledgers of shards are missing."""
_OF_ROWS = ("duplicate", "missing_shard")
"""Without an input nothing is known of such."""
_UNACCOUNTED = ("sent", "not_reached")
_NOTHING_TO_TELL = [
    decision
    for decision in DECISIONS
    if decision.action is not Action.REJECT and decision.word not in _UNACCOUNTED
]
_FACTS = ("head", "commits", "lines", "bytes", "tail_bytes", "damage", "being_written")
_NEEDS_ATTENTION = ("job_failed", "refused", "failed", "unknown", "rejected")
_AS_EXPECTED = ("erased", "exported", "excluded", "duplicate")


@dataclass(frozen=True)
class VerifyRequest:
    """Which ledgers to look at, which heads must be among their commits, and whose rows they must
    account for.

    `sealed` are heads that ledgers must have among their own, as a seal says it.
    `receipts` are files that `run` and `follow` wrote: their heads are expected as well. So are
    those of `stamps`, file → what it says; `expect_stamps` wants one for each ledger, all good.
    `anew` has roots for certificates computed and samples drawn anew, which takes another reading.
    `reading` is how `input_path` is to be read, as far as that was asked. `rows_path` is where a
    table of all rows is put. `expect_done` wants every row (without an input, every key) to be
    erased that is not on hold. `naming` gives the ledgers' pseudonyms, should they have such.
    `by_itself` looks at a shard's ledger for its own sake: none of the others is missed.
    """

    ledgers: Sequence[str]
    heads: Sequence[str] = ()
    sealed: Sequence[SealedHead] = ()
    receipts: Sequence[str] = ()
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    expect_stamps: bool = False
    input_path: str | None = None
    reading: Reading = field(default_factory=Reading)
    rows_path: str | None = None
    expect_done: bool = False
    anew: bool = False
    naming: Callable[[], KeyNaming] = lambda: RAW_KEYS
    by_itself: bool = False


@dataclass
class VerifyResult(StampedResult):
    """What `verify` found: the object that `--json` prints.

    `states` counts the rows of the input by what became of them (without an input, the keys of the
    ledgers); `erased` is one of them. `sealed` says which commit a sealed head is (None: it is
    gone) and what follows it. `unaccounted` are the rows that were not reached, sent
    without an outcome, or rejected without a line that says so, `unaccounted_lines` the first of
    them. `receipts` names in `differs` what a receipt says otherwise than the ledgers.
    `missing_shards` are those whose ledgers are not among these; rows of theirs are in `states` as
    `missing_shard`, and not in `unaccounted`, since nothing can be said of them.
    `held_too_late` counts the keys that came on hold when they may have been sent already,
    `extra` the keys of the ledgers that the input does not have. `probes` is what came of samples
    of the erased people, None if there was none. `kind` is that of the jobs: by an
    `export` nobody is erased.
    """

    kind: str = "removal"
    erased: int = 0
    expect_done: bool = False

    expected_heads: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    sealed: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    input: dict[str, Any] | None = None
    other_sheets: list[str] = field(default_factory=list)
    missing_shards: list[dict[str, int]] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    held_too_late: int = 0
    probes: Probes | None = None
    unaccounted: int = 0
    unaccounted_lines: list[int] = field(default_factory=list)
    extra: int = 0
    extra_lines: list[dict[str, Any]] = field(default_factory=list)
    rehearsal: bool = False

    def fail(self, error: BulkEraserError, *, begun: bool = False) -> None:
        """A bug is no word about the ledger, whatever its usual text says of it."""
        if error.exit_code is ExitCode.INTERNAL:
            bug = type(error.__cause__ or error).__name__
            error = BulkEraserError(
                f"Internal error: {bug}. Nothing is proven by this; please report this line."
            )
        super().fail(error, begun=begun)

    @property
    def not_erased(self) -> int:
        """How many of `states` were to be erased and are not, as far as is known."""
        return sum(n for state, n in self.states.items() if state not in _AS_EXPECTED)


def verify(
    request: VerifyRequest,
    result: VerifyResult,
    progress: Callable[[int], None],
    notes: Notes | None = None,
) -> None:
    """Look at everything, note it in `result`, and conclude. What was found before an error stays.

    `notes`, if given, are filled by the same reading. Raises `UsageError`, `InputError`,
    `ConfigurationError` and `LedgerWriteError` for what cannot be looked at; what is wrong with a
    ledger raises nothing.
    """
    result.expect_done, result.expect_stamps = request.expect_done, request.expect_stamps
    receipts = {path: read_receipt(path) for path in request.receipts}
    heads = list(dict.fromkeys([*request.heads, *(it.head or GENESIS for it in receipts.values())]))
    with ExitStack() as opened:
        if notes is None and request.rows_path:
            notes = Notes(opened.enter_context(closing(KeyNotes(datetime.now(UTC).date()))))
            notes.add_row = opened.enter_context(new_table(request.rows_path))
        again = SecondReading()
        folds: list[AuditFold] = [again] if request.anew else []
        probes = ProbeNotes()
        folds.append(probes)
        if notes is not None:
            folds += [notes.keys, notes.runs]
        stamped = [stamp.head for stamp in request.stamps.values() if stamp.head]
        expected = [*heads, *stamped, *(it.head for it in request.sealed)]
        audit = opened.enter_context(closing(Audit(request.ledgers, expected, folds)))
        if notes is not None:
            notes.accounts = audit.ledgers
        again.note_wrong_ones(audit.ledgers, audit.findings)
        known = _note_ledgers(result, audit, expected)
        if audit.shards is not None and not request.by_itself:
            result.missing_shards = [msgspec.to_builtins(it) for it in audit.shards.missing]
        result.expected_heads = {head: known[head] for head in heads}
        _note_sealed(result, audit, request.sealed)
        _note_receipts(result, audit, receipts)
        for path, stamp in request.stamps.items():
            result.note_stamp(path, stamp, known[stamp.head] if stamp.head else None)
        if request.input_path is None:
            _account_for_keys(result, audit, notes)
        else:
            _account_for_rows(request, request.input_path, result, audit, progress, notes)
        for word, count in audit.findings.counts.items():
            places = _places(audit, audit.findings.places[word])
            result.findings[word] = {"count": count, "lines": places}
        result.erased, result.held_too_late = result.states.get("erased", 0), audit.held_too_late
        result.probes = probes.summary()
        _conclude(result, audit)
        no_input = request.input_path is None
        result.attention = [
            Attention(state, count)
            for state, count in result.states.items()
            if count and (state in _NEEDS_ATTENTION or (no_input and state in _UNACCOUNTED))
        ]
        if result.unaccounted:
            lines = result.unaccounted_lines
            result.attention.append(Attention("unaccounted", result.unaccounted, lines))


def _conclude(result: VerifyResult, audit: Audit) -> None:
    """79 for what nobody wrote, 3 for what is not accounted for, or not as expected."""
    damaged = [account for account in audit.ledgers if account.damage]
    lost = [head for head, place in result.expected_heads.items() if place is None]
    unproven = any(place and place["commit"] is None for place in result.expected_heads.values())
    # 1. Not what was written: nothing else that was found can be relied on.
    if damaged:
        result.error = damaged[0].damage
    elif lost:
        of = [it["receipt"] for it in result.receipts if it["head"] == lost[0]]
        which = f", that of the receipt {of[0]}," if of else ""
        result.error = (
            f"The expected head {lost[0][:12]}…{which} is not one of the commits: the ledger was "
            "cut off before it, or rewritten."
        )
    elif gone := [it for it in result.sealed if it["commit"] is None]:
        result.error = (
            f"The ledger {gone[0]['ledger']} does not have the head that was sealed, "
            f"{gone[0]['head'][:12]}…: it was cut off before it, or rewritten."
        )
    elif wrong := [receipt for receipt in result.receipts if receipt["differs"]]:
        result.error = (
            f"The receipt {wrong[0]['receipt']} does not say what the ledger says of its run "
            f"({', '.join(wrong[0]['differs'])}): it was changed, or is that of another ledger."
        )
    elif other := [stamp for stamp in result.timestamps if stamp["why"] == OF_ANOTHER]:
        result.error = (
            f"The time stamp {other[0]['stamp']} is of a head that is not one of the commits: the "
            "ledger was cut off before it, or rewritten, or the stamp is that of another ledger."
        )
    elif audit.findings.is_forged:
        result.error = "The ledger holds lines that no run writes; see the findings."
    if result.error:
        result.outcome, result.exit_code = "refused", ExitCode.LEDGER_DAMAGED
    # 2. What was written, but not all is well.
    elif (
        result.unaccounted
        or unproven
        or (result.input is not None and (result.rehearsal or result.missing_shards))
        or audit.findings.counts
        or audit.held_too_late
        or (result.probes is not None and result.probes.came_back)
        or (result.expect_done and (result.not_erased or result.rehearsal))
        or any(account.tail_bytes or not account.commits for account in audit.ledgers)
    ):
        result.outcome, result.exit_code = "incomplete", ExitCode.SOME_ROWS


# ── ledgers ─────────────────────────────────────────────────────────────────────────────────────


def _note_ledgers(
    result: VerifyResult, audit: Audit, heads: Sequence[str]
) -> dict[str, dict[str, Any] | None]:
    """Returns where the ledgers have these heads; None for one that they do not have."""
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(heads)
    result.rehearsal = audit.is_rehearsal
    result.kind = "export" if audit.is_export else "removal"
    for account in audit.ledgers:
        facts = {name: getattr(account, name) for name in _FACTS}
        derived = msgspec.to_builtins(account.derived_from)
        if account.derived_from is not None and account.derived_from.head in heads:
            found[account.derived_from.head] = _of_the_old_one(account)
        runs = [_run(run) for run in account.runs]
        result.ledgers.append(
            {"ledger": account.path, **facts, "derived_from": derived, "runs": runs}
        )
        for head, (commit, line) in account.kept.items():
            found[head] = {
                "ledger": account.path,
                "commit": commit,
                "commits_after": account.commits - commit,
                "lines_after": account.lines - line,
            }
    return found


def _note_sealed(result: VerifyResult, audit: Audit, sealed: Sequence[SealedHead]) -> None:
    accounts = {account.path: account for account in audit.ledgers}
    for path, head, _ in sealed:
        account = accounts[path]
        commit, line = account.kept.get(head, (None, None))
        about = {"ledger": path, "head": head, "commit": commit}
        about["commits_after"] = None if commit is None else account.commits - commit
        about["lines_after"] = None if line is None else account.lines - line
        result.sealed.append(about)


def _note_receipts(result: VerifyResult, audit: Audit, receipts: dict[str, Receipt]) -> None:
    runs = {run.started.run: run for account in audit.ledgers for run in account.runs}
    for path, receipt in receipts.items():
        about = {
            "receipt": path,
            "head": receipt.head or GENESIS,
            "run": receipt.run,
            "timestamp": receipt.timestamp,
            "differs": differences(receipt, runs.get(receipt.run)),
        }
        result.receipts.append(about)


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
        "shard": msgspec.to_builtins(started.shard),
        "outcome": finished.outcome if finished else None,
        "exit_code": finished.exit_code if finished else None,
        "counts": finished.counts if finished else None,
        "lines": run.lines_by_type,
        "conserved": run.is_conserved,
    }


def _places(audit: Audit, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"ledger": audit.ledgers[number].path, "line": line} for number, line in places]


def states_of(audit: Audit) -> list[str]:
    """What may become of a row: nobody is erased by an export, nor exported by an erasure."""
    cannot_be = {"erased" if audit.is_export else "exported"}
    if audit.shards is None or not audit.shards.missing:
        cannot_be.add("missing_shard")
    return [state for state in STATES if state not in cannot_be]


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


def _account_for_keys(result: VerifyResult, audit: Audit, notes: Notes | None) -> None:
    """Without an input: the keys of the ledgers, and what their last runs say of all others."""

    def look(partition: int, states: dict[bytes, KeyState]) -> None:
        if notes is not None:
            notes.keys.join(partition, states, audit.ledger_of)

    counts = audit.walk(look)
    result.states = {state: 0 for state in states_of(audit) if state not in _OF_ROWS}
    for state, count in counts.items():
        result.states[state.word] += count
    result.states["not_reached"] = 0  # of those that the ledgers name, the last runs know as well
    for account in audit.ledgers:
        result.states["not_reached"] += account.facts.not_reached(account.states)
        result.states["rejected"] += account.facts.rejected


def _account_for_rows(
    request: VerifyRequest,
    path: str,
    result: VerifyResult,
    audit: Audit,
    progress: Callable[[int], None],
    notes: Notes | None,
) -> None:
    audit.must_be_of_one_target()
    naming = _naming(audit.ledgers, request.naming)
    reader = InputReader(path, _as_it_was_read(audit.ledgers, path, request.reading))
    part = audit.shards if audit.shards and audit.shards.missing else None
    intake = Intake(reader, naming=naming, part=part)
    with closing(read_survey(intake, progress)) as survey, closing(RowPlaces()) as row_places:

        def states(partition: int) -> dict[bytes, KeyState]:
            of_input = survey.digests(partition)
            known = audit.states(partition, of_input)
            if notes is not None:
                named = {digest: state for digest, state in known.items() if digest in of_input}
                notes.keys.join(partition, named, audit.ledger_of)
                if notes.add_row is not None:
                    places = notes.keys.places_of(partition, audit.ledger_of)
                    for digest, row in survey.places(partition):
                        if digest in places:
                            row_places.put(row, places[digest])
            return known

        survey.decide(states, retry_failed=True)
        if notes is not None:
            notes.runs.rejected[survey.facts().identity()] = {
                word: Reason(count, survey.error_lines[word][:EXAMPLES])
                for word, count in survey.own_errors.items()
            }
        _note_rows(result, audit, survey, notes, row_places)


def _note_rows(
    result: VerifyResult,
    audit: Audit,
    survey: Survey,
    notes: Notes | None,
    row_places: RowPlaces,
) -> None:
    """What became of every row of the input, into `result` and into the table."""
    facts = survey.facts()
    result.input = msgspec.to_builtins(facts)
    result.other_sheets = survey.reader.other_sheets
    recorded = audit.recorded_until(facts)
    with ExitStack() as opened:
        add_row = notes.add_row if notes is not None else None
        if notes is not None and add_row is not None:
            lines = opened.enter_context(closing(notes.lines()))
        # All rows are read and counted again; handed out are those about which something is told.
        but = () if add_row is not None else _NOTHING_TO_TELL
        for number, row in enumerate(survey.second_reading(but)):
            unrecorded = row.decision.action is Action.REJECT and row.row.line > recorded
            if unrecorded or row.decision.word in _UNACCOUNTED:
                result.unaccounted += 1
                if len(result.unaccounted_lines) < EXAMPLES:
                    result.unaccounted_lines.append(row.row.line)
            if add_row is not None:
                add_row(cells_of_row(row, row_places.at(number), lines))
    result.states = dict.fromkeys(states_of(audit), 0)
    for decision, count in survey.decisions.items():
        result.states[decision.word] += count
    result.extra = audit.extra
    result.extra_lines = _places(audit, audit.extra_places)


def _naming(ledgers: list[LedgerAccount], pseudonyms: Callable[[], KeyNaming]) -> KeyNaming:
    """How the ledgers name keys. Raises `ConfigurationError` where the input cannot be compared."""
    kinds = {(run.started.keys, run.started.pepper_check) for it in ledgers for run in it.runs}
    if not kinds or (RAW, None) in kinds:
        return RAW_KEYS
    naming = pseudonyms()
    if (naming.kind, naming.pepper_check) not in kinds:
        raise ConfigurationError(
            "The pepper in the file that BULK_ERASER_PEPPER_FILE names is not the one with which "
            "the ledger was written. Name the right file."
        )
    return naming


def _as_it_was_read(ledgers: list[LedgerAccount], path: str, asked: Reading) -> Reading:
    """How the last run that had this very file read it, for what is not asked otherwise."""
    read = [run.started.input for account in ledgers for run in account.runs if run.started.input]
    if not os.path.isfile(path):  # a pipe, which is read only once, or what the reader will tell
        return asked
    try:
        if os.stat(path).st_size not in {facts.bytes for facts in read}:
            return asked
        with open(path, "rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError:  # which the reader will tell
        return asked
    known = next((facts for facts in reversed(read) if facts.sha256 == digest), None)
    if known is None:
        return asked
    was = Reading(
        format=known.format,
        key_field=known.key_field,
        header=known.header,
        header_row=known.header_row,
        delimiter=known.delimiter,
        encoding=None if known.format == "xlsx" else known.encoding,
        sheet=known.sheet,
        received_field=known.received_field,
        received_format=known.received_format,
        reference_field=known.reference_field,
    )
    # What is repeated does no harm; with anything else it is another reading of the file.
    says_otherwise = any(
        getattr(asked, it.name) not in (it.default, getattr(was, it.name)) for it in fields(Reading)
    )
    return asked if says_otherwise else was

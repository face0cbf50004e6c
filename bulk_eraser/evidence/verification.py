"""What `verify` does and finds: the ledgers audited, every row of the input accounted for.

One pass over each ledger, one survey of the input, and one more reading of its rows, which tells
what became of each and writes the table of rows, if one is asked for.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import fields
from datetime import UTC, datetime
from hashlib import file_digest

import msgspec

from bulk_eraser.errors import (
    Attention,
    ConfigurationError,
    ExitCode,
)
from bulk_eraser.evidence.accounting import LedgerAccount
from bulk_eraser.evidence.audit import Audit
from bulk_eraser.evidence.key_events import AuditFold
from bulk_eraser.evidence.key_notes import KeyNotes
from bulk_eraser.evidence.notes import Notes
from bulk_eraser.evidence.probe_notes import ProbeNotes
from bulk_eraser.evidence.receipt import read_receipt
from bulk_eraser.evidence.row_table import RowPlaces, cells_of_row, new_table
from bulk_eraser.evidence.run_notes import Reason
from bulk_eraser.evidence.second_reading import SecondReading
from bulk_eraser.evidence.timestamp import OF_ANOTHER
from bulk_eraser.evidence.verified_ledgers import (
    note_ledgers,
    note_receipts,
    note_sealed,
    places_in,
)
from bulk_eraser.evidence.verify_request import VerifyRequest, VerifyResult
from bulk_eraser.ledger.chain import GENESIS
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.pseudonyms import RAW, RAW_KEYS, KeyNaming
from bulk_eraser.sources.address import is_remote
from bulk_eraser.sources.file import InputFile
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import WITHOUT_ENCODING, Reading
from bulk_eraser.survey.checks import Intake, read_survey
from bulk_eraser.survey.decision import DECISIONS, Action
from bulk_eraser.survey.survey import Survey

__all__ = ["STATES", "verify"]

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
_NEEDS_ATTENTION = ("job_failed", "refused", "failed", "unknown", "rejected")


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
        known = note_ledgers(result, audit, expected)
        if audit.shards is not None and not request.by_itself:
            result.missing_shards = [msgspec.to_builtins(it) for it in audit.shards.missing]
        result.expected_heads = {head: known[head] for head in heads}
        note_sealed(result, audit, request.sealed)
        note_receipts(result, audit, receipts)
        for path, stamp in request.stamps.items():
            result.note_stamp(path, stamp, known[stamp.head] if stamp.head else None)
        if request.input_path is None:
            _account_for_keys(result, audit, notes)
        else:
            _account_for_rows(request, request.input_path, result, audit, progress, notes)
        for word, count in audit.findings.counts.items():
            where = places_in(audit, audit.findings.places[word])
            result.findings[word] = {"count": count, "lines": where}
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
            notes.keys.join(partition, states, audit.ledger_of, audit.late)

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
    file = InputFile(path) if is_remote(path) else None  # which is fetched only once
    reading = _as_it_was_read(audit.ledgers, path, file, request.reading)
    reader = InputReader(path, reading, file)
    part = audit.shards if audit.shards and audit.shards.missing else None
    intake = Intake(reader, naming=naming, part=part)
    with closing(read_survey(intake, progress)) as survey, closing(RowPlaces()) as row_places:

        def states(partition: int) -> dict[bytes, KeyState]:
            of_input = survey.digests(partition)
            known = audit.states(partition, of_input)
            if notes is not None:
                named = {digest: state for digest, state in known.items() if digest in of_input}
                notes.keys.join(partition, named, audit.ledger_of, audit.late)
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
    result.extra_lines = places_in(audit, audit.extra_places)


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


def _as_it_was_read(
    ledgers: list[LedgerAccount], path: str, fetched: InputFile | None, asked: Reading
) -> Reading:
    """How the last run that had this very file read it, for what is not asked otherwise."""
    read = [run.started.input for account in ledgers for run in account.runs if run.started.input]
    # A pipe is read only once, and what is wrong otherwise the reader will tell.
    if fetched is None and not os.path.isfile(path):
        return asked
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if fetched is None else fetched.open_raw()
        with open(fd, "rb") as file:
            if os.fstat(fd).st_size not in {facts.bytes for facts in read}:
                return asked
            file.seek(0)  # a copy was written through the same descriptor
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
        encoding=None if known.format in WITHOUT_ENCODING else known.encoding,
        sheet=known.sheet,
        received_field=known.received_field,
        received_format=known.received_format,
        reference_field=known.reference_field,
        cluster_field=known.cluster_field,
        cluster=known.cluster,
    )
    # What is repeated does no harm; with anything else it is another reading of the file.
    says_otherwise = any(
        getattr(asked, it.name) not in (it.default, getattr(was, it.name)) for it in fields(Reading)
    )
    return asked if says_otherwise else was

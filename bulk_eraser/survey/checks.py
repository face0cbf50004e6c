"""The input gate: what `check` and `run` have in common before anything is sent.

Row-level trouble is counted and the rest goes on; what makes the whole input doubtful refuses it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bulk_eraser.errors import InputError, lines_of, no_temporary_room
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.shard import Part
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.survey.hold_list import read_hold_list
from bulk_eraser.survey.survey import Survey

__all__ = ["Allow", "Intake", "must_be_usable", "read_survey", "survey_of"]


class Allow(StrEnum):
    """What refuses an input as a whole unless `--allow` names it. Those that `survey.warnings`
    counts have its words."""

    NUMERIC_LIKE = "numeric_like"
    TORN_END = "torn_end"
    DATES = "dates"
    PERSONAL = "personal"
    PLACEHOLDER = "placeholder"
    DUPLICATES = "duplicates"
    SEPARATOR = "separator"


_NO_KEYS = {
    Allow.DATES: "look like dates",
    Allow.PERSONAL: "look like e-mail addresses",
    Allow.PLACEHOLDER: "are placeholders such as NULL",
}
"""What more than half of the keys of a wrong column do."""


@dataclass(frozen=True)
class Intake:
    """What is read, and what of it is let through. `hold_list` is the reader of `--exclude`,
    `naming` tells what keys are called in the ledger, `part` which rows are meant (None: all)."""

    reader: InputReader
    hold_list: InputReader | None = None
    strict: bool = False
    allowed: frozenset[Allow] = frozenset()
    naming: KeyNaming = RAW_KEYS
    part: Part | None = None


def read_survey(intake: Intake, progress: Callable[[int], None]) -> Survey:
    """Read the whole input and its hold list; `decide` is to come. Close it when done.

    Raises `InputError` when one of them cannot be read, `TemporaryFolderFull` when the temporary
    folder is full.
    """
    survey = Survey(intake.reader, intake.naming, intake.part)
    try:
        survey.read(progress)
        if intake.hold_list is not None:
            survey.hold_list = read_hold_list(
                intake.hold_list,
                intake.naming,
                allow_numeric_like=Allow.NUMERIC_LIKE in intake.allowed,
                allow_torn_end=Allow.TORN_END in intake.allowed,
            )
    except OSError as error:
        survey.close()
        raise no_temporary_room(error) from None
    except BaseException:  # Ctrl-C as well: the temporary files are given back
        survey.close()
        raise
    return survey


def survey_of(
    intake: Intake,
    states: Callable[[int], dict[bytes, KeyState]] = lambda _partition: {},
    *,
    retry_failed: bool = False,
    exported: Callable[[int], set[bytes]] | None = None,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Survey:
    """Read all, and decide about every row by the state of its key; `exported`, if given, has the
    digests of the keys of a partition that may be sent. Close it when done.

    Raises as `read_survey`, and what `states` raises.
    """
    survey = read_survey(intake, progress)
    try:
        survey.exported = exported
        survey.decide(states, retry_failed=retry_failed)
    except BaseException:  # Ctrl-C as well: the temporary files are given back
        survey.close()
        raise
    return survey


def must_be_usable(survey: Survey, intake: Intake) -> None:
    """Raises `InputError` where some rows make the whole input doubtful."""
    name = intake.reader.file.name
    rounded = survey.suspects.get(Allow.NUMERIC_LIKE)
    if rounded and Allow.NUMERIC_LIKE not in intake.allowed:
        where = lines_of(rounded.lines, rounded.keys)
        raise InputError(
            f"{name} holds keys that a spreadsheet seems to have changed, such as 4,01E+15 or "
            f'="0012" ({where}). Export the keys again as text. If they are right as they are, '
            "use --allow numeric_like. Nothing was sent."
        )
    if survey.is_end_torn and Allow.TORN_END not in intake.allowed:
        raise InputError(
            f"{name} seems to be cut off: its last row has no line end, and its key is shorter "
            "than the others. Nothing was sent. Get the whole file; if it is whole, use --allow "
            "torn_end."
        )
    _must_be_one_column(survey, intake)
    _must_be_the_right_column(survey, intake)
    if intake.strict and survey.errors:
        word, lines = next(iter(survey.error_lines.items()))
        raise InputError(
            f"{name} has {survey.errors.total()} rows that cannot be sent (line {lines[0]}: "
            f"{word}), and --strict is given. Nothing was sent. Correct them or leave --strict out."
        )
    held = survey.hold_list
    if held is not None and held.header_is_a_key:
        raise InputError(
            f"The first line of the hold list {held.name} is a key of the input, and would be "
            "taken for the column's name. Put the line customerKey above it. Nothing was sent."
        )
    if held is not None and held.near_misses:
        where = lines_of(held.near_misses, len(held.near_misses))
        raise InputError(
            f"The hold list {held.name} has entries that the input has in another spelling only "
            f"(upper and lower case, or Unicode form; {where}), so they "
            "would not be held. Write them as the input does, or take them off the list. Nothing "
            "was sent."
        )


def _must_be_one_column(survey: Survey, intake: Intake) -> None:
    """Raises `InputError` where every key, of a few at least, is like `C-1;Anna`."""
    found = survey.suspects.get(Allow.SEPARATOR)
    if not found or Allow.SEPARATOR in intake.allowed or found.keys < max(3, survey.facts().keys):
        return
    raise InputError(
        f"{intake.reader.file.name} seems to have several columns that were read as one: every key "
        f"contains ; or | ({lines_of(found.lines, found.keys)}). Nothing was sent. Use --delimiter "
        "to name the character between the columns. If these are the keys, use --allow separator."
    )


def _must_be_the_right_column(survey: Survey, intake: Intake) -> None:
    """Raises `InputError` where most keys look like something else, or most rows like each other.

    That holds for a single key as well: an e-mail address alone is no better a key than a thousand.
    """
    facts, wrong = survey.facts(), {}
    for word, what in _NO_KEYS.items():
        found = survey.suspects.get(word)
        if found and 2 * found.keys > facts.keys:
            where = lines_of(found.lines, found.keys)
            wrong[word] = f"{found.keys:,} of {facts.keys:,} keys {what} ({where})"
    if 2 * facts.duplicate > facts.rows:
        repeated = f"{facts.duplicate:,} of {facts.rows:,} rows"
        wrong[Allow.DUPLICATES] = f"{repeated} have the key of an earlier row"
    if words := wrong.keys() - intake.allowed:
        options = " ".join(f"--allow {word}" for word in wrong if word in words)
        raise InputError(
            f"{facts.name} seems to have its keys in another column: {'; '.join(wrong.values())}. "
            "Nothing was sent. Use --key-field to name the column with the customer keys. If these "
            f"are the keys, use {options}."
        )

"""What a survey found, in words: for `run` in a few lines, for `check` as a table."""

from bulk_eraser.cli.output import Output
from bulk_eraser.cli.wording import SUSPECTS, counted, duration, lines_of, printable
from bulk_eraser.records import ROW_ERRORS, InputFacts
from bulk_eraser.survey.survey import Fate, Survey

__all__ = [
    "at_least",
    "describe_input",
    "how_it_was_read",
    "survey_table",
    "warn_of_hold_list",
]


def describe_input(survey: Survey, output: Output) -> None:
    """How the input was read, what is not sent and why, and what is odd about the keys."""
    facts, fates = survey.facts(), survey.fates
    output.say(
        f"Input {printable(facts.name)}: {counted(facts.rows, 'row')}, "
        f"{counted(facts.keys, 'different key')} ({how_it_was_read(facts)})"
    )
    if assumed := _assumed_column(survey):
        output.say(f"  {assumed}")
    if survey.errors:
        output.say(f"  {counted(survey.errors.total(), 'row')} rejected, and not sent:")
        for word, count in survey.errors.most_common():
            output.say(f"    {count:,} {word} ({lines_of(survey.error_lines[word], count)})")
    if facts.duplicate:
        output.say(f"  {counted(facts.duplicate, 'duplicate row')}: each key is sent once")
    if survey.stripped:
        output.say(
            f"  blanks around the key, which are not sent: {counted(survey.stripped, 'row')}"
        )
    if fates[Fate.EXCLUDED]:
        held = counted(fates[Fate.EXCLUDED] - survey.held_too_late, "key")
        output.say(f"  on the hold list, and not sent: {held}")
    warn_of_hold_list(survey, output)
    for word, found in survey.suspects.items():
        lines = lines_of(found.lines, found.keys)
        output.warn(f"{counted(found.keys, 'key')} {SUSPECTS[word]} ({lines})")


def warn_of_hold_list(survey: Survey, output: Output) -> None:
    """A hold that matches nothing may be the wrong list, or a key that was mistyped."""
    if survey.held_too_late:
        lines = lines_of(survey.held_too_late_lines, survey.held_too_late)
        output.warn(
            f"{counted(survey.held_too_late, 'key')} of the hold list went out in an earlier run "
            f"({lines}): a removal job waits a day before it begins, so ask Voyado at once."
        )
    held = survey.hold_list
    if held is not None and held.unknown:
        output.warn(
            f"{counted(held.unknown, 'key')} of the hold list {printable(held.name)} not found in "
            "this input. Is it the right list?"
        )


def survey_table(survey: Survey) -> str:
    """All that was found, with the numbers in one column."""
    facts, fates = survey.facts(), survey.fates
    width = max(6, len(f"{facts.rows:,}"))
    rows: list[tuple[int, int, str]] = [
        (0, facts.rows, "rows"),
        (0, facts.keys - fates[Fate.EXCLUDED], "different keys to send"),
    ]
    if fates[Fate.EXCLUDED]:
        rows.append((0, fates[Fate.EXCLUDED], "different keys on the hold list: not sent"))
    if facts.duplicate:
        rows.append((0, facts.duplicate, "duplicate rows: each key is sent once"))
    if survey.errors:
        rows.append((0, facts.rejected, "rows rejected: not sent"))
        for word, count in survey.errors.most_common():
            lines = lines_of(survey.error_lines[word], count)
            rows.append((1, count, f"{word}: {ROW_ERRORS[word]} ({lines})"))
    if survey.stripped:
        rows.append((0, survey.stripped, "rows with blanks around the key, which are not sent"))
    for word, found in survey.suspects.items():
        lines = lines_of(found.lines, found.keys)
        rows.append((0, found.keys, f"{word}: {SUSPECTS[word]} ({lines})"))
    how = f"Input {printable(facts.name)}: {facts.bytes:,} bytes, {how_it_was_read(facts)}"
    if assumed := _assumed_column(survey):
        how += f"\n{assumed}"
    table = [f"{'  ' * depth}{number:>{width},}  {text}" for depth, number, text in rows]
    return "\n".join([how, f"SHA-256 {facts.sha256}", "", *table])


def at_least(keys: int, rate: float) -> str:
    """How long a run takes if the service keeps up; `rate` in requests a second."""
    takes = f"{counted(keys, 'key')} {'takes' if keys == 1 else 'take'}"
    return f"At {rate:g} requests a second, {takes} {duration(max(1, keys / rate))} at least."


def how_it_was_read(facts: InputFacts) -> str:
    how = [facts.format, f"{'member' if facts.format == 'ndjson' else 'column'} {facts.key_field}"]
    if facts.sheet is not None:
        how.insert(1, f"sheet {facts.sheet}")
    if facts.delimiter is not None:
        how.append("delimiter tab" if facts.delimiter == "\t" else f"delimiter “{facts.delimiter}”")
    if facts.format != "xlsx":
        how.append(facts.encoding)
    return ", ".join(map(printable, how))


def _assumed_column(survey: Survey) -> str | None:
    """What to say where the first line was taken for a header for want of a known name."""
    asked, name = survey.reader.asked, survey.reader.reading.key_field
    if asked.format == "ndjson" or not asked.header or asked.key_field is not None:
        return None
    if name in (None, "customerKey"):
        return None
    return (
        f"The first line was taken for the name of the only column ({printable(name or '')}); if "
        "it is a customer key, say --no-header."
    )

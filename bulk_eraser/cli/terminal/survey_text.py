"""What a survey found, in words: for `run` in a few lines, for `check` as a table."""

from collections.abc import Iterable, Iterator

from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import lines_of
from bulk_eraser.records import InputFacts
from bulk_eraser.sources.rows import KEY_NAMES, WITHOUT_ENCODING
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.survey import Survey
from bulk_eraser.wording import (
    counted,
    duration,
    plural,
    printable,
    row_error,
    suspect,
)

__all__ = [
    "at_least",
    "describe_input",
    "how_it_was_read",
    "survey_table",
    "unknown_holds",
    "warn_of_hold_list",
]


def describe_input(survey: Survey, output: Output, *, why_rejected: bool) -> None:
    """How the input was read, what is not sent (and why), and what is odd about the keys."""
    facts, on_hold = survey.facts(), survey.count(action=Action.EXCLUDE)
    errors = survey.own_errors
    output.say(
        f"Input {printable(facts.name)}: {counted(facts.rows, 'row')}, "
        f"{counted(facts.keys, 'different key')} ({how_it_was_read(facts)})"
    )
    if assumed := _assumed_column(survey):
        output.say(f"  {assumed}")
    if shard := _shard_line(survey):
        output.say(f"  {shard}")
    if errors:
        colon = ":" if why_rejected else ""
        output.say(f"  {counted(errors.total(), 'row')} rejected (not sent){colon}")
        for word, count in errors.most_common() if why_rejected else []:
            output.say(f"    {count:,}  {row_error(word, survey.error_lines[word], count)}")
    if duplicate := survey.own_facts().duplicate:
        output.say(f"  {counted(duplicate, 'duplicate row')}: each key is sent once")
    if survey.stripped:
        rows = counted(survey.stripped, "row")
        output.say(f"  {rows} with spaces around the key: sent without them")
    if in_time := on_hold - survey.held_too_late:
        output.say(f"  {counted(in_time, 'key')} on the hold list: not sent")
    warn_of_hold_list(survey, output)
    for word, found in survey.suspects.items():
        output.warn(f"{counted(found.keys, 'key')} {suspect(word, found.lines, found.keys)}")


def warn_of_hold_list(survey: Survey, output: Output) -> None:
    """A hold that matches nothing may be the wrong list, or a key that was mistyped."""
    if late := survey.held_too_late:
        lines = lines_of(survey.held_too_late_lines, late)
        output.warn(
            f"{counted(late, 'key')} on the hold list {'was' if late == 1 else 'were'} sent in an "
            f"earlier run ({lines}). A removal job waits a day before it begins, so contact Voyado "
            "at once."
        )
    held = survey.hold_list
    # Of a list for several clusters, what one of them lacks says nothing: see `unknown_holds`.
    if held is not None and held.unknown and survey.facts().cluster is None:
        output.warn(
            f"{counted(held.unknown, 'key')} on the hold list {printable(held.name)} "
            f"{'is' if held.unknown == 1 else 'are'} not in this input. Is it the right list?"
        )


def unknown_holds(held: Iterable[HoldList | None]) -> Iterator[str]:
    """What to warn of where the rows of several clusters stand in one input: keys of a hold list
    that none of the clusters has which have this list. There may be more of them, if a key that is
    held is in the rows of two."""
    of: dict[str, list[HoldList]] = {}
    for it in filter(None, held):
        of.setdefault(it.sha256, []).append(it)
    for lists in of.values():
        first = lists[0]
        unknown = first.entries - sum(it.entries - it.unknown for it in lists)
        if unknown > 0:
            yield (
                f"{counted(unknown, 'key')} on the hold list {printable(first.name)} "
                f"{'is' if unknown == 1 else 'are'} in none of the rows that it is for. Is it the "
                "right list?"
            )


def survey_table(survey: Survey) -> str:
    """All that was found, with the numbers in one column."""
    facts, held = survey.own_facts(), survey.count(action=Action.EXCLUDE)
    keys, of_input = facts.keys - held, survey.facts()
    rows: list[tuple[int, int, str]] = [
        (0, facts.rows, plural(facts.rows, "row")),
        (0, keys, f"different {plural(keys, 'key')} to send"),
    ]
    if held:
        rows.append((0, held, f"different {plural(held, 'key')} on the hold list: not sent"))
    if facts.duplicate:
        repeated = plural(facts.duplicate, "row")
        rows.append((0, facts.duplicate, f"duplicate {repeated}: each key is sent once"))
    if survey.own_errors:
        rows.append((0, facts.rejected, f"{plural(facts.rejected, 'row')} rejected: not sent"))
        for word, count in survey.own_errors.most_common():
            rows.append((1, count, row_error(word, survey.error_lines[word], count)))
    if survey.stripped:
        spaced = plural(survey.stripped, "row")
        rows.append((0, survey.stripped, f"{spaced} with spaces around the key: sent without them"))
    for word, found in survey.suspects.items():
        rows.append((0, found.keys, f"{word}: {suspect(word, found.lines, found.keys)}"))
    width = max(6, len(f"{facts.rows:,}"))
    read = f"{of_input.bytes:,} bytes, {how_it_was_read(of_input)}"
    how = f"Input {printable(of_input.name)}: {read}"
    if assumed := _assumed_column(survey):
        how += f"\n{assumed}"
    table = [f"{'  ' * depth}{number:>{width},}  {text}" for depth, number, text in rows]
    head = [how, f"SHA-256 {of_input.sha256}", *filter(None, [_shard_line(survey)])]
    return "\n".join([*head, "", *table])


def _shard_line(survey: Survey) -> str | None:
    shard, rows = survey.shard_facts(), survey.facts().rows
    if shard is None:
        return None
    odd = "; what looks odd is told of all rows" if survey.suspects else ""
    return (
        f"Shard {shard.index} of {shard.of}: {shard.rows:,} of {counted(rows, 'row')}, "
        f"{counted(shard.keys, 'different key')}{odd}"
    )


def at_least(keys: int, rate: float) -> str:
    """How long a run takes if the service keeps up; `rate` in requests a second."""
    time = duration(max(1, keys / rate))
    pace = f"{rate:,.1f}".removesuffix(".0") if rate >= 1 else f"{rate:.2g}"
    return f"At {pace} requests a second, {counted(keys, 'key')} will take at least {time}."


def how_it_was_read(facts: InputFacts) -> str:
    how = [facts.format, f"{'field' if facts.format == 'ndjson' else 'column'} {facts.key_field}"]
    if facts.sheet is not None:
        how.insert(1, f"sheet {facts.sheet}")
    if facts.header_row is not None:
        how.append(f"header on line {facts.header_row}")
    if facts.delimiter is not None:
        how.append("delimiter tab" if facts.delimiter == "\t" else f"delimiter “{facts.delimiter}”")
    if facts.format not in WITHOUT_ENCODING:
        how.append(facts.encoding)
    return ", ".join(map(printable, how))


def _assumed_column(survey: Survey) -> str | None:
    """What to say where the first line was taken as a header for want of a known name."""
    asked, name = survey.reader.asked, survey.reader.reading.key_field
    if asked.format in ("ndjson", "parquet") or not asked.header or asked.key_field is not None:
        return None
    if name is None or name in KEY_NAMES:
        return None
    return (
        f"The first line was taken as the name of the only column ({printable(name or '')}). If it "
        "is a customer key, use --no-header."
    )

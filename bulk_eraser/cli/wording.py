"""Words for people: numbers, lines, durations, states."""

__all__ = [
    "LABELS",
    "SUSPECTS",
    "counted",
    "counts_table",
    "duration",
    "lines_of",
    "printable",
]

LABELS = {
    "accepted": "accepted: the service created a removal job",
    "already_settled": "settled by an earlier run",
    "failed": "failed: refused, or out of attempts",
    "unknown": "unknown: may or may not have arrived",
    "not_reached": "not reached in this run",
    "rejected": "rejected rows: not sent",
    "duplicate": "duplicate rows: sent once",
    "excluded": "excluded: on the hold list",
}
"""What became of a row, by the words of `counts`."""
SUSPECTS = {
    "personal": "with an @, as in e-mail addresses. Elevate's keys must not be personal data: is "
    "this the right column?",
    "placeholder": "like NULL or #N/A, which is what a failed look-up leaves behind",
    "not_uuid": "not a UUID, while most of the others are: from another column?",
    "numeric_like": 'like 4,01E+15 or ="0012", so probably changed by a spreadsheet',
    "look_alike": "equal to another but for case or Unicode form; each is a key of its own",
}
"""What is odd about keys, by the words of `sources.suspects`."""


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """`text` without anything that a terminal would act on."""
    return "".join(char if char.isprintable() else "�" for char in text)


def lines_of(lines: list[int], count: int) -> str:
    word = "line" if len(lines) == 1 else "lines"
    return f"{word} {', '.join(f'{line:,}' for line in lines)}{', …' if count > len(lines) else ''}"


def counts_table(counts: dict[str, int]) -> str:
    """The counts as aligned lines; what is 0 is left out, the sum stands at the end."""
    width = len(f"{counts['rows']:,}")
    lines = [
        f"  {counts[name]:>{width},}  {label}" for name, label in LABELS.items() if counts[name]
    ]
    return "\n".join([*lines, f"  {counts['rows']:>{width},}  rows in all"])


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `7 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"

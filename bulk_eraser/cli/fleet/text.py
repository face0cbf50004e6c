"""Many clusters on one screen: a line for each and their sum, 80 columns wide."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Attention, Result
from bulk_eraser.wording import STATE_MEANINGS, attention_in_words, printable

__all__ = [
    "LONGEST_NAME",
    "ClusterOutput",
    "in_all",
    "in_short",
    "lines_of_clusters",
    "shortened",
    "some_of",
    "tell_errors",
    "tell_warnings",
    "told_once",
]

LONGEST_NAME = 16
MOST_REASONS = 4
MOST_NAMES = 5
_AS_IN_TABLES = {"excluded": "on hold", "not_reached": "not sent"}


class ClusterOutput(Output):
    """What is told of one cluster, with its name before it: errors, and all else with --verbose
    only. Warnings are told of all clusters together, by `tell_warnings`."""

    def __init__(self, whole: Output, name: str, *, verbose: bool = False) -> None:
        super().__init__(quiet=whole.quiet or not verbose, json=whole.json, progress=whole.progress)
        self.results, self.messages = whole.results, whole.messages
        self._whole = whole
        self._name = name
        self.warnings: list[str] = []

    def say(self, text: str, *, command: str = "") -> None:
        super().say(f"{self._name}: {text}", command=command)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, text: str) -> None:
        super().error(f"{self._name}: {text}")

    def survey_progress(self, rows: int) -> None:
        self._whole.survey_progress(rows)


def tell_warnings(output: Output, clusters: Mapping[str, ClusterOutput]) -> None:
    """What was warned of since the last time."""
    for line in told_once((name, it) for name, own in clusters.items() for it in own.warnings):
        output.warn(line)
    for own in clusters.values():
        own.warnings.clear()


def tell_errors(output: Output, results: Mapping[str, Result]) -> None:
    """What stopped any of them, but for a signal, which stopped all."""
    stopped = {name: it for name, it in results.items() if it.outcome != "interrupted"}
    for line in told_once((name, it.error) for name, it in stopped.items() if it.error):
        output.error(line)


def told_once(texts: Iterable[tuple[str, str]]) -> list[str]:
    """Each text once, behind the names of all clusters that it is about."""
    of: dict[str, list[str]] = {}
    for name, text in texts:
        of.setdefault(text, []).append(name)
    return [f"{some_of(names)}: {printable(text)}" for text, names in of.items()]


def some_of(names: Sequence[str]) -> str:
    """`uk, de and 18 more`."""
    shown = ", ".join(map(printable, names[:MOST_NAMES]))
    more = len(names) - MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def lines_of_clusters(
    numbers: Sequence[str],
    words: Sequence[str],
    rows: Sequence[tuple[str, Sequence[int], Sequence[str]]],
) -> str:
    """A table: for each cluster its name, its `numbers` and its `words`, and below it the sum.

    Columns of numbers that are all 0 are left out, but for the first, and so are those without a
    word.
    """
    total = [sum(values[n] for _, values, _ in rows) for n in range(len(numbers))]
    kept = [n for n, number in enumerate(total) if number or n == 0]
    said = [n for n in range(len(words)) if any(texts[n] for _, _, texts in rows)]
    lines = [["", *(numbers[n] for n in kept), *(words[n] for n in said)]]
    for name, values, texts in rows:
        cells = [*(f"{values[n]:,}" for n in kept), *(texts[n] for n in said)]
        lines.append([shortened(name, LONGEST_NAME), *cells])
    lines.append([f"{len(rows)} in all", *(f"{total[n]:,}" for n in kept), *("" for _ in said)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = []
    for name, *cells in lines:
        padded = [
            f"{cell:>{width}}" if n < len(kept) else f"{cell:<{width}}"
            for n, (cell, width) in enumerate(zip(cells, widths[1:], strict=True))
        ]
        table.append("  ".join([f"{name:<{widths[0]}}", *padded]).rstrip())
    return "\n".join(table)


def in_short(attention: Sequence[Attention]) -> str:
    """What needs attention and where, the most frequent first, a line for each reason."""
    few = sorted(attention, key=lambda it: -it.count)
    told = [f"  {it.count:,} {attention_in_words(it)}" for it in few[:MOST_REASONS]]
    return "\n".join([*told, "  …"] if few[MOST_REASONS:] else told)


def in_all(results: Mapping[str, Result]) -> str:
    """All keys and rows of the ledgers by what became of them, so that the sum is seen to be right:
    `17 in all: 15 erased, 1 refused, 1 rejected`. Of those that could not be read to their ends
    nothing is counted, and they are named. Nothing if there is none."""
    read = [it for it in results.values() if it.error is None]
    states = Counter[str]()
    for it in read:
        states.update(getattr(it, "counts", None) or getattr(it, "states", {}))
    told = [
        f"{states[word]:,} {_AS_IN_TABLES.get(word) or meaning.partition(':')[0].partition(',')[0]}"
        for word, meaning in STATE_MEANINGS.items()
        if states[word]
    ]
    others = [name for name, it in results.items() if it.error is not None]
    without = f" without {some_of(others)}" if others else ""
    number = sum(states[word] for word in STATE_MEANINGS)
    return f"{number:,} in all{without}: {', '.join(told)}" if told else ""


def shortened(text: str, most: int) -> str:
    plain = printable(text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"

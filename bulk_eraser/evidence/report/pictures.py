"""The pictures of the page as numbers: where each shape begins and how large it is. Pure.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; each shape
has a letter or a label as well.
"""

from dataclasses import dataclass
from math import ceil

from bulk_eraser.evidence.summary import Summary
from bulk_eraser.wording import duration

__all__ = ["Bar", "Chart", "Segment", "bar_of", "days_of", "timeline_of"]

WIDTH = 720
THINNEST = 3.0
"""Of a segment, so that one person among a million is seen."""
WITH_LETTER = 14.0
_COLOURS = {
    "erased": "#009E73",
    "in_progress": "#56B4E9",
    "job_failed": "#D55E00",
    "refused": "#CC79A7",
    "failed": "#E69F00",
    "unknown": "#F0E442",
    "sent": "#B8860B",
    "not_reached": "#9CA3AF",
    "rejected": "#8B5E3C",
    "duplicate": "#D1D5DB",
    "excluded": "#4B5563",
    "missing_shard": "#FFFFFF",
}
_DARK = {"excluded", "rejected"}


@dataclass(frozen=True)
class Segment:
    """A part of the bar: from `x`, `width` wide (of 720); with its letter if there is room."""

    state: str
    letter: str
    count: int
    percent: str
    colour: str
    ink: str
    x: float
    width: float
    has_letter: bool


@dataclass(frozen=True)
class Bar:
    """What became of everybody; the counts of `segments` add up to `total`."""

    segments: list[Segment]
    total: int


@dataclass(frozen=True)
class Chart:
    """Two series of columns, as SVG paths in a field of `width` by `height`; `top` is the value of
    the highest column, `ticks` stand along the bottom, `mark` is a line across, if any."""

    width: int
    height: int
    first: str
    second: str
    top: int
    ticks: list[tuple[float, str]]
    mark: float | None = None


def bar_of(summary: Summary) -> Bar:
    counts = {state: count for state, count in summary.states.items() if count}
    total = sum(counts.values())
    wide = {state: max(THINNEST, WIDTH * count / total) for state, count in counts.items()}
    scale = WIDTH / sum(wide.values()) if wide else 1.0
    segments, x = [], 0.0
    for number, (state, count) in enumerate(counts.items()):
        width = wide[state] * scale
        segments.append(
            Segment(
                state,
                "ABCDEFGHIJKL"[number],
                count,
                _percent(count, total),
                _COLOURS[state],
                "#FFFFFF" if state in _DARK else "#111827",
                round(x, 2),
                round(width, 2),
                width >= WITH_LETTER,
            )
        )
        x += width
    return Bar(segments, total)


def _percent(count: int, total: int) -> str:
    """Never 100 % for less than all, nor 0 % for somebody."""
    share = 100 * count / total
    if count == total:
        return "100 %"
    if share > 99.9:
        return "> 99.9 %"
    return f"{share:.1f} %" if share >= 0.1 else "< 0.1 %"


def days_of(summary: Summary) -> Chart | None:
    """Days from the request until somebody was erased, and for whom it is not over."""
    erased, waiting = summary.days.erased, summary.days.waiting
    if not any(erased) and not any(waiting):
        return None
    last = max(n for n, counts in enumerate(zip(erased, waiting, strict=True)) if any(counts))
    shown = max(35, last + 1)
    ticks = [(day, str(day)) for day in range(0, shown, 5 if shown <= 40 else 10)]
    if last == len(erased) - 1:
        ticks = [tick for tick in ticks if tick[0] < last - 2] + [(last, f"{last}+")]
    return _chart(erased[:shown], waiting[:shown], shown, ticks, mark=31)


def timeline_of(summary: Summary) -> Chart | None:
    """Requests over time, repeats above the rest."""
    timing = summary.timing
    if not any(timing.requests):
        return None
    firsts = [a - b for a, b in zip(timing.requests, timing.repeats, strict=True)]
    shown = max(10, len(firsts))
    step = ceil(shown / 6)
    ticks = [(n, duration(n * timing.width_s) if n else "0") for n in range(0, shown, step)]
    return _chart(firsts, timing.repeats, shown, ticks)


def _chart(
    first: list[int],
    second: list[int],
    shown: int,
    ticks: list[tuple[int, str]],
    mark: int | None = None,
) -> Chart:
    height, slot = 110, WIDTH / shown
    top = max(a + b for a, b in zip(first, second, strict=True))
    columns: tuple[list[str], list[str]] = ([], [])
    for number, (low, high) in enumerate(zip(first, second, strict=True)):
        x, base = number * slot, float(height)
        for count, into in ((low, columns[0]), (high, columns[1])):
            if count:
                tall = max(1.5, height * count / top)
                into.append(f"M{x + 0.5:.1f} {base:.1f}v{-tall:.1f}h{slot - 1:.1f}v{tall:.1f}z")
                base -= tall
    at = [(round((number + 0.5) * slot, 1), text) for number, text in ticks]
    line = None if mark is None else round(mark * slot, 1)
    return Chart(WIDTH, height, "".join(columns[0]), "".join(columns[1]), top, at, line)

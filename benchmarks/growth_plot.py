"""Time and memory by rows, as SVG: both axes of the time are logarithmic, memory is not."""

from collections.abc import Callable, Sequence
from math import ceil, floor, log10

from growth import Grown

WIDTH, HEIGHT, LEFT, TOP, GAP = 460, 300, 60, 40, 60
COLOURS = {
    "check": "#208050",
    "run": "#2060b0",
    "resume": "#d08010",
    "verify": "#a03060",
    "follow": "#606060",
    "pseudonymize": "#7040c0",
    "follow_day": "#20a0a0",
}
MB = 1 << 20

Scale = Callable[[float], float]


def growth_plot(growth: Sequence[Grown]) -> str:
    """Two panels side by side, a line for each command; each ten times the rows is a step."""
    rows = [grown.rows for grown in growth]
    across = scale(log10(rows[0]), max(log10(rows[-1]), log10(rows[0]) + 1), 0, WIDTH)
    times = {name: [grown.commands[name].wall_s for grown in growth] for name in growth[0].commands}
    peaks = {
        name: [grown.commands[name].peak / MB for grown in growth] for name in growth[0].commands
    }
    every = [second for seconds in times.values() for second in seconds]
    lowest, highest = floor(log10(min(every))), ceil(log10(max(every)))
    most = max(50 * ceil(max(max(p) for p in peaks.values()) / 50), 50)
    seconds_up = scale(lowest, highest, HEIGHT, 0)
    memory_up = scale(0, most, HEIGHT, 0)
    width = 2 * (LEFT + WIDTH) + GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + 50}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{TOP + HEIGHT + 50}" fill="white"/>',
            *panel(
                LEFT,
                "seconds",
                [(seconds_up(power), f"{10.0**power:g}") for power in range(lowest, highest + 1)],
                [(across(log10(n)), f"{n:,}") for n in rows],
                {name: [seconds_up(log10(s)) for s in line] for name, line in times.items()},
            ),
            *panel(
                2 * LEFT + WIDTH + GAP // 2,
                "peak memory, MB",
                [(memory_up(mark), f"{mark}") for mark in range(0, most + 1, 50)],
                [(across(log10(n)), f"{n:,}") for n in rows],
                {name: [memory_up(peak) for peak in line] for name, line in peaks.items()},
            ),
            "</svg>\n",
        ]
    )


def panel(
    left: int,
    title: str,
    marks: Sequence[tuple[float, str]],
    rows: Sequence[tuple[float, str]],
    lines: dict[str, list[float]],
) -> list[str]:
    """Axes, marks, and the lines with their names; places are already those of the panel."""
    parts = [f'<text x="{left}" y="{TOP - 18}">{title}</text>']
    for y, text in marks:
        parts += [
            f'<line x1="{left}" x2="{left + WIDTH}" y1="{TOP + y:.0f}" y2="{TOP + y:.0f}" '
            'stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{TOP + y + 4:.0f}" text-anchor="end">{text}</text>',
        ]
    for x, text in rows:
        anchor = "end" if x == rows[-1][0] and len(rows) > 1 else "middle"
        parts.append(
            f'<text x="{left + x:.0f}" y="{TOP + HEIGHT + 18}" text-anchor="{anchor}">{text}</text>'
        )
    parts.append(
        f'<text x="{left + WIDTH // 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">rows</text>'
    )
    for number, (name, line) in enumerate(lines.items()):
        points = [(left + x, TOP + y) for (x, _), y in zip(rows, line, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = COLOURS[name]
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *[f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points],
            f'<text x="{left + 12 + 66 * number}" y="{TOP - 2}" fill="{colour}">{name}</text>',
        ]
    return parts


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """From `low` to `high` onto `start` to `end`."""
    return lambda value: start + (end - start) * (value - low) / (high - low)

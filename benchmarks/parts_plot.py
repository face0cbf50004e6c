"""Processor time of a key by part of the program, as SVG: one bar that adds up."""

from collections.abc import Mapping

WIDTH, HEIGHT, LEFT, TOP = 640, 36, 12, 34
COLOURS = ("#2060b0", "#d08010", "#208050", "#a03060", "#707070", "#30a0a0")


def parts_plot(parts: Mapping[str, float]) -> str:
    """`parts` in microseconds a key; the largest stands to the left."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    whole = sum(parts.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * LEFT} '
        f'{TOP + HEIGHT + 24 * len(ordered) + 20}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="22">Processor time of a key: {whole:.0f} µs</text>',
    ]
    x = float(LEFT)
    for number, (name, us) in enumerate(ordered):
        colour, width, y = COLOURS[number % len(COLOURS)], WIDTH * us / whole, legend_y(number)
        lines += [
            f'<rect x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT}" fill="{colour}"/>',
            f'<rect x="{LEFT}" y="{y - 11}" width="12" height="12" fill="{colour}"/>',
            f'<text x="{LEFT + 20}" y="{y}">{name}: {us:.1f} µs, {100 * us / whole:.0f} %</text>',
        ]
        x += width
    return "\n".join([*lines, "</svg>\n"])


def legend_y(number: int) -> int:
    return TOP + HEIGHT + 24 * (number + 1)

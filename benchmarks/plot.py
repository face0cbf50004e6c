"""A plot of the soak as SVG, drawn by hand: no library is needed for two lines and some bands."""

from weather_service import phase_at

WIDTH, PANEL, LEFT, GAP = 1000, 220, 60, 50
COLOURS = {
    "throttled to 200/s": "#fde9c8",
    "10 x slower": "#e4e0f5",
    "down": "#f8d4d0",
    "5 % resets": "#d9ecdd",
}


def plot(samples: list[tuple[float, float, int]], served: dict) -> str:
    """`samples` are (time, allowed rate, window); `served` what the service counted by second."""
    began = served["began"]
    seconds = max(int(second) for second in served["by_second"]) + 1
    points = [(at - began, rate, window) for at, rate, window in samples if at - began >= 0]
    good = [(s + 0.5, served["by_second"].get(str(s), {}).get("200", 0)) for s in range(seconds)]
    most = max(count for _, count in good) * 1.15
    height = 2 * (PANEL + GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    rates = [(at, min(rate, most)) for at, rate, _ in points]
    windows = [(at, window) for at, _, window in points]
    for top, title, most_y, lines in (
        (
            30,
            "accepted a second (blue), rate allowed (orange)",
            most,
            [(good, "#2060b0"), (rates, "#d08010")],
        ),
        (30 + PANEL + GAP, "requests that may be in flight", 70, [(windows, "#208050")]),
    ):
        parts += bands(seconds, top)
        parts.append(f'<text x="{LEFT}" y="{top - 8}">{title}</text>')
        for share in (0, 0.5, 1):
            y = top + PANEL * (1 - share / 1.15)
            value = most_y / 1.15 * share
            parts.append(
                f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.0f}</text>'
            )
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
            )
        for line, colour in lines:
            path = " ".join(
                f"{x_of(at, seconds):.1f},{top + PANEL * (1 - value / most_y):.1f}"
                for at, value in line
            )
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
    for second in range(0, seconds, 20):
        x = x_of(second, seconds)
        parts.append(f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle">{second} s</text>')
    return "\n".join([*parts, "</svg>\n"])


def bands(seconds: int, top: int) -> list[str]:
    """What the weather was, as coloured bands with their names."""
    parts, begin = [], 0
    for second in range(1, seconds + 1):
        if second == seconds or phase_at(second) is not phase_at(begin):
            name = phase_at(begin).name
            x, end = x_of(begin, seconds), x_of(second, seconds)
            if name in COLOURS:
                parts.append(
                    f'<rect x="{x:.1f}" y="{top}" width="{end - x:.1f}" height="{PANEL}" '
                    f'fill="{COLOURS[name]}"/>'
                    f'<text x="{(x + end) / 2:.0f}" y="{top + 14}" text-anchor="middle" '
                    f'fill="#666" font-size="10">{name}</text>'
                )
            begin = second
    return parts


def x_of(second: float, seconds: int) -> float:
    return LEFT + (WIDTH - LEFT - 10) * second / seconds

"""What a run shows while it works: live on a terminal, a plain line every 30 s elsewhere."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, cast

from bulk_eraser.cli.terminal.output import Output, Progressing
from bulk_eraser.errors import Interrupted
from bulk_eraser.wording import counted, duration, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bulk_eraser.pacing.pace import Pace
    from bulk_eraser.sending.lifecycle import Progress
    from bulk_eraser.sending.pool import Pool

__all__ = ["LINE_S", "Display", "Speed", "draw_live"]

REFRESH_S = 0.2
LINE_S = 30.0
RATE_OVER_S = 10.0
BAR_WIDTH = 60
FEW_ERRORS = 3
"""Kinds of errors that are shown."""


class Display:
    """Watches a run of at most `limit` requests a second (0: no limit); call it as the `observe` of
    `Run.carry_out`."""

    def __init__(self, output: Output, limit: float = 0.0) -> None:
        self._output = output
        self._limit = limit
        self._speed = Speed()

    @contextmanager
    def __call__(self, progress: "Progress", pool: "Pool", pace: "Pace") -> Iterator[None]:
        if self._output.quiet or self._output.progress is Progressing.OFF:
            yield
            return
        self._speed = Speed()
        self._speed.take(progress.settled, pool.errors)  # from here on it is measured
        show = self._live if self._output.is_live else self._lines
        task = asyncio.create_task(show(progress, pool, pace))
        try:
            yield
        finally:
            task.cancel()

    async def _live(self, progress: "Progress", pool: "Pool", pace: "Pace") -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        def draw(width: int, _height: int) -> "RenderableType":
            panel = Table.grid()
            panel.width = width
            bar = ProgressBar(
                max(1, progress.to_send), progress.settled, width=min(BAR_WIDTH, width)
            )
            panel.add_row(bar)
            panel.add_row(Text(self.line(progress, pool, pace)))
            if errors := self.last_errors():
                panel.add_row(Text(errors))
            return panel

        await draw_live(self._output, draw)

    async def _lines(self, progress: "Progress", pool: "Pool", pace: "Pace") -> None:
        while not await pool.stopped_within(LINE_S):
            line = self.line(progress, pool, pace)
            self._output.say(" · ".join(filter(None, (line, self.last_errors()))))
        if pool.in_flight:  # a drain takes some seconds, and who pressed Ctrl-C sees nothing else
            self._output.say(f"S{_stopping(pool).removeprefix('s')}")

    def line(self, progress: "Progress", pool: "Pool", pace: "Pace") -> str:
        """One line: how far, what came of it, how fast, how long still, and what holds it up."""
        rate = self._speed.take(progress.settled, pool.errors)
        left = progress.to_send - progress.settled
        percent = 100 * progress.settled // max(1, progress.to_send)
        parts = [f"{percent}%", *progress.summary()]
        if pool.retries:
            parts.append(counted(pool.retries, "retry"))
        # How long the service is down, nobody knows; a run that stops will not reach the end.
        is_under_way = pace.silence is None and pool.stopped_by is None
        if is_under_way:
            limit = f" (limit {self._limit:,.6g}/s)" if self._limit else ""
            parts.append(f"{rate:,.0f}/s{limit}")
        if rate > 0 and is_under_way:
            parts.append(f"{duration(left / rate)} left")
        return printable(" · ".join(parts)) + self._holdup(pool, pace)  # words of the service

    def last_errors(self) -> str:
        """What attempts failed with of late, as of the last line, the most frequent first."""
        few = self._speed.last_errors().most_common(FEW_ERRORS)
        return f"last errors: {', '.join(f'{n:,} {word}' for word, n in few)}" if few else ""

    def _holdup(self, pool: "Pool", pace: "Pace") -> str:
        if pool.stopped_by is not None:
            return f" · {_stopping(pool)}"
        if pace.pause_left:
            return f" · the service asked for a pause; {pace.pause_left:.0f} s left"
        if silence := pace.silence:
            lasts = f"no good answer for {silence.seconds:.0f} s ({silence.seen})"
            return f" · {lasts}; gives up after {silence.limit:.0f} s"
        if pace.breaker.is_open:
            return " · most requests fail; trying one key at a time"
        parts = []
        if pace.throttled_to is not None:
            parts.append(f"throttled to {pace.throttled_to:,.0f}/s")
        if pace.window.limit < pace.window.ceiling:
            parts.append(f"{pace.window.limit} of {pace.window.ceiling} at a time")
        return "".join(f" · {part}" for part in parts)


class Speed:
    """How fast it is, and what attempts failed with, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, Counter[str]]] = deque()

    def take(self, settled: int, errors: Counter[str]) -> float:
        """Look again. Returns what is settled a second."""
        now = time.monotonic()
        self._seen.append((now, settled, errors.copy()))
        while len(self._seen) > 2 and now - self._seen[0][0] > max(RATE_OVER_S, 1.1 * LINE_S):
            self._seen.popleft()
        then, before, _ = self._seen[0]
        return (settled - before) / (now - then) if now > then else 0.0

    def last_errors(self) -> Counter[str]:
        """As of the last look."""
        return self._seen[-1][2] - self._seen[0][2]


async def draw_live(output: Output, draw: "Callable[[int, int], RenderableType]") -> None:
    """Show what `draw` makes of the terminal's width and height, again and again until cancelled,
    and nothing of it afterwards."""
    from rich.console import Console  # it takes its time, and is needed on a terminal only
    from rich.live import Live

    console = Console(file=cast("IO[str]", output.messages), highlight=False)
    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        suppress(asyncio.CancelledError),
    ):
        while True:
            width = max(1, console.width - len("^C "))  # an echo must not wrap
            live.update(draw(width, console.height), refresh=True)
            await asyncio.sleep(REFRESH_S)


def _stopping(pool: "Pool") -> str:
    waiting = f"stopping: waiting for {counted(len(pool.in_flight), 'request')} in flight"
    again = " again" if isinstance(pool.stopped_by, Interrupted) else ""
    return f"{waiting}; Ctrl-C{again} stops now"

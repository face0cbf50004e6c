"""What a fleet shows while it works: a line for each cluster and their sum, live on a terminal; a
plain line for the sum, and for what is held up, every 30 s elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulk_eraser.cli.fleet.result import ending_of
from bulk_eraser.cli.fleet.text import LONGEST_NAME, shortened
from bulk_eraser.cli.terminal.display import LINE_S, Speed, draw_live
from bulk_eraser.cli.terminal.output import Output, Progressing
from bulk_eraser.errors import Interrupted, Result
from bulk_eraser.wording import counted, duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bulk_eraser.pacing.pace import Pace
    from bulk_eraser.sending.lifecycle import Progress
    from bulk_eraser.sending.pool import Pool

__all__ = ["FleetDisplay", "Lane"]

BAR = 8
LOOK_S = 0.2


@dataclass
class Lane:
    """One cluster on its way; call it as the `observe` of what it carries out."""

    name: str
    to_send: int
    settled: int = 0
    rate: float = 0.0
    result: Result | None = None
    _speed: Speed = field(default_factory=Speed)
    _now: "tuple[Progress, Pool, Pace] | None" = None
    _progress: "Progress | None" = None

    @contextmanager
    def __call__(self, progress: "Progress", pool: "Pool", pace: "Pace") -> Iterator[None]:
        self._now, self._speed, self._progress = (progress, pool, pace), Speed(), progress
        try:
            yield
        finally:
            self.look()
            self._now, self.rate = None, 0.0

    def look(self) -> None:
        """Take in how far it is."""
        if self._now is not None:
            progress, pool, _ = self._now
            self.to_send, self.settled = progress.to_send, progress.settled
            self.rate = self._speed.take(self.settled, pool.errors)

    def ended(self, result: Result) -> None:
        """The last outcomes are on disk by now, so they count."""
        self.result = result
        if self._progress is not None:
            self.settled = self._progress.settled

    @property
    def state(self) -> str:
        """How it ended, else what holds it up, in a few words; nothing while all is well."""
        if self.result is not None:
            return ending_of(self.result)
        return _holdup(*self._now[1:]) if self._now else ""

    @property
    def in_flight_after_a_signal(self) -> int:
        """Requests that are waited for although a signal came."""
        if self._now is None or not isinstance(self._now[1].stopped_by, Interrupted):
            return 0
        return len(self._now[1].in_flight)

    @property
    def is_in_trouble(self) -> bool:
        return bool(self.state) and not (self.result and not self.result.exit_code)


class FleetDisplay:
    """Shows lanes while they are carried out, within `drawing`."""

    def __init__(self, output: Output, to_send: Mapping[str, int]) -> None:
        self._output = output
        self.lanes = {name: Lane(name, number) for name, number in to_send.items()}

    @asynccontextmanager
    async def drawing(self) -> AsyncIterator[None]:
        if self._output.quiet or self._output.progress is Progressing.OFF:
            yield
            return
        is_live = self._output.is_live
        task = asyncio.create_task(
            draw_live(self._output, self._drawn) if is_live else self._lines()
        )
        try:
            yield
        finally:
            task.cancel()

    def _look(self) -> None:
        for lane in self.lanes.values():
            lane.look()

    async def _lines(self) -> None:
        said_at, is_stopping = time.monotonic(), False
        while True:
            await asyncio.sleep(LOOK_S)
            self._look()
            waits_for = sum(it.in_flight_after_a_signal for it in self.lanes.values())
            if waits_for and not is_stopping:  # it takes some seconds, and nothing else is seen
                is_stopping = True
                requests = counted(waits_for, "request")
                self._output.say(
                    f"Stopping: waiting for {requests} in flight; Ctrl-C again stops now"
                )
            if time.monotonic() >= said_at + LINE_S:
                said_at = time.monotonic()
                for line in self.lines():
                    self._output.say(line)

    def lines(self) -> list[str]:
        """The sum, and a line for each cluster that is in trouble."""
        return [
            self._sum(),
            *(
                f"  {lane.name}: {lane.settled:,} of {lane.to_send:,}, {lane.state}"
                for lane in self.lanes.values()
                if lane.is_in_trouble
            ),
        ]

    def _sum(self) -> str:
        lanes = self.lanes.values()
        settled, to_send = sum(it.settled for it in lanes), sum(it.to_send for it in lanes)
        parts = [f"{100 * settled // max(1, to_send)}%", f"{settled:,} of {to_send:,}"]
        parts.append(f"{sum(it.rate for it in lanes):,.0f}/s")
        going = [it for it in lanes if it.result is None]
        # The slowest one decides, and of one that stands still nobody knows.
        times = [(it.to_send - it.settled) / it.rate for it in going if it.rate > 0]
        if times:
            parts.append(f"{duration(max(times))} left")
        parts.append(f"{len(lanes) - len(going)} of {len(lanes)} ended")
        if any(it.in_flight_after_a_signal for it in lanes):
            parts.append("Ctrl-C again stops now")
        return " · ".join(parts)

    def _drawn(self, width: int, height: int) -> "RenderableType":
        from rich.text import Text

        self._look()
        lanes = list(self.lanes.values())
        # Where not all have room, those that ended well are only counted, and trouble comes first.
        if len(lanes) + 2 > height:
            lanes = [it for it in lanes if it.result is None or it.is_in_trouble]
            lanes.sort(key=lambda it: not it.is_in_trouble)
        names = max((min(len(it.name), LONGEST_NAME) for it in lanes), default=0)
        digits = max((len(f"{it.to_send:,}") for it in lanes), default=1)
        rows = [self._line(it, names, digits)[:width] for it in lanes[: max(1, height - 2)]]
        return Text("\n".join([*rows, self._sum()[:width]]), no_wrap=True)

    def _line(self, lane: Lane, names: int, digits: int) -> str:
        share = lane.settled / lane.to_send if lane.to_send else 1.0
        bar = ("━" * int(BAR * share)).ljust(BAR, "·")
        how_far = f"{lane.settled:>{digits},} of {lane.to_send:>{digits},}"
        # What holds it up says more than how slow that makes it.
        state = lane.state or (f"{lane.rate:,.0f}/s" if lane.rate else "")
        name = shortened(lane.name, LONGEST_NAME)
        return f"{name:<{names}} {bar} {int(100 * share):>3}%  {how_far}  {state}"


def _holdup(pool: "Pool", pace: "Pace") -> str:
    if pool.stopped_by is not None:
        return f"waits for {counted(len(pool.in_flight), 'request')}"
    if pace.pause_left:
        return f"paused, {pace.pause_left:.0f} s left"
    if silence := pace.silence:
        return f"no answer for {silence.seconds:.0f} s"
    if pace.breaker.is_open:
        return "one key at a time"
    if pace.throttled_to is not None:
        return f"throttled to {pace.throttled_to:,.0f}/s"
    if pace.window.limit < pace.window.ceiling:
        return f"{pace.window.limit} of {pace.window.ceiling} at a time"
    return ""

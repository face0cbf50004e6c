"""What all shards together show while they run: one line, from their ledgers."""

import time
from collections import deque
from typing import IO, TYPE_CHECKING, cast

from bulk_eraser.cli.dask.parts import latest_part
from bulk_eraser.cli.terminal.output import Output, Progressing
from bulk_eraser.wording import counted, duration

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Growth", "ShardsDisplay"]

LINE_S = 30.0
RATE_OVER_S = 10.0
BLOCK = 1 << 20
_OUTCOMES = {word: b'\n{"type":"%s",' % word.encode() for word in ("accepted", "failed", "unknown")}


class Growth:
    """What was added to a ledger since it was first looked at: the outcomes in whole lines.

    For a display: what stands behind the last commit counts as well.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = _size_of(latest_part(path))
        self._kept = b"\n"
        self.counts = dict.fromkeys(_OUTCOMES, 0)

    def look(self) -> None:
        try:
            # A new part begins as the one before it, so that it is read on from the same place.
            with open(latest_part(self._path), "rb") as file:
                file.seek(self._offset)
                while block := file.read(BLOCK):
                    self._offset += len(block)
                    self._take(block)
        except OSError:
            return  # not there yet

    def _take(self, block: bytes) -> None:
        text = self._kept + block
        end = text.rfind(b"\n")
        for word, begin in _OUTCOMES.items():
            self.counts[word] += text.count(begin, 0, end)
        self._kept = text[end:]


def _size_of(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return file.seek(0, 2)
    except OSError:
        return 0


class ShardsDisplay:
    """Live on a terminal, a plain line every 30 s elsewhere. `to_send` is the number of keys."""

    def __init__(self, output: Output, ledgers: list[str], to_send: int, limit: float) -> None:
        self._output = output
        self._growths = [Growth(path) for path in ledgers]
        self._to_send = to_send
        self._limit = limit
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._told_at = time.monotonic()
        self.is_due = False
        """Is a line due at once, whenever the last one was?"""
        self._live: Live | None = None

    def __enter__(self) -> "ShardsDisplay":
        if self._output.is_live and not self._output.quiet:
            from rich.console import Console  # it takes its time, and is needed on a terminal only
            from rich.live import Live

            console = Console(file=cast("IO[str]", self._output.messages), highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, trouble: str) -> None:
        """`trouble` is how the shards stand, in words."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(self.line(trouble)), refresh=True)
        elif self.is_due or time.monotonic() - self._told_at >= LINE_S:
            self._told_at, self.is_due = time.monotonic(), False
            if self._output.progress is not Progressing.OFF:
                self._output.say(self.line(trouble))

    def line(self, trouble: str) -> str:
        """How far, what came of it, how fast, how long still."""
        counts = dict.fromkeys(_OUTCOMES, 0)
        for growth in self._growths:
            growth.look()
            for word, count in growth.counts.items():
                counts[word] += count
        settled = sum(counts.values())
        rate = self._rate(settled)
        percent = min(100, 100 * settled // max(1, self._to_send))
        parts = [f"{percent}%", f"{settled:,} of {counted(self._to_send, 'key')}"]
        parts += [f"{n:,} {word}" for word, n in counts.items() if n or word == "accepted"]
        limit = f" (limit {self._limit:,.6g}/s)" if self._limit else ""
        parts.append(f"{rate:,.0f}/s{limit}")
        if rate > 0 and settled < self._to_send:
            parts.append(f"{duration((self._to_send - settled) / rate)} left")
        return " · ".join([*parts, trouble])

    def _rate(self, settled: int) -> float:
        now = time.monotonic()
        self._seen.append((now, settled))
        while len(self._seen) > 2 and now - self._seen[0][0] > max(RATE_OVER_S, 1.1 * LINE_S):
            self._seen.popleft()
        then, before = self._seen[0]
        return (settled - before) / (now - then) if now > then else 0.0

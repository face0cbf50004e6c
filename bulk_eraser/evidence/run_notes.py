"""How runs went: requests over time, how long answers took, why rows were rejected. A fold.

Its memory does not grow with the number of lines: times are counted in buckets that double in width
when there would be too many, durations in buckets of three per cent.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import ceil

from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Accepted, ProbeSent, Rejected, RunStarted, Sent

__all__ = ["Durations", "Reason", "RunNotes", "Timeline"]

BUCKETS = 120
"""Of a timeline; it has at least half as many before it is made coarser."""
EXAMPLES = 5
"""Lines that are named for a reason."""


class Timeline:
    """`sent` lines and the repeats among them, by seconds of running, in buckets of `width_s`."""

    def __init__(self) -> None:
        self.width_s = 1
        self.sent = [0] * BUCKETS
        self.repeats = [0] * BUCKETS
        self.length = 0

    def add(self, second: int, sent: int, repeats: int) -> None:
        """`second` from 0, of which those before it may come later."""
        while second // self.width_s >= BUCKETS:
            self.width_s *= 2
            for counts in (self.sent, self.repeats):
                pairs = [sum(counts[n : n + 2]) for n in range(0, BUCKETS, 2)]
                counts[:] = pairs + [0] * (BUCKETS - len(pairs))
            self.length = ceil(self.length / 2)
        bucket = second // self.width_s
        self.sent[bucket] += sent
        self.repeats[bucket] += repeats
        self.length = max(self.length, bucket + 1)


class Durations:
    """A histogram of milliseconds, three per cent fine."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, milliseconds: Iterable[int]) -> None:
        self.counts.update(map(_coarse, milliseconds))

    def percentile(self, share: float) -> int | None:
        """Milliseconds within which so great a share was answered, None for no answer."""
        left = share * self.counts.total()
        for ms in sorted(self.counts):
            left -= self.counts[ms]
            if left <= 0:
                return ms
        return None


@dataclass
class Reason:
    """How often, and the first lines."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    def note(self, line: int) -> None:
        self.count += 1
        if len(self.lines) < EXAMPLES:
            self.lines.append(line)


class RunNotes:
    """`rejected` has, by the input's identity, the reasons for rejected rows; `repeats` of each
    ledger and of each run in it, both from 0, the repeats among its requests.

    A timeline has the seconds of all runs one after the other, what is between them left out.
    """

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.durations = Durations()
        self.rejected: dict[tuple[object, ...], dict[str, Reason]] = {}
        self.repeats: Counter[tuple[int, int]] = Counter()
        self._ledger = self._run = -1
        self._input: tuple[object, ...] = ()
        self._began = 0.0
        self._before = 0

    def take(self, ledger: int, group: Group) -> None:
        if ledger != self._ledger:
            self._ledger, self._run, self._input = ledger, -1, ()
        kinds = group.kinds
        if RunStarted in kinds or Rejected in kinds:
            self._take_rare(group)
        if Accepted in kinds:
            self.durations.add(
                [record.elapsed_ms for record in group.records if type(record) is Accepted]
            )
        if ProbeSent in kinds:
            again = [it for it in group.records if type(it) is ProbeSent and it.attempt > 1]
            self.repeats[ledger, self._run] += len(again)
        if Sent in kinds:
            attempts = [record.attempt for record in group.records if type(record) is Sent]
            repeats = len(attempts) - attempts.count(1)
            self.repeats[ledger, self._run] += repeats
            second = int(_seconds(group.records[0].at) - self._began)
            self.timeline.add(self._before + max(0, second), len(attempts), repeats)

    def _take_rare(self, group: Group) -> None:
        for record in group.records:
            if isinstance(record, RunStarted):
                self._run += 1
                self._began = _seconds(record.at)
                self._before = self.timeline.length * self.timeline.width_s
                if record.input is not None:
                    self._input = record.input.identity()
            elif isinstance(record, Rejected):
                reasons = self.rejected.setdefault(self._input, {})
                reasons.setdefault(record.error, Reason()).note(record.line)


@lru_cache(1 << 12)
def _coarse(ms: int) -> int:
    """The first five bits of it."""
    rest = max(0, ms.bit_length() - 5)
    return max(0, ms) >> rest << rest


def _seconds(at: str) -> float:
    """Seconds since 1970 of a time; 0 for what is none."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except (ValueError, OverflowError):
        return 0.0

"""What a command comes to for many clusters: each by itself, and their sum."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulk_eraser.cli.fleet.text import some_of
from bulk_eraser.errors import Attention, Result, severest

__all__ = ["FleetResult", "add_up", "ending_of"]

_SIGNAL = "interrupted"
_ENDINGS = {"complete": "finished", "incomplete": "not finished"}
"""Not “complete”: a run that has sent all has erased nobody yet."""


@dataclass
class FleetResult(Result):
    """How a command for many clusters ended. `clusters` has by name what the command for a single
    one would print, `counts` are the sums of theirs, `left_out` the names of those that were not
    asked for; the exit code is the severest."""

    counts: dict[str, int] = field(default_factory=dict)
    clusters: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def everywhere(self) -> str:
        """Where all of it is so: a fleet is not called complete by some of its clusters."""
        if not self.left_out:
            return "in every cluster"
        were = "was" if len(self.left_out) == 1 else "were"
        return f"in the clusters above ({some_of(self.left_out)} {were} left out)"


def add_up(total: FleetResult, results: Mapping[str, Result]) -> FleetResult:
    """Fill in what the clusters come to."""
    total.clusters = dict(results)
    counts, attention = Counter[str](), Counter[str]()
    for result in results.values():
        # A sum of zeros is a number as well, so not `+=`.
        counts.update(getattr(result, "counts", None) or getattr(result, "states", {}))
        for item in result.attention:
            attention[item.reason] += item.count
    total.counts = dict(counts)
    total.attention = [Attention(reason, count) for reason, count in attention.most_common()]
    total.exit_code = severest(it.exit_code for it in results.values())
    worst = next(it for it in results.values() if it.exit_code == total.exit_code)
    total.outcome = worst.outcome
    total.error = _what_stopped(results)
    return total


def _what_stopped(results: Mapping[str, Result]) -> str | None:
    """Why not all got to the end: a signal, which stopped all that were going on, and who stopped
    for reasons of their own."""
    failed = {name: it for name, it in results.items() if it.error is not None}
    signals = [failed.pop(name).error for name, it in results.items() if it.outcome == _SIGNAL]
    told = [it for it in signals[:1] if it]
    if failed:
        how = some_of([f"{name} ({int(it.exit_code)})" for name, it in failed.items()])
        told.append(f"{len(failed)} of {len(results)} clusters did not get to the end: {how}.")
    return " ".join(told) or None


def ending_of(result: Result) -> str:
    """How it ended for one cluster, in a few words."""
    if result.exit_code and result.outcome == "complete":
        return f"attention ({int(result.exit_code)})"
    code = f" ({int(result.exit_code)})" if result.exit_code else ""
    return _ENDINGS.get(result.outcome, "stopped") + code

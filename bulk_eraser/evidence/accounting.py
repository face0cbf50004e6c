"""What a ledger says of itself: its chain, its runs, and whether their counts add up."""

from collections import Counter
from dataclasses import dataclass, field

from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.key_state import ABOUT_KEYS, KeyState
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.records import (
    Accepted,
    DerivedFrom,
    Excluded,
    Failed,
    ProbeAsked,
    Record,
    RunFinished,
    RunStarted,
    Unknown,
)
from bulk_eraser.sending.counts import SUMMED

__all__ = ["LedgerAccount", "RunAccount"]


@dataclass
class RunAccount:
    """One run: how it began, its lines by type, and how it ended (None: it broke off)."""

    started: RunStarted
    lines: Counter[type[Record]] = field(default_factory=Counter)
    finished: RunFinished | None = None

    @property
    def lines_by_type(self) -> dict[str, int]:
        """Of each type of line about a key, how many."""
        return {
            str(kind.__struct_config__.tag): count
            for kind, count in self.lines.items()
            if kind in ABOUT_KEYS or kind is ProbeAsked
        }

    @property
    def is_conserved(self) -> bool:
        """Do the counts of `run_finished` add up, and agree with what the run wrote?

        Keys that were settled earlier are counted again where they are judged again, so `failed`
        and `unknown` may be more than this run's lines, never fewer.
        """
        if self.finished is None or self.started.input is None:
            return True
        counts = Counter(self.finished.counts)  # what is missing there is 0
        lines, survey = self.lines, self.started.shard or self.started.input
        states = sum(counts[name] for name in SUMMED)
        at_end = self.finished.outcome == "complete"
        return (
            counts["rows"] == states == survey.rows
            and (counts["rejected"], counts["duplicate"]) == (survey.rejected, survey.duplicate)
            and counts["accepted"] == lines[Accepted]
            and counts["failed"] >= lines[Failed]
            and counts["unknown"] >= lines[Unknown]
            and (counts["excluded"] == lines[Excluded] if at_end else True)
        )


@dataclass
class LedgerAccount:
    """One ledger: what its chain proves, and its runs. `damage` says where it is broken,
    `being_written` whether a process held its lock.

    `lines` and `bytes` are those of the proven prefix, `tail_bytes` the length of what stands
    behind it. `kept` has, for each expected head that is one of the commits, its number and the
    lines up to it. `states` counts the keys that the ledger names, once every key was looked at.
    """

    path: str
    being_written: bool = False
    head: str = ""
    commits: int = 0
    lines: int = 0
    bytes: int = 0
    tail_bytes: int = 0
    damage: str | None = None
    derived_from: DerivedFrom | None = None
    runs: list[RunAccount] = field(default_factory=list)
    facts: LedgerFacts = field(default_factory=LedgerFacts)
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    states: Counter[KeyState] = field(default_factory=Counter)

    @property
    def last_input_run(self) -> int:
        """The number of the last run that had an input, from 1; 0 if there was none."""
        numbers = (n for n, run in enumerate(self.runs, 1) if run.started.input is not None)
        return max(numbers, default=0)

    @property
    def keys_kind(self) -> str:
        return self.runs[0].started.keys if self.runs else RAW

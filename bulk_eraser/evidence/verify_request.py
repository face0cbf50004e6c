"""What `verify` is asked, and what it found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulk_eraser.errors import BulkEraserError, ExitCode
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.evidence.timestamp import Stamp, StampedResult
from bulk_eraser.ledger.probes import Probes
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.rows import Reading

__all__ = ["VerifyRequest", "VerifyResult"]

_AS_EXPECTED = ("erased", "exported", "excluded", "duplicate")


@dataclass(frozen=True)
class VerifyRequest:
    """Which ledgers to look at, which heads must be among their commits, and whose rows they must
    account for.

    `sealed` are heads that ledgers must have among their own, as a seal says it.
    `receipts` are files that `run` and `follow` wrote: their heads are expected as well. So are
    those of `stamps`, file → what it says; `expect_stamps` wants one for each ledger, all good.
    `anew` has roots for certificates computed and samples drawn anew, which takes another reading.
    `reading` is how `input_path` is to be read, as far as that was asked. `rows_path` is where a
    table of all rows is put. `expect_done` wants every row (without an input, every key) to be
    erased that is not on hold. `naming` gives the ledgers' pseudonyms, should they have such.
    `by_itself` looks at a shard's ledger for its own sake: none of the others is missed.
    """

    ledgers: Sequence[str]
    heads: Sequence[str] = ()
    sealed: Sequence[SealedHead] = ()
    receipts: Sequence[str] = ()
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    expect_stamps: bool = False
    input_path: str | None = None
    reading: Reading = field(default_factory=Reading)
    rows_path: str | None = None
    expect_done: bool = False
    anew: bool = False
    naming: Callable[[], KeyNaming] = lambda: RAW_KEYS
    by_itself: bool = False


@dataclass
class VerifyResult(StampedResult):
    """What `verify` found: the object that `--json` prints.

    `states` counts the rows of the input by what became of them (without an input, the keys of the
    ledgers); `erased` is one of them. `sealed` says which commit a sealed head is (None: it is
    gone) and what follows it. `unaccounted` are the rows that were not reached, sent
    without an outcome, or rejected without a line that says so, `unaccounted_lines` the first of
    them. `receipts` names in `differs` what a receipt says otherwise than the ledgers.
    `missing_shards` are those whose ledgers are not among these; rows of theirs are in `states` as
    `missing_shard`, and not in `unaccounted`, since nothing can be said of them.
    `held_too_late` counts the keys that came on hold when they may have been sent already,
    `extra` the keys of the ledgers that the input does not have. `probes` is what came of samples
    of the erased people, None if there was none. `kind` is that of the jobs: by an
    `export` nobody is erased.
    """

    kind: str = "removal"
    erased: int = 0
    expect_done: bool = False

    expected_heads: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    sealed: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    input: dict[str, Any] | None = None
    other_sheets: list[str] = field(default_factory=list)
    missing_shards: list[dict[str, int]] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    held_too_late: int = 0
    probes: Probes | None = None
    unaccounted: int = 0
    unaccounted_lines: list[int] = field(default_factory=list)
    extra: int = 0
    extra_lines: list[dict[str, Any]] = field(default_factory=list)
    rehearsal: bool = False

    def fail(self, error: BulkEraserError, *, begun: bool = False) -> None:
        """A bug is no word about the ledger, whatever its usual text says of it."""
        if error.exit_code is ExitCode.INTERNAL:
            bug = type(error.__cause__ or error).__name__
            error = BulkEraserError(
                f"Internal error: {bug}. Nothing is proven by this; please report this line."
            )
        super().fail(error, begun=begun)

    @property
    def not_erased(self) -> int:
        """How many of `states` were to be erased and are not, as far as is known."""
        return sum(n for state, n in self.states.items() if state not in _AS_EXPECTED)

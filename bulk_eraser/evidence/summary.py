"""A batch at a glance: what became of everybody, and how anybody can see that it is so.

Numbers, words and times only; what people read is made of them by the writers in `report`. Each
number stands here once, and comes from the reading that `verify` does.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bulk_eraser.ledger.probes import Probes
from bulk_eraser.records import InputFacts, PlanFacts

__all__ = [
    "OPEN",
    "OTHER_REASONS",
    "TO_BE_ERASED",
    "Days",
    "Deadlines",
    "Failure",
    "Hold",
    "JobWord",
    "LedgerProof",
    "ListedRow",
    "Reject",
    "RunFacts",
    "Standing",
    "Summary",
    "Timing",
]

TO_BE_ERASED = (
    *("erased", "in_progress", "job_failed", "refused"),
    *("failed", "unknown", "sent", "not_reached"),
)
"""The states of keys that are to be erased, once each."""
OPEN = TO_BE_ERASED[1:]
"""Those of keys that are not erased."""
OTHER_REASONS = "…"
FAILURES = ("job_failed", "refused", "failed", "unknown", "sent")


class Standing(StrEnum):
    """What is to be said first, the gravest that holds."""

    NOT_PROVEN = "not_proven"
    REHEARSAL = "rehearsal"
    NOBODY = "nobody"
    NEEDS_ATTENTION = "needs_attention"
    OPEN = "open"
    ALL_ERASED = "all_erased"


@dataclass(frozen=True)
class LedgerProof:
    """One ledger: its name, what its chain proves, from which other it was derived, and of which
    `shard` it is (“2 of 4”)."""

    ledger: str
    head: str
    commits: int
    lines: int
    bytes: int
    tail_bytes: int
    damage: str | None
    being_written: bool
    derived_from: str | None
    shard: str | None = None


@dataclass(frozen=True)
class RunFacts:
    """One run or follow; `outcome` is None if it broke off. `requests` are its `sent` lines less
    those taken back, or its `probe_sent` lines, of a follow its answers; `repeats` are among the
    former."""

    ledger: int
    run: str
    command: str
    at: str
    finished_at: str | None
    tool: str
    api: str
    target: str
    requester: str | None
    reference: str | None
    plan: PlanFacts | None
    outcome: str | None
    exit_code: int | None
    accepted: int
    failed: int
    unknown: int
    requests: int
    repeats: int
    hold_list: str | None


@dataclass(frozen=True)
class Reject:
    """Rows without a usable key, by reason."""

    error: str
    count: int
    lines: list[int]


@dataclass(frozen=True)
class Failure:
    """Keys that are not erased and need somebody: their state, the error or the job's status, how
    many, and the first lines. Of `may_have_arrived` a request may have been carried out."""

    state: str
    error: str
    count: int
    lines: list[int]
    may_have_arrived: bool


@dataclass(frozen=True)
class Hold:
    """Keys on the hold list by the reason that it gives: how many, and the first lines. `reason` is
    empty where it gives none, and `OTHER_REASONS` for all beyond the first that are told apart."""

    reason: str
    count: int
    lines: list[int]


@dataclass(frozen=True)
class JobWord:
    """Keys by the last status of their job; `is_asked` unless it is the one at its creation."""

    status: str
    count: int
    is_asked: bool


@dataclass(frozen=True)
class Deadlines:
    """Everybody who is to be erased, by the month for an answer: erased in time (`kept`) or after
    (`late`); not erased, with the deadline more than a week off (`ahead`), within a week
    (`at_risk`) or over (`overdue`).

    `first` is the first deadline of somebody who is not erased (YYYY-MM-DD). `from_run` are those
    whose month is counted from the day of the run, for want of a date.
    """

    kept: int = 0
    late: int = 0
    ahead: int = 0
    at_risk: int = 0
    overdue: int = 0
    first: str | None = None
    from_run: int = 0


@dataclass(frozen=True)
class Days:
    """Days since the request (or the run): how many were erased after so many, and how many are
    not erased after so many until now. The last place stands for all that took longer."""

    erased: list[int]
    waiting: list[int]


@dataclass(frozen=True)
class Timing:
    """Requests by seconds of running, in buckets of `width_s`, what is between runs left out;
    milliseconds from a key's first attempt to its job, within which so many per cent had theirs."""

    width_s: int
    requests: list[int]
    repeats: list[int]
    latency_ms: dict[str, int]


@dataclass(frozen=True)
class ListedRow:
    """A row that somebody should look at, and why: the word of a failure, `held_too_late`,
    `at_risk` or `overdue`.
    `key` only if it was asked for."""

    why: str
    line: int
    state: str
    error: str
    reference: str
    received: str
    jid: str
    accepted_at: str
    job_status: str
    due: str
    key: str = ""


@dataclass(frozen=True)
class Summary:
    """See the classes above. `states` counts rows of the input by what became of them (without one,
    keys of the ledgers), `to_be_erased` all of them that are to be erased. `rejected_is_fine` says
    that the run was told so. `expected_heads`, `receipts`, `timestamps`, `findings`,
    `unaccounted` and `missing_shards` are those of `verify`. `not_good_stamps` counts time stamps,
    `unstamped` ledgers where each must have one. `received` is the date that was given for requests
    without one. Times are UTC."""

    made_at: str
    tool: str
    standing: Standing
    error: str | None
    ledgers: list[LedgerProof]
    targets: list[str]
    apis: list[str]
    requesters: list[str]
    references: list[str]
    plans: list[PlanFacts]
    simulated: bool
    keys: str
    inputs: list[InputFacts]
    received: str | None
    is_input_read: bool
    states: dict[str, int]
    to_be_erased: int
    rejected: list[Reject]
    rejected_is_fine: bool
    holds: list[Hold]
    held_too_late: int
    jobs: list[JobWord]
    next_check_at: str | None
    due_now: int
    deadlines: Deadlines
    days: Days
    failures: list[Failure]
    rows: list[ListedRow]
    timing: Timing
    runs: list[RunFacts]
    findings: dict[str, dict[str, Any]]
    expected_heads: dict[str, dict[str, Any] | None]
    receipts: list[dict[str, Any]]
    unaccounted: int
    extra: int
    timestamps: list[dict[str, Any]] = field(default_factory=list)
    not_good_stamps: int = 0
    unstamped: int = 0
    missing_shards: list[dict[str, int]] = field(default_factory=list)
    probes: Probes | None = None

    @property
    def erased(self) -> int:
        return self.states["erased"]

    @property
    def failed(self) -> int:
        """Those who are not erased and will not be without somebody doing something."""
        return sum(self.states[state] for state in FAILURES)

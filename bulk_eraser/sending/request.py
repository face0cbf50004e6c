"""What is asked of a run or a follow, and what came of it: plain values, without the machinery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from bulk_eraser.elevate.endpoints import JobKind
from bulk_eraser.elevate.route import Route
from bulk_eraser.errors import Result
from bulk_eraser.ledger.probes import Probes
from bulk_eraser.records import ExportFacts
from bulk_eraser.sending.counts import COUNTS
from bulk_eraser.sending.deadlines import Calendar
from bulk_eraser.shard import Part
from bulk_eraser.survey.checks import Intake
from bulk_eraser.survey.plan import PlanFile

__all__ = [
    "REHEARSAL",
    "WITHOUT_JOB",
    "ExportFollowResult",
    "FollowRequest",
    "FollowResult",
    "ListedJob",
    "ProbeRequest",
    "ProbeResult",
    "RunRequest",
    "RunResult",
]

REHEARSAL = "rehearsal"
"""The target that a rehearsal's ledger belongs to; it never becomes a real run."""
WITHOUT_JOB = ("refused", "failed", "unknown", "sent")
JOB_COUNTS = ("jobs", "done", "error", "not_found", "pending")
PROBE_COUNTS = ("population", "sampled", "asked", "failed", "not_reached")
EXPORT_COUNTS = ("jobs", "downloaded", "empty", "error", "not_found", "lost", "pending")


@dataclass(frozen=True)
class RunRequest:
    """What is to be erased, with what evidence; with `export`, what is to be exported, and where
    its results are to be put. `no_hold_list` says that none is meant, `is_same_batch` that the
    input belongs to the ledger even if they share no key, `is_ok_if_rejected` that rejected rows
    alone are no failure. `after_export` is the path of an export's ledger: only what is exported
    there is sent; `no_after_export` says that none is meant. `earlier` are ledgers that are not
    written, but whose keys are known, each with the part of the input that it must be of."""

    intake: Intake
    ledger_path: str
    no_hold_list: bool = False
    is_same_batch: bool = False
    is_ok_if_rejected: bool = False
    route: Route = field(default_factory=Route)
    plan: PlanFile | None = None
    requester: str | None = None
    reference: str | None = None
    export: ExportFacts | None = None
    after_export: str | None = None
    no_after_export: bool = False
    earlier: Mapping[str, Part | None] = field(default_factory=dict)

    @property
    def kind(self) -> JobKind:
        return JobKind.EXPORT if self.export else JobKind.REMOVAL


@dataclass
class RunResult(Result):
    """How a run ended. `survey_s` and `elapsed_s` (first request to last commit) in seconds.

    `timestamp` is the path of the file with the stamp of the head, if one was asked for and had.
    `shard` is as in `run_started`.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    requests: int = 0
    retries: int = 0
    survey_s: float = 0.0
    elapsed_s: float = 0.0
    ledger: str | None = None
    head: str | None = None
    timestamp: str | None = None
    shard: dict[str, int] | None = None


@dataclass(frozen=True)
class FollowRequest:
    """Which jobs to ask about. `now` means all unfinished ones, `wait` until all are finished;
    `received` is the date of requests that have none of their own. Of an export, `output` and
    `max_result_bytes` take the place of what its ledger says."""

    ledger_path: str
    now: bool = False
    wait: bool = False
    received: date | None = None
    fail_if_overdue: bool = False
    route: Route = field(default_factory=Route)
    calendar: Calendar = field(default_factory=Calendar)
    output: str | None = None
    max_result_bytes: int | None = None


@dataclass(frozen=True)
class ListedJob:
    """A job that somebody should look at; `line` is that of its row, `deadline` YYYY-MM-DD.

    `deadline_from` is what it counts from: `row`, `option` (--received) or `run` (its day, because
    nothing else is known).
    """

    line: int
    jid: str
    created_at: str
    deadline: str
    deadline_from: str


@dataclass
class FollowResult(Result):
    """How a follow ended.

    `counts` are of the jobs by state, with their sum in `jobs`; `without_job` counts the keys of
    the ledger that have none and are not on hold, by state. `asked` is how many were answered in
    this run. `probes` says what came of samples, if there were any. The lists name the first
    thousand, `listed` counts all of each. No job of a `rehearsal` erases anything. `timestamp` is
    as in `RunResult`.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JOB_COUNTS, 0))
    without_job: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WITHOUT_JOB, 0))
    asked: int = 0
    unanswered: int = 0
    requests: int = 0
    retries: int = 0
    next_check_at: str | None = None
    listed: dict[str, int] = field(default_factory=dict)
    error_jobs: list[ListedJob] = field(default_factory=list)
    not_found_jobs: list[ListedJob] = field(default_factory=list)
    slow_jobs: list[ListedJob] = field(default_factory=list)
    at_risk_jobs: list[ListedJob] = field(default_factory=list)
    overdue_jobs: list[ListedJob] = field(default_factory=list)
    probes: Probes | None = None
    rehearsal: bool = False
    elapsed_s: float = 0.0
    ledger: str | None = None
    head: str | None = None
    timestamp: str | None = None


@dataclass
class ExportFollowResult(FollowResult):
    """How a follow of exports ended: nobody is erased by them.

    `counts` are of the jobs by state: the result was `downloaded`, was `empty` (downloaded as well;
    there was no data), is `lost`; `pending` until then. `expiring_jobs` are those that are done for
    days and not downloaded.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EXPORT_COUNTS, 0))
    output: str | None = None
    lost_jobs: list[ListedJob] = field(default_factory=list)
    expiring_jobs: list[ListedJob] = field(default_factory=list)


@dataclass(frozen=True)
class ProbeRequest:
    """Which ledger's erased people are sampled; `sample` as --sample has it."""

    ledger_path: str
    sample: str
    route: Route = field(default_factory=Route)


@dataclass
class ProbeResult(Result):
    """How a probe ended: `counts` are of people, `asked` those of the sample who have an export job
    by now. `seed` is that of the sample. `timestamp` is as in `RunResult`."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROBE_COUNTS, 0))
    seed: str | None = None
    requests: int = 0
    retries: int = 0
    elapsed_s: float = 0.0
    ledger: str | None = None
    head: str | None = None
    timestamp: str | None = None

"""What is ordered of a run, and how it ended: plain values, before and after all the work."""

from dataclasses import dataclass, field

from bulk_eraser.elevate.route import Route
from bulk_eraser.survey.checks import Intake
from bulk_eraser.survey.plan import PlanFile

__all__ = ["REHEARSAL", "Ending", "Order"]

REHEARSAL = "rehearsal"
"""The target that a rehearsal's ledger belongs to; it never becomes a real run."""


@dataclass(frozen=True)
class Order:
    """What is to be erased, with what evidence. `no_hold_list` says that none is meant."""

    intake: Intake
    ledger_path: str
    no_hold_list: bool = False
    route: Route = field(default_factory=Route)
    plan: PlanFile | None = None
    requester: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Ending:
    """How a run ended: the object that `--json` prints."""

    outcome: str
    exit_code: int
    error: str | None
    counts: dict[str, int]
    requests: int
    retries: int
    survey_s: float
    elapsed_s: float
    ledger: str | None
    head: str | None

"""A plan for many clusters: the plan of each, in one file that binds them all."""

import os
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from bulk_eraser.atomic_file import write_document
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.survey.plan import FORMAT, Plan, PlanFile, decoded, read_bytes

__all__ = ["fleet_plan_must_be_free", "read_fleet_plan", "write_fleet_plan"]

_WRITTEN_BY = "`bulk-eraser fleet check FLEET --plan FILE`"


class FleetPlan(msgspec.Struct, kw_only=True, frozen=True, tag_field="type", tag="fleet_plan"):
    """The content of the file. `format` is that of the plans in it."""

    format: int = FORMAT
    clusters: dict[str, Plan]


def read_fleet_plan(path: str) -> dict[str, PlanFile]:
    """The plans by the names of their clusters; each has the digest of the whole file.

    Raises `UsageError` when there is no such plan of a kind that this version knows.
    """
    if not path:
        raise UsageError("--plan names no file. Is a variable empty? Nothing was sent.")
    content = read_bytes(path)
    plan = decoded(path, content, FleetPlan, _WRITTEN_BY)
    if plan.format != FORMAT:
        raise UsageError(f"The plan {path} was written by another version of bulk-eraser.")
    digest = sha256(content).hexdigest()
    return {name: PlanFile(path, digest, it) for name, it in plan.clusters.items()}


def write_fleet_plan(path: str, plans: Mapping[str, Plan]) -> None:
    """Write the file whole or not at all; an older plan of a fleet there is replaced, nothing else.

    Raises `UsageError` if there is something else, `LedgerWriteError` if it cannot be written.
    """
    fleet_plan_must_be_free(path)
    try:
        write_document(path, FleetPlan(clusters=dict(plans)))
    except OSError as error:
        raise LedgerWriteError(
            f"The plan {path} cannot be written: {error.strerror}. Name another place with --plan."
        ) from None


def fleet_plan_must_be_free(path: str) -> None:
    """Raises `UsageError` if a plan cannot be written there without destroying something else."""
    if path and not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        raise UsageError(f"A plan cannot be written to {path!r}, which is no file. Name another.")
    decoded(path, read_bytes(path), FleetPlan, _WRITTEN_BY)

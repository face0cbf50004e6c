"""What `fleet status`, `report` and `verify` have in common: the ledger of one cluster after the
other, offline; what is wrong with one says nothing of the others. And is it the cluster's own?"""

from collections.abc import Callable
from typing import TypeVar

from bulk_eraser.cli.fleet.file import Cluster, Fleet
from bulk_eraser.cli.fleet.result import FleetResult, add_up
from bulk_eraser.cli.options.shared import TargetOptions
from bulk_eraser.cli.terminal.ending import as_error
from bulk_eraser.errors import (
    BulkEraserError,
    ConfigurationError,
    Interrupted,
    Result,
    UsageError,
)
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import groups_of, ledger_blocks
from bulk_eraser.records import RunStarted

__all__ = ["for_each_ledger", "must_be_its_own"]

R = TypeVar("R", bound=Result)


def for_each_ledger(
    fleet: Fleet, total: FleetResult, new: Callable[[], R], look: Callable[[Cluster, R], None]
) -> dict[str, R]:
    """Have `look` fill a `new` result for each cluster, and add them up."""
    total.left_out = fleet.left_out
    results: dict[str, R] = {}
    for cluster in fleet.clusters:
        result = results[cluster.name] = new()
        try:
            cluster.ledger_must_exist()
            must_be_its_own(cluster)
            look(cluster, result)
        except Interrupted:
            raise
        except Exception as error:  # a bug as well
            result.fail(as_error(error))
    add_up(total, results)
    return results


def must_be_its_own(cluster: Cluster) -> None:
    """Raises `ConfigurationError` for the ledger of another cluster, `UsageError` for that of an
    export: its people would be counted as erased in this one."""
    started = _first_run(cluster.ledger)
    if started is None:
        return
    target = cluster.of(TargetOptions).target()
    bases = {started.base, target.named_base} - {None}
    if started.target != target.name or len(bases) > 1:
        raise ConfigurationError(
            f"The ledger {cluster.ledger} belongs to {started.base or started.target}, and not to "
            f"{target.named_base or target.name}, so it says nothing of this cluster. Name its own "
            "ledger in the fleet file."
        )
    if started.export is not None:
        raise UsageError(
            f"The ledger {cluster.ledger} is that of an export, whose jobs erase nobody. Name that "
            "of the erasures in the fleet file."
        )


def _first_run(ledger: str) -> RunStarted | None:
    """None where there is no run, or no ledger: whoever looks at it tells that."""
    try:
        groups = groups_of(LedgerScan(), ledger_blocks(ledger))
        lines = (line for group in groups for line in group.records)
        return next((line for line in lines if isinstance(line, RunStarted)), None)
    except BulkEraserError:
        return None

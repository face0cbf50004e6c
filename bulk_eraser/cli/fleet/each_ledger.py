"""What `fleet status`, `report` and `verify` have in common: the ledger of one cluster after the
other, offline; what is wrong with one says nothing of the others."""

from collections.abc import Callable
from typing import TypeVar

from bulk_eraser.cli.fleet.file import Cluster, Fleet
from bulk_eraser.cli.fleet.result import FleetResult, add_up
from bulk_eraser.cli.terminal.ending import as_error
from bulk_eraser.errors import Interrupted, Result

__all__ = ["for_each_ledger"]

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
            look(cluster, result)
        except Interrupted:
            raise
        except Exception as error:  # a bug as well
            result.fail(as_error(error))
    add_up(total, results)
    return results

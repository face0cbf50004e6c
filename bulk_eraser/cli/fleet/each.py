"""What is done for each cluster before anything is sent: all of them, or none."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TypeVar

from bulk_eraser.cli.fleet.file import Cluster, Fleet
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.text import some_of, told_once
from bulk_eraser.cli.terminal.ending import as_error
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import (
    BulkEraserError,
    InputError,
    Interrupted,
    Result,
    severest,
)
from bulk_eraser.sources.address import without_secrets
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.survey.checks import Allow
from bulk_eraser.survey.split import rows_by_cluster
from bulk_eraser.survey.survey import Survey
from bulk_eraser.wording import printable

__all__ = ["SharedRows", "for_each", "warn_of_one_input"]

R = TypeVar("R")


def for_each(
    clusters: Sequence[Cluster],
    do: Callable[[Cluster], R],
    output: Output,
    result: FleetResult,
    failed: Callable[[Cluster], Result],
) -> list[R]:
    """Do it for all, and tell all that is wrong at once. `failed` makes the result of a cluster for
    which it cannot be done. Raises the severest error if there is any."""
    done: list[R] = []
    refused: dict[str, BulkEraserError] = {}
    for cluster in clusters:
        try:
            done.append(do(cluster))
        except Interrupted:
            raise
        except Exception as error:  # a bug as well
            told = as_error(error)
            refused[cluster.name] = told
            result.clusters[cluster.name] = failed(cluster)
            result.clusters[cluster.name].fail(told)
    if not refused:
        return done
    for line in told_once((name, str(it)) for name, it in refused.items()):
        output.error(line)
    raise _refusal(refused, len(clusters))


def _refusal(refused: dict[str, BulkEraserError], clusters: int) -> BulkEraserError:
    code = severest(it.exit_code for it in refused.values())
    worst = next(it for it in refused.values() if it.exit_code == code)
    names = ",".join(refused)
    them, as_they_are = ("it", "as it is") if len(refused) == 1 else ("them", "as they are")
    leave_out = f"; or leave {them} out with --except {_typed(names)}"
    return type(worst)(
        f"{len(refused)} of {clusters} clusters cannot be used {as_they_are}, so nothing was sent "
        "to any. Correct what is said above, and use the same command again"
        f"{leave_out if len(refused) < clusters else ''}."
    )


def _typed(names: str) -> str:
    return names if names.replace(",", "").isalnum() else f"'{names}'"


def warn_of_one_input(clusters: Sequence[Cluster], output: Output) -> None:
    """Tell which clusters are sent the same keys: it may be meant, or a table that was copied."""
    same: dict[object, list[Cluster]] = {}
    for cluster in clusters:
        source = cluster.source
        what = os.path.realpath(source.input_path or ""), source.reading()
        same.setdefault(what, []).append(cluster)
    for several in same.values():
        if several[1:]:
            names = some_of([it.name for it in several])
            name = printable(without_secrets(several[0].source.input_path or ""))
            output.warn(f"{names} have the same input, {name}: each is sent all of its keys.")


class SharedRows:
    """How the rows of the one input that all clusters have are split among them, if it is one.

    Raises as `rows_by_cluster` does, where a row is for none of them.
    """

    def __init__(self, fleet: Fleet, output: Output) -> None:
        self._sha256: str | None = None
        shared = fleet.shared_input
        if shared is None:
            return
        reader = InputReader(shared.input_path, shared.reading())
        with closing(reader.file):
            self._rows = rows_by_cluster(
                reader,
                fleet.names,
                output.survey_progress,
                allow_torn_end=Allow.TORN_END in shared.allow,
            )
            self._sha256 = reader.file.fingerprint.sha256

    def must_be_those_of(self, survey: Survey) -> None:
        """Raises `InputError` if the survey of a cluster has seen another file, in which a row may
        be for another cluster: it would be sent twice, or not at all."""
        facts = survey.facts()
        if self._sha256 is None or facts.cluster is None:
            return
        if (facts.sha256, facts.rows) != (self._sha256, self._rows[facts.cluster]):
            raise InputError(
                f"{facts.name} was changed while it was read. Nothing was sent. Use the same "
                "command again."
            )

"""`bulk-eraser fleet report`: the evidence of each cluster for people, in files of its own."""

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from bulk_eraser.cli.fleet.each_ledger import for_each_ledger
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.text import ClusterOutput, tell_errors, tell_warnings
from bulk_eraser.cli.options.bundles import Bundle, command, flag
from bulk_eraser.cli.options.proofs import KeptStampsOptions
from bulk_eraser.cli.options.shared import QuietOptions, ReportedOptions
from bulk_eraser.cli.report import ReportOptions, WriterOptions, write_all
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Result
from bulk_eraser.wording import printable

__all__ = ["report"]


@dataclass(frozen=True, kw_only=True)
class FleetReportOptions(FleetOptions, ReportedOptions):
    """What `fleet report` has and no other command."""

    input: bool = flag("Report on every row of each cluster's input.", env=False)


@command(
    ("What became of everybody, on the screen", "bulk-eraser fleet report fleet.toml"),
    (
        "A page for each cluster: erasure.uk.html, erasure.de.html …",
        "bulk-eraser fleet report fleet.toml --html erasure.html",
    ),
)
def report(which: FleetReportOptions, writers: WriterOptions, told: QuietOptions) -> int:
    """Write the evidence of each cluster of FLEET for people, each in files of its own.

    A cluster's name is put into the names of its files: --html erasure.html writes erasure.uk.html
    and so on. Changes no ledger, sends nothing, needs no API key.
    """
    output, result = told.output(), FleetResult()

    def look(cluster: Cluster, found: Result) -> None:
        asked = ReportOptions(
            ledger=(cluster.ledger,),
            input=cluster.source.input_path if which.input else None,
            received=which.received,
            show_keys=which.show_keys,
        )
        if not writers.typed:
            output.result(f"{cluster.name}\n{'─' * len(cluster.name)}")
        own = ClusterOutput(output, cluster.name, verbose=not told.quiet)
        files = _own_files(writers, cluster.name)
        write_all(found, asked, KeptStampsOptions(), cluster.source, files, own)
        tell_warnings(output, {cluster.name: own})

    def work() -> FleetResult:
        for_each_ledger(read_fleet(which), result, Result, look)
        return result

    return conclude(output, result, work, _tell, _tell)


def _own_files(writers: WriterOptions, name: str) -> WriterOptions:
    """The same with the cluster's name in the names of the files."""
    common = {it.name for it in fields(Bundle)}
    own: dict[str, Any] = {}
    for field in fields(writers):
        path = getattr(writers, field.name)
        if field.name not in common and path:  # an empty one is refused as in `report`
            stem, extension = os.path.splitext(path)
            own[field.name] = f"{stem}.{name}{extension}"
    return replace(writers, **own)


def _tell(output: Output, total: FleetResult) -> None:
    tell_errors(output, total.clusters)
    if total.error is not None:
        output.error(printable(total.error))

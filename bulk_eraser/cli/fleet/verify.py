"""`bulk-eraser fleet verify`: are the ledgers of all clusters what was written?"""

import os
from dataclasses import dataclass

from bulk_eraser.cli.fleet.each_ledger import for_each_ledger
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.fleet.result import FleetResult
from bulk_eraser.cli.fleet.text import (
    ClusterOutput,
    in_all,
    lines_of_clusters,
    tell_errors,
    tell_warnings,
)
from bulk_eraser.cli.options.bundles import command, flag
from bulk_eraser.cli.options.proofs import StampsOptions
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.cli.terminal.verify_text import what_is_open
from bulk_eraser.cli.verify import VerifyOptions, request_of
from bulk_eraser.errors import ExitCode
from bulk_eraser.evidence.verification import verify as verify_ledgers
from bulk_eraser.evidence.verify_request import VerifyResult
from bulk_eraser.wording import STATE_MEANINGS, printable

__all__ = ["verify"]

_BAD = ("job_failed", "refused", "failed", "unknown", "sent")


@dataclass(frozen=True, kw_only=True)
class FleetVerifyOptions(FleetOptions):
    """What `fleet verify` has and no other command."""

    input: bool = flag("Account for every row of each cluster's input.", env=False)
    expect_done: bool = flag(
        "End with 3 unless everybody who was to be erased is, in every cluster.", env=False
    )


@command(
    ("Are the ledgers as they were written?", "bulk-eraser fleet verify fleet.toml"),
    (
        "Is everybody in the inputs erased?",
        "bulk-eraser fleet verify fleet.toml --input --expect-done",
    ),
)
def verify(which: FleetVerifyOptions, told: OutputOptions) -> int:
    """Prove that the ledgers of all clusters of FLEET are unchanged since they were written.

    Changes nothing, sends nothing, needs no API key. With --input, every row of each cluster's
    input must have an outcome in its ledger. A receipt that the file names is compared.
    """
    output, result = told.output(), FleetResult()

    def look(cluster: Cluster, found: VerifyResult) -> None:
        own, source = ClusterOutput(output, cluster.name), cluster.source
        receipt = cluster.recorded.receipt
        if receipt is not None and not os.path.exists(receipt):  # it was to be kept elsewhere
            own.warn(f"the receipt {printable(receipt)} is not there, so it is not compared.")
            receipt = None
        asked = VerifyOptions(
            ledger=(cluster.ledger,),
            input=source.input_path if which.input else None,
            expect_done=which.expect_done,
            receipt=() if receipt is None else (receipt,),
        )
        stamps = StampsOptions()
        try:
            verify_ledgers(request_of(asked, stamps, source, own), found, output.survey_progress)
            stamps.stamp_heads(own, None, found)
        finally:
            tell_warnings(output, {cluster.name: own})

    def work() -> FleetResult:
        for_each_ledger(read_fleet(which), result, VerifyResult, look)
        return result

    tell = in_a_step("fleet verify", _tell, STATE_MEANINGS)
    return conclude(output, result, work, tell, tell)


def _tell(output: Output, total: FleetResult) -> None:
    results: dict[str, VerifyResult] = total.clusters
    rows = []
    for name, it in results.items():
        states = it.states
        bad = sum(states.get(word, 0) for word in _BAD)
        words = ("in_progress", "not_reached")
        numbers = [it.erased, bad, *(states.get(word, 0) for word in words), it.unaccounted]
        verdict = "not verified" if it.exit_code or it.error else "verified"
        rows.append((name, numbers, [verdict]))
    if rows:
        heads = ["erased", "not done", "in progress", "not sent", "unaccounted"]
        output.result(lines_of_clusters(heads, [""], rows))
    if told := in_all(results):
        output.result(told)
    tell_errors(output, results)
    for name, it in results.items():
        if it.error is None and (why := what_is_open(it)):
            output.result(f"{name} is not verified: {'; '.join(why)}")
    if total.error is not None:
        output.error(printable(total.error))
    elif total.exit_code == ExitCode.COMPLETE:
        output.always(f"Verified: {total.everywhere}, the ledger is as it was written.")
    else:
        output.always("Not verified: see above for each cluster.")

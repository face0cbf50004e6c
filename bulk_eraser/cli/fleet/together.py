"""Many clusters at once: room for all of them, one loop, and what each leaves of its head."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from bulk_eraser.cli.fleet.file import Cluster
from bulk_eraser.cli.options.proofs import Proofs
from bulk_eraser.cli.options.service import OTHER_FILES, room_for_files
from bulk_eraser.cli.options.shared import PaceOptions
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import BulkEraserError, ConfigurationError
from bulk_eraser.records import RunStarted
from bulk_eraser.sending.lifecycle import Observe
from bulk_eraser.sending.request import FollowResult, RunResult
from bulk_eraser.sending.signals import Signals
from bulk_eraser.settings import MAX_CONCURRENCY

__all__ = ["carry_out_together", "leave_proofs", "most_at_a_time"]

R = TypeVar("R", RunResult, FollowResult)


def most_at_a_time(clusters: Sequence[Cluster], output: Output) -> int:
    """How many requests each may have on their way at a time, by the files that may be open: the
    limit is raised if it can be.

    Raises `ConfigurationError` where not even one of each would have room.
    """
    # What is out of bounds is refused later, with a sentence.
    asked = (cluster.of(PaceOptions).concurrency for cluster in clusters)
    wanted = [min(max(1, number), MAX_CONCURRENCY) for number in asked]
    others = OTHER_FILES * len(clusters)
    room = room_for_files(others + sum(wanted))
    each = max(wanted)
    if room >= others + sum(wanted):
        return each
    each = (room - others) // len(clusters)
    if each < 1:
        raise ConfigurationError(
            f"This computer lets the program open {room} files only; {len(clusters)} clusters need "
            f"{others + len(clusters)} at least. Raise the limit (ulimit -n), or use --only for "
            "some of the clusters at a time."
        )
    output.warn(f"only {room} files may be open, so concurrency is at most {each} per cluster.")
    return each


def carry_out_together(
    to_send: Mapping[str, int],
    carry_out: Callable[[str, Observe, Signals], Awaitable[R]],
    failed: Callable[[str], R],
    output: Output,
) -> dict[str, R]:
    """Carry out what is to be done for each cluster, side by side, and show how far they are.

    `failed` makes the result for one that could not begin.
    """
    from bulk_eraser.cli.fleet.display import FleetDisplay
    from bulk_eraser.cli.terminal.event_loop import event_loop_runner
    from bulk_eraser.sending.side_by_side import side_by_side

    shown = FleetDisplay(output, to_send)

    async def one(name: str, signals: Signals) -> R:
        result = await carry_out(name, shown.lanes[name], signals)
        shown.lanes[name].ended(result)
        return result

    def not_begun(name: str, error: BulkEraserError) -> R:
        result = failed(name)
        result.fail(error)
        shown.lanes[name].ended(result)
        return result

    async def all_of_them() -> dict[str, R]:
        async with shown.drawing():
            return await side_by_side({name: partial(one, name) for name in to_send}, not_begun)

    with event_loop_runner() as runner:
        return runner.run(all_of_them())


def leave_proofs(
    left: Iterable[tuple[Proofs, Output, RunStarted | None, RunResult | FollowResult]],
) -> None:
    """Receipt and stamp of each cluster; what goes wrong with them is its own result. An authority
    that gives no answer is waited for once, not once for each."""
    silent: set[str] = set()
    for proofs, output, started, result in left:
        try:
            replace(proofs, silent=silent).leave(output, started, result)
        except BulkEraserError as error:
            result.fail(error, begun=True)

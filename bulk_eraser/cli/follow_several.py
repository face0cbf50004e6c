"""`follow` for the ledgers of a seal: one after the other, and what it comes to in all."""

from collections.abc import Callable, Sequence

from bulk_eraser.errors import BulkEraserError, ExitCode, LedgerBusy, LedgerDamaged, severest
from bulk_eraser.ledger.probes import added
from bulk_eraser.sending.request import FollowResult
from bulk_eraser.wording import counted

__all__ = ["follow_each"]

LISTED = 1000
_ADDED = ("asked", "unanswered", "requests", "retries", "elapsed_s")
_COUNTED = ("counts", "without_job", "listed")
_OF_ONE_LEDGER = (LedgerBusy, LedgerDamaged)
"""What says nothing of the next ledger; whatever else stops one would stop all."""


def follow_each(
    seal: str,
    ledgers: Sequence[str],
    follow_one: Callable[[str], FollowResult],
    *,
    fail_if_overdue: bool,
) -> FollowResult:
    """The sum of what `follow_one` made of each, or of those up to the one that was stopped.

    The exit code is that of the first that did not get to its end, else 75 while jobs of one are
    pending, else 3 if one has failures; a job that is overdue comes before pending ones, if that is
    asked for. Raises nothing that `follow_one` does as `BulkEraserError`.
    """
    results: list[FollowResult] = []
    for ledger in ledgers:
        try:
            result = follow_one(ledger)
            is_stopped = result.error is not None
        except BulkEraserError as error:
            result = _failed(ledger, error)
            is_stopped = not isinstance(error, _OF_ONE_LEDGER)
        results.append(result)
        if is_stopped:
            break
    total = _sum_of(seal, results)
    if total.error is None:
        _conclude(total, results, fail_if_overdue=fail_if_overdue)
    elif left := len(ledgers) - len(results):
        total.error += f" Not asked about: {counted(left, 'further ledger')} of the seal."
    return total


def _failed(ledger: str, error: BulkEraserError) -> FollowResult:
    result = FollowResult(ledger=ledger)
    result.fail(error)
    return result


def _sum_of(seal: str, results: Sequence[FollowResult]) -> FollowResult:
    of_kind = next((it for it in results if it.error is None), results[0])
    total = type(of_kind)(ledger=seal)
    lists = [name for name, value in vars(of_kind).items() if name.endswith("_jobs")]
    for result in results:
        for name in _ADDED:
            setattr(total, name, round(getattr(total, name) + getattr(result, name), 3))
        for name in _COUNTED:
            counts = getattr(total, name)
            for word, count in getattr(result, name).items():
                counts[word] = counts.get(word, 0) + count
        for name in lists:
            of_all = [*getattr(total, name), *getattr(result, name, ())]
            setattr(total, name, of_all[:LISTED])
        total.attention += result.attention
        total.rehearsal |= result.rehearsal
    total.next_check_at = min(filter(None, (it.next_check_at for it in results)), default=None)
    total.probes = added([it.probes for it in results if it.probes is not None])
    for it in results:
        if it.error is not None and total.error is None:
            total.outcome, total.exit_code, total.error = it.outcome, it.exit_code, it.error
    return total


def _conclude(
    total: FollowResult, results: Sequence[FollowResult], *, fail_if_overdue: bool
) -> None:
    codes = {it.exit_code for it in results}
    total.exit_code = severest(codes)
    if total.exit_code == ExitCode.NOT_FINISHED:
        total.outcome = "incomplete"
        if fail_if_overdue and total.listed.get("overdue_jobs") and ExitCode.SOME_ROWS in codes:
            total.exit_code = ExitCode.SOME_ROWS

"""The ending of a run that was not started.

It also stands for a command line that could not be parsed, of whatever command.
"""

from bulk_eraser.cli.ending import outcome_of
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.sending.counts import COUNTS
from bulk_eraser.sending.order import Ending

__all__ = ["not_started"]


def not_started(error: BulkEraserError, ledger: str | None = None) -> Ending:
    """What `run` prints with --json when an error ended it before anything was sent."""
    return Ending(
        outcome=outcome_of(error),
        exit_code=error.exit_code,
        error=str(error),
        counts=dict.fromkeys(COUNTS, 0),
        requests=0,
        retries=0,
        survey_s=0.0,
        elapsed_s=0.0,
        ledger=ledger,
        head=None,
    )

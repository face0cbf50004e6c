"""What is noted while ledgers are verified, for a summary of them."""

from dataclasses import dataclass, field
from datetime import date

from bulk_eraser.errors import UsageError
from bulk_eraser.evidence.accounting import LedgerAccount
from bulk_eraser.evidence.key_notes import KeyNotes
from bulk_eraser.evidence.row_table import AddRow, LedgerLines
from bulk_eraser.evidence.run_notes import RunNotes

__all__ = ["Notes"]


@dataclass
class Notes:
    """What is noted on the way, for a summary: of keys, of runs, and of the ledgers as a whole.

    `add_row` is told of every row of the input; `received` is the date of requests without one.
    """

    keys: KeyNotes
    runs: RunNotes = field(default_factory=RunNotes)
    accounts: list[LedgerAccount] = field(default_factory=list)
    received: date | None = None
    add_row: AddRow | None = None

    def lines(self) -> LedgerLines:
        """Raises `UsageError` where a ledger cannot be read any more."""
        starts = [[run.started.at for run in account.runs] for account in self.accounts]
        try:
            return LedgerLines([it.path for it in self.accounts], starts, self.received)
        except OSError as error:
            raise UsageError(f"A ledger cannot be read again: {error.strerror}.") from None

"""What the probes of one or several ledgers come to, beside what verify does."""

from bulk_eraser.ledger.probes import ProbeBook, Probes, added
from bulk_eraser.ledger.replay import Group

__all__ = ["ProbeNotes"]


class ProbeNotes:
    """A fold over one or several ledgers."""

    def __init__(self) -> None:
        self._books: dict[int, ProbeBook] = {}

    def take(self, ledger: int, group: Group) -> None:
        self._books.setdefault(ledger, ProbeBook()).take(group)

    def summary(self) -> Probes | None:
        """None where there is no probe."""
        of_each = (book.summary() for book in self._books.values())
        return added([probes for probes in of_each if probes is not None])

"""The head of one ledger in a seal, and whether the ledger still has it where it was."""

from typing import NamedTuple

from bulk_eraser.errors import LedgerDamaged

__all__ = ["SealedHead"]


class SealedHead(NamedTuple):
    """The ledger had `head` when it was sealed, and so many `bytes` up to it."""

    ledger: str
    head: str
    bytes: int

    def must_be_there(self) -> None:
        """Look at the end of the line alone: it costs nothing, and is no proof of what stands
        before it, as `verify` gives. A ledger that is not there is told by who needs it.

        Raises `LedgerDamaged` if the ledger was cut off before the head, rewritten, or exchanged.
        """
        end = f'"sha256":"{self.head}"}}\n'.encode()
        try:
            with open(self.ledger, "rb") as file:
                file.seek(max(0, self.bytes - len(end)))
                if file.read(len(end)) == end:
                    return
        except OSError:
            return
        raise LedgerDamaged(
            f"The ledger {self.ledger} does not have the head that was sealed, {self.head[:12]}…: "
            "it was cut off before it, or rewritten. Nothing was asked."
        )

"""Whose certificate is asked for: found in a ledger by key, by line, or by reference."""

from dataclasses import dataclass

from bulk_eraser.errors import UsageError, lines_of
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import Group, groups_of, ledger_blocks
from bulk_eraser.records import KeyRecord, Rejected, RunStarted
from bulk_eraser.wording import printable

__all__ = ["PersonFound", "Sought", "naming_in"]

MOST = 100
"""Different keys that are looked at if a line or reference has several."""


@dataclass(frozen=True)
class Sought:
    """One of the three: `key` as the ledger names it, `line` of a row, or its `reference`."""

    key: str | None = None
    line: int | None = None
    reference: str | None = None

    @property
    def words(self) -> str:
        """As it can be told: never the key."""
        if self.line is not None:
            return f"line {self.line:,}"
        return "this key" if self.reference is None else f"reference {printable(self.reference)}"


class PersonFound:
    """A fold: the key of the rows that are sought."""

    def __init__(self, sought: Sought) -> None:
        self._sought = sought
        self._lines: dict[str, int] = {}
        """Key → its line."""
        self._rejected: str | None = None

    def take(self, group: Group) -> None:
        sought = self._sought
        for record in group.records:
            if isinstance(record, KeyRecord):
                if (
                    record.key == sought.key
                    or record.line == sought.line
                    or (record.reference == sought.reference is not None)
                ) and len(self._lines) < MOST:
                    self._lines[record.key] = record.line
            elif isinstance(record, Rejected) and record.line == sought.line:
                self._rejected = record.error

    def the_key(self, ledger: str) -> tuple[str, int]:
        """The key, and its line. Raises `UsageError` if there is none, or several."""
        words, ledger = self._sought.words, printable(ledger)
        if not self._lines and self._rejected:
            raise UsageError(
                f"The row on {words} has no usable key ({self._rejected}): nothing was sent for it."
            )
        if not self._lines:
            raise UsageError(
                f"The ledger {ledger} does not name {words}. Is it the right ledger? `report "
                "LEDGER --csv FILE` lists lines and references."
            )
        if len(self._lines) > 1:
            lines = sorted(self._lines.values())
            several = lines_of(lines[:3], len(lines)) if len(set(lines)) > 1 else words
            raise UsageError(
                f"The ledger {ledger} has several keys for {words} ({several}). Name one: with "
                f"{'--key-file' if len(set(lines)) == 1 else '--line or --key-file'}."
            )
        ((key, line),) = self._lines.items()
        return key, line


def naming_in(path: str) -> tuple[str, str | None] | None:
    """How the ledger at `path` names keys: `keys` and `pepper_check` of its first run; None if it
    has none. Raises `UsageError` and `LedgerDamaged` for what cannot be read."""
    for group in groups_of(LedgerScan(), ledger_blocks(path)):
        for record in group.records:
            if isinstance(record, RunStarted):
                return record.keys, record.pepper_check
    return None

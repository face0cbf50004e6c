"""Which keys are exported, by the ledger of an export: `run --after-export` sends no others."""

import os

from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import KeyHistory, LedgerFacts
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.pseudonyms import KeyNaming
from bulk_eraser.records import AfterExport
from bulk_eraser.settings import RunSettings

__all__ = ["ExportedKeys"]


class ExportedKeys:
    """The ledger of an export, proven and read once, without its lock. Close it when done.

    `facts` is what `run_started` says of it. Raises as `LedgerFile` does, `UsageError` for what is
    not the ledger of an export, and `ConfigurationError` for one of another target, or that names
    keys in another way than `naming`: none of them could be found there.
    """

    def __init__(self, path: str, naming: KeyNaming, settings: RunSettings) -> None:
        ledger = LedgerFacts()
        self._history = KeyHistory()
        try:
            file = LedgerFile(path, [ledger, self._history], readonly=True)
            file.close()
            if not file.exists:
                raise UsageError(
                    f"There is no ledger {path}. Name that of the export. Nothing was sent."
                )
            if ledger.export is None:
                raise UsageError(
                    f"{path} is not the ledger of an export (*.export.ledger.ndjson). Nothing was "
                    "sent."
                )
            if ledger.target != settings.target.name and not settings.simulated:
                raise ConfigurationError(
                    f"The export {path} belongs to the target {ledger.target}, this run to "
                    f"{settings.target.name}. Nothing was sent."
                )
            if (ledger.keys_kind, ledger.pepper_check) != (naming.kind, naming.pepper_check):
                raise ConfigurationError(
                    f"The export {path} names keys in another way than this run (as they are, or "
                    "as pseudonyms with one pepper or another), so none would be found. Nothing "
                    "was sent. Use --pseudonymize for both or for neither."
                )
        except BaseException:  # whatever refused it, the temporary files are given back
            self.close()
            raise
        name = os.path.basename(path).encode(errors="replace").decode()
        self.facts = AfterExport(ledger=name, head=file.head)

    def digests(self, partition: int) -> set[bytes]:
        """The digests of one partition's keys whose result is downloaded, or was empty."""
        states = self._history.states(partition)
        return {digest for digest, state in states.items() if state is KeyState.EXPORTED}

    def close(self) -> None:
        self._history.close()

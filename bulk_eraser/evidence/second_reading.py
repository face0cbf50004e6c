"""What depends on who was erased at some point of a ledger: roots for certificates, and samples.

A ledger that has any of them is read a second time, once for all of them.
"""

import os
from collections.abc import Sequence
from contextlib import closing

from bulk_eraser.evidence.accounting import LedgerAccount
from bulk_eraser.evidence.certificate.erased import ErasedKeys
from bulk_eraser.evidence.certificate.roots import RootLines, is_right, tree_of
from bulk_eraser.evidence.findings import Findings
from bulk_eraser.evidence.samples import SampleLines, is_as_drawn
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import Group, ledger_blocks, replay

__all__ = ["SecondReading"]


class SecondReading:
    """A fold over several ledgers, one after the other, which tells what to look for in them."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[RootLines, SampleLines]] = {}

    def take(self, ledger: int, group: Group) -> None:
        roots, samples = self._of.setdefault(ledger, (RootLines(), SampleLines()))
        roots.take(group)
        samples.take(group)

    def note_wrong_ones(self, ledgers: Sequence[LedgerAccount], findings: Findings) -> None:
        """Compute every root anew, and draw every sample again, of the ledgers that are intact.

        Raises `TemporaryFolderFull`, and `UsageError` where one cannot be read any more.
        """
        for number, (roots, samples) in self._of.items():
            for line in roots.lone:
                findings.note("wrong_root", number, line)
            for line in samples.strays:
                findings.note("wrong_sample", number, line)
            if (roots.roots or samples.samples) and ledgers[number].damage is None:
                for word, line in _wrong_ones(ledgers[number].path, roots, samples):
                    findings.note(word, number, line)


def _wrong_ones(path: str, roots: RootLines, samples: SampleLines) -> list[tuple[str, int]]:
    """Words of findings, and the lines."""
    with closing(ErasedKeys()) as erased, open(path, "rb") as file:
        replay(LedgerScan(), ledger_blocks(path), [erased])

        def read_at(offset: int, size: int) -> bytes:
            return os.pread(file.fileno(), size, offset)

        wrong = [
            ("wrong_root", root.number)
            for root in roots.roots
            if not is_right(root, tree_of(root, erased, read_at)[0], read_at)
        ]
        return wrong + [
            ("wrong_sample", sample.number)
            for sample in samples.samples.values()
            if not is_as_drawn(sample, erased, read_at)
        ]

"""The roots that a ledger commits: found, checked, and made.

A `root` line stands alone in its group. So the ledger's head behind it is SHA-256 over `covers`,
which it names itself, and its own bytes: whoever has the line can compute the head, and needs no
other line for it. The secret stands in the group before, and so does not travel with the line.
"""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.evidence.accounting import LedgerAccount
from bulk_eraser.evidence.certificate.erased import ErasedKeys
from bulk_eraser.evidence.certificate.merkle import GrowingTree
from bulk_eraser.evidence.findings import Findings
from bulk_eraser.ledger.chain import encode_group, link
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.key_state import ABOUT_KEYS
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import Group, ledger_blocks, replay
from bulk_eraser.records import Commit, LeafSecret, Root, time_text

__all__ = [
    "FORMAT",
    "CommittedRoot",
    "RootLines",
    "RootsOfLedgers",
    "commit_root",
    "is_right",
    "tree_over",
]

FORMAT = 1
SECRET_BYTES = 32
COMMIT_BYTES = 1 << 10
"""No commit line is longer."""
_A_SECRET = frozenset({LeafSecret})
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True)
class CommittedRoot:
    """A `root` line: its number, its place in the file, and its bytes with the line end."""

    said: Root
    secret: bytes
    number: int
    place: int
    line: bytes

    @property
    def head(self) -> str:
        """The ledger's head at this line."""
        return link(self.said.covers, self.line)


class RootLines:
    """A fold: the `root` lines of a ledger, oldest first, and the numbers of those that are `lone`,
    without a secret right before them or not alone in their group.

    `is_current` tells whether no line about a key stands behind the last one.
    """

    def __init__(self) -> None:
        self.roots: list[CommittedRoot] = []
        self.lone: list[int] = []
        self.is_current = False
        self._secret: bytes | None = None

    def take(self, group: Group) -> None:
        secret, self._secret = self._secret, None
        if Root in group.kinds:
            root, *others = group.records
            if isinstance(root, Root) and root.format != FORMAT:
                raise LedgerDamaged("The ledger holds a root line that this version cannot read.")
            if secret is None or others or not isinstance(root, Root):
                self.lone.append(group.line)
                return
            self.roots.append(CommittedRoot(root, secret, group.line, group.offset, group.lines))
            self.is_current = True
        elif group.kinds == _A_SECRET:
            self._secret = _secret_in(group.records[-1])
        elif not ABOUT_KEYS.isdisjoint(group.kinds):
            self.is_current = False


def _secret_in(record: object) -> bytes | None:
    try:
        return bytes.fromhex(record.secret) if isinstance(record, LeafSecret) else None
    except ValueError:
        return None


def tree_over(
    erased: ErasedKeys, read_at: ReadAt, secret: bytes, before: int, kept: int = -1
) -> tuple[GrowingTree, bytes]:
    """The tree over all who are erased before an offset, and the leaf of the one whose `accepted`
    line is at the place `kept`, whose path it keeps."""
    tree, leaf_kept = GrowingTree(), b""
    for place, leaf in erased.leaves(read_at, secret, before):
        tree.add(leaf, keep_path=place == kept)
        if place == kept:
            leaf_kept = leaf
    return tree, leaf_kept


def is_right(root: CommittedRoot, tree: GrowingTree, read_at: ReadAt) -> bool:
    """Does the line say what `tree` says, and what the commit says that ends its group?"""
    behind = read_at(root.place + len(root.line), COMMIT_BYTES).split(b"\n")[0]
    said = root.said
    return (said.leaves, said.root) == (tree.leaves, tree.root().hex()) and msgspec.json.decode(
        behind, type=Commit
    ).sha256 == root.head


def commit_root(
    file: LedgerFile, erased: ErasedKeys, kept: int
) -> tuple[CommittedRoot, GrowingTree, bytes]:
    """Append a root over all who are erased by now, and return it with its tree and leaf.

    `kept` as for `tree_over`. Raises `LedgerWriteError`; a secret alone, which is what a crash may
    leave, does no harm.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    tree, leaf = tree_over(erased, file.read_at, secret, file.size, kept)
    at = time_text()
    file.begin()
    before, covers = encode_group(file.head, [LeafSecret(secret=secret.hex())], at)
    said = Root(root=tree.root().hex(), leaves=tree.leaves, covers=covers)
    group, _ = encode_group(covers, [said], at)
    line = group[: group.index(b"\n") + 1]
    number, place = file.lines + 3, file.size + len(before)
    file.append(before)
    file.append(group)
    return CommittedRoot(said, secret, number, place, line), tree, leaf


class RootsOfLedgers:
    """The same fold over several ledgers, one after the other."""

    def __init__(self) -> None:
        self._of: dict[int, RootLines] = {}

    def take(self, ledger: int, group: Group) -> None:
        self._of.setdefault(ledger, RootLines()).take(group)

    def note_wrong_ones(self, ledgers: Sequence[LedgerAccount], findings: Findings) -> None:
        """Compute every root of the ledgers that are intact anew; one that has any is read a second
        time for that.

        Raises `TemporaryFolderFull`, and `UsageError` where it cannot be read any more.
        """
        for number, lines in self._of.items():
            for line in lines.lone:
                findings.note("wrong_root", number, line)
            if lines.roots and ledgers[number].damage is None:
                for root in _wrong_ones(ledgers[number].path, lines.roots):
                    findings.note("wrong_root", number, root.number)


def _wrong_ones(path: str, roots: Sequence[CommittedRoot]) -> list[CommittedRoot]:
    with closing(ErasedKeys()) as erased, open(path, "rb") as file:
        replay(LedgerScan(), ledger_blocks(path), [erased])

        def read_at(offset: int, size: int) -> bytes:
            return os.pread(file.fileno(), size, offset)

        trees = ((it, tree_over(erased, read_at, it.secret, it.place)[0]) for it in roots)
        return [root for root, tree in trees if not is_right(root, tree, read_at)]

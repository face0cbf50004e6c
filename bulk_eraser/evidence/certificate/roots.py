"""The roots that a ledger commits: found, checked, and made.

A `root` line stands alone in its group. So the ledger's head behind it is SHA-256 over `covers`,
which it names itself, and its own bytes: whoever has the line can compute the head, and needs no
other line for it. The secret stands in the group before, and so does not travel with the line.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.evidence.certificate.erased import ErasedKeys, ReadAt
from bulk_eraser.evidence.certificate.merkle import GrowingTree
from bulk_eraser.ledger.chain import encode_group, link
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.key_state import ABOUT_KEYS
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Commit, LeafSecret, ProbeAnswered, Root, time_text

__all__ = [
    "FORMAT",
    "CommittedRoot",
    "RootLines",
    "commit_root",
    "is_right",
    "tree_of",
]

FORMAT, WITHOUT_PROBES = 2, 1
"""Of new roots, and of those that know nothing of probes, so that who came back is among them."""
SECRET_BYTES = 32
COMMIT_BYTES = 1 << 10
"""No commit line is longer."""
_A_SECRET = frozenset({LeafSecret})
_TELLS_OF_STATEMENTS = ABOUT_KEYS | {ProbeAnswered}


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

    `is_current` tells whether the last one says what a new one would: it is of the newest format,
    and no line behind it changes a statement.
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
            if isinstance(root, Root) and root.format not in (FORMAT, WITHOUT_PROBES):
                raise LedgerDamaged("The ledger holds a root line that this version cannot read.")
            if secret is None or others or not isinstance(root, Root):
                self.lone.append(group.line)
                return
            self.roots.append(CommittedRoot(root, secret, group.line, group.offset, group.lines))
            self.is_current = root.format == FORMAT
        elif group.kinds == _A_SECRET:
            self._secret = _secret_in(group.records[-1])
        elif not _TELLS_OF_STATEMENTS.isdisjoint(group.kinds):
            self.is_current = False


def _secret_in(record: object) -> bytes | None:
    try:
        return bytes.fromhex(record.secret) if isinstance(record, LeafSecret) else None
    except ValueError:
        return None


def tree_of(
    root: CommittedRoot, erased: ErasedKeys, read_at: ReadAt, kept: int = -1
) -> tuple[GrowingTree, bytes]:
    """The tree that a root must stand for, and the leaf of the one whose `accepted` line is at the
    place `kept`, whose path it keeps."""
    with_probes = root.said.format != WITHOUT_PROBES
    leaves = erased.leaves(read_at, root.secret, root.place, with_probes=with_probes)
    return _tree_over(leaves, kept)


def _tree_over(leaves: Iterable[tuple[int, bytes]], kept: int) -> tuple[GrowingTree, bytes]:
    tree, leaf_kept = GrowingTree(), b""
    for place, leaf in leaves:
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
    """Append a root over all who are erased by now, but for those who came back, and return it
    with its tree and leaf.

    `kept` as for `tree_of`. Raises `LedgerWriteError`; a secret alone, which is what a crash may
    leave, does no harm.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    tree, leaf = _tree_over(erased.leaves(file.read_at, secret, file.size), kept)
    at = time_text()
    file.begin()
    before, covers = encode_group(file.head, [LeafSecret(secret=secret.hex())], at)
    said = Root(format=FORMAT, root=tree.root().hex(), leaves=tree.leaves, covers=covers)
    group, _ = encode_group(covers, [said], at)
    line = group[: group.index(b"\n") + 1]
    number, place = file.lines + 3, file.size + len(before)
    file.append(before)
    file.append(group)
    return CommittedRoot(said, secret, number, place, line), tree, leaf

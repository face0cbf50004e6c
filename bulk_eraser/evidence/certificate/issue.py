"""Make a certificate for one person out of a ledger, which gets a root for it if it has none."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from bulk_eraser.errors import LedgerDamaged, UsageError
from bulk_eraser.evidence.certificate.erased import ErasedKeys
from bulk_eraser.evidence.certificate.merkle import GrowingTree
from bulk_eraser.evidence.certificate.person import PersonFound, Sought
from bulk_eraser.evidence.certificate.probed import ProbeAnswer
from bulk_eraser.evidence.certificate.proof_file import Proof
from bulk_eraser.evidence.certificate.roots import (
    CommittedRoot,
    RootLines,
    commit_root,
    is_right,
    tree_of,
)
from bulk_eraser.evidence.certificate.signed_note import UNSIGNED, Signer, checkpoint_text
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.sending.request import REHEARSAL
from bulk_eraser.wording import printable

__all__ = ["Issued", "NotCertified", "issue"]


@dataclass(frozen=True)
class Issued:
    """A certificate, for the key on `line`; `is_new` if the ledger got a root for it. `head` is the
    ledger's at that root."""

    proof: Proof
    head: str
    root: str
    line: int
    is_new: bool


class NotCertified(Exception):
    """Nothing can be certified for the key on `line`, which is in this `state`.

    If that is `ERASED`, a probe has found data of the person since (`back`), or the service gave
    the same jid to another key as well.
    """

    def __init__(self, line: int, state: KeyState, back: ProbeAnswer | None = None) -> None:
        super().__init__()
        self.line = line
        self.state = state
        self.back = back


def issue(
    path: str, sought: Sought, signer: Signer | None, stamp_of: Callable[[str], bytes | None]
) -> Issued:
    """`stamp_of` gives the time stamp of a head, if there is one.

    The ledger is locked; at most a root and its secret are added. Raises `NotCertified`,
    `UsageError` where there is no such key or nothing to certify, `LedgerBusy`, `LedgerDamaged`,
    `LedgerWriteError`, `TemporaryFolderFull`, and what `stamp_of` raises.
    """
    lines, person = RootLines(), PersonFound(sought)
    with (
        closing(ErasedKeys()) as erased,
        closing(LedgerFile(path, [erased, lines, person])) as file,
    ):
        _must_be_usable(file, erased)
        key, line = person.the_key(path)
        digest = digest_of(key)
        state, place = erased.state_of(digest)
        if state is not KeyState.ERASED or erased.has_others_job(digest):
            raise NotCertified(line, state)
        last = erased.probes.last(digest, place, file.size)
        if last is not None and last.came_back:
            raise NotCertified(line, state, last)
        root, tree, leaf = _root_over(file, erased, lines, place)
    name = UNSIGNED if signer is None else signer.name
    checkpoint = checkpoint_text(name, root.head, tree.leaves, tree.root())
    proof = Proof(
        leaf=leaf,
        root_line=root.line.removesuffix(b"\n"),
        stamp=stamp_of(root.head),
        index=tree.index or 0,
        path=tuple(tree.path),
        checkpoint=checkpoint,
        signatures=() if signer is None else ((name, signer.sign(checkpoint)),),
    )
    return Issued(proof, root.head, root.said.root, line, is_new=not lines.is_current)


def _must_be_usable(file: LedgerFile, erased: ErasedKeys) -> None:
    if not file.exists:
        raise UsageError(f"There is no ledger {printable(file.path)}. Name that of a run.")
    if erased.facts.target == REHEARSAL:
        raise UsageError(
            f"The ledger {printable(file.path)} is that of a rehearsal, in which nothing was "
            "erased. There is nothing to certify."
        )
    if erased.facts.export:
        raise UsageError(
            f"The ledger {printable(file.path)} is that of an export, whose jobs erase nobody. "
            "There is nothing to certify."
        )
    if file.has_tail:
        raise UsageError(
            f"The ledger {printable(file.path)} has lines behind its last commit: a run broke off. "
            "Run the same command again first, so that they are recovered."
        )


def _root_over(
    file: LedgerFile, erased: ErasedKeys, lines: RootLines, place: int
) -> tuple[CommittedRoot, GrowingTree, bytes]:
    """The last root if it says what a new one would, else a new one; with its tree and the leaf of
    the key whose `accepted` line is at `place`."""
    if not lines.is_current:
        return commit_root(file, erased, place)
    root = lines.roots[-1]
    tree, leaf = tree_of(root, erased, file.read_at, place)
    if not is_right(root, tree, file.read_at):
        raise LedgerDamaged(
            f"The root on line {root.number:,} of the ledger is not that of the keys erased before "
            "it. Nothing was written. See what `verify` says of the ledger."
        )
    return root, tree, leaf

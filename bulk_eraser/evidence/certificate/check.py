"""Is a certificate what was issued? Without the ledger, and without anybody else's data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bulk_eraser.errors import CertificateRefused
from bulk_eraser.evidence.certificate.merkle import root_along
from bulk_eraser.evidence.certificate.proof_file import Proof
from bulk_eraser.evidence.certificate.signed_note import UNSIGNED, is_signed_by
from bulk_eraser.evidence.certificate.statement import Statement, statement_in
from bulk_eraser.evidence.timestamp import Stamp, State, judge
from bulk_eraser.ledger.chain import link
from bulk_eraser.records import Root

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import Certificate

__all__ = ["Checked", "check"]


@dataclass(frozen=True)
class Checked:
    """What holds. `head` is the ledger's at its line that commits the root, written at `root_at`.

    `signer` is the name in the signature, None if there is none; `is_signature_good` is None if it
    was not looked at. `stamp` is None if there is none.
    """

    statement: Statement
    head: str
    root: str
    root_at: str
    leaves: int
    index: int
    signer: str | None
    is_signature_good: bool | None
    stamp: Stamp | None


def check(
    proof: Proof,
    signed_by: "Ed25519PublicKey | None" = None,
    trusted: "Sequence[Certificate]" = (),
) -> Checked:
    """Raises `CertificateRefused` for whatever does not hold.

    With `signed_by` it must be signed with that key, with `trusted` it must have a time stamp that
    they vouch for.
    """
    # 1. The statement is a leaf of the tree.
    try:
        statement = statement_in(proof.leaf)
        root_line = msgspec.json.decode(proof.root_line, type=Root)
        if msgspec.json.encode(root_line) != proof.root_line:
            raise ValueError
    except ValueError:  # msgspec's errors among them
        raise CertificateRefused(
            "The certificate holds a statement or a ledger line that no certificate holds: it was "
            "changed, or it needs a newer version of bulk-eraser."
        ) from None
    if root_along(proof.leaf, proof.index, proof.leaves, proof.path) != proof.root:
        raise CertificateRefused(
            "The statement is not among those that the root stands for: the certificate was "
            "changed after it was issued."
        )
    # 2. The ledger's line commits its root, and the head that line.
    head = link(root_line.covers, proof.root_line + b"\n")
    if (root_line.root, root_line.leaves) != (proof.root.hex(), proof.leaves):
        raise CertificateRefused(
            "The ledger's line commits another root: the certificate was changed after it was "
            "issued."
        )
    if not proof.origin.endswith(f"/{head}"):
        raise CertificateRefused(
            "The checkpoint names another head than that of the ledger's line: the certificate was "
            "changed after it was issued."
        )
    # 3. Who says so, and since when. The name counts that is signed, which is that in the origin.
    name = proof.origin.removesuffix(f"/{head}")
    signatures = [signature for of, signature in proof.signatures if of == name]
    if not proof.signatures and name != UNSIGNED:
        raise CertificateRefused(
            "The checkpoint names a signer, but is not signed: the certificate was changed after "
            "it was issued."
        )
    return Checked(
        statement=statement,
        head=head,
        root=root_line.root,
        root_at=root_line.at,
        leaves=proof.leaves,
        index=proof.index,
        signer=name if signatures else None,
        is_signature_good=_must_be_signed(proof.checkpoint, name, signatures, signed_by),
        stamp=_must_be_stamped(proof, head, trusted),
    )


def _must_be_signed(
    text: str, name: str, signatures: list[bytes], key: "Ed25519PublicKey | None"
) -> bool | None:
    if key is None:
        return None
    if not signatures:
        raise CertificateRefused("The certificate is not signed.")
    if not any(is_signed_by(key, text, name, signature) for signature in signatures):
        raise CertificateRefused(
            "The certificate is not signed with the key of --signed-by, or it was changed after it "
            "was signed."
        )
    return True


def _must_be_stamped(proof: Proof, head: str, trusted: "Sequence[Certificate]") -> Stamp | None:
    if proof.stamp is None:
        if trusted:
            raise CertificateRefused("The certificate has no time stamp.")
        return None
    stamp = judge(proof.stamp, trusted)
    if stamp.head != head:
        raise CertificateRefused("The time stamp is not one of the ledger's head.")
    if stamp.state is State.BAD or (trusted and stamp.state is not State.GOOD):
        raise CertificateRefused(f"The time stamp is not good: {stamp.why}.")
    return stamp

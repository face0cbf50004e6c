"""A certificate as a file: C2SP tlog-proof@v1, as text and back.

    c2sp.org/tlog-proof@v1
    extra <base64 of the JSON object below>
    index <number of the leaf, from 0>
    <base64 of a hash of the path>          as many as there are
                                            (an empty line)
    <the checkpoint, signed or not>         see signed_note

The extra data are `leaf` (the statement, which is what is hashed), `root_line` (the ledger's line
that commits the root, without its end) and `stamp` (base64 of an authority's reply, if there is
one). A page for the person holds the same text between two marks.
"""

import html
from base64 import b64decode, b64encode

import msgspec

from bulk_eraser.errors import CertificateRefused
from bulk_eraser.evidence.certificate.merkle import HASH_BYTES

__all__ = ["FIRST_LINE", "PAGE_BEGINS", "PROOF_BEGINS", "Proof", "proof_in", "text_of"]

FIRST_LINE = "c2sp.org/tlog-proof@v1\n"
PAGE_BEGINS = "<!DOCTYPE html>\n<!-- bulk-eraser certificate -->"
PROOF_BEGINS, PROOF_ENDS = '<pre id="proof">', "</pre>"
MOST_LEVELS = 64


class _Extra(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    leaf: str
    root_line: str
    stamp: str | None = None


class Proof(msgspec.Struct, kw_only=True, frozen=True):
    """What a certificate holds. `checkpoint` is what is signed, `signatures` are pairs of a name
    and what was signed with it, key id included; empty if it is not signed."""

    leaf: bytes
    root_line: bytes
    stamp: bytes | None
    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def origin(self) -> str:
        return self.checkpoint.split("\n")[0]

    @property
    def leaves(self) -> int:
        return int(self.checkpoint.split("\n")[1])

    @property
    def root(self) -> bytes:
        return _from_base64(self.checkpoint.split("\n")[2])


def text_of(proof: Proof) -> str:
    extra = _Extra(
        leaf=proof.leaf.decode(),
        root_line=proof.root_line.decode(),
        stamp=_in_base64(proof.stamp) if proof.stamp else None,
    )
    lines = [
        f"extra {_in_base64(msgspec.json.encode(extra))}",
        f"index {proof.index}",
        *map(_in_base64, proof.path),
    ]
    signed = "".join(f"— {name} {_in_base64(signature)}\n" for name, signature in proof.signatures)
    end = proof.checkpoint + (f"\n{signed}" if signed else "")
    return FIRST_LINE + "".join(f"{line}\n" for line in lines) + f"\n{end}"


def proof_in(content: bytes) -> Proof:
    """The proof in a file, or in a page. Raises `CertificateRefused` for anything that is not byte
    for byte as it is written."""
    try:
        text = content.decode()
        if not text.startswith(FIRST_LINE):
            text = _in_page(text)
        proof = _parsed(text)
        if text_of(proof) != text:
            raise ValueError
    except (ValueError, AttributeError):  # msgspec's errors and UnicodeDecodeError among them
        raise CertificateRefused(
            "This is not a certificate of erasure, or it was changed after it was issued."
        ) from None
    return proof


def _parsed(text: str) -> Proof:
    head, checkpoint = text.removeprefix(FIRST_LINE).split("\n\n", 1)
    extra_line, index, *path = head.split("\n")
    extra = msgspec.json.decode(_from_base64(_behind("extra ", extra_line)), type=_Extra)
    if len(path) > MOST_LEVELS:
        raise ValueError
    body, *signed = checkpoint.split("\n\n", 1)
    proof = Proof(
        leaf=extra.leaf.encode(),
        root_line=extra.root_line.encode(),
        stamp=None if extra.stamp is None else _from_base64(extra.stamp),
        index=_number(_behind("index ", index)),
        path=tuple(map(_from_base64, path)),
        checkpoint=body + "\n" if signed else body,
        signatures=tuple(map(_signature, signed[0].removesuffix("\n").split("\n")))
        if signed
        else (),
    )
    _, leaves, root, end = proof.checkpoint.split("\n")
    _number(leaves)
    if end or any(len(digest) != HASH_BYTES for digest in (_from_base64(root), *proof.path)):
        raise ValueError
    return proof


def _in_page(text: str) -> str:
    begin, end = text.index(PROOF_BEGINS) + len(PROOF_BEGINS), text.index(PROOF_ENDS)
    return html.unescape(text[begin:end])


def _signature(line: str) -> tuple[str, bytes]:
    mark, name, signature = line.split(" ")
    if mark != "—":
        raise ValueError
    return name, _from_base64(signature)


def _behind(word: str, line: str) -> str:
    if not line.startswith(word):
        raise ValueError
    return line.removeprefix(word)


def _number(text: str) -> int:
    number = int(text)
    if str(number) != text or not 0 <= number < 1 << 63:
        raise ValueError
    return number


def _in_base64(content: bytes) -> str:
    return b64encode(content).decode()


def _from_base64(text: str) -> bytes:
    content = b64decode(text, validate=True)
    if _in_base64(content) != text:
        raise ValueError
    return content

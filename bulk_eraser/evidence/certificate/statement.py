"""What is certified of one person: the statement, and the leaf of the tree that it becomes.

A leaf is the statement as JSON, UTF-8, without spaces, its members in the order below, none left
out but `received`, `reference` and `probe`, which only some have. The last member, `random`, keeps
a neighbour in the tree, who sees the leaf's hash, from finding out the statement by trial.
"""

import hmac
from typing import Literal

import msgspec

__all__ = ["RANDOM_BYTES", "Probed", "Statement", "leaf_of", "random_of", "statement_in"]

RANDOM_BYTES = 16


class Probed(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The service was asked whether anything is left, by the export job `jid`, whose result was
    read at `answered_at`. Whoever came back gets no statement."""

    asked_at: str
    jid: str
    answered_at: str
    answer: Literal["nothing_left"]


class Statement(
    msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Somebody's removal job is done. Times are UTC, RFC 3339, milliseconds.

    `key` is the customer key, or its pseudonym if `keys` says so. `line` is that of the row in the
    input, `sent_at` when the request was announced that was `accepted_at`, `done_at` when the
    service was first heard to say that the job is done. `probe` is the last question about this
    person, asked since the job was accepted, that was answered. `random` is in hexadecimal.
    """

    statement: Literal["erased"]
    key: str
    keys: str
    line: int
    target: str
    received: str | None = None
    reference: str | None = None
    sent_at: str
    accepted_at: str
    jid: str
    done_at: str
    probe: Probed | None = None
    random: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Statement)


def leaf_of(statement: Statement) -> bytes:
    return _encoder.encode(statement)


def statement_in(leaf: bytes) -> Statement:
    """Raises `ValueError` for what is no leaf, byte for byte."""
    statement = _decoder.decode(leaf)
    if leaf_of(statement) != leaf:
        raise ValueError("not as it is written")
    return statement


def random_of(secret: bytes, index: int) -> str:
    """The random bytes of the leaf with this number, in hexadecimal: HMAC-SHA256 of the number (8
    bytes, big-endian) under the secret, cut off. Without the secret they cannot be guessed."""
    return hmac.digest(secret, index.to_bytes(8), "sha256")[:RANDOM_BYTES].hex()

"""What is certified of one person: the statement, and the leaf of the tree that it becomes.

A leaf is the statement as JSON, UTF-8, without spaces, its members in the order below, none left
out but `received` and `reference`, which only some rows have. The last member, `random`, keeps a
neighbour in the tree, who sees the leaf's hash, from finding out the statement by trial.
"""

import hmac
from typing import Literal

import msgspec

__all__ = ["RANDOM_BYTES", "Statement", "leaf_of", "random_of", "statement_in"]

RANDOM_BYTES = 16


class Statement(
    msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Somebody's removal job is done. Times are UTC, RFC 3339, milliseconds.

    `key` is the customer key, or its pseudonym if `keys` says so. `line` is that of the row in the
    input, `sent_at` when the request was announced that was `accepted_at`, `done_at` when the
    service was first heard to say that the job is done. `random` is in hexadecimal.
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

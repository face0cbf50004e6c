"""The digest chain: what a commit line proves about the lines before it."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from bulk_eraser.records import Commit, Record

__all__ = ["GENESIS", "commit_group", "encode_group", "link"]

GENESIS = "0" * 64
"""Stands in for the previous commit before the first one."""

_encoder = msgspec.json.Encoder()


def link(previous: str, lines: bytes) -> str:
    """The hex digest that commits `lines` (their exact bytes) after the commit `previous`."""
    digest = sha256(previous.encode())
    digest.update(lines)
    return digest.hexdigest()


def encode_group(previous: str, records: Sequence[Record], at: str) -> tuple[bytes, str]:
    """One synced group: the records' lines, stamped `at`, and the commit line that ends them.

    Returns the bytes to append and the new head of the chain.
    """
    for record in records:
        record.at = at
    return commit_group(previous, _encoder.encode_lines(records), at)


def commit_group(previous: str, lines: bytes, at: str) -> tuple[bytes, str]:
    """The bytes of one group, `lines` and the commit line that ends them, and the new head."""
    head = link(previous, lines)
    commit = _encoder.encode(Commit(at=at, lines=lines.count(b"\n"), sha256=head))
    return lines + commit + b"\n", head

"""Walk through a ledger's bytes: which of them are proven, what comes after, crash or damage.

Kept is the longest prefix that ends in a valid commit. A group is written and synced before the
next one is begun, so a crash can leave only the last group incomplete. A break with a valid
commit *behind* it is therefore no crash: somebody changed the file.
"""

from collections.abc import Iterator

import msgspec

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.ledger.chain import GENESIS, link
from bulk_eraser.records import Commit

__all__ = ["LedgerScan"]

_commit_decoder = msgspec.json.Decoder(Commit)


class LedgerScan:
    """One pass over a ledger; feed it with `groups()`, then read the other attributes.

    `head` is the digest of the last valid commit, `commits` their number, `valid_bytes` the
    length of the prefix that they prove; `torn` whether anything stands behind that prefix.
    """

    def __init__(self) -> None:
        self.head = GENESIS
        self.commits = 0
        self.valid_bytes = 0
        self.torn = False

    def groups(self, blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
        """Yield the lines of each proven group, without its commit line.

        `blocks` are the file's bytes in order, cut anywhere. Raises `LedgerDamaged` when a valid
        commit stands behind a break.
        """
        candidates = {self.head}
        pending: list[bytes] = []
        size = 0
        for line in _lines(blocks):
            size += len(line)
            if not line.startswith(Commit.PREFIX):
                pending.append(line)
                continue
            commit = _decode_commit(line)
            body = b"".join(pending)
            if commit is None or not _proven(commit, candidates, pending, body):
                candidates = self._after_break(commit, candidates, body)
            elif self.torn:
                raise LedgerDamaged(self._damage())
            else:
                self.head = commit.sha256
                self.commits += 1
                self.valid_bytes += size
                candidates = {self.head}
                yield pending
            pending = []
            size = 0
        if size:
            self.torn = True

    def _after_break(self, commit: Commit | None, candidates: set[str], body: bytes) -> set[str]:
        """What a commit behind this break could follow from.

        That is what the broken group's commit line says, or (when the commit line itself was
        changed) what it should say.
        """
        stated = set() if commit is None else {commit.sha256}
        if not self.torn:
            self.torn = True
            return stated | {link(self.head, body)}
        return stated or candidates

    def _damage(self) -> str:
        return (
            f"The ledger was changed after commit {self.commits} ({self.head[:12]}…): valid "
            "commits stand behind a line that is not what was written. Nothing was written. "
            "Keep the file as it is and restore the ledger from a copy before you run again."
        )


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines with their newline; a last one without newline is yielded as it is."""
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _decode_commit(line: bytes) -> Commit | None:
    try:
        return _commit_decoder.decode(line) if line.endswith(b"\n") else None
    except ValueError:  # msgspec's errors and UnicodeDecodeError
        return None


def _proven(commit: Commit, candidates: set[str], pending: list[bytes], body: bytes) -> bool:
    """Does `commit` end a group that follows from one of the `candidates` as written?"""
    return commit.lines == len(pending) and any(
        commit.sha256 == link(previous, body) for previous in candidates
    )

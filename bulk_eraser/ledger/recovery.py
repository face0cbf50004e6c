"""Walk through a ledger's bytes: which of them are proven, what comes after, crash or damage.

Kept is the longest prefix that ends in a valid commit. A group is written and synced before the
next one is begun, so a crash can leave only the last group incomplete, and behind the prefix at
most one commit line, which proves nothing. Anything else is no crash: somebody changed the file.

1. A further commit line stands behind the break, valid or not (whole groups were synced there).
2. The only commit line behind the prefix is valid for the lines before it, but the one it follows
   from was removed or can no longer be read.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.ledger.chain import GENESIS, link
from bulk_eraser.records import Commit

__all__ = ["LedgerScan", "begins_like_a_ledger"]

SECTOR = 512
"""Bytes; a disk writes no less than this at a time."""
FIRST_LINES = (b'{"type":"run_started"', b'{"type":"recovered"', b'{"type":"derived_from"')
FIRST_GROUP = 1 << 20
"""Bytes; no first group (a run's settings) is larger, so a larger file of zeros is no torn one."""

_COMMIT_LINE = b"\n" + Commit.PREFIX
_commit_decoder = msgspec.json.Decoder(Commit)
_encoder = msgspec.json.Encoder()
_STATED_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')


class LedgerScan:
    """One pass over a ledger; feed it with `groups()`, then read the other attributes.

    `head` is the digest of the last valid commit, `commits` their number, `valid_lines` and
    `valid_bytes` the length of the prefix that they prove (commit lines included), `tail_bytes`
    the length of what stands behind it. `last_group` is what the last valid commit ends: its lines,
    and the commit line itself. All are up to date while the groups are yielded.
    """

    def __init__(self) -> None:
        self.head = GENESIS
        self.commits = 0
        self.valid_lines = 0
        self.last_group = (b"", b"")
        self.valid_bytes = 0
        self.tail_bytes = 0

    def groups(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the lines of each proven group (their exact bytes), without its commit line.

        `blocks` are the file's bytes in order, cut anywhere. Raises `LedgerDamaged` when what
        stands behind the last valid commit cannot come from a crash.
        """
        broken = False
        for lines, commit_line in _split(blocks):
            self.tail_bytes += len(lines) + len(commit_line)
            if not commit_line:
                continue  # the rest of the file: a tail, of a crash or of a run that is writing
            # 1. A second commit line behind the break: groups were synced there, so it is no crash.
            if broken:
                raise LedgerDamaged(self._damage())
            commit = _decode_commit(commit_line)
            # 2. The first one that proves nothing: a crash in its group, unless it proves something
            #    else, namely lines whose own commit line is gone.
            if commit is None or not _is_proven(commit, self.head, lines):
                broken = True
                if commit is not None and _lost_its_forerunner(commit, self.head, lines):
                    raise LedgerDamaged(self._damage())
                continue
            # 3. A proven group.
            self.head = commit.sha256
            self.commits += 1
            self.valid_lines += commit.lines + 1
            self.last_group = (lines, commit_line)
            self.valid_bytes += self.tail_bytes
            self.tail_bytes = 0
            yield lines

    def _damage(self) -> str:
        return (
            f"The ledger was changed after commit {self.commits} ({self.head[:12]}…, line "
            f"{self.valid_lines}): what stands between there and commit {self.commits + 1} is not "
            "what was written, and further commits follow. Nothing was written. Keep the file as "
            "it is and restore the ledger from a copy before you run again."
        )


def begins_like_a_ledger(read: Callable[[int, int], bytes], size: int) -> bool:
    """Is a file of `size` bytes a ledger, or the first group of one, torn by a crash?

    `read` returns so many bytes from an offset on. After a power loss the first bytes may be zeros;
    then all of the file must be what a group can leave: sectors that arrived, which hold no zeros,
    between sectors that did not. (Not so where the kernel took the first group in parts, wrote some
    back and lost its beginning.)
    """
    start = read(64, 0)
    text = start.rstrip(b"\0")
    if not any(text.startswith(first[: len(text)]) for first in FIRST_LINES):
        return False
    if text == start or len(text) >= len(FIRST_LINES[0]):
        return True
    if size > FIRST_GROUP:
        return False
    group = read(FIRST_GROUP, 0)
    rest = [group[n : n + SECTOR] for n in range(SECTOR, len(group), SECTOR)]
    return Commit.PREFIX in group or all(b"\0" not in s or not s.strip(b"\0") for s in rest)


def _split(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The lines up to each whole commit line, and that line; last what is left, and nothing."""
    rest = b"\n"  # begins with the newline before the next line
    for block in blocks:
        rest += block
        begin = 0
        while (at := rest.find(_COMMIT_LINE, begin)) >= 0:
            end = rest.find(b"\n", at + 1)
            if end < 0:
                break
            yield rest[begin + 1 : at + 1], rest[at + 1 : end + 1]
            begin = end
        rest = rest[begin:]
    yield rest[1:], b""


def _decode_commit(line: bytes) -> Commit | None:
    """The commit, if the line is one byte for byte: nothing else in it is covered by a digest."""
    try:
        commit = _commit_decoder.decode(line)
    except ValueError:  # msgspec's errors and UnicodeDecodeError
        return None
    return commit if _encoder.encode(commit) + b"\n" == line else None


def _is_proven(commit: Commit, head: str, lines: bytes) -> bool:
    """Does `commit` end the group `lines` that follows from `head`?"""
    return commit.lines == lines.count(b"\n") and commit.sha256 == link(head, lines)


def _lost_its_forerunner(commit: Commit, head: str, lines: bytes) -> bool:
    """Is `commit` valid for the last of `lines`, with a lost commit line before those?

    The lost one proved all that stands before (it was removed), or its digest still stands in
    the line before (it was changed so that it is no commit line any more).
    """
    count = lines.count(b"\n")
    before = count - commit.lines
    if not 0 < before <= count:
        return False
    each = [line + b"\n" for line in lines.split(b"\n")[:-1]]
    stated = [digest.decode() for digest in _STATED_DIGEST.findall(each[before - 1])]
    lost = [link(head, b"".join(each[:before])), *stated]
    return any(commit.sha256 == link(previous, b"".join(each[before:])) for previous in lost)

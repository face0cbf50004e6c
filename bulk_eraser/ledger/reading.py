"""Read a ledger that nobody needs to write: its bytes, and where it lies."""

import os
import stat
from collections.abc import Iterator

from bulk_eraser.errors import LedgerDamaged, UsageError
from bulk_eraser.ledger.file import FIRST_LINES

__all__ = ["ledger_blocks", "network_file_system"]

BLOCK = 1 << 20
_OVER_THE_NETWORK = {
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}


def ledger_blocks(path: str) -> Iterator[bytes]:
    """The file's bytes. Raises `LedgerDamaged` if it is no ledger, `UsageError` if unreadable."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: a FIFO waits for ever
            raise UsageError(f"The ledger {path} is not a regular file. Name the right one.")
        with open(path, "rb") as file:
            block = file.read(BLOCK)
            start = block[:64].rstrip(b"\0")  # of a first group torn by a power loss
            if not any(start.startswith(first[: len(start)]) for first in FIRST_LINES):
                raise LedgerDamaged(
                    f"{path} is not a ledger of bulk-eraser, or its first line was changed."
                )
            while block:
                yield block
                block = file.read(BLOCK)
    except OSError as error:
        raise UsageError(f"The ledger {path} cannot be read: {error.strerror}.") from None


def network_file_system(path: str, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The kind of the file system on which `path` lies, if it is reached over a network.

    A kernel lock may not hold there between two machines. None where it cannot be told. `mounts` is
    in the format of proc(5).
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ") for line in file]
    except OSError:
        return None
    place = os.path.realpath(path) + "/"
    best, kind = "", None
    for fields in lines:
        folder = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        inside = place.startswith(folder.rstrip("/") + "/")
        if inside and len(folder) >= len(best):
            best, kind = folder, fields[fields.index("-") + 1]
    return kind if kind in _OVER_THE_NETWORK else None

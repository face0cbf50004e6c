"""The calls by which a ledger reaches the disk, in one place, so that a test can be the disk."""

import errno
import fcntl
import os
import time

__all__ = ["Disk", "is_being_written", "network_file_system"]

LOOK_S = 0.02
"""Far longer than `is_being_written` holds the lock that it looks with."""
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


class Disk:
    """The operating system's calls, as they are: one call each, every error an `OSError`.

    Thin on purpose: what to call when, and what a failure means, is decided in `LedgerFile`.
    """

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def lock(self, fd: int) -> None:
        """Take the file for this process alone. Raises `BlockingIOError` when another has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it may be one that only looks, see `is_being_written`
            time.sleep(LOOK_S)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def chmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def write(self, fd: int, content: bytes | memoryview) -> int:
        """Append. May take only a part without an error; returns how many bytes."""
        return os.write(fd, content)

    def write_again(self, fd: int, content: bytes, offset: int) -> None:
        """Write over the same bytes, so that the next sync takes them for new.

        Linux appends wherever one points while a file is open for appending, so it is not here.
        """
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)
        try:
            while content:
                written = os.pwrite(fd, content, offset)
                content, offset = content[written:], offset + written
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)

    def sync(self, fd: int) -> None:
        """Have all of the file, or of the folder, on disk."""
        os.fsync(fd)

    def sync_content(self, fd: int) -> None:
        """Have on disk what is needed to read the file's bytes again, and no more."""
        os.fdatasync(fd)

    def cut(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def write_all(self, fd: int, content: bytes) -> None:
        """Write until nothing is left: a full disk may take a part of it without an error."""
        view = memoryview(content)
        while view:
            written = self.write(fd, view)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = view[written:]


def is_being_written(path: str) -> bool:
    """Does a process hold the lock of the ledger at `path` now? Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


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

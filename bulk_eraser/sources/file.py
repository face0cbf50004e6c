"""The raw bytes of an input, read twice and proven to be the same both times.

    1. surveyed   before anything is sent, so that the number shown for consent is the true one;
                  leaves a fingerprint, one digest per block of 1 MiB
    2. checked    while sending; every block is compared before a key of it is handed out

A pipe cannot be read twice, and what lies elsewhere may be another one the second time, so these
are copied into an unlinked temporary file first.
"""

import errno
import io
import os
import select
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from hashlib import blake2b, sha256
from typing import IO, Any

from bulk_eraser.errors import InputError, no_temporary_room
from bulk_eraser.sources.address import is_remote, object_name

__all__ = ["BLOCK", "Fingerprint", "InputFile", "ProvenBytes", "read_whole"]

BLOCK = 1 << 20
SIGNAL_CHECK_S = 0.25
MOST_IN_MEMORY = 512 << 20
"""Bytes of a file that can only be read as a whole."""
BLOCKS_KEPT = 8
"""Of a file that is read here and there: whoever does so comes back to a block soon, or never."""

SeeBlock = Callable[[int, bytearray], None]
"""Called with the index and the content of each block, and with an empty one at the end."""


class Fingerprint:
    """What the first reading saw: a digest per block, the whole file's size and SHA-256."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.size = 0
        self._whole = sha256()

    @property
    def sha256(self) -> str:
        return self._whole.hexdigest()

    def take(self, block: bytearray) -> None:
        self.blocks.append(_block_digest(block))
        self.size += len(block)
        self._whole.update(block)


class InputFile:
    """A file, stdin for the path `-`, or a file elsewhere; `name` is what the ledger and messages
    call it. Of one elsewhere, `address` is where it is, without secrets, `version` what tells its
    state from others.

    Raises `InputError` when it cannot be read, `TemporaryFolderFull` when the temporary folder
    has no room for a copy, `UsageError` for an address that must not be used.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        name = "stdin" if path == "-" else object_name(path)
        self.name = name.encode(errors="replace").decode()  # it goes into the ledger
        self.address: str | None = None
        self.version: str | None = None
        self._spool: IO[bytes] | None = None
        try:
            if is_remote(path):
                self._spool = self._fetched(path)
            else:
                self._spool = _spool_if_pipe(path)
            self._opened = self._stat()
        except OSError as error:
            raise InputError(_cannot_read(path, error)) from None
        self.fingerprint = Fingerprint()

    @property
    def is_pipe(self) -> bool:
        """Can it be named to nobody, and be read by nobody else?"""
        return self._spool is not None and self.address is None

    def _fetched(self, path: str) -> IO[bytes]:
        from bulk_eraser.sources.remote import RemoteFile  # takes its time to import

        remote = RemoteFile(path)
        spool = _spool(remote.blocks())
        self.address, self.version = remote.address, remote.version
        return spool

    def close(self) -> None:
        """Give the disk space of a copy back; the file cannot be read any more."""
        if self._spool is not None:
            self._spool.close()

    # ── the readings ────────────────────────────────────────────────────────────────────────

    def surveyed_bytes(self) -> "io.BufferedReader[Any]":
        """The bytes for the first reading, which leaves the fingerprint.

        Raises `InputError` for an empty file.
        """
        self.fingerprint = Fingerprint()
        return self._bytes(self._note)

    def checked_bytes(self) -> "io.BufferedReader[Any]":
        """The bytes once more: `InputError` before a block that is not as surveyed."""
        return self._bytes(self._compare)

    def unchecked_bytes(self) -> "io.BufferedReader[Any]":
        """The bytes to find out why a reading failed; nothing of them may be sent."""
        return self._bytes(lambda _index, _block: None)

    def proven_bytes(self) -> "ProvenBytes":
        """The bytes of the surveyed file at any place, for formats that are not read from front to
        end. Raises `InputError` as `checked_bytes`."""
        try:
            return ProvenBytes(self.open_raw(), self.name, self.fingerprint.size, self._compare)
        except OSError:  # it was there when it was surveyed
            raise self.changed() from None

    def _bytes(self, see: SeeBlock) -> "io.BufferedReader[Any]":
        try:
            raw = io.BufferedReader(_Blocks(self.open_raw(), self.name, see), BLOCK)
        except OSError:  # it was there when the input was named
            raise self.changed() from None
        if not raw.peek(1):
            raise InputError(f"{self.name} is empty: there is nothing to erase.")
        return raw

    def open_raw(self) -> int:
        """A file descriptor on the raw bytes, to be read by `pread`; the caller closes it."""
        if self._spool is not None:
            return os.dup(self._spool.fileno())
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _note(self, _index: int, block: bytearray) -> None:
        if block:
            self.fingerprint.take(block)

    def _compare(self, index: int, block: bytearray) -> None:
        known = self.fingerprint.blocks
        if block:
            same = index < len(known) and known[index] == _block_digest(block)
        else:  # the end: did the survey see more blocks than there are now?
            same = index == len(known)
        if not same:
            raise self.changed()

    # ── is it still what was surveyed? ──────────────────────────────────────────────────────

    def close_survey(self) -> None:
        """The first reading is over. Raises `InputError` if the file changed meanwhile."""
        try:
            now = self._stat()
        except OSError:
            raise self.changed() from None
        # Even a new time alone counts: what was counted must be one state of the file, and the
        # blocks read before the change have nothing to be compared with.
        if self._spool is None and _signature(self._opened) != _signature(now):
            raise self.changed()

    def must_be_unchanged(self) -> None:
        """Cheap look at the file's size, time and place; only if they differ is it read again.

        Raises `InputError` when its content is no longer what was surveyed.
        """
        if self._spool is not None:  # nobody else can write into the unlinked copy
            return
        try:
            now = self._stat()
            if _signature(now) == _signature(self._opened):
                return
            # Touched, or replaced by a copy: the content decides.
            with _Blocks(self.open_raw(), self.name, self._compare) as blocks:
                while blocks.read(BLOCK):
                    pass
        except OSError:
            raise self.changed() from None
        self._opened = now  # the same content: from here on this is what it looks like

    def changed(self) -> InputError:
        return InputError(
            f"{self.name} was changed after it was surveyed. Nothing from the changed part was "
            "sent. Check the file, then run the same command again: it continues with the keys "
            "that are left."
        )

    def _stat(self) -> os.stat_result:
        return os.stat(self.path) if self._spool is None else os.fstat(self._spool.fileno())


def read_whole(raw: "io.BufferedReader[Any]", name: str) -> bytes:
    """All bytes, for formats that cannot be read as text; closes `raw`.

    Raises `InputError` for more than 512 MiB.
    """
    content = io.BytesIO()
    with raw:
        while block := raw.read(BLOCK):
            content.write(block)
            if content.tell() > MOST_IN_MEMORY:
                raise InputError(
                    f"{name} is too large to be read as a workbook. Save the sheet as CSV."
                )
    return content.getvalue()  # not a copy


class _Blocks(io.RawIOBase):
    """The raw file in whole blocks; `see` is called with each, before a byte of it is handed out.

    Raises `InputError` when the disk cannot read a block, and whatever `see` raises.
    """

    def __init__(self, fd: int, name: str, see: SeeBlock) -> None:
        self._fd = fd
        self._name = name
        self._see = see
        self._left = memoryview(b"")
        self._index = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        if not self._left:
            self._left = memoryview(self._next())
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _next(self) -> bytes:
        block = _block_at(self._fd, self._index, self._name)
        self._see(self._index, block)
        self._index += bool(block)
        return bytes(block)


class ProvenBytes(io.RawIOBase):
    """The raw file of `size` bytes, to be read at any place; `see` is called with each block that a
    reading touches, before a byte of it is handed out.

    Raises as `_Blocks`.
    """

    def __init__(self, fd: int, name: str, size: int, see: SeeBlock) -> None:
        self._fd = fd
        self._name = name
        self._size = size
        self._see = see
        self._place = 0
        self._kept: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._place = offset + {os.SEEK_CUR: self._place, os.SEEK_END: self._size}.get(whence, 0)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        index, start = divmod(self._place, BLOCK)
        size = max(0, min(len(buffer), BLOCK - start, self._size - self._place))
        if size:
            buffer[:size] = self._block(index)[start : start + size]
            self._place += size
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        """All of what is asked for, which may be in several blocks."""
        left = self._size - self._place
        content = bytearray(max(0, left if size is None or size < 0 else min(size, left)))
        view, done = memoryview(content), 0
        while done < len(content):
            done += self.readinto(view[done:])
        return bytes(content)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _block(self, index: int) -> bytes:
        if index not in self._kept:
            block = _block_at(self._fd, index, self._name)
            self._see(index, block)
            if len(self._kept) >= BLOCKS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = bytes(block)
        return self._kept[index]


def _block_at(fd: int, index: int, name: str) -> bytearray:
    """The block; empty behind the end. Raises `InputError` when the disk cannot read it."""
    block, place = bytearray(), index * BLOCK
    try:
        # One read may be short; blocks must not be, or their digests would not compare.
        while part := os.pread(fd, BLOCK - len(block), place + len(block)):
            block += part
    except OSError as error:
        raise InputError(_cannot_read(name, error)) from None
    return block


# ── pipes ───────────────────────────────────────────────────────────────────────────────────


def _spool_if_pipe(path: str) -> IO[bytes] | None:
    """A copy of what can be read only once; None for a regular file. Raises `OSError`."""
    if path == "-":
        if sys.stdin is None:  # the shell closed it: <&-
            raise OSError(errno.EBADF, "stdin is closed")
        return _spool(_blocks_of_pipe(sys.stdin.fileno()))
    mode = os.stat(path).st_mode
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A regular file is opened all the same: a missing permission is to show at once.
        return None if stat.S_ISREG(mode) else _spool(_blocks_of_pipe(fd))
    finally:
        os.close(fd)


def _spool(blocks: Iterator[bytes]) -> IO[bytes]:
    """Copy what can be read only once into an unlinked file, which only this process can read.

    Raises what `blocks` raises, and `TemporaryFolderFull` for the file.
    """
    try:
        # Without a buffer, which would be written once more when the full file is closed.
        spool: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 lives as the input
    except OSError as error:
        raise no_temporary_room(error) from None
    try:
        for block in blocks:
            _write_all(spool, block)
    except BaseException:  # the copy is given back, whatever it was
        spool.close()
        raise
    return spool


def _write_all(spool: IO[bytes], block: bytes) -> None:
    try:
        while block:
            block = block[spool.write(block) :]
    except OSError as error:
        raise no_temporary_room(error) from None


def _blocks_of_pipe(fd: int) -> Iterator[bytes]:
    while block := _read_or_notice_signal(fd):
        yield block


def _read_or_notice_signal(fd: int) -> bytes:
    """What comes next. A signal that arrives just before a read would wait with it for ever."""
    while not select.select([fd], [], [], SIGNAL_CHECK_S)[0]:
        pass  # Python runs signal handlers between two of these
    return os.read(fd, BLOCK)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _block_digest(block: bytearray) -> bytes:
    return blake2b(block, digest_size=16).digest()


def _cannot_read(path: str, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else "input/output error"
    return f"The input {path} cannot be read: {reason}. Check the name and the permissions."

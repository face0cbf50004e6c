"""From a path to decoded text: spooling, fingerprint, compression, encoding.

The input is read twice: once before anything is sent (so that the number shown for consent is
the true one) and once while sending. The first reading leaves a fingerprint, one digest per
block of the raw file; the second compares every block before a key of it is handed out.
"""

import codecs
import gzip
import io
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import blake2b, sha256
from typing import IO, Any

from bulk_eraser.errors import InputError, UsageError

__all__ = ["Fingerprint", "InputFile", "physical_lines"]

BLOCK = 1 << 20
MAX_LINE = 1 << 20
"""Characters; a longer line is cut there, and its row rejected."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP = b"\x1f\x8b"
_UNSUPPORTED = {
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "ZIP or Excel (.xlsx)",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\xd0\xcf\x11\xe0": "Excel (.xls)",
}

_Look = Callable[[int, bytearray], None]
"""Called with the index and the content of each raw block."""


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
    """The file that is read twice. A pipe is copied to an unlinked temporary file first.

    Raises `InputError` when it cannot be read or is of a kind that is not supported.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "stdin" if path == "-" else os.path.basename(path)
        self._spool: IO[bytes] | None = None
        try:
            self._spool = _spool_if_pipe(path)
            self._opened = self._stat()
        except OSError as error:
            raise InputError(_cannot_read(path, error)) from None
        self.fingerprint = Fingerprint()

    @property
    def is_pipe(self) -> bool:
        return self._spool is not None

    def survey_text(self, encoding: str | None, newline: str) -> io.TextIOWrapper:
        """The decoded text for the first reading, which leaves the fingerprint.

        `newline` as for `open`. Raises `InputError` for an empty file or an unsupported kind.
        """
        self.fingerprint = Fingerprint()
        return self._text(encoding, newline, self._note)

    def checked_text(self, encoding: str | None, newline: str) -> io.TextIOWrapper:
        """The decoded text once more: `InputError` before a block that is not as surveyed."""
        return self._text(encoding, newline, self._compare)

    def _text(self, encoding: str | None, newline: str, look: _Look) -> io.TextIOWrapper:
        raw = io.BufferedReader(_Blocks(self.open_raw(), look), BLOCK)
        head = raw.peek(8)[:8]
        if not head:
            raise InputError(f"{self.name} is empty: there is nothing to erase.")
        for magic, kind in _UNSUPPORTED.items():
            if head.startswith(magic):
                raise InputError(
                    f"{self.name} is a {kind} file. Save or unpack it as plain CSV or NDJSON "
                    "(or .gz) and run again."
                )
        plain: io.BufferedReader[Any] = raw
        if head.startswith(_GZIP):
            plain = io.BufferedReader(_Gunzipped(raw), BLOCK)
            head = plain.peek(4)[:4]
        elif self.name.endswith(".gz"):
            raise InputError(f"{self.name} is named .gz but is not a gzip file. Rename or redo it.")
        return io.TextIOWrapper(plain, self._encoding(head, encoding), newline=newline)

    def close_survey(self) -> None:
        """Remember the file as it was surveyed. Raises `InputError` if it changed meanwhile."""
        if self._spool is None and self._signature(self._opened) != self._signature(self._stat()):
            raise self.changed()
        self._opened = self._stat()

    def must_be_unchanged(self) -> None:
        """Cheap look at the file's size, time and place; only if they differ is it read again.

        Raises `InputError` when its content is no longer what was surveyed.
        """
        if self._spool is not None:
            return
        try:
            now = self._stat()
            if self._signature(now) == self._signature(self._opened):
                return
            with _Blocks(self.open_raw(), self._compare) as blocks:
                while blocks.read(BLOCK):
                    pass
        except OSError:
            raise self.changed() from None
        self._opened = now

    def changed(self) -> InputError:
        return InputError(
            f"{self.name} was changed after it was surveyed. Nothing of the changed part was sent. "
            "Look at the file, then run the same command again: it goes on by key."
        )

    def open_raw(self) -> int:
        """A file descriptor of its own, at the start of the raw bytes; the caller closes it."""
        if self._spool is not None:
            return os.open(f"/proc/self/fd/{self._spool.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def explain_undecodable(self, encoding: str | None, newline: str) -> InputError:
        """Find line and byte offset of the first bytes that the encoding does not allow."""
        stream = self._text(encoding, newline, lambda _index, _block: None)
        name = stream.encoding.replace("-sig", "")
        decoder = codecs.getincrementaldecoder(stream.encoding)()
        line, offset = 1, 0
        while True:
            block = bytes(stream.buffer.read(BLOCK))
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode(stream.encoding, "ignore")
                place = offset + len(block) - len(error.object) + error.start
                return InputError(
                    f"{self.name} is not {name.upper()}: line {line + good.count(chr(10))}, byte "
                    f"offset {place}. If it comes from Excel or an older "
                    "system, try --encoding cp1252; nothing is guessed, nothing was sent."
                )
            if not block:
                return InputError(f"{self.name} could not be decoded as {name}.")
            line += text.count("\n")
            offset += len(block)

    def _encoding(self, head: bytes, asked: str | None) -> str:
        found = next((name for bom, name in _BOMS if head.startswith(bom)), None)
        if asked is None:
            return found or "utf-8"
        try:
            asked = codecs.lookup(asked).name
        except LookupError:
            raise UsageError(
                f"--encoding {asked} is not known. Common ones: utf-8, utf-16, cp1252, latin-1."
            ) from None
        if found and not found.startswith(asked[:6].rstrip("_")):
            raise InputError(
                f"{self.name} begins with a byte order mark of {found.replace('-sig', '')}, but "
                f"--encoding says {asked}. Leave --encoding out."
            )
        return found or asked

    def _note(self, _index: int, block: bytearray) -> None:
        if block:
            self.fingerprint.take(block)

    def _compare(self, index: int, block: bytearray) -> None:
        known = self.fingerprint.blocks
        if block:
            same = index < len(known) and known[index] == _block_digest(block)
        else:
            same = index == len(known)
        if not same:
            raise self.changed()

    def _stat(self) -> os.stat_result:
        return os.stat(self.path) if self._spool is None else os.fstat(self._spool.fileno())

    @staticmethod
    def _signature(status: os.stat_result) -> tuple[int, ...]:
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class _Blocks(io.RawIOBase):
    """The raw file in whole blocks; `look` sees each one, and an empty one at the end."""

    def __init__(self, fd: int, look: _Look) -> None:
        self._fd = fd
        self._look = look
        self._block = memoryview(b"")
        self._index = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        if not self._block:
            self._block = memoryview(self._next())
        size = min(len(buffer), len(self._block))
        buffer[:size] = self._block[:size]
        self._block = self._block[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    def _next(self) -> bytes:
        block = bytearray()
        while len(block) < BLOCK and (part := os.read(self._fd, BLOCK - len(block))):
            block += part
        self._look(self._index, block)
        self._index += 1
        return bytes(block)


class _Gunzipped(io.RawIOBase):
    """Unpacked bytes; damage becomes an `InputError`."""

    def __init__(self, packed: "io.BufferedReader[Any]") -> None:
        self._stream = gzip.GzipFile(fileobj=packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        try:
            return self._stream.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise InputError(
                "The gzip file is truncated or damaged: it ends or breaks before its last row. "
                "Nothing was sent. Get a whole copy and run again."
            ) from None


def physical_lines(text: io.TextIOWrapper, cut: set[int]) -> Iterator[str]:
    """The lines with their line ends, memory bounded.

    A line longer than `MAX_LINE` is cut there, the rest skipped, and its 1-based number is put
    into `cut`; the set holds the most recent one only.
    """
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            cut.clear()
            cut.add(number)
            while (rest := text.readline(MAX_LINE)) and rest[-1] not in "\r\n":
                pass
        yield line


def _spool_if_pipe(path: str) -> IO[bytes] | None:
    if path == "-":
        return _spool(sys.stdin.fileno())
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _spool(fd)
    finally:
        os.close(fd)


def _spool(fd: int) -> IO[bytes]:
    """Copy a pipe into an unlinked file, which only this process can read."""
    spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as the input
    while block := os.read(fd, BLOCK):
        spool.write(block)
    spool.flush()
    return spool


def _block_digest(block: bytearray) -> bytes:
    return blake2b(block, digest_size=16).digest()


def _cannot_read(path: str, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else "input/output error"
    return f"The input {path} cannot be read: {reason}. Check the name and the permissions."

"""From a path to decoded text: spooling, fingerprint, compression, encoding.

The input is read twice: once before anything is sent (so that the number shown for consent is
the true one) and once while sending. The first reading leaves a fingerprint, one digest per
block of the raw file; the second compares every block before a key of it is handed out.
"""

import codecs
import errno
import io
import os
import select
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import IO, Any

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.compression import CutOff, unpacked

__all__ = ["Fingerprint", "InputFile", "physical_lines"]

BLOCK = 1 << 20
LOOK_S = 0.25
MAX_LINE = 1 << 20
"""Characters; a longer line is cut there, and its row rejected."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNSUPPORTED = {
    b"PK\x03\x04": "is a ZIP or Excel file. Name an Excel workbook .xlsx, unpack a ZIP",
    b"BZh": "is a bzip2 file. Unpack it",
    b"\xfd7zXZ": "is an xz file. Unpack it",
    b"\xd0\xcf\x11\xe0": "is an old or encrypted Excel file. Save it as CSV or as .xlsx",
}
MOST_IN_MEMORY = 512 << 20
"""Bytes of a file that can only be read as a whole."""

_NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Codecs of Python that take text apart in another way than any file is written."""

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
        name = "stdin" if path == "-" else os.path.basename(path)
        self.name = name.encode(errors="replace").decode()  # it goes into the ledger
        self._spool: IO[bytes] | None = None
        try:
            self._spool = _spool_if_pipe(path)
            self._opened = self._stat()
        except OSError as error:
            raise InputError(_cannot_read(path, error)) from None
        self.fingerprint = Fingerprint()
        self.line_end = "\n"

    def survey_text(self, encoding: str | None, line_end: str | None) -> io.TextIOWrapper:
        """The decoded text for the first reading, which leaves the fingerprint.

        `line_end` is what alone ends a line, None: find it out. Raises `InputError` for an empty
        file or an unsupported kind, `UsageError` for an encoding that is not known.
        """
        self.fingerprint = Fingerprint()
        return self._text(encoding, line_end, self._note)

    def checked_text(self, encoding: str | None, line_end: str | None) -> io.TextIOWrapper:
        """The decoded text once more: `InputError` before a block that is not as surveyed."""
        return self._text(encoding, line_end, self._compare)

    def close(self) -> None:
        """Give the disk space of a spooled pipe back; the text cannot be opened any more."""
        if self._spool is not None:
            self._spool.close()

    def survey_content(self) -> bytes:
        """The whole file for the first reading, for formats that cannot be read as text.

        Raises `InputError` for an empty file, or one of more than 512 MiB.
        """
        self.fingerprint = Fingerprint()
        return self._content(self._note)

    def checked_content(self) -> bytes:
        """The whole file once more: `InputError` if it is not as surveyed."""
        return self._content(self._compare)

    def _content(self, look: _Look) -> bytes:
        with self._raw(look) as raw:
            content = bytearray()
            while block := raw.read(BLOCK):
                content += block
                if len(content) > MOST_IN_MEMORY:
                    raise InputError(
                        f"{self.name} is too large to be read as a workbook. Save the sheet as CSV."
                    )
        return bytes(content)

    def _raw(self, look: _Look) -> "io.BufferedReader[Any]":
        try:
            raw = io.BufferedReader(_Blocks(self.open_raw(), self.name, look), BLOCK)
        except OSError:  # it was there when the input was named
            raise self.changed() from None
        if not raw.peek(1):
            raise InputError(f"{self.name} is empty: there is nothing to erase.")
        return raw

    def _text(self, encoding: str | None, line_end: str | None, look: _Look) -> io.TextIOWrapper:
        raw = self._raw(look)
        head = raw.peek(8)[:8]
        for magic, what in _UNSUPPORTED.items():
            if head.startswith(magic):
                raise InputError(f"{self.name} {what}, and run again.")
        plain = unpacked(raw, self.name, named=self._spool is None)
        head = plain.peek(BLOCK)
        encoding = self._encoding(head[:4], encoding)
        self.line_end = line_end or _line_end(head.decode(encoding, "ignore"))
        return io.TextIOWrapper(plain, encoding, newline=self.line_end)

    def close_survey(self) -> None:
        """Remember the file as it was surveyed. Raises `InputError` if it changed meanwhile."""
        try:
            now = self._stat()
        except OSError:
            raise self.changed() from None
        if self._spool is None and self._signature(self._opened) != self._signature(now):
            raise self.changed()

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
            with _Blocks(self.open_raw(), self.name, self._compare) as blocks:
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
        """A file descriptor on the raw bytes, to be read by `pread`; the caller closes it."""
        if self._spool is not None:
            return os.dup(self._spool.fileno())
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def explain_undecodable(self, encoding: str | None, line_end: str | None) -> InputError:
        """Find line and byte offset of the first bytes that the encoding does not allow."""
        stream = self._text(encoding, line_end, lambda _index, _block: None)
        name = stream.encoding.replace("-sig", "")
        decoder = codecs.getincrementaldecoder(stream.encoding)()
        line, offset = 1, 0
        while True:
            block = bytes(stream.buffer.read(BLOCK))
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = len(block) - len(error.object) + error.start
                with suppress(UnicodeError):  # codecs that shift may have lost their place
                    line += decoder.decode(block[: max(good, 0)]).count(self.line_end)
                other = "another --encoding" if encoding else "--encoding cp1252"
                return InputError(
                    f"{self.name} is not {name.upper()}: line {line}, byte offset "
                    f"{offset + good}. If it comes from Excel or an older system, try {other}; "
                    "nothing is guessed, nothing was sent."
                )
            except UnicodeError:  # asked for UTF-16, but nothing says in which byte order
                return InputError(
                    f"{self.name} is not {name.upper()}: it begins without a byte order mark. Try "
                    f"--encoding {name}-le or {name}-be; nothing is guessed, nothing was sent."
                )
            if not block:
                return InputError(f"{self.name} could not be decoded as {name}.")
            line += text.count(self.line_end)
            offset += len(block)

    def must_not_be_utf8(self, encoding: str) -> None:
        """Raises `InputError` if what was read as `encoding` is UTF-8 after all, and not ASCII.

        Such bytes have a meaning in most encodings, so every key with an accent would be a wrong
        one, and an entry of a hold list would hold nobody. Text of another encoding is hardly ever
        valid UTF-8.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self._text("latin-1", self.line_end, lambda _index, _block: None) as stream:
            is_ascii = True
            try:
                while block := bytes(stream.buffer.read(BLOCK)):
                    is_ascii &= block.isascii()
                    decoder.decode(block)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return
        if not is_ascii:
            raise InputError(
                f"{self.name} is UTF-8 with letters beyond ASCII, but --encoding says {encoding}, "
                "which would garble its keys. Leave --encoding out; if another file needs it, save "
                "both in one encoding. Nothing was sent."
            )

    def _encoding(self, head: bytes, asked: str | None) -> str:
        found = next((name for bom, name in _BOMS if head.startswith(bom)), None)
        if asked is None:
            return found or "utf-8"
        try:
            io.TextIOWrapper(io.BytesIO(), asked)  # some codecs are not for text
            wanted = codecs.lookup(asked).name
            if wanted in _NOT_FOR_FILES:
                raise LookupError
        except LookupError:
            raise UsageError(
                f"--encoding {asked} is not known. Common ones: utf-8, utf-16, cp1252, latin-1."
            ) from None
        if found and not found.startswith(wanted[:6]):
            raise InputError(
                f"{self.name} begins with a byte order mark of {found.replace('-sig', '')}, but "
                f"--encoding says {asked}. Leave --encoding out."
            )
        return found or wanted

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
    """The raw file in whole blocks; `look` sees each one, and an empty one at the end.

    Raises `InputError` when the disk cannot read a block.
    """

    def __init__(self, fd: int, name: str, look: _Look) -> None:
        self._fd = fd
        self._name = name
        self._look = look
        self._block = memoryview(b"")
        self._index = 0
        self._place = 0

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
        try:
            while part := os.pread(self._fd, BLOCK - len(block), self._place):
                block += part
                self._place += len(part)
        except OSError as error:
            raise InputError(_cannot_read(self._name, error)) from None
        self._look(self._index, block)
        self._index += bool(block)
        return bytes(block)


def physical_lines(text: io.TextIOWrapper, cut: set[int], line_end: str = "\n") -> Iterator[str]:
    """The lines with their line ends, memory bounded.

    A line longer than `MAX_LINE` is skipped. In its place comes a stand-in that leaves a quoted
    field as open or closed as the line did, and its 1-based number is put into `cut`; the set
    holds the most recent one only.
    """
    number = 0
    try:
        while line := text.readline(MAX_LINE + 2):
            if len(line) > MAX_LINE and len(line.rstrip("\r\n")) > MAX_LINE:
                cut.clear()
                cut.add(number + 1)
                quotes, part = line.count('"'), line
                while not part.endswith(line_end) and (part := text.readline(MAX_LINE)):
                    quotes += part.count('"')
                line = ('"' if quotes % 2 else "x") + line_end
            number += 1
            yield line
    except CutOff as error:  # packed data that ends in the middle
        raise error.behind(number) from None


def _line_end(start: str) -> str:
    """Old Macintosh files end lines with CR alone; anywhere else a lone CR ends nothing."""
    return "\r" if "\r" in start[:-1] and "\n" not in start else "\n"


def _spool_if_pipe(path: str) -> IO[bytes] | None:
    if path == "-":
        if sys.stdin is None:
            raise OSError(errno.EBADF, "stdin is closed")
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
    try:
        while block := _read_or_notice_signal(fd):
            spool.write(block)
        spool.flush()
    except BaseException:  # the copy is given back, whatever it was
        spool.close()
        raise
    return spool


def _read_or_notice_signal(fd: int) -> bytes:
    """What comes next. A signal that arrives just before a read would wait with it for ever."""
    while not select.select([fd], [], [], LOOK_S)[0]:
        pass
    return os.read(fd, BLOCK)


def _block_digest(block: bytearray) -> bytes:
    return blake2b(block, digest_size=16).digest()


def _cannot_read(path: str, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else "input/output error"
    return f"The input {path} cannot be read: {reason}. Check the name and the permissions."

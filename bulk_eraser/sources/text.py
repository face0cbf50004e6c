"""From raw bytes to lines: packing, encoding, line ends.

Nothing is guessed: a byte order mark or --encoding decides, else it is strictly UTF-8. What cannot
be decoded, or is UTF-8 although --encoding names something else, ends the run with its reason.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.compression import CutOff, unpacked
from bulk_eraser.sources.file import BLOCK, InputFile

__all__ = [
    "MAX_LINE",
    "BlankLines",
    "InputText",
    "explain_undecodable",
    "open_text",
    "physical_lines",
]

MAX_LINE = 1 << 20
"""Characters; a longer line is cut there, and its row rejected."""

MOST_BLANK_LINES = 10_000_000
"""Ten times as many as a spreadsheet has rows. Some kilobytes can unpack to billions of them."""

MAX_START = 1 << 16
"""Characters."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNSUPPORTED = {
    b"PK\x03\x04": "is a ZIP or Excel file. Name an Excel workbook .xlsx, or unpack the ZIP",
    b"PAR1": "is a Parquet file. Name it .parquet, or use --format parquet",
    b"BZh": "is a bzip2 file. Unpack it",
    b"\xfd7zXZ": "is an xz file. Unpack it",
    b"\xd0\xcf\x11\xe0": "is an old or encrypted Excel file. Save it as CSV or .xlsx",
}
_NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
"""Codecs of Python that take text apart in another way than any file is written."""


class InputText(NamedTuple):
    """The decoded text of an input. `line_end` is what alone ends a line, `start` its beginning.

    `utf8_check` has seen the bytes of what was asked to be read in another encoding than Unicode's.
    """

    stream: io.TextIOWrapper
    line_end: str
    start: str
    utf8_check: "Utf8Check | None"


def open_text(
    raw: "io.BufferedReader[Any]",
    file: InputFile,
    encoding: str | None,
    line_end: str | None,
) -> InputText:
    """Unpack and decode `raw`, the bytes of `file`; None: find it out.

    Raises `InputError` for a kind of file that is not supported, `UsageError` for an encoding that
    is not known; reading the stream raises `UnicodeError` for what cannot be decoded.
    """
    head = raw.peek(8)[:8]
    for magic, what in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InputError(f"{file.name} {what}, and run again.")
    plain = unpacked(raw, file.name, named=not file.is_pipe)
    head = plain.peek(BLOCK)
    found = _encoding(head[:4], encoding, file.name)
    start = head.decode(found, "ignore")
    line_end = line_end or _line_end(start)
    utf8_check = None
    if encoding is not None and not found.startswith("utf"):
        utf8_check = Utf8Check(plain)
        plain = io.BufferedReader(utf8_check, BLOCK)
    stream = io.TextIOWrapper(plain, found, newline=line_end)
    return InputText(stream, line_end, start[:MAX_START], utf8_check)


# ── encoding ────────────────────────────────────────────────────────────────────────────────


def _encoding(head: bytes, asked: str | None, name: str) -> str:
    marked = next((encoding for bom, encoding in _BOMS if head.startswith(bom)), None)
    # 1. Nothing was asked for: the byte order mark decides, else it is UTF-8.
    if asked is None:
        return marked or "utf-8"
    wanted = _codec(asked)
    # 2. File and option contradict each other (utf-8 and utf-16 differ in their first six
    #    letters, -sig, -le and -be come behind): neither is believed.
    if marked and not marked.startswith(wanted[:6]):
        raise InputError(
            f"{name} starts with a byte order mark of {marked.replace('-sig', '')}, but "
            f"--encoding says {asked}. Leave out --encoding."
        )
    # 3. They agree: the mark's own codec takes the mark off the first field, `wanted` may not.
    return marked or wanted


def _codec(asked: str) -> str:
    """Python's name of an encoding. Raises `UsageError` where there is none for text files."""
    try:
        io.TextIOWrapper(io.BytesIO(), asked)  # rot13 and base64 are codecs, but not for text
        name = codecs.lookup(asked).name
    except LookupError:
        name = None
    if name is None or name in _NOT_FOR_FILES:
        raise UsageError(
            f"--encoding {asked} is not known. Common ones: utf-8, utf-16, cp1252, latin-1."
        )
    return name


class Utf8Check(io.RawIOBase):
    """Hands the bytes of `plain` on, and sees on the way whether they are UTF-8 after all."""

    def __init__(self, plain: "io.BufferedReader[Any]") -> None:
        self._plain = plain
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_ascii = True
        self._is_utf8 = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        size = self._plain.readinto1(buffer)
        if self._is_utf8:
            self._see(bytes(buffer[:size]))
        return size

    def close(self) -> None:
        self._plain.close()
        super().close()

    def must_not_be_utf8(self, encoding: str, name: str) -> None:
        """Raises `InputError` if what was read as `encoding` is UTF-8, and not ASCII alone.

        Such bytes have a meaning in most encodings, so every key with an accent would be a wrong
        one, and an entry of a hold list would hold nobody. Text of another encoding is hardly ever
        valid UTF-8. To be asked at the end of the file.
        """
        ends_within_a_character = bool(self._decoder.getstate()[0])
        if self._is_utf8 and not self._is_ascii and not ends_within_a_character:
            raise InputError(
                f"{name} is UTF-8 with non-ASCII letters, but --encoding says {encoding}, "
                "which would garble its keys. Leave out --encoding; if another file needs it, save "
                "both files in the same encoding. Nothing was sent."
            )

    def _see(self, block: bytes) -> None:
        self._is_ascii = self._is_ascii and block.isascii()
        try:
            self._decoder.decode(block)
        except UnicodeDecodeError:
            self._is_utf8 = False  # what the option says can be true; no need to look on


def explain_undecodable(file: InputFile, encoding: str | None, line_end: str | None) -> InputError:
    """What to tell of a file that could not be decoded: where its first wrong bytes are.

    Reads it again from its start, as the stream does not know where in the file it stands.
    """
    text, line_end, *_ = open_text(file.unchecked_bytes(), file, encoding, line_end)
    name = text.encoding.replace("-sig", "")
    decoder = codecs.getincrementaldecoder(text.encoding)()
    line, offset, block = 1, 0, b"x"
    with text:
        while block:
            block = bytes(text.buffer.read(BLOCK))
            try:
                decoded = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # `error.object` begins with what was left of the block before: this may be < 0.
                good = len(block) - len(error.object) + error.start
                with suppress(UnicodeError):  # codecs that shift may have lost their place
                    line += decoder.decode(block[: max(good, 0)]).count(line_end)
                other = "another --encoding" if encoding else "--encoding cp1252"
                return InputError(
                    f"{file.name} is not {name.upper()}: line {line}, byte offset "
                    f"{offset + good}. If it comes from Excel or an older system, try {other}. "
                    "No encoding is guessed. Nothing was sent."
                )
            except UnicodeError:  # asked for UTF-16, but nothing says in which byte order
                return InputError(
                    f"{file.name} is not {name.upper()}: it starts without a byte order mark. Try "
                    f"--encoding {name}-le or {name}-be. No byte order is guessed. Nothing was "
                    "sent."
                )
            line += decoded.count(line_end)
            offset += len(block)
    # It can be decoded after all: it was changed, or the codec is not consistent.
    return InputError(f"{file.name} could not be decoded as {name}.")


# ── lines ───────────────────────────────────────────────────────────────────────────────────


def physical_lines(text: io.TextIOWrapper, cut: set[int], line_end: str = "\n") -> Iterator[str]:
    """The lines with their line ends, memory bounded.

    A line longer than `MAX_LINE` is skipped. In its place comes a stand-in that leaves a quoted
    field as open or closed as the line did, and its 1-based number is put into `cut`; the set
    holds the most recent one only.
    """
    number = 0
    try:
        # + 2: a line of just MAX_LINE still has its line end, \r\n at the longest, with it.
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


class BlankLines:
    """Counts the lines without a row. Raises `InputError` where they would not end in minutes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def count(self) -> None:
        self._count += 1
        if self._count > MOST_BLANK_LINES:
            raise InputError(
                f"{self._name} has more than {MOST_BLANK_LINES:,} blank lines: it is damaged, or "
                "not a list of keys. Nothing was sent. Remove them and run again."
            )


def _line_end(start: str) -> str:
    """Old Macintosh files end lines with CR alone; anywhere else a lone CR ends nothing."""
    # The last character is left out: an LF may follow that CR.
    return "\r" if "\r" in start[:-1] and "\n" not in start else "\n"

"""The parts of a workbook's ZIP, unpacked and parsed piece by piece, and never without a bound.

Some kilobytes can unpack to terabytes, so nothing that the archive says of its sizes is believed:
what comes out is counted while it comes. The limits are for all parts together that are read; a
list of a million rows stays far below them.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol
from xml.parsers import expat

from bulk_eraser.sources.rows import BLANKS

__all__ = ["DAMAGE", "MOST_TEXT", "Attributes", "LocalNames", "Parts", "TooLarge", "kept"]

BLOCK = 1 << 18
MOST_UNPACKED = 1 << 30
"""Bytes."""
MOST_TAGS = 64_000_000
"""Beginnings and ends of elements, which is what takes time; a row of one key has ten."""
MOST_ATTRIBUTES = 64_000_000
MOST_NAMES = 10_000
"""Different names of elements and attributes; a sheet has some dozens."""
MOST_DEPTH = 64
MOST_TOKEN = 1 << 20
"""Bytes of a tag or a comment, which expat holds as a whole."""
MOST_AT_ONCE = 4 << 20
"""Bytes that zipfile may take at once: only the list of parts can be so long, and it becomes
objects of ten times its size."""
MOST_TEXT = 2049
"""Characters that are kept of a text: one more than a key may have."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    KeyError,  # a part that is named is missing
    NotImplementedError,  # a way of packing that zipfile does not know
    RuntimeError,  # a password
    ValueError,
)
"""What reading a workbook that is none, or is broken, may raise."""

Attributes = dict[str, str]


class TooLarge(Exception):
    """There is more in it than a list of keys can need."""


class Handler(Protocol):
    """What is told of a part's XML. Whoever keeps what it is told bounds it, and the depth."""

    def start(self, name: str, attributes: Attributes) -> None: ...
    def end(self, name: str) -> None: ...
    def text(self, text: str) -> None: ...


class Parts:
    """The parts of the archive by their names, of which programs write capitals as they like.

    Raises what is in `DAMAGE`, and `TooLarge`; so do its methods.
    """

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(_NotMuchAtOnce(content))
        self._infos: dict[str, list[zipfile.ZipInfo]] = {}
        for info in self._archive.infolist():
            self._infos.setdefault(info.filename.lower(), []).append(info)
        self._bytes = self._tags = self._attributes = 0

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._infos

    def read(self, name: str, handler: Handler) -> None:
        """Tell `handler` all of a part's XML."""
        for _ in self.read_slowly(name, handler):
            pass

    def read_slowly(self, name: str, handler: Handler) -> Iterator[None]:
        """The same, with a pause after each piece to take from the handler what it has."""
        parser, names = _parser(handler)
        fed = 0
        with self._archive.open(self._only(name)) as stream:
            while block := stream.read(BLOCK):
                self._count(block)
                fed += len(block)
                parser.Parse(block)
                if fed - parser.CurrentByteIndex > MOST_TOKEN or len(names) > MOST_NAMES:
                    raise TooLarge
                yield
        parser.Parse(b"", True)
        yield

    def _only(self, name: str) -> zipfile.ZipInfo:
        infos = self._infos[name.lower()]
        # Of two with one name, which one another program shows is not certain.
        if len(infos) > 1:
            raise ValueError("a part that is there twice")
        # Other ways are not for workbooks, and LZMA reserves as much memory as the file says.
        if infos[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("a way of packing that is not for workbooks")
        return infos[0]

    def _count(self, block: bytes) -> None:
        self._bytes += len(block)
        self._tags += block.count(b"<") + block.count(b"/>")
        self._attributes += block.count(b"=")
        if (
            self._bytes > MOST_UNPACKED
            or self._tags > MOST_TAGS
            or self._attributes > MOST_ATTRIBUTES
        ):
            raise TooLarge


class _NotMuchAtOnce(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(MOST_AT_ONCE if size is None or size < 0 else min(size, MOST_AT_ONCE))
        if len(data) == MOST_AT_ONCE:
            raise TooLarge
        return data


def _parser(handler: Handler) -> tuple[expat.XMLParserType, dict[str, str]]:
    """A parser, and the names that it comes to know."""
    names: dict[str, str] = {}
    parser = expat.ParserCreate(intern=names)
    parser.buffer_text = True
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.XmlDeclHandler = _must_be_unicode
    parser.StartDoctypeDeclHandler = _no_document_type  # where entities are declared
    return parser, names


def _must_be_unicode(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding and encoding.upper() not in ("UTF-8", "UTF-16"):
        raise ValueError("an encoding that no spreadsheet program writes")


def _no_document_type(*_: object) -> None:
    raise ValueError("a document type")


class LocalNames(dict[str, str]):
    """Names of elements → the same without prefix."""

    def __missing__(self, name: str) -> str:
        self[name] = local = name.rpartition(":")[2]
        return local


def kept(text: str) -> str:
    """What of a text is kept: all that can tell whether it is a key, and which."""
    if len(text) <= MOST_TEXT:
        return text
    inner = text.strip(BLANKS)
    # A blank in front says that there were some. What is cut is too long for a key all the same.
    return " " * (len(inner) < len(text)) + inner[:MOST_TEXT]

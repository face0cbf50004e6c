"""What a zip archive lists, read from its end; nothing of it is unpacked.

The result of an export is a zip of JSON Lines files, or of a single `empty.txt` where there was no
data. It comes from elsewhere, so nothing in it is believed that cannot be checked: only the list is
read, a short one at that, and it must fit the file. Format: APPNOTE.TXT 6.3.10, 4.3.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["Listed", "is_empty_export", "listing"]

MOST_OF_LIST = 1 << 20
"""Bytes of a list that is read; an export has a handful of files."""
MOST_OF_EMPTY = 4096
"""Bytes of an `empty.txt`; a longer one says more than that there is nothing."""
_MOST_COMMENT = 0xFFFF

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_SATURATED = 0xFFFF_FFFF

ReadAt = Callable[[int, int], bytes]
"""Up to so many bytes, from an offset on."""


class Listed(NamedTuple):
    """A file in an archive: its name as it stands there, and its size in bytes once unpacked, as
    the list says."""

    name: str
    size: int


def listing(read_at: ReadAt, size: int) -> list[Listed]:
    """The files of an archive of `size` bytes.

    Raises `ValueError` for what is no whole zip archive, or has a list of more than a megabyte.
    """
    try:
        begin, length, number = _place_of_list(read_at, size)
        if length > MOST_OF_LIST or begin + length > size:
            raise ValueError("the list of the archive is not where it should be")
        entries = list(_entries(read_at(begin, length)))
        if len(entries) != number:
            raise ValueError("the list of the archive is cut")
        for _, start, packed in entries:
            if start + packed > begin or read_at(start, 4) != b"PK\x03\x04":
                raise ValueError("a file of the archive is not where it should be")
        return [listed for listed, _, _ in entries]
    except struct.error:
        raise ValueError("the list of the archive is cut") from None


def is_empty_export(files: list[Listed]) -> bool:
    """Is it the export of somebody of whom there is no data?"""
    return len(files) == 1 and files[0].name == "empty.txt" and files[0].size <= MOST_OF_EMPTY


def _place_of_list(read_at: ReadAt, size: int) -> tuple[int, int, int]:
    """Where the list begins, its length in bytes and in files."""
    tail_at = max(0, size - _END.size - _MOST_COMMENT)
    tail = read_at(tail_at, size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise ValueError("no archive, or one that broke off")
    _, _, _, _, number, length, begin, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise ValueError("something follows the archive")
    if _SATURATED in (length, begin) or number == 0xFFFF:
        _, _, at_64, _ = _LOCATOR_64.unpack(
            read_at(max(0, tail_at + at - _LOCATOR_64.size), _LOCATOR_64.size)
        )
        end_64 = _END_64.unpack(read_at(min(at_64, size), _END_64.size))
        if end_64[0] != b"PK\x06\x06":
            raise ValueError("the end of the archive is not where it should be")
        number, length, begin = end_64[-3:]
    return begin, length, number


def _entries(content: bytes) -> Iterator[tuple[Listed, int, int]]:
    """Each file of a list, where it begins in the archive, and its length there."""
    at = 0
    while at < len(content):
        head = _ENTRY.unpack_from(content, at)
        if head[0] != b"PK\x01\x02":
            raise ValueError("the list of the archive is damaged")
        packed, size, name_length, extra_length, comment_length = head[8:13]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        if at > len(content):
            raise ValueError("the list of the archive is cut")
        sizes = _wide(content[extra_at : extra_at + extra_length], [size, packed, head[-1]])
        name = content[name_at:extra_at].decode(errors="replace")
        yield Listed(name, sizes[0]), sizes[2], sizes[1]


def _wide(extra: bytes, sizes: list[int]) -> list[int]:
    """The sizes with those in the place of which the Zip64 field has wider ones."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return [next(wide, size) if size == _SATURATED else size for size in sizes]
        at += 4 + length
    return sizes

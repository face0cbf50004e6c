"""From bytes to text: in which encoding, and what is not decoded."""

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.file import BLOCK
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading

Read = Callable[..., list[tuple[str, int]]]
Write = Callable[..., Path]

TEXT = "customerKey;note\r\nk1;Åsa €\r\nk2;\r\n"
ROWS = [("k1", 2), ("k2", 3)]


@pytest.mark.parametrize(
    ("bom", "encoding", "asked"),
    [
        (b"", "utf-8", None),
        (b"", "utf-8", "UTF8"),
        (codecs.BOM_UTF8, "utf-8", None),
        (codecs.BOM_UTF8, "utf-8", "utf-8"),
        (codecs.BOM_UTF8, "utf-8", "utf_8_sig"),
        (b"", "utf-8", "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16-le", None),
        (codecs.BOM_UTF16_BE, "utf-16-be", None),
        (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16BE"),
        (b"", "utf-16-be", "utf-16-be"),
        (b"", "cp1252", "cp1252"),
        (b"", "cp1252", "windows-1252"),
        (b"", "iso8859-15", "latin9"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_read_in_its_encoding(
    read: Read, bom: bytes, encoding: str, asked: str | None, packed: bool
) -> None:
    """A byte order mark decides, else --encoding, else UTF-8; packed or not."""
    content = bom + TEXT.encode(encoding)
    name = "keys.csv.gz" if packed else "keys.csv"
    assert read(gzip.compress(content) if packed else content, name, encoding=asked) == ROWS


@pytest.mark.parametrize("asked", ["klingon", "rot13", "base64", "hex", "zip"])
def test_an_encoding_that_is_none_is_a_wrong_option(read: Read, asked: str) -> None:
    """A codec that does not exist, or is not for text, is refused by name."""
    with pytest.raises(UsageError, match=f"--encoding {asked} is not known"):
        read(TEXT, encoding=asked)


@pytest.mark.parametrize("asked", ["cp1252", "utf-16", "latin-1", "utf-32"])
def test_an_encoding_against_the_byte_order_mark_is_refused(read: Read, asked: str) -> None:
    """Where file and option contradict each other, neither is believed."""
    with pytest.raises(InputError, match="byte order mark of utf-8, but --encoding says"):
        read(codecs.BOM_UTF8 + TEXT.encode(), encoding=asked)


def test_cp1252_is_not_guessed(read: Read) -> None:
    """Bytes that are not UTF-8 are refused with line, byte offset and what to do."""
    content = "customerKey;name\r\nk1;Bo\r\nk2;Åsa\r\n".encode("cp1252")
    with pytest.raises(
        InputError, match=r"not UTF-8: line 3, byte offset 28\. .*--encoding cp1252"
    ):
        read(content)
    assert read(content, encoding="cp1252") == [("k1", 2), ("k2", 3)]
    with pytest.raises(InputError, match=r"not CP1252: .*offset 28\. .*another"):
        read(content.replace(b"\xc5", b"\x81"), encoding="cp1252")


@pytest.mark.parametrize("asked", ["cp1252", "latin-1", "iso8859-15", "mac-roman", "cp437"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_utf_8_is_not_read_as_something_else(read: Read, asked: str, packed: bool) -> None:
    """An option that would garble every letter beyond ASCII is refused; where there is none, or
    the bytes cannot be UTF-8, it is taken at its word."""
    name = "keys.csv.gz" if packed else "keys.csv"
    pack = gzip.compress if packed else bytes
    long = "".join(f"k{number},{'x' * 1000}\n" for number in range(1400))
    with pytest.raises(
        InputError, match=f"is UTF-8 with non-ASCII letters, but .*--encoding says {asked}"
    ):
        read(pack(f"customerKey,note\n{long}Åsa,\n".encode()), name, encoding=asked)
    assert read(pack(b"customerKey\nAsa\n"), name, encoding=asked) == [("Asa", 2)]
    both = "customerKey\nÅsa\n".encode() + "Å\n".encode("latin-1")
    assert len(read(pack(both), name, encoding=asked)) == 2


@pytest.mark.parametrize("place", [100, BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7777])
@pytest.mark.parametrize(
    ("bom", "encoding", "bad"),
    [
        (b"", "utf-8", b"\xff"),
        (codecs.BOM_UTF8, "utf-8", b"\xe2\x82x"),
        (b"", "utf-8", b"\xed\xa0\x80"),
        (codecs.BOM_UTF16_LE, "utf-16-le", b"\x00\xdcx\x00"),
        (codecs.BOM_UTF16_BE, "utf-16-be", b"\xdc\x00\x00x"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_undecodable_bytes_are_found(
    read: Read, bom: bytes, encoding: str, bad: bytes, end: str, place: int
) -> None:
    """Line and byte offset are right wherever in the file the bytes are, and in any encoding."""
    if encoding != "utf-8":
        place += place % 2
    row = f"k;{'é' * 400}{end}".encode(encoding)
    before = bom + f"customerKey;note{end}".encode(encoding)
    before += row * ((place - len(before)) // len(row))
    filler = "x".encode(encoding)
    before += filler * ((place - len(before)) // len(filler))
    assert len(before) == place
    line = 1 + before.decode(encoding).count(end)
    content = before + bad + row * 3
    with pytest.raises(InputError, match=f"line {line}, byte offset {place}\\."):
        read(content)
    if place < BLOCK:
        with pytest.raises(InputError, match=f"line {line}, byte offset {place}\\."):
            read(gzip.compress(content), "keys.csv.gz")


@pytest.mark.parametrize(("content", "place"), [(b"\xc3", 20), (b"k1\n\xf0\x9f\x98", 23)])
def test_a_character_cut_by_the_end_of_the_file_is_found(
    read: Read, content: bytes, place: int
) -> None:
    """A file that ends within a character is not decoded as if it did not."""
    with pytest.raises(InputError, match=f"byte offset {place}\\."):
        read(b'\n"customerKey"\n"k0"\n' + content)


def test_undecodable_ndjson_counts_newlines_only(read: Read) -> None:
    """In NDJSON a carriage return ends no line, so it does not count as one."""
    content = b'{"customerKey":"k1"}\r\r\n{"customerKey":"k2"}\n\xff'
    with pytest.raises(InputError, match="line 3, byte offset 44"):
        read(content, "keys.ndjson")


@pytest.mark.parametrize("asked", [None, "cp1252", "utf-8"])
@pytest.mark.parametrize("rows", [1, 3000])
def test_no_encoding_costs_another_reading(
    write: Write, monkeypatch: pytest.MonkeyPatch, asked: str | None, rows: int
) -> None:
    """The survey opens the file once and so does the sending, whatever --encoding says."""
    text = "customerKey\n" + f"{'k' * 500}€\n" * rows
    path = write(text.encode(asked or "utf-8"))
    reader = InputReader(str(path), Reading(encoding=asked))
    open_raw, opened = reader.file.open_raw, []
    monkeypatch.setattr(reader.file, "open_raw", lambda: opened.append(1) or open_raw())
    surveyed = list(reader.survey_rows())
    assert len(opened) == 1
    assert list(reader.checked_rows()) == surveyed
    assert len(opened) == 2


@pytest.mark.parametrize("place", [BLOCK - 3, BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_utf_8_across_two_blocks_is_seen(write: Write, place: int, end: str, packed: bool) -> None:
    """A letter may begin in one block and end in the next, or end the file; a half one may not."""
    before = b"customerKey\n" + (b"k" * 999 + b"\n") * (BLOCK // 999)
    content = before[: place - 1] + "\n€".encode() + end.encode()
    name = "keys.csv.gz" if packed else "keys.csv"
    path = write(gzip.compress(content, mtime=0) if packed else content, name)
    with pytest.raises(InputError, match="is UTF-8 with non-ASCII letters"):
        list(InputReader(str(path), Reading(encoding="latin-1")).survey_rows())
    for cut in (content[: place + 1] + b"\n", content[: place + 2]):
        path.write_bytes(gzip.compress(cut, mtime=0) if packed else cut)
        assert list(InputReader(str(path), Reading(encoding="latin-1")).survey_rows())

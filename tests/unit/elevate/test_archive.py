"""Lists of archives, beside what Python's zipfile says of them, and what is no archive."""

import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.elevate.archive import Listed, is_empty_export, listing


def packed(files: dict[str, bytes], *, wide: bool = False, comment: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=wide) as file:
                file.write(content)
    return made.getvalue()


def listed(content: bytes) -> list[Listed]:
    return listing(lambda at, size: content[at : at + size], len(content))


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(
    files=st.dictionaries(names, st.binary(max_size=300), max_size=6),
    wide=st.booleans(),
    comment=st.binary(max_size=50).filter(lambda text: b"PK" not in text),
)
def test_the_list_is_that_of_zipfile(files: dict[str, bytes], wide: bool, comment: bytes):
    """Names and sizes, in order."""
    content = packed(files, wide=wide, comment=comment)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        expected = [(info.filename, info.file_size) for info in archive.infolist()]
    assert listed(content) == expected


def test_an_archive_of_the_wide_form():
    """With more files than the old form counts, the list stands where the wide end says."""
    content = packed({f"{number}": b"" for number in range(0x10000)})
    with pytest.raises(ValueError):  # its list is longer than any that is read
        listed(content)
    one = packed({"a": b"xyz"})
    at = one.rindex(b"PK\x05\x06")
    begin = one.index(b"PK\x01\x02")
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, at - begin, begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    old = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert listed(one[:at] + end + locator + old) == [("a", 3)]


@given(st.data())
def test_no_beginning_of_an_archive_is_one(data: st.DataObject):
    """Wherever it breaks off."""
    content = packed({"clicks.jsonl": b"{}\n" * 50, "empty.txt": b""})
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError):
        listed(content[:end])


@given(st.binary(max_size=400))
def test_whatever_comes_it_is_a_list_or_no_archive(junk: bytes):
    """No other error, and never an empty export of it."""
    for content in (junk, junk + b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + junk):
        try:
            files = listed(content)
        except ValueError:
            continue
        assert not is_empty_export(files)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html>",
        packed({"a": b"x"})[10:],
        b"x" * 40 + packed({"a": b"x" * 100}),
        packed({"a": b"x"}) + b"more",
        packed({"a": b"x"}) + b"PK\x05\x06",
    ],
)
def test_what_is_no_whole_archive(content: bytes):
    """Nothing, HTML, one without its beginning, or with something before or behind it."""
    with pytest.raises(ValueError):
        listed(content)


@pytest.mark.parametrize(
    ("files", "is_empty"),
    [
        ({"empty.txt": b""}, True),
        ({"empty.txt": b"no data"}, True),
        ({"empty.txt": bytes(5000)}, False),
        ({"Empty.txt": b""}, False),
        ({"../empty.txt": b""}, False),
        ({"empty.txt": b"", "clicks.jsonl": b""}, False),
        ({}, False),
    ],
)
def test_only_a_single_short_empty_txt_is_empty(files: dict[str, bytes], is_empty: bool):
    """Anything else may be data."""
    assert is_empty_export(listed(packed(files))) is is_empty

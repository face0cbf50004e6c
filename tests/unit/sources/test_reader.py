"""One reading, twice the same, and said how."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

Write = Callable[..., Path]

CSV = b"customerKey\nk1\n"
NDJSON = b'{"customerKey":"k1"}\n'


@pytest.mark.parametrize("extension", ["csv", "tsv", "txt", "ndjson", "jsonl", "json", "CSV"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".GZ"])
def test_the_name_tells_the_format(write: Write, extension: str, suffix: str) -> None:
    """The extension decides, before a .gz and in capitals as well."""
    content = NDJSON if "json" in extension else CSV
    name = f"keys.old.{extension}{suffix}"
    path = write(gzip.compress(content) if suffix else content, name)
    assert list(InputReader(str(path), Reading()).survey_rows()) == [
        KeyRow("k1", 1 if "json" in extension else 2, stripped=False)
    ]


@pytest.mark.parametrize("name", ["keys", "keys.xls", "csv", "keys.csv.zip", "keys.csv.bak", "-"])
def test_a_name_without_format_is_a_wrong_option(write: Write, name: str) -> None:
    """What the name does not tell is asked for, not found out from the content."""
    path = name if name == "-" else str(write(CSV, name))
    with pytest.raises(
        UsageError, match=r"--format csv, --format ndjson, --format xlsx or --format parquet"
    ):
        InputReader(path, Reading())


def test_a_folder_is_no_input(tmp_path: Path) -> None:
    """It is told as one, not as a file with a wrong name."""
    with pytest.raises(UsageError, match=r"is a folder\. Name a file in it"):
        InputReader(str(tmp_path), Reading())


def test_the_option_is_stronger_than_the_name(write: Write) -> None:
    """--format says how to read, whatever the file is called."""
    reader = InputReader(str(write(NDJSON, "keys.csv")), Reading(format="ndjson"))
    assert [row.line for row in reader.survey_rows()] == [1]


@pytest.mark.parametrize(
    ("name", "content", "asked", "found"),
    [
        ("a.csv", CSV, {}, Reading("csv", "customerKey", True, ",", "utf-8")),
        (
            "a.csv",
            b"\xef\xbb\xbfsep=;\r\nid;\r\nk1;\r\n",
            {},
            Reading("csv", "id", True, ";", "utf-8-sig"),
        ),
        (
            "a.txt",
            "n\tid\n1\tk1\n".encode("utf-16"),
            {"key_field": "id"},
            Reading("csv", "id", True, "\t", "utf-16"),
        ),
        (
            "a.csv",
            b"1|k1\n",
            {"header": False, "key_field": "2"},
            Reading("csv", "2", False, "|", "utf-8"),
        ),
        ("a.csv", b"k1\n", {"header": False}, Reading("csv", "1", False, ",", "utf-8")),
        ("a.csv", CSV, {"encoding": "L1"}, Reading("csv", "customerKey", True, ",", "iso8859-1")),
        ("a.json", NDJSON, {}, Reading("ndjson", "customerKey", True, None, "utf-8")),
        (
            "a.json",
            NDJSON.replace(b"customerKey", b"id"),
            {"key_field": "id"},
            Reading("ndjson", "id", True, None, "utf-8"),
        ),
    ],
)
def test_what_was_found_out_is_said(
    write: Write, name: str, content: bytes, asked: dict[str, object], found: Reading
) -> None:
    """After the survey began, `reading` names everything that was not asked for, and stays so."""
    reader = InputReader(str(write(content, name)), replace(Reading(), **asked))  # type: ignore[arg-type]
    keys = [row.key for row in reader.survey_rows() if isinstance(row, KeyRow)]
    assert (keys, reader.reading) == (["k1"], found)
    for row in reader.checked_rows():
        assert (row, reader.reading) == (KeyRow("k1", row.line, stripped=False), found)


@pytest.mark.parametrize(
    "text", ["customerKey\nab;\n{}\n", "id\nk1\n{}\n", "sep=;\nid;n\nk1;1\n{};2\n", "id\nk1\n{}"]
)
def test_the_second_reading_decides_like_the_first(write: Write, text: str) -> None:
    """What the first reading found out from the file, the second finds out again."""
    reader = InputReader(
        str(write(text.format("k2"))), Reading(None, "id" if "id;" in text else None)
    )
    rows = list(reader.survey_rows())
    assert len(rows) == 2
    assert [list(reader.checked_rows()) for _ in range(2)] == [rows, rows]


def test_another_input_of_the_same_name_is_another_input(write: Write) -> None:
    """A survey may be repeated after a change, and then holds what is there now."""
    path = write(CSV)
    reader = InputReader(str(path), Reading())
    assert sum(1 for _ in reader.survey_rows()) == 1
    path.write_bytes(CSV + b"k2\n")
    with pytest.raises(InputError, match="was changed"):
        list(reader.checked_rows())
    again = InputReader(str(path), Reading())
    assert len(list(again.survey_rows())) == len(list(again.checked_rows())) == 2

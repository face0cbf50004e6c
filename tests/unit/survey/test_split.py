"""One input for several clusters: each row is read by exactly one of them."""

import io
import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_eraser.errors import InputError
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading, RejectedRow
from bulk_eraser.survey import split
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.split import rows_by_cluster
from bulk_eraser.survey.survey import Survey

Write = Callable[..., Path]
NAMES = ("uk", "de", "de2")
ROWS = [
    ("C-1", "uk"),
    ("C-2", " de "),
    ("", "de"),
    ("C-1", "de"),
    ("C-3", "uk"),
    ("C-1", "uk"),
]


def as_csv(rows: list[tuple[str, str]]) -> bytes:
    return ("customerKey,shop\n" + "".join(f"{key},{shop}\n" for key, shop in rows)).encode()


def as_ndjson(rows: list[tuple[str, str]]) -> bytes:
    lines = (json.dumps({"shop": shop, "customerKey": key}) for key, shop in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def as_xlsx(rows: list[tuple[str, str]]) -> bytes:
    book = openpyxl.Workbook()
    for row in [("customerKey", "shop"), *((key or 5, shop) for key, shop in rows)]:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def as_parquet(rows: list[tuple[str, str]]) -> bytes:
    keys, shops = zip(*rows, strict=True)
    file = io.BytesIO()
    pq.write_table(pa.table({"customerKey": keys, "shop": shops}), file)
    return file.getvalue()


FORMATS = {"csv": as_csv, "ndjson": as_ndjson, "xlsx": as_xlsx, "parquet": as_parquet}


def reader(path: Path, cluster: str | None = None, **reading: Any) -> InputReader:
    return InputReader(str(path), Reading(cluster_field="shop", cluster=cluster, **reading))


def split_of(path: Path, names: tuple[str, ...] = NAMES, **more: Any) -> dict[str, int]:
    it = reader(path)
    with closing(it.file):
        return dict(rows_by_cluster(it, names, lambda _rows: None, **more))


@pytest.mark.parametrize("format_", FORMATS)
def test_each_reads_its_own_rows(write: Write, format_: str):
    """Of every format: with the lines and rejects that are its own, twice alike; a row elsewhere
    makes no duplicate."""
    path = write(FORMATS[format_](ROWS), f"keys.{format_}")
    assert split_of(path) == {"uk": 3, "de": 3}
    first = 1 if format_ in ("ndjson", "parquet") else 2
    for name, lines, keys in (
        ("uk", [0, 4, 5], ["C-1", "C-3", "C-1"]),
        ("de", [1, 2, 3], ["C-2", None, "C-1"]),
        ("de2", [], []),
    ):
        survey = Survey(reader(path, name))
        with closing(survey):
            survey.read()
            survey.decide(lambda _partition: {})
            read = [row.row for row in survey.second_reading()]
            assert [row.line for row in read] == [first + line for line in lines]
            assert [row.key if isinstance(row, KeyRow) else None for row in read] == keys
            assert all(row.cluster == name for row in read)
            facts = survey.facts()
            assert (facts.cluster_field, facts.cluster, facts.rows) == ("shop", name, len(lines))
            assert survey.count(action=Action.DUPLICATE) == (name == "uk")
            assert survey.count(action=Action.REJECT) == (name == "de")


def test_any_rows_are_split_without_a_rest(write: Write):
    """Whatever the order: the rows of all clusters are those of the file, each once."""
    order = random.Random(7)
    rows = [(f"K-{order.randrange(300)}", order.choice(NAMES)) for _ in range(2000)]
    path = write(as_csv(rows), "keys.csv")
    read = []
    for name in NAMES:
        it = reader(path, name)
        with closing(it.file):
            read += list(it.survey_rows())
    with closing((whole := InputReader(str(path), Reading())).file):
        assert sorted((row.line, row.key) for row in read if isinstance(row, KeyRow)) == [
            (row.line, row.key) for row in whole.survey_rows() if isinstance(row, KeyRow)
        ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("C-9,fr", "“fr”, line 8"),
        ("C-9,d e", r"“d e” \(did you mean de\?\), line 8"),
        ("C-9,UK", r"“UK” \(did you mean uk\?\), line 8"),
        ("C-9,", "no name, line 8"),
        ("C-9", "no name, line 8"),
        ("C-9,uk,more", "1 row too broken to tell: too_many_fields: .* \\(line 8\\)"),
        ("C-9,40123501", "a value that may be a customer key and is not shown, line 8"),
        (
            "C-9,40123501\nC-8,40123502\nC-7,fr",
            "“fr”, line 10; 2 values that may be .*lines 8 and 9",
        ),
        (",fr", "“fr”, line 8"),
    ],
)
def test_a_row_for_no_cluster(write: Write, row: str, told: str):
    """It refuses the input, and is told with its line and, unless it may be a key, its value."""
    path = write(as_csv(ROWS) + f"{row}\n".encode(), "keys.csv")
    with pytest.raises(InputError, match=f"none of the clusters, by the column shop: {told}"):
        split_of(path)


def test_many_values_are_of_the_wrong_column(write: Write, monkeypatch: Any):
    """A few are told; more than there are clusters anywhere stop the reading."""
    few = write(as_csv([(f"C-{n}", f"x{n:c}") for n in range(97, 105)]), "few.csv")
    with pytest.raises(InputError, match="“xe”, line 6; and 3 more kinds"):
        split_of(few)
    monkeypatch.setattr(split, "MOST_KINDS", 5)
    with pytest.raises(InputError, match="has more than 5 different values, so it is not the one"):
        split_of(few)


def test_the_column_of_the_keys_is_none(write: Write):
    """Nor is one that is not there."""
    path = write(as_csv(ROWS), "keys.csv")
    it = InputReader(str(path), Reading(cluster_field="customerKey"))
    with closing(it.file), pytest.raises(InputError, match="is that of the customer keys"):
        rows_by_cluster(it, NAMES, lambda _rows: None)
    it = InputReader(str(path), Reading(cluster_field="brand"))
    with closing(it.file), pytest.raises(InputError, match="has no column brand"):
        rows_by_cluster(it, NAMES, lambda _rows: None)


def test_a_torn_name_may_be_that_of_another_cluster(write: Write):
    """`de` at the very end of a file without a line end may have been `de2`: then the key would go
    to another cluster. Where no name begins so, or the line ends, all is well."""
    torn = as_csv([*ROWS, ("C-9", "de")])[:-1]
    with pytest.raises(InputError, match="may be the beginning of de2"):
        split_of(write(torn, "torn.csv"))
    assert split_of(write(torn, "allowed.csv"), allow_torn_end=True)["de"] == 4
    assert split_of(write(torn, "whole.csv"), ("uk", "de"))["de"] == 4
    assert split_of(write(torn + b"\n", "ended.csv"))["de"] == 4


@pytest.mark.parametrize(("end", "torn"), [("de,000", "de"), ("uk,000\nde,00000099-long-key", "")])
def test_a_torn_key_is_that_of_the_last_rows_cluster(write: Write, end: str, torn: str):
    """The others know nothing of it, whatever their own last key looks like."""
    rows = [f"{name},{n:08d}-long-key" for n in range(30) for name in ("uk", "de")]
    path = write("\n".join(["shop,customerKey", *rows, end]), "torn.csv")
    for name in ("uk", "de"):
        survey = Survey(reader(path, name))
        with closing(survey):
            survey.read()
            assert survey.is_end_torn is (name == torn)


def test_a_broken_row_has_no_cluster(write: Write):
    """What of it is read as a cluster may be part of something else."""
    path = write(b"customerKey,shop\nC-1,uk,x\nC-2,uk\n", "keys.csv")
    it = reader(path)
    with closing(it.file):
        rows = list(it.survey_rows())
    assert rows == [RejectedRow("too_many_fields", 2), KeyRow("C-2", 3, False, cluster="uk")]

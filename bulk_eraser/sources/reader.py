"""One way to read an input, used twice: by the survey and by the producer."""

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bulk_eraser.errors import InputError, UsageError
from bulk_eraser.sources.address import object_name, without_secrets
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.csv_rows import CsvRows
from bulk_eraser.sources.file import BLOCK, InputFile, read_whole
from bulk_eraser.sources.ndjson_rows import key_name_of, ndjson_rows
from bulk_eraser.sources.rows import Reading, Row, RowGroup, rows_of
from bulk_eraser.sources.text import InputText, explain_undecodable, open_text

__all__ = ["FORMATS", "InputReader", "format_of"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".xlsx": "xlsx",
    ".parquet": "parquet",
}


class InputReader:
    """An input and how to read it: `asked`, and `reading`, complete once `survey_rows` was begun.

    `file` is the one at `path` if it is open already. If one cluster is asked for, its rows are the
    only ones that there are. `ends_within_a_row`, known once all rows were read, tells that no line
    end follows the last one; `other_sheets` names those of a workbook that are not read.

    Raises `UsageError` when the format cannot be told from the name, `InputError` as the parts
    below do.
    """

    def __init__(self, path: str, reading: Reading, file: InputFile | None = None) -> None:
        self.asked = replace(reading, format=reading.format or format_of(path))
        _must_suit_the_format(self.asked, path)
        self.reading = self.asked
        self.ends_within_a_row = False
        self.other_sheets: list[str] = []
        self.file = file or InputFile(path)

    def sheets_not_asked_for(self) -> list[str]:
        """The sheets of the workbook besides the one that was asked for; none also if it cannot be
        read, which the first reading tells."""
        if self.asked.format != "xlsx" or self.asked.sheet is None:
            return []
        from bulk_eraser.sources.xlsx_book import Book
        from bulk_eraser.sources.xlsx_parts import DAMAGE, Parts, TooLarge

        try:
            content = read_whole(self.file.unchecked_bytes(), self.file.name)
            sheets = Book(Parts(content)).sheets()
        except (InputError, TooLarge, *DAMAGE):
            return []
        return [sheet.name for sheet in sheets if sheet.name != self.asked.sheet]

    def survey_rows(self) -> Iterator[Row]:
        """The rows, read for the first time; at the end the file is remembered as it was."""
        return rows_of(self.survey_groups())

    def survey_groups(self) -> Iterator[RowGroup]:
        """The same in groups."""
        yield from self._groups(survey=True)
        self.file.close_survey()

    def checked_rows(self) -> Iterator[Row]:
        """The same rows again. `InputError` before any row of a changed part."""
        return rows_of(self.checked_groups())

    def checked_groups(self) -> Iterator[RowGroup]:
        """The same in groups."""
        return self._groups(survey=False)

    def _groups(self, *, survey: bool) -> Iterator[RowGroup]:
        match self.asked.format:
            case "xlsx":
                groups: Iterator[RowGroup] = self._sheet_rows(survey=survey)
            case "parquet":
                groups = self._parquet_groups(survey=survey)
            case _:
                groups = self._text_groups(survey=survey)
        return groups if self.asked.cluster is None else self._own(rows_of(groups))

    def _own(self, rows: Iterator[Row]) -> Iterator[Row]:
        is_own = False
        for row in rows:
            is_own = row.cluster == self.asked.cluster
            if is_own:
                yield row
        self.ends_within_a_row &= is_own  # of another's row nothing is known here

    def _raw(self, *, survey: bool) -> "io.BufferedReader[Any]":
        return self.file.surveyed_bytes() if survey else self.file.checked_bytes()

    def _sheet_rows(self, *, survey: bool) -> Iterator[Row]:
        from bulk_eraser.sources.xlsx_rows import XlsxRows  # most inputs are no workbook

        content = read_whole(self._raw(survey=survey), self.file.name)
        sheet = XlsxRows(content, self.file.name, self.asked)
        self.reading = replace(
            self.asked, key_field=sheet.key_field, sheet=sheet.sheet, encoding="xlsx"
        )
        self.other_sheets = sheet.other_sheets
        yield from sheet

    def _parquet_groups(self, *, survey: bool) -> Iterator[RowGroup]:
        from bulk_eraser.sources.parquet_rows import ParquetRows  # an extra

        # What is in it stands at its end, so the first reading needs the whole file twice.
        if survey:
            with self.file.surveyed_bytes() as raw:
                while raw.read(BLOCK):
                    pass
        with self.file.proven_bytes() as content:
            rows = ParquetRows(content, self.file.name, self.asked)
            self.reading = replace(self.asked, key_field=rows.key_field, encoding="parquet")
            yield from rows.groups()

    def _text_groups(self, *, survey: bool) -> Iterator[RowGroup]:
        asked, file = self.asked, self.file
        # In NDJSON a line feed alone ends a line (RFC 8259 lets a CR stand as a blank).
        line_end = None if asked.format == "csv" else "\n"
        try:
            text = open_text(self._raw(survey=survey), file, asked.encoding, line_end)
            with text.stream:
                is_csv = asked.format == "csv"
                yield from self._csv_groups(text) if is_csv else self._json_rows(text)
        except UnicodeError:
            raise explain_undecodable(file, asked.encoding, line_end) from None
        if survey and asked.encoding and text.utf8_check is not None:
            text.utf8_check.must_not_be_utf8(asked.encoding, file.name)

    def _csv_groups(self, text: InputText) -> Iterator[RowGroup]:
        rows = CsvRows(text.stream, self.file.name, self.asked, text.line_end)
        self.reading = replace(
            self.asked,
            key_field=rows.key_field,
            delimiter=rows.delimiter,
            encoding=text.stream.encoding,
        )
        yield from rows.groups()
        # Of other formats it says nothing: an object of NDJSON that can be read is a whole one.
        self.ends_within_a_row = rows.ends_within_a_row

    def _json_rows(self, text: InputText) -> Iterator[Row]:
        # What the first reading found holds for the second one.
        key_field = self.reading.key_field or key_name_of(text.start)
        self.reading = replace(self.asked, key_field=key_field, encoding=text.stream.encoding)
        return ndjson_rows(text.stream, key_field, self.asked, self.file.name)


def _must_suit_the_format(asked: Reading, path: str) -> None:
    """Raises `UsageError` for options that the format has no use for, and for a packed Parquet
    file."""
    if asked.format == "ndjson" and asked.header_row is not None:
        raise UsageError("--header-row is for CSV and workbooks: NDJSON has no header.")
    if not asked.has_named_columns:
        return
    if asked.header_row is not None or not asked.header:
        raise UsageError(
            "--header-row and --no-header are for CSV and workbooks: Parquet names its columns. "
            "Use --key-field with the name of the column."
        )
    name = object_name(path)
    if without_packing(name) != name:
        raise UsageError(
            "A Parquet file is compressed within, and is not read packed once more. Unpack "
            f"{name}, and run again."
        )


def format_of(path: str) -> str:
    """The format that the name tells. Raises `UsageError` if it tells none."""
    name = without_packing(object_name(path)).lower()
    for extension, format_ in FORMATS.items():
        if name.endswith(extension):
            return format_
    if os.path.isdir(path):
        raise UsageError(f"The input {path!r} is a folder. Name a file in it.")
    raise UsageError(
        f"The name of the input {without_secrets(path)!r} does not show its format. Use "
        "--format csv, --format ndjson, --format xlsx or --format parquet."
    )

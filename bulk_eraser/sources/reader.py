"""One way to read an input, used twice: by the survey and by the producer."""

from collections.abc import Iterator
from dataclasses import replace

from bulk_eraser.errors import UsageError
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.csv_rows import CsvRows
from bulk_eraser.sources.ndjson_rows import ndjson_rows
from bulk_eraser.sources.opening import InputFile
from bulk_eraser.sources.rows import Reading, Row
from bulk_eraser.sources.xlsx_rows import XlsxRows

__all__ = ["FORMATS", "InputReader", "format_of"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".xlsx": "xlsx",
}


class InputReader:
    """An input and how to read it: `asked`, and `reading`, complete once `survey_rows` was begun.

    Raises `UsageError` when the format cannot be told from the name, `InputError` as the parts
    below do.
    """

    def __init__(self, path: str, reading: Reading) -> None:
        self.asked = replace(reading, format=reading.format or format_of(path))
        self.reading = self.asked
        self.file = InputFile(path)

    def survey_rows(self) -> Iterator[Row]:
        """The rows, read for the first time; at the end the file is remembered as it was."""
        yield from self._rows(survey=True)
        self.file.close_survey()

    def checked_rows(self) -> Iterator[Row]:
        """The same rows again. `InputError` before any row of a changed part."""
        return self._rows(survey=False)

    def _rows(self, *, survey: bool) -> Iterator[Row]:
        if self.asked.format == "xlsx":
            file = self.file
            content = file.survey_content() if survey else file.checked_content()
            workbook = XlsxRows(content, file.name, self.asked)
            self.reading = replace(
                self.asked, key_field=workbook.key_field, sheet=workbook.sheet, encoding="xlsx"
            )
            yield from workbook
        else:
            yield from self._text_rows(survey=survey)

    def _text_rows(self, *, survey: bool) -> Iterator[Row]:
        asked = self.asked
        line_end = None if asked.format == "csv" else "\n"
        open_text = self.file.survey_text if survey else self.file.checked_text
        try:
            with open_text(asked.encoding, line_end) as text:
                found = replace(asked, encoding=text.encoding)
                if asked.format == "csv":
                    rows = CsvRows(text, self.file.name, asked, self.file.line_end)
                    self.reading = replace(
                        found, key_field=rows.key_field, delimiter=rows.delimiter
                    )
                    yield from rows
                else:
                    key_field = asked.key_field or "customerKey"
                    self.reading = replace(found, key_field=key_field)
                    yield from ndjson_rows(text, key_field, asked)
        except UnicodeError:
            raise self.file.explain_undecodable(asked.encoding, line_end) from None
        if survey and asked.encoding and not (self.reading.encoding or "").startswith("utf"):
            self.file.must_not_be_utf8(asked.encoding)


def format_of(path: str) -> str:
    """The format that the name tells. Raises `UsageError` if it tells none."""
    name = without_packing(path).lower()
    for extension, format_ in FORMATS.items():
        if name.endswith(extension):
            return format_
    raise UsageError(
        f"The format of the input {path!r} cannot be told from its name. Say --format csv, "
        "--format ndjson or --format xlsx."
    )

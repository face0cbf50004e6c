"""Reading a file that the test writes, the way a run does: surveyed, then read again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

Found = list[tuple[str, int]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Put text (as UTF-8) or bytes into a file of this name."""

    def write(content: str | bytes, name: str = "keys.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def read(write: Callable[..., Path]) -> Callable[..., Found]:
    """The rows of such a file as (key, line), or (!error, line) where a row was rejected.

    Whatever a test reads is read twice, so the second reading is the same in all of them.
    """

    def read(content: str | bytes, name: str = "keys.csv", **reading: object) -> Found:
        reader = InputReader(str(write(content, name)), Reading(**reading))  # type: ignore[arg-type]
        rows = list(reader.survey_rows())
        assert list(reader.checked_rows()) == rows
        return [(r.key if isinstance(r, KeyRow) else f"!{r.error}", r.line) for r in rows]

    return read

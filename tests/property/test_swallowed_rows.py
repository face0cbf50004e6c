"""Stray quotes in notes, wherever they stand: no row disappears."""

import tempfile
from pathlib import Path

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_eraser.errors import InputError
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, Reading

NOTES = [
    "",
    "x",
    '"5 inch',
    '6 inch"',
    '"',
    '""',
    'say "hi"',
    '"a" b',
    ' "q',
    '"q"',
    '"x,y"',
    '"""',
]
KEYS = {
    "uuid": "{:08x}-5e17-4b1d-8bad-c0ffee000000".format,
    "sequence": "C-{}".format,
    "number": "{}".format,
}


@settings(max_examples=examples(1500), deadline=None)
@given(
    kind=st.sampled_from(sorted(KEYS)),
    numbers=st.lists(st.integers(1, 99_999), min_size=2, max_size=6, unique=True),
    notes=st.lists(st.sampled_from(NOTES), min_size=12, max_size=12),
    place=st.integers(0, 2),
)
def test_each_line_is_a_row_or_the_file_is_refused(
    kind: str, numbers: list[int], notes: list[str], place: int
) -> None:
    """I5: of lines that are a row each, either every one is sent or rejected, or the file is
    refused: a quote never makes one of them vanish, nor a key out of two."""
    keys = [KEYS[kind](number) for number in numbers]
    columns = ["note", "more"]
    columns.insert(place, "customerKey")
    lines = [",".join(columns)]
    for n, key in enumerate(keys):
        fields = notes[2 * n : 2 * n + 2]
        fields.insert(place, key)
        lines.append(",".join(fields))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keys.csv")
        path.write_text("\n".join(lines))
        try:
            rows = list(InputReader(str(path), Reading()).survey_rows())
        except InputError:
            return
    assert [row.line for row in rows] == list(range(2, len(keys) + 2))
    for row, key in zip(rows, keys, strict=True):
        assert not isinstance(row, KeyRow) or row.key == key

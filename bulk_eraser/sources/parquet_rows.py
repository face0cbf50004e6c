"""Rows of a Parquet file, a batch at a time; the row number, from 1, is the line.

The types of columns are known before the first row, so what cannot be a key refuses the whole file:
a fraction or a date that became text would be somebody else's key, or nobody's. Whole numbers are
exact in Parquet, unlike in a spreadsheet, and their digits are the key.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NoReturn

from bulk_eraser.errors import InputError, must_be_damage
from bulk_eraser.sources.columns import Columns, find_columns, no_header
from bulk_eraser.sources.file import ProvenBytes
from bulk_eraser.sources.rows import (
    BLANKS,
    KeyRow,
    KeyRows,
    Reading,
    RejectedRow,
    Row,
    RowGroup,
    are_plain_keys,
    clean_key,
    in_cluster,
    with_facts,
)

__all__ = ["ParquetRows"]

BATCH = 4096
"""Rows that are decoded at a time."""
MOST_IN_BATCH = 64 << 20
"""Bytes; eight times as many as the longest keys have."""
BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""
pa: Any = None
pq: Any = None
kinds: Any = None
"""pyarrow and its parts, once `_load` was called."""
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_NOT_UTF8 = object()
"""The value of a cell whose bytes are no text."""


class ParquetRows:
    """`groups` has the rows; `key_field` is the name of the key's column. Only the columns that are
    asked for are read.

    Raises `InputError` when the file cannot be read, when the key's column cannot be told, or is of
    a type that holds no keys; for damage further down, while the rows are read.
    """

    def __init__(self, content: ProvenBytes, name: str, asked: Reading) -> None:
        _load(name)
        self._name = name
        self._asked = asked
        _must_be_parquet(content, name)
        try:
            # Without a buffer, a column of a whole row group would be in memory.
            self._file = pq.ParquetFile(
                content, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True
            )
            schema = self._file.schema_arrow
        except _damage() as error:
            self._tell(error)
        self._columns = find_columns(schema.names, asked, name)
        self._names = schema.names
        self._types = [_plain_type(field.type) for field in schema]
        self._reason = self._column_of_reason(self._columns)
        self._must_hold_keys()

    @property
    def key_field(self) -> str:
        return self._columns.key_field

    # ── the rows ────────────────────────────────────────────────────────────────────────────

    def groups(self) -> Iterator[RowGroup]:
        """All rows, most of them in groups."""
        line = 1
        for keys, *facts in self._batches():
            if line == 1 and self._columns.assumed and keys:
                self._name_must_not_be_a_key(keys[0])
            if all(it is None for it in facts):
                yield from self._group(keys, line)
            else:
                yield from self._single_rows(keys, facts, line)
            line += len(keys)
        if line - 1 != self._file.metadata.num_rows:
            self._tell(ValueError("other rows than the file says"))

    def _single_rows(
        self, keys: list[Any], facts: list[list[Any] | None], line: int
    ) -> Iterator[Row]:
        # Where there is no such column, no row says anything.
        columns = (repeat(None, len(keys)) if it is None else it for it in facts)
        for number, (key, day, text, cluster) in enumerate(zip(keys, *columns, strict=True), line):
            row = with_facts(self._row(key, number), day, text, self._asked)
            yield row if self._columns.cluster is None else in_cluster(row, cluster)

    def _group(self, keys: list[Any], line: int) -> Iterator[RowGroup]:
        # Text alone can be joined, so this also finds out that all of it is text.
        is_text = all(type(key) is str for key in keys)
        if is_text and keys and are_plain_keys(keys) and self.key_field not in keys:
            yield KeyRows(line, keys)
        else:
            for number, key in enumerate(keys, line):
                yield self._row(key, number)

    def _row(self, value: object, line: int) -> Row:
        # 1. Bytes that are no text.
        if value is _NOT_UTF8:
            return RejectedRow("wrong_type", line)
        # 2. No value at all, which is what an empty cell is elsewhere.
        text = str(value or "")
        # 3. Files that were joined as CSV repeat the header; its name is no customer.
        if text.strip(BLANKS) == self.key_field:
            return RejectedRow("repeated_header", line)
        return clean_key(text, line)

    def _batches(self) -> Iterator[list[Any]]:
        """The values of keys, and of dates, references and clusters; None instead for a column that
        is not asked for."""
        columns = self._columns
        places = [columns.key, columns.received, self._reason, columns.cluster]
        names = [self._names[place] for place in places if place is not None]
        try:
            batches = self._file.iter_batches(batch_size=BATCH, columns=names, use_threads=False)
            for batch in batches:
                # A long value that is packed once and meant in every row unpacks without end.
                if batch.nbytes > MOST_IN_BATCH:
                    raise InputError(
                        f"{self._name} has values of many thousand characters where the keys "
                        "should be. Use --key-field to name the column with the keys."
                    )
                # By the name: one with a dot may have brought a field of another column along.
                key, *facts = (
                    None if place is None else batch.column(self._names[place]) for place in places
                )
                values = (None if it is None else _values(it) for it in facts)
                yield [_values(key, as_text=True), *values]
        except _damage() as error:
            self._tell(error)

    def _name_must_not_be_a_key(self, value: object) -> None:
        row = self._row(value, 1)
        if isinstance(row, KeyRow) and self._columns.is_named_like(row.key):
            raise no_header(self._name, self._asked)

    # ── the columns ─────────────────────────────────────────────────────────────────────────

    def _must_hold_keys(self) -> None:
        """Raises `InputError` for a column of a type that does not hold what is asked for."""
        columns = self._columns
        self._must_be(columns.key, _is_key_type, "keys", "--key-field")
        self._must_be(columns.received, _is_day_type, "dates", "--received-field")
        self._must_be(self._reason, _is_text_type, "references", "--reference-field")
        self._must_be(columns.cluster, _is_text_type, "clusters", "--cluster-field")

    def _must_be(self, place: int | None, is_right: Any, what: str, option: str) -> None:
        if place is None or is_right(self._types[place]):
            return
        wanted = "dates or text" if what == "dates" else "text (string) or whole numbers"
        raise InputError(
            f"The column {self._names[place]} of {self._name} is of type {self._types[place]}, and "
            f"{what} must be {wanted}. Write the column as text where the file comes from (in SQL: "
            f"CAST … AS VARCHAR), or use {option} to name another."
        )

    def _column_of_reason(self, columns: Columns) -> int | None:
        """The column of references; in a hold list that of reasons, if it can be read: no hold is
        refused for its reason."""
        place = columns.reference
        if place is None or not self._asked.is_hold_list:
            return place
        kind = self._types[place]
        return place if _is_text_type(kind) or _is_day_type(kind) else None

    def _tell(self, error: Exception) -> NoReturn:
        """Raise what to tell of an error while the file was read."""
        must_be_damage(error)
        if "crypt" in str(error):
            raise _encrypted(self._name) from None
        raise InputError(
            f"{self._name} is truncated or damaged, or is packed in a way that is not known here: "
            "it cannot be read as a Parquet file. Nothing was sent. Get a complete copy and run "
            "again."
        ) from None


def _load(name: str) -> None:
    """Import pyarrow, which starts threads: not before there is a file to be read.

    Raises `InputError` if the extra is missing.
    """
    global pa, pq, kinds
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
        import pyarrow.types as kinds
    except ImportError:
        raise InputError(
            f"{name} is a Parquet file, which needs an extra package: pip install "
            "'bulk-eraser[parquet]'. Or export the keys as CSV."
        ) from None


def _damage() -> tuple[type[Exception], ...]:
    """What pyarrow may raise for a file that is broken; the disk's own errors are `InputError`."""
    return pa.ArrowException, OSError, ValueError, KeyError, OverflowError


def _must_be_parquet(content: ProvenBytes, name: str) -> None:
    """Raises `InputError` for a file of another kind, one whose end is missing, and for one that is
    encrypted as a whole."""
    head = content.read(4)
    content.seek(0, 2)
    size = content.tell()
    content.seek(max(0, size - 4))
    end = content.read(4)
    content.seek(0)
    if head == _ENCRYPTED or (head == _MAGIC and end == _ENCRYPTED):
        raise _encrypted(name)
    if head != _MAGIC:
        raise InputError(
            f"{name} is not a Parquet file. Rename it, or use the file that you meant."
        )
    if end != _MAGIC:
        raise InputError(
            f"{name} is truncated: a Parquet file says at its end what is in it, and this end is "
            "missing. Nothing was sent. Get a complete copy and run again."
        )


def _encrypted(name: str) -> InputError:
    return InputError(f"{name} is encrypted. Write it without encryption, or as CSV.")


# ── types and values ────────────────────────────────────────────────────────────────────────────


def _plain_type(kind: Any) -> Any:
    """The type of the values, however they are kept."""
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _is_key_type(kind: Any) -> bool:
    is_text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
    # Some programs write text without saying that it is text.
    is_bytes = kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind)
    return bool(is_text or is_bytes or kinds.is_integer(kind) or kinds.is_null(kind))


def _is_day_type(kind: Any) -> bool:
    is_day = kinds.is_date(kind) or kinds.is_timestamp(kind)
    return bool(is_day or (_is_key_type(kind) and not kinds.is_integer(kind)))


def _is_text_type(kind: Any) -> bool:
    return bool(_is_key_type(kind) or kinds.is_floating(kind))


def _values(array: Any, *, as_text: bool = False) -> list[Any]:
    """The values as Python has them: text, numbers (or their digits, `as_text`), dates; None where
    there is none."""
    if kinds.is_dictionary(array.type):
        words = _values(array.dictionary, as_text=as_text)
        numbers = array.indices.to_pylist()
        # pyarrow does not look, and Python would count a negative one from the end.
        if any(n is not None and not 0 <= n < len(words) for n in numbers):
            raise ValueError("a word that is not in the dictionary")
        return [None if n is None else words[n] for n in numbers]
    kind = array.type
    if kinds.is_timestamp(kind):  # a day is all that is wanted, and the one that all agree on
        array = array.cast(pa.timestamp("s", kind.tz and "UTC"), safe=False).cast(pa.date32())
    elif as_text and kinds.is_integer(kind):
        array = array.cast(pa.string())
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        values = array.cast(pa.large_binary()).to_pylist()
    if any(type(value) is bytes for value in values):
        return list(map(_text, values))
    return values


def _text(value: bytes | None) -> object:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8

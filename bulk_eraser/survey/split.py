"""One input for several clusters: a column says which one a row is for.

Each cluster reads the whole input later and takes its own rows (`Reading.cluster`). Before that,
all rows are looked at here once: each must be for a known cluster, or nothing is sent to any.
"""

from collections import Counter
from collections.abc import Callable, Collection

from bulk_eraser.errors import InputError, lines_of
from bulk_eraser.sources.columns import may_be_a_key
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import RejectedRow
from bulk_eraser.survey.warnings import EXAMPLES
from bulk_eraser.wording import counted, printable, row_error

__all__ = ["rows_by_cluster"]

MOST_KINDS = 1000
_NOTHING = "no name"
_TELL = 50_000
"""Rows between two calls of `progress`."""
MOST_TOLD = 5
"""Values that are named; if there are more, it is probably the wrong column."""


class _Rows:
    """How many rows there are of each kind, and the first lines of each."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.lines: dict[str, list[int]] = {}

    def note(self, kind: str, line: int) -> None:
        self.count[kind] += 1
        kept = self.lines.setdefault(kind, [])
        if len(kept) < EXAMPLES:
            kept.append(line)


def rows_by_cluster(
    reader: InputReader,
    names: Collection[str],
    progress: Callable[[int], None],
    *,
    allow_torn_end: bool = False,
) -> Counter[str]:
    """How many rows each of the clusters `names` has. `reader` reads with a `cluster_field`.

    Raises `InputError` where a row is for none of them, and what the reader raises.
    """
    of_clusters, of_none, last = _Rows(), _Rows(), None
    for number, row in enumerate(reader.survey_rows(), 1):
        last = row.cluster
        if last is not None:
            of_clusters.note(last, row.line)
        else:
            of_none.note(row.error if isinstance(row, RejectedRow) else _NOTHING, row.line)
        if len(of_clusters.count) > MOST_KINDS:  # memory stays bounded as well
            raise _wrong_column(reader, f"has more than {MOST_KINDS:,} different values")
        if number % _TELL == 0:
            progress(number)
    if reader.reading.key_field == reader.asked.cluster_field:
        raise _wrong_column(reader, "is that of the customer keys")
    told = _strangers(of_clusters, names)
    told += [_lost(why, count, of_none.lines[why]) for why, count in of_none.count.items()]
    if told:
        raise _for_none(reader, told)
    if reader.ends_within_a_row and last is not None and not allow_torn_end:
        _must_be_whole(reader, last, names)
    return of_clusters.count


def _wrong_column(reader: InputReader, why: str) -> InputError:
    field = printable(reader.asked.cluster_field or "")
    return InputError(
        f"The column {field} of {reader.file.name} {why}, so it is not the one that names the "
        "clusters. Nothing was sent. Name that with cluster_field."
    )


def _for_none(reader: InputReader, told: list[str]) -> InputError:
    more = f"; and {counted(len(told) - MOST_TOLD, 'more kind')}" if told[MOST_TOLD:] else ""
    field = printable(reader.asked.cluster_field or "")
    return InputError(
        f"{reader.file.name} has rows that are for none of the clusters, by the column {field}: "
        f"{'; '.join(told[:MOST_TOLD])}{more}. Nothing was sent. Correct the rows, or add the "
        "cluster to the fleet file."
    )


def _must_be_whole(reader: InputReader, last: str, names: Collection[str]) -> None:
    """Raises `InputError` if the very last name may be the beginning of another one."""
    longer = next((name for name in names if name != last and name.startswith(last)), None)
    if longer is not None:
        raise InputError(
            f"{reader.file.name} may be cut off: its last row has no line end, and is for "
            f"{printable(last)}, which may be the beginning of {longer}. Nothing was sent. Get the "
            'whole file; if it is whole, say allow = ["torn_end"] in the fleet file.'
        )


def _strangers(found: _Rows, names: Collection[str]) -> list[str]:
    """What is said of the values that name no cluster. One that may be a customer key is of a wrong
    column, and no output may show it."""
    strange = [value for value in found.count if value not in names]
    hidden = [value for value in strange if may_be_a_key(value)]
    told = [
        _stranger(value, found.count[value], found.lines[value], names)
        for value in strange
        if value not in hidden
    ]
    if hidden:
        lines = sorted(line for value in hidden for line in found.lines[value])[:EXAMPLES]
        where = lines_of(lines, sum(found.count[value] for value in hidden))
        what = "a value" if len(hidden) == 1 else f"{len(hidden):,} values"
        are = "is" if len(hidden) == 1 else "are"
        told.append(f"{what} that may be a customer key and {are} not shown, {where}")
    return told


def _stranger(value: str, count: int, lines: list[int], names: Collection[str]) -> str:
    where = lines_of(lines, count)
    meant = next((name for name in names if _plain(name) == _plain(value)), None)
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"“{printable(value)}”{hint}, {where}"


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _lost(why: str, count: int, lines: list[int]) -> str:
    if why == _NOTHING:
        return f"no name, {lines_of(lines, count)}"
    return f"{counted(count, 'row')} too broken to tell: {row_error(why, lines, count)}"

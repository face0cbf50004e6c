"""One input for several clusters: a column says which one a row is for.

Each cluster reads the whole input later and takes its own rows (`Reading.cluster`). Before that,
all rows are looked at here once: each must be for a known cluster, or nothing is sent to any.
"""

from collections import Counter
from collections.abc import Callable, Collection

from bulk_eraser.errors import InputError, UsageError, lines_of
from bulk_eraser.sources.columns import may_be_a_key
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import RejectedRow
from bulk_eraser.survey.warnings import EXAMPLES
from bulk_eraser.wording import counted, printable, row_error

__all__ = ["rows_by_cluster"]

MOST_KINDS = 1000
MOST_TOLD = 5
"""Values that are named; if there are more, it is probably the wrong column."""


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
    rows, lines = Counter[str](), dict[str, list[int]]()
    lost, lost_lines = Counter[str](), dict[str, list[int]]()
    last, number = None, 0
    for number, row in enumerate(reader.survey_rows(), 1):
        last = row.cluster
        if last is not None:
            if len(rows) >= MOST_KINDS and last not in rows:  # memory stays bounded as well
                raise InputError(
                    f"{reader.file.name} has more than {MOST_KINDS:,} different values in the "
                    f"column {printable(reader.asked.cluster_field or '')}, so it is not the one "
                    "that names the clusters. Nothing was sent. Name that with cluster_field."
                )
            rows[last] += 1
            _note(lines, last, row.line)
        else:
            why = row.error if isinstance(row, RejectedRow) else "no_cluster"
            lost[why] += 1
            _note(lost_lines, why, row.line)
        if number % 50_000 == 0:
            progress(number)
    field = reader.asked.cluster_field
    if reader.reading.key_field == field:
        raise UsageError(f"The column {field} holds the customer keys, not the clusters.")
    unknown = {name: count for name, count in rows.items() if name not in names}
    if unknown or lost:
        told = [_stranger(it, count, lines[it], names) for it, count in unknown.items()]
        told += [_lost(why, count, lost_lines[why]) for why, count in lost.items()]
        more = f"; and {counted(len(told) - MOST_TOLD, 'more kind')}" if told[MOST_TOLD:] else ""
        raise InputError(
            f"{reader.file.name} has rows that are for none of the clusters, by the column "
            f"{printable(field or '')}: {'; '.join(told[:MOST_TOLD])}{more}. Nothing was sent. "
            "Correct the rows, or add the cluster to the fleet file."
        )
    longer = [name for name in names if last and name != last and name.startswith(last)]
    if reader.ends_within_a_row and longer and not allow_torn_end:
        raise InputError(
            f"{reader.file.name} may be cut off: its last row has no line end, and is for "
            f"{printable(last or '')}, which may be the beginning of {longer[0]}. Nothing was "
            'sent. Get the whole file; if it is whole, say allow = ["torn_end"] in the fleet file.'
        )
    return rows


def _note(lines: dict[str, list[int]], of: str, line: int) -> None:
    kept = lines.setdefault(of, [])
    if len(kept) < EXAMPLES:
        kept.append(line)


def _stranger(value: str, count: int, lines: list[int], names: Collection[str]) -> str:
    where = lines_of(lines, count)
    if may_be_a_key(value):  # of a wrong column, and then no output may show it
        return f"a value that may be a customer key and is not shown, {where}"
    meant = next((name for name in names if _plain(name) == _plain(value)), None)
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"“{printable(value)}”{hint}, {where}"


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _lost(why: str, count: int, lines: list[int]) -> str:
    if why == "no_cluster":
        return f"nothing, {lines_of(lines, count)}"
    return f"{counted(count, 'row')} too broken to tell: {row_error(why, lines, count)}"

"""A summary as JUnit XML, for a pipeline that shows tests.

There is a case for each promise, and one for each reason why somebody is not erased.
"""

from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

from bulk_eraser.errors import lines_of
from bulk_eraser.evidence.report.words import ADVICE, failure_meaning, headline
from bulk_eraser.evidence.summary import Standing, Summary
from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.wording import counted, printable

__all__ = ["as_junit"]


class _Case(NamedTuple):
    """`failure` is why it does not hold, `pending` why it cannot be said yet; None if it holds."""

    group: str
    name: str
    failure: str | None = None
    pending: str | None = None


def as_junit(summary: Summary) -> str:
    cases = [*_promises(summary), *_reasons(summary)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.failure is not None for case in cases)),
        "skipped": str(sum(case.pending is not None for case in cases)),
        "errors": "0",
    }
    root = ET.Element("testsuites", {"name": "bulk-eraser", **counts})
    name = ", ".join(ledger.ledger for ledger in summary.ledgers)
    stamp = summary.made_at[:19]
    about = {"name": printable(name), "timestamp": stamp}
    suite = ET.SubElement(root, "testsuite", about | counts)
    for case in cases:
        of_case = ET.SubElement(suite, "testcase", classname=case.group, name=printable(case.name))
        if case.failure is not None:
            ET.SubElement(of_case, "failure", message=printable(case.failure))
        elif case.pending is not None:
            ET.SubElement(of_case, "skipped", message=printable(case.pending))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _promises(summary: Summary) -> Iterator[_Case]:
    group = "bulk-eraser.promise"
    damage = summary.error if summary.standing is Standing.NOT_PROVEN else None
    yield _Case(group, "the ledger is what was written", damage)
    words = ", ".join(f"{word} ({it['count']:,})" for word, it in summary.findings.items())
    yield _Case(group, "the lines of the ledger fit each other", words or None)
    if summary.is_input_read:
        missing = summary.unaccounted
        why = f"{counted(missing, 'row')} without an outcome" if missing else None
        yield _Case(group, "every row of the input is accounted for", why)
    for head, place in summary.expected_heads.items():
        lost = None if place else "it is none of the commits"
        yield _Case(group, f"the expected head {head[:12]} is in the ledger", lost)
    late = summary.held_too_late
    too_late = f"{counted(late, 'key')}. {ADVICE['held_too_late']}" if late else None
    yield _Case(group, "no hold came too late", too_late)
    over = summary.deadlines.overdue
    overdue = f"for {counted(over, 'key')} it is over. {ADVICE['overdue']}" if over else None
    yield _Case(group, "the month for an answer is kept", overdue)
    if summary.standing is Standing.OPEN:
        yield _Case(group, "everybody is erased", pending=headline(summary))
    else:
        is_done = summary.standing in (Standing.ALL_ERASED, Standing.NOBODY)
        yield _Case(group, "everybody is erased", None if is_done else headline(summary))


def _reasons(summary: Summary) -> Iterator[_Case]:
    group = "bulk-eraser.reason"
    for it in summary.failures:
        where = f" ({lines_of(it.lines, it.count)})" if it.lines else ""
        why = f"{counted(it.count, 'key')}{where}. {ADVICE[it.state]}"
        yield _Case(group, f"{it.state}: {failure_meaning(it)}", why)
    for reject in summary.rejected:
        where = lines_of(reject.lines, reject.count)
        why = f"{counted(reject.count, 'row')} ({where}). {ADVICE['rejected']}"
        meaning = ROW_ERRORS.get(reject.error, reject.error)
        is_fine = summary.rejected_is_fine
        yield _Case(group, f"rejected: {meaning}", *((None, why) if is_fine else (why, None)))

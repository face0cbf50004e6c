"""The fold of records into counts: what is displayed, printed and put into `run_finished`.

A tally begins with the survey's fates, then takes each record once it is committed. Every row is
in exactly one count, so `rows` is their sum at any time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from bulk_eraser.records import Accepted, Failed, Record, Sent, Unknown
from bulk_eraser.survey.survey import Fate

__all__ = ["COUNTS", "Tally"]

COUNTS = (
    "rows",
    "accepted",
    "failed",
    "unknown",
    "rejected",
    "duplicate",
    "excluded",
    "already_settled",
    "not_reached",
)

_COUNT_OF = {
    Fate.SEND_NEW: "not_reached",
    Fate.SEND_SENT: "not_reached",
    Fate.SEND_HELD: "not_reached",
    Fate.SEND_UNKNOWN: "unknown",
    Fate.SEND_FAILED: "failed",
    Fate.SEND_REFUSED: "failed",
    Fate.SEND_JOB_LOST: "already_settled",
    Fate.REFUSED: "failed",
    Fate.REJECTED: "rejected",
    Fate.DUPLICATE: "duplicate",
    Fate.EXCLUDED: "excluded",
    Fate.SETTLED: "already_settled",
}


class Tally:
    """Counts of rows by last state, and of what this run did.

    `settled` is how many keys got an outcome in this run, `refusals` how many of those were
    `failed` or `unknown`; `errors` counts those outcomes by error word.
    """

    def __init__(self, fates: Mapping[Fate, int]) -> None:
        self._counts = dict.fromkeys(COUNTS, 0)
        for fate, count in fates.items():
            self._counts["rows"] += count
            self._counts[_COUNT_OF[fate]] += count
        self.to_send = sum(count for fate, count in fates.items() if fate.is_sent)
        self.settled = 0
        self.refusals = 0
        self.errors: Counter[str] = Counter()
        self._earlier: dict[int, str] = {}

    def expect(self, line: int, fate: Fate) -> None:
        """The row on `line` is about to be sent; its state from earlier runs is `fate`."""
        count = _COUNT_OF[fate]
        if count != "not_reached":
            self._earlier[line] = count

    def fold(self, records: Sequence[Record]) -> None:
        """Take in records that were committed, in their order."""
        for record in records:
            if isinstance(record, Sent):
                if record.attempt == 1 and self._earlier:
                    self._move(self._earlier.pop(record.line, "not_reached"), "not_reached")
            elif isinstance(record, Accepted):
                self._outcome("accepted")
            elif isinstance(record, Failed):
                self._outcome("failed", record.error)
            elif isinstance(record, Unknown):
                self._outcome("unknown", record.error)

    def counts(self) -> dict[str, int]:
        """The counts in the order of `COUNTS`."""
        return dict(self._counts)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def is_conserved(self) -> bool:
        """Is each row in exactly one count?"""
        return (
            self["rows"] == sum(self[name] for name in COUNTS[1:])
            and min(self._counts.values()) >= 0
        )

    def _outcome(self, name: str, error: str = "") -> None:
        self._move("not_reached", name)
        self.settled += 1
        if error:
            self.refusals += 1
            self.errors[error] += 1

    def _move(self, source: str, to: str) -> None:
        self._counts[source] -= 1
        self._counts[to] += 1

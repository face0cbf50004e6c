"""The fold of records into counts: what is displayed, printed and put into `run_finished`.

A tally begins with the survey's decisions, those about rows of other shards left out, then takes
each record once it is committed. Every row is in exactly one count, so `rows` is their sum at any
time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from bulk_eraser.records import Accepted, Failed, Record, Sent, Unknown, Unsent
from bulk_eraser.survey.decision import Decision

__all__ = ["COUNTS", "SUMMED", "Tally"]

COUNTS = (
    "rows",
    "accepted",
    "failed",
    "unknown",
    "rejected",
    "duplicate",
    "excluded",
    "already_settled",
    "job_failed",
    "not_exported",
    "not_reached",
    "held_too_late",
)
EXAMPLES = 3
"""Lines that are named for a reason."""
SUMMED = COUNTS[1:-1]
"""These add up to `rows`; `held_too_late` is a part of `excluded`."""


class Tally:
    """Counts of rows by last state, and of what this run did.

    `to_send` is how many keys are to be sent, `settled` how many got an outcome in this run,
    `failures` how many of those were `failed` or `unknown`; `errors` counts these by error word,
    `error_lines` has the first lines of each; `refused` counts those that were refused permanently.

    A key that is sent counts as not reached until it has an outcome, or as before if its `sent`
    line is taken back.
    """

    def __init__(self, decisions: Mapping[Decision, int]) -> None:
        self._counts = dict.fromkeys(COUNTS, 0)
        decisions = {it: rows for it, rows in decisions.items() if not it.is_elsewhere}
        for decision, rows in decisions.items():
            self._counts["rows"] += rows
            self._counts[decision.counted_as] += rows
            self._counts["held_too_late"] += rows if decision.is_held_too_late else 0
        self.to_send = sum(rows for decision, rows in decisions.items() if decision.is_sent)
        self.settled = 0
        self.failures = 0
        self.refused = 0
        self.errors: Counter[str] = Counter()
        self.error_lines: dict[str, list[int]] = {}
        self._earlier: dict[int, str] = {}
        self._before_sent: dict[int, str] = {}

    def expect(self, line: int, decision: Decision) -> None:
        """The row on `line` is about to be sent: from then on it counts as not reached."""
        if decision.counted_as != "not_reached":
            self._earlier[line] = decision.counted_as

    def fold(self, records: Sequence[Record]) -> None:
        """Take in records that were committed, in their order."""
        for record in records:
            if isinstance(record, Sent):
                if record.attempt == 1 and record.line in self._earlier:
                    count = self._before_sent[record.line] = self._earlier.pop(record.line)
                    self._move(count, "not_reached")
            elif isinstance(record, Unsent):
                if record.attempt == 1:
                    self._move("not_reached", self._before_sent.pop(record.line, "not_reached"))
            elif isinstance(record, Accepted):
                self._outcome(record.line, "accepted")
            elif isinstance(record, Failed):
                self.refused += record.permanent
                self._outcome(record.line, "failed", record.error)
            elif isinstance(record, Unknown):
                self._outcome(record.line, "unknown", record.error)

    def counts(self) -> dict[str, int]:
        """The counts in the order of `COUNTS`."""
        return dict(self._counts)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def is_conserved(self) -> bool:
        """Is each row in exactly one count?"""
        return (
            self["rows"] == sum(self[name] for name in SUMMED) and min(self._counts.values()) >= 0
        )

    def _outcome(self, line: int, name: str, error: str = "") -> None:
        self._move("not_reached", name)
        self._before_sent.pop(line, None)
        self.settled += 1
        if error:
            self.failures += 1
            self.errors[error] += 1
            lines = self.error_lines.setdefault(error, [])
            if len(lines) < EXAMPLES:
                lines.append(line)

    def _move(self, source: str, to: str) -> None:
        self._counts[source] -= 1
        self._counts[to] += 1

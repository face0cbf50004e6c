"""What may be wrong in a ledger whose chain is intact, and where it was found."""

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["EXAMPLES", "FINDINGS", "FORGED", "Findings"]

EXAMPLES = 5
"""Lines that a finding names at the most."""

FINDINGS = {
    "more_attempts_than_sent": "an outcome names no attempt, or more than the run has `sent` lines",
    "settled_twice": "one run has two outcomes for the same key",
    "sent_after_accepted": "a key was sent again although its removal job was accepted before",
    "unsent_without_sent": "a run takes back a `sent` line that it has not written",
    "status_without_job": "a job's status stands before the job was accepted, or for no job at all",
    "outside_of_run": "a run ended that had not begun, or had ended before",
    "line_of_another_kind": "a line about exports among erasures, or the other way round",
    "counts_differ": "a run's counts are not those of its lines, or do not add up",
    "wrong_root": "a root for certificates is not that of the keys erased before it, or stands in "
    "the wrong place",
    "wrong_sample": "a sample for a probe is not the one that its seed draws from the keys erased "
    "before it, or somebody was asked about who is in none",
    "jid_of_several_keys": "one jid stands for several keys, so some of them may have no job",
    "key_with_several_jids": "a key was accepted in several ledgers, so it has several jobs",
}
"""What may be wrong in a ledger whose chain is intact. The ones in `FORGED` no run ever writes."""
FORGED = (
    "more_attempts_than_sent",
    "settled_twice",
    "sent_after_accepted",
    "unsent_without_sent",
    "status_without_job",
    "outside_of_run",
    "line_of_another_kind",
    "counts_differ",
    "wrong_root",
    "wrong_sample",
)


@dataclass
class Findings:
    """Where something was found: `counts` by word of `FINDINGS`, `places` names the first few.

    A place is the number of the ledger, from 0, and the line in it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def note(self, word: str, ledger: int, line: int) -> None:
        self.counts[word] += 1
        self.places[word] = sorted([*self.places.get(word, []), (ledger, line)])[:EXAMPLES]

    @property
    def is_forged(self) -> bool:
        """Is there something that no run writes?"""
        return any(self.counts[word] for word in FORGED)

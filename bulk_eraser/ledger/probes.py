"""What a ledger says of probes: who was sampled, who is asked about, and what came of it.

    drawn ─► sent ─► asked (an export job) ─► answered: nothing left, came back, or lost

A sample is small, so it is kept in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bulk_eraser.errors import Attention
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import (
    ProbeAnswered,
    ProbeAsked,
    ProbeDrawn,
    ProbeFailed,
    ProbeFile,
    ProbeKey,
    ProbeSent,
    ProbeStatus,
    Record,
)

__all__ = [
    "CAME_BACK",
    "LOST",
    "NOTHING_LEFT",
    "CameBack",
    "ProbeBook",
    "ProbedKey",
    "Probes",
    "added",
    "attention_of",
]

NOTHING_LEFT, CAME_BACK, LOST = "nothing_left", "came_back", "lost"
LISTED = 20
EXAMPLES = 3
"""Lines that are named for a reason."""
_SAY_SOMETHING = (NOTHING_LEFT, CAME_BACK)
_TELL_OF_PROBES = frozenset(
    {ProbeDrawn, ProbeKey, ProbeSent, ProbeAsked, ProbeFailed, ProbeStatus, ProbeAnswered}
)


@dataclass
class ProbedKey:
    """One key of one sample. `jid` is that of its export job, once it is asked about; `due_at` and
    `asked_at` are seconds since 1970; `is_ready`: its result can be had; `answer` is one of the
    three words, None until then."""

    probe: str
    key: str
    line: int
    jid: str = ""
    asked_at: float = 0.0
    due_at: float | None = None
    is_ready: bool = False
    answer: str | None = None
    files: list[ProbeFile] = field(default_factory=list)


@dataclass(frozen=True)
class CameBack:
    """Somebody of whom there is data again: the row, the job that told, and the files, of which
    nothing but `name` and `size` (bytes) is known."""

    line: int
    jid: str
    files: list[dict[str, str | int]]


@dataclass(frozen=True)
class Probes:
    """All samples of a ledger together, by the last word on each of the `sampled` people.

    `population` is how many were erased when the last one was drawn. `waiting` are asked about and
    not answered, also those who have an earlier answer; `not_asked` not asked about. The first of
    those that came back are in `back`.
    """

    draws: int
    population: int
    sampled: int
    nothing_left: int
    came_back: int
    lost: int
    waiting: int
    not_asked: int
    seeds: list[str]
    back: list[CameBack]


class ProbeBook:
    """A fold over one ledger; kept up to date by `note`."""

    def __init__(self) -> None:
        self.drawn: list[ProbeDrawn] = []
        self._keys: dict[tuple[str, str], ProbedKey] = {}
        self._of_jid: dict[str, ProbedKey] = {}

    def take(self, group: Group) -> None:
        if not _TELL_OF_PROBES.isdisjoint(group.kinds):
            self.note(group.records)

    def note(self, records: Iterable[Record]) -> None:
        """Take in lines that were committed."""
        for record in records:
            if isinstance(record, ProbeDrawn):
                self.drawn.append(record)
            elif isinstance(record, ProbeKey):
                known = ProbedKey(record.probe, record.key, record.line)
                self._keys[record.probe, record.key] = known
            elif isinstance(record, ProbeAsked):
                self._ask(record)
            elif isinstance(record, ProbeStatus):
                self._hear(record)
            elif isinstance(record, ProbeAnswered) and (known_ := self._of_jid.get(record.jid)):
                known_.answer, known_.files = record.answer, record.files

    def unasked(self, probe: str) -> list[ProbedKey]:
        """Keys of a sample without an export job, in the order of their rows."""
        return [it for it in self._keys.values() if it.probe == probe and not it.jid]

    def due(self, now: float, first_check_at: Callable[[float], float]) -> list[ProbedKey]:
        """Those to ask about: by their `next_check_at`, for want of one by that of a new job."""
        return [
            it
            for it in self._open()
            if (it.due_at if it.due_at is not None else first_check_at(it.asked_at)) <= now
        ]

    def is_of_another(self, jid: str, key: str) -> bool:
        """Is this the export job of another key?"""
        known = self._of_jid.get(jid)
        return known is not None and known.key != key

    @property
    def waiting(self) -> int:
        """How many are asked about and not answered."""
        return len(self._open())

    def ready(self) -> list[ProbedKey]:
        """Those whose result can be had."""
        return [it for it in self._open() if it.is_ready]

    def next_due(self, first_check_at: Callable[[float], float]) -> float:
        """When the first is due; infinity for none."""
        times = (
            it.due_at if it.due_at is not None else first_check_at(it.asked_at)
            for it in self._open()
        )
        return min(times, default=float("inf"))

    def summary(self) -> Probes | None:
        """None for a ledger without a probe."""
        if not self.drawn:
            return None
        last = self._last_words()
        answers = Counter(it.answer for it in last.values())
        waiting = {it.key for it in self._open()}
        back = sorted((it for it in last.values() if it.answer == CAME_BACK), key=_line_of)
        return Probes(
            draws=len(self.drawn),
            population=self.drawn[-1].population,
            sampled=len(last),
            nothing_left=answers[NOTHING_LEFT],
            came_back=answers[CAME_BACK],
            lost=answers[LOST],
            waiting=len(waiting),
            not_asked=sum(not it.jid for it in last.values()),
            seeds=[it.seed for it in self.drawn],
            back=[CameBack(it.line, it.jid, _plain(it.files)) for it in back[:LISTED]],
        )

    def _last_words(self) -> dict[str, ProbedKey]:
        last: dict[str, ProbedKey] = {}
        # What was asked last has the last word once it says something; a lost answer says nothing.
        for it in sorted(self._keys.values(), key=lambda it: it.asked_at):
            known = last.get(it.key)
            if known is None or it.answer in _SAY_SOMETHING or known.answer not in _SAY_SOMETHING:
                last[it.key] = it
        return last

    def _open(self) -> list[ProbedKey]:
        return [it for it in self._keys.values() if it.jid and it.answer is None]

    def _ask(self, asked: ProbeAsked) -> None:
        known = self._keys.setdefault(
            (asked.probe, asked.key), ProbedKey(asked.probe, asked.key, asked.line)
        )
        known.jid, known.asked_at = asked.jid, _seconds(asked.at)
        self._of_jid[asked.jid] = known

    def _hear(self, status: ProbeStatus) -> None:
        known = self._of_jid.get(status.jid)
        if known is None:
            return
        if status.next_check_at is None:  # the job failed, or its result has expired
            known.answer = LOST
            return
        known.due_at, known.is_ready = _seconds(status.next_check_at), status.status == "done"


def attention_of(probes: Probes) -> list[Attention]:
    """What somebody should look at."""
    lines = [it.line for it in probes.back[:EXAMPLES]]
    back = Attention(CAME_BACK, probes.came_back, lines)
    return [it for it in (back, Attention("probe_lost", probes.lost)) if it.count]


def added(several: Sequence[Probes]) -> Probes | None:
    """Of several ledgers together; None if none has a probe."""
    if not several:
        return None
    return Probes(
        draws=sum(it.draws for it in several),
        population=sum(it.population for it in several),
        sampled=sum(it.sampled for it in several),
        nothing_left=sum(it.nothing_left for it in several),
        came_back=sum(it.came_back for it in several),
        lost=sum(it.lost for it in several),
        waiting=sum(it.waiting for it in several),
        not_asked=sum(it.not_asked for it in several),
        seeds=[seed for it in several for seed in it.seeds],
        back=[back for it in several for back in it.back][:LISTED],
    )


def _plain(files: list[ProbeFile]) -> list[dict[str, str | int]]:
    return [{"name": it.name, "size": it.size} for it in files]


def _line_of(known: ProbedKey) -> int:
    return known.line


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0

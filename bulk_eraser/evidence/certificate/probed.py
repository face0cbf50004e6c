"""What the service answered about people who were probed, as of any point of a ledger.

Samples are small, so that all of it is kept in memory.
"""

from dataclasses import dataclass

from bulk_eraser.evidence.certificate.statement import Probed
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.probes import CAME_BACK, NOTHING_LEFT
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import ProbeAnswered, ProbeAsked

__all__ = ["AnsweredProbes", "ProbeAnswer"]

_TELLING = (NOTHING_LEFT, CAME_BACK)
"""Answers that say something of the person; one that is lost does not."""


@dataclass(frozen=True)
class _Question:
    """`number` counts them, `place` is the offset of its group."""

    number: int
    place: int
    at: str


@dataclass(frozen=True)
class ProbeAnswer:
    """What came of one question: `jid` is that of its export job, both times are RFC 3339, UTC."""

    asked_at: str
    answered_at: str
    jid: str
    came_back: bool

    def as_stated(self) -> Probed | None:
        """None if data came back: then there is no statement."""
        if self.came_back:
            return None
        return Probed(
            asked_at=self.asked_at,
            jid=self.jid,
            answered_at=self.answered_at,
            answer="nothing_left",
        )


class AnsweredProbes:
    """A fold."""

    def __init__(self) -> None:
        self._questions: dict[tuple[str, bytes], _Question] = {}
        """By jid of the export job and digest of the key."""
        self._answers: dict[bytes, list[tuple[_Question, int, ProbeAnswer]]] = {}
        """By digest of the key; with the offset of the answer's group."""

    def take(self, group: Group) -> None:
        if ProbeAsked not in group.kinds and ProbeAnswered not in group.kinds:
            return
        for record in group.records:
            if isinstance(record, ProbeAsked):
                asked = _Question(len(self._questions), group.offset, record.at)
                self._questions.setdefault((record.jid, digest_of(record.key)), asked)
            elif isinstance(record, ProbeAnswered) and record.answer in _TELLING:
                digest = digest_of(record.key)
                if question := self._questions.get((record.jid, digest)):
                    came_back = record.answer == CAME_BACK
                    answer = ProbeAnswer(question.at, record.at, record.jid, came_back)
                    self._answers.setdefault(digest, []).append((question, group.offset, answer))

    def last(self, digest: bytes, since: int, before: int) -> ProbeAnswer | None:
        """The answer to the last question about a key that was asked behind the offset `since`, as
        far as they were answered before the offset `before`. None if none was."""
        last, answer = -1, None
        for question, place, its in self._answers.get(digest, ()):
            if question.number >= last and question.place > since and place < before:
                last, answer = question.number, its
        return answer

"""The samples that a ledger says were drawn for probes, and whether their seeds draw them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bulk_eraser.evidence.certificate.erased import ErasedKeys, ReadAt
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Accepted, ProbeAsked, ProbeDrawn, ProbeKey
from bulk_eraser.sending.sample import draw

__all__ = ["Sample", "SampleLines", "is_as_drawn"]

_TELL_OF_SAMPLES = frozenset({ProbeDrawn, ProbeKey, ProbeAsked})
_Person = tuple[str, int]
"""Key, and line of the row."""


@dataclass
class Sample:
    """A `probe_drawn` line: its number, the offset of its group, and the people it is said to have
    drawn."""

    drawn: ProbeDrawn
    number: int
    place: int
    people: list[_Person] = field(default_factory=list)


class SampleLines:
    """A fold: the samples of a ledger, and the numbers of lines about people who are in none
    (`strays`), or that draw one a second time."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}
        self.strays: list[int] = []
        self._people: set[tuple[str, _Person]] = set()

    def take(self, group: Group) -> None:
        if _TELL_OF_SAMPLES.isdisjoint(group.kinds):
            return
        for number, record in enumerate(group.records, group.line):
            if isinstance(record, ProbeDrawn):
                if record.probe in self.samples:
                    self.strays.append(number)
                else:
                    self.samples[record.probe] = Sample(record, number, group.offset)
            elif isinstance(record, ProbeKey):
                person = (record.key, record.line)
                if sample := self.samples.get(record.probe):
                    sample.people.append(person)
                    self._people.add((record.probe, person))
                else:
                    self.strays.append(number)
            elif isinstance(record, ProbeAsked) and (
                (record.probe, (record.key, record.line)) not in self._people
            ):
                self.strays.append(number)


def is_as_drawn(sample: Sample, erased: ErasedKeys, read_at: ReadAt) -> bool:
    """Are these the people whom the seed draws from all who were erased before the sample?"""
    drawn, population = sample.drawn, 0

    def everybody() -> Iterator[Accepted]:
        nonlocal population
        for accepted in erased.jobs(read_at, sample.place):
            population += 1
            yield accepted

    again = draw(drawn.seed, len(sample.people), everybody())
    people = sorted((accepted.key, accepted.line) for accepted in again)
    return people == sorted(sample.people) and (drawn.size, drawn.population) == (
        len(people),
        population,
    )

"""Who is erased, by the lines of a ledger up to some point, and a statement for each, in order.

Of each line about a key a few bytes are remembered, so memory does not grow with their number.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import lru_cache, partial
from itertools import tee

from bulk_eraser.errors import LedgerDamaged, no_temporary_room
from bulk_eraser.evidence.certificate.probed import AnsweredProbes
from bulk_eraser.evidence.certificate.statement import Probed, Statement, leaf_of, random_of
from bulk_eraser.key_partitions import PARTITIONS, KeyPartitions, digest_of
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.jobs import accepted_lines
from bulk_eraser.ledger.key_state import (
    ABOUT_KEYS,
    NEVER_NAMED,
    KeyState,
    LastState,
    event_of,
    jid_number,
    state_after,
)
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.ledger.replay import Group
from bulk_eraser.records import Accepted, Record, time_text

__all__ = ["ErasedKeys", "ReadAt"]

ReadAt = Callable[[int, int], bytes]
"""Returns up to so many bytes of the ledger from an offset on."""

_SENT, _ACCEPTED, _ERASED = int(KeyState.SENT), int(KeyState.IN_PROGRESS), int(KeyState.ERASED)
_Event = tuple[bytes, int, int, int, int]
"""Digest of the key, event, number of the jid, place of the line (only of `accepted` its own, else
that of its group), time in milliseconds since 1970."""
_Row = tuple[int, int, int]
"""Place of the `accepted` line; when it was sent and when it was heard to be done, as above."""
_Erased = tuple[bytes, int, int, int]
"""The same behind the digest of the key."""
_Told = tuple[LastState, int, int, int, int]
"""What the lines of a key say: its state, those three, and when it was last sent."""
_NOTHING: _Told = (NEVER_NAMED, 0, 0, 0, 0)


class ErasedKeys:
    """A fold. Close it when done.

    Raises `TemporaryFolderFull` when the temporary folder is full, `LedgerDamaged` for a line whose
    time is none.
    """

    def __init__(self) -> None:
        self.facts = LedgerFacts()
        self.probes = AnsweredProbes()
        self._events = KeyPartitions("BQQQ")
        self._bytes = 0

    def take(self, group: Group) -> None:
        self.facts.take(group)
        self.probes.take(group)
        self._bytes = group.offset + len(group.lines)
        if ABOUT_KEYS.isdisjoint(group.kinds):
            return
        at, place, events = _milliseconds(group.records[0]), group.offset, list[_Event]()
        with_places = Accepted in group.kinds
        lines = group.lines.split(b"\n") if with_places else ()
        for number, record in enumerate(group.records):
            if (event := event_of(record)) is not None:
                jid = jid_number(getattr(record, "jid", ""))
                events.append((digest_of(record.key), event, jid, place, at))  # type: ignore[attr-defined] # it has an event, so a key
            if with_places:
                place += len(lines[number]) + 1
        try:
            self._events.extend(events)
        except OSError as error:
            raise no_temporary_room(error) from None

    def state_of(self, digest: bytes) -> tuple[KeyState, int]:
        """What became of one key, and the place of the `accepted` line if it is erased."""
        told = _NOTHING
        for event in self._events_of(digest):
            told = _told_after(told, event)
        (state, *_), place, *_ = told
        return state, place if state is KeyState.ERASED else -1

    def has_others_job(self, digest: bytes) -> bool:
        """Was a jid of this key given to another key as well? Then one of them may have no job."""
        jids = {jid for _, event, jid, *_ in self._events_of(digest) if event == _ACCEPTED}
        return any(
            jid in jids and event == _ACCEPTED and other != digest
            for partition in range(PARTITIONS)
            for other, event, jid, _, _ in self._events.read(partition)
        )

    def jobs(self, read_at: ReadAt, before: int) -> Iterator[Accepted]:
        """The `accepted` lines of all keys that are erased by the lines before the offset `before`,
        in their order.

        Raises `TemporaryFolderFull`.
        """
        for _, accepted in self._in_order(read_at, partial(self._erased, before=before)):
            yield accepted

    def leaves(
        self, read_at: ReadAt, secret: bytes, before: int, *, with_probes: bool = True
    ) -> Iterator[tuple[int, bytes]]:
        """A leaf for each of them, with the place of its `accepted` line.

        With probes, what was answered by then is in the leaf, and whoever came back has none.
        """
        target, keys = self.facts.target or "", self.facts.keys_kind or RAW
        probed: dict[int, Probed] = {}

        def stated(partition: int) -> Iterator[_Erased]:
            for erased in self._erased(partition, before):
                if with_probes and (last := self.probes.last(erased[0], erased[1], before)):
                    if (probe := last.as_stated()) is None:
                        continue
                    probed[erased[1]] = probe
                yield erased

        for index, (row, accepted) in enumerate(self._in_order(read_at, stated)):
            place, sent_at, done_at = row
            statement = Statement(
                statement="erased",
                key=accepted.key,
                keys=keys,
                line=accepted.line,
                target=target,
                received=accepted.received,
                reference=accepted.reference,
                sent_at=_as_text(sent_at),
                accepted_at=accepted.at,
                jid=accepted.jid,
                done_at=_as_text(done_at),
                probe=probed.get(place),
                random=random_of(secret, index),
            )
            yield place, leaf_of(statement)

    def close(self) -> None:
        self._events.close()

    def _events_of(self, digest: bytes) -> list[_Event]:
        return [event for event in self._events.read(digest[0]) if event[0] == digest]

    def _erased(self, partition: int, before: int) -> Iterator[_Erased]:
        told: dict[bytes, _Told] = {}
        for event in self._events.read(partition):
            if event[3] < before:
                told[event[0]] = _told_after(told.get(event[0], _NOTHING), event)
        for digest, ((state, *_), place, sent_at, done_at, _) in told.items():
            if state is KeyState.ERASED:
                yield digest, place, sent_at, done_at

    def _in_order(
        self, read_at: ReadAt, erased_in: Callable[[int], Iterable[_Erased]]
    ) -> Iterator[tuple[_Row, Accepted]]:
        """What `erased_in` gives of all partitions, in the order of the `accepted` lines."""
        with closing(_InOrder(self._bytes)) as in_order:
            for partition in range(PARTITIONS):
                in_order.extend(erased_in(partition))
            rows, again = tee(in_order)
            lines = accepted_lines(read_at, (place for place, _, _ in again))
            yield from zip(rows, lines, strict=True)


class _InOrder:
    """What is erased, sorted by place; a place stands for the digest of `KeyPartitions`, so that
    each partition holds one stretch of the ledger."""

    def __init__(self, size: int) -> None:
        self._stretch = size // PARTITIONS + 1
        self._rows = KeyPartitions("QQ")

    def extend(self, erased: Iterable[_Erased]) -> None:
        stretch = self._stretch
        try:
            self._rows.extend(
                [
                    (bytes([place // stretch]) + place.to_bytes(8), sent_at, done_at)
                    for _, place, sent_at, done_at in erased
                ]
            )
        except OSError as error:
            raise no_temporary_room(error) from None

    def __iter__(self) -> Iterator[_Row]:
        for partition in range(PARTITIONS):
            for order, sent_at, done_at in sorted(self._rows.read(partition)):
                yield int.from_bytes(order[1:9]), sent_at, done_at

    def close(self) -> None:
        self._rows.close()


def _told_after(told: _Told, line: _Event) -> _Told:
    """What a key's lines say after one more."""
    before, place, sent_at, done_at, last_sent = told
    _, event, jid, at_place, at = line
    now = state_after(before, event, jid)
    if event == _SENT:
        return now, place, sent_at, done_at, at
    if event == _ACCEPTED:
        return now, at_place, last_sent, 0, last_sent
    if event == _ERASED and before[0] is not KeyState.ERASED:
        return now, place, sent_at, at, last_sent
    return now, place, sent_at, done_at, last_sent


def _milliseconds(record: Record) -> int:
    """The time of a group, which its lines share."""
    try:
        return round(datetime.fromisoformat(record.at).timestamp() * 1000)
    except ValueError:
        raise LedgerDamaged("The ledger holds a line whose time is none.") from None


@lru_cache(1 << 10)
def _as_text(milliseconds: int) -> str:
    return time_text(milliseconds / 1000)

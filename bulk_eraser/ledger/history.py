"""Replay: what earlier runs left behind for every key, so that no accepted key is sent again.

| last line of a key in the ledger | standing | sent by the next run |
| --- | --- | --- |
| none | NEW | yes |
| `sent` | SENT | yes: it may or may not have arrived |
| `unknown` | UNKNOWN | yes |
| `failed`, not `permanent` | FAILED | yes |
| `failed`, `permanent` | REFUSED | only with --retry-failed |
| `excluded` | HELD | yes, when it is no longer on the hold list |
| `accepted` | ACCEPTED | no |
| `accepted`, then `job_status` `error` or `not_found` for its jid | JOB_LOST | only with --retry-failed |

`excluded` says only that nothing was sent, so it never overrides ACCEPTED, REFUSED or JOB_LOST.
A `job_status` counts for the key's last jid alone: earlier jids are superseded, and a later, better
status of the same jid takes JOB_LOST back.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

import msgspec

from bulk_eraser.errors import LedgerDamaged, no_temporary_room
from bulk_eraser.key_partitions import KeyPartitions, digest_of
from bulk_eraser.records import InputFacts

__all__ = [
    "History",
    "KeyStanding",
    "ReplayLine",
    "decode_group",
    "event_code",
    "jid_number",
    "standing_after",
]


class KeyStanding(IntEnum):
    """What the ledger says of a key when a run begins."""

    NEW = 0
    SENT = 1
    UNKNOWN = 2
    FAILED = 3
    REFUSED = 4
    HELD = 5
    ACCEPTED = 6
    JOB_LOST = 7


class ReplayLine(msgspec.Struct):
    """The fields that replay looks at, whatever the line's type."""

    type: str
    key: str = ""
    line: int = 0
    permanent: bool = False
    jid: str = ""
    status: str | None = None
    target: str = ""
    base: str | None = None
    keys: str = ""
    pepper_check: str | None = None
    exclude_sha256: str | None = None
    input: InputFacts | None = None


_T = TypeVar("_T", bound=ReplayLine)
_decoder = msgspec.json.Decoder(ReplayLine)
_JOB_ALIVE = 255
"""The event of a `job_status` line whose word is neither `error` nor `not_found`."""

_STANDING_OF = {
    "sent": KeyStanding.SENT,
    "unknown": KeyStanding.UNKNOWN,
    "excluded": KeyStanding.HELD,
    "accepted": KeyStanding.ACCEPTED,
}
_KNOWN_TYPES = (*_STANDING_OF, "failed", "rejected", "duplicate", "run_started", "job_status")
_STANDINGS = tuple(KeyStanding)
_WHATEVER_WAS_BEFORE = frozenset(
    {
        KeyStanding.SENT,
        KeyStanding.UNKNOWN,
        KeyStanding.FAILED,
        KeyStanding.REFUSED,
        KeyStanding.ACCEPTED,
    }
)
"""The events that alone decide a key's standing."""
_JUST_SENT = 1 << 14
"""Keys whose `sent` is held back, for its outcome mostly follows and takes its place."""
_KEPT_WHEN_EXCLUDED = {KeyStanding.ACCEPTED, KeyStanding.REFUSED, KeyStanding.JOB_LOST}


class History:
    """What a ledger's proven lines say; filled by `replay`.

    `target`, `base`, `keys_kind` and `pepper_check` are those of the first run (None for a new
    ledger; `base` also where no --base-url was given), `held` tells whether any run had a hold
    list, `last_input` what the last one read.
    """

    def __init__(self) -> None:
        self.target: str | None = None
        self.base: str | None = None
        self.keys_kind: str | None = None
        self.pepper_check: str | None = None
        self.held = False
        self.last_input: InputFacts | None = None
        self._recorded: dict[tuple[object, ...], int] = {}
        self._events = KeyPartitions("BQ")
        self._just_sent: dict[str, None] = {}

    def recorded_until(self, facts: InputFacts) -> int:
        """Up to which line `rejected` and `duplicate` rows of this input are in the ledger."""
        return self._recorded.get(facts.identity(), 0)

    def replay(self, groups: Iterable[bytes]) -> None:
        """Take in proven groups of lines, oldest first. Unknown types and fields are ignored."""
        just_sent = self._just_sent
        for lines in groups:
            for entry in decode_group(lines, _decoder):
                if entry.type == "sent" and entry.key:
                    just_sent[entry.key] = None
                elif (code := event_code(entry)) is not None:
                    self._remember(entry.key, code, entry.jid)
                elif entry.type in ("rejected", "duplicate") and self.last_input is not None:
                    identity = self.last_input.identity()
                    self._recorded[identity] = max(self._recorded.get(identity, 0), entry.line)
                elif entry.type == "run_started":
                    self._begin_run(entry)
            if len(just_sent) > _JUST_SENT:
                self._remember_sent()
        self._remember_sent()

    def _remember(self, key: str, code: int, jid: str) -> None:
        """Take in an event. A `sent` just before, half of a ledger's lines, may be left out."""
        if key in self._just_sent:
            del self._just_sent[key]
            if code not in _WHATEVER_WAS_BEFORE:
                self._add(key, KeyStanding.SENT, 0)
        self._add(key, code, jid_number(jid))

    def _remember_sent(self) -> None:
        for key in self._just_sent:
            self._add(key, KeyStanding.SENT, 0)
        self._just_sent.clear()

    def _add(self, key: str, code: int, jid: int) -> None:
        try:
            self._events.add(digest_of(key), code, jid)
        except OSError as error:
            raise no_temporary_room(error) from None

    def standings(self, partition: int) -> dict[bytes, KeyStanding]:
        """Digest → standing for every key of one partition that the ledger names."""
        last: dict[bytes, tuple[KeyStanding, int]] = {}
        for digest, code, jid in self._events.read(partition):
            if code in _WHATEVER_WAS_BEFORE:
                last[digest] = _STANDINGS[code], jid
            else:
                last[digest] = standing_after(last.get(digest), code, jid)
        return {digest: standing for digest, (standing, _) in last.items()}

    def close(self) -> None:
        self._events.close()

    def _begin_run(self, entry: ReplayLine) -> None:
        if self.target is None:
            self.target, self.base = entry.target, entry.base
            self.keys_kind, self.pepper_check = entry.keys, entry.pepper_check
        if entry.input is not None:
            self.last_input = entry.input
            self.held = self.held or entry.exclude_sha256 is not None


def standing_after(
    before: tuple[KeyStanding, int] | None, code: int, jid: int
) -> tuple[KeyStanding, int]:
    """The standing of a key after one more line; `jid` is the number of the line's jid."""
    now = before or (KeyStanding.NEW, 0)
    if code == _JOB_ALIVE:
        return (KeyStanding.ACCEPTED, jid) if now == (KeyStanding.JOB_LOST, jid) else now
    if code == KeyStanding.JOB_LOST and now != (KeyStanding.ACCEPTED, jid):
        return now
    if code == KeyStanding.HELD and now[0] in _KEPT_WHEN_EXCLUDED:
        return now
    return _STANDINGS[code], jid


def decode_group(lines: bytes, decoder: "msgspec.json.Decoder[_T]") -> list[_T]:
    """A group's lines, one entry each; of a type that a later version introduced, the name alone.

    Raises `LedgerDamaged` for a proven line of a known type that does not hold what it must.
    """
    try:
        return decoder.decode_lines(lines)
    except ValueError:
        return [_decode_line(line, decoder) for line in lines.split(b"\n")[:-1]]


def _decode_line(line: bytes, decoder: "msgspec.json.Decoder[_T]") -> _T:
    try:
        return decoder.decode(line)
    except ValueError:
        if any(line.startswith(b'{"type":"%b"' % word.encode()) for word in _KNOWN_TYPES):
            raise LedgerDamaged(
                "The ledger holds a line that this version cannot read. Nothing was written. "
                "Use the version of bulk-eraser that wrote it, or a newer one."
            ) from None
        return decoder.decode(b'{"type":"?"}')


def event_code(entry: ReplayLine) -> int | None:
    """What the line says of its key; None if it says nothing of one."""
    if not entry.key:
        return None
    if entry.type == "failed":
        return KeyStanding.REFUSED if entry.permanent else KeyStanding.FAILED
    if entry.type == "job_status":
        return KeyStanding.JOB_LOST if entry.status in ("error", "not_found") else _JOB_ALIVE
    return _STANDING_OF.get(entry.type)


def jid_number(jid: str) -> int:
    """64 bits that stand for a jid; 0 for none. Compared only within one key and one process."""
    return hash(jid) & 0xFFFF_FFFF_FFFF_FFFF if jid else 0

"""What became of a customer key: the one state that a ledger's lines leave it in.

| last line of a key in the ledger | state | sent by the next run |
| --- | --- | --- |
| none, or `sent` taken back by `unsent` | NOT_SENT (or what it was before) | yes |
| `sent` | SENT | yes: it may or may not have arrived |
| `unknown` | UNKNOWN | yes |
| `failed`, not `permanent` | FAILED | yes |
| `failed`, `permanent` | REFUSED | only with --retry-failed |
| `excluded` | EXCLUDED | yes, when it is no longer on the hold list |
| `accepted` | IN_PROGRESS | no |
| ... then `job_status` `done` for its jid | ERASED | no |
| ... then `job_status` `error` or `not_found` | JOB_FAILED | only with --retry-failed |
| ... then `downloaded`, in the ledger of an export | EXPORTED | no |
| ... or `export_status` `error` or `not_found`, or `lost` | JOB_FAILED | only with --retry-failed |

`excluded` says only that nothing was sent in that run, so it overrides no state in which a request
may have arrived, nor REFUSED. A `job_status` counts for the key's last jid alone: earlier jids are
superseded, and a later status of the same jid counts, whatever the one before it was. So it is
with the lines about export jobs, none of which can make a key ERASED.
"""

from enum import Enum, IntEnum, auto

from bulk_eraser.records import (
    Accepted,
    Downloaded,
    Excluded,
    ExportStatus,
    Failed,
    JobStatus,
    Lost,
    Record,
    Sent,
    Unknown,
    Unsent,
)

__all__ = [
    "ABOUT_KEYS",
    "JOB_PENDING",
    "MOST_JUST_SENT",
    "NEVER_NAMED",
    "OUTCOMES",
    "UNSENT",
    "KeyState",
    "LastState",
    "Resend",
    "event_of",
    "jid_number",
    "state_after",
]


class Resend(Enum):
    """Is a key in this state sent by the next run?"""

    YES = auto()
    ON_REQUEST = auto()
    """With --retry-failed."""
    NO = auto()


class KeyState(IntEnum):
    """See the table above. A new state is one line here.

    `counted_as` is its word in `counts` of `run --json`, `word` that in `states` of `verify`;
    `may_have_arrived` tells whether a request may have reached the service.
    """

    counted_as: str
    word: str
    resend: Resend
    may_have_arrived: bool

    NOT_SENT = 0, "not_reached", "not_reached", Resend.YES, False
    SENT = 1, "not_reached", "sent", Resend.YES, True
    UNKNOWN = 2, "unknown", "unknown", Resend.YES, True
    FAILED = 3, "failed", "failed", Resend.YES, True  # an attempt before the last may have arrived
    REFUSED = 4, "failed", "refused", Resend.ON_REQUEST, False
    EXCLUDED = 5, "not_reached", "excluded", Resend.YES, False
    IN_PROGRESS = 6, "already_settled", "in_progress", Resend.NO, True
    ERASED = 7, "already_settled", "erased", Resend.NO, True
    JOB_FAILED = 8, "job_failed", "job_failed", Resend.ON_REQUEST, True
    EXPORTED = 9, "already_settled", "exported", Resend.NO, True

    def __new__(
        cls, number: int, counted_as: str, word: str, resend: Resend, may_have_arrived: bool
    ) -> "KeyState":
        state = int.__new__(cls, number)
        state._value_ = number
        state.counted_as, state.word = counted_as, word
        state.resend, state.may_have_arrived = resend, may_have_arrived
        return state

    @property
    def was_sent(self) -> bool:
        """Is there a `sent` line of the key that was not taken back?"""
        return self is not _NOT_SENT and self is not _EXCLUDED

    @property
    def has_job(self) -> bool:
        """Did the service create a job for the key, and is it the key's last?"""
        return self >= _IN_PROGRESS


UNSENT = 254
"""The event of an `unsent` line."""
JOB_PENDING = 255
"""The event of a `job_status` or `export_status` line that leaves the job unfinished."""

OUTCOMES = frozenset({KeyState.UNKNOWN, KeyState.FAILED, KeyState.REFUSED, KeyState.IN_PROGRESS})
"""The events that set a key's state, whatever it was before."""
MOST_JUST_SENT = 1 << 14
"""Keys whose `sent` is held back, for its outcome mostly follows and takes its place."""

_STATE_OF_JOB = {
    "done": KeyState.ERASED,
    "error": KeyState.JOB_FAILED,
    "not_found": KeyState.JOB_FAILED,
}
_STATE_OF_EXPORT = _STATE_OF_JOB | {"done": JOB_PENDING}  # only its download settles it
_EVENT_OF_LINE: dict[type[Record], int] = {
    Sent: KeyState.SENT,
    Unsent: UNSENT,
    Unknown: KeyState.UNKNOWN,
    Excluded: KeyState.EXCLUDED,
    Accepted: KeyState.IN_PROGRESS,
    Downloaded: KeyState.EXPORTED,
    Lost: KeyState.JOB_FAILED,
}
ABOUT_KEYS = frozenset({*_EVENT_OF_LINE, Failed, JobStatus, ExportStatus})
"""The types of lines that say something of a key's state: those that have an event."""
_STATES = tuple(KeyState)
"""By number: a look-up here takes a fifth of what `KeyState(number)` does."""
# Until Python 3.12 a member takes 0.1 us to be had from its class, a tenth of what a line takes.
_NOT_SENT, _SENT, _EXCLUDED = KeyState.NOT_SENT, KeyState.SENT, KeyState.EXCLUDED
_IN_PROGRESS, _ERASED = KeyState.IN_PROGRESS, KeyState.ERASED


def event_of(record: Record) -> int | None:
    """The number of what a line says of its key: that of a state, `UNSENT` or `JOB_PENDING`.

    None for a line that says nothing of a key's state.
    """
    kind = type(record)
    if kind is JobStatus:
        return _STATE_OF_JOB.get(record.status, JOB_PENDING)  # type: ignore[attr-defined] # its kind was looked at
    if kind is ExportStatus:
        return _STATE_OF_EXPORT.get(record.status, JOB_PENDING)  # type: ignore[attr-defined] # as above
    if kind is Failed:
        return KeyState.REFUSED if record.permanent else KeyState.FAILED  # type: ignore[attr-defined] # as above
    return _EVENT_OF_LINE.get(kind)


LastState = tuple[KeyState, int, tuple[KeyState, int], int]
"""A key's state and the number of its jid (0: none); then both before the `sent` lines that are its
last ones, and how many these are."""

NEVER_NAMED: LastState = (KeyState.NOT_SENT, 0, (KeyState.NOT_SENT, 0), 0)


def state_after(now: LastState, event: int, jid: int) -> LastState:
    """The state of a key after one more line.

    `event` is as `event_of` gives it, `jid` the number of the line's jid.
    """
    state, last_jid, before, sent = now
    if event == UNSENT:  # it takes back the `sent` that was the last line about the key
        if state is not _SENT:
            return now
        return (state, 0, before, sent - 1) if sent > 1 else (*before, *NEVER_NAMED[2:])
    if event == _SENT:
        if state is _SENT:
            return state, 0, before, sent + 1
        # Of a key that was on hold: the hold was lifted, whatever follows.
        was = NEVER_NAMED[:2] if state is _EXCLUDED else (state, last_jid)
        return _SENT, 0, was, 1
    if event >= _ERASED:  # about a job: only if it is the key's last
        if not state.has_job or last_jid != jid:
            return now
        return _IN_PROGRESS if event == JOB_PENDING else _STATES[event], jid, before, sent
    if event == _EXCLUDED and (state.may_have_arrived or state is KeyState.REFUSED):
        return now
    return _STATES[event], jid, before, 0


def jid_number(jid: str) -> int:
    """64 bits that stand for a jid; 0 for none. Compared only within one key and one process."""
    return hash(jid) & 0xFFFF_FFFF_FFFF_FFFF if jid else 0

"""What became of a customer key: the one state that a ledger's lines leave it in.

| last line of a key in the ledger | state | sent by the next run |
| --- | --- | --- |
| none | NOT_SENT | yes |
| `sent` | SENT | yes: it may or may not have arrived |
| `unknown` | UNKNOWN | yes |
| `failed`, not `permanent` | FAILED | yes |
| `failed`, `permanent` | REFUSED | only with --retry-failed |
| `excluded` | EXCLUDED | yes, when it is no longer on the hold list |
| `accepted` | ACCEPTED | no |
| ... then `job_status` `done` for its jid | ERASED | no |
| ... then `job_status` `error` or `not_found` | JOB_FAILED | only with --retry-failed |

`excluded` says only that nothing was sent, so it never overrides REFUSED or a job. A `job_status`
counts for the key's last jid alone: earlier jids are superseded, and a later status of the same
jid counts, whatever the one before it was.
"""

from enum import Enum, IntEnum, auto

from bulk_eraser.records import Accepted, Excluded, Failed, JobStatus, Record, Sent, Unknown

__all__ = [
    "JOB_PENDING",
    "KeyState",
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

    NOT_SENT = 0, "not_reached", "missing", Resend.YES, False
    SENT = 1, "not_reached", "sent", Resend.YES, True
    UNKNOWN = 2, "unknown", "unknown", Resend.YES, True
    FAILED = 3, "failed", "failed", Resend.YES, True  # an attempt before the last may have arrived
    REFUSED = 4, "failed", "failed", Resend.ON_REQUEST, False
    EXCLUDED = 5, "not_reached", "excluded", Resend.YES, False
    ACCEPTED = 6, "already_settled", "accepted", Resend.NO, True
    ERASED = 7, "already_settled", "accepted", Resend.NO, True
    JOB_FAILED = 8, "already_settled", "job_lost", Resend.ON_REQUEST, True

    def __new__(
        cls, number: int, counted_as: str, word: str, resend: Resend, may_have_arrived: bool
    ) -> "KeyState":
        state = int.__new__(cls, number)
        state._value_ = number
        state.counted_as, state.word = counted_as, word
        state.resend, state.may_have_arrived = resend, may_have_arrived
        return state

    @property
    def has_job(self) -> bool:
        """Did the service create a removal job for the key, and is it the key's last?"""
        return self >= KeyState.ACCEPTED


JOB_PENDING = 255
"""The event of a `job_status` line whose word is neither `done` nor `error` nor `not_found`."""

_STATE_OF_JOB = {
    "done": KeyState.ERASED,
    "error": KeyState.JOB_FAILED,
    "not_found": KeyState.JOB_FAILED,
}
_STATE_OF_LINE: dict[type[Record], KeyState] = {
    Sent: KeyState.SENT,
    Unknown: KeyState.UNKNOWN,
    Excluded: KeyState.EXCLUDED,
    Accepted: KeyState.ACCEPTED,
}
_STATES = tuple(KeyState)
"""By number: a look-up here takes a fifth of what `KeyState(number)` does."""


def event_of(record: Record) -> int | None:
    """The number of what a line says of its key: that of a state, or `JOB_PENDING`.

    None for a line that says nothing of a key's state.
    """
    kind = type(record)
    if kind is JobStatus:
        return _STATE_OF_JOB.get(record.status, JOB_PENDING)  # type: ignore[attr-defined] # its kind was looked at
    if kind is Failed:
        return KeyState.REFUSED if record.permanent else KeyState.FAILED  # type: ignore[attr-defined] # as above
    return _STATE_OF_LINE.get(kind)


def state_after(before: tuple[KeyState, int] | None, event: int, jid: int) -> tuple[KeyState, int]:
    """The state of a key, and the number of its jid, after one more line.

    `event` is as `event_of` gives it, `jid` the number of the line's jid (0: it has none).
    """
    now = before or (KeyState.NOT_SENT, 0)
    if event >= KeyState.ERASED:  # a `job_status` line: only about the job that is the key's last
        if now[0].has_job and now[1] == jid:
            return (KeyState.ACCEPTED if event == JOB_PENDING else _STATES[event]), jid
        return now
    if event == KeyState.EXCLUDED and (now[0].has_job or now[0] is KeyState.REFUSED):
        return now
    return _STATES[event], jid


def jid_number(jid: str) -> int:
    """64 bits that stand for a jid; 0 for none. Compared only within one key and one process."""
    return hash(jid) & 0xFFFF_FFFF_FFFF_FFFF if jid else 0

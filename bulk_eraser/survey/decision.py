"""What is done with a row, and why: an action, and the state that the ledger has for its key."""

from enum import IntEnum
from typing import NamedTuple

from bulk_eraser.ledger.key_state import KeyState, Resend

__all__ = ["DECISIONS", "Action", "Decision", "decide"]


class Action(IntEnum):
    """What is done with a row. All but SEND leave it where it is."""

    SEND = 0
    KEEP = 1
    """Its key needs no request (any more), or none without --retry-failed."""
    REJECT = 2
    DUPLICATE = 3
    EXCLUDE = 4
    AWAIT = 5
    """It is to be sent once its export is downloaded."""
    ELSEWHERE = 6
    """Its key is of another shard."""
    REJECT_ELSEWHERE = 7
    """It has no key, and another shard has such rows."""


_SEND = Action.SEND  # as for `_SENT` in `ledger/key_state`
_WORD_OF = {
    Action.REJECT: "rejected",
    Action.DUPLICATE: "duplicate",
    Action.EXCLUDE: "excluded",
    Action.AWAIT: "not_exported",
    Action.ELSEWHERE: "missing_shard",
    Action.REJECT_ELSEWHERE: "missing_shard",
}


class Decision(NamedTuple):
    """A row's action, and its key's state when the run began (NOT_SENT where there is no key)."""

    action: Action
    state: KeyState

    @property
    def is_sent(self) -> bool:
        return self.action is _SEND

    @property
    def is_elsewhere(self) -> bool:
        """Does another shard count the row?"""
        return self.action in (Action.ELSEWHERE, Action.REJECT_ELSEWHERE)

    @property
    def is_reject(self) -> bool:
        """Is it a row without a usable key, in whichever shard?"""
        return self.action in (Action.REJECT, Action.REJECT_ELSEWHERE)

    @property
    def is_held_too_late(self) -> bool:
        """Is the key on hold, although an earlier run may have sent it?"""
        return self.action is Action.EXCLUDE and self.state.may_have_arrived

    @property
    def counted_as(self) -> str:
        """The word of `counts` under which the row stands until this run has done more."""
        return _WORD_OF.get(self.action) or self.state.counted_as

    @property
    def word(self) -> str:
        """What `verify` calls it: what became of the row, after all runs."""
        return _WORD_OF.get(self.action) or self.state.word

    @property
    def code(self) -> int:
        """Its place in `DECISIONS`; fits into a byte."""
        return self.action * len(KeyState) + self.state


DECISIONS = tuple(Decision(action, state) for action in Action for state in KeyState)


def decide(state: KeyState, *, retry_failed: bool) -> Decision:
    """For the first row of a key that is not on hold."""
    again = state.resend is Resend.YES or (retry_failed and state.resend is Resend.ON_REQUEST)
    return Decision(Action.SEND if again else Action.KEEP, state)

"""What a pool is given: calls on their way, and the work that says what to do with them.

`creation`, `asking` and `downloading` are such works: jobs, questions for their status, results.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from bulk_eraser.elevate.verdict import Answer, NetworkFault, Verdict
from bulk_eraser.errors import BulkEraserError

__all__ = ["Call", "Work"]


class Call(msgspec.Struct):
    """One call on its way: about a customer key, or a jid. Its ledger lines begin with `fields`.

    `announced` counts the attempts of which the ledger knows or will know; `attempt` those that
    left, one fewer while the last one waits for its turn; `counted` those that are held against the
    key. `successes` is how many good answers the pool had seen at the last failure; `maybe_done` if
    an attempt may have been carried out, in this run or, if it `was_unknown`, in an earlier one.
    `anew`: the next attempt is to take a new connection. `has_left`: the first byte of the last one
    was written; before, it only connects. `ever_left`: that of any one.
    `throttled`: a limiter refused the last one; `spared` counts such ones that are not held against
    the key.
    """

    key: str
    fields: dict[str, Any]
    announced: int = 0
    attempt: int = 0
    was_unknown: bool = False
    counted: int = 0
    successes: int = 0
    maybe_done: bool = False
    anew: bool = False
    has_left: bool = False
    ever_left: bool = False
    began: float = 0.0
    detail: str | None = None
    throttled: bool = False
    spared: int = 0

    def leaves(self) -> None:
        """The first byte of this attempt is about to leave."""
        self.has_left = self.ever_left = True


class Work(Protocol):
    """What a pool does. `stopped_by` is why the run ends early, None while it does not."""

    async def next_calls(self, most: int) -> list[Call]:
        """The next ones in order, `most` of them or fewer; none at the end."""

    async def announce(self, calls: Sequence[Call]) -> None:
        """Return once the ledger knows of one more attempt of each, which is about to leave."""

    async def call(self, call: Call) -> Answer | NetworkFault:
        """Make one attempt."""

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        """What came of it."""

    async def ask(self) -> Verdict | None:
        """Ask the service something that it answers well if it is up, whatever it says of the calls
        that fail; None if there is nothing to ask."""

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        """No further attempt is made: record the outcome, or leave it where the run was stopped."""

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        """The run ends while this call is on its way: record what must be known of it, also that
        an attempt was announced and did not leave."""

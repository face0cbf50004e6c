"""`bulk-eraser seal`: one small file that binds several ledgers, such as those of shards."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from bulk_eraser.cli.options.bundles import Bundle, argument, command
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import Attention, ExitCode, Result
from bulk_eraser.evidence.seal import SealFile
from bulk_eraser.evidence.seal import seal as seal_ledgers
from bulk_eraser.shard import Shard, shards_in_words
from bulk_eraser.wording import STATE_MEANINGS, counted, printable

__all__ = ["SealResult", "seal"]


@dataclass
class SealResult(Result):
    """What was sealed; `head` is the digest over the seal, `states` counts keys as `verify` does
    without an input, `inputs` has each input of the ledgers once."""

    seal: str | None = None
    head: str | None = None
    ledgers: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    missing_shards: list[dict[str, int]] = field(default_factory=list)
    accepted_twice: int = 0
    states: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SealOptions(Bundle):
    """What `seal` has and no other command."""

    heading = "What is sealed"

    out: str = argument("OUT", "The seal; an older one there is replaced, nothing else.")
    ledger: tuple[str, ...] = argument("LEDGER", "The ledgers to seal.", several=True)


@command(
    (
        "Bind the ledgers of all shards",
        "bulk-eraser seal customers.seal.ndjson customers.*of4.ledger.ndjson",
    ),
    (
        "Is every row accounted for in them?",
        "bulk-eraser verify customers.seal.ndjson --input customers.csv",
    ),
)
def seal(given: SealOptions, told: OutputOptions) -> int:
    """Verify several ledgers, and write their heads and counts into one small file, OUT.

    `verify`, `status`, `report` and `follow` take OUT in the place of its ledgers, which stay where
    they are. Ends with 3 if shards are missing, inputs differ, or a key was accepted twice. Sends
    nothing, needs no API key.
    """
    output, result = told.output(), SealResult()

    def work() -> SealResult:
        return _note(result, given.out, seal_ledgers(given.out, given.ledger))

    return conclude(output, result, work, _tell)


def _note(result: SealResult, path: str, sealed: SealFile) -> SealResult:
    about = sealed.seal
    result.seal, result.head = path, sealed.head
    result.ledgers = [msgspec.to_builtins(it) for it in sealed.ledgers]
    result.inputs = [msgspec.to_builtins(it) for it in about.inputs]
    result.missing_shards = [msgspec.to_builtins(it) for it in about.missing]
    result.accepted_twice, result.states = about.accepted_twice, about.states
    if about.accepted_twice:
        result.attention.append(Attention("key_with_several_jids", about.accepted_twice))
    if about.missing or len(about.inputs) > 1 or about.accepted_twice:
        result.outcome, result.exit_code = "incomplete", ExitCode.SOME_ROWS
    return result


def _tell(output: Output, result: SealResult) -> None:
    for ledger in result.ledgers:
        shard = ledger["shard"]
        which = f"shard {shard['index']} of {shard['of']}, " if shard else ""
        lines = counted(ledger["lines"], "line")
        output.result(f"{printable(ledger['ledger'])}: {which}{lines}, head {ledger['head']}")
    for state, count in result.states.items():
        if count:
            output.result(f"{count:>6,}  {STATE_MEANINGS[state]}")
    ledgers = counted(len(result.ledgers), "ledger")
    output.say(f"Seal {printable(result.seal or '')}: {ledgers}, head {result.head}")
    if result.exit_code == ExitCode.COMPLETE:
        output.always(f"Sealed: {ledgers}, all intact.")
    else:
        output.always(f"Sealed, but not whole: {'; '.join(_what_is_open(result))}.")


def _what_is_open(result: SealResult) -> list[str]:
    found = []
    if missing := [msgspec.convert(it, Shard) for it in result.missing_shards]:
        found.append(f"no ledger of {shards_in_words(missing)}")
    if len(result.inputs) > 1:
        found.append(f"the ledgers are of {len(result.inputs)} different inputs")
    if result.accepted_twice:
        found.append(f"{counted(result.accepted_twice, 'key')} accepted in two ledgers")
    return found

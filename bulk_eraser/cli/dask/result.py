"""What several shards come to together: counts added up, one exit code, one next command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulk_eraser.cli.dask.shard_task import ShardEnd
from bulk_eraser.errors import Attention, BulkEraserError, ExitCode
from bulk_eraser.sending.request import RunResult
from bulk_eraser.shard import Shard, shards_in_words

__all__ = ["ShardStanding", "ShardsResult", "add_up"]

FEW_LINES = 3
_GRAVEST_FIRST = (
    ExitCode.LEDGER_DAMAGED,
    ExitCode.INTERNAL,
    ExitCode.LEDGER_WRITE,
    ExitCode.CONFIGURATION,
    ExitCode.CREDENTIALS,
    ExitCode.CONTRACT_BROKEN,
    ExitCode.INPUT,
    ExitCode.USAGE,
    ExitCode.SERVICE_DOWN,
    ExitCode.SIGTERM,
    ExitCode.SIGINT,
    ExitCode.NOT_FINISHED,
    ExitCode.SOME_ROWS,
    ExitCode.COMPLETE,
)


@dataclass
class ShardsResult(RunResult):
    """How a run of several shards ended. `counts`, `requests` and `retries` are those of the last
    attempts of all shards, `elapsed_s` that of the longest; `head` is that of the `seal`. Each of
    `shards` says how its last attempt ended, null if that is not known here."""

    seal: str | None = None
    shards: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ShardStanding:
    """How a shard stands: how often it was begun, and how it ended; None for not (yet). `recorded`
    are the counts that its ledger ends with, for one of which nothing was heard."""

    shard: Shard
    ledger: str
    attempts: int = 0
    end: ShardEnd | None = None
    error: BulkEraserError | None = None
    recorded: dict[str, int] | None = None

    @property
    def counts(self) -> dict[str, int] | None:
        return self.end.result.get("counts") if self.end else self.recorded

    @property
    def exit_code(self) -> int | None:
        if self.error is not None:
            return self.error.exit_code
        return self.end.exit_code if self.end else None

    @property
    def why(self) -> str | None:
        """Why it did not get to its end."""
        if self.error is not None:
            return str(self.error)
        return self.end.result.get("error") if self.end else None

    def facts(self) -> dict[str, Any]:
        result = self.end.result if self.end else {}
        told = ("outcome", "requests", "elapsed_s", "head")
        return {
            "index": self.shard.index,
            "of": self.shard.of,
            "ledger": self.ledger,
            "attempts": self.attempts,
            "worker": self.end.worker if self.end else None,
            "exit_code": self.exit_code,
            "error": self.why,
            "counts": self.counts,
            **{name: result.get(name) for name in told},
        }


def add_up(result: ShardsResult, standings: Sequence[ShardStanding]) -> None:
    """Fill `result` with what the shards come to."""
    result.shards = [it.facts() for it in standings]
    attention: dict[str, Attention] = {}
    for it in standings:
        own = it.end.result if it.end else {}
        for name, count in (it.counts or {}).items():
            result.counts[name] += count
        result.requests += own.get("requests", 0)
        result.retries += own.get("retries", 0)
        result.elapsed_s = max(result.elapsed_s, own.get("elapsed_s", 0.0))
        for item in own.get("attention", []):
            _add(attention, item)
    result.attention = sorted(attention.values(), key=lambda it: -it.count)
    _conclude(result, standings)


def _add(attention: dict[str, Attention], item: Mapping[str, Any]) -> None:
    reason, count, lines = item["reason"], item["count"], item["lines"]
    if before := attention.get(reason):
        count, lines = before.count + count, sorted([*before.lines, *lines])[:FEW_LINES]
    attention[reason] = Attention(reason, count, lines)


def _conclude(result: ShardsResult, standings: Sequence[ShardStanding]) -> None:
    """The exit code is that of the gravest end, the error what those with it say."""
    by_code: dict[int, list[ShardStanding]] = {}
    for it in standings:
        code = it.exit_code
        by_code.setdefault(ExitCode.NOT_FINISHED if code is None else code, []).append(it)
    gravest = min(by_code, key=_gravity)
    result.exit_code = gravest
    those = by_code[gravest]
    outcomes = {it.end.result.get("outcome") for it in those if it.end and not it.error}
    known = [outcome for outcome in outcomes if outcome]
    result.outcome = known[0] if known else "incomplete"
    for why in dict.fromkeys(it.why for it in those if it.why):
        who = shards_in_words([it.shard for it in those if it.why == why])
        is_of_all = all(it.why == why for it in standings)
        result.error = why if is_of_all else f"{who[0].upper()}{who[1:]}: {why}"
        break
    if any(it.error for it in those):
        result.outcome = "stopped"


def _gravity(code: int) -> int:
    known = [int(each) for each in _GRAVEST_FIRST]
    return known.index(code) if code in known else 0

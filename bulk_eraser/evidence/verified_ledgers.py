"""What `verify` says of the ledgers themselves: runs, heads, receipts, and where lines stand."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bulk_eraser.evidence.accounting import LedgerAccount, RunAccount
from bulk_eraser.evidence.audit import Audit
from bulk_eraser.evidence.receipt import Receipt, differences
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.evidence.verify_request import VerifyResult
from bulk_eraser.ledger.chain import GENESIS

__all__ = ["note_ledgers", "note_receipts", "note_sealed", "places_in"]

_FACTS = ("head", "commits", "lines", "bytes", "tail_bytes", "damage", "being_written")


def note_ledgers(
    result: VerifyResult, audit: Audit, heads: Sequence[str]
) -> dict[str, dict[str, Any] | None]:
    """Returns where the ledgers have these heads; None for one that they do not have."""
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(heads)
    result.rehearsal = audit.is_rehearsal
    result.kind = "export" if audit.is_export else "removal"
    for account in audit.ledgers:
        facts = {name: getattr(account, name) for name in _FACTS}
        derived = msgspec.to_builtins(account.derived_from)
        if account.derived_from is not None and account.derived_from.head in heads:
            found[account.derived_from.head] = _of_the_old_one(account)
        runs = [_run(run) for run in account.runs]
        result.ledgers.append(
            {"ledger": account.path, **facts, "derived_from": derived, "runs": runs}
        )
        for head, (commit, line) in account.kept.items():
            found[head] = {
                "ledger": account.path,
                "commit": commit,
                "commits_after": account.commits - commit,
                "lines_after": account.lines - line,
            }
    return found


def note_sealed(result: VerifyResult, audit: Audit, sealed: Sequence[SealedHead]) -> None:
    """Which commit each sealed head is, and what follows it."""
    accounts = {account.path: account for account in audit.ledgers}
    for path, head, _ in sealed:
        account = accounts[path]
        commit, line = account.kept.get(head, (None, None))
        about = {"ledger": path, "head": head, "commit": commit}
        about["commits_after"] = None if commit is None else account.commits - commit
        about["lines_after"] = None if line is None else account.lines - line
        result.sealed.append(about)


def note_receipts(result: VerifyResult, audit: Audit, receipts: dict[str, Receipt]) -> None:
    """What each receipt says otherwise than the ledger of its run."""
    runs = {run.started.run: run for account in audit.ledgers for run in account.runs}
    for path, receipt in receipts.items():
        about = {
            "receipt": path,
            "head": receipt.head or GENESIS,
            "run": receipt.run,
            "timestamp": receipt.timestamp,
            "differs": differences(receipt, runs.get(receipt.run)),
        }
        result.receipts.append(about)


def _of_the_old_one(account: LedgerAccount) -> dict[str, Any]:
    """The place of a head that the first line only says to be that of the ledger before."""
    return {
        "ledger": account.path,
        "commit": None,
        "commits_after": account.commits,
        "lines_after": account.lines,
    }


def _run(run: RunAccount) -> dict[str, Any]:
    started, finished = run.started, run.finished
    return {
        "run": started.run,
        "command": started.command,
        "at": started.at,
        "finished_at": finished.at if finished else None,
        "tool": started.tool,
        "api": started.api,
        "target": started.target,
        "simulated": started.simulated,
        "requester": started.requester,
        "reference": started.reference,
        "plan": msgspec.to_builtins(started.plan),
        "input": msgspec.to_builtins(started.input),
        "shard": msgspec.to_builtins(started.shard),
        "outcome": finished.outcome if finished else None,
        "exit_code": finished.exit_code if finished else None,
        "counts": finished.counts if finished else None,
        "lines": run.lines_by_type,
        "conserved": run.is_conserved,
    }


def places_in(audit: Audit, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Of numbers of ledgers and lines, the ledgers' names."""
    return [{"ledger": audit.ledgers[number].path, "line": line} for number, line in places]

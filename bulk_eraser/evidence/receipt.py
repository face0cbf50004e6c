"""A receipt: what a run or follow leaves outside of its ledger, which then cannot be replaced.

A ledger proves its own lines, but not that it is all there is: it could be cut off at a commit, or
written anew. Whoever keeps the head elsewhere can tell. A receipt holds it, and no customer key.
"""

import os

import msgspec

from bulk_eraser.atomic_file import write_document
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.evidence.accounting import RunAccount
from bulk_eraser.records import (
    ExportFacts,
    InputFacts,
    PlanFacts,
    RunStarted,
    ShardFacts,
    time_text,
)
from bulk_eraser.sending.request import FollowResult, ProbeResult, RunResult

__all__ = [
    "Receipt",
    "differences",
    "put_receipt",
    "read_receipt",
    "receipt_must_be_writable",
    "receipt_of",
    "write_receipt",
]

MOST_BYTES = 1 << 20
_AS_IT_BEGAN = (
    *("command", "target", "base", "api", "simulated"),
    *("input", "exclude_sha256", "plan", "export", "shard"),
)
_WHO_ORDERED = ("requester", "reference")
_AS_IT_ENDED = ("outcome", "exit_code", "counts", "elapsed_s")


class Receipt(msgspec.Struct, kw_only=True, frozen=True, tag_field="type", tag="receipt"):
    """The content of a receipt. `ledger` is the file's name, `head` the digest of its last commit;
    times are UTC, `counts` those of `--json`; `timestamp` names the file with the head's stamp."""

    format: int = 1
    tool: str
    ledger: str
    head: str | None
    run: str
    command: str
    outcome: str
    exit_code: int
    counts: dict[str, int]
    requests: int
    started_at: str
    finished_at: str
    elapsed_s: float
    target: str
    base: str | None
    api: str
    simulated: bool
    keys: str
    input: InputFacts | None
    exclude_sha256: str | None
    plan: PlanFacts | None
    requester: str | None
    reference: str | None
    timestamp: str | None = None
    export: ExportFacts | None = None
    shard: ShardFacts | None = None


def receipt_of(started: RunStarted, result: RunResult | FollowResult | ProbeResult) -> Receipt:
    """The receipt of a run or follow that began and has ended."""
    return Receipt(
        tool=started.tool,
        ledger=os.path.basename(result.ledger or ""),
        head=result.head,
        run=started.run,
        command=started.command,
        outcome=result.outcome,
        exit_code=result.exit_code,
        counts=result.counts,
        requests=result.requests,
        started_at=started.at,
        finished_at=time_text(),
        elapsed_s=result.elapsed_s,
        target=started.target,
        base=started.base,
        api=started.api,
        simulated=started.simulated,
        keys=started.keys,
        input=started.input,
        exclude_sha256=started.exclude_sha256,
        plan=started.plan,
        requester=started.requester,
        reference=started.reference,
        export=started.export,
        shard=started.shard,
        timestamp=os.path.basename(result.timestamp) if result.timestamp else None,
    )


def receipt_must_be_writable(path: str, ledger: str) -> None:
    """Raises `UsageError` where a receipt of `ledger` could not be put, or would destroy something
    else: the ledger itself, which need not be there yet, or the receipt of another one."""
    folder = os.path.dirname(path) or "."
    if not path or not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"A receipt cannot be written to {path!r}. Name another place.")
    if os.path.realpath(path) == os.path.realpath(ledger):
        raise UsageError("The receipt and the ledger are the same file. Name another for one.")
    if os.path.lexists(path) and not _is_receipt_of(path, os.path.basename(ledger)):
        raise UsageError(
            f"{path} already exists, and is not a receipt of this ledger. Name another file with "
            "--receipt."
        )


def read_receipt(path: str) -> Receipt:
    """Raises `UsageError` for a file that is none."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a FIFO would be waited for
            raise ValueError
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(MOST_BYTES), type=Receipt)
    except OSError as error:
        raise UsageError(f"The receipt {path} cannot be read: {error.strerror}.") from None
    except ValueError:  # msgspec's errors and UnicodeDecodeError
        raise UsageError(
            f"{path} is not a receipt written by `run --receipt` or `follow --receipt`."
        ) from None


def differences(receipt: Receipt, run: RunAccount | None) -> list[str]:
    """What the receipt says of its run that the ledger's lines say otherwise, by field.

    `run` is the run with its id; None if the ledgers have none. Kinds of keys are not compared: a
    ledger with pseudonyms may have been made from the one that the receipt is of.
    """
    if run is None:
        return ["run"]
    started, finished = run.started, run.finished
    names = (*_AS_IT_BEGAN, *_WHO_ORDERED)
    found = [name for name in names if getattr(receipt, name) != getattr(started, name)]
    if receipt.started_at != started.at:
        found.append("started_at")
    if finished is None:  # only one whose last line could not be written has a receipt all the same
        return found if receipt.outcome == "error" else [*found, "outcome"]
    return found + [n for n in _AS_IT_ENDED if getattr(receipt, n) != getattr(finished, n)]


def _is_receipt_of(path: str, ledger: str) -> bool:
    try:
        return read_receipt(path).ledger == ledger
    except UsageError:
        return False


def put_receipt(
    path: str, started: RunStarted, result: RunResult | FollowResult | ProbeResult
) -> None:
    """Write the receipt; where that fails, it ends as if the ledger could not be written."""
    try:
        write_receipt(path, receipt_of(started, result), result.ledger or "")
    except LedgerWriteError as error:
        before = result.error
        result.fail(error, begun=True)
        result.error = " ".join(filter(None, (before, str(error))))


def write_receipt(path: str, receipt: Receipt, ledger: str) -> None:
    """Raises `LedgerWriteError`; the ledger at the path `ledger` is complete all the same."""
    try:
        receipt_must_be_writable(path, ledger)
        write_document(path, receipt)
    except (OSError, UsageError) as error:
        reason = error.strerror if isinstance(error, OSError) else "something else is there now"
        raise LedgerWriteError(
            f"The receipt {path} cannot be written: {reason}. The ledger is in order; keep its "
            f"head yourself: {receipt.head}."
        ) from None

"""A seal: one small file that binds several ledgers, so that they need not be copied together.

Two kinds of lines and a commit over them, chained as a ledger is: what the ledgers come to
together, then each of them with its head. No customer key is in it. Where ledgers are named, a seal
can stand for its own; each must then have the sealed head among its commits.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from bulk_eraser import __version__
from bulk_eraser.atomic_file import write_whole
from bulk_eraser.errors import (
    ConfigurationError,
    LedgerDamaged,
    LedgerWriteError,
    UsageError,
)
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.evidence.verification import verify
from bulk_eraser.evidence.verify_request import VerifyRequest, VerifyResult
from bulk_eraser.ledger.chain import GENESIS, encode_group
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.records import InputFacts, Record, ShardFacts, time_text
from bulk_eraser.shard import Shard

__all__ = ["Named", "Seal", "SealFile", "SealedLedger", "must_be_a_place", "named_by", "seal"]

FORMAT = 1
MOST_BYTES = 1 << 20
_BEGINS = b'{"type":"seal",'


class Seal(Record, tag="seal", kw_only=True):
    """What the ledgers come to together. `kind` is `removal` or `export`, `inputs` has each input
    of their last runs once, `missing` the shards without a ledger, `accepted_twice` how many keys
    have jobs in two of them, `states` the keys by what became of them (as in `verify`)."""

    format: int = FORMAT
    tool: str
    kind: str
    target: str
    simulated: bool
    inputs: list[InputFacts]
    missing: list[Shard]
    accepted_twice: int
    states: dict[str, int]


class SealedLedger(Record, tag="sealed_ledger", kw_only=True):
    """One ledger up to its `head`; its path is relative to the seal's folder, or absolute. `counts`
    are those of its last run with an input, of rows; None if that broke off."""

    ledger: str
    head: str
    commits: int
    lines: int
    bytes: int
    shard: ShardFacts | None
    input_sha256: str | None
    counts: dict[str, int] | None


class SealFile(NamedTuple):
    """What a seal holds; `head` is the digest over all of it."""

    seal: Seal
    ledgers: list[SealedLedger]
    head: str


class Named(NamedTuple):
    """Ledgers that were named, by themselves or by seals, each once; `sealed` are heads of those in
    seals."""

    ledgers: list[str]
    sealed: list[SealedHead]


_decoder: "msgspec.json.Decoder[Seal | SealedLedger]" = msgspec.json.Decoder(Seal | SealedLedger)


def seal(path: str, ledgers: Sequence[str]) -> SealFile:
    """Verify the ledgers and write the seal, in place of an older one.

    Raises `LedgerDamaged` for what `verify` ends with 79 for, `ConfigurationError` for ledgers of
    several targets, `UsageError` for those that cannot be sealed, `LedgerWriteError`, and what
    `verify` raises. Then nothing is written.
    """
    must_be_a_place(path, ledgers)
    found = VerifyResult()
    verify(VerifyRequest(ledgers=ledgers, anew=True), found, lambda _rows: None)
    if found.error:
        raise LedgerDamaged(f"{found.error} Nothing was sealed.")
    sealed = [_sealed(path, ledger) for ledger in found.ledgers]
    lines: list[Record] = [_together(found), *sealed]
    content, head = encode_group(GENESIS, lines, time_text())
    try:
        write_whole(path, content, 0o644)
    except OSError as error:
        raise LedgerWriteError(
            f"The seal {path} cannot be written: {error.strerror}. Name another place."
        ) from None
    return _decoded(path, content, head)


def must_be_a_place(path: str, ledgers: Sequence[str]) -> None:
    """Raises `UsageError` where a seal would destroy something else, and for a ledger that is named
    twice."""
    if not path or (os.path.lexists(path) and not _is_seal(path)):
        raise UsageError(
            f"A seal cannot be written to {path!r}: it is there already, and is no seal. The name "
            "of the seal comes first, then the ledgers."
        )
    if len({os.path.realpath(ledger) for ledger in ledgers}) < len(ledgers):
        raise UsageError("A ledger is named twice. Name each once. Nothing was sealed.")
    if seals := [ledger for ledger in ledgers if _is_seal(ledger)]:
        raise UsageError(f"{seals[0]} is a seal itself. Name its ledgers. Nothing was sealed.")


def named_by(paths: Iterable[str]) -> Named:
    """The ledgers that `paths` stand for.

    Raises `LedgerDamaged` for a seal that is not as it was written, `UsageError` for one that
    cannot be read.
    """
    ledgers: dict[str, str] = {}
    sealed: list[SealedHead] = []
    for path in paths:
        if not _is_seal(path):
            ledgers.setdefault(os.path.realpath(path), path)
            continue
        for it in _read(path).ledgers:
            ledger = os.path.normpath(os.path.join(os.path.dirname(path), it.ledger))
            known = ledgers.setdefault(os.path.realpath(ledger), ledger)
            sealed.append(SealedHead(known, it.head, it.bytes))
    return Named(list(ledgers.values()), sealed)


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


def _together(found: VerifyResult) -> Seal:
    targets = sorted({run["target"] for ledger in found.ledgers for run in ledger["runs"]})
    if len(targets) > 1:
        raise ConfigurationError(
            f"These ledgers belong to different targets ({', '.join(targets)}). Seal those of each "
            "target by themselves. Nothing was sealed."
        )
    inputs = {}
    for ledger in found.ledgers:
        if (run := _last_with_input(ledger["runs"])) is not None:
            facts = msgspec.convert(run["input"], InputFacts)
            inputs[facts.identity()] = facts
    return Seal(
        tool=f"bulk-eraser {__version__}",
        kind=found.kind,
        target=targets[0],
        simulated=found.rehearsal,
        inputs=list(inputs.values()),
        missing=[Shard(**it) for it in found.missing_shards],
        accepted_twice=found.findings.get("key_with_several_jids", {}).get("count", 0),
        states=found.states,
    )


def _sealed(path: str, ledger: dict[str, Any]) -> SealedLedger:
    name = str(ledger["ledger"])
    if not ledger["runs"]:
        raise UsageError(f"The ledger {name} has no run yet. Nothing was sealed.")
    if not os.path.isabs(name):
        name = os.path.relpath(name, os.path.dirname(path) or ".")
    if name != name.encode(errors="replace").decode():
        raise UsageError(f"The name of the ledger {name!r} is not UTF-8. Nothing was sealed.")
    last = _last_with_input(ledger["runs"]) or {"shard": None, "input": None, "counts": None}
    return msgspec.convert(
        {
            "type": "sealed_ledger",
            **ledger,
            "ledger": name,
            "shard": last["shard"],
            "input_sha256": last["input"] and last["input"]["sha256"],
            "counts": last["counts"],
        },
        SealedLedger,
    )


def _last_with_input(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((run for run in reversed(runs) if run["input"]), None)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _is_seal(path: str) -> bool:
    """Does it begin like one? What cannot be read is told as a ledger that cannot."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(_BEGINS)) == _BEGINS
    except OSError:
        return False


def _read(path: str) -> SealFile:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The seal {path} cannot be read: {error.strerror}.") from None
    scan = LedgerScan()
    groups = list(scan.groups(iter([content])))
    if len(groups) != 1 or scan.tail_bytes or len(content) > MOST_BYTES:
        raise LedgerDamaged(
            f"The seal {path} is not as it was written: its digest is not that of its lines. Seal "
            "the ledgers again, or fetch a copy of the seal."
        )
    return _decoded(path, content, scan.head)


def _decoded(path: str, content: bytes, head: str) -> SealFile:
    try:
        first, *others = _decoder.decode_lines(b"\n".join(content.split(b"\n")[:-2]))
        if not isinstance(first, Seal) or first.format != FORMAT:
            raise ValueError
        ledgers = [it for it in others if isinstance(it, SealedLedger)]
    except ValueError:  # msgspec's errors as well
        raise UsageError(
            f"The seal {path} was written by another version of bulk-eraser, which this one cannot "
            "read."
        ) from None
    return SealFile(first, ledgers, head)

"""Make a ledger with pseudonyms from one with customer keys, so that these need not be kept.

Group by group, line by line: only `key` is replaced, and what `run_started` says of it; all times,
jids and outcomes stay, roots for certificates are left out. The digests change with the keys, so
the new chain begins with a line `derived_from`, which names the old head.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from bulk_eraser import __version__
from bulk_eraser.errors import LedgerDamaged, LedgerWriteError, UsageError
from bulk_eraser.ledger.chain import GENESIS, commit_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS, KeyNaming
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import KNOWN_FIELDS, KNOWN_KINDS, Group, groups_of, ledger_blocks
from bulk_eraser.records import (
    DerivedFrom,
    LeafSecret,
    Record,
    Root,
    RunStarted,
    time_text,
)

__all__ = ["pseudonymize"]

JUST_NAMED = 1 << 12
"""Keys whose pseudonyms are remembered."""
_WITH_KEY = frozenset(kind for kind in KNOWN_KINDS if "key" in kind.__struct_fields__)
_WITH_REFERENCE = frozenset(kind for kind in _WITH_KEY if "reference" in kind.__struct_fields__)
_OF_CERTIFICATES = frozenset({LeafSecret, Root})


def pseudonymize(path: str, output: str, naming: KeyNaming) -> tuple[str, int]:
    """Write the ledger at `path` to `output` with pseudonyms. Returns the new head and its lines.

    The old file is locked and read twice (proven, then converted), never changed. Raises
    `UsageError` where there is nothing to convert or `output` is taken, `LedgerBusy`,
    `LedgerDamaged`, and `LedgerWriteError` when the new one cannot be written: then nothing is left
    of it.
    """
    with closing(LedgerFile(path)) as old:
        _must_be_finished(old)
        derived = DerivedFrom(
            ledger=os.path.basename(path).encode(errors="replace").decode(),
            head=old.head,
            lines=old.lines,
            tool=f"bulk-eraser {__version__}",
            keys=naming.kind,
            pepper_check=naming.pepper_check,
        )
        groups = _renamed(groups_of(LedgerScan(), ledger_blocks(path)), naming, path)
        return _write(output, derived, groups)


def _must_be_finished(old: LedgerFile) -> None:
    if not old.exists:
        raise UsageError(f"There is no ledger {old.path} that could be converted.")
    if old.has_tail:
        raise UsageError(
            f"The ledger {old.path} has lines behind its last commit: a run broke off. Run the "
            "same command again first, so that they are recovered."
        )


def _renamed(
    groups: Iterable[Group], naming: KeyNaming, path: str
) -> Iterator[tuple[bytes, str, int]]:
    """Each group's lines with their new keys, the time that they share, and their number.

    Raises `UsageError` where the ledger at `path` has pseudonyms already.
    """
    decoder, encoder = msgspec.json.Decoder(), msgspec.json.Encoder()
    name_of = lru_cache(JUST_NAMED)(naming.name_of)  # a key's lines are mostly near each other
    for group in groups:
        records = group.records
        if RunStarted in group.kinds:
            _must_have_keys(records, path)
        # A root is one over keys as they are, and its secret would tell who tries keys.
        if not group.kinds.isdisjoint(_OF_CERTIFICATES):
            if not group.kinds <= _OF_CERTIFICATES:
                raise LedgerDamaged(
                    "The ledger holds a root for certificates among other lines, which no command "
                    "writes. Nothing was written. See what `verify` says of it."
                )
            continue
        # 1. Of lines that come out as they are, the records hold all that there is.
        if encoder.encode_lines(records) == group.lines:
            for record in records:
                kind = type(record)
                if kind in _WITH_KEY:
                    key = record.key  # type: ignore[attr-defined] # its kind was looked at
                    name = record.key = name_of(key)  # type: ignore[attr-defined] # as above
                    if kind in _WITH_REFERENCE and key in (record.reference or ""):  # type: ignore[attr-defined] # as above
                        record.reference = record.reference.replace(key, name)  # type: ignore[attr-defined] # as above
                elif isinstance(record, RunStarted):
                    record.keys, record.pepper_check = naming.kind, naming.pepper_check
            yield encoder.encode_lines(records), records[0].at, len(records)
            continue
        # 2. Lines of older versions, which lack fields: what is not there stays away.
        lines = _decoded(decoder, group.lines)
        for line in lines:
            if isinstance(key := line.get("key"), str):
                line["key"] = name_of(key)
                if key in (line.get("reference") or ""):
                    line["reference"] = line["reference"].replace(key, line["key"])
            if line["type"] == "run_started":
                line["keys"], line["pepper_check"] = naming.kind, naming.pepper_check
        yield encoder.encode_lines(lines), lines[0].get("at", ""), len(lines)


def _must_have_keys(records: Sequence[Record], path: str) -> None:
    if any(isinstance(record, RunStarted) and record.keys == PSEUDONYMS for record in records):
        raise UsageError(f"The ledger {path} holds pseudonyms already.")


def _decoded(decoder: msgspec.json.Decoder[Any], group: bytes) -> list[dict[str, Any]]:
    """The lines of a group. Raises `LedgerDamaged` where a customer key may stand in a place that
    this version does not know: it would stay in the new ledger."""
    try:
        lines: list[dict[str, Any]] = decoder.decode_lines(group)
        if all(line.keys() <= KNOWN_FIELDS[line["type"]] for line in lines):
            return lines
    except (ValueError, TypeError, AttributeError, KeyError):  # no JSON, no object, another type
        pass
    raise LedgerDamaged(
        "The ledger holds a line or field that this version does not know, and a customer key may "
        "stand in it. Nothing was written. Use the version of bulk-eraser that wrote it, or a "
        "newer one."
    )


def _write(
    output: str, derived: DerivedFrom, groups: Iterator[tuple[bytes, str, int]]
) -> tuple[str, int]:
    """The new ledger under its name once it is whole."""
    derived.at = time_text()
    first = msgspec.json.encode(derived) + b"\n"
    head, count = GENESIS, 0
    try:
        if os.path.lexists(output):
            raise FileExistsError
        fd, unfinished = tempfile.mkstemp(dir=os.path.dirname(output) or ".")
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                for lines, at, number in chain([(first, derived.at, 1)], groups):
                    group, head = commit_group(head, lines, at)
                    file.write(group)
                    count += number + 1
                file.flush()
                os.fsync(fd)
            os.link(unfinished, output)  # fails where the name was taken meanwhile
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
        folder = os.open(os.path.dirname(output) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise UsageError(f"{output} already exists. Name another file with --output.") from None
    except OSError as error:
        raise LedgerWriteError(
            f"The new ledger {output} cannot be written: {error.strerror}. The old one is as it "
            "was. Name another place with --output."
        ) from None
    return head, count

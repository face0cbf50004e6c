"""Where the ledger of a run is, if nobody says so."""

import os
import re

from bulk_eraser.errors import UsageError
from bulk_eraser.shard import Shard
from bulk_eraser.sources.address import is_remote
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS, InputReader

__all__ = ["LEDGER_SUFFIX", "ledger_must_be_on_disk", "ledger_path_of", "stem_of_ledger"]

LEDGER_SUFFIX = ".ledger.ndjson"
REHEARSAL_SUFFIX = ".rehearsal.ndjson"
EXPORT_SUFFIX = ".export.ledger.ndjson"
MOST_OF_A_SHEET = 100
"""Bytes; Excel allows 31 characters, and a file system 255 bytes."""


def ledger_must_be_on_disk(ledger: str | None, input_path: str) -> None:
    """Raises `UsageError` for a ledger elsewhere, and for an input elsewhere without a ledger: the
    next run would look for it in the folder in which it happens to be started."""
    if ledger is not None and is_remote(ledger):
        raise UsageError(
            "A ledger must be a file on a disk of this computer: each record is forced to the disk "
            "(fdatasync) before a request leaves, which no object store can do. Nothing was sent."
        )
    if ledger is None and is_remote(input_path):
        raise UsageError(
            "An input elsewhere has no folder for its ledger: use --ledger to name a file on a "
            "disk that is kept, since every later run needs it. Nothing was sent."
        )


def ledger_path_of(
    reader: InputReader,
    ledger: str | None,
    *,
    is_format_given: bool,
    rehearse: bool,
    export: bool = False,
    shard: Shard | None = None,
) -> str:
    """`ledger` if it is named, else beside the input; a rehearsal always has one of its own, and so
    have an export, each shard, and each sheet of a workbook with several.

    Raises `UsageError` for an empty name, for a pipe without one, and where the names of two sheets
    would come to the same one.
    """
    if ledger == "":
        raise UsageError("--ledger names no file. Is a variable empty? Nothing was sent.")
    if ledger is None:
        input_path = reader.file.path
        if input_path == "-" or (not os.path.isfile(input_path) and os.path.exists(input_path)):
            raise UsageError("A pipe has no name from which to name the ledger: use --ledger.")
        stem = _stem(input_path, is_format_given=is_format_given)
        suffix = EXPORT_SUFFIX if export else LEDGER_SUFFIX
        part = f".{shard.index}of{shard.of}" if shard else ""
        ledger = stem + _part_of_a_sheet(reader) + part + suffix
    if not rehearse or ledger.endswith(REHEARSAL_SUFFIX):
        return ledger
    return stem_of_ledger(ledger) + REHEARSAL_SUFFIX


def stem_of_ledger(path: str) -> str:
    """The path of a ledger without the endings that they have."""
    return path.removesuffix(LEDGER_SUFFIX).removesuffix(".ndjson")


def _part_of_a_sheet(reader: InputReader) -> str:
    """What of the name is the sheet's; nothing if there is only one."""
    sheet, others = reader.asked.sheet, reader.sheets_not_asked_for()
    if sheet is None or not others:
        return ""
    part = _in_a_name(sheet)
    for other in others:
        if _in_a_name(other).casefold() == part.casefold():  # one file where case does not count
            raise UsageError(
                f"The sheets {sheet!r} and {other!r} would have the same ledger by default. Name "
                "one for each with --ledger. Nothing was sent."
            )
    return f".{part}"


def _in_a_name(sheet: str) -> str:
    """The sheet's name as a part of the name of a file."""
    plain = re.sub(r"[^\w.()-]+", "_", sheet).encode(errors="replace")[:MOST_OF_A_SHEET]
    return plain.decode(errors="ignore")


def _stem(path: str, *, is_format_given: bool) -> str:
    """The input's path without the extensions that say how it is packed and read."""
    folder, name = os.path.split(path)
    name = without_packing(name)
    root, extension = os.path.splitext(name)
    if root and (is_format_given or extension.lower() in FORMATS):
        name = root
    return os.path.join(folder, name)

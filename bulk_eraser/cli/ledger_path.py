"""Where the ledger of a run is, if nobody says so."""

import os

from bulk_eraser.errors import UsageError
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS

__all__ = ["LEDGER_SUFFIX", "ledger_path_of"]

LEDGER_SUFFIX = ".ledger.ndjson"
REHEARSAL_SUFFIX = ".rehearsal.ndjson"


def ledger_path_of(
    input_path: str, ledger: str | None, *, is_format_given: bool, rehearse: bool
) -> str:
    """`ledger` if it is named, else beside the input; a rehearsal always has one of its own.

    Raises `UsageError` for an empty name, and for a pipe without one.
    """
    if ledger == "":
        raise UsageError("--ledger names no file. Is a variable empty? Nothing was sent.")
    if ledger is None:
        if input_path == "-" or (not os.path.isfile(input_path) and os.path.exists(input_path)):
            raise UsageError("A pipe has no name from which to name the ledger: use --ledger.")
        ledger = _stem(input_path, is_format_given=is_format_given) + LEDGER_SUFFIX
    if not rehearse:
        return ledger
    return ledger.removesuffix(LEDGER_SUFFIX).removesuffix(".ndjson") + REHEARSAL_SUFFIX


def _stem(path: str, *, is_format_given: bool) -> str:
    """The input's path without the extensions that say how it is packed and read."""
    folder, name = os.path.split(path)
    name = without_packing(name)
    root, extension = os.path.splitext(name)
    if root and (is_format_given or extension.lower() in FORMATS):
        name = root
    return os.path.join(folder, name)

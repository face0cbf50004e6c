"""The writers of reports, by the name of their option.

A nightly job writes the same files again and again, so a report may take the place of one of its
own kind, which is known by how it begins, or of an empty file; nothing else is ever overwritten.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulk_eraser.atomic_file import replacing
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.evidence.report.as_dotenv import as_dotenv
from bulk_eraser.evidence.report.as_html import as_html
from bulk_eraser.evidence.report.as_json import as_json
from bulk_eraser.evidence.report.as_junit import as_junit
from bulk_eraser.evidence.report.as_markdown import as_markdown
from bulk_eraser.evidence.report.as_metrics import as_metrics
from bulk_eraser.evidence.row_table import COLUMNS
from bulk_eraser.evidence.summary import Summary

__all__ = ["TABLE_BEGINS", "WRITERS", "must_be_replaceable", "unwritable", "write"]

TABLE_BEGINS = b"\xef\xbb\xbf" + ",".join(COLUMNS[:10]).encode()
"""Of `--csv`, whose rows are written while the ledgers are read; older tables have so many columns.
"""


@dataclass(frozen=True)
class Writer:
    """Makes the content of a file; its own files begin with `begins`, and get the mode `mode`."""

    make: Callable[[Summary], str]
    begins: bytes
    mode: int = 0o600


WRITERS: Mapping[str, Writer] = {
    "html": Writer(as_html, b"<!DOCTYPE html>\n<!-- bulk-eraser report -->"),
    "markdown": Writer(as_markdown, b"<!-- bulk-eraser report -->"),
    "json": Writer(as_json, b'{\n "type": "report"'),
    "junit": Writer(
        as_junit,
        b'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="bulk-eraser"',
    ),
    # Of what it holds, nothing is secret, and node_exporter reads it as another user.
    "metrics": Writer(as_metrics, b"# Written by bulk-eraser", 0o644),
    "dotenv": Writer(as_dotenv, b"ERASURE_STANDING="),
}


def must_be_replaceable(option: str, path: str, begins: bytes) -> None:
    """Raises `UsageError` where a report cannot be put, or would destroy something else."""
    folder = os.path.dirname(path) or "."
    if not path or not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--{option} cannot be written to {path!r}. Name another place.")
    if not os.path.lexists(path):
        return
    try:
        is_own = os.path.isfile(path) and not os.path.islink(path)
        if is_own and os.path.getsize(path):
            with open(path, "rb") as file:
                is_own = file.read(len(begins)) == begins
    except OSError:
        is_own = False
    if not is_own:
        raise UsageError(
            f"{path} is there already, and is no report that --{option} has written. Name another "
            "file."
        )


def write(name: str, path: str, summary: Summary) -> None:
    """Raises `LedgerWriteError` where the file cannot be written."""
    writer = WRITERS[name]
    content = writer.make(summary).encode(errors="replace")
    try:
        with replacing(path, writer.mode) as file:
            file.write(content)
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: str, error: OSError) -> LedgerWriteError:
    return LedgerWriteError(f"The report {path} cannot be written: {error.strerror}.")

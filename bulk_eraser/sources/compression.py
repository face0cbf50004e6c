"""Unpacking .gz and .zst: what a name promises must be what the bytes are, whole and undamaged."""

import gzip
import io
import zlib
from typing import Any

from bulk_eraser.errors import InputError, must_be_damage

__all__ = ["PACKED", "CutOff", "unpacked", "without_packing"]

BLOCK = 1 << 20
PACKED = {".gz": (b"\x1f\x8b", "gzip"), ".zst": (b"\x28\xb5\x2f\xfd", "Zstandard")}
"""Extension → the first bytes of such a file, and what to call it."""
_SKIPPABLE = b"\x2a\x4d\x18"
"""Behind a first byte of 0x50 to 0x5f: a Zstandard frame without data, as pzstd begins with."""


class CutOff(InputError):
    """Packed data ends or breaks before its end; `line` is the last that was read whole."""

    def __init__(self, name: str, kind: str, line: int | None = None) -> None:
        self._what = name, kind
        where = "before the last row" if line is None else f"after line {line}"
        super().__init__(
            f"{name} is truncated or damaged: its {kind} data ends or breaks {where}. Nothing was "
            "sent. Get a complete copy and run again."
        )

    def behind(self, line: int) -> "CutOff":
        return CutOff(*self._what, line)


def without_packing(name: str) -> str:
    """`keys.csv.gz` → `keys.csv`."""
    lower = name.lower()
    return next((name[: -len(end)] for end in PACKED if lower.endswith(end)), name)


def unpacked(raw: "io.BufferedReader[Any]", name: str, *, named: bool) -> "io.BufferedReader[Any]":
    """The plain bytes of `raw`; itself if it is not packed.

    `named` is false for a pipe, which has no extension. Raises `InputError` where the name says
    something else than the bytes, when the extra is missing, and (while reading) for data that
    ends too early or is damaged.
    """
    head = raw.peek(4)[:4]
    promised = next((end for end in PACKED if name.lower().endswith(end)), None) if named else None
    found = _packing_of(head)
    # 1. Name and bytes disagree: probably another file than the one that was meant.
    if named and promised != found:
        kind = PACKED[found or promised or ""][1]
        what = f"is a {kind} file but is not named {found}" if found else f"is not a {kind} file"
        raise InputError(f"{name} {what}. Rename it, or use the file that you meant.")
    # 2. Not compressed.
    if found is None:
        return raw
    # 3. Compressed; each format of several members or frames, as parallel tools write them.
    stream = gzip.GzipFile(fileobj=raw) if found == ".gz" else _zstd_file(raw, name)
    return io.BufferedReader(_Unpacked(stream, name, PACKED[found][1]), BLOCK)


def _packing_of(head: bytes) -> str | None:
    if head[1:] == _SKIPPABLE and head[0] >> 4 == 5:
        return ".zst"
    return next((end for end, (magic, _) in PACKED.items() if head.startswith(magic)), None)


def _zstd_file(raw: "io.BufferedReader[Any]", name: str) -> Any:
    try:
        try:
            from compression import zstd  # type: ignore[import-not-found] # from Python 3.14 on
        except ImportError:
            from backports import zstd
    except ImportError:
        raise InputError(
            f"{name} is compressed with Zstandard, which needs an extra package: pip install "
            "'bulk-eraser[zstd]'. Or decompress it first: zstd -d."
        ) from None
    return zstd.ZstdFile(raw)


class _Unpacked(io.RawIOBase):
    """Unpacked bytes; damage becomes an `InputError`, an error of the disk stays what it is."""

    def __init__(self, stream: Any, name: str, kind: str) -> None:
        self._stream = stream
        self._name = name
        self._kind = kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io hands over
        try:
            return int(self._stream.readinto(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            must_be_damage(error)
            raise CutOff(self._name, self._kind) from None
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # a class of the extra, which may be missing
                raise
            must_be_damage(error)
            # Not damaged, but compressed with --long beyond what is unpacked unasked.
            if "too much memory" in str(error):
                raise InputError(
                    f"{self._name} is compressed with a window of more than 128 MiB. Decompress it "
                    "first: zstd -d --long=31."
                ) from None
            raise CutOff(self._name, self._kind) from None

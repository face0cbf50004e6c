"""Small files that stand beside a ledger: a plan, a receipt, a time stamp. Whole or not at all."""

import os
import tempfile

import msgspec

__all__ = ["write_document", "write_whole"]


def write_document(path: str, document: msgspec.Struct) -> None:
    """Put it there as JSON, mode 0644, in place of what was there. Raises `OSError`."""
    content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    write_whole(path, content, 0o644)


def write_whole(path: str, content: bytes, mode: int) -> None:
    """Put the file there, in place of what was there. Raises `OSError`."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C as well: no half-written file is left
        os.unlink(temporary)
        raise

"""Small JSON files that stand beside a ledger: a plan, a receipt. Written whole or not at all."""

import os
import tempfile

import msgspec

__all__ = ["write_document"]


def write_document(path: str, document: msgspec.Struct) -> None:
    """Put the file there, mode 0644, in place of what was there. Raises `OSError`."""
    content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C as well: no half-written file is left
        os.unlink(temporary)
        raise

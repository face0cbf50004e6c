"""Is an input the path of a file, or an address elsewhere; and what of it may be told."""

import os
import re
from urllib.parse import unquote

__all__ = ["SCHEME", "VERSION_ID", "is_remote", "object_name", "without_secrets"]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
VERSION_ID = "?versionId="
_HTTP_SECRET = re.compile(r"(?is)(https?://[^?#]*)[?#].*")  # blanks end no address: it was quoted
_USER = re.compile(r"(?i)(https?://)[^/?#]*@")


def is_remote(path: str) -> bool:
    """Is it an address, and not the path of a file?"""
    return SCHEME.match(path) is not None


def without_secrets(text: str) -> str:
    """`text` with an address of the web in it cut before its query, which may be a signature that
    opens the file to everybody, and without a user's name and password."""
    return _HTTP_SECRET.sub(r"\1?…", _USER.sub(r"\1", text))


def object_name(path: str) -> str:
    """What the file itself is called, wherever it is."""
    if not is_remote(path):
        return os.path.basename(path)
    if path.lower().startswith("http"):
        return unquote(os.path.basename(re.split("[?#]", path, maxsplit=1)[0]))
    return os.path.basename(path.partition(VERSION_ID)[0])

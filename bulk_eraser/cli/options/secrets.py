"""API key, pepper, signing key, a customer key: read from a file, named in no message."""

import os
import re
import stat

from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS, RAW_KEYS, KeyNaming
from bulk_eraser.sources.rows import KeyRow, clean_key
from bulk_eraser.wording import printable

__all__ = [
    "name_of_key_in",
    "naming_of",
    "read_api_key_file",
    "read_pepper_file",
    "read_signing_key_file",
    "valid_api_key",
]

SECRET_BYTES = 4096
GOOD_PEPPER = 16
"""Bytes."""


def naming_of(pseudonymize: bool, output: Output) -> KeyNaming:
    """What keys are called in the ledger. Raises `ConfigurationError` for want of a pepper."""
    if not pseudonymize:
        return RAW_KEYS
    path = os.environ.get("BULK_ERASER_PEPPER_FILE")
    if not path:
        raise ConfigurationError(
            "Pseudonyms need a secret (pepper). Put a long random one into a file (openssl rand "
            "-hex 32), name the file in the environment variable BULK_ERASER_PEPPER_FILE, and keep "
            "it."
        )
    pepper, exposed = read_pepper_file(path)
    if exposed:
        output.warn(f"the pepper file {printable(path)} can be read by others: chmod 600 it.")
    if len(pepper) < GOOD_PEPPER:
        output.warn(
            f"the secret (pepper) is shorter than {GOOD_PEPPER} bytes, so it might be guessed."
        )
    return KeyNaming(pepper)


def read_api_key_file(path: str) -> tuple[str, bool]:
    """The API key in `path`, one trailing newline removed, and whether others can read the file.

    Raises `ConfigurationError` when there is no usable key in it.
    """
    content, exposed = _read_secret(path, "API key", "--api-key-file")
    return valid_api_key(content.decode("latin-1"), f"in {path}"), exposed


def read_pepper_file(path: str) -> tuple[bytes, bool]:
    """The pepper in `path`, one trailing newline removed, and whether others can read the file.

    Raises `ConfigurationError` when there is none in it.
    """
    pepper, exposed = _read_secret(path, "pepper", "BULK_ERASER_PEPPER_FILE")
    if not pepper.strip():
        raise ConfigurationError(
            f"The pepper file {path} is empty. Put a long random secret there, and keep it: "
            "without it no ledger with pseudonyms can be continued or read."
        )
    return pepper, exposed


def read_signing_key_file(path: str) -> tuple[bytes, bool]:
    """The content of `path`, and whether others can read it. Raises `ConfigurationError`."""
    return _read_secret(path, "signing key", "--signing-key")


def name_of_key_in(path: str, kind: str, pepper_check: str | None, output: Output) -> str:
    """What a ledger calls the customer key in `path`, outer blanks off as in an input.

    The ledger names keys as `kind` and `pepper_check` say; None for the latter if it is not known.
    Raises `ConfigurationError` for a file that cannot be read, or another pepper than the ledger's,
    `UsageError` for a file without a key in it.
    """
    content, _ = _read_secret(path, "customer key", "--key-file")
    try:
        row = clean_key(content.decode(), 1)
    except UnicodeDecodeError:
        row = None
    if not isinstance(row, KeyRow):
        raise UsageError(
            f"The file {path} of --key-file does not hold a customer key. Put the key alone there, "
            "as UTF-8."
        )
    naming = naming_of(kind == PSEUDONYMS, output)
    if pepper_check is not None and naming.pepper_check != pepper_check:
        raise ConfigurationError(
            "The pepper in the file that BULK_ERASER_PEPPER_FILE names is not the one with which "
            "the ledger was written. Name the right file."
        )
    return naming.name_of(row.key)


def _read_secret(path: str, what: str, named_by: str) -> tuple[bytes, bool]:
    try:
        with open(path, "rb") as file:
            content = file.read(SECRET_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise ConfigurationError(
            f"The {what} file {path} cannot be read: {reason}. Name the right file with {named_by}."
        ) from None
    if len(content) > SECRET_BYTES:
        raise ConfigurationError(
            f"The {what} file {path} contains more than {SECRET_BYTES} bytes, so it is not the "
            f"{what} alone. Name the right file with {named_by}."
        )
    return content.removesuffix(b"\n"), stat.S_ISREG(mode) and bool(mode & 0o044)


def valid_api_key(key: str, where: str) -> str:
    """`key` if it can travel in a header as it is. Raises `ConfigurationError` without the key."""
    if not key:
        raise ConfigurationError(
            f"The API key {where} is empty. Put the cluster's private key there."
        )
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigurationError(
            f"The API key {where} contains a space, a line break, or a character that is not plain "
            "ASCII (a byte order mark, a Windows line end, or typographic quotes?). Save the key "
            "alone as plain text."
        )
    return key

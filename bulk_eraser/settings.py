"""Validated, frozen options of a run. Environment and argv are read in `cli`, nowhere else."""

import os
import re
import stat
from dataclasses import dataclass

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import ConfigurationError, UsageError

__all__ = [
    "RATES",
    "FailureLimit",
    "RunSettings",
    "must_be_within",
    "read_api_key_file",
    "read_pepper_file",
    "valid_api_key",
]

SHARE_FROM_KEYS = 100
SECRET_BYTES = 4096
MAX_CONCURRENCY = 1024
RATES = (0, 100_000)
"""What --rate may be."""


@dataclass(frozen=True)
class FailureLimit:
    """`--max-failures`: a number of keys, or a share of those that got an outcome."""

    text: str
    number: int | None
    share: float

    @classmethod
    def parse(cls, text: str) -> "FailureLimit":
        """From `25` or `20%`. Raises `UsageError`."""
        if re.fullmatch(r"[0-9]{1,12}", text):
            return cls(text, int(text), 0.0)
        if match := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?) ?%", text):
            share = float(match[1]) / 100
            if share <= 1:
                return cls(text, None, share)
        raise UsageError("--max-failures takes a number of keys, such as 25, or a share like 20%.")

    def is_exceeded(self, failures: int, settled: int) -> bool:
        """Were there more failures than allowed? A share is looked at from 100 keys on."""
        if self.number is not None:
            return failures > self.number
        return settled >= SHARE_FROM_KEYS and failures > self.share * settled


@dataclass(frozen=True)
class RunSettings:
    """How a run sends. Raises `UsageError` for values that make no sense."""

    target: Target
    api_version: ApiVersion
    concurrency: int = 32
    rate: float = 50.0
    max_attempts: int = 6
    timeout: float = 30.0
    max_outage: float = 300.0
    max_failures: FailureLimit = FailureLimit("20%", None, 0.2)
    limit: int | None = None
    retry_failed: bool = False
    simulated: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("--concurrency", self.concurrency, 1, MAX_CONCURRENCY),
            ("--rate", self.rate, *RATES),
            ("--max-attempts", self.max_attempts, 1, 100),
            ("--timeout", self.timeout, 0.05, 3600),
            ("--max-outage", self.max_outage, 0, 1e7),
            ("--limit", 1 if self.limit is None else self.limit, 1, 10**12),
        ):
            must_be_within(name, value, low, high)

    def recorded(self) -> dict[str, object]:
        """What `run_started` keeps under `settings`."""
        return {
            "concurrency": self.concurrency,
            "rate": self.rate,
            "max_attempts": self.max_attempts,
            "timeout_s": self.timeout,
            "max_outage_s": self.max_outage,
            "max_failures": self.max_failures.text,
            "limit": self.limit,
            "retry_failed": self.retry_failed,
        }


def must_be_within(option: str, value: float, low: float, high: float) -> None:
    """Raises `UsageError` for a value that makes no sense."""
    if not low <= value <= high:
        raise UsageError(f"{option} must be between {low:g} and {high:g}, not {value:g}.")


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
            f"The {what} file {path} holds more than {SECRET_BYTES} bytes, so it is not the {what} "
            f"alone. Name the right file with {named_by}."
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
            f"The API key {where} holds a blank, a line break, or a character that is not plain "
            "ASCII (a byte order mark, a Windows line end, or typographic quotes?). Save the key "
            "alone as plain text."
        )
    return key

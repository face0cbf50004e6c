"""Validated, frozen options of a run. Environment and argv are read in `cli`, nowhere else."""

import re
from dataclasses import dataclass

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import UsageError

__all__ = ["MAX_CONCURRENCY", "RATES", "FailureLimit", "RunSettings", "must_be_within"]

SHARE_FROM_KEYS = 100
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
        raise UsageError(f"{option} must be between {low:,g} and {high:,g}, not {value:g}.")

"""Which request meets which fault: decided here without I/O, carried out by `server`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

__all__ = ["FAULTS", "FAULT_DESCRIPTIONS", "FaultRates", "parse_fault"]

FAULT_DESCRIPTIONS = {
    "http_400": "the key is refused, again whenever it is sent: 400",
    "http_403": "the API key is refused: 403",
    "http_429": "too many requests: 429, with Retry-After if one is set",
    "http_500": "internal error: 500",
    "http_503": "service unavailable: 503, with Retry-After if one is set",
    "drop_before": "connection closed without an answer, no job made",
    "drop_after": "job made, then connection closed without an answer",
    "cut_body": "job made, connection closed in the middle of the answer",
    "wrong_json": "job made, but the answer holds no jid",
    "html": "an HTML page instead of JSON, no job made",
    "redirect": "302 to another path, no job made",
    "delay": "the answer is held back, then comes as usual",
    "job_error": "the job is created, and ends in error",
    "job_lost": "the job is created, and not found afterwards",
    "job_late": "the job is created, and its data is archived ten days late",
    "no_data": "the service has no data of the key",
    "came_back": "the key has data again after its removal",
    "result_no_zip": "the result of an export is no archive",
    "result_endless": "the result of an export has no end",
    "result_wrong_length": "the result of an export is longer than its Content-Length",
    "result_of_another": "the result of an export is that of the export before",
}
FAULTS = tuple(FAULT_DESCRIPTIONS)
_NOT_DRAWN = ("http_400", "job_error", "job_lost", "job_late", "no_data", "came_back")
"""They hit a customer key or a job for good, not a request by chance."""
_OF_RESULTS = tuple(name for name in FAULTS if name.startswith("result_"))

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?(%?)", re.ASCII)


@dataclass(frozen=True)
class FaultRates:
    """How often each fault happens.

    `rates` maps a name of `FAULTS` to a fraction of the requests, 0 to 1; for `http_400`, `no_data`
    and `came_back` it is a fraction of the customer keys, for `job_error`, `job_lost` and
    `job_late` one of the jobs, for `result_…` one of the downloads. `retry_after_s` (whole seconds,
    None for no header) goes with 429 and 503, `delay_s` (seconds) with `delay`. The same `seed`
    refuses the same keys.
    Raises `ValueError` for an unknown name, a rate outside 0..1, rates that add up to more than 1,
    or negative seconds.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    retry_after_s: int | None = None
    delay_s: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            if name not in FAULTS:
                raise ValueError(f"there is no fault {name!r}; the faults are {_names()}")
            if not 0 <= rate <= 1:
                raise ValueError(f"the rate of {name} must lie between 0 and 1 (100%), not {rate}")
        total = sum(self.rates.values())
        if total > 1 + 1e-9:  # ten times 0.1 is a little more than 1
            raise ValueError(f"the fault rates add up to {total:.4g}, which is more than 1 (100%)")
        if (self.retry_after_s or 0) < 0 or not self.delay_s >= 0:
            raise ValueError("Retry-After and the delay of answers must not be negative")

    def choose(
        self, customer_key: str | None, draw: float, *, of_result: bool = False
    ) -> str | None:
        """The fault that a request meets, or None.

        `customer_key` is None for a request that has none (job-status), which is never met by
        `http_400`; `of_result` of a download, which alone is met by `result_…`. `draw` is a random
        number from 0 up to, not including, 1.
        """
        if customer_key is not None and (refused := self.rates.get("http_400")):
            if self._position(customer_key) < refused:
                return "http_400"
            draw *= 1 - refused  # the others keep their share of all requests
        ceilings = self._ceilings_of_results if of_result else self._ceilings
        return next((name for ceiling, name in ceilings if draw < ceiling), None)

    def is_lost(self, jid: str) -> bool:
        """Is the job not found after its creation?"""
        return self._position(jid) < self.rates.get("job_lost", 0)

    def fails(self, jid: str) -> bool:
        """Does the job end in error? Never one that is lost."""
        return 1 - self._position(jid) <= self.rates.get("job_error", 0)

    def is_late(self, jid: str) -> bool:
        """Is the job's data archived later than usual?"""
        return self._position(f"late {jid}") < self.rates.get("job_late", 0)

    def has_no_data(self, customer_key: str) -> bool:
        """Has the service never had any data of the key?"""
        return self._position(f"data {customer_key}") < self.rates.get("no_data", 0)

    def comes_back(self, customer_key: str) -> bool:
        """Does the key get new data once the old is removed?"""
        return self._position(f"back {customer_key}") < self.rates.get("came_back", 0)

    @cached_property
    def _ceilings(self) -> list[tuple[float, str]]:
        """Running totals of the rates of the faults that are drawn for each request."""
        return self._running_totals(but=(*_NOT_DRAWN, *_OF_RESULTS))

    @cached_property
    def _ceilings_of_results(self) -> list[tuple[float, str]]:
        """The same for downloads."""
        return self._running_totals(but=_NOT_DRAWN)

    def _running_totals(self, but: Collection[str]) -> list[tuple[float, str]]:
        ceilings, total = [], 0.0
        for name in FAULTS:
            if name in but:
                continue
            if rate := self.rates.get(name, 0):
                total += rate
                ceilings.append((total, name))
        return ceilings

    def _position(self, key_or_jid: str) -> float:
        """A number from 0 to 1 that depends on seed and key alone."""
        hashed = blake2b(f"{self.seed} {key_or_jid}".encode(), digest_size=6).digest()
        return int.from_bytes(hashed) / 2**48


def parse_fault(text: str) -> tuple[str, float]:
    """Name and rate of `http_500=2%` or `http_500=0.02`; else `ValueError` with what to write."""
    name, _, written = text.partition("=")
    rate = _RATE.fullmatch(written.strip())
    if name.strip() not in FAULTS or rate is None:
        raise ValueError(
            f"{text!r} is not a fault: write NAME=RATE, such as http_500=2% or http_500=0.02, "
            f"with one of the names {_names()}"
        )
    fraction = float(rate[1]) / 100 if rate[2] else float(rate[1])
    if fraction > 1:
        raise ValueError(f"{text!r} is more than every request; 2 in 100 is written 2% or 0.02")
    return name.strip(), fraction


def _names() -> str:
    return ", ".join(FAULTS)

"""A random sample that anybody can draw again: by a seed, and a digest for each removal job.

Sampled are the jobs with the smallest SHA-256 over the seed, a space and the jid. That depends on
no order, and on nothing that a copy of the ledger without customer keys does not have.
"""

import heapq
import re
from collections.abc import Iterable
from hashlib import sha256
from math import ceil

from bulk_eraser.errors import UsageError
from bulk_eraser.records import Accepted

__all__ = ["MOST_SAMPLED", "draw", "sample_size"]

MOST_SAMPLED = 100_000
"""A larger sample says little more, and would not be a sample any more."""


def sample_size(text: str, population: int) -> int:
    """How many `--sample 60` or `--sample 0.5%` are of so many: one at least, all at the most.

    Raises `UsageError` for what is neither, or more than `MOST_SAMPLED`.
    """
    number = re.fullmatch(r"[0-9]{1,12}", text)
    share = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?) ?%", text)
    if share and 0 < float(share[1]) <= 100:
        size = ceil(population * float(share[1]) / 100)
    elif number and int(text) > 0:
        size = int(text)
    else:
        raise UsageError("--sample takes a number of people, such as 60, or a share like 0.5%.")
    size = min(size, population)
    if size > MOST_SAMPLED:
        raise UsageError(
            f"--sample would be {size:,} people; {MOST_SAMPLED:,} are the most. A few hundred tell "
            "as much."
        )
    return size


def draw(seed: str, size: int, erased: Iterable[Accepted]) -> list[Accepted]:
    """The `accepted` lines of the sampled ones, in the order of their rows."""

    def rank(accepted: Accepted) -> bytes:
        return sha256(f"{seed} {accepted.jid}".encode()).digest()

    return sorted(heapq.nsmallest(size, erased, key=rank), key=lambda it: it.line)

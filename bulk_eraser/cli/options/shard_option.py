"""What `--shard` stands for: i/N as typed, or as what runs this job numbers it."""

import os
import re

from bulk_eraser.errors import UsageError
from bulk_eraser.shard import MOST_SHARDS, Shard

__all__ = ["shard_asked_for"]

_FROM_ZERO = ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX")
"""Of Kubernetes (Indexed Job) and AWS Batch (array job), which count from 0."""
_GITLAB, _GITLAB_TOTAL = "CI_NODE_INDEX", "CI_NODE_TOTAL"
"""Of GitLab (parallel), which counts from 1."""
_NUMBER = r"[0-9]{1,6}"


def shard_asked_for(text: str) -> Shard:
    """From `2/4`, `auto/4` or `auto`. Raises `UsageError`."""
    if typed := re.fullmatch(rf"({_NUMBER})/({_NUMBER})", text):
        return _valid(int(typed[1]), int(typed[2]), text)
    asked = re.fullmatch(rf"auto(?:/({_NUMBER}))?", text)
    if asked is None:
        raise UsageError(
            f"--shard must be i/N, such as 2/4, or auto/N, or auto, not {text!r}. Nothing was sent."
        )
    return _numbered_by_the_job(int(asked[1]) if asked[1] else None)


def _numbered_by_the_job(of: int | None) -> Shard:
    names = [name for name in (*_FROM_ZERO, _GITLAB) if os.environ.get(name)]
    if len(names) != 1:
        found = f"{' and '.join(names)} contradict each other" if names else "there is none"
        raise UsageError(
            f"--shard auto needs one of {', '.join((*_FROM_ZERO, _GITLAB))}, and {found}. Say it "
            "as i/N. Nothing was sent."
        )
    name = names[0]
    index = _number_in(name) + (name != _GITLAB)
    if name == _GITLAB:
        total = _number_in(_GITLAB_TOTAL)
        if of not in (None, total):
            raise UsageError(
                f"--shard auto/{of} is asked for, but {_GITLAB_TOTAL} is {total}. Nothing was sent."
            )
        of = total
    if of is None:
        raise UsageError(
            f"{name} says which shard this is, but not of how many. Use --shard auto/N. Nothing "
            "was sent."
        )
    return _valid(index, of, f"auto, which is {index}/{of} by {name},")


def _number_in(name: str) -> int:
    text = os.environ.get(name, "")
    if not re.fullmatch(_NUMBER, text):
        raise UsageError(
            f"--shard auto: {name} is {text!r}, which is no number. Use --shard i/N. Nothing was "
            "sent."
        )
    return int(text)


def _valid(index: int, of: int, said: str) -> Shard:
    if not 1 <= index <= of <= MOST_SHARDS:
        raise UsageError(
            f"--shard {said} is no shard: i must be from 1 to N, and N at most {MOST_SHARDS:,}. "
            "Nothing was sent."
        )
    return Shard(index, of)

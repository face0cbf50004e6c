"""What each status means, from aiohttp's response object to the verdict. Nothing of the wire."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from aioresponses import aioresponses

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import Kind, classify
from bulk_eraser.errors import ExitCode

JOB = b'{"jid":"job-1","status":"created"}'
ANY = re.compile(r"http://127\.0\.0\.1/.*")


@pytest.mark.parametrize(
    ("statuses", "kind", "perhaps", "exit_code"),
    [
        ([200], Kind.ACCEPTED, False, None),
        ([201, 202, 203, 204, 205, 206, 226, 299], Kind.AGAIN, True, None),
        ([400, 413, 414, 422], Kind.REFUSED, False, None),
        ([401, 403], Kind.STOP, False, ExitCode.CREDENTIALS),
        ([404, 405, 407, 410], Kind.STOP, False, ExitCode.CONTRACT_BROKEN),
        ([*range(300, 309), 399], Kind.STOP, False, ExitCode.CONTRACT_BROKEN),
        ([408, 429], Kind.AGAIN, False, None),
        ([*range(500, 512), 520, 599], Kind.AGAIN, True, None),
        ([600, 999], Kind.AGAIN, True, None),
    ],
)
async def test_each_status(
    answers: aioresponses,
    client_of: Callable[..., ElevateClient],
    statuses: list[int],
    kind: Kind,
    perhaps: bool,
    exit_code: ExitCode | None,
) -> None:
    """Each documented and likely status leads to what the contract says, with a job in its body."""
    client = client_of("http://127.0.0.1")
    for status in statuses:
        answers.post(ANY, status=status, body=JOB, headers={"Location": "http://127.0.0.1/x"})
        verdict = classify(await client.create_removal_job("key"))
        assert (verdict.kind, verdict.perhaps) == (kind, perhaps), status
        assert verdict.http_status == status
        assert (verdict.stop.exit_code if verdict.stop else None) is exit_code
    assert sum(map(len, answers.requests.values())) == len(statuses)


@pytest.mark.parametrize("word", ["created", "waiting", "running", "done", "started", "not_found"])
async def test_each_status_word(
    answers: aioresponses, client_of: Callable[..., ElevateClient], word: str
) -> None:
    """A job with any status word is accepted, and the word is kept as it came."""
    payload: dict[str, Any] = {"jid": "job-1", "status": word, "more": [1]}
    answers.post(ANY, payload=payload)
    verdict = classify(await client_of("http://127.0.0.1").create_removal_job("key"))
    assert (verdict.kind, verdict.jid, verdict.status) == (Kind.ACCEPTED, "job-1", word)

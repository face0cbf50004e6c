"""What each status means, from the service's answer to the verdict."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.verdict import Kind, classify
from bulk_eraser.errors import ExitCode

Make = Callable[..., ElevateClient]
Serve = Callable[[Callable[[web.Request], Awaitable[web.Response]]], Awaitable[TestServer]]


@pytest.mark.parametrize(
    ("statuses", "kind", "maybe_done", "exit_code"),
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
    serve: Serve,
    client_of: Make,
    statuses: list[int],
    kind: Kind,
    maybe_done: bool,
    exit_code: ExitCode | None,
) -> None:
    """Each documented and likely status leads to what the contract says, with a job in its body."""
    left = list(statuses)

    async def answer(_: web.Request) -> web.Response:
        body = {"jid": "job-1", "status": "created"}
        return web.json_response(body, status=left.pop(0), headers={"Location": "/elsewhere"})

    client = client_of(str((await serve(answer)).make_url("")).rstrip("/"))
    for status in statuses:
        verdict = classify(await client.create_removal_job("key"))
        assert (verdict.kind, verdict.maybe_done) == (kind, maybe_done), status
        assert verdict.http_status == status
        assert (verdict.stop.exit_code if verdict.stop else None) is exit_code
    assert not left


@pytest.mark.parametrize("word", ["created", "waiting", "running", "done", "started", "not_found"])
async def test_each_status_word(serve: Serve, client_of: Make, word: str) -> None:
    """A job with any status word is accepted, and the word is kept as it came."""

    async def answer(_: web.Request) -> web.Response:
        payload: dict[str, Any] = {"jid": "job-1", "status": word, "more": [1]}
        return web.json_response(payload)

    client = client_of(str((await serve(answer)).make_url("")).rstrip("/"))
    verdict = classify(await client.create_removal_job("key"))
    assert (verdict.kind, verdict.jid, verdict.status) == (Kind.ACCEPTED, "job-1", word)

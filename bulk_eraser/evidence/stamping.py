"""Have a ledger's head stamped by an authority (RFC 3161), and find the stamps that are kept.

A stamp lies beside its ledger, named by the first digits of the head: one for each head, and none
is ever replaced. It is the authority's reply as it came, which other programs read as well.
"""

import glob
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from bulk_eraser import __version__
from bulk_eraser.atomic_file import write_whole
from bulk_eraser.elevate.endpoints import is_host, is_loopback
from bulk_eraser.errors import BulkEraserError, ConfigurationError, UsageError
from bulk_eraser.evidence.timestamp import (
    NONCE_BYTES,
    NoAnswer,
    NoStamp,
    Stamp,
    answer_to,
    request_for,
)
from bulk_eraser.sending.signals import Signals

if TYPE_CHECKING:
    import asyncio

    from bulk_eraser.elevate.route import Route

__all__ = ["Authority", "authority_url", "keep_stamp", "stamp_path", "stamps_beside"]

WITHIN_S = 15.0
MOST_BYTES = 1 << 16
_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
    "Accept-Encoding": "identity",
    "User-Agent": f"bulk-eraser/{__version__}",
}


@dataclass(frozen=True)
class Authority:
    """Where stamps are asked for, and the way there. Waits `within_s` seconds for all of it."""

    url: URL
    route: "Route"
    within_s: float = WITHIN_S


def authority_url(text: str) -> URL:
    """Raises `UsageError` for what is no address, `ConfigurationError` for remote plain http, on
    whose way anybody could answer."""
    try:
        url = URL(text)
        is_address = url.scheme in ("http", "https") and is_host(url.raw_host or "")
    except (ValueError, IndexError):  # the latter is yarl's for http://[::1]@
        is_address = False
    if not is_address or "@" in url.raw_authority or url.fragment or not text.isprintable():
        raise UsageError(
            "--timestamp must be the address of a time stamp authority (RFC 3161), such as "
            "https://tsa.example.com/tsr, without user name or password."
        )
    if url.scheme == "http" and not is_loopback(url.host or ""):
        raise ConfigurationError(
            f"A time stamp must be asked for with https, not by plain http to {url.host} (which is "
            "allowed to loopback addresses only)."
        )
    return url


def stamp_path(ledger: str, head: str) -> str:
    """Where the stamp of this head is kept."""
    return f"{ledger}.{head[:16]}.tsr"


def stamps_beside(ledger: str) -> list[str]:
    """The files with stamps of this ledger's heads, those of other ledgers left out."""
    name = re.compile(re.escape(ledger) + r"\.[0-9a-f]{16}\.tsr")
    return sorted(filter(name.fullmatch, glob.iglob(f"{glob.escape(ledger)}.*.tsr")))


def keep_stamp(ledger: str, head: str, authority: Authority) -> Stamp:
    """Ask for a stamp of `head`, and put the reply beside the ledger, mode 0600.

    Nothing but the head and a random number is sent. Raises `NoStamp`; a signal gives it up.
    """
    import asyncio  # which is slow to import, and not needed by who asks for no stamp

    path = stamp_path(ledger, head)
    if os.path.lexists(path):
        raise NoStamp(f"{path} already exists")
    first, *others = secrets.token_bytes(NONCE_BYTES)
    nonce = bytes([first % 127 + 1, *others])
    raw = asyncio.run(_given_up_on_a_signal(authority, request_for(head, nonce)))
    stamp = answer_to(head, nonce, raw)
    try:
        write_whole(path, raw, 0o600)
    except OSError as error:
        raise NoStamp(f"{path} cannot be written: {error.strerror}") from None
    return stamp


# ── the request ─────────────────────────────────────────────────────────────────────────────────


class _Asking:
    """What a signal stops."""

    def __init__(self, task: "asyncio.Task[bytes]") -> None:
        self.stopped_by: BulkEraserError | None = None
        self._task = task

    def stop(self, why: BulkEraserError, *, hurry: bool = False) -> None:  # noqa: ARG002 at once
        self.stopped_by = why
        self._task.cancel()


async def _given_up_on_a_signal(authority: Authority, request: bytes) -> bytes:
    import asyncio

    task = asyncio.create_task(_within_its_time(authority, request))
    asking = _Asking(task)
    Signals().attach(asking, asking)
    try:
        return await task
    except asyncio.CancelledError:
        raise NoAnswer("it was given up") from None


async def _within_its_time(authority: Authority, request: bytes) -> bytes:
    import asyncio

    import aiohttp

    try:
        async with asyncio.timeout(authority.within_s):
            return await _answer(authority, request)
    except TimeoutError:
        raise NoAnswer(f"it gave no answer within {authority.within_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a broken answer
        raise NoStamp(_reason(error)) from None


async def _answer(authority: Authority, request: bytes) -> bytes:
    import aiohttp

    from bulk_eraser.elevate.names import Names

    route = authority.route
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=Names(), ssl=route.tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
        ) as session,
        session.post(
            authority.url,
            data=request,
            headers=_HEADERS,
            allow_redirects=False,
            proxy=route.proxy,
        ) as answer,
    ):
        if answer.status != 200:
            raise NoStamp(f"it answered with HTTP status {answer.status}")
        raw = bytearray()
        async for part in answer.content.iter_chunked(MOST_BYTES):
            raw += part
            if len(raw) > MOST_BYTES:
                raise NoStamp("its answer is too long")
        return bytes(raw)


def _reason(error: Exception) -> str:
    import aiohttp

    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "its certificate is not trusted"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "the proxy did not lead there"
        case aiohttp.ClientConnectorDNSError():
            return "its host name was not found"
        case aiohttp.ClientConnectorError():
            return "it cannot be reached"
    return "the connection broke off"

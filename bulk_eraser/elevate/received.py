"""An answer's bytes to what it says, within bounds. No I/O.

httptools reads them, which is llhttp as in Node, without any of its leniencies. It has no call for
the end of a connection, so what that means for a body is decided here.
"""

from typing import Protocol

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec.structs import replace

from bulk_eraser.elevate.verdict import NetworkFault

__all__ = ["MAX_BODY", "AnswerReader", "Received", "Sink", "values_of"]

MAX_BODY = 64 << 10
"""Bytes; reading stops behind it, and the answer counts as none."""

MAX_HEAD = 16 << 10
"""Bytes, with all 1xx before it: a longer head is no answer."""

MAX_ANSWER = 8 * MAX_BODY
"""Bytes as they came: chunks of a few bytes each take that much, trailers and extensions may not
take more."""

_LOST = NetworkFault("connection_lost", maybe_done=True)
_TIMEOUT = NetworkFault("timeout", maybe_done=True)
_BAD_ANSWER = NetworkFault("bad_answer", maybe_done=True)

_FRAMING = {b"content-length", b"transfer-encoding"}

Headers = list[tuple[bytes, bytes]]
"""Names and values as they came, in their order."""


class Sink(Protocol):
    """Where a body goes that is too large for memory; `most` is how many bytes it takes."""

    @property
    def most(self) -> int: ...

    def take(self, part: bytes) -> bool:
        """The next bytes. False if no more are wanted: reading stops, and the answer counts as one
        that broke off. Raises nothing."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """An answer as it came. `complete` is false for a body that broke off or was too long."""

    status: int
    headers: Headers
    body: bytes
    complete: bool


def values_of(headers: Headers, name: bytes) -> list[str]:
    """The values of all headers of this name, which is given in lower case."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


class AnswerReader:
    """Reads the answer to one request and nothing else. `outcome` is None until it is known.

    The body of a 200 goes `into` what is given, and not into the outcome.

    `is_exact`: the answer came to its end, nothing came behind it, and another may follow.
    """

    __slots__ = (
        "_body",
        "_head",
        "_headers",
        "_into",
        "_length",
        "_parser",
        "_size",
        "_status",
        "is_exact",
        "outcome",
    )

    def __init__(self, into: Sink | None = None) -> None:
        self.outcome: Received | NetworkFault | None = None
        self.is_exact = False
        self._status = 0  # until the head is complete
        self._head: Headers = []
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._into = into
        self._length = 0
        self._size = 0
        self._parser = HttpResponseParser(self)

    # ── what happens on the connection ──

    def feed(self, data: bytes) -> None:
        """The next bytes. Not to be called any more once there is an outcome."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        # Behind a 101, or behind the last answer of a connection, it is an error as well.
        except (HttpParserError, HttpParserUpgrade):
            self.outcome = self.outcome or _BAD_ANSWER
        if self._size > MAX_HEAD and self.outcome is None:
            self._check_bounds()
        if self.outcome is not None:
            del self._parser  # they hold each other, and would wait for the collector

    def end(self, *, in_good_order: bool) -> Received | NetworkFault:
        """What it comes to as the connection is over, with FIN or (not `in_good_order`) without."""
        if not self._status:
            # Only where nothing came at all may it have been dead before the request.
            return replace(_LOST, at_once=not self._size)
        # A body of which nothing says how long it is ends here (RFC 9112, 6.3).
        is_framed = any(name.lower() in _FRAMING for name, _ in self._head)
        return self._received(complete=in_good_order and not is_framed)

    def expire(self) -> Received | NetworkFault:
        """What it comes to as time is up: a refusal's status stands without its body."""
        if self._status in (0, 200):
            return _TIMEOUT
        return self._received(complete=False)

    # ── what the parser finds ──

    def on_message_begin(self) -> None:
        self.is_exact = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []  # of trailers, nothing is believed
        if status < 100 or (self._size > MAX_HEAD and sum(map(_length, headers)) > MAX_HEAD):
            raise ValueError
        # 1xx announce the answer (RFC 9110, 15.2). 101 is one: it ends HTTP on this connection.
        if status >= 200 or status == 101:
            self._status, self._head = status, headers

    def on_body(self, part: bytes) -> None:
        if self._into is not None and self._status == 200:
            if self.outcome is None and not self._into.take(part):
                self.outcome = self._received(complete=False)
            return
        self._body.append(part)
        self._length += len(part)

    def on_message_complete(self) -> None:
        if not self._status or self.outcome is not None:
            return
        self.outcome = came = self._received(complete=True)
        # Behind a 101 something else may come, or an answer all the same.
        self.is_exact = came.complete and came.status >= 200 and self._parser.should_keep_alive()

    def _received(self, *, complete: bool) -> Received:
        body = b"".join(self._body)
        if self._length > MAX_BODY:
            body, complete = body[: MAX_BODY + 1], False
        return Received(self._status, self._head, body, complete)

    def _check_bounds(self) -> None:
        if not self._status:
            self.outcome = _BAD_ANSWER
        elif self._length > MAX_BODY or self._size > self._most_in_all():
            self.outcome = self._received(complete=False)

    def _most_in_all(self) -> int:
        if self._into is None or self._status != 200:
            return MAX_ANSWER
        return MAX_ANSWER + 8 * self._into.most


def _length(header: tuple[bytes, bytes]) -> int:
    return len(header[0]) + len(header[1]) + 4  # colon, space, CR, LF

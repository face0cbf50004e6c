"""An answer's bytes come to the same, however they are cut, and to no more than they say."""

import gc
import weakref

import pytest
from msgspec.structs import replace

from bulk_eraser.elevate.received import MAX_ANSWER, MAX_BODY, MAX_HEAD, AnswerReader, Received
from bulk_eraser.elevate.verdict import NetworkFault

OK = b"HTTP/1.1 200 OK\r\n"
JOB = b'{"jid":"job-1"}'
LENGTH = b"Content-Length: 15\r\n"
WHOLE = OK + LENGTH + b"\r\n" + JOB
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LOST = NetworkFault("connection_lost", maybe_done=True)
BAD = NetworkFault("bad_answer", maybe_done=True)
TIMEOUT = NetworkFault("timeout", maybe_done=True)


def reader_of(*parts: bytes) -> AnswerReader:
    reader = AnswerReader()
    for part in parts:
        reader.feed(part)
    return reader


def body_of(came: Received | NetworkFault | None) -> tuple[bytes, bool]:
    assert isinstance(came, Received)
    return came.body, came.complete


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        CHUNKED + b"f\r\n" + JOB + b"\r\n0\r\n\r\n",
        CHUNKED + b"5;x=y\r\n" + JOB[:5] + b"\r\na\r\n" + JOB[5:] + b"\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n" * 3 + WHOLE,
    ],
    ids=["length", "chunked", "chunks", "interim"],
)
def test_every_cut_of_an_answer(answer: bytes) -> None:
    """Wherever its segments begin, it is known with its last byte and not before."""
    for cut in range(1, len(answer)):
        reader = reader_of(answer[:cut])
        assert reader.outcome is None
        reader.feed(answer[cut:])
        assert body_of(reader.outcome) == (JOB, True)
        assert reader.is_exact


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_an_answer_that_breaks_off(cut: int) -> None:
    """A status counts only once the whole head is there, and a job only with its whole body."""
    reader = reader_of(*[WHOLE[:cut]] if cut else [])
    came, late = reader.end(in_good_order=True), reader.expire()
    head = WHOLE.index(JOB)
    if cut < head:
        assert came == replace(LOST, at_once=not cut)
    else:
        assert body_of(came) == (WHOLE[head:cut], False)
    assert late == TIMEOUT


@pytest.mark.parametrize(
    ("headers", "in_good_order", "complete"),
    [
        (b"", True, True),
        (b"", False, False),
        (b"Connection: close\r\n", True, True),
        (b"Content-Length: 99\r\n", True, False),
        (b"Transfer-Encoding: gzip\r\n", True, False),
        (b"TRANSFER-ENCODING: chunked, gzip\r\n", True, False),
    ],
)
def test_a_body_until_the_end(headers: bytes, in_good_order: bool, complete: bool) -> None:
    """The end of a connection ends a body of which nothing else says how long it is, and only if
    it ended in good order."""
    reader = reader_of(OK + headers + b"\r\n" + JOB)
    assert reader.outcome is None
    assert body_of(reader.end(in_good_order=in_good_order)) == (JOB, complete)


def test_a_refusal_stands_when_time_is_up() -> None:
    """Without its body, but not without its head."""
    head = b"HTTP/1.1 400 No\r\nContent-Length: 9\r\n"
    assert reader_of(head).expire() == TIMEOUT
    came = reader_of(head + b"\r\nbe").expire()
    assert isinstance(came, Received)
    assert (came.status, came.body, came.complete) == (400, b"be", False)


@pytest.mark.parametrize(
    "extra", [b"H", WHOLE, b"no HTTP", b"HTTP/1.1 101 Now\r\nUpgrade: x\r\n\r\n"]
)
def test_what_comes_behind_an_answer(extra: bytes) -> None:
    """The answer counts as it is, and its connection carries no other."""
    reader = reader_of(WHOLE + extra)
    assert body_of(reader.outcome) == (JOB, True)
    assert not reader.is_exact


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\n" + LENGTH + b"\r\n" + JOB,
        b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n" + JOB,
        b"HTTP/1.1 101 Now\r\n\r\n",
        b"HTTP/1.1 101 Now\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + WHOLE,
        OK + b"Content-Length: 65537\r\n\r\n" + b"a" * 65537,
    ],
    ids=["close", "1.0", "switch", "upgrade", "long"],
)
def test_an_answer_that_is_the_last(answer: bytes) -> None:
    """Nothing is asked behind it on its connection."""
    reader = reader_of(answer)
    assert isinstance(reader.outcome, Received)
    assert not reader.is_exact


def test_trailers_are_no_headers() -> None:
    """What comes behind a body says nothing about it."""
    trailers = b"Content-Encoding: gzip\r\nRetry-After: 9\r\n"
    came = reader_of(CHUNKED + b"f\r\n" + JOB + b"\r\n0\r\n" + trailers + b"\r\n").outcome
    assert isinstance(came, Received)
    assert came.headers == [(b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize("cuts", [1, 50])
@pytest.mark.parametrize(("size", "taken"), [(MAX_HEAD - 999, True), (MAX_HEAD + 99, False)])
def test_the_bound_of_a_head(size: int, taken: bool, cuts: int) -> None:
    """A head of 16 KiB is read, a longer one is no answer, in one segment or in many."""
    answer = OK + b"X: " + b"a" * size + b"\r\n" + LENGTH + b"\r\n" + JOB
    step = -(-len(answer) // cuts)
    reader = AnswerReader()
    for first in range(0, len(answer), step):
        if reader.outcome is None:
            reader.feed(answer[first : first + step])
    assert isinstance(reader.outcome, Received) if taken else reader.outcome == BAD


@pytest.mark.parametrize(
    ("start", "piece", "bound", "has_head"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", MAX_HEAD, False),
        (CHUNKED + b"1", b";extension" * 100, MAX_ANSWER, True),
        (CHUNKED + b"0\r\n", b"X: a\r\n" * 100, MAX_ANSWER, True),
        (CHUNKED, b"1\r\na\r\n", 6 * MAX_BODY + len(CHUNKED), True),
        (OK + b"\r\n", b"a" * 1000, MAX_BODY + len(OK) + 2, True),
    ],
    ids=["interim", "extensions", "trailers", "small_chunks", "until_end"],
)
def test_what_has_no_end_is_bounded(start: bytes, piece: bytes, bound: int, has_head: bool) -> None:
    """Whatever comes on and on is given up, with a status only if there was a head."""
    reader, size = AnswerReader(), 0
    data = start + piece
    while reader.outcome is None:
        assert size <= bound
        reader.feed(data)
        size, data = size + len(data), piece
    if not has_head:
        assert reader.outcome == BAD
    else:
        body, complete = body_of(reader.outcome)
        assert len(body) <= MAX_BODY + 1
        assert not complete


def test_a_status_that_is_none() -> None:
    """A number below 100 is no status."""
    assert reader_of(b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n").outcome == BAD


def test_nothing_waits_for_the_collector() -> None:
    """What an answer was read with is gone with it, or a million answers would pile up."""

    class Watched(AnswerReader):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        reader = Watched()
        watch = weakref.ref(reader)
        reader.feed(WHOLE)
        del reader
        assert watch() is None
    finally:
        gc.enable()


class Bucket:
    """Where a large body goes; it takes `most` bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.content = b""

    def take(self, part: bytes) -> bool:
        self.content += part
        return len(self.content) <= self.most


def test_a_body_that_goes_elsewhere():
    """That of a 200 goes there, of any length, and not into the answer; so with chunks."""
    body = bytes(3 * MAX_BODY)
    for framed in (
        OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
    ):
        bucket = Bucket(1 << 20)
        reader = AnswerReader(bucket)
        for at in range(0, len(framed), 1000):
            reader.feed(framed[at : at + 1000])
        assert body_of(reader.outcome) == (b"", True)
        assert bucket.content == body


def test_a_refusal_is_no_body_of_that_kind():
    """What a 404 says comes with the answer, within the usual bounds."""
    bucket = Bucket(1 << 20)
    reader = AnswerReader(bucket)
    reader.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")
    assert body_of(reader.outcome) == (b"gone", True)
    assert bucket.content == b""


def test_reading_stops_when_there_is_enough():
    """Also of a body of which nothing says how long it is: the answer counts as broken off."""
    bucket = Bucket(100_000)
    reader = AnswerReader(bucket)
    reader.feed(OK + b"\r\n")
    for _ in range(1000):
        if reader.outcome is None:
            reader.feed(bytes(1000))
    assert body_of(reader.outcome) == (b"", False)
    assert len(bucket.content) < 102_000


def test_chunks_of_one_byte_are_bounded_as_well():
    """Of what is sent around the bytes, there is an end."""
    bucket = Bucket(1000)
    reader = AnswerReader(bucket)
    reader.feed(CHUNKED)
    fed = 0
    while reader.outcome is None and fed < 10 * MAX_ANSWER:
        reader.feed(b"1;" + b"x" * 5_000 + b"\r\n.\r\n")
        fed += 5_007
    assert body_of(reader.outcome)[1] is False
    assert fed < 2 * MAX_ANSWER

"""Files elsewhere: read whole or refused, with a sentence in which no secret stands."""

import io
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import fsspec
import pytest
from fsspec.spec import AbstractFileSystem

from bulk_eraser.errors import InputError, Interrupted, UsageError
from bulk_eraser.sources.address import object_name, without_secrets
from bulk_eraser.sources.file import InputFile
from bulk_eraser.sources.remote import RemoteFile

SECRET = "s1gn4ture"
CONTENT = b"customerKey\nk1\nk2\n"


def content_of(path: str) -> bytes:
    return b"".join(RemoteFile(path).blocks())


def refused(path: str) -> str:
    """What is said of the file, in which the secret must not be."""
    with pytest.raises((InputError, UsageError)) as caught:
        content_of(path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# ── addresses ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"https://anna:{SECRET}@example.com/keys.csv", "name and a password"),
        (f"http://example.com/keys.csv?sig={SECRET}", "plain http"),
        ("http://127.0.0.1.example.com/keys.csv", "plain http"),
        (f"https://example.com/?sig={SECRET}", "names no file"),
        ("https:///keys.csv", "not valid"),
        ("https://example.com:x/keys.csv", "not valid"),
        (f"https://[::1/keys.csv?sig={SECRET}", "not valid"),
        (f"https://example.com/my keys.csv?sig={SECRET}", "%20 for a blank"),
        (f"https://example.com/kündigung.csv?sig={SECRET}", "%C3%BC for ü"),
        (f"https://{'a' * 64}.example.com/keys.csv?sig={SECRET}", "not valid"),
        (f"s3://AKIA:{SECRET}@bucket/keys.csv", "without a password"),
        (f"s3://bucket/keys.csv?key={SECRET}", "without a password"),
        ("s3://bucket/folder/", "names no file"),
        ("s3://bucket", "names no file"),
        (f"simplecache::s3://bucket/{SECRET}", ""),
        ("s3://bucket/a.csv::file:///etc/x.csv", "without a password"),
        (f"ftp://example.com/{SECRET}", "not from ftp://"),
        ("file:///keys.csv", "not from file://"),
    ],
)
def test_an_address_that_must_not_be_used(path: str, words: str):
    """Neither a password, nor an unprotected way, nor anything but one file."""
    if path.startswith("simplecache"):  # that is a path, and none that exists
        with pytest.raises(InputError):
            InputFile(path)
        return
    assert words in refused(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"https://h.example/a/keys.csv?X-Amz-Signature={SECRET}&a=b",
            "https://h.example/a/keys.csv?…",
        ),
        (f"--exclude=HTTPS://h/k.csv?{SECRET}", "--exclude=HTTPS://h/k.csv?…"),
        (f"https://h/k.csv#{SECRET}", "https://h/k.csv?…"),
        (f"https://anna:{SECRET}@h/k.csv", "https://h/k.csv"),
        (f"https://h/my keys.csv?a b={SECRET}", "https://h/my keys.csv?…"),
        (f"https://anna:s {SECRET}@h/k.csv", "https://h/k.csv"),
        ("s3://bucket/k.csv?versionId=abc", "s3://bucket/k.csv?versionId=abc"),
        ("keys?.csv", "keys?.csv"),
    ],
)
def test_secrets_are_cut_off(text: str, expected: str):
    assert without_secrets(text) == expected


def test_the_name_is_that_of_the_file():
    """It tells the format, so nothing of the query may be in it."""
    assert object_name("https://h/a/my%20keys.csv.gz?x=/b.json") == "my keys.csv.gz"
    assert object_name("s3://b/a/keys.parquet?versionId=1/2") == "keys.parquet"
    assert object_name("folder/keys.csv") == "keys.csv"


# ── the web ─────────────────────────────────────────────────────────────────────────────────

Answer = Callable[[BaseHTTPRequestHandler], None]
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 3\r\n\r\nk1\nk2\n"


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


class Host:
    """A host on loopback; `answers` by path, `asked` has the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                host.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    with closing(Host()) as host:
        yield host


def test_a_file_of_the_web_is_read_once(host: Host):
    """With its query; the ETag is remembered, and the address without the signature."""
    length = str(len(CONTENT))
    host.answers["/a/keys.csv"] = answer(200, CONTENT, Content_Length=length, ETag='"v1"')
    file = InputFile(f"{host.origin}/a/keys.csv?sig={SECRET}")
    with closing(file):
        assert (file.name, file.version) == ("keys.csv", '"v1"')
        assert file.address == f"{host.origin}/a/keys.csv"
        for raw in (file.surveyed_bytes(), file.checked_bytes()):
            with raw:
                assert raw.read() == CONTENT
        file.close_survey()
        file.must_be_unchanged()
    assert host.asked == [f"/a/keys.csv?sig={SECRET}"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(404), "does not exist (404)"),
        (answer(403, SECRET.encode()), "may not be read (403)"),
        (answer(500), "answered with 500"),
        (answer(200, CONTENT), "comes without its length"),
        (answer(200, CONTENT, Content_Length="99"), "was cut off"),
        (answer(200, b"5\r\nhe", Transfer_Encoding="chunked"), "was cut off"),
        (answer(302, Location="/k.csv"), "redirects again and again"),
        (answer(302, Location=f"https://example.com/{SECRET}"), "redirects to another host"),
        (answer(302, Location="file:///etc/passwd"), "redirects to another host"),
        (answer(302, Location=f"http://[abc/{SECRET}"), "is not valid"),
        (answer(200, b"-5\r\nhello", Transfer_Encoding="chunked"), "is not valid"),
        (lambda handler: handler.wfile.write(TWO_LENGTHS), "comes with two lengths"),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n"), "cannot be reached"),
    ],
)
def test_what_is_not_there_or_not_whole(host: Host, given: Answer, words: str):
    """Nothing of what the host says is repeated."""
    host.answers["/k.csv"] = given
    said = refused(f"{host.origin}/k.csv?sig={SECRET}")
    assert words in said
    assert said.startswith(f"{host.origin}/k.csv ")


def test_a_redirect_within_the_host_and_chunks(host: Host):
    host.answers["/k.csv"] = answer(307, Location="/b/k.csv?x=1")
    host.answers["/b/k.csv"] = answer(200, b"2\r\nhi\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    # Chunks are of HTTP/1.1, which this server does not say by itself.
    assert content_of(f"{host.origin}/k.csv") == b"hi"
    assert host.asked == ["/k.csv", "/b/k.csv?x=1"]


def test_nobody_listens():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        assert "cannot be reached" in refused(f"http://localhost:{port}/k.csv?{SECRET}")


# ── a cloud ─────────────────────────────────────────────────────────────────────────────────


class Store(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store with one object."""

    protocol = "gs"
    states: list[dict[str, Any]]
    content = CONTENT
    error: Exception | None = None

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        if Store.error is not None:
            raise Store.error
        return {"name": path, "type": "file"} | Store.states.pop(0)

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        assert (path, mode) == ("bucket/keys.csv", "rb")
        return io.BytesIO(Store.content)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[Store]:
    fsspec.register_implementation("gs", Store, clobber=True)
    size = len(CONTENT)
    monkeypatch.setattr(Store, "states", [{"size": size, "generation": "7"}] * 2, raising=False)
    return Store


PATH = "gs://bucket/keys.csv"


def test_an_object_is_read_and_its_version_kept(store: type[Store]):
    file = RemoteFile(PATH)
    assert (b"".join(file.blocks()), file.version) == (CONTENT, "7")


@pytest.mark.parametrize("now", [{"generation": "8"}, {"size": 17}, {"etag": "x"}])
def test_an_object_that_is_replaced_meanwhile(store: type[Store], now: dict[str, Any]):
    store.states = [store.states[0], store.states[0] | now]
    assert "was replaced while it was read" in refused(PATH)


def test_an_object_that_is_cut_off(store: type[Store], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "content", CONTENT[:-1])
    assert "was cut off" in refused(PATH)


def test_a_folder_is_no_file(store: type[Store]):
    store.states = [{"type": "directory", "size": 0}]
    assert "is a folder" in refused(PATH)


class NoCredentialsError(Exception):
    """As botocore calls it."""


class EndpointConnectionError(Exception):
    """The same."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(SECRET), "does not exist"),
        (PermissionError(SECRET), "may not be read with these credentials"),
        (NoCredentialsError(SECRET), "no valid credentials were found"),
        (EndpointConnectionError(SECRET), "cannot be reached"),
        (TimeoutError(SECRET), "cannot be reached"),
        (RuntimeError(SECRET), "cannot be read (RuntimeError)"),
    ],
)
def test_what_a_store_refuses(
    store: type[Store], monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
):
    """Errors are told by their kind; their text may hold a secret."""
    monkeypatch.setattr(store, "error", error)
    said = refused(PATH)
    assert words in said
    assert said.startswith(f"{PATH} ")


def test_a_signal_is_no_error_of_the_store(store: type[Store], monkeypatch: pytest.MonkeyPatch):
    """It may arrive while a library is waiting, and ends the command as it does elsewhere."""
    monkeypatch.setattr(store, "error", Interrupted(signal.SIGTERM))
    with pytest.raises(Interrupted):
        content_of(PATH)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "adlfs", None)
    assert "pip install 'bulk-eraser[az]'" in refused("az://container/keys.csv")

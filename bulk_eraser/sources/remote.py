"""Inputs that lie elsewhere: objects of a cloud's store, by fsspec, and files of the web.

They are read once, by whoever spools them. What a library says of an error is not told: it may hold
a signature or a key. So errors are told by their kind.
"""

import http.client
import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any, NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit

from bulk_eraser.errors import BulkEraserError, InputError, UsageError
from bulk_eraser.sources.address import SCHEME, VERSION_ID, object_name, without_secrets

__all__ = ["RemoteFile"]

BLOCK = 1 << 20
TIMEOUT_S = 60.0
MOST_REDIRECTS = 5
_READ_AHEAD = 8 << 20
_EXTRAS = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
"""Scheme of an address → the extra that reads it."""
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
_REDIRECTS = (301, 302, 303, 307, 308)
_STATE_OF_OBJECT = (
    "ETag",
    "etag",
    "generation",
    "VersionId",
    "size",
    "LastModified",
    "last_modified",
    "updated",
)
"""What stores say of an object; if one of these changes, it is another one."""
_NO_CREDENTIALS = {
    "ClientAuthenticationError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshError",
    "TokenRetrievalError",
}
_NOT_REACHED = re.compile(r"Timeout|Connect|gaierror|ServiceRequestError|HTTPClientError|SSLError")


class RemoteFile:
    """A file elsewhere. `address` is where it is, without secrets; `version`, known once `blocks`
    were read, is what tells this state of it from others (version id, generation or ETag).

    Raises `UsageError` for an address that cannot be meant, or must not be used.
    """

    def __init__(self, path: str) -> None:
        found = SCHEME.match(path)
        self.scheme = found[1].lower() if found else ""
        self._path = path
        self.address = without_secrets(path).removesuffix("?…")
        self.version: str | None = None
        if self.scheme in ("http", "https"):
            _must_be_usable(_split(path))
        elif self.scheme in _EXTRAS:
            _must_name_an_object(path)
        else:
            raise UsageError(
                f"Inputs are read from files, s3://, gs://, az:// and https://, not from "
                f"{self.scheme}://. Nothing was sent."
            )

    def blocks(self) -> Iterator[bytes]:
        """The content. Raises `InputError` when it cannot be read, or not whole."""
        return self._of_the_web() if self.scheme in ("http", "https") else self._of_a_cloud()

    # ── the web ─────────────────────────────────────────────────────────────────────────────

    def _of_the_web(self) -> Iterator[bytes]:
        try:
            with ExitStack() as opened:
                yield from self._whole(self._answer(opened))
        except ssl.SSLCertVerificationError:
            self._refuse(
                "cannot be read: the certificate of its host is not valid. If your company issues "
                "its own, name the file with its root certificate in SSL_CERT_FILE"
            )
        except http.client.IncompleteRead:
            self._refuse("was cut off while it was read. Try again")
        except (OSError, http.client.HTTPException):
            self._refuse("cannot be reached. Check the address and the network")
        except ValueError:  # of a name that is none, a redirect to nowhere, a chunk of -1 bytes
            self._refuse("cannot be read: its address, or what its host answers, is not valid")

    def _answer(self, opened: ExitStack) -> http.client.HTTPResponse:
        """The answer that has the file, after redirects within its host; `opened` closes all."""
        url, redirects = self._path, 0
        while True:
            parts = _split(url)
            connection = opened.enter_context(closing(_connection_to(parts)))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept-Encoding": "identity"})
            answer = opened.enter_context(closing(connection.getresponse()))
            if answer.status == 200:
                return answer
            if answer.status not in _REDIRECTS:
                self._refuse_status(answer.status)
            redirects += 1
            if redirects > MOST_REDIRECTS:
                self._refuse("redirects again and again")
            url = urljoin(url, answer.headers.get("Location", ""))
            if not url.startswith(f"{parts.scheme}://{parts.netloc}/"):
                self._refuse(
                    "redirects to another host, which is not followed. If that is where the file "
                    "should come from, name its address there"
                )

    def _whole(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        expected = answer.length
        # Only a length or chunks can show that a file arrived whole.
        if expected is None and not answer.chunked:
            self._refuse("comes without its length, so that nobody knows whether it is whole")
        if len(set(answer.headers.get_all("Content-Length", []))) > 1:
            self._refuse("comes with two lengths, so that nobody knows whether it is whole")
        self.version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        read = 0
        while block := answer.read(BLOCK):
            read += len(block)
            yield block
        if expected is not None and read != expected:
            self._refuse("was cut off while it was read. Try again")

    def _refuse_status(self, status: int) -> NoReturn:
        if status in (404, 410):
            self._refuse(f"does not exist ({status}). Check the address")
        if status in (401, 403):
            self._refuse(
                f"may not be read ({status}). Ask for access; a signed address may have expired"
            )
        self._refuse(f"cannot be read: its host answered with {status}")

    # ── a cloud ─────────────────────────────────────────────────────────────────────────────

    def _of_a_cloud(self) -> Iterator[bytes]:
        extra = _EXTRAS[self.scheme]
        try:
            import fsspec

            fsspec.get_filesystem_class(self.scheme)
        except ImportError:
            raise InputError(
                f"{self.address} needs an extra package: pip install 'bulk-eraser[{extra}]' "
                f"({_PACKAGES[extra]}). Or copy the file to this computer first."
            ) from None
        # What libraries have to say to programmers would stand among what is said to the user.
        logging.getLogger().addHandler(logging.NullHandler())
        try:
            yield from self._object(fsspec)
        except (BulkEraserError, MemoryError):  # a signal is one of the first, too
            raise
        except Exception as error:
            self._tell(error)

    def _object(self, fsspec: Any) -> Iterator[bytes]:
        store, place = fsspec.core.url_to_fs(
            self._path, use_listings_cache=False, skip_instance_cache=True
        )
        before = store.info(place)
        if before.get("type") == "directory":
            self._refuse("is a folder. Name one file in it")
        self.version = _version_of(before)
        read = 0
        with store.open(place, "rb", block_size=_READ_AHEAD, cache_type="readahead") as file:
            while block := file.read(BLOCK):
                read += len(block)
                yield block
        store.invalidate_cache()
        if _state_of(before) != _state_of(store.info(place)):
            self._refuse("was replaced while it was read. Run the same command again")
        if read != before["size"]:
            self._refuse("was cut off while it was read. Try again")

    def _tell(self, error: BaseException) -> NoReturn:
        """Raise what to tell of an error by the kinds of it and of what led to it."""
        kinds: list[str] = []
        link: BaseException | None = error
        while link is not None and len(kinds) < 200:
            kinds += [kind.__name__ for kind in type(link).__mro__]
            link = link.__cause__ or link.__context__
        if "FileNotFoundError" in kinds:
            self._refuse("does not exist. Check the address")
        if not _NO_CREDENTIALS.isdisjoint(kinds):
            self._refuse(
                "cannot be read: no valid credentials were found. Give them in the way of the "
                "cloud's own tools (environment, profile or role)"
            )
        if _EXTRAS[self.scheme] == "az" and type(error) is ValueError:
            self._refuse("cannot be read: name its account with AZURE_STORAGE_ACCOUNT_NAME")
        if "PermissionError" in kinds:
            self._refuse("may not be read with these credentials. Ask for access")
        if any(_NOT_REACHED.search(kind) for kind in kinds):
            self._refuse("cannot be reached. Check the address and the network")
        self._refuse(f"cannot be read ({type(error).__name__})")

    def _refuse(self, why: str) -> NoReturn:
        raise InputError(f"{self.address} {why}. Nothing was sent.") from None


def _split(url: str) -> SplitResult:
    """Raises `UsageError` for what is no address."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(
            "The address of the input has a blank or a letter in it that no address has. Write it "
            "as the browser does: %20 for a blank, %C3%BC for ü. Nothing was sent."
        )
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise UsageError("The address of the input is not valid. Nothing was sent.") from None
    return parts


def _must_be_usable(parts: SplitResult) -> None:
    if parts.username is not None:
        raise UsageError(
            "An address with a name and a password in it is not used: everybody on this computer "
            "can see it. Nothing was sent."
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise UsageError(
            "An input is not read over plain http from another computer, where it can be changed "
            "on the way. Use https://. Nothing was sent."
        )
    if not os.path.basename(parts.path):
        raise UsageError("The address of the input names no file. Nothing was sent.")


def _must_name_an_object(path: str) -> None:
    plain = path.partition(VERSION_ID)[0] if path.lower().startswith("s3:") else path
    rest = plain.partition("://")[2]
    container = rest.partition("/")[0]
    # In Azure's addresses the container stands before the @, but no password does.
    is_login = ":" in container or ("@" in container and not path.lower().startswith("abfs"))
    if is_login or "?" in plain or "#" in plain or "::" in plain:
        raise UsageError(
            "An address in a cloud has the form s3://bucket/folder/file, without a password, "
            "options or a # in it. Credentials are found as the cloud's own tools find them. "
            "Nothing was sent."
        )
    if not object_name(plain) or "/" not in rest:
        raise UsageError("The address of the input names no file. Nothing was sent.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _connection_to(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)


def _state_of(info: Mapping[str, Any]) -> list[Any]:
    return [info.get(name) for name in _STATE_OF_OBJECT]


def _version_of(info: Mapping[str, Any]) -> str | None:
    """The version id if versions are kept, else the generation, else the ETag."""
    for name in ("VersionId", "version_id", "generation", "ETag", "etag"):
        if (value := info.get(name)) and value != "null":
            return str(value)
    return None

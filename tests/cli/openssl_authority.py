"""A time stamp authority made with the `openssl` command, and right and wrong answers of it."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

CONFIGURATION = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamping]
basicConstraints = CA:FALSE
extendedKeyUsage = critical, timeStamping
[ca]
default_ca = issuing
[issuing]
database = index
serial = issued
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
[tsa]
default_tsa = authority
[authority]
serial = stamped
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
other_policies = 1.2.3.5
digests = sha256
accuracy = secs:2
ess_cert_id_alg = sha256
"""
LONG_AGO = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
THESE_DAYS = ("-startdate", "20200101000000Z", "-enddate", "21000101000000Z")
# With the root behind it, this one is out of DER's order, which puts what is shorter first.
SIGNER = "/CN=An authority whose certificate is longer than that of its root"


def openssl(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = ["openssl", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def must(folder: Path, *words: object) -> str:
    done = openssl(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Papers:
    """A root, what it has signed, and what it signs: `root.pem`, `signer.pem`, `expired.pem`."""

    def __init__(self, folder: Path, name: str = "Root") -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "openssl.cnf").write_text(CONFIGURATION)
        (folder / "index").write_text("")
        (folder / "issued").write_text("1000")
        (folder / "stamped").write_text("01")
        for key in ("root", "signer"):
            must(
                folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{key}.key"
            )
        made = ("req", "-new", "-config", "openssl.cnf")
        self._root = ("-x509", "-days", 3650, "-extensions", "root", "-subj", f"/CN={name}")
        must(folder, *made, *self._root, "-key", "root.key", "-out", "root.pem")
        must(folder, *made, "-key", "signer.key", "-subj", SIGNER, "-out", "signer.csr")
        for certificate, days in (("signer", THESE_DAYS), ("expired", LONG_AGO)):
            issue = ("ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", "signer.csr")
            by = ("-cert", "root.pem", "-keyfile", "root.key", "-extensions", "stamping")
            must(folder, *issue, *by, *days, "-out", f"{certificate}.pem")
            (folder / "index").write_text("")  # one name may have several certificates

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def reply(self, query: bytes, *more: object, signer: str = "signer") -> bytes:
        """The reply to a query, signed."""
        (self.folder / "query").write_bytes(query)
        signed = ("-signer", f"{signer}.pem", "-inkey", "signer.key", "-out", "reply")
        must(
            self.folder,
            *("ts", "-reply", "-config", "openssl.cnf", "-queryfile", "query"),
            *(*signed, *more),
        )
        return (self.folder / "reply").read_bytes()

    def out_of_order(self, query: bytes) -> bytes:
        """A reply whose certificates are not in DER's order."""
        return self.reply(query, "-chain", "root.pem")

    def says(self, reply: bytes, head: str) -> bool:
        """What `openssl ts -verify` says of a reply."""
        (self.folder / "asked").write_bytes(reply)
        done = openssl(
            self.folder,
            *("ts", "-verify", "-digest", head, "-in", "asked", "-CAfile", "root.pem"),
        )
        assert ("Verification: OK" in done.stdout) == (done.returncode == 0)
        return done.returncode == 0


def server_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """For a server on 127.0.0.1, and the certificate that vouches for it."""
    must(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server.key")
    about = ("-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1")
    signed = ("req", "-x509", "-new", "-days", 30, "-key", "server.key", "-out", "server.pem")
    must(folder, *signed, *about)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, folder / "server.pem"


def is_there() -> bool:
    return shutil.which("openssl") is not None


Answer = Callable[[bytes], bytes | web.StreamResponse]


class Authority:
    """Serves replies on loopback; `answer` makes one of a query, `asked` has all requests."""

    def __init__(self, papers: Papers) -> None:
        self.answer: Answer = papers.reply
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.is_silent = False
        self.has_asked = asyncio.Event()
        self._released = asyncio.Event()
        self._runner: web.AppRunner
        self.url = ""

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        server: Any = site._server
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/tsr"

    async def stop(self) -> None:
        self._released.set()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        query = await request.read()
        self.asked.append((request.path, dict(request.headers), query))
        self.has_asked.set()
        if self.is_silent:
            await self._released.wait()
        answer = await asyncio.to_thread(self.answer, query)
        return web.Response(body=answer) if isinstance(answer, bytes) else answer

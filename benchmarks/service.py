"""The services on loopback that are measured against, each a process on a core of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = "/api/admin/v4/event-data/create-remove-customer-job"
STATUS = "/api/admin/v4/event-data/job-status"
HERE = Path(__file__).parent
STARTS_WITHIN_S = 10.0

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    {tls}
    location = {path} {{ return 200 '{{"jid":"$request_id","status":"created"}}'; }}
    location = {status} {{ return 200 '{{"jid":"$arg_jid","status":"done"}}'; }}
  }}
}}
"""
NGINX_TLS = "listen 127.0.0.1:{port} ssl backlog=1024; ssl_certificate {pem}; {key}"


def cores() -> tuple[set[int], set[int]]:
    """The client's core and the service's; the same one if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[-1]}


def nginx() -> str | None:
    """Where nginx is; Debian has it where only root's PATH looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def certificate(folder: Path) -> Path | None:
    """A self-signed certificate for loopback and its key in one file; None without openssl."""
    if not shutil.which("openssl"):
        return None
    pem, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-out", pem, "-keyout", key], check=True, capture_output=True
    )
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


class Running:
    """A service: its origin, and, once it has ended, what it counted (not nginx)."""

    def __init__(self, name: str, origin: str) -> None:
        self.name = name
        self.origin = origin
        self.url = origin + PATH
        self.counts: dict[str, int] = {}


@contextmanager
def fast_service(folder: Path, pem: Path | None = None) -> Iterator[Running]:
    """nginx with a fixed answer, else our own stub, which takes more than nginx of its core."""
    program = nginx()
    if program is None:
        with stub_service(0.0, pem) as running:
            yield running
        return
    folder = folder / ("nginx-tls" if pem else "nginx")
    folder.mkdir()
    port, tls_port = free_port(), free_port()
    tls = NGINX_TLS.format(port=tls_port, pem=pem, key=f"ssl_certificate_key {pem};") if pem else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, tls=tls, path=PATH, status=STATUS))
    command = [program, "-c", str(config), "-p", str(folder), "-e", "stderr"]
    with subprocess.Popen(command, preexec_fn=to_its_core) as process:
        try:
            wait_until_it_listens(port)
            origin = f"https://127.0.0.1:{tls_port}" if pem else f"http://127.0.0.1:{port}"
            yield Running("nginx", origin)
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def stub_service(latency_s: float, pem: Path | None = None) -> Iterator[Running]:
    """Our own service, which answers after so many seconds and counts."""
    command = [sys.executable, str(HERE / "stub_service.py"), str(latency_s)]
    if pem:
        command.append(str(pem))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=to_its_core
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        running = Running("own stub", f"http{'s' if pem else ''}://127.0.0.1:{port}")
        try:
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            running.counts = json.loads(process.stdout.read() or "{}")


def to_its_core() -> None:
    os.sched_setaffinity(0, SERVICE_CORE)


def to_the_clients_core() -> None:
    os.sched_setaffinity(0, CLIENT_CORE)


CLIENT_CORE, SERVICE_CORE = cores()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("nginx did not start; its errors stand above.")

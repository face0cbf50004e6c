"""S11: real limiters in front of a fast service, as processes on loopback."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/errors crit;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  limit_req_zone $binary_remote_addr zone=one:1m rate={limit}r/s;
  limit_req_status {code};
  server {{
    listen 127.0.0.1:{port};
    location / {{ limit_req zone=one {burst}; proxy_pass http://127.0.0.1:{behind}; }}
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  stick-table type ip size 10 expire 10s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status {code} if {{ sc_http_req_rate(0) gt {limit} }}
  default_backend behind
backend behind
  server one 127.0.0.1:{behind}
"""


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    return found or pytest.skip(f"{name} is not installed (apt-get install {name})")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def is_up(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def limiter(command: list[str], port: int) -> Iterator[str]:
    """The origin of a limiter that runs as long as this lasts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not is_up(port):
            assert time.monotonic() < deadline
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it ended with {process.wait(0.05)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "code", "burst"),
    [
        ("nginx", 503, "burst=20 nodelay"),
        ("nginx", 429, "burst=20 nodelay"),
        ("nginx", 503, ""),
        ("haproxy", 429, ""),
    ],
)
async def test_a_real_limiter_is_used_and_not_pestered(
    desk: Any,
    service: Any,
    keys: list[str],
    tmp_path: Path,
    name: str,
    code: int,
    burst: str,
):
    """1,500 keys at 100 a second: few refused (the limit is learnt in this time as well), every key
    accepted. How many, and how much of the limit is used, depends on what else this computer does,
    and is told exactly by the models; here it is a tenth at most, of which a sender who does not
    learn gets three to four, and a third of the limit at least."""
    port, behind = free_port(), urlsplit(service.origin).port
    settings = {"limit": 100, "code": code, "burst": burst, "port": port, "behind": behind}
    config = tmp_path / "limiter.conf"
    config.write_text((NGINX if name == "nginx" else HAPROXY).format(folder=tmp_path, **settings))
    flags = ["-p", str(tmp_path), "-c"] if name == "nginx" else ["-db", "-f"]
    many = [f"{number:08d}-5e17" for number in range(1500)]
    source = desk.csv(many)
    with limiter([program(name), *flags, str(config)], port) as origin:
        ended = await desk.call(
            *("run", source, "--base-url", origin, "--yes", "--json", "--rate", 0)
        )
    assert ended.code == 0
    assert ended.json["counts"]["accepted"] == 1500
    assert ended.json["retries"] <= 0.1 * ended.json["requests"]
    assert ended.json["elapsed_s"] <= 1500 / 100 / 0.3

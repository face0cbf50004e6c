"""`simulate` in a process of its own, and what it refuses."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulk_eraser.cli.simulate import SimulateOptions, serve
from bulk_eraser.errors import LedgerWriteError, UsageError

COMMAND = "from bulk_eraser.cli.simulate import simulate; simulate()"
ROOT = Path(__file__).parents[2]


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the line with which it says where it listens."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:
        assert started.stdout is not None
        try:
            yield started, started.stdout.readline()
        finally:
            started.kill()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_listens_and_stops_on_a_signal(
    signum: signal.Signals, tmp_path: Path
) -> None:
    """stdout is the origin alone, stderr how to use it, and a signal ends it with 0."""
    log = tmp_path / "requests.ndjson"
    with process("--api-key", "it's", "--fault", "delay=0", "--log", str(log)) as (started, line):
        origin = line.strip()
        request = urllib.request.Request(
            f"{origin}/api/v2/event-data/create-remove-customer-job?customerKey=k",
            method="POST",
            headers={"Api-Key": "it's"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        started.send_signal(signum)
        out, err = started.communicate(timeout=20)
        assert (started.returncode, out) == (0, "")
    assert f"""ELEVATE_API_KEY='it'"'"'s' bulk-eraser run INPUT --base-url {origin}""" in err
    assert "Faults: delay 0%" in err
    assert err.endswith("Stopped after 1 request and 1 removal job.\n")
    assert log.read_text().count("\n") == 1


def test_a_port_in_use_names_the_port() -> None:
    """The refusal is one sentence with the port and the option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"^Port {port} is in use; .*--port"):
            serve(SimulateOptions(port=port))


def test_a_bad_fault_lists_the_names() -> None:
    """Options that mean nothing are refused before anything listens."""
    with pytest.raises(UsageError, match=r"http_400.*delay"):
        serve(SimulateOptions(port=0, fault=("http_500=often",)))
    with pytest.raises(UsageError, match="given twice"):
        serve(SimulateOptions(port=0, fault=("html=1%", "html=2%")))
    with pytest.raises(UsageError, match="more than 1"):
        serve(SimulateOptions(port=0, fault=("html=60%", "delay=60%")))
    with pytest.raises(UsageError, match="must last"):
        serve(SimulateOptions(port=0, day=0.0))


@pytest.mark.parametrize("api_key", ["", "two words", "schlüssel"])
def test_an_api_key_that_no_header_holds_is_refused(api_key: str) -> None:
    """A made-up key must be one that a client can send."""
    with pytest.raises(UsageError, match="--api-key"):
        serve(SimulateOptions(port=0, api_key=api_key))


def test_a_log_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """The refusal names the option, the file and the reason."""
    with pytest.raises(UsageError, match=r"Cannot open --log .*No such file"):
        serve(SimulateOptions(port=0, log=str(tmp_path / "absent" / "log")))


def test_a_log_that_cannot_be_written_ends_the_command() -> None:
    """A full disk ends the command, which says so and exits with the code for it."""
    with process("--log", "/dev/full") as (started, line):
        with pytest.raises(OSError):
            urllib.request.urlopen(line.strip())
        _, err = started.communicate(timeout=20)
        assert started.returncode != 0
    assert "Stopped after 1 request and" in err
    assert LedgerWriteError.__name__ in err  # the caller of the command prints the message alone

"""What a command does not use, it does not wait for."""

import subprocess
import sys

import pytest

SERVER, WORKBOOK, DISPLAY, REQUESTS = "aiohttp.web", "zipfile", "rich", "aiohttp"
ELSEWHERE = "http.client"


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("bulk_eraser.cli.app", {"msgspec", "yarl", WORKBOOK, DISPLAY, REQUESTS}),
        ("bulk_eraser.cli.check", {"yarl", WORKBOOK, DISPLAY, REQUESTS, ELSEWHERE}),
        ("bulk_eraser.cli.verify", {WORKBOOK, DISPLAY, REQUESTS}),
        ("bulk_eraser.sending.run", {SERVER, WORKBOOK, DISPLAY}),
        ("bulk_eraser.sending.follow", {SERVER, WORKBOOK, DISPLAY}),
        ("bulk_eraser.cli.terminal.display", {DISPLAY}),
    ],
)
def test_what_is_not_used_is_not_imported(module: str, unused: set[str]):
    """A display, a workbook, requests, a simulator, the web: each is imported by whom it serves."""
    program = f"import sys, {module}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert unused.isdisjoint(told.stdout.decode().split())

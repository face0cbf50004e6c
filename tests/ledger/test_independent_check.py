"""The check that an auditor can write: docs/check_ledger.py, and what it must notice."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.ledger.chain import GENESIS, commit_group
from bulk_eraser.records import Accepted

CHECK = Path(__file__).resolve().parent.parent.parent / "docs" / "check_ledger.py"


def accepted(key: str) -> Accepted:
    return Accepted(
        key=key, line=2, jid="j", status="created", http_status=200, attempts=1, elapsed_ms=5
    )


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """What the program says; it runs without this project's packages."""
    command = [sys.executable, "-I", "-S", str(CHECK), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def ledger(tmp_path: Path, chained: Any, run_started: Any, sent: Callable[[str], Any]) -> Path:
    groups = [[run_started()], [sent("a"), sent("b")], [accepted("a")], [accepted("b")]]
    path = tmp_path / "keys.ledger.ndjson"
    path.write_bytes(b"".join(chained(groups)))
    return path


def test_an_intact_ledger(ledger: Path):
    """Its head is that of the last commit, and its keys are counted."""
    head = ledger.read_bytes().splitlines()[-1].split(b'"sha256":"')[1][:64].decode()
    said = check(ledger)
    assert said.returncode == 0
    assert f"intact: 4 commits, 9 lines; head {head}; 0 bytes behind it" in said.stdout
    assert "2 accepted, 0 of them more than once" in said.stdout


def test_a_tail_is_counted(ledger: Path):
    """What a crash left behind the last commit proves nothing."""
    ledger.write_bytes(ledger.read_bytes() + b'{"type":"sent"}\n{"ty')
    assert "; 20 bytes behind it" in check(ledger).stdout


@pytest.mark.parametrize("place", range(9))
def test_any_changed_line_is_noticed(ledger: Path, place: int):
    """One letter in any line, and it says between which lines."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    at = lines[place].rindex(b'"') - 1
    lines[place] = lines[place][:at] + b"_" + lines[place][at + 1 :]
    ledger.write_bytes(b"".join(lines))
    said = check(ledger)
    assert said.returncode == 1
    assert "changed, or torn" in said.stderr


@pytest.mark.parametrize("content", [b"", b"not JSON at all\n", b'{"type":"sent"}\n'])
def test_what_proves_nothing_is_not_intact(tmp_path: Path, content: bytes):
    """A file without a commit is not an intact ledger, and no file ends in a traceback."""
    path = tmp_path / "keys.ledger.ndjson"
    path.write_bytes(content)
    said = check(path)
    assert said.returncode == 1
    assert said.stderr == "no ledger, or one without a commit: nothing in it is proven\n"


def test_a_group_that_is_no_json_is_told(tmp_path: Path):
    """Whoever can compute the chain can commit anything: that is told, without a traceback."""
    path = tmp_path / "keys.ledger.ndjson"
    path.write_bytes(commit_group(GENESIS, b"not JSON at all\n", "2026-11-24T00:00:00.000Z")[0])
    said = check(path)
    assert said.returncode == 1
    assert said.stderr == "no JSON between line 1 and its commit\n"

"""How a command ends: one result, one way to tell it, one exit code, whatever ended it."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Never

import pytest

from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ConfigurationError, LedgerWriteError, Result

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Found(Result):
    rows: int = 0


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What signals do is as before when the test ends."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def ended(error: BaseException | None, *, as_json: bool = False) -> tuple[int, Found]:
    """Conclude work that finds 7 rows and then is ended by `error`."""
    found = Found()

    def work() -> Found:
        found.rows = 7
        if error is not None:
            raise error
        return found

    output = Output(json=as_json)
    return conclude(output, found, work, tell), found


def tell(output: Output, found: Found) -> None:
    output.result(f"{found.rows} rows")
    output.say("All was read.")


def test_a_result_is_told(capsys: pytest.CaptureFixture[str]):
    """Results go to stdout, the rest to stderr, and the code is the result's."""
    assert ended(None) == (0, Found(rows=7))
    assert capsys.readouterr() == ("7 rows\n", "All was read.\n")


def test_with_json_one_object_is_printed(capsys: pytest.CaptureFixture[str]):
    """Nothing else stands on stdout."""
    ended(None, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "outcome": "complete",
        "exit_code": 0,
        "error": None,
        "next": None,
        "attention": [],
        "rows": 7,
    }
    assert err == "All was read.\n"


@pytest.mark.parametrize(
    ("error", "outcome", "code", "told"),
    [
        (ConfigurationError("No key."), "refused", 78, "Error: No key.\n"),
        (LedgerWriteError("Full."), "error", 74, "Error: Full.\n"),
        (
            KeyboardInterrupt(),
            "interrupted",
            130,
            "Cancelled. Nothing was sent.\n",
        ),
    ],
    ids=["configuration", "disk", "ctrl-c"],
)
def test_an_error_is_a_result(
    capsys: pytest.CaptureFixture[str], error: BaseException, outcome: str, code: int, told: str
):
    """What was found before it stays in the object; people are told why it ended."""
    assert ended(error, as_json=True)[0] == code
    out, err = capsys.readouterr()
    assert (json.loads(out)["outcome"], json.loads(out)["rows"]) == (outcome, 7)
    assert err == told


def test_a_bug_is_told_without_its_text(capsys: pytest.CaptureFixture[str]):
    """Its text may hold a customer key; its kind and place do not."""
    code, found = ended(ValueError("key-of-anna"))
    err = capsys.readouterr().err
    assert (code, found.outcome) == (70, "error")
    assert "ValueError" in err
    assert "anna" not in err
    assert "Traceback" not in err


def test_signals_end_the_work_and_no_longer_the_telling():
    """SIGTERM ends the work with its own code; from the result on all are ignored."""
    seen: list[Any] = []

    def work() -> Never:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    def tell_failure(_output: Output, _found: Found) -> None:
        seen.extend(signal.getsignal(signum) for signum in SIGNALS)

    code = conclude(Output(), Found(), work, tell, tell_failure)
    assert code == 143
    assert seen == [signal.SIG_IGN] * 3

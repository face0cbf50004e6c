"""What a fleet shows of itself: lines that fit 80 columns, and the severest of endings."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from bulk_eraser.cli.fleet.display import FleetDisplay, Lane
from bulk_eraser.cli.fleet.result import FleetResult, add_up
from bulk_eraser.cli.fleet.text import lines_of_clusters, some_of
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import (
    Attention,
    CredentialsRefused,
    ExitCode,
    Interrupted,
    Result,
    ServiceDown,
    severest,
)
from bulk_eraser.sending.request import RunResult


def pace(**odd: Any) -> Any:
    well: dict[str, Any] = {
        "pause_left": 0.0,
        "silence": None,
        "breaker": SimpleNamespace(is_open=False),
        "throttled_to": None,
        "window": SimpleNamespace(limit=32, ceiling=32),
    }
    return SimpleNamespace(**(well | odd))


def under_way(lane: Lane, settled: int, **odd: Any) -> Any:
    pool = SimpleNamespace(
        stopped_by=odd.pop("stopped_by", None), errors=Counter(), in_flight=range(5)
    )
    progress = SimpleNamespace(to_send=lane.to_send, settled=settled)
    watching = lane(progress, pool, pace(**odd))  # type: ignore[arg-type]
    watching.__enter__()
    return watching


def rendered(shown: FleetDisplay, width: int = 77, height: int = 30) -> list[str]:
    return str(shown._drawn(width, height)).split("\n")


def test_twenty_lines_fit_eighty_columns():
    """Long names, large numbers and every kind of trouble: no line is cut in what matters."""
    numbers = {f"A rather long name {n}": 1_234_567 for n in range(20)}
    shown = FleetDisplay(Output(), numbers)
    lanes = list(shown.lanes.values())
    held = [
        ({"pause_left": 12.0}, "paused, 12 s left"),
        ({"silence": SimpleNamespace(seconds=40.0, limit=300.0, seen="")}, "no answer for 40 s"),
        ({"breaker": SimpleNamespace(is_open=True)}, "one key at a time"),
        ({"throttled_to": 12.5}, "throttled to 12/s"),
        ({"window": SimpleNamespace(limit=3, ceiling=32)}, "3 of 32 at a time"),
        ({"stopped_by": Interrupted(2)}, "waits for 5 requests"),
    ]
    watching = [
        under_way(lane, 617_283, **odd) for lane, (odd, _) in zip(lanes, held, strict=False)
    ]
    lines = rendered(shown)
    assert len(lines) == 21
    assert max(map(len, lines)) <= 77
    for line, (_, told) in zip(lines, held, strict=False):
        assert told in line
        assert "617,283 of 1,234,567" in line
        assert " 49% " in line
    assert lines[-1].startswith("14% · 3,703,698 of 24,691,340")
    assert lines[-1].endswith("0 of 20 ended · Ctrl-C again stops now")
    assert watching


def test_how_one_ended_stays_in_its_line():
    """With the last outcomes counted, which come to disk after the last request."""
    shown = FleetDisplay(Output(), {"uk": 10, "de": 10, "se": 0})
    uk, de, se = shown.lanes.values()
    progress = SimpleNamespace(to_send=10, settled=8)
    pool = SimpleNamespace(stopped_by=None, errors=Counter())
    with uk(progress, pool, pace()):  # type: ignore[arg-type]
        pass
    progress.settled = 10
    uk.ended(Result())
    refused = Result()
    refused.fail(CredentialsRefused("No."), begun=True)
    de.ended(refused)
    se.ended(Result(exit_code=ExitCode.SOME_ROWS))
    lines = rendered(shown)
    assert "100%  10 of 10" in lines[0]
    assert lines[0].endswith("finished")
    assert lines[1].endswith("stopped (77)")
    assert lines[2].endswith("attention (3)")
    assert "3 of 3 ended" in lines[3]
    # Where there is no room, those that ended well are left out, and trouble comes first.
    assert [line.split()[0] for line in rendered(shown, height=4)] == ["de", "se", "50%"]
    de.result = None
    assert [line.split()[0] for line in rendered(shown, height=4)] == ["se", "de", "50%"]


def test_without_a_terminal_only_trouble_has_a_line():
    """The sum, and what is held up or stopped."""
    shown = FleetDisplay(Output(), {"uk": 10, "de": 10})
    watching = under_way(shown.lanes["de"], 3, pause_left=7.0)
    shown._look()
    assert shown.lines() == [
        "15% · 3 of 20 · 0/s · 0 of 2 ended",
        "  de: 3 of 10, paused, 7 s left",
    ]
    assert watching


def test_the_severest_counts():
    """What needs a person comes before what the same command mends later."""
    assert severest([]) == 0
    assert severest([0, 3, 75]) == 75
    assert severest([75, 69, 130]) == 69
    assert severest([69, 77, 2]) == 77
    assert severest([77, 74, 70, 79]) == 79
    assert {severest([code]) for code in ExitCode} == set(ExitCode)


def test_sums_and_what_stopped():
    """Counts and attention are added up; the error names who did not get to the end."""
    uk = RunResult(attention=[Attention("empty_key", 2, [3, 5])], exit_code=3)
    uk.counts["rejected"] = 2
    de = RunResult(attention=[Attention("empty_key", 1, [9])])
    de.counts["rejected"] = 1
    de.fail(ServiceDown("Down."), begun=True)
    total = add_up(FleetResult(), {"uk": uk, "de": de})
    assert (total.exit_code, total.outcome, total.counts["rejected"]) == (69, "stopped", 3)
    assert total.attention == [Attention("empty_key", 3)]
    assert total.error == "1 of 2 clusters did not get to the end: de (69)."
    se = RunResult()
    se.fail(Interrupted(2), begun=True)
    total = add_up(FleetResult(), {"uk": uk, "de": de, "se": se})
    assert (total.exit_code, total.outcome) == (69, "stopped")
    assert total.error == (
        "Stopped (Ctrl-C). What was done is recorded. 1 of 3 clusters did not get to the end: de "
        "(69)."
    )
    total = add_up(FleetResult(), {"uk": uk, "se": se})
    assert (total.exit_code, total.outcome) == (130, "interrupted")
    assert total.error == "Stopped (Ctrl-C). What was done is recorded."


def test_columns_of_zeros_are_left_out():
    """The first one stays; long names are cut; the sum stands last."""
    rows = [("uk", [5, 0, 1], ["new"]), ("a name longer than it may be", [0, 0, 0], [""])]
    table = lines_of_clusters(["sent", "held", "bad"], ["ledger"], rows)
    assert table.split("\n") == [
        "                  sent  bad  ledger",
        "uk                   5    1  new",
        "a name longer t…     0    0",
        "2 in all             5    1",
    ]


@pytest.mark.parametrize(
    ("number", "told"), [(2, "a, b"), (5, "a, b, c, d, e"), (7, "a, b, c, d, e and 2 more")]
)
def test_many_names_are_counted(number: int, told: str):
    """A line is not made of twenty names."""
    assert some_of("abcdefg"[:number]) == told

"""The life of a removal job, on a clock that the test moves."""

import uuid

import pytest

from bulk_eraser.simulator.jobs import Jobs

DAY = 86_400.0
START = 1_800_000_000.0


class Clock:
    """Seconds, moved by hand."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_new_job_is_created_and_has_a_uuid() -> None:
    """create answers a UUID v4 and the status `created`."""
    jid, status = Jobs(Clock()).create()
    assert status == "created"
    assert str(uuid.UUID(jid)) == jid
    assert uuid.UUID(jid).version == 4


@pytest.mark.parametrize(
    ("days", "status"),
    [
        (0, "created"),
        (0.099, "created"),
        (0.1, "waiting"),
        (4.999, "waiting"),
        (5, "running"),
        (5.999, "running"),
        (6, "done"),
        (365, "done"),
    ],
)
@pytest.mark.parametrize("day_s", [DAY, 10.0, 0.01])
def test_the_status_follows_the_age(days: float, status: str, day_s: float) -> None:
    """A job waits after a tenth of a day, runs after five days and is done after six."""
    clock = Clock()
    jobs = Jobs(clock, day_s)
    jid, _ = jobs.create()
    clock.now += days * day_s + 1e-6
    assert jobs.status(jid) == status


def test_the_archiving_delay_is_another() -> None:
    """A job runs once the data is archived, and is done a day later."""
    clock = Clock()
    jobs = Jobs(clock, DAY, archive_days=2)
    jid, _ = jobs.create()
    clock.now += 2 * DAY
    assert jobs.status(jid) == "running"
    clock.now += DAY
    assert jobs.status(jid) == "done"


def test_some_jobs_end_badly() -> None:
    """One that fails does so where it would be done; one that is lost is so from the beginning."""
    clock = Clock()
    failing, lost = Jobs(clock, fails=lambda _jid: True), Jobs(clock, is_lost=lambda _jid: True)
    jid = failing.create()[0]
    assert (failing.status(jid), lost.status(jid)) == ("created", "not_found")
    clock.now += 6 * DAY + 1
    assert (failing.status(jid), lost.status(jid)) == ("error", "not_found")


def test_a_clock_that_goes_back_leaves_a_job_created() -> None:
    """A job from the future is merely new."""
    clock = Clock()
    jobs = Jobs(clock)
    jid, _ = jobs.create()
    clock.now -= DAY
    assert jobs.status(jid) == "created"


@pytest.mark.parametrize(
    "jid",
    [
        "",
        "none",
        "962d41f3-1a53-4bb8-bd01-3b85310fb45f",
        "00000000-0000-4000-8000-000000000000",
        "é" * 36,
        "\u0660" * 8 + "-0000-4000-8000-000000000000",
    ],
)
def test_a_jid_of_somebody_else_is_not_found(jid: str) -> None:
    """Only jids that a simulator made are known, and no text breaks the question."""
    assert Jobs(Clock()).status(jid) == "not_found"


def test_a_changed_digit_is_noticed() -> None:
    """Changing any one digit of a jid makes it unknown."""
    jobs = Jobs(Clock())
    jid, _ = jobs.create()
    for place, digit in enumerate(jid):
        if digit != "-":
            other = "0" if digit != "0" else "1"
            assert jobs.status(jid[:place] + other + jid[place + 1 :]) == "not_found"


def test_jids_never_repeat_while_the_clock_stands() -> None:
    """Two simulators in the same microsecond hand out different jids, as one does."""
    clock = Clock(0.0)
    jobs = [Jobs(clock), Jobs(clock)]
    assert len({which.create()[0] for which in jobs for _ in range(1000)}) == 2000


def test_jobs_outlive_the_simulator() -> None:
    """A simulator that is started later knows the jobs of the one before."""
    clock = Clock()
    jid, _ = Jobs(clock).create()
    clock.now += 6 * DAY
    assert Jobs(clock).status(jid) == "done"


@pytest.mark.parametrize("day_s", [0.0, -1.0, float("nan")])
def test_a_day_without_length_is_refused(day_s: float) -> None:
    """A simulated day must last."""
    with pytest.raises(ValueError, match="must last more than 0 seconds"):
        Jobs(Clock(), day_s)

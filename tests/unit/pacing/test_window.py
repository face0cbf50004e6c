"""How many may be in flight."""

import pytest

from bulk_eraser.pacing.window import Window


def rounds(window: Window, amount: int, *, loaded: float = 0.0, latency: float = 0.05, now=0.0):
    """So many rounds of a window that is fully used; this share of answers shows load."""
    for number in range(amount):
        sent = [window.leave() for _ in range(window.limit)]
        for place, ticket in enumerate(sent):
            bad = (place + 0.5) / len(sent) < loaded
            seconds = None if bad else latency
            window.back(ticket, now + (number + 1) * latency, seconds, loaded=bad)


def test_it_starts_at_the_ceiling_and_stays_there():
    """In good weather the window is --concurrency."""
    window = Window(32)
    rounds(window, 100)
    assert window.limit == 32
    assert window.in_flight == 0


def test_it_has_room_up_to_its_limit():
    """As many may leave as the limit says, and one more for each that came back."""
    window = Window(3)
    sent = [window.leave() for _ in range(3)]
    assert not window.has_room
    window.back(sent[0], 0.1, 0.1, loaded=False)
    assert window.has_room


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15])
def test_a_few_failures_are_no_load(share: float):
    """Single 5xx come in good weather, too."""
    window = Window(64)
    rounds(window, 50, loaded=share)
    assert window.limit == 64


def test_load_makes_it_smaller_once_per_round():
    """A round full of 5xx takes 0.7, however many of them there are."""
    window = Window(100)
    sent = [window.leave() for _ in range(100)]
    for ticket in sent:
        window.back(ticket, 0.1, None, loaded=True)
    assert window.limit == 70


def test_it_never_falls_below_one():
    """However bad: one request at a time is always possible."""
    window = Window(32)
    rounds(window, 200, loaded=1.0)
    assert window.limit == 1
    assert window.has_room


def test_it_grows_back_to_the_ceiling():
    """When the load is over the window opens again, one or more a round, and not beyond."""
    window = Window(32)
    rounds(window, 100, loaded=1.0)
    rounds(window, 400)
    assert window.limit == 32


def test_it_does_not_grow_while_it_is_not_used():
    """A window that --rate leaves empty learns nothing from it."""
    window = Window(32)
    rounds(window, 6, loaded=1.0)
    small = window.limit
    for number in range(500):
        window.back(window.leave(), number, 0.05, loaded=False)
    assert 1 < small == window.limit


def test_answers_that_take_much_longer_make_it_smaller_for_a_while():
    """Ten times the latency is load; when it stays so, it becomes the usual one."""
    window = Window(64)
    rounds(window, 20, latency=0.05)
    rounds(window, 5, latency=0.5, now=1.0)
    slow = window.limit
    assert slow < 64 * 0.7
    rounds(window, 60, latency=0.5, now=3.5)
    assert window.limit > slow


def test_answers_that_get_no_quicker_are_not_slowed_by_load():
    """A third fewer in flight, and as slow as before: the window opens again, within seconds."""
    window = Window(64)
    rounds(window, 20, latency=0.02)
    rounds(window, 5, latency=0.2, now=0.4)
    assert 40 <= window.limit <= 45
    rounds(window, 12, latency=0.2, now=1.4)
    assert window.limit == 64


def test_answers_that_get_quicker_with_fewer_in_flight_are_slowed_by_load():
    """A queue: the wait grows with what is in flight, so it stays small."""
    window = Window(64)
    rounds(window, 20, latency=0.02)
    now = 0.4
    for _ in range(8):
        wait = window.limit / 64 * 0.4
        rounds(window, 1, latency=wait, now=now)
        now += wait
    assert window.limit <= 30


def test_small_latencies_are_never_slow():
    """From 1 ms to 50 ms is nothing to be careful about."""
    window = Window(64)
    rounds(window, 20, latency=0.001)
    rounds(window, 20, latency=0.05, now=1.0)
    assert window.limit == 64


def test_after_hours_without_an_answer():
    """What is usual grows by itself for so long that it is learnt anew; nothing overflows."""
    window = Window(8)
    rounds(window, 3)
    rounds(window, 3, latency=0.06, now=1e7)
    assert window.limit == 8

"""Samples: how many, and who."""

from collections import Counter

import pytest

from bulk_eraser.errors import UsageError
from bulk_eraser.ledger.probes import Probes
from bulk_eraser.records import Accepted
from bulk_eraser.sending.sample import draw, sample_size
from bulk_eraser.wording import probed


def accepted(line: int) -> Accepted:
    return Accepted(
        key=f"k{line}",
        line=line,
        jid=f"j{line}",
        status="created",
        http_status=200,
        attempts=1,
        elapsed_ms=1,
    )


@pytest.mark.parametrize(
    ("text", "population", "size"),
    [
        ("60", 100_000, 60),
        ("60", 10, 10),
        ("1%", 1000, 10),
        ("0.5%", 1001, 6),
        ("0.01%", 50, 1),
        ("100 %", 7, 7),
    ],
)
def test_how_many(text: str, population: int, size: int):
    """A share is rounded up, so that it is never nobody."""
    assert sample_size(text, population) == size


@pytest.mark.parametrize("text", ["0", "", "-3", "0%", "101%", "5 people", "1e2", "٣"])
def test_what_says_no_number(text: str):
    with pytest.raises(UsageError, match="--sample takes"):
        sample_size(text, 100)


def test_a_sample_has_its_bound():
    """Of ten million, everybody is no sample."""
    with pytest.raises(UsageError, match="100,000"):
        sample_size("100%", 10_000_000)


def test_everybody_has_the_same_chance():
    """Over many seeds each is drawn about equally often, whatever the order; one seed draws one
    sample."""
    everybody = [accepted(line) for line in range(2, 22)]
    drawn = Counter(it.line for seed in range(2_000) for it in draw(str(seed), 5, iter(everybody)))
    assert all(drawn[it.line] == pytest.approx(500, abs=100) for it in everybody)
    assert draw("x", 5, everybody) == draw("x", 5, reversed(everybody))
    assert draw("x", 5, everybody) != draw("y", 5, everybody)


def of(**counts: int) -> Probes:
    zero = dict.fromkeys(
        ("population", "sampled", "nothing_left", "came_back", "lost", "waiting", "not_asked"), 0
    )
    return Probes(draws=1, seeds=["s"], back=[], **(zero | counts))


def test_what_a_probe_of_60_of_100_000_can_claim():
    """The rule of three, in words."""
    told = probed(of(population=100_000, sampled=60, nothing_left=60))
    assert told == [
        "60 of 60 sampled people: nothing left.",
        "If the sample is like all others, then with 95 % confidence at most 5,000 of the 100,000 "
        "erased people (5.0%) have anything left (rule of three: 3 divided by those answered).",
    ]


def test_nothing_is_claimed_too_early_or_too_much():
    """Not before an answer; not once somebody came back; never more than everybody."""
    assert len(probed(of(population=9, sampled=3, waiting=3))) == 1
    back = probed(of(population=900, sampled=30, nothing_left=29, came_back=1))
    assert "confidence" not in " ".join(back)
    assert "cookie" in back[1]
    assert "at most 9 of the 9" in probed(of(population=9, sampled=2, nothing_left=2))[1]
    everybody = probed(of(population=9, sampled=9, nothing_left=9))
    assert everybody[1] == "Everybody who was erased was asked about."

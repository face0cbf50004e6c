"""Which request meets which fault, without a server."""

import random
from collections import Counter

import pytest

from bulk_eraser.simulator.faults import FAULT_DESCRIPTIONS, FAULTS, FaultRates, parse_fault


def test_every_fault_is_described() -> None:
    """Help texts can explain each name in one line."""
    assert tuple(FAULT_DESCRIPTIONS) == FAULTS
    assert len(FAULTS) == 21
    assert all(text and "\n" not in text for text in FAULT_DESCRIPTIONS.values())


def test_without_rates_nothing_fails() -> None:
    """The default rates lets every request pass."""
    assert FaultRates().choose("k", 0.0) is None
    assert FaultRates().choose(None, 0.0) is None


FOR_GOOD = ("http_400", "job_error", "job_lost", "job_late", "no_data", "came_back")
OF_RESULTS = [name for name in FAULTS if name.startswith("result_")]


def test_jobs_are_hit_for_good() -> None:
    """A job that fails or is lost does so whenever it is asked about, no job both, in its share;
    its creation is never hit."""
    rates = FaultRates({"job_error": 0.1, "job_lost": 0.2})
    jids = [f"jid {number}" for number in range(20_000)]
    failing, lost = set(filter(rates.fails, jids)), set(filter(rates.is_lost, jids))
    assert len(failing) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert len(lost) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert not failing & lost
    assert failing == set(filter(FaultRates({"job_error": 0.1}).fails, jids))
    assert not any(rates.choose(key, draw) for key in ("k", None) for draw in (0.0, 0.5))
    assert not any(map(FaultRates().fails, jids))
    assert not any(map(FaultRates().is_lost, jids))


@pytest.mark.parametrize(
    "name", [name for name in FAULTS if name not in FOR_GOOD and name not in OF_RESULTS]
)
def test_a_rate_of_one_hits_every_request(name: str) -> None:
    """With 100 % each draw is a hit, for job-status as well."""
    rates = FaultRates({name: 1.0})
    draws = [0.0, 0.5, 1 - 2**-53]
    assert {rates.choose(key, draw) for key in ("k", None) for draw in draws} == {name}


@pytest.mark.parametrize("name", OF_RESULTS)
def test_faults_of_results_hit_downloads_alone(name: str) -> None:
    """With 100 % each download is hit, and no other request."""
    rates = FaultRates({name: 1.0})
    for draw in (0.0, 0.5, 1 - 2**-53):
        assert rates.choose(None, draw, of_result=True) == name
        assert rates.choose("k", draw) is rates.choose(None, draw) is None


def test_what_happens_to_keys_and_jobs_is_independent() -> None:
    """Late jobs, keys without data and keys that come back are chosen apart, each in its share."""
    rates = FaultRates({"job_late": 0.3, "no_data": 0.3, "came_back": 0.3})
    names = [f"name {number}" for number in range(5_000)]
    chosen = [
        {name for name in names if is_chosen(name)}
        for is_chosen in (rates.is_late, rates.has_no_data, rates.comes_back)
    ]
    assert [len(those) / 5_000 for those in chosen] == pytest.approx([0.3] * 3, abs=0.03)
    both = len(chosen[1] & chosen[2]) / 5_000
    assert both == pytest.approx(0.09, abs=0.02)


def test_rates_are_fractions_of_all_requests() -> None:
    """Each fault gets its share of the requests, next to refused keys too."""
    rates = FaultRates({"http_400": 0.2, "http_500": 0.1, "drop_after": 0.3})
    rng = random.Random(1)
    seen = Counter(rates.choose(f"key {n}", rng.random()) for n in range(20_000))
    assert seen["http_400"] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert seen["http_500"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert seen["drop_after"] / 20_000 == pytest.approx(0.3, abs=0.01)
    assert seen[None] / 20_000 == pytest.approx(0.4, abs=0.01)


def test_a_refused_key_is_always_refused() -> None:
    """http_400 depends on the key alone, whatever is drawn."""
    rates = FaultRates({"http_400": 0.5, "http_500": 0.5})
    for n in range(50):
        answers = {rates.choose(f"key {n}", draw) for draw in (0.0, 0.3, 0.6, 0.999)}
        assert answers in ({"http_400"}, {"http_500"})


def test_the_seed_chooses_the_refused_keys() -> None:
    """The same seed refuses the same keys, another seed refuses others."""

    def refused(seed: int) -> set[int]:
        rates = FaultRates({"http_400": 0.5}, seed=seed)
        return {n for n in range(100) if rates.choose(f"key {n}", 0.0)}

    assert refused(1) == refused(1)
    assert refused(1) != refused(2)


def test_job_status_is_never_refused_for_its_key() -> None:
    """A request without a customer key is not met by http_400."""
    assert FaultRates({"http_400": 1.0}).choose(None, 0.0) is None


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"http_418": 0.1}, "there is no fault 'http_418'; the faults are http_400, http_403"),
        ({"html": 1.1}, "rate of html must lie between 0 and 1"),
        ({"html": -0.1}, "rate of html must lie between 0 and 1"),
        ({"html": float("nan")}, "rate of html must lie between 0 and 1"),
        ({"html": 0.6, "delay": 0.6}, r"add up to 1\.2, which is more than 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(rates: dict[str, float], message: str) -> None:
    """Unknown names, rates outside 0..1 and sums over 1 are errors that say so."""
    with pytest.raises(ValueError, match=message):
        FaultRates(rates)


def test_rates_may_add_up_to_one() -> None:
    """Ten times 0.1 is everything, in spite of binary fractions."""
    FaultRates(dict.fromkeys(FAULTS[:10], 0.1))


def test_negative_seconds_are_refused() -> None:
    """Neither Retry-After nor the delay can lie in the past."""
    with pytest.raises(ValueError, match="must not be negative"):
        FaultRates(retry_after_s=-1)
    with pytest.raises(ValueError, match="must not be negative"):
        FaultRates(delay_s=-0.5)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("http_500=2%", ("http_500", 0.02)),
        ("http_500=0.02", ("http_500", 0.02)),
        ("html=100%", ("html", 1.0)),
        ("html=1", ("html", 1.0)),
        ("delay= .5 %", ("delay", 0.005)),
        ("delay=0", ("delay", 0.0)),
    ],
)
def test_a_fault_is_parsed(text: str, fault: tuple[str, float]) -> None:
    """A rate is a fraction or a percentage."""
    name, rate = parse_fault(text)
    assert name == fault[0]
    assert rate == pytest.approx(fault[1])


@pytest.mark.parametrize(
    "text",
    ["", "http_500", "http_500=", "http_500=a", "nope=1%", "html=-1%", "html=1_0", "html=٢%"],
)
def test_an_unreadable_fault_names_what_there_is(text: str) -> None:
    """The error shows the form and lists every name."""
    with pytest.raises(ValueError, match="write NAME=RATE") as caught:
        parse_fault(text)
    assert all(name in str(caught.value) for name in FAULTS)


@pytest.mark.parametrize("text", ["http_500=2", "http_500=101%"])
def test_a_rate_over_everything_is_refused(text: str) -> None:
    """Who writes 2 for 2 % is told how to write it."""
    with pytest.raises(ValueError, match="more than every request"):
        parse_fault(text)

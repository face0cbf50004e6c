"""S3, S11: limiters as models on a clock that jumps: most of a limit is used, little is refused."""

from collections.abc import Callable

import pytest
from sending import Outcome, send
from services import (
    Came,
    CountsAll,
    FixedWindow,
    Leaky,
    Limiter,
    TokenBucket,
    allowed_between,
    changing,
)

REFUSED_AFTER_S = 0.0003
LEAST_WITH_PAUSES = {
    ("window of a second", 1000): 0.8,
    ("leaky, burst 20", 100): 0.83,
    ("leaky, burst 20", 1000): 0.7,
    ("leaky, no burst", 20): 0.8,
    ("leaky, no burst", 100): 0.75,
    ("leaky, no burst", 1000): 0.4,
}
"""The share of a limit that is used if each refusal costs a second. At 1,000 a second the run lasts
half a minute, of which what is lost while the limit is learnt is a good part."""
KINDS: dict[str, Callable[[float], Limiter]] = {
    "window of a second": FixedWindow,
    "bucket of a second": TokenBucket,
    "bucket of ten seconds": lambda rate: TokenBucket(rate, 10 * rate),
    "leaky, burst 20": lambda rate: Leaky(rate, 20),
    "leaky, no burst": Leaky,
}
LIMITS = (5, 20, 100, 1000)


def through(
    limiter: Limiter, code: int, *, retry_after: float | None = None, takes: float = 0.02
) -> Callable[[str, float], Came]:
    """A fast service behind a limiter."""

    def serve(_key: str, now: float) -> Came:
        return Came(200, takes) if limiter(now) else Came(code, REFUSED_AFTER_S, retry_after)

    return serve


def seconds_for(limit: int) -> float:
    """A run of three thousand keys, or a minute; at 1,000 a second half of one."""
    return max(3000 / limit, 60.0 if limit < 1000 else 30.0)


def accepted(out: Outcome) -> int:
    return sum(status == 200 for _, status in out.seen)


def cases(*quick: tuple[str, int, int]) -> list[object]:
    """Every limiter, limit and code; all but a few are long."""
    every = [(kind, limit, code) for kind in KINDS for limit in LIMITS for code in (429, 503)]
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.soak) for case in every]


CASES = cases(
    ("window of a second", 100, 503),
    ("bucket of a second", 20, 503),
    ("bucket of ten seconds", 100, 429),
    ("leaky, burst 20", 100, 503),
    ("leaky, burst 20", 5, 503),
    ("leaky, no burst", 20, 503),
    ("leaky, no burst", 100, 429),
)


@pytest.mark.parametrize(("kind", "limit", "code"), CASES)
def test_a_limit_is_used_and_not_pestered(kind: str, limit: int, code: int):
    """Without --rate: at least 85 % of the limit (of a leaky one at 1,000 a second, where a
    millisecond decides, 80 %), at most 3 % refused, no key ended by it."""
    out = send(
        through(KINDS[kind](limit), code),
        2 * limit * int(seconds_for(limit)),
        seconds=seconds_for(limit),
        concurrency=32 if limit < 1000 else 128,
    )
    least = 0.8 if (kind, limit) == ("leaky, no burst", 1000) else 0.85
    assert accepted(out) >= least * limit * out.seconds
    assert out.refused_share <= 0.03
    assert out.spent == []


@pytest.mark.parametrize(
    ("kind", "limit", "code"),
    cases(
        ("window of a second", 20, 503), ("leaky, burst 20", 20, 429), ("leaky, no burst", 5, 503)
    ),
)
def test_with_retry_after_few_pauses_are_needed(kind: str, limit: int, code: int):
    """Each refusal costs a pause of a second, so the limit is met seldom; at most 2.5 % refused,
    and 85 % of the limit used. Without room for a burst less of it: there whatever comes a
    millisecond too soon costs a pause."""
    out = send(
        through(KINDS[kind](limit), code, retry_after=1.0),
        2 * limit * int(seconds_for(limit)),
        seconds=seconds_for(limit),
        concurrency=32 if limit < 1000 else 128,
    )
    least = LEAST_WITH_PAUSES.get((kind, limit), 0.85)
    assert accepted(out) >= least * limit * out.seconds
    assert out.refused_share <= 0.025
    assert out.spent == []


@pytest.mark.parametrize("limit", [20, 100])
def test_a_rate_below_the_limit_meets_nothing(limit: int):
    """--rate under the limit: nothing is refused, and --rate is what is sent."""
    out = send(through(Leaky(limit, 2), 503), 2000, rate=0.9 * limit)
    assert out.refused_share == 0
    assert accepted(out) == 2000
    assert out.seconds < 1.05 * 2000 / (0.9 * limit)


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("kind", ["window of a second", "leaky, burst 20"])
@pytest.mark.parametrize(
    "rates",
    [
        *[(100, 20), (20, 100)],
        *[pytest.param(rates, marks=pytest.mark.soak) for rates in [(1000, 100), (100, 300)]],
    ],
)
def test_a_limit_that_changes_is_followed(kind: str, rates: tuple[float, float], code: int):
    """A minute at one limit, and two at another: 80 % of both together, at most 3 % refused."""
    plan = [(0.0, rates[0]), (1060.0, rates[1])]
    out = send(through(changing(KINDS[kind], plan), code), 10**6, seconds=180.0)
    ended = out.began + out.seconds
    assert accepted(out) >= 0.8 * allowed_between(plan, out.began, ended)
    assert out.refused_share <= 0.03
    assert out.spent == []


@pytest.mark.parametrize("limit", [100, 200])
def test_a_limit_that_is_gone_is_found_to_be_gone(limit: int):
    """--rate is four times the limit: of the five seconds after it 65 % are used."""
    rate = 4.0 * limit
    plan = [(0.0, float(limit)), (1025.0, 100 * rate)]
    limiter = changing(lambda rate: TokenBucket(rate, rate / 10), plan)
    out = send(through(limiter, 429), 10**5, rate=rate, seconds=31.0)
    gone = 1025.0 - out.began
    assert len(out.between(gone, gone + 5)) >= 0.65 * 5 * rate


def test_a_limiter_that_counts_what_it_refuses():
    """haproxy's: whoever goes on sending is let in no more; most of it is used all the same."""
    out = send(through(CountsAll(100), 429), 6000, seconds=60.0)
    assert accepted(out) >= 0.8 * 100 * out.seconds
    assert out.refused_share <= 0.03


@pytest.mark.parametrize("rate", [50.0, 400.0])
def test_the_rate_asked_for_stays_the_upper_bound(rate: float):
    """Sends in any one second <= --rate + 1, also on the way back to a limit that is gone."""
    plan = [(0.0, 20.0), (1010.0, 10_000.0)]
    out = send(through(changing(TokenBucket, plan), 503), 6000, rate=rate, seconds=60.0)
    times = sorted(at for at, _ in out.seen)
    most = max(sum(start <= at < start + 1 for at in times) for start in times[::50])
    assert most <= rate + 2

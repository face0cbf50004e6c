"""What is aimed at, beside what was measured."""

from dataclasses import dataclass

from growth import Grown
from measure import Medians
from peers import OURS, PARALLEL, REQUESTS, XARGS
from timing import AtRate, Latency, OverTls, Start

MB = 1 << 20
SETTLED_ROWS, FEW_ROWS, MOST_ROWS = 1_000_000, 1_000_000, 10_000_000


@dataclass
class Results:
    """All that one benchmark measured; `not_installed` says how to install what was not there."""

    side_by_side: dict[str, Medians]
    not_installed: dict[str, str]
    latency: Latency
    at_rate: list[AtRate]
    growth: list[Grown]
    stalls: dict[str, float]
    starts: list[Start]
    tls: OverTls | None
    parts: dict[str, float]


@dataclass
class Goal:
    """`reached` is None where this benchmark did not measure it."""

    what: str
    goal: str
    measured: str = "not measured"
    reached: bool | None = None


def goals(results: Results) -> list[Goal]:
    """In the order of their weight."""
    return [
        cpu_goal(results),
        tls_goal(results),
        latency_goal(results),
        *[rate_goal(one) for one in results.at_rate],
        *[peer_goal(results, name, least) for name, least in LEAST_OVER.items()],
        resume_goal(results),
        *life_goals(results),
        *memory_goals(results),
        most("outcome on disk after its answer, p99", 20, results.stalls["commit_p99"], "ms"),
        most("longest stall of the event loop", 20, results.stalls["stall_max"], "ms"),
        *[
            most(f"start: {one.what}", START_MS.get(one.what, 300), 1e3 * one.wall_s, "ms")
            for one in results.starts
        ],
    ]


MOST_CPU_S = {"check": 3, "verify": 8, "follow": 5, "pseudonymize": 6}
"""For 1 M keys."""
FOLLOW_DAY = 0.6
START_MS = {"--help": 80, "`check` of ten rows": 150}
LEAST_OVER = {PARALLEL: 60, XARGS: 30, REQUESTS: 6}


def most(what: str, limit: float, figure: float, unit: str) -> Goal:
    return Goal(what, f"≤ {limit:g} {unit}", f"{figure:.1f} {unit}", figure <= limit)


def cpu_goal(results: Results) -> Goal:
    over = results.side_by_side[OURS].over
    what = "processor time a key of `run`, over the bare aiohttp loop"
    return Goal(what, "≤ 0.55 ×", f"{over:.2f} ×", over <= 0.55)


def tls_goal(results: Results) -> Goal:
    goal = Goal("the same over TLS", "≤ 0.65 ×")
    if tls := results.tls:
        over = tls.ours.cpu_us / tls.bare.cpu_us
        goal.measured, goal.reached = f"{over:.2f} ×", over <= 0.65
    return goal


def latency_goal(results: Results) -> Goal:
    goal = Goal("keys/s at 50 ms latency, over wrk's requests/s", "≥ 0.99 ×")
    if (over := results.latency.over_wrk) is not None:
        goal.measured, goal.reached = f"{over:.3f} ×", over >= 0.99
    return goal


def rate_goal(one: AtRate) -> Goal:
    return Goal(
        f"`--rate {one.rate}`: time over keys / rate; most in a second at the service",
        f"≤ 1.01 ×; ≤ {one.rate + 2}",
        f"{one.over:.4f} ×; {one.most_in_a_second}",
        one.over <= 1.01 and one.most_in_a_second <= one.rate + 2,
    )


def peer_goal(results: Results, name: str, least: int) -> Goal:
    goal = Goal(f"keys/s over {name}", f"≥ {least} ×")
    if peer := results.side_by_side.get(name):
        over = results.side_by_side[OURS].rate / peer.rate
        goal.measured, goal.reached = f"{over:.1f} ×", over >= least
    return goal


def resume_goal(results: Results) -> Goal:
    """Replay and survey; the whole command reads the input a second time, to count."""
    goal = Goal("resume on a settled ledger of 1 M keys, until “nothing to do”", "≤ 4 s")
    if grown := at_settled_rows(results):
        whole = f"whole command {grown.commands['resume'].wall_s:.1f} s"
        goal.measured, goal.reached = f"{grown.known_s:.1f} s ({whole})", grown.known_s <= 4
    return goal


def life_goals(results: Results) -> list[Goal]:
    """Processor time of the commands that read a ledger, judged at 1 M keys only."""
    grown = at_settled_rows(results)
    goals = [
        Goal(f"`{name}`, 1 M settled keys, processor time", f"≤ {limit} s")
        for name, limit in MOST_CPU_S.items()
    ]
    day = Goal("`follow` of a day, every job due, over `run`", f"≤ {FOLLOW_DAY} ×")
    if grown is None:
        return [*goals, day]
    for goal, (name, limit) in zip(goals, MOST_CPU_S.items(), strict=True):
        cpu_s = grown.commands[name].cpu_s
        goal.measured, goal.reached = f"{cpu_s:.1f} s", cpu_s <= limit
    over = grown.commands["follow_day"].cpu_s / grown.commands["run"].cpu_s
    day.measured, day.reached = f"{over:.2f} ×", over <= FOLLOW_DAY
    return [*goals, day]


def at_settled_rows(results: Results) -> Grown | None:
    return next((grown for grown in results.growth if grown.rows == SETTLED_ROWS), None)


def memory_goals(results: Results) -> list[Goal]:
    """Judged at ten million rows only; what was measured below is shown."""
    peaks = {
        grown.rows: max(figures.peak for figures in grown.commands.values()) / MB
        for grown in results.growth
    }
    level = Goal("peak memory at 10 M rows", "≤ 200 MB")
    flat = Goal("peak memory at 10 M rows, over 1 M rows", "0.7 to 1.3 ×")
    if MOST_ROWS in peaks:
        level.measured, level.reached = f"{peaks[MOST_ROWS]:.0f} MB", peaks[MOST_ROWS] <= 200
        over = peaks[MOST_ROWS] / peaks[FEW_ROWS]
        flat.measured, flat.reached = f"{over:.2f} ×", 0.7 <= over <= 1.3
    elif peaks:
        rows = max(peaks)
        level.measured = f"{peaks[rows]:.0f} MB at {rows:,} rows"
    return [level, flat]

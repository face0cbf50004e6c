"""A run in virtual time: the real pool and its pace, in front of a model of a service."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services import Came
from virtual_time import oversleeping, run_virtually

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.verdict import Answer, Kind, NetworkFault, Verdict, classify
from bulk_eraser.errors import BulkEraserError
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.sending import pool as pool_module
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.work import Call
from bulk_eraser.settings import RunSettings

__all__ = ["Outcome", "send"]

Service = Callable[[str, float], Came]
"""A key that arrives at this time, and what comes of it."""


@dataclass
class Outcome:
    """What the service saw, as (time, status), and what became of the keys."""

    seen: list[tuple[float, int]] = field(default_factory=list)
    good: int = 0
    spent: list[str] = field(default_factory=list)
    left: int = 0
    stopped_by: BulkEraserError | None = None
    seconds: float = 0.0
    began: float = 0.0
    most_in_flight: int = 0
    attempts: Counter[str] = field(default_factory=Counter)

    @property
    def refused_share(self) -> float:
        return sum(status != 200 for _, status in self.seen) / len(self.seen)

    def between(self, begin: float, end: float) -> list[int]:
        """The statuses that were seen then, in seconds from the first request on."""
        return [status for at, status in self.seen if begin <= at - self.began < end]


class _Keys:
    """The `Work` of the pool: numbered keys, each a request to the model."""

    def __init__(self, amount: int, service: Service, way: Callable[[], float]) -> None:
        self.outcome = Outcome()
        self._left = amount
        self._service, self._way = service, way
        self._in_flight = 0

    async def next_calls(self, most: int) -> list[Call]:
        amount = min(most, self._left)
        self._left -= amount
        first = self._left
        return [Call(f"key-{first + n}", {}) for n in range(amount)]

    async def announce(self, calls: Sequence[Call]) -> None:
        pass

    async def call(self, call: Call) -> Answer | NetworkFault:
        call.leaves()
        self._in_flight += 1
        out = self.outcome
        out.most_in_flight = max(out.most_in_flight, self._in_flight)
        out.attempts[call.key] += 1
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._way())
        now = loop.time()
        out.began = out.began or now
        came = self._service(call.key, now)
        out.seen.append((now, came.status))
        try:
            await asyncio.sleep(came.after + self._way())
        finally:
            self._in_flight -= 1
        if came.status == 0:
            return NetworkFault("connection_refused", maybe_done=False)
        body = b'{"jid":"j","status":"created"}' if came.status == 200 else b""
        return Answer(came.status, body, True, came.retry_after)

    def classify(self, call: Call, came: Answer | NetworkFault) -> Verdict:
        return classify(came, ApiVersion.V4)

    async def ask(self) -> Verdict | None:
        await asyncio.sleep(self._way())
        came = self._service("status", asyncio.get_running_loop().time())
        return classify(Answer(came.status, b'{"jid":"j"}', True), ApiVersion.V4)

    def record(self, call: Call, verdict: Verdict, stopped_by: BulkEraserError | None) -> None:
        if verdict.kind is Kind.ACCEPTED:
            self.outcome.good += 1
        elif stopped_by is None:
            self.outcome.spent.append(call.key)
        else:
            self.outcome.left += 1

    def leave(self, call: Call, error: str, stopped_by: BulkEraserError | None) -> None:
        self.outcome.left += 1


class _NoConnections:
    def close_idle(self) -> None:
        pass


class _LoopTime:
    """The pool's clock: that of the loop."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


def send(
    service: Service,
    keys: int,
    *,
    seconds: float = float("inf"),
    rate: float = 0.0,
    concurrency: int = 32,
    max_outage: float = 300.0,
    late: float = 0.001,
    seed: int = 7,
    watch: Callable[[float, Pace], None] | None = None,
) -> Outcome:
    """So many keys, for so many seconds at most; timers are up to `late` seconds late."""
    chance = random.Random(seed)
    random.seed(seed)
    target = Target.of_base_url("http://127.0.0.1:1")
    settings = RunSettings(target, ApiVersion.V4, concurrency, rate, max_outage=max_outage)
    work = _Keys(keys, service, lambda: 0.0002 + chance.expovariate(10_000))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        sleeps = oversleeping(late, chance), oversleeping(0.1 * late, chance)
        pace = Pace(rate, max_outage, concurrency, loop.time, *sleeps)
        pool = Pool(work, _NoConnections(), pace, settings)  # type: ignore[arg-type]
        out = work.outcome
        running = asyncio.ensure_future(pool.run())
        began = loop.time()
        while not running.done() and loop.time() - began < seconds:
            await asyncio.wait({running}, timeout=min(0.25, seconds))
            if watch:
                watch(loop.time() - began, pace)
        out.seconds = loop.time() - began
        running.cancel()
        for task in [*pool._tasks]:
            task.cancel()
        await asyncio.gather(running, *pool._tasks, return_exceptions=True)
        out.stopped_by = pool.stopped_by

    real = pool_module.time
    pool_module.time = _LoopTime  # type: ignore[assignment]
    try:
        run_virtually(main())
    finally:
        pool_module.time = real
    return work.outcome

"""The main job with a client and a ledger in memory, for what needs neither wire nor disk."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.verdict import Answer, NetworkFault
from bulk_eraser.errors import (
    BulkEraserError,
    CredentialsRefused,
    ExitCode,
    Interrupted,
    LedgerWriteError,
    ServiceDown,
    TooManyFailures,
)
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.pacing.pace import Pace
from bulk_eraser.records import Accepted, Failed, Record, Sent, Unknown, Unsent
from bulk_eraser.sending import creation
from bulk_eraser.sending.counts import Tally
from bulk_eraser.sending.creation import Creation
from bulk_eraser.sending.pool import Pool
from bulk_eraser.sending.run import Run
from bulk_eraser.settings import FailureLimit, RunSettings
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.survey import Survey

GOOD = Answer(200, b'{"jid":"j","status":"created"}', True)
LOST = NetworkFault("connection_lost", maybe_done=True, at_once=True)
REFUSED = NetworkFault("connection_refused", maybe_done=False)


class MemoryLedger:
    """Keeps what is committed; `full_after` records it can be written no more."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full_after = 10**9
        self.on_commit: Callable[[list[Record]], None] = lambda records: None
        self.on_failure: Callable[[BulkEraserError], None] = lambda error: None

    def append(self, record: Record) -> None:
        self._take([record])

    async def commit(self, records: Any = ()) -> None:
        await asyncio.sleep(0)
        self._take(list(records))

    def _take(self, records: list[Record]) -> None:
        if len(self.records) + len(records) > self.full_after:
            self.full_after = 0
            error = LedgerWriteError("full")
            self.on_failure(error)
            raise error
        self.records += records
        self.on_commit(records)

    def of(self, kind: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


class Client:
    """Answers by script: an answer, a fault, an exception, or something to wait for first."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.answer: Callable[[str, int], Any] = lambda key, nth: GOOD
        self.calls: Counter[str] = Counter()
        self.status: Answer | NetworkFault = REFUSED
        self.asked = 0
        self.in_flight = self.most_in_flight = self.fresh = 0
        self.anew: list[str] = []
        self.connect: Callable[[], Awaitable[None]] | None = None
        self._ledger = ledger

    def close_idle(self) -> None:
        self.fresh += 1

    async def job_status(self, jid: str) -> Answer | NetworkFault:
        self.asked += 1
        return self.status

    async def create_removal_job(
        self, key: str, *, anew: bool, leaves: Callable[[], None]
    ) -> Answer | NetworkFault:
        if self.connect is not None:
            await self.connect()
        self.calls[key] += 1
        self.anew += [key] * anew
        sent = sum(record.key == key for record in self._ledger.of(Sent))
        assert sent >= self.calls[key], "a request left before its line"
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.answer(key, self.calls[key])
            if not (isinstance(answer, NetworkFault) and not answer.maybe_done):
                leaves()
            await asyncio.sleep(0)
            if asyncio.iscoroutine(answer):
                answer = await answer
        finally:
            self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        if answer is None or answer is GOOD:
            return Answer(200, f'{{"jid":"job-of-{key}","status":"created"}}'.encode(), True)
        return answer


@dataclass
class Stage:
    """An erasure of `keys` with all its parts."""

    keys: list[str]
    pool: Pool
    ledger: MemoryLedger
    client: Client
    pace: Pace
    tally: Tally
    now: list[float]
    sleeps: list[float] = field(default_factory=list)

    async def run(self) -> None:
        async with asyncio.timeout(20):
            await self.pool.run()
        assert self.tally.is_conserved()

    def states(self) -> Counter[str]:
        """How many keys have which kind of last record."""
        last = {record.key: type(record).__name__ for record in self.ledger.records}
        return Counter(last.values())


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    """Builds a stage; `now` is the clock of its pace, `sleep` what stands in for waiting."""
    surveys = []

    def build(amount: int = 40, **options: Any) -> Stage:
        keys = [f"secret-{number:04}" for number in range(amount)]
        path = tmp_path / "keys.csv"
        path.write_text("customerKey\n" + "".join(f"{key}\n" for key in keys))
        survey = Survey(InputReader(str(path), Reading()))
        survey.read()
        survey.decide(lambda partition: {})
        surveys.append(survey)
        settings = RunSettings(
            target=Target.of_base_url("http://127.0.0.1:1"),
            api_version=ApiVersion.V4,
            **{"concurrency": 4, "rate": 0.0} | options,
        )
        ledger = MemoryLedger()
        client = Client(ledger)

        async def sleep(seconds: float) -> None:
            made.sleeps.append(seconds)
            now[0] += seconds
            await asyncio.sleep(0)

        now = [monotonic()]
        concurrency = settings.concurrency
        pace = Pace(settings.rate, settings.max_outage, concurrency, lambda: now[0], sleep)
        tally = Tally(survey.decisions)
        erasure = Creation(survey, LedgerFacts(), ledger, client, tally, settings)
        pool = Pool(erasure, client, pace, settings)
        run = SimpleNamespace(tally=tally, settings=settings)

        def committed(records: list[Record]) -> None:
            if why := Run.committed(run, records):
                pool.stop(why)

        ledger.on_commit, ledger.on_failure = committed, pool.stop
        made = Stage(keys, pool, ledger, client, pace, tally, now)
        return made

    yield build
    for survey in surveys:
        survey.close()


async def test_all_keys_are_settled(stage: Any):
    """With a good service every key is accepted, with no more in flight than allowed."""
    made = stage(100)
    await made.run()
    assert made.pool.stopped_by is None
    assert made.states() == {"Accepted": 100}
    assert made.client.most_in_flight == 4
    assert made.pool.requests == 100
    assert made.tally["accepted"] == 100


async def test_no_request_leaves_before_its_line_is_on_disk(stage: Any):
    """While the commit of the `sent` lines is under way, nothing is sent."""
    made = stage(40)
    begun, synced = asyncio.Event(), asyncio.Event()
    commit = made.ledger.commit

    async def held(records: Any = ()) -> None:
        begun.set()
        await synced.wait()
        await commit(records)

    made.ledger.commit = held
    run = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        await begun.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    assert not made.client.calls
    synced.set()
    await run
    assert made.states() == {"Accepted": 40}


async def test_repeats_share_the_slots(stage: Any):
    """Repeats and new keys together are never more than --concurrency in flight."""
    made = stage(40)
    gate, full = asyncio.Event(), asyncio.Event()

    async def answer(key: str, nth: int) -> Any:
        if nth == 1 and made.keys.index(key) < 4:
            return LOST
        if made.client.in_flight >= 4:
            full.set()
        await gate.wait()
        return GOOD

    made.client.answer = answer
    run = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        await full.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    assert made.client.in_flight == 4
    gate.set()
    await run
    assert made.client.most_in_flight == 4
    assert made.states() == {"Accepted": 40}


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_bug_in_the_client_is_70(stage: Any, attempt: int):
    """A bug while one key is in flight, at its first attempt or a repeat: that key is `unknown`,
    what else is in flight is drained and booked, nothing further leaves, and the message holds
    no customer key."""
    made = stage(40)
    gate = asyncio.Event()
    bad = made.keys[8]
    calls = 0

    async def answer(key: str, nth: int) -> Any:
        nonlocal calls
        if key == bad and nth < attempt:
            return LOST
        if key == bad:
            calls = sum(made.client.calls.values())
            gate.set()
            return ValueError(f"about {key}")
        if key in made.keys[9:12]:  # leaves a slot for the repeat
            await gate.wait()
        return GOOD

    made.client.answer = answer
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.INTERNAL
    assert "ValueError" in str(made.pool.stopped_by)
    assert "secret" not in str(made.pool.stopped_by)
    (unknown,) = made.ledger.of(Unknown)
    assert (unknown.key, unknown.error, unknown.attempts) == (bad, "internal_error", attempt)
    assert sum(made.client.calls.values()) == calls
    assert len(made.ledger.of(Accepted)) == len(made.client.calls) - 1


async def test_a_bug_in_the_verdict_is_70(stage: Any, monkeypatch: pytest.MonkeyPatch):
    """A bug while an answer is judged leaves that key `unknown`: a job may have been made."""
    made = stage(40)
    classify = creation.classify

    def broken(came: Any, version: ApiVersion) -> Any:
        if came.status == 418:
            raise RecursionError
        return classify(came, version)

    monkeypatch.setattr(creation, "classify", broken)
    teapot = Answer(418, b"", True)
    made.client.answer = lambda key, nth: teapot if key == made.keys[5] else GOOD
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.INTERNAL
    assert [record.key for record in made.ledger.of(Unknown)] == [made.keys[5]]
    assert len(made.ledger.of(Accepted)) == len(made.client.calls) - 1


async def test_a_bug_in_the_producer_is_70(stage: Any, monkeypatch: pytest.MonkeyPatch):
    """A bug where rows are handed out ends the run; what is in flight is booked."""
    made = stage(40)
    committed = made.ledger.on_commit

    def broken(records: Any) -> None:
        committed(records)
        if len(made.ledger.of(Sent)) > 20:
            made.ledger.on_commit = committed
            raise ZeroDivisionError

    made.ledger.on_commit = broken
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.INTERNAL
    assert made.states()["Accepted"] == sum(made.client.calls.values())


async def test_a_full_ledger_ends_it_at_once(stage: Any):
    """When the ledger can be written no more, nothing further leaves and nothing is waited for."""
    made = stage(100)
    never = asyncio.Event()
    made.ledger.full_after = 30

    async def answer(key: str, nth: int) -> Any:
        if made.keys.index(key) % 5 == 4:
            await never.wait()
        return GOOD

    made.client.answer = answer
    began = monotonic()
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.LEDGER_WRITE
    assert monotonic() - began < 2
    assert len(made.ledger.records) <= 30
    assert set(made.client.calls) <= {record.key for record in made.ledger.of(Sent)}
    assert made.ledger.of(Unknown) == []


async def test_stopped_before_it_began(stage: Any):
    """A signal that came before the first key: nothing is recorded, nothing sent."""
    made = stage()
    made.pool.stop(Interrupted(2))
    await made.run()
    assert made.ledger.records == []
    assert not made.client.calls


async def test_the_first_reason_stays(stage: Any):
    """What stopped a run is what came first."""
    made = stage()
    first = ServiceDown("first")
    made.pool.stop(first)
    made.pool.stop(Interrupted(2), hurry=True)
    await made.run()
    assert made.pool.stopped_by is first


@pytest.mark.parametrize(
    ("why", "left"),
    [
        (Interrupted(2), "Unknown"),
        (CredentialsRefused("no"), "Unknown"),
        (ServiceDown("down"), "Sent"),
        (TooManyFailures("many"), "Unknown"),
        (LedgerWriteError("full"), "Sent"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_what_is_given_up_may_have_arrived(stage: Any, why: BulkEraserError, left: str):
    """Keys whose requests are given up are `unknown`, or keep `sent` when the service was down
    for all or the ledger takes no more; of those not yet tried `sent` is taken back, if the ledger
    takes it; none is `failed`."""
    made = stage(60)
    never, busy = asyncio.Event(), asyncio.Event()

    async def answer(key: str, nth: int) -> None:
        if made.client.in_flight == 4:
            busy.set()
        await never.wait()

    made.client.answer = answer
    running = asyncio.ensure_future(made.run())
    await busy.wait()
    made.pool.stop(why, hurry=True)
    await running
    assert made.ledger.of(Failed) == []
    expected = Counter({left: 4})
    not_tried = "Sent" if isinstance(why, LedgerWriteError) else "Unsent"
    expected[not_tried] += len(made.ledger.of(Sent)) - 4
    assert made.states() == expected
    assert len(made.client.calls) == 4


async def test_a_drain_waits_for_answers(stage: Any):
    """After the first signal answers that are on their way are still booked."""
    made = stage(60)
    gate, busy = asyncio.Event(), asyncio.Event()

    async def answer(key: str, nth: int) -> None:
        if made.client.in_flight == 4:
            busy.set()
        await gate.wait()

    made.client.answer = answer
    running = asyncio.ensure_future(made.run())
    await busy.wait()
    made.pool.stop(Interrupted(15))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    gate.set()
    await running
    assert len(made.ledger.of(Accepted)) == len(made.client.calls) == 4
    assert made.ledger.of(Unknown) == []


async def test_a_key_that_waits_for_its_repeat_when_the_run_stops(stage: Any):
    """A key between two attempts is `unknown` if the first may have arrived, else keeps `sent`."""
    made = stage(2, concurrency=2)
    made.client.answer = lambda key, nth: (
        GOOD if nth > 1 else Answer(503 if key == made.keys[0] else 429, b"", True)
    )
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    made.pace.sleep = sleep
    running = asyncio.ensure_future(made.run())
    await waiting.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    made.pool.stop(Interrupted(2))
    await running
    assert made.states() == {"Unknown": 1, "Sent": 1}
    assert made.ledger.of(Unknown)[0].key == made.keys[0]
    assert made.ledger.of(Unknown)[0].error == "interrupted"


@pytest.mark.parametrize("throttled", [True, False])
async def test_a_429_while_the_pool_is_throttled_counts_against_no_key(
    stage: Any, monkeypatch: pytest.MonkeyPatch, throttled: bool
):
    """Then the rate is what is wrong; a key that meets it alone is out of attempts."""
    made = stage(3, max_attempts=2)
    monkeypatch.setattr(type(made.pace), "is_pool_throttled", throttled)
    made.client.answer = lambda key, nth: (
        Answer(429, b"", True) if key == made.keys[2] and nth <= 5 else GOOD
    )
    await made.run()
    assert made.states() == ({"Accepted": 3} if throttled else {"Accepted": 2, "Failed": 1})


async def test_nothing_leaves_the_gate_after_a_stop(stage: Any):
    """Workers that wait for their turn when the run stops send nothing."""
    made = stage(60, rate=1.0)
    waiting = asyncio.Event()
    let_go = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await let_go.wait()
        made.now[0] += seconds

    made.pace.sleep = sleep
    running = asyncio.ensure_future(made.run())
    await waiting.wait()
    calls = sum(made.client.calls.values())
    made.pool.stop(Interrupted(2))
    let_go.set()
    await running
    assert sum(made.client.calls.values()) == calls


@pytest.mark.parametrize("hurry", [False, True])
async def test_what_still_connects_has_not_left(stage: Any, hurry: bool):
    """A stop takes back what was about to connect, at once, and no key is `unknown` for it, also
    at a repeat."""
    made = stage(20)
    made.client.answer = lambda key, nth: Answer(429, b"", True)
    hangs = asyncio.Event()

    async def connect() -> None:
        if made.pool.requests > 6:
            hangs.set()
            await asyncio.Event().wait()

    made.client.connect = connect
    running = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        await hangs.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        made.pool.stop(Interrupted(2), hurry=hurry)
        async with asyncio.timeout(5):
            await running
    assert made.ledger.of(Unknown) == []
    assert made.pool.requests == made.client.calls.total() == 6
    left = Counter(record.key for record in made.ledger.of(Sent))
    left.subtract(record.key for record in made.ledger.of(Unsent))
    assert +left == made.client.calls


async def test_a_dead_connection_is_repeated_at_once(stage: Any):
    """A keep-alive connection that was dead costs neither wait nor budget, the first time; the
    repeats take new ones, and are not in flight beside --concurrency others."""
    made = stage(200)
    made.client.answer = lambda key, nth: LOST if nth == 1 else GOOD
    await made.run()
    assert made.client.most_in_flight == 4
    assert made.states() == {"Accepted": 200}
    assert sorted(made.client.anew) == made.keys
    assert sum(made.sleeps) == 0
    assert {record.attempts for record in made.ledger.of(Accepted)} == {2}


async def test_a_jid_that_another_key_was_given(stage: Any):
    """A job belongs to the first key that it was given for; a key whose answer broke off may be
    given the same one again."""
    made = stage(20, max_attempts=3)
    first, second, third = made.keys[3], made.keys[9], made.keys[12]
    whole = b'{"jid":"job-of-%s"}'

    def answer(key: str, nth: int) -> Answer:
        if key == second and nth < 3:
            return Answer(200, whole % first.encode(), True)
        if key == third and nth == 1:
            return Answer(200, whole % third.encode(), False)
        return GOOD

    made.client.answer = answer
    await made.run()
    accepted = {record.key: record for record in made.ledger.of(Accepted)}
    assert {key: record.jid for key, record in accepted.items()} == {
        key: f"job-of-{key}" for key in made.keys
    }
    assert (accepted[second].attempts, accepted[third].attempts) == (3, 2)


async def test_repeats_wait_for_the_budget(stage: Any):
    """Other repeats are paid for: beyond the first few they wait, and every key still ends."""
    made = stage(100, max_attempts=2)
    made.client.answer = lambda key, nth: Answer(429, b"", True) if nth == 1 else GOOD
    await made.run()
    assert made.pool.stopped_by is None
    assert made.states() == {"Accepted": 100}
    assert sum(made.sleeps) > 10


@pytest.mark.parametrize("max_attempts", [1, 2, 6])
async def test_attempts_of_a_poisoned_key_are_bounded(stage: Any, max_attempts: int):
    """A key that is never answered well takes --max-attempts, then is `unknown`."""
    made = stage(40, max_attempts=max_attempts, concurrency=1)
    made.client.answer = lambda key, nth: Answer(500, b"", True) if key == made.keys[20] else GOOD
    await made.run()
    assert made.client.calls[made.keys[20]] == max_attempts
    assert made.states() == {"Accepted": 39, "Unknown": 1}


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_a_refused_connection_is_never_held_against_a_key(stage: Any, max_attempts: int):
    """What failed before there was a connection says nothing about a key, however often."""
    made = stage(12, max_attempts=max_attempts, concurrency=1)
    made.client.answer = lambda key, nth: REFUSED if key == made.keys[5] and nth < 20 else GOOD
    await made.run()
    assert made.states() == {"Accepted": 12}
    assert made.client.calls[made.keys[5]] == 20


async def test_what_left_once_is_not_taken_back_where_nothing_listens_later(stage: Any):
    """A key whose first attempt may have arrived keeps a `sent`, though the others never left."""
    made = stage(3, max_outage=1.0)
    timeout = NetworkFault("timeout", maybe_done=True)
    made.client.answer = lambda key, nth: timeout if nth == 1 else REFUSED
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.SERVICE_DOWN
    assert max(made.client.calls.values()) > 1
    left = Counter(record.key for record in made.ledger.of(Sent))
    left.subtract(record.key for record in made.ledger.of(Unsent))
    assert set(+left) == set(made.keys)


async def test_a_possible_job_is_told(stage: Any):
    """A key that is refused after an attempt that may have been carried out says so."""
    made = stage(3, concurrency=1)
    made.client.answer = lambda key, nth: LOST if nth == 1 else Answer(400, b"no", True)
    await made.run()
    assert {(f.permanent, f.possible_job, f.attempts) for f in made.ledger.of(Failed)} == {
        (True, True, 2)
    }


@pytest.mark.parametrize(
    ("came", "code"),
    [
        (NetworkFault("certificate", maybe_done=False), ExitCode.CONFIGURATION),
        (Answer(403, b"", True), ExitCode.CREDENTIALS),
        (Answer(302, b"", True), ExitCode.CONTRACT_BROKEN),
        (Answer(410, b"", True), ExitCode.CONTRACT_BROKEN),
    ],
    ids=["certificate", "403", "302", "410"],
)
async def test_what_concerns_every_key_is_a_stop(stage: Any, came: Any, code: ExitCode):
    """A bad certificate, refused credentials, a redirect or a version that is gone, in the middle
    of a run: no repeat, nothing more than what was in flight, and those keys keep `sent`."""
    made = stage(60)
    made.client.answer = lambda key, nth: GOOD if made.keys.index(key) < 20 else came
    await made.run()
    assert made.pool.stopped_by.exit_code == code
    assert made.pool.retries == 0
    assert len(made.client.calls) <= 20 + 4
    assert set(made.states()) <= {"Accepted", "Sent", "Unsent"}
    assert made.states()["Accepted"] == 20
    last = {record.key: type(record) for record in made.ledger.records}
    left = set(made.client.calls)
    if isinstance(came, NetworkFault):  # nothing left without a valid certificate
        left = {*made.keys[:20]}
    assert {key for key, kind in last.items() if kind is not Unsent} == left


async def test_the_limit_of_failures_is_a_stop(stage: Any):
    """More failures than allowed stop the run, and what is in flight is still booked."""
    made = stage(60, max_failures=FailureLimit.parse("2"))
    made.client.answer = lambda key, nth: Answer(400, b"", True)
    await made.run()
    assert isinstance(made.pool.stopped_by, TooManyFailures)
    assert 3 <= len(made.ledger.of(Failed)) <= 3 + 4
    assert len(made.ledger.of(Failed)) == sum(made.client.calls.values())


async def test_what_was_about_to_be_announced_is_taken_back(stage: Any):
    """A run that stops while `sent` lines are being committed: the commit goes on, so they are on
    record, and so is that none of them left."""
    made = stage(40)
    begun, synced = asyncio.Event(), asyncio.Event()
    commit = made.ledger.commit

    async def held(records: Any = ()) -> None:
        going_on = asyncio.ensure_future(commit(records))
        begun.set()
        await synced.wait()
        await going_on

    made.ledger.commit = held
    running = asyncio.ensure_future(made.run())
    async with asyncio.timeout(10):
        await begun.wait()
    made.pool.stop(Interrupted(2))
    await running
    assert not made.client.calls
    assert len(made.ledger.of(Sent)) > 0
    assert made.states() == {"Unsent": len(made.ledger.of(Sent))}
    assert made.tally["not_reached"] == 40


async def test_nothing_is_asked_before_there_is_a_job(stage: Any):
    """A service that never answered well has no job that could be asked about: 69."""
    made = stage(12, max_attempts=2, max_outage=1.0)
    made.client.answer = lambda key, nth: Answer(500, b"", True)
    await made.run()
    assert made.pool.stopped_by.exit_code == ExitCode.SERVICE_DOWN
    assert made.client.asked == 0

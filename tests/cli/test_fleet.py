"""`fleet`: many clusters in one process, and what happens to one is not what happens to others."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

Services = Callable[[int], Any]


@pytest.fixture
async def services(service: Any) -> AsyncIterator[Any]:
    """As many services as are asked for, each at a port of its own."""
    made = [service]

    async def start(number: int) -> list[Any]:
        while len(made) < number:
            made.append(type(service)())
            await made[-1].start()
        return made[:number]

    yield start
    for it in made[1:]:
        await it.close()


def name_of(number: int) -> str:
    return f"shop{number}"


def fleet_file(
    desk: Any,
    api_key: str,
    services: list[Any],
    *,
    above: str = "",
    each: Callable[[int], str] = lambda number: f'input = "{name_of(number)}.csv"',
) -> Path:
    """A fleet of shop0, shop1 …, without a rate, each with a key file of its own."""
    lines = ["rate = 0", above]
    for number, it in enumerate(services):
        key_file = desk.folder / f"{number}.key"
        key_file.write_text(api_key)
        key_file.chmod(0o600)
        desk.may_hold_the_api_key.add(key_file)
        lines += [
            f"[cluster.{name_of(number)}]",
            f'base_url = "{it.origin}"',
            f'api_key_file = "{number}.key"',
            each(number),
        ]
    path: Path = desk.folder / "fleet.toml"
    path.write_text("\n".join(lines))
    return path


def of_cluster(ended: Any, name: str) -> Any:
    """What a fleet ended with for one cluster, as a run of its own would have."""
    own = json.loads(ended.out)["clusters"][name]
    return type(ended)(own["exit_code"], json.dumps(own) + "\n", ended.err)


def ledger_of(number: int) -> str:
    return f"{name_of(number)}.ledger.ndjson"


def ledgers(desk: Any) -> list[Path]:
    return sorted(desk.folder.glob("*.ledger.ndjson"))


async def run(desk: Any, *options: object, **more: Any) -> Any:
    return await desk.call("fleet", "run", "fleet.toml", "--yes", "--json", *options, **more)


async def test_what_stops_one_touches_no_other(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Of twenty clusters one refuses the API key, one is down, one is redirected: those end with
    77, 69 and 76, all others well, each as a run of its own would. The severest code counts, and
    the same command sends what is left, and nothing else."""
    all_services = await services(20)
    refusing, down, moved = 7, 13, 16
    all_services[refusing].answer = lambda call: 401
    all_services[moved].answer = lambda call: 301
    await all_services[down].stop()
    inputs = [desk.csv(keys[n::20][:6], f"{name_of(n)}.csv") for n in range(20)]
    fleet_file(desk, api_key, all_services, above="max_outage = 0.2")
    ended = await run(desk)
    codes = {refusing: 77, down: 69, moved: 76}
    for n, source in enumerate(inputs):
        own = of_cluster(ended, name_of(n))
        assert own.code == codes.get(n, 0)
        ledger = desk.reconcile(source, own, all_services[n], name=ledger_of(n))
        assert len(ledger.of("accepted")) == (0 if n in codes else 6)
    assert ended.code == 77
    total = json.loads(ended.out)
    assert total["counts"]["accepted"] == 17 * 6
    assert total["counts"]["rows"] == 20 * 6
    assert total["next"][-5:] == ["fleet", "run", "fleet.toml", "--yes", "--json"]
    assert "shop7 (77), shop13 (69), shop16 (76)" in total["error"]
    for n in (refusing, moved):
        all_services[n].answer = lambda call: None
    await all_services[down].start()
    asked = [len(it.calls) for it in all_services]
    again = await run(desk)
    assert again.code == 0
    for n, source in enumerate(inputs):
        assert len(all_services[n].calls) - asked[n] == (6 if n in codes else 0)
        desk.reconcile(source, of_cluster(again, name_of(n)), all_services[n], name=ledger_of(n))
    assert json.loads(again.out)["next"][-3:] == ["fleet", "follow", "fleet.toml"]


async def test_a_full_disk_stops_the_one_that_meets_it(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """A ledger that cannot grow ends its own cluster (74); the others go on to their ends."""
    two = await services(2)
    desk.csv(keys[:300], "shop0.csv")
    small = desk.csv(keys[300:310], "shop1.csv")
    fleet_file(desk, api_key, two)
    ended = await run(desk, file_size_limit=40_000)
    assert ended.code == of_cluster(ended, "shop0").code == 74
    own = of_cluster(ended, "shop1")
    assert own.code == 0
    desk.reconcile(small, own, two[1], name=ledger_of(1))


async def test_one_input_is_split_by_a_column(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Each row is booked by exactly one cluster: a key in two of them is sent to both, a second row
    with it in one is a duplicate, a row without a key is rejected in its own. One that has no row
    ends well and says so in its ledger. `verify --input` accounts for all rows."""
    four = await services(4)
    own: dict[int, list[tuple[int, str]]] = {0: [], 1: [], 2: [], 3: []}
    lines = ["customerKey,shop,note"]
    of_rows = [(key, n % 3) for n, key in enumerate(keys[:60])]
    of_rows += [(keys[0], 1), (keys[1], 1), ("", 2), (keys[60], 2)]
    for line, (key, shop) in enumerate(of_rows, 2):
        lines.append(f"{key}, {name_of(shop)} ,x")
        own[shop].append((line, key))
    path = desk.file("all.csv", "\n".join(lines) + "\n")
    above = 'input = "all.csv"\ncluster_field = "shop"'
    fleet_file(desk, api_key, four, above=above, each=lambda n: "")
    ended = await run(desk)
    assert ended.code == 3
    none = desk.csv([], "none.csv")
    for n, it in enumerate(four):
        rows = type(none)(path, own[n])
        one = of_cluster(ended, name_of(n))
        assert one.code == (3 if n == 2 else 0)
        ledger = desk.reconcile(rows, one, it, name=ledger_of(n))
        assert set(it.per_key) == {key for _, key in own[n] if key}
        assert ledger.of("run_started")[0]["input"]["rows"] == len(own[n])
        assert ledger.of("run_started")[0]["input"]["cluster"] == name_of(n)
    counts = json.loads(ended.out)["counts"]
    assert (counts["rows"], counts["duplicate"], counts["rejected"]) == (64, 1, 1)
    assert ledgers(desk)[3].name == ledger_of(3)
    verified = await desk.call("fleet", "verify", "fleet.toml", "--input", "--json")
    assert verified.code == 0
    states = json.loads(verified.out)["counts"]
    assert (states["in_progress"], states["duplicate"], states["rejected"]) == (62, 1, 1)
    alone = await desk.call("verify", ledger_of(1), "--input", path, "--json")
    assert json.loads(alone.out)["input"]["rows"] == len(own[1])


async def test_a_hold_list_for_all(desk: Any, services: Services, keys: list[str], api_key: str):
    """Beside one input: its keys are held in every cluster that has them, and what none has is
    warned of once, not by each cluster for the keys of the others."""
    two = await services(2)
    rows = [f"{key},shop{n % 2}" for n, key in enumerate(keys[:6])]
    desk.file("all.csv", "\n".join(["customerKey,shop", *rows, f"{keys[0]},shop1", ""]))
    desk.csv([keys[0], keys[3], keys[9]], "hold.csv")
    above = 'input = "all.csv"\ncluster_field = "shop"\nexclude = "hold.csv"'
    fleet_file(desk, api_key, two, above=above, each=lambda n: "")
    for command in (("check",), ("run", "--yes")):
        ended = await desk.call("fleet", *command, "fleet.toml", "--json")
        assert ended.code == 0
        # One at least: it is not looked at whether a key that is held stands in two clusters.
        assert ended.err.count("on the hold list hold.csv") <= 1
        assert json.loads(ended.out)["counts"]["excluded"] == 3
    assert [set(it.per_key) for it in two] == [{keys[2], keys[4]}, {keys[1], keys[5]}]
    desk.csv([keys[8], keys[9]], "hold.csv")
    warned = await desk.call("fleet", "check", "fleet.toml")
    told = "Warning: 2 keys on the hold list hold.csv are in none of the rows that it is for."
    assert warned.err.count(told) == warned.err.count("hold.csv") == 1


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("shop9", "“shop9”, line 4"),
        ("SHOP1", "“SHOP1” (did you mean shop1?), line 4"),
        ("", "no name, line 4"),
        ("a@b.example", "a value that may be a customer key and is not shown, line 4"),
    ],
)
async def test_a_row_for_no_cluster_refuses_all(
    desk: Any, services: Services, keys: list[str], api_key: str, cell: str, told: str
):
    """65 before anything is sent or written anywhere; where it is, is told."""
    two = await services(2)
    rows = f"customerKey,shop\n{keys[0]},shop0\n{keys[1]},shop1\n{keys[2]},{cell}\n"
    desk.file("all.csv", rows)
    above = 'input = "all.csv"\ncluster_field = "shop"'
    fleet_file(desk, api_key, two, above=above, each=lambda n: "")
    for command in ("check", "run"):
        ended = await desk.call("fleet", command, "fleet.toml")
        assert ended.code == 65
        assert told in ended.err
    assert not ledgers(desk)
    assert not any(it.calls for it in two)


async def test_one_that_cannot_be_used_refuses_all_until_it_is_left_out(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Before anything is sent nothing is lost by stopping: all that is wrong is told at once, with
    the clusters that it is about, and nothing is sent to anybody. Left out, the others run."""
    four = await services(4)
    for n in (0, 3):
        desk.csv(keys[n : n + 1], f"{name_of(n)}.csv")
    desk.file("shop1.csv", "customerKey\n")
    desk.file("shop2.csv", "nothing,here\n1,2\n")
    fleet_file(desk, api_key, four)
    ended = await run(desk)
    assert ended.code == 65
    assert "shop1: shop1.csv holds no rows" in ended.err
    assert "shop2: shop2.csv has no column customerKey" in ended.err
    assert "--except 'shop1,shop2'" in ended.err or "--except shop1,shop2" in ended.err
    assert not any(it.calls for it in four)
    total = json.loads(ended.out)
    assert total["outcome"] == "refused"
    assert {name: it["exit_code"] for name, it in total["clusters"].items()} == {
        "shop1": 65,
        "shop2": 65,
    }
    left = await run(desk, "--except", "shop1,shop2")
    assert left.code == 0
    assert [len(it.calls) for it in four] == [1, 0, 0, 1]
    follow = json.loads(left.out)["next"]
    assert follow[-3:] == ["fleet.toml", "--except", "shop1,shop2"]


async def test_missing_key_files_are_told_of_all_clusters(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Before anything is read or sent, and without what stands there: it may be the key itself."""
    three = await services(3)
    for n in range(3):
        desk.csv(keys[n : n + 1], f"{name_of(n)}.csv")
    path = fleet_file(desk, api_key, three)
    path.write_text(path.read_text().replace('"0.key"', f'"{api_key}"'))
    desk.may_hold_the_api_key.add(path)
    (desk.folder / "2.key").unlink()
    ended = await run(desk)
    assert ended.code == 78
    assert "shop0, shop2: the file that api_key_file names does not exist" in ended.err
    assert not ledgers(desk)


async def test_the_environment_says_nothing_of_a_cluster(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Variables for single runs would be the same for all clusters, so none of them counts."""
    two = await services(2)
    inputs = [desk.csv(keys[n : n + 2], f"{name_of(n)}.csv") for n in (0, 1)]
    path = fleet_file(desk, api_key, two, above='max_failures = "50%"')
    env = {
        "BULK_ERASER_MAX_FAILURES": "x",
        "BULK_ERASER_LEDGER": "one.ledger.ndjson",
        "BULK_ERASER_EXCLUDE": "none.csv",
        "BULK_ERASER_RECEIPT": "receipt.json",
        "BULK_ERASER_KEY_FIELD": "note",
        "BULK_ERASER_CONCURRENCY": "x",
        "ELEVATE_BASE_URL": two[1].origin,
        "ELEVATE_CLUSTER_ID": "w1234abcd",
        "ELEVATE_API_KEY": "another",
    }
    ended = await run(desk, env=env)
    assert ended.code == 0
    for n in (0, 1):
        desk.reconcile(inputs[n], of_cluster(ended, name_of(n)), two[n], name=ledger_of(n))
        assert {call.api_key for call in two[n].calls} == {api_key}
    assert [it.name for it in ledgers(desk)] == [ledger_of(0), ledger_of(1)]
    path.write_text(path.read_text().replace('api_key_file = "1.key"', ""))
    without = await run(desk)
    assert without.code == 78
    assert "ELEVATE_API_KEY is not used" in without.err


async def test_one_question_for_all(desk: Any, services: Services, keys: list[str], api_key: str):
    """A line for each cluster and their sum, which is typed; anything else sends nothing."""
    two = await services(2)
    desk.csv(keys[:3], "shop0.csv")
    desk.csv(keys[3:7], "shop1.csv")
    desk.csv([keys[4]], "hold.csv")
    fleet_file(
        desk,
        api_key,
        two,
        each=lambda n: f'input = "{name_of(n)}.csv"' + ('\nexclude = "hold.csv"' if n else ""),
    )
    for typed, code in (("3", 2), ("6", 0)):
        terminal = await desk.on_terminal("fleet", "run", "fleet.toml")
        await terminal.saw("Type the number of keys (6) to confirm: ")
        shown = terminal.shown
        assert "shop0 " in shown
        assert "2 in all        6        1" in shown
        assert "6 keys in 2 clusters will be sent for removal" in shown
        assert not any(it.calls for it in two)
        terminal.type(f"{typed}\n")
        ended = await terminal.ended()
        assert ended.code == code
    assert [len(it.calls) for it in two] == [3, 3]
    nobody = await desk.call("fleet", "run", "fleet.toml", "--retry-failed")
    assert nobody.code == 0  # nothing is left to be asked about


async def test_without_a_terminal_consent_must_be_given(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Neither --yes nor a plan: 2, and nothing is sent."""
    two = await services(2)
    for n in (0, 1):
        desk.csv(keys[n : n + 1], f"{name_of(n)}.csv")
    fleet_file(desk, api_key, two)
    ended = await desk.call("fleet", "run", "fleet.toml")
    assert ended.code == 2
    assert "Consent is missing: 2 keys in 2 clusters" in ended.err
    assert not any(it.calls for it in two)


async def test_a_plan_binds_all(desk: Any, services: Services, keys: list[str], api_key: str):
    """`fleet check --plan` writes one plan. It is carried out without a question, unless a row, a
    hold list or a target of one cluster is another, or one came: 2, and it says which."""
    two = await services(2)
    for n in (0, 1):
        desk.csv(keys[n * 5 : n * 5 + 5], f"{name_of(n)}.csv")
    hold = desk.csv([keys[9]], "hold.csv")
    each = lambda n: f'input = "{name_of(n)}.csv"\nexclude = "hold.csv"'  # noqa: E731
    path = fleet_file(desk, api_key, two, each=each)
    checked = await desk.call("fleet", "check", "fleet.toml", "--plan", "p.json", "--json")
    assert checked.code == 0
    found = json.loads(checked.out)
    assert (found["plan"], found["counts"]["keys"]) == ("p.json", 10)
    assert found["next"][-2:] == ["--plan", "p.json"]
    as_planned = ("fleet", "run", "fleet.toml", "--plan", "p.json")
    whole, rows = path.read_text(), (desk.folder / "shop1.csv").read_text()
    for change, told in (
        (lambda: desk.csv(keys[4:9], "shop1.csv"), "shop1: The plan p.json does not match"),
        (lambda: desk.csv([keys[8]], "hold.csv"), "shop1: The plan p.json does not match"),
        (
            lambda: path.write_text(whole.replace(two[1].origin, "https://other.example")),
            "shop1: The plan p.json is for something else",
        ),
        (
            lambda: path.write_text(
                f"{whole}\n[cluster.new]\ncluster_id = 'w1'\ninput = 'shop0.csv'\n"
            ),
            "new is not in the plan",
        ),
    ):
        change()
        ended = await desk.call(*as_planned)
        assert ended.code == 2, told
        assert told in ended.err
        path.write_text(whole)
        (desk.folder / "shop1.csv").write_text(rows)
        hold.path.write_text(f"customerKey,note\n{keys[9]},x\n")
    assert not any(it.calls for it in two)
    alone = await desk.run(hold, two[0], "--plan", "p.json")
    assert (alone.code, len(two[0].calls)) == (2, 0)
    assert "a plan for a fleet: `bulk-eraser fleet run FLEET --plan`" in alone.err
    ended = await desk.call(*as_planned)
    assert ended.code == 0
    assert [len(it.calls) for it in two] == [5, 4]
    plan = desk.ledger(ledger_of(1)).of("run_started")[0]["plan"]
    assert plan["made_by"]


async def test_a_plan_binds_the_column_of_the_clusters(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Another column would send the same keys to other clusters: 2, before anything is sent."""
    two = await services(2)
    rows = [f"{keys[0]},shop0,shop1", f"{keys[1]},shop1,shop0"]
    desk.file("all.csv", "\n".join(["customerKey,shop,other", *rows, ""]))
    above = 'input = "all.csv"\ncluster_field = "shop"'
    path = fleet_file(desk, api_key, two, above=above, each=lambda n: "")
    checked = await desk.call("fleet", "check", "fleet.toml", "--plan", "p.json")
    assert checked.code == 0
    path.write_text(path.read_text().replace('"shop"', '"other"'))
    ended = await desk.call("fleet", "run", "fleet.toml", "--plan", "p.json")
    assert ended.code == 2
    assert "--cluster-field: 'shop' in the plan, 'other' in this run" in ended.err
    assert not any(it.calls for it in two)


async def test_a_run_does_not_send_one_cluster_the_rows_of_all(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """The ledger says whose rows it has: `run` with the whole input is refused (78), and so is
    `fleet run` under another name."""
    two = await services(2)
    rows = [f"{key},shop{n % 2}" for n, key in enumerate(keys[:6])]
    source = desk.file("all.csv", "\n".join(["customerKey,shop", *rows, ""]))
    above = 'input = "all.csv"\ncluster_field = "shop"'
    path = fleet_file(desk, api_key, two, above=above, each=lambda n: "")
    assert (await run(desk)).code == 0
    alone = await desk.run(source, two[0], "--ledger", ledger_of(0))
    assert alone.code == 78
    assert "has the rows of shop0 of an input for several clusters" in alone.err
    path.write_text(
        path.read_text().replace("[cluster.shop0]", f'[cluster.new]\nledger = "{ledger_of(0)}"')
    )
    source.write_text(source.read_text().replace("shop0", "new"))
    renamed = await run(desk)
    assert renamed.code == 78
    assert [len(it.calls) for it in two] == [3, 3]


async def test_a_signal_drains_all_clusters(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Ctrl-C once: what is in flight anywhere is waited for, and every ledger says how it ended.
    One that had ended before stays as it was."""
    three = await services(3)
    may_answer = asyncio.Event()
    for it in three[:2]:
        it.answer = lambda call: may_answer.wait()
    inputs = [desk.csv(keys[n * 50 : n * 50 + 50], f"{name_of(n)}.csv") for n in range(3)]
    fleet_file(desk, api_key, three, above="concurrency = 4")
    running = await desk.start("fleet", "run", "fleet.toml", "--yes", "--json")
    await asyncio.gather(*(it.saw(4) for it in three[:2]), three[2].saw(50))
    await desk.until(lambda: b"run_finished" in (desk.folder / ledger_of(2)).read_bytes())
    running.signal(signal.SIGINT)
    told = b"nothing"
    while told and b"topping" not in told:
        told = await asyncio.wait_for(running.process.stderr.readline(), 20)
    may_answer.set()
    ended = await running.ended()
    assert ended.code == 130
    for n, source in enumerate(inputs):
        one = of_cluster(ended, name_of(n))
        ledger = desk.reconcile(source, one, three[n], name=ledger_of(n))
        assert one.code == (0 if n == 2 else 130)
        assert not ledger.of("unknown")
        assert len(ledger.of("accepted")) == (50 if n == 2 else 4)
    again = await run(desk)
    assert again.code == 0


async def test_a_second_signal_stops_all_at_once(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Requests in flight are given up, and recorded as unknown, in every cluster; that one has
    ended before changes nothing."""
    *two, quick = await services(3)
    never = asyncio.Event()
    for it in two:
        it.answer = lambda call: never.wait()
    inputs = [desk.csv(keys[n * 9 : n * 9 + 9], f"{name_of(n)}.csv") for n in (0, 1)]
    desk.csv(keys[18:20], "shop2.csv")
    fleet_file(desk, api_key, [*two, quick], above="concurrency = 3")
    running = await desk.start("fleet", "run", "fleet.toml", "--yes", "--json")
    await asyncio.gather(*(it.saw(3) for it in two))
    ended_before = desk.folder / ledger_of(2)
    await desk.until(lambda: b"run_finished" in ended_before.read_bytes())
    running.signal(signal.SIGTERM)
    told = b"nothing"
    while told and b"topping" not in told:
        told = await asyncio.wait_for(running.process.stderr.readline(), 20)
    assert told == b"Stopping: waiting for 6 requests in flight; Ctrl-C again stops now\n"
    began = time.monotonic()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    assert time.monotonic() - began < 4  # 5 s after one signal alone
    never.set()
    assert ended.code == 143
    for n, source in enumerate(inputs):
        ledger = desk.reconcile(source, of_cluster(ended, name_of(n)), two[n], name=ledger_of(n))
        assert len(ledger.of("unknown")) == 3


async def test_follow_side_by_side(desk: Any, services: Services, keys: list[str], api_key: str):
    """Each cluster's jobs are asked about at its own service: one is done, one pending, one refuses
    the key, one was never run. Status and report tell the same of each."""
    four = await services(4)
    for n in range(4):
        desk.csv(keys[n * 3 : n * 3 + 3], f"{name_of(n)}.csv")
    each = lambda n: f'input = "{name_of(n)}.csv"\nreceipt = "{n}.receipt.json"'  # noqa: E731
    fleet_file(desk, api_key, four, each=each)
    ran = await run(desk, "--only", "shop0,shop1,shop2")
    assert ran.code == 0
    assert len(list(desk.folder.glob("*.receipt.json"))) == 3
    four[1].status = lambda jid: "started"
    four[2].status = lambda jid: 401
    follow = ("fleet", "follow", "fleet.toml", "--now")
    ended = await desk.call(*follow, "--json")
    total = json.loads(ended.out)
    assert "there is no ledger shop3.ledger.ndjson. `fleet run` makes it" in ended.err
    codes = {name: it["exit_code"] for name, it in total["clusters"].items()}
    assert codes == {"shop0": 0, "shop1": 75, "shop2": 77, "shop3": 2}
    assert ended.code == 77
    assert (total["counts"]["done"], total["counts"]["pending"]) == (3, 6)
    assert [it.asked.total() for it in four[:2]] == [3, 3]
    stands = await desk.call("fleet", "status", "fleet.toml", "--json", "--except", "shop3")
    assert stands.code == 75
    found = json.loads(stands.out)
    assert (found["counts"]["erased"], found["counts"]["in_progress"]) == (3, 6)
    assert found["next"][-5:] == ["fleet", "follow", "fleet.toml", "--except", "shop3"]
    for it in four[1:3]:
        it.status = lambda jid: "done"
    done = await desk.call(*follow, "--except", "shop3")
    assert done.code == 0
    clusters = "in the clusters above (shop3 was left out)"  # so the fleet is not called complete
    assert f"Complete: {clusters}, all jobs are done, 9 erased." in done.err
    stands = await desk.call("fleet", "status", "fleet.toml", "--except", "shop3")
    assert (stands.code, f"Finished {clusters}: 9 erased." in stands.err) == (0, True)
    written = await desk.call(
        "fleet", "report", "fleet.toml", "--except", "shop3", "--html", "r.html", "--input"
    )
    assert written.code == 0
    assert sorted(it.name for it in desk.folder.glob("*.html")) == [
        f"r.{name_of(n)}.html" for n in range(3)
    ]
    options = ("--input", "--expect-done", "--except", "shop3")
    proven = await desk.call("fleet", "verify", "fleet.toml", *options)
    assert proven.code == 0
    assert "3 in all" in proven.out
    assert f"Verified: {clusters}, the ledger is as it was written." in proven.err
    changed = desk.folder / ledger_of(1)
    changed.write_bytes(changed.read_bytes().replace(b'"status":"done"', b'"status":"gone"', 1))
    told = await desk.call("fleet", "verify", "fleet.toml")
    assert "6 in all without shop1, shop3: 6 erased" in told.out
    damaged = await desk.call("fleet", "verify", "fleet.toml", "--json", "--except", "shop3")
    assert damaged.code == 79
    found = json.loads(damaged.out)["clusters"]
    assert [found[name_of(n)]["exit_code"] for n in range(3)] == [0, 79, 0]
    assert len(found["shop0"]["receipts"]) == 1


async def test_every_row_is_in_the_sums_and_every_next_step_is_named(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Rejected, duplicate and held rows as well: what is told adds up to the rows of the input.
    Keys that were not sent are as much a next step as jobs that are pending."""
    three = await services(3)
    three[0].answer = lambda call: 400 if call.key == keys[1] else None
    three[1].answer = lambda call: 401
    rows = [*(f"{key},shop0" for key in keys[:5]), f"{keys[2]},shop0", ",shop0", f"{keys[7]},shop1"]
    desk.file("all.csv", "\n".join(["customerKey,shop", *rows]) + "\n")
    desk.csv([keys[4]], "hold.csv")
    above = 'input = "all.csv"\ncluster_field = "shop"\nexclude = "hold.csv"'
    fleet_file(desk, api_key, three, above=above, each=lambda n: "")
    tried = await desk.call("fleet", "run", "fleet.toml", "--dry-run", "--only", "shop0")
    assert tried.code == 3
    assert "shop0 needs attention:\n  1 empty_key: the key is empty or blank (line 8)" in tried.err
    ran = await desk.call("fleet", "run", "fleet.toml", "--yes")
    assert ran.code == 77
    assert (
        "8 rows in all: 3 accepted, 1 failed, 1 not sent, 1 rejected, 1 duplicate, 1 on hold"
        in ran.out
    )
    assert "1 http_400: the service answered 400 (line 3)" in ran.err
    stands = await desk.call("fleet", "status", "fleet.toml")
    assert "7 in all: 3 in progress, 1 refused, 1 on hold, 1 rejected, 1 sent" in stands.out
    for step in ("run fleet.toml\n", "follow fleet.toml\n", "run fleet.toml --retry-failed\n"):
        assert f" fleet {step}" in stands.err
    assert "1 row rejected: correct them in the input" in stands.err
    three[0].status = lambda jid: "started"
    asked = await desk.call("fleet", "follow", "fleet.toml", "--only", "shop0", "--now")
    assert asked.code == 75
    assert "1 key has no job. `fleet run` sends what can be sent" in asked.err


async def test_a_table_that_was_copied_is_warned_of(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Two clusters with one input, without a column that splits it, may be meant or not."""
    desk.csv(keys[:2], "all.csv")
    fleet_file(desk, api_key, await services(2), each=lambda _: 'input = "all.csv"')
    for command in (("check",), ("run", "--dry-run")):
        ended = await desk.call("fleet", command[0], "fleet.toml", *command[1:])
        assert ended.code == 0
        assert "shop0, shop1 have the same input, all.csv" in ended.err


async def test_a_receipt_that_is_gone_is_told(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """Who verifies must not believe that it was compared."""
    desk.csv(keys[:2], "shop0.csv")
    fleet_file(desk, api_key, await services(1), above='receipt = "r.json"')
    assert (await run(desk)).code == 0
    compared = await desk.call("fleet", "verify", "fleet.toml")
    (desk.folder / "r.json").unlink()
    ended = await desk.call("fleet", "verify", "fleet.toml")
    assert (compared.code, ended.code) == (0, 0)
    assert "r.json" not in compared.err
    assert "shop0: the receipt r.json is not there, so it is not compared." in ended.err


@pytest.mark.parametrize("command", ["status", "verify", "report"])
async def test_the_ledger_of_another_says_nothing_of_a_cluster(
    desk: Any, services: Services, keys: list[str], api_key: str, command: str
):
    """Whoever links or copies it to the wrong name must not read that all are erased there."""
    desk.csv(keys[:2], "shop0.csv")
    desk.csv(keys[2:4], "shop1.csv")
    fleet_file(desk, api_key, await services(2))
    assert (await run(desk, "--only", "shop0")).code == 0
    os.link(desk.folder / ledger_of(0), desk.folder / ledger_of(1))
    ended = await desk.call("fleet", command, "fleet.toml")
    assert ended.code == 78
    assert "shop1: The ledger" in ended.err
    assert "belongs to" in ended.err


@pytest.mark.parametrize("command", ["follow", "status", "verify", "report"])
async def test_the_ledger_of_an_export_is_no_erasure(
    desk: Any, services: Services, keys: list[str], api_key: str, command: str
):
    """Its jobs end well without anybody being erased."""
    desk.csv(keys[:2], "shop0.csv")
    [it] = await services(1)
    fleet_file(desk, api_key, [it])
    options = ("--base-url", it.origin, "--ledger", ledger_of(0), "--output", "copies", "--yes")
    assert (await desk.call("export", "shop0.csv", *options)).code == 0
    it.status = lambda jid: "done"
    ended = await desk.call("fleet", command, "fleet.toml")
    assert ended.code == 2
    assert "is that of an export, whose jobs erase nobody" in ended.err
    assert it.asked.total() == 0


async def test_nothing_is_sent_or_written_to_try_it(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """A dry run writes nothing; a rehearsal has ledgers of its own, and needs no API key."""
    two = await services(2)
    for n in (0, 1):
        desk.csv(keys[n * 5 : n * 5 + 5], f"{name_of(n)}.csv")
    path = fleet_file(desk, api_key, two)
    path.write_text("\n".join(it for it in path.read_text().split("\n") if "api_key" not in it))
    before = desk.everything()
    dry = await desk.call("fleet", "run", "fleet.toml", "--dry-run")
    assert dry.code == 0
    assert "10 keys would be sent" in dry.err
    assert desk.everything() == before
    rehearsed = await desk.call("fleet", "run", "fleet.toml", "--rehearse", "--json")
    assert rehearsed.code == 0
    assert json.loads(rehearsed.out)["counts"]["accepted"] == 10
    assert sorted(desk.everything().keys() - before.keys()) == [
        desk.folder / f"{name_of(n)}.rehearsal.ndjson" for n in (0, 1)
    ]
    assert not any(it.calls for it in two)


async def test_few_files_lower_the_concurrency_of_each(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """P9: where not all connections have room, each cluster gets its part; without room for one
    each, nothing begins (78)."""
    three = await services(3)
    for n in range(3):
        desk.csv(keys[n * 40 : n * 40 + 40], f"{name_of(n)}.csv")
    fleet_file(desk, api_key, three)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))"
    refused = await run(desk, before=limit.format(121))
    assert refused.code == 78
    assert "3 clusters need 123 at least" in refused.err
    ended = await run(desk, before=limit.format(130))
    assert ended.code == 0
    assert "only 130 files may be open, so concurrency is at most 3 per cluster" in ended.err
    for n in range(3):
        assert desk.ledger(ledger_of(n)).of("run_started")[0]["settings"]["concurrency"] == 3
    fleet_file(desk, api_key, three, above="concurrency = 99999999999")
    beyond = await run(desk)
    assert beyond.code == 2
    assert "--concurrency must be between 1 and 1,024" in beyond.err


async def test_progress_has_a_line_for_each(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """On a terminal of 80 columns: how far each of twenty clusters is, what holds one up, and the
    sum; no line is longer than the terminal."""
    twenty = await services(20)
    may_answer = asyncio.Event()
    twenty[3].answer = lambda call: may_answer.wait() if call.n > 2 else None
    for n in range(20):
        desk.csv(keys[n * 10 : n * 10 + 10], f"{name_of(n)}.csv")
    fleet_file(desk, api_key, twenty, above="concurrency = 2")
    env = {"TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    terminal = await desk.on_terminal("fleet", "run", "fleet.toml", "--yes", columns=80, env=env)
    await terminal.saw("19 of 20 ended")
    assert " 20%   2 of 10 " in terminal.shown
    assert "100%  10 of 10  finished" in terminal.shown
    may_answer.set()
    ended = await terminal.ended()
    assert ended.code == 0
    assert "20 in all" in ended.out


@pytest.mark.soak
async def test_killed_in_the_middle_again_and_again(
    desk: Any, services: Services, keys: list[str], api_key: str
):
    """kill -9 at moments of all kinds; in the end each key has one job, and no key has had more
    requests than `sent` lines, in any cluster."""
    four = await services(4)
    lines = ["customerKey,shop"]
    own: dict[int, list[str]] = {n: [] for n in range(4)}
    for number, key in enumerate(keys[:1200]):
        own[number % 4].append(key)
        lines.append(f"{key},{name_of(number % 4)}")
    desk.file("all.csv", "\n".join(lines) + "\n")
    above = 'input = "all.csv"\ncluster_field = "shop"\nrate = 300'
    path = fleet_file(desk, api_key, four, above=above, each=lambda n: "")
    path.write_text(path.read_text().replace("rate = 0\n", "", 1))
    for kill in range(1, 8):
        running = await desk.start("fleet", "run", "fleet.toml", "--yes", "--json")
        seen = sum(len(it.calls) for it in four)
        await desk.until(lambda: sum(len(it.calls) for it in four) >= seen + 17 * kill)  # noqa: B023 awaited here
        running.signal(signal.SIGKILL)
        await running.process.communicate()
    ended = await run(desk)
    assert ended.code == 0
    for n, it in enumerate(four):
        ledger = desk.ledger(ledger_of(n))
        ledger.must_send_no_accepted_key_again()
        accepted = Counter(line["key"] for line in ledger.of("accepted"))
        assert accepted == Counter(own[n])
        sent = ledger.sent()
        assert all(it.per_key[key] <= sent[key] for key in own[n])
        assert set(it.per_key) == set(own[n])
    assert os.path.exists(desk.folder / ledger_of(0))

"""The main job before your eyes: a batch is killed in the middle, and continued.

Run it with `make demo`. It starts the simulator in a process of its own, checks `demo.csv` and
writes a plan, carries the plan out against the simulator, kills that run without warning, gives the
same command again, follows the jobs until all are done (a day lasts two seconds here), and compares
the ledger with what the simulator says it served. Nothing leaves this computer.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACE = HERE.parent / "build" / "demo"
KEY = "a-made-up-key"
FAULTS = ("http_500=1%", "http_503=1%", "http_429=0.2%", "drop_before=1%", "drop_after=1%")
BIN = Path(sys.executable).parent
KILL_AFTER = 1000
DAY = "2"


def main() -> int:
    """Tell the story; 0 if it ended as promised."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    shutil.copy(HERE / "demo.csv", PLACE / "keys.csv")
    log, ledger = PLACE / "simulator.log", PLACE / "keys.ledger.ndjson"

    step("1. A simulated Elevate service starts. About 4 % of its answers are faults, on purpose.")
    command = ["simulate", "--port", "0", "--api-key", KEY, "--day", DAY, "--log", str(log)]
    for fault in FAULTS:
        command += ["--fault", fault]
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as simulator:
        assert simulator.stdout is not None
        origin = simulator.stdout.readline().strip()
        checked = ["keys.csv", "--base-url", origin, "--plan", "plan.json"]
        run = ["run", "--plan", "plan.json", "--rate", "400", "--yes"]

        step("2. Somebody checks the file, which sends nothing, and writes a plan.")
        with start(["check", *checked], shown=True) as check:
            check.wait()

        step(f"3. The plan is carried out, and killed (kill -9) after {KILL_AFTER:,} keys.")
        with start(run, shown=True) as killed:
            wait_until_accepted(killed, ledger)
            killed.send_signal(signal.SIGKILL)
        kinds = Counter(line["type"] for line in lines(ledger))
        tell(
            f"Killed. The ledger holds {kinds['accepted']:,} accepted keys and "
            f"{kinds['sent']:,} requests that may have left."
        )

        step("4. The same command again. It knows what is settled and continues.")
        with start(run, shown=True) as resumed:
            code = resumed.wait()

        step(f"5. Only “done” means erased, so the jobs are followed. A day lasts {DAY} s here.")
        following = ["follow", ledger.name, "--wait", "--day", DAY, "--rate", "400"]
        with start(following, shown=True) as followed:
            all_done = followed.wait() == 0
        simulator.terminate()

    step("6. An auditor looks at the ledger and at the file.")
    with start(["verify", ledger.name, "--input", "keys.csv"], shown=True) as verified:
        holds = verified.wait() == 0

    step("7. Does the ledger agree with what the service saw?")
    tell(f"{'yes' if all_done else 'NO '}  every job is done")
    tell(f"{'yes' if holds else 'NO '}  verify: the chain is intact, every row is accounted for")
    return 0 if agrees(ledger, log, code) and all_done and holds else 1


def agrees(ledger: Path, log: Path, code: int) -> bool:
    """Reconcile both sides, key by key, and say what was found."""
    records = list(lines(ledger))
    sent = Counter(line["key"] for line in records if line["type"] == "sent")
    accepted = Counter(line["key"] for line in records if line["type"] == "accepted")
    posts = [line for line in lines(log) if line["method"] == "POST"]
    jobs = {line["jid"]: line["key"] for line in posts if line["jid"]}
    served = Counter(line["key"] for line in posts)
    facts = next(line["input"] for line in records if line["type"] == "run_started")
    promises = {
        f"{facts['keys']:,} different keys, {len(accepted):,} of them accepted": (
            len(accepted) == facts["keys"]
        ),
        "no key accepted twice": max(accepted.values()) == 1,
        "every accepted key has its job at the service": all(
            jobs.get(line["jid"]) == line["key"] for line in records if line["type"] == "accepted"
        ),
        f"{served.total():,} requests at the service, none without its line in the ledger": all(
            served[key] <= sent[key] for key in served
        ),
        f"{facts['rejected']} bad rows and {facts['duplicate']} duplicates, all on record": (
            sum(line["type"] in ("rejected", "duplicate") for line in records)
            == facts["rejected"] + facts["duplicate"]
        ),
        "exit code 3: the end was reached, and some rows had no usable key": code == 3,
    }
    for promise, kept in promises.items():
        tell(f"{'yes' if kept else 'NO '}  {promise}")
    tell(f"Look at the ledger yourself: {os.path.relpath(ledger)}")
    return all(promises.values())


def start(command: list[str], *, shown: bool = False, **streams: int) -> subprocess.Popen[str]:
    """Start `bulk-eraser` in the demo's folder; `shown`: as if it had been typed."""
    if shown:
        print(f"\n   $ bulk-eraser {shlex.join(command)}", flush=True)
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])  # as in its environment
    environment = os.environ | {"ELEVATE_API_KEY": KEY, "PATH": path}
    program = [str(BIN / "bulk-eraser"), *command]
    return subprocess.Popen(program, cwd=PLACE, env=environment, text=True, **streams)


def wait_until_accepted(run: subprocess.Popen[str], ledger: Path) -> None:
    """Until the ledger shows KILL_AFTER accepted keys, or the run ended by itself."""
    while run.poll() is None:
        if ledger.exists() and ledger.read_bytes().count(b'"type":"accepted"') >= KILL_AFTER:
            return
        try:
            run.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


def lines(path: Path) -> list[dict]:
    """The whole lines of an NDJSON file; the one that a kill cut off is not one."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def step(text: str) -> None:
    print(f"\n{text}", flush=True)


def tell(text: str) -> None:
    print(f"   {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

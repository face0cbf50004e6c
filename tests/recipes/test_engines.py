"""The recipes for engines that run shards: valid, right about exit codes, and run as they would be.

An engine is played by what it does here: it sets the shard's number, starts the command, and
decides by its exit code.
"""

import ast
import fnmatch
import json
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from recipe_job import API_KEY, KEYS, RECIPES, Job, loaded, simulated

from bulk_eraser.errors import ExitCode

SHARDS = 4
AGAIN = {
    ExitCode.SERVICE_DOWN,
    ExitCode.INTERNAL,
    ExitCode.LEDGER_WRITE,
    ExitCode.NOT_FINISHED,
    ExitCode.SIGINT,
    ExitCode.SIGTERM,
}
"""After these the same command may be started again by a machine: docs/ci.md."""
BATCH = json.loads((RECIPES / "aws-batch.json").read_text())


@pytest.fixture
def job(tmp_path: Path):
    with simulated("86400") as origin:
        yield Job(tmp_path, origin), {"ELEVATE_BASE_URL": origin, "ELEVATE_API_KEY": API_KEY}


def shards_are_complete(job: Job, ended: list[subprocess.CompletedProcess[str]]) -> None:
    """Each shard ended well, and together they accepted every key once."""
    assert [one.returncode for one in ended] == [0] * SHARDS, ended[0].stderr
    sealed = job.script("bulk-eraser seal keys.seal.ndjson keys.*of4.ledger.ndjson", {})
    assert sealed.returncode == 0, sealed.stderr
    assert sum(map(job.accepted, job.folder.glob("keys.*of4.ledger.ndjson"))) == KEYS


# ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────


def indexed_job() -> Any:
    return loaded(RECIPES / "indexed-job.yaml")["spec"]


def what_kubernetes_does(code: int) -> str:
    """The action of the first rule that fits; `Count` starts the pod again."""
    for rule in indexed_job()["podFailurePolicy"]["rules"]:
        if code in rule.get("onExitCodes", {"values": []})["values"]:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("code", list(ExitCode)[1:])
def test_kubernetes_starts_again_what_a_machine_may(code: ExitCode):
    """What needs a person is not repeated, and what concerns one shard does not end the others."""
    action = what_kubernetes_does(code)
    assert (action == "Count") is (code in AGAIN)
    if code in {ExitCode.SOME_ROWS, ExitCode.LEDGER_DAMAGED}:
        assert action == "FailIndex"
    elif code not in AGAIN:
        assert action == "FailJob"


def test_kubernetes_takes_the_policy():
    """What the schema does not say: the API refuses unsorted codes, a zero, a policy with another
    restart policy, and limits per index without indexes."""
    spec = indexed_job()
    assert spec["completionMode"] == "Indexed"
    assert "backoffLimitPerIndex" in spec
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    containers = {one["name"] for one in spec["template"]["spec"]["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        if codes := rule.get("onExitCodes"):
            assert codes["values"] == sorted(set(codes["values"]) - {0})
            assert codes["containerName"] in containers


def test_kubernetes_runs_every_shard(job: tuple[Job, dict[str, str]]):
    played, environment = job
    spec = indexed_job()
    (container,) = spec["template"]["spec"]["containers"]
    command = [*container["command"], *container["args"]]
    command = [word.replace("/data", str(played.folder)) for word in command]
    ended = [
        played.command(command, environment | {"JOB_COMPLETION_INDEX": str(index)})
        for index in range(spec["completions"])
    ]
    shards_are_complete(played, ended)


# ── AWS Batch ───────────────────────────────────────────────────────────────────────────────────


def what_batch_does(code: int) -> str:
    """The action of the first rule that fits; without one, the job is started again."""
    for rule in BATCH["retryStrategy"]["evaluateOnExit"]:
        wanted = {"onExitCode": str(code), "onReason": "", "onStatusReason": "Essential container"}
        if all(fnmatch.fnmatch(wanted[name], rule[name]) for name in rule.keys() & wanted.keys()):
            return rule["action"]
    return "RETRY"


def test_batch_takes_the_definition():
    """AWS' own model of the call knows every field."""
    service = botocore.session.get_session().get_service_model("batch")
    shape = service.operation_model("RegisterJobDefinition").input_shape
    report = ParamValidator().validate(BATCH, shape)
    assert not report.has_errors(), report.generate_report()
    assert len(BATCH["retryStrategy"]["evaluateOnExit"]) <= 5
    assert BATCH["retryStrategy"]["evaluateOnExit"][-1] == {"onReason": "*", "action": "EXIT"}


@pytest.mark.parametrize("code", list(ExitCode)[1:])
def test_batch_never_starts_again_what_needs_a_person(code: ExitCode):
    assert what_batch_does(code) == "EXIT" or code in AGAIN
    if code in {ExitCode.SERVICE_DOWN, ExitCode.NOT_FINISHED, ExitCode.SIGTERM}:
        assert what_batch_does(code) == "RETRY"


def test_batch_runs_every_shard(job: tuple[Job, dict[str, str]]):
    played, environment = job
    words = ["bulk-eraser", *BATCH["containerProperties"]["command"]]
    command = [word.replace("/data", str(played.folder)) for word in words]
    ended = [
        played.command(command, environment | {"AWS_BATCH_JOB_ARRAY_INDEX": str(index)})
        for index in range(SHARDS)
    ]
    shards_are_complete(played, ended)


# ── Airflow ─────────────────────────────────────────────────────────────────────────────────────


def test_airflow_runs_every_shard_and_follows(job: tuple[Job, dict[str, str]]):
    """Its commands, with what stands in the file for them; no task may be retried."""
    played, environment = job
    text = (RECIPES / "airflow_dag.py").read_text()
    constants: dict[str, Any] = {}
    for line in ast.parse(text).body:
        if isinstance(line, ast.Assign):
            exec(compile(ast.Module([line], []), "airflow_dag.py", "exec"), constants)
    assert constants["SHARDS"] == SHARDS
    assert text.count("bash_command=") == text.count("retries=0") == 3
    key = "/etc/bulk-eraser/elevate.key"
    run, follow = (constants[name].replace(key, "elevate.key") for name in ("RUN", "FOLLOW"))
    ended = [
        played.script(run, environment | {"SHARD": f"{index}/{SHARDS}"})
        for index in range(1, SHARDS + 1)
    ]
    shards_are_complete(played, ended)
    assert played.script(constants["SEAL"], environment).returncode == 0
    assert played.script(follow, environment).returncode == 0

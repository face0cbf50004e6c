"""The recipes of docs/ci: valid by their schemas, and their scripts run against the simulator.

What a CI service does itself (fetch an artifact, start the next night) is played: `gh` is a script
that copies the ledger from a folder, as an artifact would be kept.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_job import API_KEY, KEYS, RECIPES, ROOT, Job, loaded, simulated

SCHEMAS = {
    "docs/ci/github-run.yml": "vendor.github-workflows",
    "docs/ci/github-follow.yml": "vendor.github-workflows",
    "docs/ci/gitlab-ci.yml": "vendor.gitlab-ci",
    "action.yml": "vendor.github-actions",
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A service at which a day is a day, so that no job is done."""
    with simulated("86400") as origin:
        yield Job(tmp_path, origin)


@pytest.mark.parametrize(("file", "schema"), SCHEMAS.items())
def test_the_files_are_valid(file: str, schema: str):
    """GitHub's and GitLab's own schemas take them."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, ROOT / file]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", ["cronjob.yaml", "indexed-job.yaml"])
def test_what_is_for_kubernetes_is_valid(name: str):
    """The schema of Kubernetes takes it, and knows every field."""
    command = [shutil.which("kubernetes-validate", path=str(Path(sys.executable).parent))]
    command += ["--strict", str(RECIPES / name)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_the_timer_is_valid(tmp_path: Path):
    """systemd takes the timer and the service that it starts."""
    for name in ("bulk-eraser-follow.service", "bulk-eraser-follow.timer"):
        text = (RECIPES / name).read_text()
        program = shutil.which("true")
        (tmp_path / name).write_text(re.sub("ExecStart=\\S+", f"ExecStart={program}", text))
    timer = tmp_path / "bulk-eraser-follow.timer"
    ended = subprocess.run(
        ["systemd-analyze", "verify", timer], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_github(job: Job):
    """The first run needs no ledger, the next one refuses to start without, and goes on with it.
    Following ends well while jobs are pending."""
    first = job.workflow("github-run.yml", plan="keys.plan.json", first="true")
    assert first.returncode == 0, first.stderr
    kept = job.kept / "keys.ledger.ndjson"
    assert job.accepted(kept) == KEYS
    assert (job.kept / "run.receipt.json").exists()

    job.forget()
    again = job.workflow("github-run.yml", plan="keys.plan.json", first="false")
    assert again.returncode == 0, again.stderr
    assert job.accepted(kept) == KEYS

    job.forget()
    followed = job.workflow("github-follow.yml")
    assert followed.returncode == 0, followed.stderr
    assert (job.kept / "follow.receipt.json").exists()

    job.forget()
    kept.rename(job.folder / "lost")
    (job.kept / "nothing").touch()
    lost = job.workflow("github-run.yml", plan="keys.plan.json", first="false")
    assert lost.returncode == 1
    assert "::error::The ledger of the earlier jobs is missing." in lost.stdout
    assert not (job.folder / "keys.ledger.ndjson").exists()


@pytest.mark.parametrize("name", ["github-run.yml", "github-follow.yml"])
def test_github_keeps_the_stamps(job: Job, name: str):
    """With the ledger and the receipts, from job to job: `verify --receipt` asks for them."""
    first = job.workflow("github-run.yml", plan="keys.plan.json", first="true")
    assert first.returncode == 0, first.stderr
    stamp = f"keys.ledger.ndjson.{'0' * 16}.tsr"
    (job.kept / stamp).write_bytes(b"a stamp")
    job.forget()
    job.workflow(name, plan="keys.plan.json", first="false")
    assert (job.folder / stamp).exists()
    (job.kept / stamp).unlink()
    job.workflow(name, plan="keys.plan.json", first="false")
    assert (job.kept / stamp).exists()


@pytest.mark.parametrize("name", ["run", "follow"])
def test_gitlab_keeps_the_stamps(job: Job, name: str):
    """They are copied from beside the ledger to where artifacts are; none is no failure."""
    described = loaded(RECIPES / "gitlab-ci.yml")[name]
    ledger = job.folder / "disk" / "keys.ledger.ndjson"
    ledger.parent.mkdir()
    (script,) = described["after_script"]
    assert job.script(script, {"LEDGER": str(ledger)}).returncode == 0
    Path(f"{ledger}.{'0' * 16}.tsr").write_bytes(b"a stamp")
    assert job.script(script, {"LEDGER": str(ledger)}).returncode == 0
    assert [p.name for p in job.folder.glob(described["artifacts"]["paths"][1])] == [
        f"keys.ledger.ndjson.{'0' * 16}.tsr"
    ]


def test_github_says_when_all_is_done(tmp_path: Path):
    """The nightly workflow says that it can be disabled, once every job is done."""
    with simulated("0.01") as origin:
        job = Job(tmp_path, origin)
        assert job.workflow("github-run.yml", plan="keys.plan.json", first="true").returncode == 0
        follow = "bulk-eraser follow keys.ledger.ndjson --wait --day 0.01 --quiet"
        assert job.script(follow, {"ELEVATE_API_KEY": API_KEY}).returncode == 0
        shutil.copy(tmp_path / "keys.ledger.ndjson", job.kept)
        job.forget()
        followed = job.workflow("github-follow.yml")
        assert (followed.returncode, followed.stdout.count("::notice::Everybody")) == (0, 1)


def test_gitlab(job: Job):
    """What a job ends with is 0, or a code that is allowed and shown as a warning."""
    described = loaded(RECIPES / "gitlab-ci.yml")
    more = described["variables"] | {"ELEVATE_API_KEY": API_KEY}
    more["LEDGER"] = str(job.folder / "keys.ledger.ndjson")
    ran = job.script("\n".join(described["run"]["script"]), more)
    assert ran.returncode == 0, ran.stderr
    followed = job.script("\n".join(described["follow"]["script"]), more)
    assert [followed.returncode] == described["follow"]["allow_failure"]["exit_codes"]


def test_jenkins(job: Job):
    """Its two scripts end with codes that the pipeline knows."""
    scripts = re.findall(r"script: '''\n(.*?)'''", (RECIPES / "Jenkinsfile").read_text(), re.S)
    more = {
        "LEDGER": str(job.folder / "keys.ledger.ndjson"),
        "BULK_ERASER_API_KEY_FILE": str(job.folder / "elevate.key"),
        "PLAN": "keys.plan.json",
    }
    assert [job.script(script, more).returncode for script in scripts] == [0, 75]


def test_kubernetes(job: Job):
    """The container's command ends with 0 while jobs are pending, and with the code of any other
    end."""
    spec = loaded(RECIPES / "cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    more = {
        "LEDGER": str(job.folder / "keys.ledger.ndjson"),
        "BULK_ERASER_API_KEY_FILE": str(job.folder / "elevate.key"),
    }
    run = 'bulk-eraser run --plan keys.plan.json --ledger "$LEDGER" --quiet'
    assert job.script(run, more).returncode == 0
    (script,) = container["args"]
    assert container["command"] == ["sh", "-c"]
    assert job.script(script, more).returncode == 0
    assert job.script(script, more | {"LEDGER": "missing.ndjson"}).returncode != 0


def test_the_image_holds_what_the_package_needs(tmp_path: Path):
    """What the Dockerfile copies is there, and enough to build the package from."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [
        line.split()[1:] for line in lines if line.startswith("COPY ") and "--from" not in line
    ]
    for *sources, to in copies:
        for source in sources:
            target = tmp_path / to
            target.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, target)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    ended = subprocess.run(
        [*build, "-w", tmp_path, tmp_path], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (wheel,) = tmp_path.glob("bulk_eraser-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert any(name.endswith("/man1/bulk-eraser.1") for name in packed.namelist())
        of_page = packed.read("bulk_eraser/evidence/report/check_ledger.py")
    assert of_page == (ROOT / "docs" / "check_ledger.py").read_bytes()

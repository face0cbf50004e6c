"""What a recipe finds where it runs: a folder with a plan, the program, and a service."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "ci"
API_KEY = "a-made-up-key"
KEYS = 12


class Job:
    """What a CI job has: a working copy with the plan, the program on its path, its environment."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder = folder
        self.kept = folder / "kept"
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
        }
        self.kept.mkdir()
        (folder / "bin").mkdir()
        self._program("bulk-eraser", f'exec {sys.executable} -m bulk_eraser "$@"')
        self._program("gh", f'[ "$*" = "run download --name erasure-ledger" ]; cp {self.kept}/* .')
        keys = "".join(f"{uuid.UUID(int=n, version=4)}\n" for n in range(1, KEYS + 1))
        (folder / "keys.csv").write_text(f"customerKey\n{keys}")
        (folder / "elevate.key").write_text(API_KEY)
        (folder / "elevate.key").chmod(0o600)
        planned = f"bulk-eraser check keys.csv --plan keys.plan.json --base-url {origin} --quiet"
        assert self.script(planned, {}).returncode == 0

    def script(self, text: str, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it as GitHub and GitLab do, ending at the first command that fails."""
        return self.command(["bash", "-e", "-o", "pipefail", "-c", text], more)

    def command(self, words: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run it as containers do, without a shell."""
        return subprocess.run(
            ["/usr/bin/env", *words],
            cwd=self.folder,
            env=self.environment | more,
            text=True,
            capture_output=True,
            check=False,
        )

    def workflow(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """The scripts of a GitHub workflow, and its artifact; returns the last script's end."""
        (described,) = loaded(RECIPES / name)["jobs"].values()
        values = {f"inputs.{key}": value for key, value in inputs.items()}
        values |= {"secrets.ELEVATE_API_KEY": API_KEY}
        ended = None
        for step in described["steps"]:
            wanted = step.get("if", "").strip("${} ")
            if wanted == "!inputs.first" and inputs["first"] == "true":
                continue
            if step.get("uses", "").startswith("actions/upload-artifact"):
                for pattern in step["with"]["path"].split():
                    for path in self.folder.glob(pattern):
                        shutil.copy(path, self.kept)
            elif "run" in step and not (ended and ended.returncode):
                asked = described["env"] | step.get("env", {})
                ended = self.script(step["run"], {k: filled(v, values) for k, v in asked.items()})
        assert ended is not None
        return ended

    def forget(self) -> None:
        """The next job begins on another machine."""
        for path in [*self.folder.glob("*.ledger.ndjson"), *self.folder.glob("*.receipt.json")]:
            path.unlink()

    def accepted(self, ledger: Path) -> int:
        return sum(
            json.loads(line)["type"] == "accepted" for line in ledger.read_text().splitlines()
        )

    def _program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values.get(found[1], ""), text)


@contextmanager
def simulated(day: str) -> Iterator[str]:
    """The origin of a simulator at which a day lasts so many seconds."""
    command = [sys.executable, "-m", "bulk_eraser", "simulate", "--port", "0"]
    with subprocess.Popen(
        [*command, "--api-key", API_KEY, "--day", day],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:
        assert started.stdout is not None
        try:
            yield started.stdout.readline().strip()
        finally:
            started.kill()

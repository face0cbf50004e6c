"""The wire tests on each end of what pyproject.toml admits of aiohttp, and on uvloop.

Everything else is of the versions that are installed here, so that what fails is aiohttp's doing.
"""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ["hypothesis", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist"]
UVLOOP_PLUGIN = """
import uvloop


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}
"""
WHICH = """
import aiohttp
from aiohttp import http_parser as parser
is_python = parser.HttpResponseParser is parser.HttpResponseParserPy
print(aiohttp.__version__, "python" if is_python else "c")
"""


def requirements() -> dict[str, str]:
    """What the package needs, by name, as pyproject.toml has it; with the extra for speed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["speed"]]
    return {need.split(">=")[0]: need for need in needs}


class Environment:
    """A virtual environment of its own, with the tests' tools and without aiohttp."""

    def __init__(self, folder: Path) -> None:
        self._python = folder / "bin" / "python"
        self._folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        others = [name for name in requirements() if name not in ("aiohttp", "uvloop")]
        self.install(*(f"{name}=={version(name)}" for name in [*others, *TOOLS]))

    def install(self, *what: str) -> None:
        """Skips the test where there is no package index, which CI has to have."""
        pip = [sys.executable, "-m", "pip", "--python", self._python, "install", "--quiet"]
        options = ["--disable-pip-version-check", "--no-compile", "--retries=1"]
        done = subprocess.run([*pip, *options, *what], capture_output=True, text=True)
        if "connection broken by" in done.stderr and not os.environ.get("CI"):
            pytest.skip(f"no package index can be reached for {' '.join(what)}")
        assert done.returncode == 0, done.stderr

    def run(self, *command: str | Path, **variables: str) -> str:
        """The output of Python with these arguments, which must end well."""
        kept = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
        paths = {"PYTHONPATH": f"{ROOT}:{self._folder}"}
        done = subprocess.run(
            [self._python, *command],
            cwd=ROOT,
            env=kept | paths | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-20_000:]
        return done.stdout

    def pass_wire_tests(self, *options: str, **variables: str) -> None:
        tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "tests/wire"]
        said = self.run(*tests, "--basetemp", self._folder / "tmp", *options, **variables)
        assert int(said.splitlines()[-1].split()[0]) > 350, said


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.mark.soak
def test_the_lowest_aiohttp(environment: Environment) -> None:
    """The wire tests pass on the lowest version that is admitted."""
    lowest = requirements()["aiohttp"].split(",")[0].replace(">=", "==")
    environment.install(lowest)
    assert environment.run("-c", WHICH).split() == [lowest.split("==")[1], "c"]
    environment.pass_wire_tests()


@pytest.mark.soak
def test_the_newest_aiohttp(environment: Environment) -> None:
    """And on the newest, be it one that is not released yet."""
    environment.install("--pre", requirements()["aiohttp"])
    environment.pass_wire_tests()


@pytest.mark.soak
def test_aiohttp_without_c(environment: Environment) -> None:
    """And without its C extensions, as on machines for which there is no wheel."""
    environment.install("--pre", requirements()["aiohttp"])
    variables = {"AIOHTTP_NO_EXTENSIONS": "1"}
    assert environment.run("-c", WHICH, **variables).split()[1] == "python"
    environment.pass_wire_tests(**variables)


@pytest.mark.soak
def test_uvloop(environment: Environment, tmp_path: Path) -> None:
    """And on the event loop of the extra for speed; two of them look into asyncio's own."""
    environment.install(requirements()["aiohttp"], requirements()["uvloop"])
    (tmp_path / "environment" / "on_uvloop.py").write_text(UVLOOP_PLUGIN)
    environment.pass_wire_tests("-p", "on_uvloop", "-k", "not rounded")

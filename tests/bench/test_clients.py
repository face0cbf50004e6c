"""The aiohttp clients that `make bench` compares with: what they ask for, and that they count.

A yardstick that skips keys, or takes an error for an answer, would make every ratio worthless.
Nothing of the wire is at stake here, so the answers are made up.
"""

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses

URL = "http://127.0.0.1/create-remove-customer-job"
ANY = re.compile(re.escape(URL))
KEYS = [f"key-{number}" for number in range(20)]
CLIENTS = Path(__file__).parents[2] / "benchmarks" / "clients"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """aioresponses, made to fit aiohttp >= 3.14, which wants a stream writer for each response."""

    class Response(ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)

    monkeypatch.setattr("aioresponses.core.ClientResponse", Response)
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.csv"
    path.write_text("\n".join(["customerKey", *KEYS]) + "\n")
    return path


def run(client: str, monkeypatch: pytest.MonkeyPatch, *argv: object) -> None:
    """Run this client's `main` as its command line would."""
    spec = importlib.util.spec_from_file_location(client, CLIENTS / f"{client}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [client, *map(str, argv)])
    asyncio.run(module.main())


def asked(answers: aioresponses) -> list[str]:
    """The customer keys that were asked for, in order."""
    return [
        call.kwargs["params"]["customerKey"]
        for calls in answers.requests.values()
        for call in calls
    ]


def test_the_yardstick_asks_for_every_key_once(
    answers: aioresponses, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many requests as keys, one for each."""
    answers.post(ANY, payload={"jid": "j", "status": "created"}, repeat=True)
    run("bare_loop", monkeypatch, URL, keys, 4)
    assert sorted(asked(answers)) == sorted(KEYS)


@pytest.mark.parametrize(
    "answer", [{"status": 500}, {"payload": {"status": "created"}}], ids=["error", "no_job"]
)
def test_the_yardstick_takes_no_error_for_an_answer(
    answers: aioresponses, keys: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    """An answer without a job ends it, so that no figure comes of it."""
    answers.post(ANY, **answer, repeat=True)
    with pytest.raises(RuntimeError, match="not a good answer"):
        run("bare_loop", monkeypatch, URL, keys, 4)


def test_the_usual_script_keeps_every_job(
    answers: aioresponses, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It writes a line for every key, so that it is compared with what does the same work."""
    answers.post(ANY, payload={"jid": "j", "status": "created"}, repeat=True)
    results = tmp_path / "results"
    run("usual_script", monkeypatch, URL, keys, 4, results, tmp_path / "log")
    written = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(line["key"] for line in written) == sorted(asked(answers)) == sorted(KEYS)
    assert {line["jid"] for line in written} == {"j"}

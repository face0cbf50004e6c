"""What an answer or a network fault means, against a table written from the contract."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.elevate.verdict import (
    Answer,
    Kind,
    NetworkFault,
    classify,
)
from bulk_eraser.errors import ConfigurationError, ExitCode
from bulk_eraser.records import ATTEMPT_ERRORS

JOB = b'{"jid":"job-1","status":"created"}'


def by_contract(status: int) -> tuple[Kind, bool, ExitCode | None]:
    """Kind, perhaps carried out, exit code if it stops: for any status but 200."""
    match status:
        case 400 | 413 | 414 | 422:
            return Kind.REFUSED, False, None
        case 401 | 403:
            return Kind.STOP, False, ExitCode.CREDENTIALS
        case 404 | 405 | 407 | 410:
            return Kind.STOP, False, ExitCode.CONTRACT_BROKEN
        case _ if status // 100 == 3:
            return Kind.STOP, False, ExitCode.CONTRACT_BROKEN
        case 408 | 429:
            return Kind.AGAIN, False, None
        case _ if status // 100 == 4:  # a refusal, but not of the key
            return Kind.AGAIN, False, None
        case _:  # 5xx, and what no service should say
            return Kind.AGAIN, True, None


@pytest.mark.parametrize("version", ApiVersion)
@pytest.mark.parametrize("complete", [True, False])
def test_every_status(version: ApiVersion, complete: bool) -> None:
    """Each status from 100 to 999 means what the contract says, whatever its body."""
    for status in range(100, 1000):
        if status == 200:
            continue
        for body in (b"", JOB, b"\xff<html>"):
            verdict = classify(Answer(status, body, complete, 7.0), version)
            kind, maybe_done, exit_code = by_contract(status)
            assert (verdict.kind, verdict.maybe_done) == (kind, maybe_done), status
            assert (verdict.stop.exit_code if verdict.stop else None) is exit_code, status
            assert verdict.http_status == status
            documented = 300 <= status < 600
            assert verdict.error == (f"http_{status}" if documented else "bad_answer")
            waits = kind is Kind.AGAIN and documented
            assert verdict.retry_after == (7.0 if waits else None), status
            assert (verdict.jid, verdict.at_once, verdict.connecting) == ("", False, False)


@pytest.mark.parametrize(
    ("body", "jid", "status"),
    [
        (JOB, "job-1", "created"),
        (b'{"jid":"job-1","status":"started"}', "job-1", "started"),
        (b'{"jid":"job-1","status":"NEW word"}', "job-1", "NEW word"),
        (b'{"jid":"job-1"}', "job-1", None),
        (b'{"jid":"job-1","status":null}', "job-1", None),
        (b'{"jid":"job-1","status":{"word":1}}', "job-1", None),
        (b'{"jid":"job-1","status":[[1]]}', "job-1", None),
        (b' {"status":"done","x":{"jid":"no"},"jid":"j"} \n', "j", "done"),
        ('{"jid":"jøb ☃"}'.encode(), "jøb ☃", None),
    ],
)
def test_an_accepted_job(body: bytes, jid: str, status: str | None) -> None:
    """A 200 with a jid is an accepted job, and its status word is kept as it came, if it is one."""
    verdict = classify(Answer(200, body, True))
    assert (verdict.kind, verdict.jid, verdict.status) == (Kind.ACCEPTED, jid, status)
    assert (verdict.http_status, verdict.maybe_done, verdict.error) == (200, False, "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html></html>",
        b'{"status":"created"}',
        b'{"jid":null}',
        b'{"jid":1}',
        b'{"jid":true}',
        b'{"jid":["job-1"]}',
        b'{"jid":{"jid":"job-1"}}',
        b'{"jid":""}',
        b'{"jid":" \\t"}',
        b'{"jid":"\\ud800"}',
        b'{"jid":"\xff"}',
        b'[{"jid":"job-1"}]',
        JOB[:-1],
        JOB + b"x",
        b"\xef\xbb\xbf" + JOB,
        b"[" * 100_000,
        b'{"jid":"j","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_200_that_is_no_job(body: bytes) -> None:
    """A 200 without a non-empty string jid may have been carried out, and is asked for again."""
    verdict = classify(Answer(200, body, True))
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (Kind.AGAIN, "bad_answer", True)
    assert verdict.jid == ""


def test_a_200_that_is_cut() -> None:
    """A 200 that was not read to the end is no accepted job, even if what came looks like one."""
    verdict = classify(Answer(200, JOB, False))
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (Kind.AGAIN, "bad_answer", True)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["jid", "status", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body(body: bytes) -> None:
    """Of any body at all, a 200 is accepted exactly when it is an object with a filled jid."""
    try:
        value = msgspec.json.decode(body)
    except ValueError:
        value = None
    jid = value.get("jid") if isinstance(value, dict) else None
    is_job = isinstance(jid, str) and bool(jid.strip())
    assert (classify(Answer(200, body, True)).kind is Kind.ACCEPTED) == is_job


@pytest.mark.parametrize(
    ("error", "maybe_done", "connecting"),
    [
        ("connection_refused", False, True),
        ("dns", False, True),
        ("cannot_connect", False, True),
        ("connection_lost", True, False),
        ("timeout", True, False),
        ("bad_answer", True, False),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_network_fault(error: str, maybe_done: bool, connecting: bool, at_once: bool) -> None:
    """A network fault calls for another attempt; before there was a connection it blames no key."""
    verdict = classify(NetworkFault(error, maybe_done, at_once))
    assert (verdict.kind, verdict.error, verdict.http_status) == (Kind.AGAIN, error, None)
    assert (verdict.maybe_done, verdict.connecting) == (maybe_done, connecting)
    assert verdict.at_once == at_once
    assert error in ATTEMPT_ERRORS


def test_a_bad_certificate() -> None:
    """A bad certificate stops the run as a configuration error; nothing was carried out."""
    verdict = classify(NetworkFault("certificate", maybe_done=False))
    assert (verdict.kind, verdict.error, verdict.maybe_done) == (Kind.STOP, "certificate", False)
    assert isinstance(verdict.stop, ConfigurationError)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("version", "newer"), [("v2", True), ("v3", True), ("v4", False)])
def test_a_version_that_is_gone(version: str, newer: bool, status: int) -> None:
    """404 and 410 name the version asked for, and the current one where it is another."""
    text = str(classify(Answer(status, b"", True), ApiVersion(version)).stop)
    assert f"API version {version}" in text
    assert ("--api-version v4" in text) == newer


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 407, 410])
def test_a_stop_says_what_to_do(status: int) -> None:
    """Why a run stops is told in words, with the status, and without anything of the body."""
    stop = classify(Answer(status, b"secret-of-the-body", True)).stop
    assert stop is not None
    assert f"HTTP {status}" in str(stop)
    assert "secret-of-the-body" not in repr(stop)

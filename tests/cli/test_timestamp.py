"""Time stamps, asked from an authority that was made with openssl, right and wrong ones."""

import gzip
import json
import os
import re
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openssl_authority import Authority, Papers, is_there, must, server_tls
from yarl import URL

from bulk_eraser.cli.options import proofs
from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.route import Route
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.evidence import stamping
from bulk_eraser.evidence.timestamp import (
    NoStamp,
    State,
    answer_to,
    judge,
    request_for,
    trusted_in,
)
from bulk_eraser.sending.request import RunResult

pytestmark = pytest.mark.skipif(not is_there(), reason="the openssl command is not installed")

HEAD = "0f" * 31 + "a1"
OTHER = "1e" * 32
NONCE = bytes.fromhex("0102030405060708")
QUERY = request_for(HEAD, NONCE)
LEDGER = "keys.ledger.ndjson"


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("authority") / "papers")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Another authority, which calls itself the same."""
    return Papers(tmp_path_factory.mktemp("authority") / "strangers")


@pytest.fixture
async def authority(papers: Papers) -> AsyncIterator[Authority]:
    authority = Authority(papers)
    await authority.start()
    yield authority
    await authority.stop()


# ── what a reply says ───────────────────────────────────────────────────────────────────────────


def test_a_query_asks_for_the_head_a_nonce_and_certificates(papers: Papers):
    """As openssl reads it; nothing else is in it."""
    (papers.folder / "read").write_bytes(QUERY)
    text = must(papers.folder, "ts", "-query", "-in", "read", "-text")
    assert "Hash Algorithm: sha256" in text
    assert "Nonce: 0x0102030405060708" in text
    assert "Certificate required: yes" in text
    assert "Policy OID: unspecified" in text
    (papers.folder / "made").write_bytes(b"")
    must(papers.folder, "ts", "-query", "-digest", HEAD, "-sha256", "-cert", "-out", "made")
    imprint = (papers.folder / "made").read_bytes()
    assert imprint[5:56] == QUERY[5:56]


def test_a_good_stamp_is_good_for_openssl_too(papers: Papers):
    """Its time is that of the authority and its accuracy, two seconds."""
    raw = papers.reply(QUERY)
    stamp = judge(raw, trusted_in(str(papers.root)))
    assert (stamp.state, stamp.head, stamp.why) == (State.GOOD, HEAD, None)
    assert papers.says(raw, HEAD)
    assert stamp.time is not None
    when = datetime.fromisoformat(stamp.time)
    assert timedelta() < when - datetime.now(UTC) + timedelta(seconds=60) < timedelta(seconds=62)
    (papers.folder / "told").write_bytes(raw)
    text = must(papers.folder, "ts", "-reply", "-in", "told", "-text")
    signed_at = when - timedelta(seconds=2)
    assert f"{signed_at:%b} {signed_at.day:2} {signed_at:%H:%M:%S}" in text
    assert not papers.says(raw, OTHER)


def test_without_a_trusted_authority_nothing_is_good(papers: Papers):
    """Who signed it is anybody's guess."""
    assert judge(papers.reply(QUERY)).state is State.UNCHECKED


def altered(raw: bytes, old: bytes) -> bytes:
    """One bit of what begins with `old` is another."""
    assert raw.count(old) == 1
    return raw.replace(old, bytes([old[0] ^ 1]) + old[1:])


@pytest.mark.parametrize("wrong", ["stranger", "expired", "signature", "time"])
def test_what_no_trusted_authority_has_signed_is_bad(papers: Papers, strangers: Papers, wrong: str):
    """openssl says so too."""
    good = papers.reply(QUERY)
    signed_at = datetime.fromisoformat(judge(good).time or "") - timedelta(seconds=2)
    raw = {
        "stranger": lambda: strangers.reply(QUERY),
        "expired": lambda: papers.reply(QUERY, signer="expired"),
        "signature": lambda: good[:-1] + bytes([good[-1] ^ 1]),
        "time": lambda: altered(good, f"{signed_at:%Y%m%d%H%M%SZ}".encode()),
    }[wrong]()
    stamp = judge(raw, trusted_in(str(papers.root)))
    assert (stamp.state, stamp.head) == (State.BAD, HEAD)
    assert "signature" in (stamp.why or "")
    assert not papers.says(raw, HEAD)
    assert judge(raw).state is State.UNCHECKED


def test_every_bit_counts(papers: Papers):
    """Whichever bit of a stamp is another, it is bad, or unchecked, or still of this head and time:
    some bits, such as those of version numbers, say nothing. It never raises."""
    good, trusted = papers.reply(QUERY), trusted_in(str(papers.root))
    real = judge(good, trusted)
    for place in range(len(good)):
        raw = bytearray(good)
        raw[place] ^= 1 << place % 8
        stamp = judge(bytes(raw), trusted)
        assert stamp.state is not State.GOOD or stamp == real
        assert judge(good[:place], trusted).state is State.BAD


def test_certificates_out_of_order_are_unchecked(papers: Papers):
    """Never good, although openssl checks them."""
    raw = papers.out_of_order(QUERY)
    for trusted in ([], trusted_in(str(papers.root))):
        stamp = judge(raw, trusted)
        assert (stamp.state, stamp.head, stamp.time) == (State.UNCHECKED, HEAD, None)
    assert papers.says(raw, HEAD)
    assert answer_to(HEAD, NONCE, raw).state is State.UNCHECKED


def test_a_stamp_without_certificates_is_unchecked(papers: Papers):
    """Whoever has that of the signer can check it."""
    must(papers.folder, "ts", "-query", "-digest", HEAD, "-sha256", "-out", "bare")
    raw = papers.reply((papers.folder / "bare").read_bytes())
    assert judge(raw, trusted_in(str(papers.root))).state is State.UNCHECKED


def wrong_answers(papers: Papers) -> Iterator[tuple[str, bytes]]:
    yield "of another digest", papers.reply(request_for(OTHER, NONCE))
    yield (
        "of another request",
        papers.reply(request_for(HEAD, NONCE[::-1].replace(b"\x08", b"\x07"))),
    )
    must(papers.folder, "ts", "-query", "-digest", HEAD, "-sha256", "-out", "bare")
    yield "without the nonce", papers.reply((papers.folder / "bare").read_bytes())
    yield "out of order, of another digest", papers.out_of_order(request_for(OTHER, NONCE))
    other_request = request_for(HEAD, b"\x01" * 8)
    yield "out of order, of another request", papers.out_of_order(other_request)
    yield "empty", b""
    yield "a page", b"<!DOCTYPE html><title>Sign in</title>"
    yield "its own question", QUERY
    yield "cut", papers.reply(QUERY)[:-1]
    granted, with_changes = b"\x30\x03\x02\x01\x00", b"\x30\x03\x02\x01\x01"
    yield "granted with changes", papers.reply(QUERY).replace(granted, with_changes, 1)
    refused = ("ts", "-query", "-digest", HEAD, "-sha256", "-tspolicy", "1.9", "-out", "refused")
    must(papers.folder, *refused)
    yield "refused", papers.reply((papers.folder / "refused").read_bytes())


def test_an_answer_to_something_else_is_no_stamp(papers: Papers):
    """Another digest, another request, a refusal, no reply at all."""
    for name, raw in wrong_answers(papers):
        with pytest.raises(NoStamp):
            pytest.fail(f"{name}: {answer_to(HEAD, NONCE, raw)}")
    assert answer_to(HEAD, NONCE, papers.reply(QUERY)).head == HEAD


# ── where and how it is asked ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", UsageError),
        ("tsa.example.com", UsageError),
        ("ftp://tsa.example.com/", UsageError),
        ("https://user:secret@tsa.example.com/", UsageError),
        ("https://tsa.example.com/#part", UsageError),
        ("https://[::1", UsageError),
        ("http://[::1]@", UsageError),
        ("https:///tsr", UsageError),
        ("http://tsa.example.com/tsr", ConfigurationError),
        ("http://127.1/tsr", UsageError),
    ],
)
def test_an_address_that_cannot_be_used(text: str, error: type[Exception]):
    """Neither what is none, nor a secret in an option, nor plain http to another host."""
    with pytest.raises(error) as found:
        stamping.authority_url(text)
    assert "secret" not in str(found.value)


def test_an_address_is_used_as_it_is():
    """https anywhere, http to this computer."""
    for text in ("https://tsa.example.com/tsr?policy=1", "http://localhost:1/", "http://[::1]/"):
        assert str(stamping.authority_url(text)) == text


def test_the_way_to_the_authority(
    monkeypatch: pytest.MonkeyPatch, papers: Papers, strangers: Papers
):
    """Through the same proxy as to the service; certificates beside the usual ones."""
    url = URL("https://tsa.example.com/")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("SSL_CERT_FILE", str(strangers.root))
    monkeypatch.setenv("SSL_CERT_DIR", str(strangers.folder / "none"))
    assert ServiceOptions().route_to_authority(url) == Route()
    assert ServiceOptions(trust_env=True).route_to_authority(url).proxy == URL(
        "http://proxy.example:3128"
    )
    local = URL("http://127.0.0.1:9/")
    assert ServiceOptions(trust_env=True).route_to_authority(local).proxy is None
    named = ServiceOptions(proxy="http://other.example:1", ca_file=str(papers.root))
    route = named.route_to_authority(url)
    assert route.proxy == URL("http://other.example:1")
    assert route.tls is not None
    assert route.tls.cert_store_stats()["x509_ca"] == 2


def test_stamps_are_found_beside_their_ledger(tmp_path: Path):
    """By the name alone; those of a ledger whose name begins alike are not taken."""
    mine = ["k[1].ledger.ndjson.0123456789abcdef.tsr", "k[1].ledger.ndjson.ffffffffffffffff.tsr"]
    others = ["k[1].ledger.ndjson.x.0123456789abcdef.tsr", "k1.ledger.ndjson.0123456789abcdef.tsr"]
    for name in [*mine, *others, "k[1].ledger.ndjson.0123.tsr"]:
        (tmp_path / name).touch()
    found = stamping.stamps_beside(str(tmp_path / "k[1].ledger.ndjson"))
    assert [os.path.basename(path) for path in found] == mine


async def test_a_silent_authority_is_left_after_its_time(authority: Authority, tmp_path: Path):
    """The time is for all of it, and nothing is written."""
    authority.is_silent = True
    asked = stamping.Authority(URL(authority.url), Route(), within_s=0.05)
    with pytest.raises(NoStamp, match=r"no answer within 0\.05 s"):
        await stamping._given_up_on_a_signal(asked, QUERY)
    with pytest.raises(NoStamp, match="cannot be reached"):
        await stamping._given_up_on_a_signal(
            stamping.Authority(URL("http://127.0.0.1:1/"), Route()), QUERY
        )


# ── run and follow ──────────────────────────────────────────────────────────────────────────────


def stamps_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tsr"))


async def verify(desk: Any, *options: object, **more: Any) -> tuple[int, dict[str, Any]]:
    ended = await desk.call("verify", LEDGER, "--json", *options, **more)
    return ended.code, json.loads(ended.out)


async def test_a_run_and_a_follow_are_stamped(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """The stamp is of the head, kept for its owner alone, and named in --json and in the receipt.
    Only the head leaves. `verify` says the time before which each commit existed."""
    source = desk.csv(keys[:3])
    stamped = ("--timestamp", authority.url, "--receipt", "receipt.json")
    ended = await desk.run(source, service, *stamped)
    head = desk.reconcile(source, ended, service).head
    path = desk.folder / f"{LEDGER}.{head[:16]}.tsr"
    assert (ended.code, ended.json["timestamp"]) == (0, str(path))
    assert f"kept in {path}: existed before " in ended.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert papers.says(path.read_bytes(), head)
    receipt = json.loads((desk.folder / "receipt.json").read_text())
    assert (receipt["timestamp"], receipt["head"]) == (path.name, head)
    [(asked, headers, query)] = authority.asked
    assert asked == "/tsr"
    assert query[:56] == request_for(head, NONCE)[:56]
    assert len(query) == len(QUERY)
    assert headers.keys() == {
        *("Host", "Content-Type", "Content-Length"),
        *("Accept", "Accept-Encoding", "User-Agent"),
    }
    assert headers["Content-Type"] == "application/timestamp-query"

    followed = await desk.call("follow", LEDGER, "--now", "--json", *stamped)
    later = json.loads(followed.out)
    assert len(stamps_in(desk.folder)) == 2
    assert later["timestamp"] == f"{LEDGER}.{later['head'][:16]}.tsr"

    code, found = await verify(desk, "--timestamp-ca", papers.root, "--receipt", "receipt.json")
    assert code == 0
    stamps = {stamp["head"]: stamp for stamp in found["timestamps"]}
    assert {stamp["state"] for stamp in stamps.values()} == {"good"}
    assert stamps[later["head"]]["commits_after"] == 0
    assert stamps[head]["commits_after"] > 0
    assert all(stamp["time"] > receipt["started_at"] for stamp in stamps.values())
    code, found = await verify(desk)
    assert (code, {each["state"] for each in found["timestamps"]}) == (0, {"unchecked"})
    told = await desk.call("verify", LEDGER)
    assert f"openssl ts -verify -digest {head} -in {path.name}" in told.out
    assert "says that it existed before" in told.out


def answers_of(papers: Papers) -> dict[str, Any]:
    """Wrong ones, and what is said of them."""

    def for_another(query: bytes) -> bytes:
        return papers.reply(query[:24] + bytes(32) + query[56:])

    def to_another(query: bytes) -> bytes:
        return papers.reply(query[:58] + b"\x01" * 8 + query[66:])

    def status(code: int, **headers: str) -> Any:
        return lambda query: web.Response(status=code, headers=headers, body=papers.reply(query))

    return {
        "digest": (for_another, "its answer is about something else"),
        "nonce": (to_another, "its answer is about something else"),
        "page": (lambda query: b"<html>", "not a reply of a time stamp authority"),
        "too_long": (lambda query: bytes(stamping.MOST_BYTES + 1), "its answer is too long"),
        "redirect": (status(307, Location="/again"), "HTTP status 307"),
        "error": (status(503), "HTTP status 503"),
        "created": (status(201), "HTTP status 201"),
        "packed": (
            lambda query: web.Response(
                body=gzip.compress(papers.reply(query), mtime=0),
                headers={"Content-Encoding": "gzip"},
            ),
            "not a reply of a time stamp authority",
        ),
    }


@pytest.mark.parametrize(
    "wrong",
    ["digest", "nonce", "page", "too_long", "redirect", "error", "created", "packed"],
)
async def test_a_run_is_not_spoiled_by_its_stamp(
    desk: Any,
    service: Any,
    keys: list[str],
    authority: Authority,
    papers: Papers,
    wrong: str,
):
    """A warning, and all else as without it: exit code, counts, receipt. Nothing is kept, and no
    redirect is followed."""
    authority.answer, why = answers_of(papers)[wrong]
    source = desk.csv(keys[:3])
    stamped = ("--timestamp", authority.url, "--receipt", "receipt.json")
    ended = await desk.run(source, service, *stamped)
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["timestamp"], stamps_in(desk.folder)) == (0, None, [])
    assert re.search(rf"Warning: no time stamp from 127\.0\.0\.1: .*{why}", ended.err)
    assert len(authority.asked) == 1
    receipt = json.loads((desk.folder / "receipt.json").read_text())
    assert receipt["timestamp"] is None
    assert (await verify(desk, "--receipt", "receipt.json"))[0] == 0


async def test_an_authority_is_reached_by_https(
    desk: Any, service: Any, keys: list[str], papers: Papers
):
    """Its own certificate must be trusted, by this computer or by --ca-file."""
    tls, certificate = server_tls(papers.folder)
    authority = Authority(papers)
    await authority.start(tls)
    try:
        source = desk.csv(keys[:3])
        ended = await desk.run(source, service, "--limit", 1, "--timestamp", authority.url)
        assert (ended.code, ended.json["timestamp"], authority.asked) == (75, None, [])
        assert "its certificate is not trusted" in ended.err
        trusting = ("--ca-file", certificate)
        ended = await desk.run(source, service, "--timestamp", authority.url, *trusting)
        assert (ended.code, ended.json["timestamp"]) == (0, str(stamps_in(desk.folder)[0]))
    finally:
        await authority.stop()


async def test_a_stamp_that_cannot_be_kept_is_told(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """The folder lets nothing be written any more: a warning."""

    def answer(query: bytes) -> bytes:
        head = query[24:56].hex()
        (desk.folder / f"{LEDGER}.{head[:16]}.tsr").mkdir()
        return papers.reply(query)

    authority.answer = answer
    ended = await desk.run(desk.csv(keys[:3]), service, "--timestamp", authority.url)
    assert (ended.code, ended.json["timestamp"]) == (0, None)
    assert "cannot be written" in ended.err


def test_a_bug_does_not_spoil_a_run_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Whatever asking ends with, the run has its result."""

    def keep_stamp(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(proofs, "keep_stamp", keep_stamp)
    result, asked = (
        RunResult(ledger=LEDGER, head=HEAD),
        stamping.Authority(URL("https://a/"), Route()),
    )
    started: Any = object()
    proofs.Proofs(None, asked).leave(Output(), started, result)
    assert (result, result.timestamp) == (RunResult(ledger=LEDGER, head=HEAD), None)
    assert "no time stamp from a: a bug (ZeroDivisionError)" in capsys.readouterr().err


async def test_a_signal_gives_the_stamp_up_and_not_the_run(
    desk: Any, service: Any, keys: list[str], authority: Authority
):
    """The run has ended: Ctrl-C only ends the wait."""
    authority.is_silent = True
    source = desk.csv(keys[:3])
    running = await desk.start_run(source, service, "--timestamp", authority.url)
    await authority.has_asked.wait()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    desk.reconcile(source, ended, service)
    assert (ended.code, ended.json["timestamp"]) == (0, None)
    assert "it was given up" in ended.err


async def test_a_fleet_waits_for_a_silent_authority_once(
    desk: Any, service: Any, keys: list[str], authority: Authority, api_key: str
):
    """Not once for each cluster, whether its time is up or Ctrl-C ends the wait."""
    authority.is_silent = True
    key_file = desk.file("fleet.key", api_key)
    key_file.chmod(0o600)
    desk.may_hold_the_api_key.add(key_file)
    others = [type(service)() for _ in range(2)]
    for it in others:
        await it.start()
    text = f'timestamp = "{authority.url}"\napi_key_file = "fleet.key"\n'
    for number, it in enumerate([service, *others]):
        desk.csv(keys[number : number + 1], f"{number}.csv")
        text += f'[cluster.s{number}]\nbase_url = "{it.origin}"\ninput = "{number}.csv"\n'
    desk.file("fleet.toml", text)
    running = await desk.start("fleet", "run", "fleet.toml", "--yes", "--json")
    await authority.has_asked.wait()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    for it in others:
        await it.close()
    assert ended.code == 0
    assert len(authority.asked) == 1
    assert "s0: no time stamp from 127.0.0.1: it was given up" in ended.err
    assert "s1, s2: no time stamp from 127.0.0.1: it was not asked once more" in ended.err


async def test_a_run_that_was_stopped_asks_for_no_stamp(
    desk: Any, service: Any, keys: list[str], authority: Authority
):
    """Who stops it, or kills it some seconds later, does not wait for an authority."""
    running = await desk.start_run(
        desk.csv(keys[:400]), service, "--timestamp", authority.url, "--rate", "20"
    )
    await desk.until(lambda: service.calls)
    running.signal(signal.SIGINT)
    ended = await running.ended()
    assert (ended.code, ended.json["timestamp"], authority.asked) == (130, None, [])
    assert "no time stamp was asked for" in ended.err


async def test_a_reply_that_cannot_be_read_here_is_kept(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """openssl checks it; here it is unchecked, and expected to be good, it is not."""
    authority.answer = papers.out_of_order
    ended = await desk.run(desk.csv(keys[:3]), service, "--timestamp", authority.url)
    [path] = stamps_in(desk.folder)
    assert (ended.code, ended.json["timestamp"]) == (0, str(path))
    assert "unchecked" in ended.err
    assert papers.says(path.read_bytes(), ended.json["head"])
    code, found = await verify(desk)
    assert (code, found["timestamps"][0]["state"]) == (0, "unchecked")
    assert found["timestamps"][0]["commits_after"] == 0
    code, found = await verify(desk, "--timestamp-ca", papers.root)
    assert (code, found["timestamps"][0]["state"]) == (3, "unchecked")


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://tsa.example.com/", 78), ("https://me:secret@tsa.example.com/", 2), ("tsa", 2)],
)
async def test_an_address_is_refused_before_anything_is_sent(
    desk: Any, service: Any, keys: list[str], url: str, code: int
):
    """By all three commands."""
    source = desk.csv(keys[:3])
    ended = await desk.run(source, service, "--timestamp", url)
    assert (ended.code, service.calls) == (code, [])
    await desk.run(source, service)
    before = desk.everything()
    for command in (("follow", LEDGER, "--now"), ("verify", LEDGER)):
        assert (await desk.call(*command, "--timestamp", url)).code == code
    assert (desk.everything(), service.asked.total()) == (before, 0)


async def test_without_its_package_no_stamp_is_asked_for(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """78, and what to install, before anything is sent. `verify` says of a stamp what it can."""
    source = desk.csv(keys[:3])
    await desk.run(source, service, "--limit", 1, "--timestamp", authority.url)
    (desk.folder / "without").mkdir()
    (desk.folder / "without" / "rfc3161_client.py").write_text("raise ImportError")
    path = f"{desk.folder / 'without'}:{Path(__file__).parents[2]}"
    bare = {"forked": False, "env": {"PYTHONPATH": path}}
    ended = await desk.run(source, service, "--timestamp", authority.url, **bare)
    assert (ended.code, len(service.calls), len(authority.asked)) == (78, 1, 1)
    assert "pip install 'bulk-eraser[timestamp]'" in ended.json["error"]
    code, found = await verify(desk, **bare)
    [stamp] = found["timestamps"]
    assert (code, stamp["state"], stamp["commits_after"]) == (0, "unchecked", 0)
    assert (await verify(desk, "--timestamp-ca", papers.root, **bare))[0] == 78


# ── verify ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def ledger(desk: Any, service: Any, keys: list[str]) -> str:
    """The head of a ledger without a stamp."""
    head: str = (await desk.run(desk.csv(keys[:3]), service)).json["head"]
    return head


async def test_what_was_verified_is_stamped(
    desk: Any, ledger: str, authority: Authority, papers: Papers
):
    """Once: a stamp that is there is never replaced, and nobody is asked again."""
    named = authority.url.replace("127.0.0.1", "localhost")
    stamped = ("--timestamp", named, "--timestamp-ca", papers.root)
    code, found = await verify(desk, *stamped)
    assert (code, len(authority.asked)) == (0, 1)
    [stamp] = found["timestamps"]
    assert (stamp["state"], stamp["head"], stamp["commits_after"]) == ("good", ledger, 0)
    [path] = stamps_in(desk.folder)
    before = path.read_bytes()
    code, again = await verify(desk, *stamped)
    assert (code, again["timestamps"], len(authority.asked)) == (0, found["timestamps"], 1)
    assert path.read_bytes() == before


async def test_a_verdict_is_not_spoiled_by_a_stamp_that_cannot_be_had(
    desk: Any, ledger: str, authority: Authority
):
    """The ledger is as intact as before; only a signal's wait is over."""
    authority.answer = lambda query: web.Response(status=503)
    code, found = await verify(desk, "--timestamp", authority.url)
    assert (code, found["timestamps"]) == (0, [])
    authority.is_silent = True
    authority.has_asked.clear()
    running = await desk.start("verify", LEDGER, "--json", "--timestamp", authority.url)
    await authority.has_asked.wait()
    running.signal(signal.SIGTERM)
    ended = await running.ended()
    assert (ended.code, json.loads(ended.out)["outcome"]) == (0, "complete")


async def test_what_is_damaged_is_not_stamped(desk: Any, ledger: str, authority: Authority):
    """79 as without it, and nobody is asked."""
    code, _ = await verify(desk, "--expect-head", OTHER, "--timestamp", authority.url)
    assert (code, authority.asked) == (79, [])


async def test_expected_stamps_must_be_there_and_good(
    desk: Any, ledger: str, papers: Papers, strangers: Papers
):
    """3 without any, and for one that others have signed; 0 for the right authority's."""
    assert (await verify(desk, "--timestamp-ca", papers.root))[0] == 3
    told = await desk.call("verify", LEDGER, "--timestamp-ca", papers.root)
    assert "Not verified: 1 ledger without a time stamp" in told.err
    kept = desk.file("kept.tsr", strangers.reply(request_for(ledger, NONCE)))
    both = ("--timestamp-ca", papers.root, "--stamp", kept)
    code, found = await verify(desk, *both)
    assert (code, found["timestamps"][0]["state"]) == (3, "bad")
    told = await desk.call("verify", LEDGER, *both)
    assert "Not verified: 1 time stamp not good" in told.err
    assert f"Time stamp {kept}: bad: its signature is not that of a trusted" in told.out
    assert (await verify(desk, "--timestamp-ca", strangers.root, "--stamp", kept))[0] == 0
    assert (await verify(desk, "--stamp", kept))[0] == 0


async def test_each_of_several_ledgers_must_have_one(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """A stamp of one is not one of the other."""
    await desk.run(desk.csv(keys[:3]), service, "--timestamp", authority.url)
    await desk.run(desk.csv(keys[3:6], "more.csv"), service)
    both = ("more.ledger.ndjson", "--timestamp-ca", papers.root)
    assert (await verify(desk, "--timestamp-ca", papers.root))[0] == 0
    assert (await verify(desk, *both))[0] == 3
    assert (await verify(desk, *both, "--timestamp", authority.url))[0] == 0


async def test_a_stamp_of_the_old_ledger_proves_nothing_of_the_derived_one(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """Its first line only says from which head it was made."""
    await desk.run(desk.csv(keys[:3]), service, "--timestamp", authority.url)
    [stamp] = stamps_in(desk.folder)
    pepper = desk.file("pepper", "0123456789abcdef0123456789abcdef")
    pepper.chmod(0o600)
    env = {"BULK_ERASER_PEPPER_FILE": str(pepper)}
    copied = await desk.call("pseudonymize", LEDGER, "--output", "copy.ledger.ndjson", env=env)
    assert copied.code == 0
    old = ("--stamp", stamp, "--timestamp-ca", papers.root, "--json")
    ended = await desk.call("verify", "copy.ledger.ndjson", *old)
    [found] = json.loads(ended.out)["timestamps"]
    assert (ended.code, found["state"], found["ledger"]) == (3, "unchecked", None)


async def test_a_file_that_is_no_stamp_is_bad(desk: Any, ledger: str):
    """3, also where none is expected: beside the ledger it pretends to be one."""
    desk.file(f"{LEDGER}.{ledger[:16]}.tsr", b"<html>")
    code, found = await verify(desk)
    assert (code, found["timestamps"][0]["state"], found["error"]) == (3, "bad", None)


async def test_a_stamp_of_another_head_is_79(
    desk: Any, service: Any, keys: list[str], authority: Authority, papers: Papers
):
    """A ledger that was cut off or written anew has a head that was never stamped."""
    source = desk.csv(keys[:3])
    await desk.run(source, service, "--limit", 1)
    before = (desk.folder / LEDGER).read_bytes()
    await desk.run(source, service, "--timestamp", authority.url)
    (desk.folder / LEDGER).write_bytes(before)
    for options in ((), ("--timestamp-ca", papers.root)):
        code, found = await verify(desk, *options)
        assert (code, found["timestamps"][0]["state"]) == (79, "bad")
        assert "is of a head that is not one of the commits" in found["error"]


@pytest.mark.parametrize(
    ("name", "code"), [("--timestamp-ca", 78), ("--stamp", 2)], ids=["ca", "stamp"]
)
async def test_files_that_cannot_be_read(desk: Any, ledger: str, name: str, code: int):
    """They are named; a FIFO is not waited for."""
    desk.file("none.pem", "no certificate")
    os.mkfifo(desk.folder / "fifo")
    wrong = ["absent", "."] if name == "--timestamp-ca" else ["absent", ".", "fifo"]
    for file in wrong + (["none.pem"] if name == "--timestamp-ca" else []):
        ended, found = await verify(desk, name, file)
        assert (ended, found["outcome"]) == (code, "refused")
        assert file in found["error"]


async def test_a_stamp_that_a_receipt_names_must_be_there(
    desk: Any, service: Any, keys: list[str], authority: Authority
):
    """One that was removed, or is that of another head, is missing: 3. It may lie elsewhere, under
    another name; and a receipt that names none asks for none."""
    stamped = ("--timestamp", authority.url)
    source = desk.csv(keys[:3])
    await desk.run(source, service, *stamped, "--receipt", "run.json", "--limit", 1)
    await desk.run(source, service, *stamped, "--receipt", "next.json")
    await desk.run(source, service, "--receipt", "last.json")
    first = desk.folder / json.loads((desk.folder / "run.json").read_text())["timestamp"]
    receipts = [word for name in ("run", "next", "last") for word in ("--receipt", f"{name}.json")]
    assert (await verify(desk, *receipts))[0] == 0
    elsewhere = first.rename(desk.folder / "kept.tsr")
    code, found = await verify(desk, *receipts)
    assert (code, found["outcome"], found["error"]) == (3, "incomplete", None)
    states = {it["stamp"].rsplit("/")[-1]: it["state"] for it in found["timestamps"]}
    assert states.pop(first.name) == "missing"
    assert list(states.values()) == ["unchecked"]
    said = await desk.call("verify", LEDGER, *receipts)
    assert f"Time stamp {first.name}: missing: the receipt run.json names it." in said.out
    assert "1 time stamp not good, or missing" in said.err
    assert (await verify(desk, *receipts, "--stamp", elsewhere))[0] == 0
    first.write_bytes(b"no stamp")
    _, found = await verify(desk, *receipts)
    assert sorted(it["state"] for it in found["timestamps"]) == ["bad", "unchecked"]


# ── report ──────────────────────────────────────────────────────────────────────────────────────


async def reported(desk: Any, *options: object) -> tuple[int, dict[str, str]]:
    """What every face of the report says."""
    faces = ("html", "markdown", "json")
    named = [word for face in faces for word in (f"--{face}", f"report.{face}")]
    ended = await desk.call("report", LEDGER, *options, *named)
    text = await desk.call("report", LEDGER, *options)
    told = {face: (desk.folder / f"report.{face}").read_text() for face in faces}
    return ended.code, told | {"text": text.out}


async def test_a_report_shows_the_stamps(
    desk: Any, ledger: str, authority: Authority, papers: Papers, strangers: Papers
):
    """Those beside the ledger, with their time; good only for who names the authority."""
    wanted = ("--timestamp-ca", papers.root)
    code, told = await reported(desk, *wanted)
    assert (code, json.loads(told["json"])["unstamped"]) == (0, 1)
    assert all("1 ledger has no time stamp." in told[face] for face in ("html", "text"))
    assert (await verify(desk, "--timestamp", authority.url))[0] == 0
    [path] = stamps_in(desk.folder)
    for options, state in (((), "unchecked: no trusted authority is named"), (wanted, "good")):
        code, told = await reported(desk, *options)
        assert code == 0
        assert f"time stamp {path.name}: {state}; it is of commit " in told["text"]
        assert f"<td>{state}; it is of commit " in told["html"]
        assert "| time stamp | " in told["markdown"]
        assert all("existed before " in text for face, text in told.items() if face != "json")
        assert "no time stamp" not in told["text"]
        [stamp] = json.loads(told["json"])["timestamps"]
        assert (stamp["state"], stamp["head"]) == (state.split(":")[0], ledger)
    code, told = await reported(desk, "--timestamp-ca", strangers.root)
    assert (code, json.loads(told["json"])["not_good_stamps"]) == (0, 1)
    assert "1 time stamp is not good, or missing." in told["text"]

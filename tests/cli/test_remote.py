"""Inputs that lie elsewhere: an S3 service and a web server on this computer, and real commands."""

import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer
from openssl_authority import is_there, server_tls

BUCKET = "warehouse"
ADDRESS = f"s3://{BUCKET}/exports/2026"
SECRET = "s1gn4ture-5b6d1c7e"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "AKIA-known", "AWS_SECRET_ACCESS_KEY": SECRET}
REGION = {"AWS_DEFAULT_REGION": "eu-north-1", "AWS_EC2_METADATA_DISABLED": "true"}


class Store:
    """A bucket, and the variables with which the command finds it."""

    def __init__(self, endpoint: str) -> None:
        self.env = ACCOUNT | REGION | {"AWS_ENDPOINT_URL": endpoint}
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="eu-north-1",
            aws_access_key_id="AKIA-known",
            aws_secret_access_key=SECRET,
        )
        where = {"LocationConstraint": "eu-north-1"}
        self._client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)

    def keep_versions(self) -> None:
        how = {"Status": "Enabled"}
        self._client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=how)

    def put(self, name: str, content: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.put_object(
            Bucket=BUCKET, Key=f"exports/2026/{name}", Body=content
        )
        return answer

    def empty(self) -> None:
        for version in self._client.list_object_versions(Bucket=BUCKET).get("Versions", []):
            self._client.delete_object(
                Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"]
            )
        self._client.delete_bucket(Bucket=BUCKET)
        self._client.close()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(s3_endpoint: str) -> Iterator[Store]:
    store = Store(s3_endpoint)
    yield store
    store.empty()


def csv_of(keys: list[str]) -> bytes:
    return "".join(f"{key}\n" for key in ["customerKey", *keys]).encode()


def table_of(keys: list[str]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"n": range(len(keys)), "customerKey": keys}), content)
    return content.getvalue()


LEDGER = ("--ledger", "keys.ledger.ndjson")


async def test_an_object_is_sent_resumed_and_accounted_for(
    desk: Any, service: Any, store: Store, keys: list[str]
):
    """Packed, with a hold list from the store; when the object was replaced, the next run says so
    and goes on by key. The ledger knows address and version, and no secret."""
    store.keep_versions()
    first = store.put("keys.csv.gz", gzip.compress(csv_of(keys[:20])))
    store.put("hold.parquet", table_of(keys[18:20]))
    options = (*LEDGER, "--exclude", f"{ADDRESS}/hold.parquet")
    source = f"{ADDRESS}/keys.csv.gz"
    begun = await desk.run(source, service, *options, "--limit", "5", env=store.env)
    assert begun.code == 75
    assert begun.json["next"][-1] == "5"
    second = store.put("keys.csv.gz", gzip.compress(csv_of(keys[1:20])))
    ended = await desk.run(source, service, *options, env=store.env)
    assert ended.code == 0
    assert "The input has changed since the last run" in ended.err
    assert service.per_key == dict.fromkeys(keys[:18], 1)
    inputs = [line["input"] for line in desk.ledger().of("run_started")]
    assert [it["name"] for it in inputs] == ["keys.csv.gz"] * 2
    assert [it["address"] for it in inputs] == [source] * 2
    assert [it["version"] for it in inputs] == [first["VersionId"], second["VersionId"]]
    assert SECRET not in (desk.folder / LEDGER[1]).read_text()
    old = f"{source}?versionId={first['VersionId']}"
    found = await desk.check(old, env=store.env)
    assert found.findings["counts"]["rows"] == 20  # the newest version has 19
    for address in (source, old):
        verified = await desk.call(
            "verify", LEDGER[1], "--input", address, "--json", "--format", "csv", env=store.env
        )
        assert verified.code == 0, verified
    assert json.loads(verified.out)["states"]["excluded"] == 2


async def test_what_was_read_in_a_way_of_its_own_is_verified_so(
    desk: Any, service: Any, store: Store, keys: list[str]
):
    """`verify` knows the object by its digest, as it knows a file; Parquet is read as of a file."""
    store.put("keys", table_of(keys[:9]))
    options = (*LEDGER, "--format", "parquet", "--key-field", "customerKey")
    ended = await desk.run(f"{ADDRESS}/keys", service, *options, env=store.env)
    assert (ended.code, ended.json["counts"]["accepted"]) == (0, 9)
    verified = await desk.call("verify", LEDGER[1], "--input", f"{ADDRESS}/keys", env=store.env)
    assert verified.code == 0, verified


async def test_a_plan_has_the_address(desk: Any, service: Any, store: Store, keys: list[str]):
    """Nothing but the plan and a ledger is needed; another object there does not match it."""
    store.put("keys.csv", csv_of(keys[:4]))
    made = await desk.check(
        f"{ADDRESS}/keys.csv", "--plan", "p.json", "--base-url", service.origin, env=store.env
    )
    assert made.code == 0
    run = ("run", "--plan", "p.json", *LEDGER, "--base-url", service.origin, "--json")
    store.put("keys.csv", csv_of(keys[:3]))
    other = await desk.call(*run, env=store.env)
    assert (other.code, service.calls) == (2, [])
    assert "the input was changed since" in other.json["error"]
    store.put("keys.csv", csv_of(keys[:4]))
    assert (await desk.call(*run, env=store.env)).code == 0
    assert len(service.per_key) == 4


@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("other.csv", {}, "other.csv does not exist"),
        (
            "keys.csv",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no valid credentials",
        ),
        ("keys.csv", {"AWS_PROFILE": "nobody"}, "no valid credentials"),
    ],
)
async def test_an_object_that_cannot_be_read(
    desk: Any,
    service: Any,
    store: Store,
    keys: list[str],
    name: str,
    env: dict[str, str],
    words: str,
):
    """65, one sentence, and neither request nor ledger."""
    store.put("keys.csv", csv_of(keys[:4]))
    before = set(desk.folder.iterdir())
    ended = await desk.run(f"{ADDRESS}/{name}", service, *LEDGER, env=store.env | env)
    assert (ended.code, ended.json["outcome"]) == (65, "refused")
    assert words in ended.json["error"]
    assert SECRET not in ended.out + ended.err
    assert service.calls == []
    assert set(desk.folder.iterdir()) == before


async def test_a_store_that_is_down(desk: Any, service: Any, free_port: int):
    env = ACCOUNT | REGION | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port}"}
    ended = await desk.run(
        f"{ADDRESS}/keys.csv", service, *LEDGER, env=env | {"AWS_MAX_ATTEMPTS": "1"}
    )
    assert (ended.code, service.calls) == (65, [])
    assert "cannot be reached" in ended.json["error"]


async def test_a_ledger_stays_on_a_disk(desk: Any, service: Any):
    """Before anything is fetched: an address is no place for it, and an object has none for it."""
    for options, words in (
        (("--ledger", f"{ADDRESS}/keys.ledger.ndjson"), "fdatasync"),
        ((), "use --ledger to name a file on a disk"),
    ):
        ended = await desk.run(f"{ADDRESS}/keys.csv", service, *options)
        assert ended.code == 2
        assert words in ended.json["error"]


async def test_a_full_temporary_folder(desk: Any, service: Any, store: Store, keys: list[str]):
    """D9: 74, as for a pipe; nothing was sent."""
    store.put("keys.csv", csv_of(keys[:6000]) * 5)
    ended = await desk.run(
        f"{ADDRESS}/keys.csv", service, *LEDGER, env=store.env, file_size_limit=1 << 20
    )
    assert (ended.code, service.calls) == (74, [])
    assert "TMPDIR" in ended.json["error"]


# ── the web ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def host(keys: list[str]) -> AsyncIterator[str]:
    """A web server that hands out keys to whoever has a signed address."""

    async def hand_out(request: web.BaseRequest) -> web.Response:
        if request.query.get("X-Amz-Signature") != SECRET:
            return web.Response(status=403, text=f"<Signature>{SECRET}</Signature>")
        return web.Response(body=csv_of(keys[:6]), headers={"ETag": '"abc"'})

    runner = web.ServerRunner(web.Server(hand_out))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.skipif(not is_there(), reason="the openssl command is not installed")
async def test_the_certificate_of_the_host_counts(desk: Any, service: Any, keys: list[str]):
    """One that is not known is refused, as for Elevate itself; the usual variable names another."""

    async def hand_out(_: web.BaseRequest) -> web.Response:
        return web.Response(body=csv_of(keys[:6]))

    tls, certificate = server_tls(desk.folder)
    runner = web.ServerRunner(web.Server(hand_out))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}/keys.csv"
    refused = await desk.check(address)
    assert (refused.code, refused.findings["counts"]) == (65, {})
    assert "certificate of its host is not valid" in refused.findings["error"]
    assert "SSL_CERT_FILE" in refused.findings["error"]
    trusted = await desk.check(address, env={"SSL_CERT_FILE": str(certificate)})
    assert (trusted.code, trusted.findings["counts"]["keys"]) == (0, 6)
    await runner.cleanup()


async def test_a_signature_is_told_to_nobody(desk: Any, service: Any, host: str):
    """Neither on a screen nor in a file, however the commands end."""
    signed = f"{host}/a/keys.csv?X-Amz-Signature={SECRET}"
    begun = await desk.run(signed, service, *LEDGER, "--limit", "2")
    text = await desk.call(
        *("run", signed, "--base-url", service.origin, "--yes", *LEDGER, "--limit", "2")
    )
    checked = await desk.check(signed, "--plan", "p.json", "--base-url", service.origin)
    planned = await desk.call("check", signed, "--plan", "q.json", "--base-url", service.origin)
    wrong = await desk.run(f"{signed}x", service, *LEDGER)
    endings = [begun, text, checked, planned, wrong]
    assert [it.code for it in endings] == [75, 75, 0, 0, 65]
    assert "may not be read (403)" in wrong.json["error"]
    assert "pipe in" not in planned.err
    for told in (text.err, planned.err, (await desk.call("check", signed)).err):
        assert "with (give the whole address):" in told
    assert " --ledger FILE --api-key-file FILE" in planned.err + planned.out
    for ended in endings:
        assert SECRET not in ended.out + ended.err
    for path in desk.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    facts = desk.ledger().of("run_started")[0]["input"]
    assert (facts["address"], facts["version"]) == (f"{host}/a/keys.csv", '"abc"')
    assert json.loads((desk.folder / "p.json").read_text())["path"] is None

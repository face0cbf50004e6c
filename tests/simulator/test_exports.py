"""Export jobs and their results, on a clock that the test moves, over real loopback sockets."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.simulator.server import Simulator

KEY = "5b1f9d3e-0c6b-4a53-9b1f-2f6d1c7a9e00"
SECRET = "simulated-key"
BASE = "/api/admin/v4/event-data/"


class Service:
    """A simulator whose clock counts days, and a session that is let in."""

    def __init__(self, rates: dict[str, float]) -> None:
        self.day = 1000.0
        self.simulator = Simulator(SECRET, FaultRates(rates), 1.0, clock=lambda: self.day)
        self.session: aiohttp.ClientSession

    async def create(self, what: str, key: str = KEY) -> str:
        async with self.session.post(
            f"{BASE}create-{what}-customer-job", params={"customerKey": key}
        ) as answer:
            assert answer.status == 200
            return str((await answer.json())["jid"])

    async def status(self, jid: str) -> str:
        async with self.session.get(f"{BASE}job-status", params={"jid": jid}) as answer:
            return str((await answer.json())["status"])

    async def download(self, jid: str) -> tuple[int, bytes]:
        url = f"{BASE}export-customer-job-result"
        async with self.session.get(url, params={"jid": jid}, allow_redirects=False) as answer:
            return answer.status, await answer.read()

    async def exported(self, key: str = KEY) -> str:
        """The jid of an export that is done."""
        jid = await self.create("export", key)
        self.day += 6.01
        return jid


@asynccontextmanager
async def running(**rates: float) -> AsyncIterator[Service]:
    service = Service(rates)
    async with (
        service.simulator,
        aiohttp.ClientSession(
            service.simulator.origin, headers={"Api-Key": SECRET}
        ) as service.session,
    ):
        yield service


def names(packed: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(packed)).namelist()


async def test_an_export_is_done_after_six_days_and_can_be_had_once() -> None:
    """Before, there is no result; then there is one, a zip of JSON Lines; after it, none."""
    async with running() as service:
        jid = await service.create("export")
        assert (await service.download(jid))[0] == 404
        service.day += 6.01
        assert await service.status(jid) == "done"
        code, packed = await service.download(jid)
        assert code == 200
        assert len(names(packed)) == 3
        assert all(name.endswith(".jsonl") for name in names(packed))
        assert (await service.download(jid))[0] == 404
        assert service.simulator.counts.exports == 1
        assert service.simulator.counts.jobs == 0


async def test_a_result_expires_a_week_after_it_is_done() -> None:
    """Until then it is there; then the job is not found and has no result."""
    async with running() as service:
        early, late = await service.exported(), await service.exported()
        service.day += 0.95  # 6.96 days after the first was done
        assert (await service.download(early))[0] == 200
        service.day += 6.1
        assert await service.status(late) == "not_found"
        assert (await service.download(late))[0] == 404


async def test_a_removal_job_has_no_result() -> None:
    """Nor has a jid that nobody made."""
    async with running() as service:
        jid = await service.create("remove")
        service.day += 6.01
        assert await service.status(jid) == "done"
        assert (await service.download(jid))[0] == 404
        assert (await service.download(KEY))[0] == 404


@pytest.mark.parametrize(("rates", "is_empty"), [({}, True), ({"came_back": 1.0}, False)])
async def test_after_the_removal_nothing_is_left(rates: dict[str, float], is_empty: bool) -> None:
    """An export that runs before the removal has the data; one after it has a single empty.txt,
    unless the key has come back."""
    async with running(**rates) as service:
        before = await service.create("export")
        await service.create("remove")
        service.day += 6.01
        assert names((await service.download(before))[1]) != ["empty.txt"]
        after = await service.exported()
        assert (names((await service.download(after))[1]) == ["empty.txt"]) is is_empty


async def test_a_key_of_which_there_is_no_data() -> None:
    """Its export is empty, whether it was removed or not."""
    async with running(no_data=1.0) as service:
        assert names((await service.download(await service.exported()))[1]) == ["empty.txt"]


async def test_a_late_archive_delays_a_job() -> None:
    """By ten days."""
    async with running(job_late=1.0) as service:
        jid = await service.create("export")
        service.day += 15.9
        assert await service.status(jid) == "running"
        service.day += 0.2
        assert await service.status(jid) == "done"


@pytest.mark.parametrize("fault", ["cut_body", "drop_after"])
async def test_a_download_that_breaks_off_takes_the_result_along(fault: str) -> None:
    """The service counts it as downloaded."""
    async with running(**{fault: 1.0}) as service:
        jid = await service_exported_without_fault(service)
        try:
            code, _ = await service.download(jid)
        except aiohttp.ClientError:
            code = 0
        # aiohttp itself repeats a GET whose connection was closed without an answer.
        assert code == (0 if fault == "cut_body" else 404)
        assert service.simulator._exports.take(jid) is None


async def service_exported_without_fault(service: Service) -> str:
    """The requests for jobs would meet the fault as well."""
    rates = service.simulator._fault_rates
    service.simulator._fault_rates = FaultRates()
    jid = await service.exported()
    service.simulator._fault_rates = rates
    return jid


async def test_results_that_are_none() -> None:
    """No archive, an HTML page, more than the Content-Length says, another's result: each takes
    the result along."""
    async with running(result_no_zip=1.0) as service:
        jid = await service.exported()
        assert await service.download(jid) == (200, b"no archive")
        assert (await service.download(jid))[0] == 404
    async with running(html=1.0) as service:
        jid = await service_exported_without_fault(service)
        assert b"<!doctype html>" in (await service.download(jid))[1]
        assert service.simulator._exports.take(jid) is None
    async with running(result_wrong_length=1.0) as service:
        path = f"{BASE}export-customer-job-result?jid={await service.exported()}"
        reader, writer = await asyncio.open_connection("127.0.0.1", service.simulator.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nApi-Key: {SECRET}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b"Content-Length: 30" in head
        assert len(body) > 30
    async with running(result_of_another=1.0) as service:
        first, second = await service.exported("a"), await service.exported("b")
        assert (await service.download(first))[1] == (await service.download(second))[1]


async def test_a_result_without_an_end() -> None:
    """It goes on until the client has enough."""
    async with running(result_endless=1.0) as service:
        jid = await service.exported()
        url = f"{BASE}export-customer-job-result"
        async with asyncio.timeout(30), service.session.get(url, params={"jid": jid}) as answer:
            assert len(await answer.content.readexactly(5_000_000)) == 5_000_000

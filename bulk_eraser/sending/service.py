"""The service that a command talks to: Elevate, or for a rehearsal a simulator started here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from bulk_eraser.elevate.client import ElevateClient
from bulk_eraser.elevate.endpoints import loopback_target
from bulk_eraser.elevate.route import Route
from bulk_eraser.settings import RunSettings
from bulk_eraser.simulator import Simulator

__all__ = ["connected"]


@asynccontextmanager
async def connected(
    settings: RunSettings, route: Route, api_key: str, simulator: Simulator | None
) -> AsyncIterator[ElevateClient]:
    """A client of the target, or of `simulator`, which is started and stopped with it."""
    target = settings.target
    async with simulator or nullcontext():
        if simulator is not None:
            target = loopback_target(simulator.origin, target.name)
        async with ElevateClient(
            target,
            settings.api_version,
            api_key,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            route=route,
        ) as client:
            yield client

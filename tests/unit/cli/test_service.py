"""Which way the service is reached."""

import pytest
from yarl import URL

from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.route import Route

TARGET = Target.of_cluster("acme")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names a proxy."""
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass@proxy.example.com:3128")
    return monkeypatch


def route(proxy: str | None = None, *, trust_env: bool = False, target: Target = TARGET) -> Route:
    return ServiceOptions(proxy=proxy, trust_env=trust_env).route(target, ApiVersion.V4)


def test_the_environment_is_ignored_unless_it_is_trusted():
    """A variable that somebody set long ago does not decide where customer keys go."""
    assert route() == Route(None, None)
    assert route(trust_env=True).proxy == URL("http://user:pass@proxy.example.com:3128")


def test_a_proxy_that_is_named_is_stronger():
    """--proxy counts, whatever the environment says."""
    assert route("proxy.local:8080", trust_env=True).proxy == URL("http://proxy.local:8080")


def test_who_needs_no_proxy(environment: pytest.MonkeyPatch):
    """This computer never does, nor a host that NO_PROXY names."""
    loopback = Target.of_base_url("http://127.0.0.1:8080")
    assert route(trust_env=True, target=loopback).proxy is None
    environment.setenv("NO_PROXY", ".elevate-api.cloud")
    assert route(trust_env=True).proxy is None

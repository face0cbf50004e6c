"""The way to the service: the API key, a proxy, certificates, and how long a version lasts."""

import os
import resource
from dataclasses import dataclass, replace
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from bulk_eraser.cli.options.bundles import Bundle, flag, option
from bulk_eraser.cli.options.secrets import read_api_key_file, valid_api_key
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.endpoints import ApiVersion, Target, is_loopback
from bulk_eraser.elevate.route import Route, tls_trusting, usable_proxy
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.settings import RunSettings
from bulk_eraser.wording import printable

__all__ = [
    "OTHER_FILES",
    "SIMULATED_KEY",
    "ServiceOptions",
    "room_for_files",
    "within_file_limit",
]

SIMULATED_KEY = "simulated-key"
"""What opens a simulator that a rehearsal starts, or would, in a dry run."""
OTHER_FILES = 40
"""Files that are open beside the connections: ledger, input, temporary files, event loop."""


@dataclass(frozen=True, kw_only=True)
class ServiceOptions(Bundle):
    """The API key, and the way to the service."""

    heading = "API key and network"

    api_key_file: str | None = option(
        "PATH", "File with the private API key; without it, ELEVATE_API_KEY is used."
    )
    proxy: str | None = option("URL", "Reach the service through this proxy: http://host:port.")
    trust_env: bool = flag("Use the proxy that HTTPS_PROXY and NO_PROXY in the environment name.")
    ca_file: str | None = option(
        "PATH", "Trust the certificates in this PEM file instead of those this computer trusts."
    )

    def api_key(self, output: Output) -> str:
        """The API key from its file or ELEVATE_API_KEY. Raises `ConfigurationError`."""
        if self.api_key_file:
            key, exposed = read_api_key_file(self.api_key_file)
            if exposed:
                file = printable(self.api_key_file)
                output.warn(f"the API key file {file} can be read by others: chmod 600 it.")
            return key
        if from_environment := os.environ.get("ELEVATE_API_KEY"):
            return valid_api_key(from_environment, "in ELEVATE_API_KEY")
        raise ConfigurationError(
            "No API key given. Put the cluster's private key into a file and name it with "
            "--api-key-file, or set ELEVATE_API_KEY."
        )

    def route(self, target: Target, version: ApiVersion) -> Route:
        """Proxy and certificates. The environment's proxy counts only with --trust-env.

        Raises `UsageError` for a password in the option, `ConfigurationError` for what cannot be
        used.
        """
        if self.proxy and "@" in self.proxy:
            raise UsageError(
                "--proxy must hold no user name or password, since options can be seen by "
                "everybody on this machine. Put it into HTTPS_PROXY and use --trust-env."
            )
        tls = tls_trusting(self.ca_file) if self.ca_file else None
        return Route(self._proxy_to(URL(target.base_of(version))), tls)

    def route_to_authority(self, url: URL) -> Route:
        """The way to somebody else than the service: through the same proxy. The certificates of
        --ca-file, as those of a proxy that looks into TLS, are trusted beside the usual ones.

        Raises as `route` does.
        """
        tls = None
        if self.ca_file:
            tls = tls_trusting(self.ca_file)
            tls.load_default_certs()
        return Route(self._proxy_to(url), tls)

    def _proxy_to(self, url: URL) -> URL | None:
        if self.proxy:
            return usable_proxy(self.proxy, "--proxy")
        return _environment_proxy(url) if self.trust_env else None


def _environment_proxy(url: URL) -> URL | None:
    """What HTTPS_PROXY names for this address, unless NO_PROXY does.

    Not left to aiohttp's `trust_env`, which looks there before every request, adds a password from
    ~/.netrc, and takes a proxy that it cannot use for a connection that broke.
    """
    named = getproxies().get(url.scheme)
    if is_loopback(url.host or "") or not named or proxy_bypass(url.raw_host or ""):
        return None
    return usable_proxy(named, f"{url.scheme.upper()}_PROXY")


def within_file_limit(settings: RunSettings, output: Output) -> RunSettings:
    """Raise the limit of open files if it is too low, else lower the concurrency.

    Raises `ConfigurationError` where not even one connection would have room.
    """
    room = room_for_files(settings.concurrency + OTHER_FILES) - OTHER_FILES
    if room >= settings.concurrency:
        return settings
    soft = room + OTHER_FILES
    if room < 1:
        raise ConfigurationError(
            f"This computer lets the program open {soft} files only; it needs {OTHER_FILES + 1} at "
            "least. Raise the limit (ulimit -n), then run the same command again."
        )
    output.warn(f"only {soft} files may be open, so --concurrency is lowered to {room}.")
    return replace(settings, concurrency=room)


def room_for_files(needed: int) -> int:
    """Raise the limit of open files so far, if it is lower and may be raised. Returns what it is
    now, or `needed` if it is more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    if hard == resource.RLIM_INFINITY or hard >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return needed
    return soft

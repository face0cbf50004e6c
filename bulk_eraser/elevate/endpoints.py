"""Where the Elevate GDPR API lives: versions, bases, and what is a permitted target.

Source of the bases: the vendor's reference for v2, admin v3 and admin v4.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from urllib.parse import quote

from bulk_eraser.errors import ConfigurationError, UsageError

__all__ = ["ApiVersion", "JobKind", "Target", "is_loopback", "loopback_target"]

_CLUSTER_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_USUAL_CLUSTER_ID = re.compile(r"w[0-9a-f]{8}")
_LATER_VERSION = re.compile(r"v(?:[5-9]|[1-9][0-9])")
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]+")
"""What needs no escape, as in a UUID; to look is four times as fast as to escape."""
_HOST_NAME = re.compile(
    r"(?:[a-z0-9_-]{1,63}\.)*(?!0x|[0-9]+\.?$)[a-z0-9_-]{1,63}\.?", re.ASCII | re.IGNORECASE
)


class ApiVersion(StrEnum):
    """The versions of the API; call, parameters and answer are the same in all three.

    A later one (v5 to v99) is taken to be like v4, but is not known.
    """

    V4 = "v4"
    V3 = "v3"
    V2 = "v2"

    @classmethod
    def _missing_(cls, value: object) -> "ApiVersion | None":
        if not isinstance(value, str) or not _LATER_VERSION.fullmatch(value):
            return None
        later = str.__new__(cls, value)
        later._name_, later._value_ = value.upper(), value
        return later

    @property
    def is_known(self) -> bool:
        return self in list(ApiVersion)

    @property
    def end_of_life(self) -> date | None:
        """The day after which the vendor removes it; None where none is announced."""
        return {ApiVersion.V2: date(2024, 4, 30), ApiVersion.V3: date(2026, 12, 31)}.get(self)

    @property
    def path(self) -> str:
        return "/api/v2" if self is ApiVersion.V2 else f"/api/admin/{self.value}"

    @property
    def host_suffix(self) -> str:
        old = self is ApiVersion.V2
        return "api.esales.apptus.cloud" if old else "elevate-api.cloud"


class JobKind(StrEnum):
    """What a job does to a customer's data, as people call it; `call` creates one."""

    REMOVAL = "removal job"
    EXPORT = "export job"

    @property
    def call(self) -> str:
        verb = "remove" if self is JobKind.REMOVAL else "export"
        return f"create-{verb}-customer-job"


@dataclass(frozen=True)
class Target:
    """One cluster, or one origin given by `--base-url`. `name` is what the ledger records."""

    name: str
    base: str
    cluster: bool

    @classmethod
    def of_cluster(cls, cluster_id: str) -> "Target":
        """Raises `UsageError` for an id that is no DNS label."""
        if not _CLUSTER_ID.fullmatch(cluster_id):
            raise UsageError(
                f"The cluster id {cluster_id!r} is not valid: use the first part of your API's "
                "host name, which has letters, digits and dashes only."
            )
        if cluster_id.lower() == "rehearsal":  # a ledger of a rehearsal would pass for a real one
            raise UsageError("The cluster id rehearsal is reserved for rehearsals: use --rehearse.")
        return cls(cluster_id.lower(), f"https://{cluster_id.lower()}.", cluster=True)

    @classmethod
    def of_base_url(cls, base_url: str) -> "Target":
        """Raises `UsageError` for what is no base URL, `ConfigurationError` for remote http."""
        from yarl import URL  # what sends nothing has no use for it, and would wait for it

        try:
            url = URL(base_url)
            host, origin = url.host, str(url.origin()) if url.absolute else ""
        except (ValueError, IndexError):  # the latter is yarl's for http://[::1]@
            host, origin = None, ""
        no_base = UsageError(
            "--base-url must be the part before /api/…, such as https://gateway.example.com."
        )
        # 1. What is behind the path is ours: a query or a fragment would swallow it.
        if not host or url.scheme not in ("http", "https") or url.query_string or url.fragment:
            raise no_base
        # 2. It is recorded and shown, so it holds no secret.
        if "@" in url.raw_authority:
            raise UsageError("--base-url must not contain a user name or password.")
        # 3. Without TLS both the API key and the customer keys can be read on the way.
        if url.scheme == "http" and not is_loopback(host):
            raise ConfigurationError(
                f"Plain http to {host} would send the API key and the customer keys unencrypted. "
                "Use https (plain http is allowed to loopback addresses only)."
            )
        # 4. yarl takes odd forms of a host (127.1) and encodes blanks: what is used must be what
        #    was plainly written.
        if not is_host(url.raw_host or "") or not base_url.isprintable() or " " in base_url:
            raise no_base
        return cls(origin, str(url).rstrip("/"), cluster=False)

    def base_of(self, version: ApiVersion) -> str:
        """The base of all calls in this version, without a slash at the end."""
        host = version.host_suffix if self.cluster else ""
        return f"{self.base}{host}{version.path}"

    def creation_url(self, version: ApiVersion, kind: JobKind) -> str:
        """The create-…-customer-job URL up to the key, which comes percent-encoded."""
        return f"{self.base_of(version)}/event-data/{kind.call}?customerKey="

    def status_url(self, version: ApiVersion) -> str:
        """The job-status URL up to the jid, which comes percent-encoded."""
        return f"{self.base_of(version)}/event-data/job-status?jid="

    def result_url(self, version: ApiVersion) -> str:
        """The export-customer-job-result URL, likewise."""
        return f"{self.base_of(version)}/event-data/export-customer-job-result?jid="

    @property
    def named_base(self) -> str | None:
        """What `--base-url` named; None for a cluster and for a rehearsal."""
        return None if self.cluster else self.base or None

    @property
    def is_usual(self) -> bool:
        """Does the cluster id look like those that the vendor gives?"""
        return not self.cluster or bool(_USUAL_CLUSTER_ID.fullmatch(self.name))

    @property
    def is_loopback(self) -> bool:
        from yarl import URL

        return not self.cluster and is_loopback(URL(self.base).host or "")


def loopback_target(origin: str, name: str) -> Target:
    """The embedded simulator at `origin`, recorded as `name`."""
    return Target(name, origin, cluster=False)


def encode_key(key: str) -> str:
    """The customer key as it travels in a query: everything escaped, exactly once (RFC 3986)."""
    return key if _UNRESERVED.fullmatch(key) else quote(key, safe="")


def is_host(host: str) -> bool:
    """Is it a DNS name, or an IP address in its usual form? (Not 127.1, 0x7f.1 or 2130706433.)"""
    if _HOST_NAME.fullmatch(host):
        return True
    try:
        return bool(ipaddress.ip_address(host)) and "%" not in host
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

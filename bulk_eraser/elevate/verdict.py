"""What an answer, or a network fault, means for the key and for the run. Pure functions.

| what came | carried out | then |
| --- | --- | --- |
| 200 with a non-empty string `jid`, read to the end | yes | accepted, if no other key got it |
| other 2xx, 200 with anything else, 1xx, above 599 | perhaps | again; many in a row: stop, 76 |
| 400, 413, 414, 422 | no | failed, permanent |
| 401, 403 | no | stop, 77 |
| 404, 405, 407, 410, any 3xx | no | stop, 76 |
| 408, 429, any other 4xx | no | again, Retry-After |
| 5xx | perhaps | again, Retry-After |
| refused, DNS, no route | no | again; never counted against a key |
| no such host | no | stop, 69, if nothing was ever answered; else again |
| no more files | no | stop, 78 |
| 401, 403, 407 of a proxy | no | stop, 76 |
| bad certificate | no | stop, 78 |
| timeout, reset, disconnect after sending | perhaps | again; a dead keep-alive connection at once |
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import msgspec

from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.errors import (
    BulkEraserError,
    ConfigurationError,
    ContractBroken,
    CredentialsRefused,
    ServiceDown,
)

__all__ = [
    "ACCEPTED",
    "AGAIN",
    "NO_ARCHIVE",
    "NO_JOB",
    "REFUSED",
    "STOP",
    "Answer",
    "Kind",
    "NetworkFault",
    "Verdict",
    "classify",
    "classify_result",
    "classify_status",
    "parse_retry_after",
]

_PERMANENT = {400, 413, 414, 422}
_STOP_CONTRACT = {404, 405, 407, 410}
_SECONDS = re.compile(r"[0-9]{1,12}")
_IMF_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} [1-9]\d{3} \d\d:\d\d:\d\d GMT", re.ASCII
)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A real response: its status decides. `complete` is false for a body cut or too long."""

    status: int
    body: bytes
    complete: bool
    retry_after: float | None = None


class NetworkFault(msgspec.Struct, frozen=True, gc=False):
    """No response. `error` is a word of `records.ATTEMPT_ERRORS`.

    `maybe_done`: the request may have been carried out all the same. `at_once`: a connection that
    had been kept alive was probably dead before the request was written, so the repeat takes a new
    one. `proxy`: the proxy (host:port) that refused the way, with the status that `error` names.
    `no_host`: the host name that does not exist. `no_files`: this process may open no more files.
    """

    error: str
    maybe_done: bool
    at_once: bool = False
    proxy: str = ""
    no_host: str = ""
    no_files: bool = False


class Kind(Enum):
    ACCEPTED = auto()
    REFUSED = auto()
    AGAIN = auto()
    STOP = auto()


# Until Python 3.12 a member takes 0.1 us to be had from its class, and each answer asks for ten.
ACCEPTED, REFUSED, AGAIN, STOP = Kind


class Verdict(msgspec.Struct, frozen=True):
    """What to do next. `maybe_done`: this attempt may have been carried out (AGAIN only).

    `connecting`: it failed before there was a connection, which says nothing about a key. `stop`
    says why the run is to stop; with AGAIN only if nothing was ever answered.
    """

    kind: Kind
    error: str = ""
    http_status: int | None = None
    jid: str = ""
    status: str | None = None
    maybe_done: bool = False
    at_once: bool = False
    connecting: bool = False
    retry_after: float | None = None
    stop: BulkEraserError | None = None

    @property
    def is_load(self) -> bool:
        """The service may have too much to do."""
        return self.error == "timeout" or (self.http_status or 0) >= 500


class _JobResult(msgspec.Struct):
    """`EventDataJobResult`; the status word is kept as it came and never breaks a run."""

    jid: str
    status: Any = None


NO_JOB = Verdict(AGAIN, "bad_answer", 200, maybe_done=True)
NO_ARCHIVE = Verdict(AGAIN, "no_archive", 200, maybe_done=True)
"""A 200 that proves no job of this key's own."""

_decoder = msgspec.json.Decoder(_JobResult)
_CONNECTING = {"connection_refused", "dns", "cannot_connect"}


def classify(came: Answer | NetworkFault, version: ApiVersion = ApiVersion.V4) -> Verdict:
    """The verdict on one attempt; see the table above."""
    if isinstance(came, NetworkFault):
        return _of_fault(came)
    status = came.status
    # 1. The only status with which a job may exist for certain; the body decides.
    if status == 200:
        return _of_success(came)
    error = f"http_{status}"
    # 2. The service will never take this key; the others are not concerned.
    if status in _PERMANENT:
        return Verdict(REFUSED, error, status)
    # 3. Facts about the API key, the path or the proxy: true for every key, so none is failed.
    if status in (401, 403):
        return Verdict(STOP, error, status, stop=_credentials(status))
    if status in _STOP_CONTRACT or 300 <= status < 400:
        return Verdict(STOP, error, status, stop=_contract(status, version))
    # 4. Refused for now, before anything was done.
    if 400 <= status < 500:
        return Verdict(AGAIN, error, status, retry_after=came.retry_after)
    # 5. It broke somewhere, perhaps behind the point where the job was made.
    if 500 <= status < 600:
        return Verdict(AGAIN, error, status, maybe_done=True, retry_after=came.retry_after)
    # 6. A status that Elevate does not use: another 2xx, a 1xx as the last answer, above 599.
    return Verdict(AGAIN, "bad_answer", status, maybe_done=True)


def classify_status(came: Answer | NetworkFault, jid: str, version: ApiVersion) -> Verdict:
    """The verdict on one question for a job's status: as above, but 200 needs the jid that was
    asked for and a status word; no answer is ever booked on another job."""
    verdict = classify(came, version)
    said_it = verdict.jid == jid and (verdict.status or "").strip()
    # Asking does nothing, so there is nothing that may have been done.
    if verdict.kind is ACCEPTED and not said_it:
        return Verdict(AGAIN, "bad_answer", 200)
    return verdict


def classify_result(came: Answer | NetworkFault, version: ApiVersion) -> Verdict:
    """The verdict on one download of an export's result, whose body is elsewhere: accepted if a 200
    came to its end. What broke off may be gone at the service, so it counts as perhaps done."""
    if isinstance(came, NetworkFault) or came.status != 200:
        return classify(came, version)
    return Verdict(ACCEPTED, http_status=200) if came.complete else NO_ARCHIVE


def parse_retry_after(values: list[str], date: str | None, now: datetime) -> float | None:
    """Seconds to wait by `Retry-After` (RFC 9110, 10.2.3), never negative; None to ignore it.

    Taken are digits only and IMF-fixdate only, and no header that stands there twice. A date is
    measured against the answer's own `Date`, so that our clock may be wrong, else against `now`.
    """
    # Twice: two servers on the way each want something else, and neither is to be believed.
    if len(values) != 1:
        return None
    value = values[0].strip(" \t")
    if _SECONDS.fullmatch(value):
        return float(value)
    then = _imf_date(value)
    if then is None:
        return None
    return max(0.0, (then - (_imf_date(date or "") or now)).total_seconds())


def _imf_date(value: str) -> datetime | None:
    if not _IMF_DATE.fullmatch(value):
        return None
    try:
        return parsedate_to_datetime(value).replace(tzinfo=UTC)
    except ValueError:
        return None


def _of_success(answer: Answer) -> Verdict:
    # A jid is evidence in the ledger: taken is only one that came whole, is text and not blank.
    if not answer.complete:
        return NO_JOB
    try:
        result = _decoder.decode(answer.body)
    except (ValueError, RecursionError):  # msgspec's errors, UnicodeDecodeError
        return NO_JOB
    if not result.jid.strip():
        return NO_JOB
    status = result.status if isinstance(result.status, str) else None
    return Verdict(ACCEPTED, http_status=200, jid=result.jid, status=status)


def _of_fault(fault: NetworkFault) -> Verdict:
    # Asking again makes no certificate valid, and who stands behind it may be anyone.
    if fault.error == "certificate":
        stop = ConfigurationError(
            "The service's certificate is not valid for it, so nothing was sent. Check the "
            "cluster id or --base-url, and which certificates this machine trusts (for an "
            "authority of your own, use --ca-file)."
        )
        return Verdict(STOP, fault.error, stop=stop)
    if fault.proxy:
        return Verdict(STOP, fault.error, stop=_proxy_refuses(fault))
    if fault.no_files:
        stop = ConfigurationError(
            "This computer lets the program open no more files or connections. No customer key was "
            "marked failed. Raise the limit (ulimit -n), or lower --concurrency, then run the same "
            "command again."
        )
        return Verdict(STOP, fault.error, stop=stop)
    return Verdict(
        AGAIN,
        fault.error,
        maybe_done=fault.maybe_done,
        at_once=fault.at_once,
        connecting=fault.error in _CONNECTING,
        stop=_no_host(fault.no_host) if fault.no_host else None,
    )


def _no_host(host: str) -> ServiceDown:
    return ServiceDown(
        f"The host name {host} does not exist, so nothing was sent. No customer key was marked "
        "failed. The cluster id or --base-url is probably mistyped."
    )


def _credentials(status: int) -> CredentialsRefused:
    return CredentialsRefused(
        f"The service refused the API key (HTTP {status}). No customer key was marked failed. "
        "Check that it is the private API key of this cluster, then run the same command again."
    )


def _proxy_refuses(fault: NetworkFault) -> ContractBroken:
    status = fault.error.removeprefix("http_")
    advice = (
        "Ask whoever runs it to let this machine through to the service"
        if status == "403"
        else "Put the right user name and password into HTTPS_PROXY "
        "(http://user:password@host:port), and use --trust-env"
    )
    return ContractBroken(
        f"The proxy {fault.proxy} refused the way to the service (HTTP {status}), so nothing was "
        f"sent. No customer key was marked failed. {advice}, then run the same command again."
    )


def _contract(status: int, version: ApiVersion) -> ContractBroken:
    if status in (404, 410):
        other = "" if version is ApiVersion.V4 else " (--api-version v4 is the current one)"
        return ContractBroken(
            f"The service answers HTTP {status}: either this cluster does not exist, or it has no "
            f"API version {version}{other}. No customer key was marked failed. Check both, "
            "--cluster-id (or --base-url) and --api-version, then run again."
        )
    if status == 407:
        return ContractBroken(
            "The proxy on the way to the service requires a user name and password (HTTP 407). No "
            "customer key was marked failed. Put them into HTTPS_PROXY "
            "(http://user:password@host:port), and run again with --trust-env."
        )
    what = "redirects" if 300 <= status < 400 else "does not accept the call"
    return ContractBroken(
        f"The service {what} (HTTP {status}), so it is not the Elevate API as documented. No "
        "customer key was marked failed, and no redirect was followed. Check the cluster id or "
        "--base-url."
    )

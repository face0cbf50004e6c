"""What the options of several commands say, in the words of the parts below."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.request import getproxies, proxy_bypass

import typer
from yarl import URL

from bulk_eraser.cli.output import Output, printable
from bulk_eraser.cli.secrets import read_api_key_file, read_pepper_file, valid_api_key
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.route import Route, tls_trusting, usable_proxy
from bulk_eraser.errors import ConfigurationError, Interrupted, UsageError
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS, InputReader
from bulk_eraser.sources.rows import Reading

__all__ = [
    "api_key_of",
    "hold_list_of",
    "ignore_signals",
    "naming_of",
    "progress_of",
    "raise_on_signals",
    "reading_of",
    "route_of",
    "target_of",
    "text_of",
    "warn_of_end_of_life",
]

END_IS_NEAR_DAYS = 120
GOOD_PEPPER = 16
"""Bytes."""


def reading_of(
    format_: str | None,
    key_field: str | None,
    no_header: bool,
    delimiter: str | None,
    encoding: str | None,
    sheet: str | None,
    received_field: str | None,
    reference_field: str | None,
) -> Reading:
    """How to read the input. Raises `UsageError`."""
    if format_ not in (None, *FORMATS.values()):
        raise UsageError("--format is csv, ndjson or xlsx.")
    if "" in (key_field, sheet, received_field, reference_field):
        raise UsageError(
            "--key-field, --sheet, --received-field and --reference-field each need a name. Is a "
            "variable empty?"
        )
    names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
    character = names.get(delimiter, delimiter) if delimiter else None
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise UsageError("--delimiter takes a single character, or the word tab.")
    return Reading(
        format=format_,
        key_field=key_field,
        header=not no_header,
        delimiter=character,
        encoding=encoding,
        sheet=sheet,
        received_field=received_field,
        reference_field=reference_field,
    )


def hold_list_of(path: str | None, reading: Reading) -> InputReader | None:
    """The hold list's reader: read as the input is, in its own format if its name tells one.

    Raises `UsageError` for an empty name: a hold list was meant.
    """
    if path is None:
        return None
    if not path:
        raise UsageError("--exclude names no file. Is a variable empty? Nothing was sent.")
    named = without_packing(path).lower().endswith(tuple(FORMATS))
    format_ = None if named else reading.format
    keys_alone = replace(
        reading, format=format_, sheet=None, received_field=None, reference_field=None
    )
    return InputReader(path, keys_alone)


def target_of(context: typer.Context, cluster_id: str | None, base_url: str | None) -> Target:
    """The cluster or address that is meant. Raises `UsageError` if none is, or two are."""
    if cluster_id and base_url and _is_typed(context, "cluster_id", "base_url"):
        raise UsageError(
            "--cluster-id is given, but ELEVATE_BASE_URL in the environment names another target. "
            "Unset it, or give --base-url."
        )
    if base_url:
        return Target.of_base_url(base_url)
    if cluster_id:
        return Target.of_cluster(cluster_id)
    raise UsageError(
        "Which cluster? Give --cluster-id (or ELEVATE_CLUSTER_ID), or --base-url. To try it "
        "without a cluster, use `run` with --rehearse."
    )


def _is_typed(context: typer.Context, name: str, other: str) -> bool:
    """Was the option `name` typed, and `other` only found in the environment?"""
    typed, found = (context.get_parameter_source(option) for option in (name, other))
    return typed is not found and getattr(typed, "name", "") == "COMMANDLINE"


def route_of(
    proxy: str | None, ca_file: str | None, target: Target, version: ApiVersion, *, trust_env: bool
) -> Route:
    """Proxy and certificates. The environment's proxy counts only with --trust-env.

    Raises `UsageError` for a password in the option, `ConfigurationError` for what cannot be used.
    """
    if proxy and "@" in proxy:
        raise UsageError(
            "--proxy must hold no user name or password, since options can be seen by everybody on "
            "this machine. Put it into HTTPS_PROXY and say --trust-env."
        )
    tls = tls_trusting(ca_file) if ca_file else None
    if proxy:
        return Route(usable_proxy(proxy, "--proxy"), tls)
    return Route(_environment_proxy(target, version) if trust_env else None, tls)


def _environment_proxy(target: Target, version: ApiVersion) -> URL | None:
    """What HTTPS_PROXY names for this target, unless NO_PROXY does.

    Not left to aiohttp's `trust_env`, which looks there before every request, adds a password from
    ~/.netrc, and takes a proxy that it cannot use for a connection that broke.
    """
    url = URL(target.base_of(version))
    named = getproxies().get(url.scheme)
    if target.is_loopback or not named or proxy_bypass(url.raw_host or ""):
        return None
    return usable_proxy(named, f"{url.scheme.upper()}_PROXY")


def api_key_of(path: str | None, output: Output) -> str:
    """The API key from its file or ELEVATE_API_KEY. Raises `ConfigurationError`."""
    if path:
        key, exposed = read_api_key_file(path)
        if exposed:
            output.warn(f"the API key file {printable(path)} can be read by others: chmod 600 it.")
        return key
    if from_environment := os.environ.get("ELEVATE_API_KEY"):
        return valid_api_key(from_environment, "in ELEVATE_API_KEY")
    raise ConfigurationError(
        "There is no API key. Put the cluster's private key into a file and name it with "
        "--api-key-file, or set ELEVATE_API_KEY."
    )


def naming_of(pseudonymize: bool, output: Output) -> KeyNaming:
    """What keys are called in the ledger. Raises `ConfigurationError` for want of a pepper."""
    if not pseudonymize:
        return RAW_KEYS
    path = os.environ.get("BULK_ERASER_PEPPER_FILE")
    if not path:
        raise ConfigurationError(
            "Pseudonyms need a pepper: put a long random secret into a file (openssl rand -hex "
            "32), name it in the environment variable BULK_ERASER_PEPPER_FILE, and keep it."
        )
    pepper, exposed = read_pepper_file(path)
    if exposed:
        output.warn(f"the pepper file {printable(path)} can be read by others: chmod 600 it.")
    if len(pepper) < GOOD_PEPPER:
        output.warn(
            f"the pepper is shorter than {GOOD_PEPPER} bytes, so it might be found by trying."
        )
    return KeyNaming(pepper)


def text_of(option: str, text: str | None) -> str | None:
    """`text` if it can stand in a file of UTF-8. Raises `UsageError`."""
    if text is not None and text != text.encode(errors="replace").decode():
        raise UsageError(f"{option} is not valid UTF-8 text. Write it in UTF-8.")
    return text


def warn_of_end_of_life(version: ApiVersion, output: Output) -> None:
    """Tell of a version that the vendor removes soon, or has removed."""
    end = version.end_of_life
    if end is None:
        return
    today = datetime.now(UTC).date()
    if today > end:
        output.warn(f"API version {version} reached its end of life on {end}. Use v4.")
    elif today > end - timedelta(days=END_IS_NEAR_DAYS):
        output.warn(f"API version {version} ends on {end}. Change to v4; the ledger goes on.")


def progress_of(output: Output) -> Callable[[int], None]:
    """Tell of a long survey now and then: every million rows, or 100,000 on a terminal."""
    step = 100_000 if output.is_terminal else 1_000_000

    def progress(rows: int) -> None:
        if rows % step == 0:
            output.say(f"Reading the input: {rows:,} rows …")

    return progress


def raise_on_signals() -> None:
    """Until an event loop takes over, SIGTERM and SIGHUP end the command as Ctrl-C does."""

    def on_signal(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, on_signal)


def ignore_signals() -> None:
    """What happened is decided; it only has to be told."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)

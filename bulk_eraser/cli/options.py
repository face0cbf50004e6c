"""The options that commands share, and what they come to in the words of the parts below."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from bulk_eraser.cli.bundles import Bundle, Number, OneOf, argument, flag, option
from bulk_eraser.cli.output import Output
from bulk_eraser.cli.secrets import read_api_key_file, valid_api_key
from bulk_eraser.cli.wording import printable
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.elevate.route import Route, tls_trusting, usable_proxy
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS, InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Intake

__all__ = [
    "InputOptions",
    "OutputOptions",
    "PaceOptions",
    "RateOptions",
    "ReadingOptions",
    "ServiceOptions",
    "TargetOptions",
    "VerboseOutputOptions",
    "text_of",
    "warn_of_end_of_life",
]

END_IS_NEAR_DAYS = 120


# ── what is read ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Bundle):
    """How an input is read; None means: as it is found."""

    format: str | None = option("csv|ndjson|xlsx", "Format of the input. [default: by its name]")
    key_field: str | None = option(
        "NAME",
        "Column or member with the customer key (customer.key: a member within a member); with "
        "--no-header the column's number. [default: customerKey, else the only column]",
    )
    no_header: bool = flag("The first line of the CSV is a row.")
    delimiter: str | None = option(
        "CHAR", "What separates the columns: a character, or tab. [default: found in the file]"
    )
    encoding: str | None = option(
        "NAME", "Encoding of the input, such as cp1252. [default: byte order mark, else UTF-8]"
    )
    sheet: str | None = option("NAME", "Sheet of the workbook. [default: the only one]")
    received_field: str | None = option(
        "NAME", "Column with the date on which the person asked (YYYY-MM-DD); kept in the ledger."
    )
    reference_field: str | None = option(
        "NAME", "Column with a reference of the request; kept in the ledger."
    )

    def reading(self) -> Reading:
        """Raises `UsageError` for what cannot be meant."""
        if self.format not in (None, *FORMATS.values()):
            raise UsageError("--format is csv, ndjson or xlsx.")
        if "" in (self.key_field, self.sheet, self.received_field, self.reference_field):
            raise UsageError(
                "--key-field, --sheet, --received-field and --reference-field each need a name. "
                "Is a variable empty?"
            )
        names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
        delimiter = names.get(self.delimiter, self.delimiter) if self.delimiter else None
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise UsageError("--delimiter takes a single character, or the word tab.")
        return Reading(
            format=self.format,
            key_field=self.key_field,
            header=not self.no_header,
            delimiter=delimiter,
            encoding=self.encoding,
            sheet=self.sheet,
            received_field=self.received_field,
            reference_field=self.reference_field,
        )


@dataclass(frozen=True, kw_only=True)
class InputOptions(ReadingOptions):
    """The input, how it is read, and what of it is let through."""

    input_path: str = argument(
        "INPUT", "CSV, NDJSON (also .gz or .zst) or .xlsx file, or - for stdin."
    )
    allow_numeric_like: bool = flag(
        "Send keys that look rounded by a spreadsheet (4,01E+15) all the same."
    )
    exclude: str | None = option(
        "FILE", "Hold list: keys in this file are not sent. Read like the input."
    )

    def intake(self, *, strict: bool = False, naming: KeyNaming = RAW_KEYS) -> Intake:
        """Raises `UsageError` where the format of the input or its hold list is not known."""
        reading = self.reading()
        return Intake(
            reader=InputReader(self.input_path, reading),
            hold_list=self._hold_list(reading),
            strict=strict,
            allow_numeric_like=self.allow_numeric_like,
            naming=naming,
        )

    def _hold_list(self, reading: Reading) -> InputReader | None:
        """Read as the input is, but in its own format if its name tells one."""
        if self.exclude is None:
            return None
        if not self.exclude:  # a hold list was meant
            raise UsageError("--exclude names no file. Is a variable empty? Nothing was sent.")
        is_named = without_packing(self.exclude).lower().endswith(tuple(FORMATS))
        format_ = None if is_named else reading.format
        keys_alone = replace(
            reading, format=format_, sheet=None, received_field=None, reference_field=None
        )
        return InputReader(self.exclude, keys_alone)


def text_of(option_: str, text: str | None) -> str | None:
    """`text` if it can stand in a file of UTF-8. Raises `UsageError`."""
    if text is not None and text != text.encode(errors="replace").decode():
        raise UsageError(f"{option_} is not valid UTF-8 text. Write it in UTF-8.")
    return text


# ── where it is sent ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class TargetOptions(Bundle):
    """The cluster or address that is meant, and the version of its API."""

    cluster_id: str | None = option("ID", "Your Elevate cluster.", env="ELEVATE_CLUSTER_ID")
    base_url: str | None = option(
        "URL",
        "Instead of the cluster id: everything before /api/… (plain http to this computer only).",
        env="ELEVATE_BASE_URL",
    )
    api_version: ApiVersion = option(
        "v4|v3|v2", "Version of the Elevate API.", default=ApiVersion.V4, type=OneOf(ApiVersion)
    )

    def target(self) -> Target:
        """Raises `UsageError` if no target is named, or two are."""
        if self.cluster_id and self.base_url and self._only_the_cluster_is_typed():
            raise UsageError(
                "--cluster-id is given, but ELEVATE_BASE_URL in the environment names another "
                "target. Unset it, or give --base-url."
            )
        target = self.named_target()
        if target is None:
            raise UsageError(
                "Which cluster? Give --cluster-id (or ELEVATE_CLUSTER_ID), or --base-url. To try "
                "it without a cluster, use `run` with --rehearse."
            )
        return target

    def _only_the_cluster_is_typed(self) -> bool:
        return "cluster_id" in self.typed and "base_url" not in self.typed

    def named_target(self) -> Target | None:
        """What options or environment name, the address before the cluster; None for nothing."""
        if self.base_url:
            return Target.of_base_url(self.base_url)
        return Target.of_cluster(self.cluster_id) if self.cluster_id else None


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


@dataclass(frozen=True, kw_only=True)
class ServiceOptions(Bundle):
    """The API key, and the way to the service."""

    api_key_file: str | None = option(
        "PATH", "File with the private API key; else ELEVATE_API_KEY is used."
    )
    proxy: str | None = option("URL", "Reach the service through this proxy: http://host:port.")
    trust_env: bool = flag("Take the proxy from HTTPS_PROXY and NO_PROXY in the environment.")
    ca_file: str | None = option(
        "PATH", "Trust the certificates in this PEM file instead of the machine's."
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
            "There is no API key. Put the cluster's private key into a file and name it with "
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
                "everybody on this machine. Put it into HTTPS_PROXY and say --trust-env."
            )
        tls = tls_trusting(self.ca_file) if self.ca_file else None
        if self.proxy:
            return Route(usable_proxy(self.proxy, "--proxy"), tls)
        return Route(_environment_proxy(target, version) if self.trust_env else None, tls)


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


# ── how fast ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class RateOptions(Bundle):
    rate: float = option(
        "N", "Requests a second at most; 0: no limit.", default=50.0, type=Number(20.0)
    )


@dataclass(frozen=True, kw_only=True)
class PaceOptions(RateOptions):
    """How fast, how many at a time, how often and how long; `RunSettings` checks the values."""

    concurrency: int = option("N", "Requests at the same time.", default=32, type=Number(32))
    max_attempts: int = option("N", "Attempts for one key in this run.", default=6, type=Number(6))
    timeout: float = option("SECONDS", "For one attempt.", default=30.0, type=Number(30.0))
    max_outage: float = option(
        "SECONDS",
        "Stop after so long without any good answer (30 s if there never was one).",
        default=300.0,
        type=Number(300.0),
    )


# ── what is told ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Bundle):
    json: bool = flag("One JSON object on stdout and nothing else.")
    quiet: bool = flag("Errors and the ending only.")

    def output(self) -> Output:
        return Output(quiet=self.quiet, json=self.json)


@dataclass(frozen=True, kw_only=True)
class VerboseOutputOptions(OutputOptions):
    verbose: bool = flag("The settings in force as well.")

"""The options that commands share, and what they come to in the words of the parts below."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from bulk_eraser.cli.options.bundles import Bundle, Number, OneOf, argument, flag, option
from bulk_eraser.cli.options.shard_option import shard_asked_for
from bulk_eraser.cli.terminal.output import Output, Progressing
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import UsageError
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.shard import Shard
from bulk_eraser.sources.address import object_name
from bulk_eraser.sources.compression import without_packing
from bulk_eraser.sources.reader import FORMATS, InputReader
from bulk_eraser.sources.rows import HoldListReading, Reading
from bulk_eraser.survey.checks import Allow, Intake
from bulk_eraser.wording import calendar_day

__all__ = [
    "InputOptions",
    "OutputOptions",
    "PaceOptions",
    "QuietOptions",
    "RateOptions",
    "ReadingOptions",
    "ReceivedOptions",
    "ReportedOptions",
    "TargetOptions",
    "VerboseOutputOptions",
    "date_of",
    "text_of",
    "warn_of_target",
    "warn_of_version",
]

END_IS_NEAR_DAYS = 120


# ── what is read ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Bundle):
    """How an input is read; None means: as it is found."""

    heading = "How the input is read"

    format: str | None = option(
        "csv|ndjson|xlsx|parquet", "Format of the input. [default: from its name]"
    )
    key_field: str | None = option(
        "NAME",
        "Column or field with the customer key (customer.key for a field within a field); with "
        "--no-header, the column's number. [default: customerKey, else the only column]",
    )
    no_header: bool = flag("The CSV has no header: its first line is a row.")
    header_row: int | None = option(
        "N",
        "Line with the column names, if a title stands above it. [default: the first one]",
        type=Number(3),
    )
    delimiter: str | None = option(
        "CHAR", "What separates the columns: a character, or tab. [default: detected]"
    )
    encoding: str | None = option(
        "NAME", "Encoding of the input, such as cp1252. [default: byte order mark, else UTF-8]"
    )
    sheet: str | None = option("NAME", "Sheet of the workbook. [default: the only one]")
    received_field: str | None = option(
        "NAME",
        "Column with the date of the person's request (YYYY-MM-DD); recorded in the ledger.",
    )
    received_format: str | None = option(
        "FORMAT",
        "How these dates are written, if not YYYY-MM-DD: %d day, %m month, %Y year, such as "
        "%d.%m.%Y; behind them %H, %M and %S, if there is a time.",
    )
    reference_field: str | None = option(
        "NAME", "Column with a reference for the request; recorded in the ledger."
    )

    def reading(self) -> Reading:
        """Raises `UsageError` for what cannot be meant."""
        if self.format not in (None, *FORMATS.values()):
            raise UsageError("--format must be csv, ndjson, xlsx or parquet.")
        if "" in (self.key_field, self.sheet, self.received_field, self.reference_field):
            raise UsageError(
                "--key-field, --sheet, --received-field and --reference-field each need a name. "
                "Is a variable empty?"
            )
        if self.header_row is not None and (self.no_header or self.header_row < 1):
            raise UsageError(
                "--header-row must be the number of a line, from 1 on, and cannot be used with "
                "--no-header."
            )
        names = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}
        delimiter = names.get(self.delimiter, self.delimiter) if self.delimiter else None
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise UsageError("--delimiter must be a single character, or the word tab.")
        return Reading(
            format=self.format,
            key_field=self.key_field,
            header=not self.no_header,
            header_row=self.header_row,
            delimiter=delimiter,
            encoding=self.encoding,
            sheet=self.sheet,
            received_field=self.received_field,
            received_format=self._received_format(),
            reference_field=self.reference_field,
        )

    def _received_format(self) -> str | None:
        """Raises `UsageError` for what is not the form of a date."""
        form = self.received_format
        if form is None:
            return None
        if self.received_field is None:
            raise UsageError("--received-format needs --received-field, the column with the dates.")
        codes = re.findall(r"%(.?)", form)
        is_date = all(codes.count(code) == 1 for code in "dmY")
        if not is_date or len(set(codes)) < len(codes) or not set(codes) <= set("dmYHMS"):
            raise UsageError(
                "--received-format must have %d (day), %m (month) and %Y (year) once each, such as "
                "%d.%m.%Y, and may have %H, %M and %S."
            )
        return form


@dataclass(frozen=True, kw_only=True)
class InputOptions(ReadingOptions):
    """The input, how it is read, and what of it is let through."""

    heading = "Input"

    input_path: str = argument(
        "INPUT",
        "CSV, NDJSON (also .gz or .zst), .xlsx or .parquet file, its s3://, gs://, az:// "
        "or https:// address, or - for standard input.",
    )
    allow: tuple[Allow, ...] = option(
        "WORD",
        "Send although the input looks wrong in this way: numeric_like (keys such as 4,01E+15), "
        "torn_end (the last row seems cut off), dates, personal or placeholder (most keys), "
        "separator (in every key), duplicates (most rows). Can be repeated.",
        type=OneOf(Allow),
        multiple=True,
    )
    exclude: str | None = option(
        "FILE",
        "Hold list: keys in this file are not sent. Read like the input; its column "
        "reason, if there is one, says why.",
    )

    ok_if_rejected: bool = flag(
        "End with 0 instead of 3 if rejected rows, such as empty cells, are all that is wrong."
    )

    # Not from the environment: forgotten there, it would leave out other people's keys for good.
    shard: str | None = option(
        "i/N",
        "Only shard i of N: the keys that their digest puts there. Or auto/N: i as Kubernetes or "
        "AWS Batch numbers this job; auto: both, from GitLab.",
        env=False,
    )

    def part(self) -> Shard | None:
        """Raises `UsageError` for what is no shard, or cannot be told."""
        return None if self.shard is None else shard_asked_for(self.shard)

    def intake(self, *, strict: bool = False, naming: KeyNaming = RAW_KEYS) -> Intake:
        """Raises `UsageError` where the format of the input or its hold list is not known."""
        reading = self.reading()
        return Intake(
            reader=InputReader(self.input_path, reading),
            hold_list=self._hold_list(reading),
            strict=strict,
            allowed=frozenset(self.allow),
            naming=naming,
            part=self.part(),
        )

    def _hold_list(self, reading: Reading) -> InputReader | None:
        """Read as the input is, but in its own format if its name tells one."""
        if self.exclude is None:
            return None
        if not self.exclude:  # a hold list was meant
            raise UsageError("--exclude names no file. Is a variable empty? Nothing was sent.")
        is_named = without_packing(object_name(self.exclude)).lower().endswith(tuple(FORMATS))
        format_ = None if is_named else reading.format
        as_hold_list = HoldListReading(
            format=format_,
            key_field=reading.key_field,
            header=reading.header,
            delimiter=reading.delimiter,
            encoding=reading.encoding,
        )
        return InputReader(self.exclude, as_hold_list)


def text_of(option_: str, text: str | None) -> str | None:
    """`text` if it can stand in a file of UTF-8. Raises `UsageError`."""
    if text is not None and text != text.encode(errors="replace").decode():
        raise UsageError(f"{option_} is not valid UTF-8 text. Write it in UTF-8.")
    return text


def date_of(option_: str, text: str | None) -> date | None:
    """Raises `UsageError` for what is no date."""
    if text is None:
        return None
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option_} must be a date such as 2026-11-24, not {text!r}.") from None


# ── where it is sent ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class TargetOptions(Bundle):
    """The cluster or address that is meant, and the version of its API."""

    heading = "Target"

    cluster_id: str | None = option("ID", "Your Elevate cluster.", env="ELEVATE_CLUSTER_ID")
    base_url: str | None = option(
        "URL",
        "Use this address instead of a cluster: everything before /api/… (plain http to this "
        "computer only).",
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
                "target. Unset it, or use --base-url."
            )
        target = self.named_target()
        if target is None:
            raise UsageError(
                "No cluster given. Use --cluster-id (or ELEVATE_CLUSTER_ID), or --base-url. To try "
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


# ── how fast ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class RateOptions(Bundle):
    heading = "Pace"

    rate: float = option(
        "N", "Requests a second at most; 0 means no limit.", default=50.0, type=Number(20.0)
    )


@dataclass(frozen=True, kw_only=True)
class PaceOptions(RateOptions):
    """How fast, how many at a time, how often and how long; `RunSettings` checks the values."""

    concurrency: int = option("N", "Requests at the same time.", default=32, type=Number(32))
    max_attempts: int = option("N", "Attempts per key in this run.", default=6, type=Number(6))
    timeout: float = option(
        "SECONDS", "Time limit for one attempt.", default=30.0, type=Number(30.0)
    )
    max_outage: float = option(
        "SECONDS",
        "Stop after this long without a good answer (30 s if there never was one).",
        default=300.0,
        type=Number(300.0),
    )


# ── what is told ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ReceivedOptions(Bundle):
    """From when the month for an answer counts."""

    received: str | None = option(
        "DATE",
        "Date of the people's requests (YYYY-MM-DD), for rows without a date of their own. "
        "[default: the day on which the run began]",
        env=False,
    )


@dataclass(frozen=True, kw_only=True)
class ReportedOptions(ReceivedOptions):
    """What of everybody goes into reports."""

    show_keys: bool = flag(
        "Name customer keys in --html, --json and --csv. [default: lines, references, jids]",
        env=False,
    )


@dataclass(frozen=True, kw_only=True)
class QuietOptions(Bundle):
    heading = "Output"

    quiet: bool = flag("Print errors and the ending only.")

    def output(self) -> Output:
        return Output(quiet=self.quiet)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Bundle):
    heading = "Output"

    json: bool = flag("Print one JSON object to standard output, and nothing else there.")
    quiet: bool = flag("Print errors and the ending only.")

    def output(self) -> Output:
        return Output(quiet=self.quiet, json=self.json)


@dataclass(frozen=True, kw_only=True)
class VerboseOutputOptions(OutputOptions):
    verbose: bool = flag("Print the settings in use, too.")
    progress: Progressing = option(
        "auto|plain|off",
        "Show progress live on a terminal and as lines elsewhere, always as lines, or not at all.",
        default=Progressing.AUTO,
        type=OneOf(Progressing),
    )

    def output(self) -> Output:
        return Output(quiet=self.quiet, json=self.json, progress=self.progress)


def warn_of_target(target: Target, output: Output) -> None:
    """Tell of a cluster id that may be mistyped."""
    if not target.is_usual:
        output.warn(
            f"cluster ids are usually a w and eight digits or letters from a to f, such as "
            f"w1a2b3c4d. Is {target.name} right?"
        )


def warn_of_version(version: ApiVersion, output: Output) -> None:
    """Tell of a version that the vendor removes soon, or has removed, or that is not known."""
    if not version.is_known:
        output.warn(f"API version {version} is not known here; it is used as v4 would be.")
    end = version.end_of_life
    if end is None:
        return
    today = datetime.now(UTC).date()
    if today > end:
        output.warn(
            f"API version {version} reached its end of life on {calendar_day(end)}. Use v4."
        )
    elif today > end - timedelta(days=END_IS_NEAR_DAYS):
        on = calendar_day(end)
        output.warn(f"API version {version} ends on {on}. Change to v4; the ledger continues.")

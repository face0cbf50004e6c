"""The options that commands share, each with its environment variable and its help text."""

from typing import Annotated, Any

import typer

from bulk_eraser.elevate.endpoints import ApiVersion


def _option(env: str | None, metavar: str | None, text: str, *names: str) -> Any:
    """`env` is a name behind BULK_ERASER_, or a whole name that begins with ELEVATE_."""
    if env is not None and not env.startswith("ELEVATE_"):
        env = f"BULK_ERASER_{env}"
    return typer.Option(*names, envvar=env, metavar=metavar, help=text)


def _flag(name: str, text: str, *, environment: bool = True) -> Any:
    env = name.strip("-").upper().replace("-", "_") if environment else None
    return _option(env, None, text, name)


InputPath = Annotated[
    str,
    typer.Argument(
        metavar="INPUT", help="CSV, NDJSON (also .gz or .zst) or .xlsx file, or - for stdin."
    ),
]
Ledger = Annotated[
    str | None,
    _option(
        "LEDGER",
        "PATH",
        "Where every step is recorded, and from where a broken-off run continues. "
        "[default: the input's name with .ledger.ndjson]",
    ),
]
ClusterId = Annotated[str | None, _option("ELEVATE_CLUSTER_ID", "ID", "Your Elevate cluster.")]
BaseUrl = Annotated[
    str | None,
    _option(
        "ELEVATE_BASE_URL",
        "URL",
        "Instead of the cluster id: everything before /api/… (plain http to this computer only).",
    ),
]
Version = Annotated[ApiVersion, _option("API_VERSION", None, "Version of the Elevate API.")]
ApiKeyFile = Annotated[
    str | None,
    _option("API_KEY_FILE", "PATH", "File with the private API key; else ELEVATE_API_KEY is used."),
]
Proxy = Annotated[
    str | None, _option("PROXY", "URL", "Reach the service through this proxy: http://host:port.")
]
TrustEnv = Annotated[
    bool, _flag("--trust-env", "Take the proxy from HTTPS_PROXY and NO_PROXY in the environment.")
]
CaFile = Annotated[
    str | None,
    _option("CA_FILE", "PATH", "Trust the certificates in this PEM file instead of the machine's."),
]
Format = Annotated[
    str | None,
    _option("FORMAT", "csv|ndjson|xlsx", "Format of the input. [default: by its name]", "--format"),
]
KeyField = Annotated[
    str | None,
    _option(
        "KEY_FIELD",
        "NAME",
        "Column or member with the customer key (customer.key: a member within a member); with "
        "--no-header the column's number. "
        "[default: customerKey, else the only column]",
    ),
]
NoHeader = Annotated[bool, _flag("--no-header", "The first line of the CSV is a row.")]
Delimiter = Annotated[
    str | None,
    _option(
        "DELIMITER",
        "CHAR",
        "What separates the columns: a character, or tab. [default: found in the file]",
    ),
]
Encoding = Annotated[
    str | None,
    _option(
        "ENCODING",
        "NAME",
        "Encoding of the input, such as cp1252. [default: byte order mark, else UTF-8]",
    ),
]
Sheet = Annotated[
    str | None, _option("SHEET", "NAME", "Sheet of the workbook. [default: the only one]")
]
ReceivedField = Annotated[
    str | None,
    _option(
        "RECEIVED_FIELD",
        "NAME",
        "Column with the date on which the person asked (YYYY-MM-DD); kept in the ledger.",
    ),
]
ReferenceField = Annotated[
    str | None,
    _option(
        "REFERENCE_FIELD", "NAME", "Column with a reference of the request; kept in the ledger."
    ),
]
AllowNumericLike = Annotated[
    bool,
    _flag(
        "--allow-numeric-like",
        "Send keys that look rounded by a spreadsheet (4,01E+15) all the same.",
    ),
]
Strict = Annotated[bool, _flag("--strict", "Send nothing if any row has no usable key.")]
Exclude = Annotated[
    str | None,
    _option("EXCLUDE", "FILE", "Hold list: keys in this file are not sent. Read like the input."),
]
NoExclude = Annotated[
    bool, _flag("--no-exclude", "Earlier runs had a hold list; this one has none.")
]
Concurrency = Annotated[int, _option("CONCURRENCY", "N", "Requests at the same time.")]
Rate = Annotated[float, _option("RATE", "N", "Requests a second at most; 0: no limit.")]
MaxAttempts = Annotated[int, _option("MAX_ATTEMPTS", "N", "Attempts for one key in this run.")]
Timeout = Annotated[float, _option("TIMEOUT", "SECONDS", "For one attempt.")]
MaxOutage = Annotated[
    float,
    _option(
        "MAX_OUTAGE",
        "SECONDS",
        "Stop after so long without any good answer (30 s if there never was one).",
    ),
]
MaxFailures = Annotated[
    str,
    _option(
        "MAX_FAILURES",
        "N|P%",
        "Stop when more keys failed: a number, or a share looked at from 100 keys on.",
    ),
]
Limit = Annotated[int | None, _option("LIMIT", "N", "Send only the first N unsettled keys.")]
RetryFailed = Annotated[
    bool,
    _flag(
        "--retry-failed",
        "Send keys again that were refused for good, or whose job ended in error.",
        environment=False,
    ),
]
Plan = Annotated[
    str | None,
    _option("PLAN", "FILE", "Send only if all is as in this plan, which `check` wrote."),
]
NewPlan = Annotated[
    str | None,
    _option(
        None,
        "FILE",
        "Write what was checked as a plan for the target, which `run --plan` then carries out.",
        "--plan",
    ),
]
Author = Annotated[
    str | None, _option("AUTHOR", "TEXT", "Who makes the plan. [default: the login name]")
]
Requester = Annotated[str | None, _option("REQUESTER", "TEXT", "Who ordered it; for the ledger.")]
Reference = Annotated[str | None, _option("REFERENCE", "TEXT", "Ticket or case; for the ledger.")]
Receipt = Annotated[
    str | None,
    _option(
        "RECEIPT",
        "FILE",
        "Write head, counts, input, target and times of this run there, to be kept elsewhere.",
    ),
]
Pseudonymize = Annotated[
    bool,
    _flag(
        "--pseudonymize",
        "Write HMAC-SHA256 pseudonyms instead of the keys into the ledger; the secret is in the "
        "file that BULK_ERASER_PEPPER_FILE names.",
    ),
]
Rehearse = Annotated[
    bool,
    _flag(
        "--rehearse",
        "The same run against a simulator on this computer, with some faults. Nothing is erased.",
    ),
]
DryRun = Annotated[
    bool, _flag("--dry-run", "Read everything, show what would be sent, send and write nothing.")
]
Yes = Annotated[
    bool,
    _flag("--yes", "Consent: send without asking. Erasure cannot be undone.", environment=False),
]
Json = Annotated[bool, _flag("--json", "One JSON object on stdout and nothing else.")]
Quiet = Annotated[bool, _flag("--quiet", "Errors and the ending only.")]
Verbose = Annotated[bool, _flag("--verbose", "The settings in force as well.")]

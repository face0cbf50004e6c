"""The words everyone speaks: one struct per ledger line, and the closed lists of error words.

A line is one JSON object, `type` first, then `at` (UTC, RFC 3339, milliseconds; stamped once per
synced group by the ledger's writer). Readers ignore fields and types that they do not know.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

__all__ = [
    "ATTEMPT_ERRORS",
    "ROW_ERRORS",
    "Accepted",
    "AfterExport",
    "Commit",
    "DerivedFrom",
    "Download",
    "Downloaded",
    "Duplicate",
    "Excluded",
    "ExportFacts",
    "ExportStatus",
    "Failed",
    "InputFacts",
    "JobAnswer",
    "JobStatus",
    "KeyRecord",
    "LeafSecret",
    "Lost",
    "PlanFacts",
    "ProbeAnswered",
    "ProbeAsked",
    "ProbeDrawn",
    "ProbeFailed",
    "ProbeFile",
    "ProbeKey",
    "ProbeSent",
    "ProbeStatus",
    "Record",
    "Recovered",
    "Rejected",
    "Root",
    "RunFinished",
    "RunStarted",
    "Sent",
    "ShardFacts",
    "Unknown",
    "Unsent",
    "time_text",
]

ROW_ERRORS = {
    "bad_received": "the received date is not a date in the form YYYY-MM-DD, or in that which "
    "--received-format names",
    "bad_reference": "the reference is not text of at most 200 characters, or a whole number",
    "control_character": "the key holds a control character, a NUL or a line break",
    "duplicate_member": "the JSON object names the key twice",
    "empty_key": "the key is empty or blank",
    "field_too_long": "a CSV field is longer than 131,072 characters",
    "key_too_long": "the key is longer than 2,048 bytes in UTF-8",
    "line_too_long": "the line is longer than 1,048,576 characters",
    "lone_surrogate": "the key is not valid Unicode (half of a surrogate pair)",
    "malformed_csv": "the quoting of the row is broken",
    "malformed_json": "the line is not JSON, or is nested too deeply",
    "missing_field": "the row does not have the key's field",
    "repeated_header": "the key is the column's name once more, as where two files were joined",
    "too_many_fields": "the row has more fields than the header, so the key may be cut off",
    "wrong_type": "the key is not text (a number, a date …), or the line is not a JSON object",
}
"""Why a row was `rejected`; nothing was sent for it."""

ATTEMPT_ERRORS = {
    "bad_answer": "an answer, but not one that Elevate gives (HTML, no jid or another key's, not "
    "JSON, too large)",
    "cannot_connect": "no route to the service, or the network failed before anything was sent",
    "certificate": "the service's certificate is not valid for it",
    "connection_lost": "the connection broke after the request may have left",
    "connection_refused": "nothing listens at the service's address",
    "dns": "the service's name could not be resolved",
    "internal_error": "a bug in bulk-eraser while this key was in flight",
    "interrupted": "the run was ended while this key was in flight or waiting for a repeat",
    "no_archive": "the result of an export is not a whole zip archive (HTML, broken off, of "
    "another length)",
    "result_gone": "the service no longer has the result of an export: it expired, or a download "
    "that broke off took it along",
    "result_too_large": "the result of an export is larger than --max-result-bytes",
    "same_result": "the result of an export is that of another key, byte for byte, as from a cache",
    "timeout": "no complete answer within --timeout",
}
"""Why an attempt did not end well; beside these `http_` and the status, such as `http_503`."""


def time_text(seconds: float | None = None) -> str:
    """A time as it stands in a line: of so many seconds since 1970, or now."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Record(msgspec.Struct, tag_field="type", kw_only=True):
    """What all lines have: `type` (the tag) and `at`."""

    at: str = ""


class InputFacts(msgspec.Struct, kw_only=True, frozen=True):
    """What was read: `sha256` is over the file's raw bytes, `bytes` their number. Of a file
    elsewhere, `address` is where it was, without secrets, `version` its version id or ETag. With
    `cluster`, `rows` and what follows are of the rows whose column `cluster_field` names it."""

    name: str
    bytes: int
    sha256: str
    format: str
    key_field: str | None
    header: bool
    delimiter: str | None
    encoding: str
    sheet: str | None = None
    header_row: int | None = None
    received_field: str | None = None
    received_format: str | None = None
    reference_field: str | None = None
    cluster_field: str | None = None
    cluster: str | None = None
    address: str | None = None
    version: str | None = None
    rows: int
    keys: int
    rejected: int
    duplicate: int

    def identity(self) -> tuple[object, ...]:
        """Equal for two runs exactly when they read the same bytes in the same way."""
        return (
            self.sha256,
            self.format,
            self.key_field,
            self.header,
            self.delimiter,
            self.encoding,
            self.sheet,
            self.header_row,
            self.received_field,
            self.received_format,
            self.reference_field,
            self.cluster_field,
            self.cluster,
        )


class ShardFacts(msgspec.Struct, kw_only=True, frozen=True):
    """The part of the input that a run has: shard `index` (from 1) `of` so many, and its rows."""

    index: int
    of: int
    rows: int
    keys: int
    rejected: int
    duplicate: int


class PlanFacts(msgspec.Struct, kw_only=True, frozen=True):
    """The plan that a run carried out: SHA-256 of its file, who made it, and when (UTC)."""

    sha256: str
    made_by: str
    made_at: str


class ExportFacts(msgspec.Struct, kw_only=True, frozen=True):
    """Where the results of an export are put: `output` is the folder, `encrypt_to` an age recipient
    (None: they are not encrypted), `max_result_bytes` how large one may be."""

    output: str
    encrypt_to: str | None
    max_result_bytes: int


class AfterExport(msgspec.Struct, kw_only=True, frozen=True):
    """The ledger of an export: a run sends only keys whose result it has as downloaded. `head` is
    what it ended with when the run began."""

    ledger: str
    head: str


class RunStarted(Record, tag="run_started", kw_only=True):
    """Who erases (or exports) what, where, with which settings.

    `export` is None for erasures. Otherwise the jobs of this ledger are export jobs, which erase
    nobody; a ledger has jobs of one kind only.

    `keys` is `raw` (customer keys stand as they are) or `hmac-sha256`; then `pepper_check` tells
    whether another run has the same pepper.
    `base` is what `--base-url` named (everything before `/api/…`), None for a cluster.
    `sent_when_complete` is how many keys the ledger will have as sent, by this run or earlier, once
    this run has sent all that it is to send: what is missing there was not reached.
    `shard` is None where the run has all of `input`; a ledger has runs of one shard only.
    """

    format: int = 1
    run: str
    command: str
    tool: str
    api: str
    target: str
    base: str | None = None
    simulated: bool
    keys: str = "raw"
    pepper_check: str | None = None
    input: InputFacts | None
    exclude_sha256: str | None
    settings: dict[str, Any]
    requester: str | None
    reference: str | None
    plan: PlanFacts | None = None
    sent_when_complete: int | None = None
    export: ExportFacts | None = None
    after_export: AfterExport | None = None
    shard: ShardFacts | None = None


class DerivedFrom(Record, tag="derived_from", kw_only=True):
    """The first line of a ledger that was made from another: its name, its last commit, its lines.

    The keys of that one were replaced by pseudonyms, see `keys` and `pepper_check`.
    """

    ledger: str
    head: str
    lines: int
    tool: str
    keys: str
    pepper_check: str | None


class KeyRecord(Record, kw_only=True, omit_defaults=True):
    """A line about one row's key. `received` (YYYY-MM-DD) and `reference` only if the row has them.

    They come from the columns that `--received-field` and `--reference-field` name.
    """

    key: str
    line: int
    received: str | None = None
    reference: str | None = None


class Sent(KeyRecord, tag="sent", kw_only=True):
    """On disk before its request leaves: from here on it may have left. `attempt` from 1."""

    attempt: int


class Accepted(KeyRecord, tag="accepted", kw_only=True):
    """The service created a job; `elapsed_ms` from the first attempt to this answer."""

    jid: str
    status: str | None
    http_status: int
    attempts: int
    elapsed_ms: int


class Failed(KeyRecord, tag="failed", kw_only=True):
    """Refused (`permanent`), or retries ran out with the last attempts certainly not carried out.

    `possible_job` is true if an earlier attempt may have been carried out all the same.
    """

    error: str
    http_status: int | None
    detail: str | None
    attempts: int
    permanent: bool
    possible_job: bool


class Unknown(KeyRecord, tag="unknown", kw_only=True):
    """No answer that counts, and an attempt may have been carried out."""

    error: str
    attempts: int


class Unsent(Record, tag="unsent", kw_only=True):
    """That `sent` never became a request: the key is again what it was before that line.

    Written when a run ends in an orderly way, for keys that were committed ahead of their turn or
    for which no connection came about, the last attempt first.
    """

    key: str
    line: int
    attempt: int


class Rejected(Record, tag="rejected", kw_only=True):
    """A row without a usable key; its content is not copied."""

    line: int
    error: str


class Duplicate(KeyRecord, tag="duplicate", kw_only=True):
    """The key stood earlier in the same input, on `first_line`; it is sent once."""

    first_line: int


class Excluded(KeyRecord, tag="excluded", kw_only=True):
    """On the hold list; not sent in this run. `reason` as the list gives it, without the key."""

    reason: str | None = None


class JobAnswer(Record, kw_only=True):
    """One answer of job-status about an accepted key's job, the word as it came.

    `next_check_at` is when it is due again (UTC), None for a job that is finished.
    """

    key: str
    jid: str
    status: str
    next_check_at: str | None


class JobStatus(JobAnswer, tag="job_status", kw_only=True):
    """About a removal job, which is finished with `done`, `error` or `not_found`."""


class ExportStatus(JobAnswer, tag="export_status", kw_only=True):
    """About an export job, which is finished with `error` or `not_found`; with `done` its result
    can be had, and is due at once."""


class Download(Record, tag="download", kw_only=True):
    """On disk before the request for a result leaves: from here on the service may have removed it.

    `attempt` counts from 1 in each run.
    """

    key: str
    line: int
    jid: str
    attempt: int


class Downloaded(Record, tag="downloaded", kw_only=True):
    """A result is in `file`, whole and on disk; `bytes` and `sha256` are those of the file.

    `is_empty`: it held a single `empty.txt`, so there was no data of the key.
    """

    key: str
    line: int
    jid: str
    file: str
    bytes: int
    sha256: str
    is_empty: bool


class Lost(Record, tag="lost", kw_only=True):
    """The result of an export job did not arrive, and cannot be had any more."""

    key: str
    line: int
    jid: str
    error: str


class ProbeDrawn(Record, tag="probe_drawn", kw_only=True):
    """A random sample of those erased so far, `size` of `population`; `sample` as it was asked for.

    Sampled are the removal jobs with the smallest SHA-256 over `seed`, a space and the jid. The
    `probe_key` lines behind it name them.
    """

    probe: str
    seed: str
    sample: str
    size: int
    population: int


class ProbeKey(Record, tag="probe_key", kw_only=True):
    """One of a sample; `line` is that of its `accepted` line."""

    probe: str
    key: str
    line: int


class ProbeSent(Record, tag="probe_sent", kw_only=True):
    """On disk before the request for an export job of the key leaves."""

    probe: str
    key: str
    line: int
    attempt: int


class ProbeAsked(Record, tag="probe_asked", kw_only=True):
    """The service created an export job, whose result will tell whether anything is left."""

    probe: str
    key: str
    line: int
    jid: str


class ProbeFailed(Record, tag="probe_failed", kw_only=True):
    """No export job could be created; the same command tries again."""

    probe: str
    key: str
    line: int
    error: str


class ProbeStatus(JobAnswer, tag="probe_status", kw_only=True):
    """About the export job of a probe, as `export_status`."""


class ProbeFile(msgspec.Struct, kw_only=True, frozen=True):
    """A file of a result that was thrown away: its name as far as it can be printed, without the
    key, and its size in bytes."""

    name: str
    size: int


class ProbeAnswered(Record, tag="probe_answered", kw_only=True):
    """`answer` is `nothing_left` (a single `empty.txt`), `came_back` (anything else; the first of
    its `files`), or `lost`, with the `error`: the result did not arrive."""

    probe: str
    key: str
    line: int
    jid: str
    answer: str
    error: str | None
    files: list[ProbeFile]


class Recovered(Record, tag="recovered", kw_only=True):
    """An uncommitted tail was moved aside into `file`, beside the ledger."""

    bytes: int
    sha256: str
    file: str


class RunFinished(Record, tag="run_finished", kw_only=True):
    """How the run ended; `counts` as in `--json`, `elapsed_s` first request to last outcome."""

    run: str
    outcome: str
    exit_code: int
    counts: dict[str, int]
    elapsed_s: float


class LeafSecret(Record, tag="leaf_secret", kw_only=True):
    """From it come the random bytes of the leaves of the `root` behind it; 64 hex digits.

    It stands alone in its group, and never leaves the ledger.
    """

    secret: str


class Root(Record, tag="root", kw_only=True):
    """The root of a Merkle tree (RFC 6962, SHA-256) over a statement for each erased key.

    It stands alone in its group, right behind that of its `leaf_secret`, and covers all lines up to
    there: `covers` is the head at that point. `leaves` is the number of statements, `format` their
    form: in 1 they say nothing of probes.
    """

    format: int
    root: str
    leaves: int
    covers: str


class Commit(Record, tag="commit", kw_only=True):
    """Ends a synced group: digest over the previous commit's and the `lines` lines since."""

    PREFIX: ClassVar[bytes] = b'{"type":"commit"'

    lines: int
    sha256: str

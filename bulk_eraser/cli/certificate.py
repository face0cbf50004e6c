"""`bulk-eraser certificate`: proof for one person, which shows nobody else's data."""

import os
from dataclasses import dataclass

from bulk_eraser.atomic_file import write_whole
from bulk_eraser.cli.options.bundles import Bundle, Number, argument, command, option
from bulk_eraser.cli.options.proofs import stamp_of_head
from bulk_eraser.cli.options.secrets import name_of_key_in, read_signing_key_file
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.terminal.ending import command_of, conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import (
    Attention,
    ExitCode,
    LedgerWriteError,
    Result,
    UsageError,
)
from bulk_eraser.evidence.certificate.as_page import as_page
from bulk_eraser.evidence.certificate.check import check
from bulk_eraser.evidence.certificate.issue import Issued, NotCertified, issue
from bulk_eraser.evidence.certificate.person import Sought, naming_in
from bulk_eraser.evidence.certificate.proof_file import FIRST_LINE, PAGE_BEGINS, text_of
from bulk_eraser.evidence.certificate.signed_note import Signer, signer_of
from bulk_eraser.evidence.report.words import ADVICE
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.probes import CAME_BACK
from bulk_eraser.ledger.pseudonyms import RAW
from bulk_eraser.wording import STATE_MEANINGS, counted, printable, time_in_words

__all__ = ["CertificateResult", "certificate"]

SHARED_JOB = (
    "Elevate gave the same jid to another key as well, so one of them may not be erased. Ask "
    "Voyado, and name the jid (`verify` finds it)."
)
ADVICE_IF_BACK = (
    "Ask Voyado, and name that job and the removal job. Erase the key again with a new `run` and a "
    "new ledger, and take the certificate from that one."
)


@dataclass
class CertificateResult(Result):
    """What was issued. `head` is the ledger's at the line that commits `root`, which stands for so
    many erased keys as `leaves` says; this one is number `index` of them, from 0, and on `line` of
    the input."""

    certificate: str | None = None
    html: str | None = None
    ledger: str | None = None
    line: int | None = None
    head: str | None = None
    root: str | None = None
    leaves: int = 0
    index: int = 0
    new_root: bool = False
    verifier_key: str | None = None
    timestamp: bool = False


@dataclass(frozen=True, kw_only=True)
class CertificateOptions(Bundle):
    """What `certificate` has and no other command."""

    heading = "Whose certificate, and where to"

    ledger: str = argument("LEDGER", "The ledger of the batch.")
    key_file: str | None = option("FILE", "The customer key, alone in a file.", env=False)
    line: int | None = option("N", "Line of the row in the input.", type=Number(2), env=False)
    reference: str | None = option(
        "TEXT", "Reference of the row, if `run` had --reference-field.", env=False
    )
    output: str | None = option("FILE", "The certificate, for programs.", env=False)
    html: str | None = option("FILE", "The same as a page for the person.", env=False)


@dataclass(frozen=True, kw_only=True)
class SigningOptions(Bundle):
    """Who vouches for a certificate."""

    heading = "Who vouches for it"

    signing_key: str | None = option(
        "FILE", "Sign it with this Ed25519 key (PEM, as `openssl genpkey` makes it)."
    )
    signer: str | None = option(
        "NAME", "The name under which you publish that key, such as example.com/erasures."
    )
    timestamp: str | None = option(
        "URL",
        "Have the head stamped by this authority (RFC 3161, https), if it is not yet. Only the "
        "head is sent.",
    )

    def key(self, output: Output) -> Signer | None:
        """Raises `UsageError` and `ConfigurationError` for what cannot be used."""
        if self.signing_key is None:
            if self.said_by("signer"):
                raise UsageError(f"{self.said_by('signer')} is the name of a --signing-key.")
            return None
        if self.signer is None:
            raise UsageError(
                "--signing-key needs --signer, the name under which you publish the key, such as "
                "example.com/erasures."
            )
        pem, exposed = read_signing_key_file(self.signing_key)
        if exposed:
            path = printable(self.signing_key)
            output.warn(f"the signing key {path} can be read by others: chmod 600 it.")
        return signer_of(self.signer, pem, self.signing_key)


@command(
    (
        "Proof for the person of a ticket, as a page",
        "bulk-eraser certificate customers.ledger.ndjson --reference T-1042 --html T-1042.html",
    ),
    (
        "Signed, and for programs",
        "bulk-eraser certificate customers.ledger.ndjson --line 17 --output 17.tlog-proof \\\n"
        "      --signing-key erasures.pem --signer example.com/erasures",
    ),
)
def certificate(given: CertificateOptions, signing: SigningOptions, told: OutputOptions) -> int:
    """Write proof for one erased person, which can be checked without anybody else's data.

    Adds two lines to LEDGER, unless it has them already: the root of a Merkle tree over all keys
    that are erased, and a secret that keeps others from guessing. Nobody gets a certificate whose
    removal job is not done: that ends with 75 while it is pending, else with 3. Nor does anybody of
    whom a probe has found data since (3).
    """
    output, result = told.output(), CertificateResult(ledger=given.ledger)

    def work() -> CertificateResult:
        _must_be_writable(given)
        authority = stamp_of_head(output, given.ledger, signing.timestamp)
        signer = signing.key(output)
        try:
            issued = issue(given.ledger, _sought(given, output), signer, authority)
        except NotCertified as refused:
            _note_refusal(result, refused)
            return result
        _write(given, issued)
        _note(result, given, issued, signer)
        return result

    return conclude(output, result, work, _tell)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def _sought(given: CertificateOptions, output: Output) -> Sought:
    """Raises `UsageError` and `ConfigurationError`."""
    named = [given.key_file, given.line, given.reference]
    if sum(each is not None for each in named) != 1:
        raise UsageError("Name one person: with --key-file, --line or --reference.")
    if given.key_file is None:
        return Sought(line=given.line, reference=given.reference)
    kind, pepper_check = naming_in(given.ledger) or (RAW, None)
    return Sought(key=name_of_key_in(given.key_file, kind, pepper_check, output))


def _must_be_writable(given: CertificateOptions) -> None:
    """Nothing but an older certificate is ever overwritten. Raises `UsageError`."""
    named = {"--output": given.output, "--html": given.html}
    begins = {"--output": FIRST_LINE.encode(), "--html": PAGE_BEGINS.encode()}
    paths = {option: path for option, path in named.items() if path is not None}
    if not paths:
        raise UsageError("Say where the certificate is to be put: with --output, --html, or both.")
    if len({os.path.realpath(path) for path in paths.values()}) < len(paths):
        raise UsageError("--output and --html are the same file. Name another for one.")
    for option_, path in paths.items():
        folder = os.path.dirname(path) or "."
        if not path or not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{option_} cannot be written to {path!r}. Name another place.")
        if os.path.lexists(path) and not _begins(path, begins[option_]):
            raise UsageError(
                f"{path} already exists, and is no certificate that {option_} has written. Name "
                "another file."
            )


def _begins(path: str, mark: bytes) -> bool:
    try:
        if not os.path.isfile(path) or os.path.islink(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(mark)) in (mark, b"")
    except OSError:
        return False


# ── what it comes to ────────────────────────────────────────────────────────────────────────────


def _write(given: CertificateOptions, issued: Issued) -> None:
    """Raises `LedgerWriteError`. What is written was checked as anybody would check it."""
    checked = check(issued.proof)
    contents = {given.output: text_of(issued.proof), given.html: as_page(issued.proof, checked)}
    for path, content in contents.items():
        if path is None:
            continue
        try:
            write_whole(path, content.encode(), 0o600)
        except OSError as error:
            raise LedgerWriteError(
                f"The certificate {path} cannot be written: {error.strerror}. The ledger is in "
                "order. Name another place, and use the same command again."
            ) from None


def _note(
    result: CertificateResult, given: CertificateOptions, issued: Issued, signer: Signer | None
) -> None:
    result.certificate, result.html, result.line = given.output, given.html, issued.line
    result.head, result.root = issued.head, issued.root
    result.leaves, result.index = issued.proof.leaves, issued.proof.index
    result.new_root, result.timestamp = issued.is_new, issued.proof.stamp is not None
    result.verifier_key = signer.verifier_key if signer else None
    result.next = command_of("verify-certificate", given.output or given.html or "")


def _note_refusal(result: CertificateResult, refused: NotCertified) -> None:
    """75 while it may still become true, else 3."""
    state, result.line = refused.state, refused.line
    where = f"No certificate for the key on line {refused.line:,}"
    if refused.back is not None:
        back = refused.back
        result.error = (
            f"{where}: Elevate had data of this person again when it was asked on "
            f"{time_in_words(back.asked_at)} (export job {back.jid}, answered by "
            f"{time_in_words(back.answered_at)}). {ADVICE_IF_BACK}"
        )
    elif state is KeyState.ERASED:
        result.error = f"{where}: {SHARED_JOB}"
    else:
        meaning = STATE_MEANINGS[state.word]
        result.error = f"{where}, which is not erased ({meaning}). {ADVICE[state.word]}"
    is_open = state is KeyState.IN_PROGRESS
    result.outcome = "incomplete"
    result.exit_code = ExitCode.NOT_FINISHED if is_open else ExitCode.SOME_ROWS
    reason = "jid_of_several_keys" if state is KeyState.ERASED else state.word
    if refused.back is not None:
        reason = CAME_BACK
    result.attention = [Attention(reason, 1, [refused.line])]
    if is_open:
        result.next = command_of("follow", result.ledger or "")


def _tell(output: Output, result: CertificateResult) -> None:
    if result.error:
        output.error(printable(result.error))
        return
    for path in (result.certificate, result.html):
        if path:
            output.result(f"Certificate for the key on line {result.line:,}: {printable(path)}")
    keys = counted(result.leaves, "erased key")
    if result.new_root:
        output.say(f"The ledger has a new root, over {keys}. Its head: {result.head}")
        output.say("Keep the head where the ledger is not.")
    else:
        output.say(f"Root over {keys}; the ledger's head at it: {result.head}")
    if result.verifier_key:
        output.say(f"Signed. Publish the key for verifiers: {result.verifier_key}")
    else:
        output.say("Not signed: it counts as much as the head that it names can be confirmed.")

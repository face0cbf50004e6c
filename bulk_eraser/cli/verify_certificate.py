"""`bulk-eraser verify-certificate`: is a certificate what was issued? Needs no ledger."""

from dataclasses import dataclass
from typing import Any

import msgspec

from bulk_eraser.cli.options.bundles import Bundle, argument, command, option
from bulk_eraser.cli.options.secrets import name_of_key_in
from bulk_eraser.cli.options.shared import OutputOptions
from bulk_eraser.cli.terminal.ending import conclude
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import CertificateRefused, Result, UsageError
from bulk_eraser.evidence.certificate.check import Checked, check
from bulk_eraser.evidence.certificate.proof_file import proof_in
from bulk_eraser.evidence.certificate.signed_note import public_key_in
from bulk_eraser.evidence.timestamp import trusted_in
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS
from bulk_eraser.wording import counted, printable, stamped_before, target_in_words, time_in_words

__all__ = ["CheckedResult", "verify_certificate"]

MOST_BYTES = 1 << 20


@dataclass
class CheckedResult(Result):
    """What a certificate says, and what vouches for it. For one that is refused, all but its path
    is null or 0.

    `statement` has all but the customer key; `is_of_key` tells whether that is the one that was
    asked about.
    """

    certificate: str | None = None
    is_of_key: bool | None = None
    statement: dict[str, Any] | None = None
    head: str | None = None
    root: str | None = None
    leaves: int = 0
    index: int = 0
    signer: str | None = None
    signature: str | None = None
    stamp: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class VerifyCertificateOptions(Bundle):
    """What `verify-certificate` has and no other command."""

    heading = "What is expected"

    certificate: str = argument("FILE", "The certificate: a proof, or a page with one in it.")
    key_file: str | None = option(
        "FILE", "It must be about this customer key, alone in a file.", env=False
    )
    signed_by: str | None = option(
        "FILE", "It must be signed with this key (public Ed25519 key, PEM).", env=False
    )
    timestamp_ca: str | None = option(
        "FILE",
        "It must have a time stamp signed by the authorities whose certificates are in this PEM "
        "file.",
        env=False,
    )


@command(
    ("Is it what was issued, and what does it say?", "bulk-eraser verify-certificate T-1042.html"),
    (
        "And did they sign it?",
        "bulk-eraser verify-certificate 17.tlog-proof --signed-by example.com.pem",
    ),
)
def verify_certificate(given: VerifyCertificateOptions, told: OutputOptions) -> int:
    """Prove that a certificate is what was issued. Needs no ledger, sends nothing.

    Ends with 0, or with 79 if a single letter of the proof was changed, or if it is not signed or
    stamped by whom it must be.
    """
    output, result = told.output(), CheckedResult(certificate=given.certificate)

    def work() -> CheckedResult:
        key = public_key_in(given.signed_by) if given.signed_by is not None else None
        trusted = trusted_in(given.timestamp_ca) if given.timestamp_ca is not None else ()
        found = check(proof_in(_content(given.certificate)), key, trusted)
        said = found.statement
        if given.key_file is not None:
            if said.key != name_of_key_in(given.key_file, said.keys, None, output):
                raise CertificateRefused("The certificate is about another customer key.")
            result.is_of_key = True
        _note(result, found)
        return result

    return conclude(output, result, work, _tell)


def _content(path: str) -> bytes:
    """Raises `UsageError` for a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The certificate {path} cannot be read: {error.strerror}.") from None
    if len(content) > MOST_BYTES:
        raise CertificateRefused(f"{path} is too large to be a certificate of erasure.")
    return content


def _note(result: CheckedResult, found: Checked) -> None:
    said = msgspec.to_builtins(found.statement)
    result.statement = {name: said[name] for name in said if name not in ("key", "random")}
    result.head, result.root = found.head, found.root
    result.leaves, result.index, result.signer = found.leaves, found.index, found.signer
    if found.signer is not None:
        result.signature = "good" if found.is_signature_good else "unchecked"
    if found.stamp is not None:
        stamp = found.stamp
        result.stamp = {"state": stamp.state, "time": stamp.time, "why": stamp.why}


def _tell(output: Output, result: CheckedResult) -> None:
    said = result.statement or {}
    output.result(f"Line {said['line']:,}, {target_in_words(said['target'])}")
    for name in ("reference", "received"):
        if name in said:
            output.result(f"  {name} {printable(said[name])}")
    output.result(f"  {time_in_words(said['sent_at'])}: sent")
    jid = printable(said["jid"])
    output.result(f"  {time_in_words(said['accepted_at'])}: accepted, removal job {jid}")
    output.result(f"  {time_in_words(said['done_at'])}: erased, as the service reported by then")
    if probe := said.get("probe"):
        output.result(
            f"  {time_in_words(probe['asked_at'])}: asked whether anything is left, export job "
            f"{printable(probe['jid'])}"
        )
        when = time_in_words(probe["answered_at"])
        output.result(f"  {when}: nothing left, as the service had answered by then")
    output.result(f"Head of the ledger behind it: {result.head}")
    output.always(f"Verified: one of {counted(result.leaves, 'erased key')} under that head.")
    if result.is_of_key is None:
        a_key = "a pseudonym" if said["keys"] == PSEUDONYMS else "a customer key"
        output.say(
            f"It is about {a_key} that it names itself; --key-file says whether it is yours."
        )
    output.say(_signature(result))
    if result.stamp:
        time, why = result.stamp["time"], result.stamp["why"]
        when = f": the ledger {stamped_before(time)}" if time else ""
        output.say(f"Time stamp {result.stamp['state']}{when}{f' ({why})' if why else ''}.")


def _signature(result: CheckedResult) -> str:
    name = printable(result.signer or "")
    if result.signature == "good":
        return f"Signed by {name}."
    if result.signature == "unchecked":
        return (
            f"The signature in the name of {name} was not looked at: name its public key with "
            "--signed-by."
        )
    return (
        "Not signed: anybody could have made it, unless the head is known from elsewhere "
        "(`verify LEDGER --expect-head` says whether a ledger has it)."
    )

"""Time stamps (RFC 3161): an authority's signed word that a head existed at a time.

Stamped is the head itself: the 32 bytes that its 64 hexadecimal digits stand for are the request's
message imprint (SHA-256). So `openssl ts -verify -digest HEAD` checks a stamp without this program.
Nothing here asks anybody; that is in `stamping`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from bulk_eraser.errors import ConfigurationError, ExitCode, Result
from bulk_eraser.records import time_text

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import MessageImprint, TimeStampResponse, TimeStampTokenInfo
    from rfc3161_client.tsp import Accuracy

__all__ = [
    "NONCE_BYTES",
    "OF_ANOTHER",
    "NoAnswer",
    "NoStamp",
    "Stamp",
    "StampedResult",
    "State",
    "answer_to",
    "is_installed",
    "judge",
    "must_be_installed",
    "request_for",
    "trusted_in",
]

NONCE_BYTES = 8
_SHA256 = bytes.fromhex("0609608648016503040201")
_IMPRINT = re.compile(re.escape(_SHA256) + rb"(?:\x05\x00)?\x04\x20(.{32})", re.DOTALL)
"""A digest behind the name of its algorithm; a reply's first one is the message imprint."""
_GRANTED = 0
"""The only status that is taken: with 1, something else was granted than asked for."""
OF_ANOTHER = "no commit of these ledgers has the head that it stamps"
_OF_THE_OLD_ONE = "it is of the ledger from which this one was derived, as its first line says"
_INSTALL = "pip install 'bulk-eraser[timestamp]'"


class NoStamp(Exception):
    """There is no stamp; the text says why, as the end of a sentence."""


class NoAnswer(NoStamp):
    """The authority gave none in time, or nobody waited any longer: it is no use to ask it again
    for another head."""


class State(StrEnum):
    """`GOOD`: signed by who is trusted. `UNCHECKED`: that could not be looked at. `BAD`: it is not,
    or it is no stamp at all. `MISSING`: a receipt names it, and it was not found."""

    GOOD = "good"
    UNCHECKED = "unchecked"
    BAD = "bad"
    MISSING = "missing"


@dataclass(frozen=True)
class Stamp:
    """What a reply says. `head` is what was stamped; None if none can be made out. `time` (RFC
    3339) is the moment before which it existed: the authority's time and its accuracy. `why` says
    what makes it bad or unchecked."""

    state: State
    head: str | None
    time: str | None
    why: str | None


# ── asked ───────────────────────────────────────────────────────────────────────────────────────


def request_for(head: str, nonce: bytes) -> bytes:
    """A TimeStampReq in DER: version 1, SHA-256 and the head, the nonce, certificates wanted.

    `nonce` has `NONCE_BYTES`, the first of them from 1 to 127, so that it is a positive number in
    its shortest form.
    """
    algorithm = b"\x30\x0d" + _SHA256 + b"\x05\x00"
    imprint = b"\x30\x31" + algorithm + b"\x04\x20" + bytes.fromhex(head)
    return b"\x30\x43\x02\x01\x01" + imprint + b"\x02\x08" + nonce + b"\x01\x01\xff"


def answer_to(head: str, nonce: bytes, raw: bytes) -> Stamp:
    """The stamp in a reply to that request. Raises `NoStamp` for an answer to anything else.

    Who signed it is not looked at. A reply that cannot be read here, but by others, is a stamp if
    it holds head and nonce.
    """
    try:
        reply = _read(raw)
        is_asked_for = reply.head == head and reply.nonce == int.from_bytes(nonce)
    except _OutOfOrder:
        is_asked_for = _head_in(raw) == head and nonce in raw
    if not is_asked_for:
        raise NoStamp("its answer is about something else")
    return judge(raw)


def must_be_installed() -> None:
    """Raises `ConfigurationError` without the package that reads replies."""
    if not is_installed():
        raise ConfigurationError(
            f"A time stamp needs an extra package: {_INSTALL}. Nothing was sent."
        )


def is_installed() -> bool:
    """Can replies be read?"""
    try:
        import rfc3161_client  # noqa: F401 is it there?
    except ImportError:
        return False
    return True


# ── checked ─────────────────────────────────────────────────────────────────────────────────────


def trusted_in(path: str) -> "list[Certificate]":
    """The certificates in this PEM file. Raises `ConfigurationError`."""
    must_be_installed()
    from cryptography.x509 import load_pem_x509_certificates

    try:
        with open(path, "rb") as file:
            return load_pem_x509_certificates(file.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it contains no certificate (PEM)"
        raise ConfigurationError(
            f"The file {path} of --timestamp-ca cannot be used: {reason}. Use a PEM file with the "
            "certificates of the time stamp authority."
        ) from None


def judge(raw: bytes, trusted: "Sequence[Certificate]" = ()) -> Stamp:
    """Is this reply a stamp, and signed by one of `trusted`, or by whom they vouch for, at a time
    when their certificates were valid? Without any it is unchecked."""
    if not is_installed():
        return Stamp(State.UNCHECKED, _head_in(raw), None, f"that needs {_INSTALL}")
    try:
        reply = _read(raw)
    except _OutOfOrder:
        why = "its certificates are not in the order of DER"
        return Stamp(State.UNCHECKED, _head_in(raw), None, why)
    except NoStamp as none:
        return Stamp(State.BAD, None, None, str(none))
    if reply.head is None:
        return Stamp(State.BAD, None, reply.time, "what it stamps is no SHA-256 digest")
    if not trusted:
        return Stamp(State.UNCHECKED, reply.head, reply.time, "no trusted authority is named")
    if not reply.response.signed_data.certificates:
        return Stamp(State.UNCHECKED, reply.head, reply.time, "it holds no certificate")
    if not _is_signed(reply.response, reply.head, trusted):
        why = "its signature is not that of a trusted authority, valid at that time"
        return Stamp(State.BAD, reply.head, reply.time, why)
    return Stamp(State.GOOD, reply.head, reply.time, None)


# ── stamps of ledgers ───────────────────────────────────────────────────────────────────────────


@dataclass
class StampedResult(Result):
    """What stamps say of `ledgers`. They are in `timestamps`; `expect_stamps` if they must be
    good."""

    ledgers: list[dict[str, Any]] = field(default_factory=list)
    timestamps: list[dict[str, Any]] = field(default_factory=list)
    expect_stamps: bool = False

    @property
    def not_good_stamps(self) -> int:
        """How many stamps are bad or missing, or only unchecked where they must be good."""
        unchecked = (State.UNCHECKED,) if self.expect_stamps else ()
        wrong = (State.BAD, State.MISSING, *unchecked)
        return sum(stamp["state"] in wrong for stamp in self.timestamps)

    @property
    def unstamped(self) -> int:
        """How many ledgers have no stamp, where they must have one."""
        stamped = {it["ledger"] for it in self.timestamps if it["state"] is not State.MISSING}
        return self.expect_stamps * sum(it["ledger"] not in stamped for it in self.ledgers)

    def note_stamp(self, path: str, stamp: Stamp, place: Mapping[str, Any] | None) -> None:
        """What a stamp says; `place` is where the ledgers have its head."""
        state, why = stamp.state, stamp.why
        if state is not State.BAD and stamp.head is not None and place is None:
            state, why = State.BAD, OF_ANOTHER
        elif state is State.GOOD and place and place["commit"] is None:  # anybody could write that
            state, why, place = State.UNCHECKED, _OF_THE_OLD_ONE, None
        of = {name: place and place[name] for name in ("ledger", "commit", "commits_after")}
        said = {"state": state, "time": stamp.time, "why": why}
        self.timestamps.append({"stamp": path, **of, "head": stamp.head, **said})

    def settle_stamps(self, receipts: Sequence[Mapping[str, Any]]) -> None:
        """3 for stamps that are not as they must be, if nothing worse was found. Each of `receipts`
        has `receipt`, `head` and `timestamp`, the name of the head's stamp or None."""
        for receipt in receipts:
            self._look_for(receipt["timestamp"], receipt["head"], receipt["receipt"])
        if self.exit_code == ExitCode.COMPLETE and (self.not_good_stamps or self.unstamped):
            self.outcome, self.exit_code = "incomplete", ExitCode.SOME_ROWS

    def _look_for(self, name: str | None, head: str, receipt: str) -> None:
        """A stamp may have been renamed; one that cannot be read is known by its name."""
        found = [(os.path.basename(it["stamp"]), it["head"]) for it in self.timestamps]
        if name is None or any(name == its_name or head == its for its_name, its in found):
            return
        of = dict.fromkeys(("ledger", "commit", "commits_after"))
        why = f"the receipt {receipt} names it. Put it beside the ledger, or name it with --stamp"
        said = {"state": State.MISSING, "time": None, "why": why}
        self.timestamps.append({"stamp": name, **of, "head": head, **said})


# ── a reply ─────────────────────────────────────────────────────────────────────────────────────


class _OutOfOrder(Exception):
    """DER sorts the certificates of a reply. Some authorities do not; openssl does not mind."""


@dataclass(frozen=True)
class _Reply:
    nonce: int | None
    head: str | None
    time: str
    response: "TimeStampResponse"


def _read(raw: bytes) -> _Reply:
    """Raises `NoStamp`, or `_OutOfOrder` for a reply that only this reader refuses."""
    from rfc3161_client import decode_timestamp_response

    try:
        response = decode_timestamp_response(raw)
        if response.status != _GRANTED:
            raise NoStamp(f"the authority refused (status {response.status})")
        info = response.tst_info
        return _Reply(info.nonce, _head_of(info.message_imprint), _time_of(info), response)
    except (ValueError, OverflowError) as error:
        if "InvalidSetOrdering" in str(error):
            raise _OutOfOrder from None
        raise NoStamp("it is not a reply of a time stamp authority") from None


def _head_of(imprint: "MessageImprint") -> str | None:
    is_sha256 = imprint.hash_algorithm.dotted_string == "2.16.840.1.101.3.4.2.1"
    return imprint.message.hex() if is_sha256 and len(imprint.message) == 32 else None


def _head_in(raw: bytes) -> str | None:
    """The same of a reply that cannot be read."""
    found = _IMPRINT.search(raw)
    return found[1].hex() if found else None


def _time_of(info: "TimeStampTokenInfo") -> str:
    within = timedelta()
    if accuracy := cast("Accuracy | None", info.accuracy):
        within = timedelta(
            seconds=accuracy.seconds or 0,
            milliseconds=accuracy.millis or 0,
            microseconds=accuracy.micros or 0,
        )
    return time_text((info.gen_time + within).timestamp())


def _is_signed(response: "TimeStampResponse", head: str, trusted: "Sequence[Certificate]") -> bool:
    from rfc3161_client import VerificationError, VerifierBuilder

    try:
        verifier = VerifierBuilder(roots=list(trusted)).build()
        return verifier.verify(response, bytes.fromhex(head))
    except (VerificationError, ValueError):
        return False

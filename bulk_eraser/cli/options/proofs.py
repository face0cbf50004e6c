"""Receipt and time stamp: what a command leaves of a head when the ledger is closed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulk_eraser.cli.options.bundles import Bundle, option
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import ExitCode, UsageError
from bulk_eraser.evidence.receipt import put_receipt
from bulk_eraser.evidence.stamping import (
    MOST_BYTES,
    Authority,
    authority_url,
    keep_stamp,
    stamp_path,
    stamps_beside,
)
from bulk_eraser.evidence.timestamp import (
    NoAnswer,
    NoStamp,
    Stamp,
    State,
    judge,
    must_be_installed,
    trusted_in,
)
from bulk_eraser.records import RunStarted
from bulk_eraser.sending.request import FollowResult, ProbeResult, RunResult
from bulk_eraser.wording import printable, stamped_before

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from bulk_eraser.cli.options.service import ServiceOptions
    from bulk_eraser.evidence.verify_request import VerifyResult

__all__ = ["KeptStampsOptions", "Proofs", "StampOptions", "StampsOptions", "stamp_of_head"]


Written = RunResult | FollowResult | ProbeResult
"""Results of commands that write a ledger."""


@dataclass(frozen=True)
class Proofs:
    """Where a receipt is put, and who stamps the head; None for neither.

    `silent` has the hosts that gave no answer; they are not waited for once more.
    """

    receipt: str | None
    authority: Authority | None
    silent: set[str] = field(default_factory=set)

    def leave(
        self,
        output: Output,
        started: RunStarted | None,
        result: Written,
    ) -> None:
        """Of a run or follow that began and has ended. Without a stamp it ends as it does.

        The receipt is there before anybody is asked, which takes its time, and is written again
        with the stamp's name.
        """
        if started is None:
            return
        if self.receipt is not None:
            put_receipt(self.receipt, started, result)
        if self.authority is None or result.head is None or result.outcome == "error":
            return
        ledger = result.ledger or ""
        if result.outcome == "interrupted":  # whoever stops a command does not wait for others
            output.warn("no time stamp was asked for, because the command was stopped.")
        elif (host := self.authority.url.host or "") in self.silent:
            output.warn(f"no time stamp from {printable(host)}: it was not asked once more.")
        elif _is_stamped(output, ledger, result.head, self.authority, self.silent):
            result.timestamp = stamp_path(ledger, result.head)
            if self.receipt is not None:
                put_receipt(self.receipt, started, result)


@dataclass(frozen=True, kw_only=True)
class StampOptions(Bundle):
    """Who stamps the head of what is written."""

    heading = "Time stamp"

    timestamp: str | None = option(
        "URL",
        "At the end, have the ledger's head stamped by this authority (RFC 3161, https). The stamp "
        "is kept beside the ledger. Only the head is sent.",
    )

    def proofs(self, receipt: str | None, service: "ServiceOptions") -> Proofs:
        """Raises `UsageError` and `ConfigurationError` for what cannot be used."""
        if self.timestamp is None:
            return Proofs(receipt, None)
        url = authority_url(self.timestamp)
        must_be_installed()
        return Proofs(receipt, Authority(url, service.route_to_authority(url)))


@dataclass(frozen=True, kw_only=True)
class KeptStampsOptions(Bundle):
    """Which stamps are looked at."""

    heading = "Time stamps"

    stamp: tuple[str, ...] = option(
        "FILE",
        "A time stamp that was kept elsewhere; those beside the ledger are found. Can be repeated.",
        multiple=True,
        env=False,
    )
    timestamp_ca: str | None = option(
        "FILE",
        "Expect a time stamp of each ledger, and all of them signed by the authorities whose "
        "certificates are in this PEM file. `verify` ends with 3 otherwise.",
        env=False,
    )

    def stamps(self, ledgers: Sequence[str]) -> dict[str, Stamp]:
        """File → what it says. Raises `UsageError` for one that cannot be read, and
        `ConfigurationError` if --timestamp-ca cannot be used."""
        trusted = self._trusted()
        beside = [path for ledger in ledgers for path in stamps_beside(ledger)]
        paths = {os.path.realpath(path): path for path in (*beside, *self.stamp)}
        return {path: _judged(path, trusted) for path in paths.values()}

    def _trusted(self) -> "Sequence[Certificate]":
        return trusted_in(self.timestamp_ca) if self.timestamp_ca else ()


@dataclass(frozen=True, kw_only=True)
class StampsOptions(KeptStampsOptions):
    """And who stamps the head that was verified."""

    timestamp: str | None = option(
        "URL",
        "Have the head that was verified stamped by this authority (RFC 3161, https). Only the "
        "head is sent.",
        env=False,
    )

    def authority(self) -> Authority | None:
        """Raises `UsageError` and `ConfigurationError` for what cannot be used."""
        return _authority_at(self.timestamp)

    def stamp_heads(
        self, output: Output, authority: Authority | None, verified: "VerifyResult"
    ) -> None:
        """Have the heads stamped, unless they were found to be wrong, and settle the result."""
        if authority is not None and verified.exit_code == ExitCode.LEDGER_DAMAGED:
            output.warn("no time stamp was asked for, because the ledger is not what was written.")
        elif authority is not None:
            for it in verified.ledgers:
                if it["commits"] and _is_stamped(output, it["ledger"], it["head"], authority):
                    path = stamp_path(it["ledger"], it["head"])
                    place = {"ledger": it["ledger"], "commit": it["commits"], "commits_after": 0}
                    verified.note_stamp(path, _judged(path, self._trusted()), place)
        verified.settle_stamps(verified.receipts)


def stamp_of_head(
    output: Output, ledger: str, authority: str | None
) -> Callable[[str], bytes | None]:
    """A function from a head to its stamp beside the ledger, which is asked for if there is none
    and an address of an authority is given; None without a stamp.

    Raises `UsageError` and `ConfigurationError` for an address that cannot be used.
    """
    asked = _authority_at(authority)

    def stamp_of(head: str) -> bytes | None:
        path = stamp_path(ledger, head)
        if asked is not None and not os.path.lexists(path):
            _is_stamped(output, ledger, head, asked)
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            raw = file.read(MOST_BYTES)
        stamp = judge(raw)
        if stamp.state is State.BAD or stamp.head != head:
            output.warn(f"{printable(path)} is not a time stamp of this head; it is left out.")
            return None
        return raw

    return stamp_of


def _authority_at(address: str | None) -> Authority | None:
    """Raises `UsageError` and `ConfigurationError` for what cannot be used."""
    if address is None:
        return None
    from bulk_eraser.elevate.route import Route  # with it comes TLS, which takes its time

    url = authority_url(address)
    must_be_installed()
    return Authority(url, Route())


def _judged(path: str, trusted: "Sequence[Certificate]") -> Stamp:
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a FIFO would be waited for
            raise UsageError(f"The time stamp {path} is not a file.")
        with open(path, "rb") as file:
            return judge(file.read(MOST_BYTES + 1), trusted)
    except OSError as error:
        raise UsageError(f"The time stamp {path} cannot be read: {error.strerror}.") from None


def _is_stamped(
    output: Output,
    ledger: str,
    head: str,
    authority: Authority,
    silent: set[str] | None = None,
) -> bool:
    """Ask for a stamp, and tell what came of it; who gives no answer is added to `silent`. Raises
    nothing: all else is done already."""
    who = printable(authority.url.host or "")
    try:
        stamp = keep_stamp(ledger, head, authority)
    except Exception as error:  # a bug as well
        why = str(error) if isinstance(error, NoStamp) else f"a bug ({type(error).__name__})"
        output.warn(
            f"no time stamp from {who}: {printable(why)}. To ask again, use `verify` with "
            "--timestamp."
        )
        if isinstance(error, NoAnswer) and silent is not None:
            silent.add(authority.url.host or "")
        return False
    before = stamped_before(stamp.time) if stamp.time else f"unchecked: {stamp.why}"
    output.say(f"Time stamp from {who}, kept in {printable(stamp_path(ledger, head))}: {before}")
    return True

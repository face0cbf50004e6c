"""One tree of errors; each class carries the exit code with which the process ends.

    BulkEraserError            70  internal error
    ├── UsageError              2  wrong options, consent missing, a hold list was forgotten
    ├── InputError             65  input unusable, without a key, or changed on the way
    ├── ServiceDown            69  no good answer for too long
    ├── TooManyFailures        69  more failures than --max-failures
    ├── LedgerWriteError       74  the ledger cannot be created or written
    ├── TemporaryFolderFull    74  nor the temporary folder
    ├── OutputWriteError       74  nor the folder for the results of an export
    ├── LedgerBusy             75  another process writes this ledger
    ├── EngineLost             75  what runs the shards is gone
    ├── ContractBroken         76  the service breaks the contract for every key
    ├── CredentialsRefused     77  401, 403
    ├── ConfigurationError     78  no API key, plain http to a remote host, too little memory
    ├── LedgerDamaged          79  the ledger fails verification
    ├── CertificateRefused     79  a certificate is not what was issued
    └── Interrupted        130/143  a signal

Every message is one or two sentences that say what to do next, and holds neither the API key nor
a customer key. Codes follow sysexits where it has one.
"""

import errno
import os
import signal
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "Attention",
    "BulkEraserError",
    "CertificateRefused",
    "ConfigurationError",
    "ContractBroken",
    "CredentialsRefused",
    "EngineLost",
    "ExitCode",
    "InputError",
    "Interrupted",
    "LedgerBusy",
    "LedgerDamaged",
    "LedgerWriteError",
    "OutputWriteError",
    "Result",
    "ServiceDown",
    "TemporaryFolderFull",
    "TooManyFailures",
    "UsageError",
    "internal_error",
    "lines_of",
    "must_be_damage",
    "no_temporary_room",
    "severest",
]

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "Error -4 ")
"""What expat, Zstandard and zlib say of it."""


class ExitCode(IntEnum):
    """How the process ends; the README explains each one."""

    COMPLETE = 0
    USAGE = 2
    SOME_ROWS = 3
    INPUT = 65
    SERVICE_DOWN = 69
    INTERNAL = 70
    LEDGER_WRITE = 74
    NOT_FINISHED = 75
    CONTRACT_BROKEN = 76
    CREDENTIALS = 77
    CONFIGURATION = 78
    LEDGER_DAMAGED = 79
    SIGINT = 130
    SIGTERM = 143


_SEVEREST = (
    ExitCode.LEDGER_DAMAGED,
    ExitCode.INTERNAL,
    ExitCode.LEDGER_WRITE,
    ExitCode.CREDENTIALS,
    ExitCode.CONTRACT_BROKEN,
    ExitCode.CONFIGURATION,
    ExitCode.INPUT,
    ExitCode.USAGE,
    ExitCode.SERVICE_DOWN,
    ExitCode.SIGINT,
    ExitCode.SIGTERM,
    ExitCode.NOT_FINISHED,
    ExitCode.SOME_ROWS,
    ExitCode.COMPLETE,
)
"""What needs a person comes before what the same command mends by itself later."""


def severest(codes: Iterable[int]) -> ExitCode:
    """The code with which a command ends whose parts end with these; COMPLETE for none."""
    return min(map(ExitCode, codes), key=_SEVEREST.index, default=ExitCode.COMPLETE)


class BulkEraserError(Exception):
    """Root of the tree; raised itself only for an internal error."""

    exit_code: ExitCode = ExitCode.INTERNAL


class UsageError(BulkEraserError):
    """The command was not given what it needs; nothing was sent."""

    exit_code = ExitCode.USAGE


class InputError(BulkEraserError):
    """The input cannot be used, or is no longer what was surveyed."""

    exit_code = ExitCode.INPUT


class ServiceDown(BulkEraserError):
    """No good answer for `--max-outage`: nothing is said of any key."""

    exit_code = ExitCode.SERVICE_DOWN


class TooManyFailures(BulkEraserError):
    """More failures than `--max-failures`: the keys may be the matter as well as the service."""

    exit_code = ExitCode.SERVICE_DOWN


class LedgerWriteError(BulkEraserError):
    """The ledger could not be created or written.

    A type of its own, because an `OSError` from the disk and one from the network look alike.
    """

    exit_code = ExitCode.LEDGER_WRITE


class TemporaryFolderFull(BulkEraserError):
    """What does not fit into memory cannot be put aside."""

    exit_code = ExitCode.LEDGER_WRITE


class OutputWriteError(BulkEraserError):
    """The folder for the results of an export cannot be written, or is full."""

    exit_code = ExitCode.LEDGER_WRITE


class LedgerBusy(BulkEraserError):
    """Another process holds the ledger's lock."""

    exit_code = ExitCode.NOT_FINISHED


class EngineLost(BulkEraserError):
    """The scheduler of the shards, or every worker, is gone; the ledgers are in order."""

    exit_code = ExitCode.NOT_FINISHED


class ContractBroken(BulkEraserError):
    """Redirects, HTML, or a version that is gone: a fact about the service, not about a key."""

    exit_code = ExitCode.CONTRACT_BROKEN


class CredentialsRefused(BulkEraserError):
    """401 or 403: the API key does not open this cluster."""

    exit_code = ExitCode.CREDENTIALS


class ConfigurationError(BulkEraserError):
    """Target, API key or certificate cannot be used as they are."""

    exit_code = ExitCode.CONFIGURATION


class LedgerDamaged(BulkEraserError):
    """A break in the ledger with valid commits behind it; nothing was written."""

    exit_code = ExitCode.LEDGER_DAMAGED


class CertificateRefused(BulkEraserError):
    """A certificate is not what was issued, or not signed or stamped by whom it must be."""

    exit_code = ExitCode.LEDGER_DAMAGED


class Interrupted(BulkEraserError):
    """A signal asked the run to end: 130 for SIGINT, 143 for SIGTERM and SIGHUP."""

    def __init__(self, signum: int, told: str = "") -> None:
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        super().__init__(told or f"Stopped ({name}). What was done is recorded.")
        self.signum = signum
        self.exit_code = ExitCode.SIGINT if signum == signal.SIGINT else ExitCode.SIGTERM


def lines_of(lines: list[int], count: int) -> str:
    """`line 2`, `lines 2, 3 and 7`; `lines 2, 3, 7, …` if these are the first of `count`."""
    *first, last = [f"{line:,}" for line in lines]
    if count > len(lines):
        return f"lines {', '.join([*first, last])}, …"
    return f"lines {', '.join(first)} and {last}" if first else f"line {last}"


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at: a word for it, how often, and the first lines of the
    input where it is."""

    reason: str
    count: int
    lines: list[int] = field(default_factory=list)


@dataclass
class Result:
    """How a command ended, which each one adds to: the object that `--json` prints.

    `outcome` is `complete`, `incomplete`, `stopped`, `interrupted`, `refused` or `error`. `next` is
    the command that does something about it, as a list of arguments; None if there is none.
    """

    outcome: str = "complete"
    exit_code: int = ExitCode.COMPLETE
    error: str | None = None
    next: list[str] | None = None
    attention: list[Attention] = field(default_factory=list)

    def fail(self, error: BulkEraserError, *, begun: bool = False) -> None:
        """It ended with an error; `begun` if something may have been sent or written before."""
        self.exit_code, self.error = error.exit_code, str(error)
        if isinstance(error, Interrupted):
            self.outcome = "interrupted"
            self.error = str(error) if begun else "Cancelled. Nothing was sent."
        elif error.exit_code in (ExitCode.INTERNAL, ExitCode.LEDGER_WRITE):
            self.outcome = "error"
        else:
            self.outcome = "stopped" if begun else "refused"


def no_temporary_room(error: OSError) -> TemporaryFolderFull:
    """The error for a full temporary folder."""
    reason = os.strerror(error.errno) if error.errno else "input/output error"
    return TemporaryFolderFull(
        f"The temporary folder {tempfile.gettempdir()} cannot be written: {reason}. Nothing "
        "was sent. Free some space there, or name another folder with TMPDIR."
    )


def must_be_damage(error: Exception) -> None:
    """Raise `MemoryError` if a library's error for damaged data says that memory ran out."""
    if any(words in str(error) for words in _OUT_OF_MEMORY):
        raise MemoryError from None


def _is_want_of_room(bug: BaseException) -> bool:
    if isinstance(bug, OSError):
        return bug.errno in (errno.EMFILE, errno.ENFILE)
    return isinstance(bug, RuntimeError) and str(bug) == "can't start new thread"


def internal_error(bug: BaseException) -> BulkEraserError:
    """What to tell of a bug: its kind and place, not its text, which may hold a customer key.

    Too little memory, or no room for a file or a thread, is no bug, but what this computer lacks,
    or was told to keep back.
    """
    if isinstance(bug, MemoryError):
        return ConfigurationError(
            "There is too little memory, or a limit on it is too low (ulimit -v). The ledger is in "
            "order; free some memory or raise the limit, and run the same command again."
        )
    if _is_want_of_room(bug):
        return ConfigurationError(
            "This computer lets the program open no more files, or start no more threads. Raise "
            "the limit (ulimit -n, ulimit -u), then run the same command again."
        )
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
    return BulkEraserError(
        f"Internal error: {type(bug).__name__}{place}. The ledger is in order; run the same "
        "command again, and please report this line."
    )

"""Where results go: those of exports into their folder, those of probes nowhere.

What `downloading` asks of both is the same; what they make of a result is here.
"""

import tempfile
from typing import Protocol, TypeVar

from bulk_eraser.elevate.archive import Listed, is_empty_export
from bulk_eraser.elevate.blackout import printable_detail
from bulk_eraser.errors import BulkEraserError, no_temporary_room
from bulk_eraser.ledger.probes import CAME_BACK, LOST, NOTHING_LEFT
from bulk_eraser.records import Download, Downloaded, Lost, ProbeAnswered, ProbeFile, Record
from bulk_eraser.sending.given_jids import GivenJids
from bulk_eraser.sending.incoming import Incoming
from bulk_eraser.sending.result_folder import Kept, Result, ResultFolder
from bulk_eraser.sending.work import Call

__all__ = ["Destination", "ExportFolder", "ProbeAnswers"]

MOST_OF_A_PROBE = 100_000_000
"""Bytes that are read of a result that is thrown away."""
MOST_FILES = 20
MOST_OF_A_NAME = 100


Came = TypeVar("Came", bound=Incoming)


class Destination(Protocol[Came]):
    """What is done with results. All of it may touch the disk, and raise `OutputWriteError` or
    `TemporaryFolderFull`."""

    def found(self, call: Call) -> Record | None:
        """The line about a result that is there already; None if it is to be asked for."""

    def announced(self, call: Call) -> Record | None:
        """What the ledger is to know before the request leaves."""

    async def have_room(self) -> None:
        """Return when there is room for one more, right before it is asked for."""

    def new(self, call: Call) -> Came:
        """For one download."""

    def refuses(self, incoming: Came, files: list[Listed]) -> str:
        """The word for why what came whole is not the result; empty if it is."""

    def arrived(self, call: Call, incoming: Came, files: list[Listed]) -> Record:
        """Do with it what is to be done; returns the line about it. Called in a thread."""

    def lost(self, call: Call, error: str) -> Record:
        """The line about a result that cannot be had any more."""

    def write_error(self, error: OSError) -> BulkEraserError:
        """What to tell where the disk took no more."""


class ExportFolder:
    """Results of exports, each into its file; `number` is how many at the most. Close it when done.

    Raises `TemporaryFolderFull`.
    """

    def __init__(self, folder: ResultFolder, number: int) -> None:
        self._folder = folder
        self._contents = GivenJids(number)

    def close(self) -> None:
        self._contents.close()

    def found(self, call: Call) -> Record | None:
        kept = self._folder.found(call.fields["line"], call.key)
        return _downloaded(call, kept) if kept else None

    def announced(self, call: Call) -> Record | None:
        return Download(**call.fields, attempt=call.announced)

    async def have_room(self) -> None:
        await self._folder.have_room()

    def new(self, call: Call) -> Result:
        return self._folder.new(call.fields["line"], call.key)

    def refuses(self, incoming: Result, files: list[Listed]) -> str:
        # Two people's data are not alike to the last byte: a cache on the way would hand out the
        # first one's for all.
        is_anybodys = is_empty_export(files) or self._contents.is_new(incoming.sha256)
        return "" if is_anybodys else "same_result"

    def arrived(self, call: Call, incoming: Result, files: list[Listed]) -> Record:
        return _downloaded(call, incoming.keep(is_empty=is_empty_export(files)))

    def lost(self, call: Call, error: str) -> Record:
        return Lost(**call.fields, error=error)

    def write_error(self, error: OSError) -> BulkEraserError:
        return self._folder.write_error(error)


class ProbeAnswers:
    """Results of probes: their lists are looked at, and they are thrown away."""

    def found(self, call: Call) -> Record | None:  # noqa: ARG002 as `Destination` has it
        return None

    def announced(self, call: Call) -> Record | None:  # noqa: ARG002 as `Destination` has it
        return None

    async def have_room(self) -> None:
        """A result whose room is missing is thrown away unseen: lost, and probed again."""

    def new(self, call: Call) -> Incoming:  # noqa: ARG002 as `Destination` has it
        try:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 closed by the context
        except OSError as error:
            raise no_temporary_room(error) from None
        return Incoming(file, MOST_OF_A_PROBE)

    def refuses(self, incoming: Incoming, files: list[Listed]) -> str:  # noqa: ARG002 as `Destination` has it
        return ""

    def arrived(self, call: Call, incoming: Incoming, files: list[Listed]) -> Record:  # noqa: ARG002 as `Destination` has it
        if is_empty_export(files):
            return ProbeAnswered(**call.fields, answer=NOTHING_LEFT, error=None, files=[])
        key = call.fields["key"]
        told = [
            ProbeFile(
                name=(printable_detail(it.name.encode(), key) or "")[:MOST_OF_A_NAME],
                size=it.size,
            )
            for it in files[:MOST_FILES]
        ]
        return ProbeAnswered(**call.fields, answer=CAME_BACK, error=None, files=told)

    def lost(self, call: Call, error: str) -> Record:
        return ProbeAnswered(**call.fields, answer=LOST, error=error, files=[])

    def write_error(self, error: OSError) -> BulkEraserError:
        return no_temporary_room(error)


def _downloaded(call: Call, kept: Kept) -> Downloaded:
    return Downloaded(
        **call.fields,
        file=kept.file,
        bytes=kept.size,
        sha256=kept.sha256,
        is_empty=kept.is_empty,
    )

"""The folder that the results of exports are put into: each of them whole and on disk, or not.

    download ─► JID.part ─► listed ─► synced (or encrypted and synced) ─► renamed ─► synced

What each gap leaves behind, and what the next `follow` makes of it:

| the process or the machine stops … | on disk | the next follow |
| --- | --- | --- |
| after the `download` line, before the request leaves | nothing | downloads it |
| while the result comes, or before it is renamed | a `.part` file | downloads it, over that file; if the service has it no more, it is `lost` and the file is removed |
| after it was renamed, before its `downloaded` line is committed | the result | records it as `downloaded`, without a request |
| after that commit | the result | it is settled |

Nothing is unpacked, and no name in an archive is used. The folder is the owner's alone (0700), and
so is every file (0600); their names hold no customer key.
"""

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

from bulk_eraser.errors import ConfigurationError, OutputWriteError
from bulk_eraser.sending.encryption import Recipient
from bulk_eraser.sending.incoming import Incoming

__all__ = ["Kept", "Result", "ResultFolder"]

BLOCK = 1 << 20
_SAFE_JID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Kept(NamedTuple):
    """A result in its file; `sha256` and `size` (bytes) are those of the file."""

    file: str
    size: int
    sha256: str
    is_empty: bool


class ResultFolder:
    """Makes the folder, if need be. `most` is how many bytes a result may have.

    Raises `OutputWriteError` where it cannot be written, `ConfigurationError` where others can read
    it.
    """

    def __init__(self, path: str, most: int, recipient: Recipient | None) -> None:
        self.path = path
        self.most = most
        self.recipient = recipient
        self.coming: set[Result] = set()
        """Those that are on their way, each of which may still become the largest."""
        self.one_left = asyncio.Event()
        try:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
                _sync(os.path.dirname(os.path.abspath(path)))  # or a power cut takes it along
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            mode = os.fstat(self._fd).st_mode
        except OSError as error:
            raise self.write_error(error) from None
        if stat.S_IMODE(mode) & 0o077:
            os.close(self._fd)
            raise ConfigurationError(
                f"The folder {path} can be read by others, and is to hold people's data. Name a "
                "new one, or chmod 700 it."
            )

    def close(self) -> None:
        os.close(self._fd)

    async def have_room(self) -> None:
        """Before a result is asked for, which is gone at the service once it was downloaded: wait
        until one of the largest fits beside those that are `coming`.

        Raises `OutputWriteError` where it would not fit alone.
        """
        while not self._has_room():
            if self.coming:
                self.one_left.clear()
                await self.one_left.wait()
                continue
            raise OutputWriteError(
                f"The folder {self.path} has too little room for a result of "
                f"{self.most:,} bytes (--max-result-bytes). No further result was asked for. Free "
                "some space, then run the same command again."
            )

    def _has_room(self) -> bool:
        room = os.fstatvfs(self._fd)
        # What is encrypted lies there twice for a moment.
        of_one = self.most if self.recipient is None else 2 * self.most
        still_to_come = sum(max(0, of_one - it.size) for it in self.coming)
        return room.f_bavail * room.f_frsize >= still_to_come + of_one

    def found(self, line: int, jid: str) -> Kept | None:
        """What an earlier follow put there. Raises `OutputWriteError` if it cannot be read."""
        for name, is_empty in _names_of(line, jid):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self.write_error(error, "read") from None
            with os.fdopen(fd, "rb") as file:
                digest = sha256()
                while block := file.read(BLOCK):
                    digest.update(block)
                return Kept(name, file.tell(), digest.hexdigest(), is_empty)
        return None

    def forget(self, jid: str) -> None:
        """Remove what an interrupted download left of a result that cannot be had any more."""
        with suppress(OSError):
            os.unlink(self.part_of(jid), dir_fd=self._fd)

    def new(self, line: int, jid: str) -> "Result":
        """For one download. Raises `OutputWriteError`."""
        return Result(self, self._fd, line, jid)

    def name_of(self, line: int, jid: str, *, is_empty: bool) -> str:
        return _name_of(line, jid, is_empty=is_empty, is_encrypted=self.recipient is not None)

    def part_of(self, jid: str) -> str:
        return f"{_safe(jid)}.part"

    def write_error(self, error: OSError, what: str = "written") -> OutputWriteError:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return OutputWriteError(
            f"The folder {self.path} cannot be {what}: {reason}. Repair that, then run the same "
            "command again."
        )


def _sync(folder: str) -> None:
    """Have the names in it on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _name_of(line: int, jid: str, *, is_empty: bool, is_encrypted: bool) -> str:
    empty, packed = ".empty" if is_empty else "", ".age" if is_encrypted else ""
    return f"{line}-{_safe(jid)}{empty}.zip{packed}"


def _names_of(line: int, jid: str) -> Iterator[tuple[str, bool]]:
    """What its file may be called, whatever was asked for then, and whether that says empty."""
    for is_empty in (False, True):
        for is_encrypted in (False, True):
            yield _name_of(line, jid, is_empty=is_empty, is_encrypted=is_encrypted), is_empty


def _safe(jid: str) -> str:
    """A jid is whatever the service says; a strange one is no part of a path."""
    return jid if _SAFE_JID.fullmatch(jid) else sha256(jid.encode()).hexdigest()


class Result(Incoming):
    """One download on its way to its file; a context manager that leaves no part of it."""

    def __init__(self, folder: ResultFolder, folder_fd: int, line: int, jid: str) -> None:
        self._folder = folder
        self._folder_fd = folder_fd
        self._line = line
        self._jid = jid
        self._part = folder.part_of(jid)
        try:
            file = os.fdopen(self._open_part(), "w+b", buffering=0)
            if folder.recipient:  # unencrypted, it has no name: nothing is left of it after a kill
                os.unlink(self._part, dir_fd=folder_fd)
        except OSError as error:
            raise folder.write_error(error) from None
        super().__init__(file, folder.most)
        folder.coming.add(self)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with suppress(OSError):
            os.unlink(self._part, dir_fd=self._folder_fd)
        self._folder.coming.discard(self)
        self._folder.one_left.set()

    def keep(self, *, is_empty: bool) -> Kept:
        """Have it on disk under its name; it is there when this returns.

        Raises `OutputWriteError`.
        """
        name = self._folder.name_of(self._line, self._jid, is_empty=is_empty)
        try:
            if self._folder.recipient is not None:
                kept = self._encrypted(name, is_empty, self._folder.recipient)
            else:
                os.fsync(self.file.fileno())
                kept = Kept(name, self.size, self.sha256, is_empty)
            os.rename(self._part, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
            os.fsync(self._folder_fd)
        except OSError as error:
            raise self._folder.write_error(error) from None
        return kept

    def _encrypted(self, name: str, is_empty: bool, recipient: Recipient) -> Kept:
        self.file.seek(0)
        with os.fdopen(self._open_part(), "w+b", buffering=0) as file:
            recipient.encrypt(self.file, file)
            os.fsync(file.fileno())
            file.seek(0)
            digest = sha256()
            while block := file.read(BLOCK):
                digest.update(block)
            return Kept(name, file.tell(), digest.hexdigest(), is_empty)

    def _open_part(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._part, flags, 0o600, dir_fd=self._folder_fd)
        os.fchmod(fd, 0o600)
        return fd

"""What the service has of its customers, and the results of export jobs: each is there once.

Every key has data, unless the fault `no_data` says otherwise, until a removal job of it is done. Of
removal jobs a digest of the key is kept, of export jobs the key: a simulator that was restarted
does not know them, and what was downloaded is there again.
"""

import io
import zipfile
from hashlib import blake2b

from bulk_eraser.simulator.faults import FaultRates
from bulk_eraser.simulator.jobs import Jobs

__all__ = ["Exports"]

_MADE_AT = (2024, 4, 30, 12, 0, 0)
"""One time for all, so that the same data makes the same archive."""


class Exports:
    """Knows who is removed since when, and hands out results."""

    def __init__(self, jobs: Jobs, rates: FaultRates) -> None:
        self._jobs = jobs
        self._rates = rates
        self._removed_at: dict[bytes, float] = {}
        self._key_of: dict[str, str] = {}
        self._last = b""

    def note_removal(self, jid: str, customer_key: str) -> None:
        """A removal job was created: when it is done, the data is gone."""
        digest = _digest(customer_key)
        done_at = self._jobs.done_at(jid)
        self._removed_at[digest] = min(self._removed_at.get(digest, done_at), done_at)

    def note_export(self, jid: str, customer_key: str) -> None:
        """An export job was created."""
        self._key_of[jid] = customer_key

    def take(self, jid: str) -> bytes | None:
        """The result of an export job, which is not there afterwards; None if it is not there."""
        if jid not in self._key_of or self._jobs.status(jid) != "done":
            return None
        self._last = self._result(jid, self._key_of.pop(jid))
        return self._last

    def take_of_another(self, jid: str) -> bytes | None:
        """The same, but what is handed out is the result of the one before, if there was one."""
        before = self._last
        return None if self.take(jid) is None else before or self._last

    def _result(self, jid: str, customer_key: str) -> bytes:
        """A zip of JSON Lines files; of nobody, one with a single `empty.txt`."""
        if not self._has_data(customer_key, self._jobs.done_at(jid)):
            return _zip({"empty.txt": ""})
        names = ("clicks", "payments", "sessions")
        return _zip({f"{name}.jsonl": f'{{"event":"{name}","of":"{jid}"}}\n' for name in names})

    def _has_data(self, customer_key: str, at: float) -> bool:
        if self._rates.has_no_data(customer_key):
            return False
        removed_at = self._removed_at.get(_digest(customer_key))
        # Of two that are done at once, the export began first.
        is_removed = removed_at is not None and removed_at < at
        return not is_removed or self._rates.comes_back(customer_key)


def _zip(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _MADE_AT), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _digest(customer_key: str) -> bytes:
    return blake2b(customer_key.encode(), digest_size=8).digest()

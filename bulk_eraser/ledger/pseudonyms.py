"""What a customer key is called in a ledger: by itself, or by a pseudonym.

A pseudonym is the HMAC-SHA256 (RFC 2104) of the key under a secret, the pepper, in hexadecimal. Who
has the pepper and a list of keys can tell what became of each; without the pepper nobody can, not
even by trying keys.
"""

import hmac

from bulk_eraser.key_partitions import digest_of

__all__ = ["PSEUDONYMS", "RAW", "RAW_KEYS", "KeyNaming"]

RAW = "raw"
PSEUDONYMS = "hmac-sha256"
_CHECK = "bulk-eraser pepper check"


class KeyNaming:
    """How keys are named, with `pepper` or without.

    `kind` and `pepper_check` are what `run_started` records: the latter shows whether two runs had
    the same pepper, and tells nothing else of it.
    """

    def __init__(self, pepper: bytes | None = None) -> None:
        self._pepper = pepper
        # Copied for each key: what depends on the pepper alone is done once.
        self._hmac = hmac.new(pepper or b"", digestmod="sha256")
        self.kind = RAW if pepper is None else PSEUDONYMS
        self.pepper_check = None if pepper is None else self.name_of(_CHECK)
        self.digest_of = digest_of if pepper is None else self._digest_of_name
        """The 16 bytes under which the ledger's name of a key is remembered."""

    def name_of(self, key: str) -> str:
        """What stands in the ledger for `key`."""
        if self._pepper is None:
            return key
        digest = self._hmac.copy()
        digest.update(key.encode())
        return digest.hexdigest()

    def _digest_of_name(self, key: str) -> bytes:
        return digest_of(self.name_of(key))


RAW_KEYS = KeyNaming()
"""Keys stand in the ledger as they are."""

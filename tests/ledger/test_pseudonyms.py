"""What a customer key is called in a ledger that keeps no keys."""

import hmac

import pytest

from bulk_eraser.ledger.pseudonyms import KeyNaming


@pytest.mark.parametrize("size", [1, 32, 63, 64, 65, 200])
@pytest.mark.parametrize("key", ["a", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "Zoë", "k" * 300])
def test_a_pseudonym_is_the_hmac_of_the_key(size: int, key: str):
    """RFC 2104, whatever the length of the pepper: anybody who has it can compute it elsewhere."""
    pepper = bytes(range(1, 201))[:size]
    naming = KeyNaming(pepper)
    for _ in range(2):  # what depends on the pepper alone is not used up
        assert naming.name_of(key) == hmac.digest(pepper, key.encode(), "sha256").hex()

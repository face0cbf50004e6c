"""How a raw key is cleaned and judged."""

import pytest

from bulk_eraser.records import ROW_ERRORS
from bulk_eraser.sources.rows import MAX_KEY_BYTES, KeyRow, RejectedRow, clean_key


@pytest.mark.parametrize(
    "key",
    [
        "7f3c2a10-5d1e-4b7a-9c42-0e6d8f1a2b3c",
        "7F3C2A10-5D1E-4B7A-9C42-0E6D8F1A2B3C",
        "+ # & % / ? =",
        "%2F%00&customerKey=other",
        "é\N{PILE OF POO}\u0301\u200dü",
        'a"b,c;d|e',
        "=1+1",
        "0",
        "\\ud800",
        "a\u00a0b\u3000c  d",
    ],
)
def test_a_hostile_key_stays_as_it_is(key: str) -> None:
    """A key with characters that mean something elsewhere is not changed."""
    assert clean_key(key, 7) == KeyRow(key, 7, stripped=False)


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\ufeff", "\u200b", "\u2003", "\u3000"])
def test_outer_blanks_are_stripped_and_noted(blank: str) -> None:
    """Blanks around a key are no part of it, and that they were there is known."""
    assert clean_key(f"{blank}ab{blank * 2}", 1) == KeyRow("ab", 1, stripped=True)


@pytest.mark.parametrize("raw", ["", " ", "\t \u00a0", "\ufeff", "\u200b\u2003"])
def test_a_blank_key_is_rejected(raw: str) -> None:
    """Nothing that would become an empty `customerKey=` gets through."""
    assert clean_key(raw, 3) == RejectedRow("empty_key", 3)


@pytest.mark.parametrize(
    "char", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]
)
@pytest.mark.parametrize("around", ["a{}b", "é{}b"])
def test_a_control_character_is_rejected(char: str, around: str) -> None:
    """NUL, tab, line breaks, escape and their like inside a key, beside ASCII or not."""
    assert clean_key(around.format(char), 1) == RejectedRow("control_character", 1)


@pytest.mark.parametrize("char", ["\n", "\r", "\x00", "\x1b", "\x85"])
def test_a_control_character_at_the_end_is_not_stripped(char: str) -> None:
    """Only blanks are taken off: a key with a line break behind it is not the key without."""
    assert clean_key(f"ab{char}", 1) == RejectedRow("control_character", 1)


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb", "é\udc80"])
def test_half_a_surrogate_pair_is_rejected(key: str) -> None:
    """It has no UTF-8, and the HTTP client would send an empty key for it."""
    assert clean_key(key, 1) == RejectedRow("lone_surrogate", 1)


@pytest.mark.parametrize("char", ["k", "é", "€", "😀"])
def test_the_longest_key_is_2048_bytes(char: str) -> None:
    """The limit is in bytes of UTF-8, and exact."""
    longest = char * (MAX_KEY_BYTES // len(char.encode()))
    longest += "k" * (MAX_KEY_BYTES - len(longest.encode()))
    assert clean_key(longest, 1) == KeyRow(longest, 1, stripped=False)
    assert clean_key(longest + "k", 1) == RejectedRow("key_too_long", 1)
    assert clean_key(f" {longest} ", 1) == KeyRow(longest, 1, stripped=True)


def test_the_words_are_those_of_the_ledger() -> None:
    """Each word that a key can be rejected with is in the closed list."""
    raws = ["", "a\x00", "\ud800", "k" * 3000]
    assert {clean_key(raw, 1).error for raw in raws} <= set(ROW_ERRORS)  # type: ignore[union-attr]

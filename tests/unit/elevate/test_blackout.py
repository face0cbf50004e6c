"""No key is left in what an answer says, however it is written there."""

import base64
import html
import json
import re
from collections.abc import Callable
from html.entities import html5
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_eraser.elevate.blackout import ApiKey, printable_detail

KEY = "5b1f9d3e-0c6b-4a53-9b1f-2f6d1c7a9e00"
BLACK = "███"

# ── the API key ─────────────────────────────────────────────────────────────────────────────────

API_KEY = 'ek/0d9f"\\+api=key%41&x;'
ENTITY = {meant: f"&{name}" for name, meant in html5.items() if name.endswith(";")}

CHARS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": lambda char: f"%{ord(char):02X}",
    "percent_lower": lambda char: f"%{ord(char):02x}",
    "percent_twice": lambda char: f"%25{ord(char):02X}",
    "number": lambda char: f"&#{ord(char)};",
    "number_open": lambda char: f"&#{ord(char):04}",
    "hex": lambda char: f"&#x{ord(char):X};",
    "hex_padded": lambda char: f"&#X{ord(char):04x};",
    "number_twice": lambda char: f"&amp;#{ord(char)};",
    "name": lambda char: ENTITY.get(char, char),
    "json": lambda char: json.dumps(char)[1:-1],
    "json_twice": lambda char: json.dumps(json.dumps(char)[1:-1])[1:-1],
    "json_slash": lambda char: "\\/" if char == "/" else char,
    "json_number": lambda char: f"\\u{ord(char):04X}",
    "json_number_twice": lambda char: f"\\\\u{ord(char):04x}",
    "python": lambda char: f"\\x{ord(char):02x}",
    "upper": str.upper,
}


@pytest.mark.parametrize("spelled", CHARS)
def test_the_api_key_in_every_spelling(spelled: str) -> None:
    """However its characters are written, nothing of it is left, and all that is around it is."""
    written = "".join(map(CHARS[spelled], API_KEY)).encode()
    key = ApiKey(API_KEY)
    for body in (b"", b"<b>", b"key: "):
        assert key.may_be_in(body + written + b" !")
        assert key.black_out(body + written + b" ! " + written + b".") == body + b"*** ! ***."


@given(st.lists(st.sampled_from(sorted(CHARS)), min_size=len(API_KEY), max_size=len(API_KEY)))
def test_the_api_key_in_mixed_spellings(spelled: list[str]) -> None:
    """Each character may be written in another way."""
    pairs = zip(API_KEY, spelled, strict=True)
    written = "".join(CHARS[way](char) for char, way in pairs).encode()
    assert ApiKey(API_KEY).black_out(b"<" + written + b">") == b"<***>"


@pytest.mark.parametrize("spelled", CHARS)
def test_an_api_key_that_breaks_off(spelled: str) -> None:
    """At the end of a body three characters of it are too many, also with half of an escape."""
    key = ApiKey(API_KEY)
    before = b'said: {"'
    written = ["".join(map(CHARS[spelled], API_KEY[:count])) for count in range(len(API_KEY))]
    for whole, longer in pairwise(written[3:]):
        for cut in range(len(whole), len(longer)):
            left = key.black_out(before + longer[:cut].encode())
            assert left == before + b"***", longer[:cut]


@pytest.mark.parametrize("count", range(8, len(API_KEY)))
def test_much_of_an_api_key_anywhere(count: int) -> None:
    """A gateway may shorten what it quotes."""
    body = f'{{"key":"{API_KEY[:count]}…"}} and so on'.encode()
    assert ApiKey(API_KEY).black_out(body) == '{"key":"***…"} and so on'.encode()


def test_an_api_key_after_its_own_beginning() -> None:
    """What begins like it, and goes on in another way, hides no key that follows."""
    key = "ababc-123456"
    assert ApiKey(key).black_out(b"ab ababab" + key.encode() + b" aba") == b"ab ababab*** ***"
    assert ApiKey(key).black_out(b"aababc-12345!") == b"a***!"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "\xff\xfe"])
@pytest.mark.parametrize("after", ["", "!", ":password"])
@pytest.mark.parametrize("pack", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("broken", [False, True])
def test_an_api_key_in_base64(
    before: str, after: str, pack: Callable[[bytes], bytes], broken: bool
) -> None:
    """As a header of basic authentication has it, with a name before it, or cut."""
    packed = pack((before + API_KEY + after).encode("latin-1"))
    packed = packed[:20] if broken else packed
    body = b"Authorization: Basic " + packed + b" ."
    key = ApiKey(API_KEY)
    assert key.may_be_in(body)
    left = key.black_out(body)
    assert left.endswith(b"*** .")
    rest = left.removeprefix(b"Authorization: Basic ").removesuffix(b"*** .")
    assert len(rest) * 6 < (len(before) + 1) * 8
    assert packed.startswith(rest)


@pytest.mark.parametrize(
    ("key", "text", "is_in"),
    [
        ("job-1", "job-1", True),
        ("job-1", "JOB-1", True),
        ("job-1", "job-12", False),
        ("j", "job-1", False),
        ("a-long-one", "a-long-one", True),
        ("a-long-one", "<a-long-one>", True),
        ("a-long-one", "YS1sb25nLW9uZQ==", True),
        ("a-long-one", "a%2Dlong%2Done", True),
        ("a-long-one", "a-long-on", False),
        ("a-long-one", "", False),
        ("a-long-one", "\ud800", False),
    ],
)
def test_a_text_that_holds_the_api_key(key: str, text: str, is_in: bool) -> None:
    """A text that is the key, or holds a long one, is told from one that is like it by chance."""
    assert ApiKey(key).is_in(text) == is_in


# ── what the ledger keeps of an answer ─────────────────────────────────────────────────────────

KEYS = [
    KEY,
    KEY.upper(),
    "a+b #c&d%e/f?g=h",
    'quote"back\\slash',
    "é😀",
    "someone@example.com",
    "a  b",
    "%2F",
    "(.*)[a-z]",
    "A",
]


def in_lower_hex(encoded: str) -> str:
    return re.sub("%..", lambda escape: escape[0].lower(), encoded)


SPELLED: dict[str, Any] = {
    "raw": str,
    "percent": lambda key: quote(key, safe=""),
    "percent_lower": lambda key: in_lower_hex(quote(key, safe="")),
    "path": quote,
    "form": quote_plus,
    "json": lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
    "json_ascii": lambda key: json.dumps(key)[1:-1],
    "json_slash": lambda key: json.dumps(key, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "json_numbers": lambda key: re.sub("(..)(..)", r"\\u\1\2", key.encode("utf-16-be").hex()),
    "numbers": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "hex_numbers": lambda key: "".join(f"&#x{ord(char):X};" for char in key),
    "signs": lambda key: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode().rstrip("="),
    "base64_url": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "upper": str.upper,
}


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("key", KEYS)
def test_evidence_holds_no_key(key: str, spelled: str) -> None:
    """In the detail of an answer the key is blacked out, however it is written there."""
    text = SPELLED[spelled](key)
    assert printable_detail(f"12<{text}>34<{text}>".encode(), key) == f"12<{BLACK}>34<{BLACK}>"


@pytest.mark.parametrize("left", [3, 4, 20, len(KEY) - 1])
def test_evidence_that_breaks_off_within_the_key(left: int) -> None:
    """A body that was cut within the key ends with its begin, which is blacked out as well."""
    assert printable_detail(f"no such key: {KEY[:left]}".encode(), KEY) == f"no such key: {BLACK}"
    assert (
        printable_detail(f"{KEY} is not {KEY[:left].upper()}".encode(), KEY)
        == f"{BLACK} is not {BLACK}"
    )


def test_evidence_in_a_page_holds_no_key() -> None:
    """HTML writes some letters in another way."""
    key = "k&<b>\"1'2"
    page = f"<p>{html.escape(key)}</p><p>{html.escape(key, quote=False)}</p>"
    assert printable_detail(page.encode(), key) == f"<p>{BLACK}</p><p>{BLACK}</p>"


def test_evidence_is_cut_after_blacking_out() -> None:
    """A key at the 200th character leaves no beginning of itself."""
    for before in range(150, 201):
        detail = printable_detail(b"." * before + KEY.encode() + b"." * 100, KEY)
        assert detail == ("." * before + BLACK + "." * 100)[:200]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", None),
        (b" \r\n\t ", None),
        (b"plain", "plain"),
        (b"a\r\n\r\n  b\tc", "a b c"),
        (b"\x1b[31mred\x1b[0m\x07", "[31mred [0m"),
        ("zero\u200bwidth\u202eright".encode(), "zero width right"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        ("é😀".encode(), "é😀"),
        (b"\0\0", None),
        (b"x" * 300, "x" * 200),
    ],
)
def test_evidence_is_printable(body: bytes, detail: str | None) -> None:
    """The detail of an answer is at most 200 printable characters on one line, or nothing."""
    assert printable_detail(body, KEY) == detail


@given(st.binary(max_size=400), st.text(st.characters(codec="utf-8"), min_size=4, max_size=40))
def test_evidence_of_anything(body: bytes, key: str) -> None:
    """Whatever stands around a key, its raw and percent-encoded forms are not in the detail."""
    detail = printable_detail(body + key.encode() + quote(key, safe="").encode() + body, key) or ""
    assert len(detail) <= 200
    assert detail.isprintable()
    if key == " ".join(key.split()) and key.isprintable() and BLACK not in key:
        assert key not in detail.replace(BLACK, "\0")

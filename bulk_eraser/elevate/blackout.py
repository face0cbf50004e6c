"""Keys blacked out in what an answer says, which is shown and recorded.

An answer may quote the request: as it is, escaped in many ways, and broken off anywhere. The one
API key is looked for in every mixture of ways, customer keys, which are many, in the usual ones.
"""

import base64
import html
import json
import re
from html.entities import html5
from urllib.parse import quote, quote_plus

__all__ = ["ApiKey", "printable_detail", "spellings"]

DETAIL_CHARS = 200
TELLING = 8
"""So many characters of an API key are no chance, wherever they stand."""
LEAST = 3
"""Fewer at the end of a body say nothing, and any text may end with them."""

_BROKEN_ESCAPE = re.compile(rb"(?:(?<=[%&\\])[#\w]{0,9}|[%&\\]\S{0,9}|[#ux;2]\w{0,4})?", re.I)


class ApiKey:
    """The API key (printable ASCII) as answers may hold it. Its own text is not kept."""

    def __init__(self, key: str) -> None:
        written = [_written(char) for char in key]
        packed = [re.escape(start) + rb"[\w+/=-]*" for start in _base64_starts(key)]
        self._letters = [re.compile(char, re.IGNORECASE) for char in written]
        self._is_telling = len(key) >= TELLING
        self._whole = re.compile(b"|".join([b"".join(written), *packed]), re.IGNORECASE)
        self._start = re.compile(b"".join(written[:LEAST]), re.IGNORECASE)
        starts = [key[:LEAST], *(start.decode() for start in _base64_starts(key))]
        self._plain_starts = [start.lower() for start in starts]

    def may_be_in(self, body: bytes) -> bool:
        """Is there anything that looks like its beginning? Nearly always not, and soon told."""
        text = body.decode("latin-1").lower()  # in which Python looks faster than in bytes
        for start in self._plain_starts:
            if start in text:
                return True
        # Every other way to write a character begins with one of these.
        if "%" in text or "&" in text or "\\" in text:
            return self._start.search(body) is not None
        return False

    def is_in(self, text: str) -> bool:
        """Is this text the key, or does it hold it? A short one it may hold by chance."""
        written = text.encode("utf-8", "replace")
        look = self._whole.search if self._is_telling else self._whole.fullmatch
        return look(written) is not None

    def black_out(self, body: bytes) -> bytes:
        """The body without the key, and without what is left of one that broke off."""
        body = self._whole.sub(b"***", body)
        parts: list[bytes] = []
        done = 0
        for start in self._start.finditer(body):
            count, end = LEAST, start.end()
            while count < len(self._letters) and (letter := self._letters[count].match(body, end)):
                count, end = count + 1, letter.end()
            is_cut = _BROKEN_ESCAPE.fullmatch(body, end) is not None
            if start.start() >= done and count >= LEAST and (is_cut or count >= TELLING):
                parts += [body[done : start.start()], b"***"]
                done = len(body) if is_cut else end
        return b"".join([*parts, body[done:]])


def printable_detail(body: bytes, key: str) -> str | None:
    """The start of an answer's body for the ledger: printable, the customer key blacked out."""
    text = body.decode("utf-8", "replace")
    # The longest first: a spelling may hold a shorter one, whose rest would stay readable.
    known = sorted(spellings(key), key=len, reverse=True)
    lower = text.lower()
    for spelling in known:
        if spelling.lower() in lower or not spelling.isascii():  # which is soon told
            text = re.sub(re.escape(spelling), "███", text, flags=re.IGNORECASE)
    text = _without_a_cut_key(text, known)
    # Blacked out first, cut last: a cut could leave half a key that is no longer recognised.
    text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())[:DETAIL_CHARS] or None


def _without_a_cut_key(text: str, known: list[str]) -> str:
    """A body that broke off within the key ends with the start of one of its spellings."""
    lower = text.lower()
    for spelling in known:
        for length in range(min(len(spelling), len(text)) - 1, LEAST - 1, -1):
            if lower.endswith(spelling[:length].lower()):
                return text[:-length] + "███"
    return text


def spellings(secret: str) -> set[str]:
    """How a key is usually written: as it is, percent-encoded, in HTML (with names, or with numbers
    for what is no letter, or for all), in JSON (there four ways), and in base64."""
    in_json = json.dumps(secret, ensure_ascii=False)[1:-1]
    units = secret.encode("utf-16-be")
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        html.escape(secret),
        html.escape(secret, quote=False),
        *_in_numbers(secret),
        in_json,
        in_json.replace("/", "\\/"),
        json.dumps(secret)[1:-1],
        "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2)),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    }


def _in_numbers(secret: str) -> list[str]:
    ways = ("&#{};", "&#x{:x};", "&#{:03};", "&#x{:04x};")
    return [
        "".join(way.format(ord(char)) if every or not char.isalnum() else char for char in secret)
        for way in ways
        for every in (True, False)
    ]


def _written(char: str) -> bytes:
    """A pattern for all ways in which an ASCII character may be written."""
    number = ord(char)
    ways = [
        re.escape(char),
        f"%(?:25)*{number:02x}",  # the sign itself may be encoded, and again
        f"&(?:amp;)*#0*{number};?",
        f"&(?:amp;)*#x0*{number:x};?",
        rf"\\{{1,4}}u{number:04x}",
        rf"\\{{1,4}}x{number:02x}",
    ]
    if not char.isalnum():
        ways += [f"&(?:amp;)*{name}" for name, meant in html5.items() if meant == char]
        ways.append(rf"\\{{1,4}}{re.escape(char)}")
    # The longer ones first: &#38; begins with the character that it means.
    return f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})".encode()


def _base64_starts(key: str) -> list[bytes]:
    """How base64 of a text that holds the key goes on at it, by what stands before, in either
    alphabet. None for a short key."""
    starts: set[bytes] = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + key.encode())
        first, end = -(-8 * before // 6), 8 * (before + len(key)) // 6  # letters of the key alone
        start = encoded[first:end][:TELLING]
        if len(start) == TELLING:
            starts |= {start, start.translate(bytes.maketrans(b"+/", b"-_"))}
    return sorted(starts)

"""What is odd about a customer key that can be sent all the same: counted, and told before it is.

| word | the key | so |
| --- | --- | --- |
| `personal` | has an @, as e-mail addresses do | Elevate forbids personal data: the wrong column? |
| `dates` | is like `2026-11-24`, `24.11.2026`, `11/24/26` | a date of birth, not a customer |
| `placeholder` | is `NULL`, `#N/A`, `undefined` or the like | a failed look-up, not a customer |
| `separator` | contains `;` or `|` | two columns, read as one? |
| `not_uuid` | is no UUID, while most of the others are | a stray value from another column? |
| `numeric_like` | is like `4,01E+15`, `="0012"` | from a spreadsheet: refused unless allowed |
| `look_alike` | equals another but for case or Unicode form | two customers, or one twice? |
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from bulk_eraser.key_partitions import KeyPartitions
from bulk_eraser.ledger.pseudonyms import RAW_KEYS, KeyNaming
from bulk_eraser.sources.rows import is_numeric_like

__all__ = ["EXAMPLES", "Finding", "LookAlikes", "Suspects", "folded"]

EXAMPLES = 3
"""Lines named in a message."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUIDS = re.compile(rf"(?:{_UUID.pattern}\n)*+")
_PLACEHOLDER = re.compile(
    r"null|\(null\)|nil|none|nan|undefined|n/a|\\n|#(?:n/a|nv|[^\W\d_]+(?:/0)?[!?])",
    re.IGNORECASE,  # errors as Excel writes them in its languages: #REF!, #BEZUG!, #REFERENS!
)
_LONGEST_PLACEHOLDER = 12
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*\.?"
_DATE = re.compile(
    r"(?:"
    r"(?:19|20)[0-9]{2}([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])([-./])(?:0?[1-9]|[12][0-9]|3[01])\2(?:(?:19|20)?[0-9]{2})"
    rf"|(?:0?[1-9]|[12][0-9]|3[01])\.?[- /]?{_MONTH}[- /]?(?:(?:19|20)?[0-9]{{2}})"
    r")(?:[T ]+[0-9]{1,2}:[0-9]{2}[0-9:.,Z+ ]*)?",
    re.IGNORECASE,
)
"""Year first, day or month first, the month's name in English or German; a time may follow."""
_LONGEST_DATE = 40
_IS_UUID, _PERSONAL, _PLACEHOLDER_FLAG, _NUMERIC, _IS_DATE, _SEPARATED = 1, 2, 4, 8, 16, 32
_WORDS = {
    _PERSONAL: "personal",
    _IS_DATE: "dates",
    _PLACEHOLDER_FLAG: "placeholder",
    _NUMERIC: "numeric_like",
    _SEPARATED: "separator",
}


class Finding(NamedTuple):
    """How many different keys are odd in one way, and the first lines with such."""

    keys: int
    lines: list[int]


class Suspects:
    """What single keys look like: `flags_of` is asked for each row, and `counts` of each flag are
    those of different keys."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self._lines: dict[str, list[int]] = {}

    def flags_of(self, key: str, line: int) -> int:
        """What is odd about a key, as a number for `counts`. Notes the first lines."""
        if _UUID.fullmatch(key):
            return _IS_UUID
        self._note("not_uuid", line)
        flags = 0
        if "@" in key:
            flags = _PERSONAL
        # The length and the first character come first: most keys need no more.
        elif len(key) <= _LONGEST_DATE and "0" <= key[0] <= "9" and _DATE.fullmatch(key):
            flags = _IS_DATE
        elif len(key) <= _LONGEST_PLACEHOLDER and _PLACEHOLDER.fullmatch(key):
            flags = _PLACEHOLDER_FLAG
        elif is_numeric_like(key):
            flags = _NUMERIC
        elif ";" in key or "|" in key:
            flags = _SEPARATED
        if flags:
            self._note(_WORDS[flags], line)
        return flags

    def flags_of_all(self, keys: Sequence[str], line: int) -> list[int]:
        """The same of many, which stand one below the other from `line` on."""
        if _UUIDS.fullmatch("".join([f"{key}\n" for key in keys])):
            return [_IS_UUID] * len(keys)
        return list(map(self.flags_of, keys, count(line)))

    def found(self) -> dict[str, Finding]:
        """The words that apply, with their findings."""
        counts, keys = self.counts, self.counts.total()
        found = {word: counts[flag] for flag, word in _WORDS.items()}
        if 2 * counts[_IS_UUID] > keys:
            found["not_uuid"] = keys - counts[_IS_UUID]
        return {word: Finding(count, self._lines[word]) for word, count in found.items() if count}

    def _note(self, word: str, line: int) -> None:
        lines = self._lines.setdefault(word, [])
        if len(lines) < EXAMPLES:
            lines.append(line)


class LookAlikes:
    """Keys under what they are when case and Unicode form do not count; only if that differs."""

    def __init__(self, naming: KeyNaming = RAW_KEYS) -> None:
        self.keys = 0
        self.lines: list[int] = []
        self._digest_of = naming.digest_of
        self._entries = KeyPartitions("16sQ")

    def add(self, key: str, digest: bytes, line: int) -> None:
        fold = folded(key)
        if fold != key:
            self._entries.add(self._digest_of(fold), digest, line)

    def add_all(self, keys: Sequence[str], digests: Sequence[bytes], line: int) -> None:
        """The same for many, which stand one below the other from `line` on."""
        text = "".join(keys)
        if not text.isascii() or text.lower() != text:  # most keys fold to themselves
            for place, key in enumerate(keys):
                self.add(key, digests[place], line + place)

    def groups(self, partition: int, plain: Mapping[bytes, int]) -> dict[bytes, set[bytes]]:
        """Digest of the folded key → digests of the keys that fold to it, for one partition.

        `plain` has the keys of this partition and their first lines. Those that fold to
        themselves are in a group only if there are others. Counts what looks alike.
        """
        groups: dict[bytes, set[bytes]] = {}
        lines: dict[bytes, list[int]] = {}
        for fold, digest, line in self._entries.read(partition):
            groups.setdefault(fold, set()).add(digest)
            if len(first := lines.setdefault(fold, [])) < EXAMPLES:
                first.append(line)
        for fold, group in groups.items():
            if fold in plain:
                group.add(fold)
                lines[fold].append(plain[fold])
            if len(group) > 1:
                self.keys += len(group)
                self.lines = sorted({*self.lines, *lines[fold]})[:EXAMPLES]
        return groups

    def close(self) -> None:
        self._entries.close()


def folded(key: str) -> str:
    """Equal for keys that differ in case, Unicode form or invisible characters alone."""
    if key.isascii():
        return key.lower()
    visible = "".join(char for char in key if unicodedata.category(char) != "Cf")
    plain = unicodedata.normalize("NFKC", visible).casefold()
    return unicodedata.normalize("NFKC", plain)  # casefold may take `ΐ` apart

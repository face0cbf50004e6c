"""The digest chain, proven again by a verifier that shares no code with the package."""

import json
import re
from collections.abc import Callable
from hashlib import sha256

import pytest

from bulk_eraser.ledger.chain import GENESIS, encode_group, link
from bulk_eraser.records import Record, Sent

AT = "2024-03-01T12:00:00.000Z"
HOSTILE_KEYS = [
    'quote " and \\ backslash',
    "next\u0085line \u2028 and \u2029",
    "tab\tnewline\nreturn\r",
    "emoji 🧨 é e\u0301",
    '"}\n{"type":"commit"',
]


def test_a_verifier_written_from_the_promise_agrees(
    groups: list[bytes], verify: Callable[[bytes], str]
) -> None:
    """Every commit is the digest over the one before and the exact bytes of the lines since."""
    last = json.loads(groups[-1].split(b"\n")[-2])
    assert verify(b"".join(groups)) == last["sha256"]


@pytest.mark.parametrize("key", HOSTILE_KEYS)
def test_a_record_is_one_line_whatever_the_key_holds(
    key: str, sent: Callable[[str], Sent], verify: Callable[[bytes], str]
) -> None:
    """No key can break its line in two or pass for a commit line."""
    group, head = encode_group(GENESIS, [sent(key)], AT)
    assert verify(group) == head
    line, commit, end = group.split(b"\n")
    assert json.loads(line)["key"] == key
    assert (json.loads(commit)["lines"], end) == (1, b"")


def test_every_line_begins_with_its_type_and_the_time(groups: list[bytes]) -> None:
    """`type`, then `at` in UTC with milliseconds, the same for all lines of a group."""
    for group in groups:
        for line in group.split(b"\n")[:-1]:
            assert re.match(rb'{"type":"[a-z_]+","at":"2024-03-01T12:00:00\.000Z",', line)


def test_the_head_depends_on_every_commit_before() -> None:
    """The same lines after another commit have another digest."""
    lines = b'{"type":"sent"}\n'
    assert link(GENESIS, lines) == sha256(b"0" * 64 + lines).hexdigest()
    assert link(link(GENESIS, b""), lines) != link(GENESIS, lines)


def test_the_head_of_one_group_begins_the_next(
    sent: Callable[[str], Sent], verify: Callable[[bytes], str]
) -> None:
    """Groups chained by the head that is handed back are one valid ledger, and only in order."""
    records: list[list[Record]] = [[sent("a"), sent("b")], [sent("c")]]
    first, head = encode_group(GENESIS, records[0], AT)
    second, head = encode_group(head, records[1], AT)
    assert verify(first + second) == head
    with pytest.raises(AssertionError):
        verify(second + first)

"""Only the names of keys change, on the short way and on that for lines of older versions."""

import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulk_eraser.evidence.pseudonymize import pseudonymize
from bulk_eraser.ledger.chain import GENESIS, commit_group
from bulk_eraser.ledger.pseudonyms import KeyNaming
from bulk_eraser.records import Accepted, Failed, JobStatus, Rejected, RunStarted, Sent, Unsent

AT = "2024-03-01T12:00:00.000Z"
STARTED = RunStarted(
    at=AT,
    run="r",
    command="run",
    tool="t",
    api="v4",
    target="c",
    simulated=False,
    input=None,
    exclude_sha256=None,
    settings={"rate": 50.0},
    requester=None,
    reference=None,
)
keys = st.sampled_from(["k1", "é", 'k"2', "\\"]) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line, sometimes as an older version wrote it: a field that may be missing is missing."""
    key = draw(keys)
    of_key: dict[str, Any] = {"at": AT, "key": key, "line": 2}
    reference = draw(st.sampled_from([None, "r1", f"request of {key}", key]))
    of_row = of_key | {"reference": reference}
    record = draw(
        st.sampled_from(
            [
                Sent(**of_row, attempt=1),
                Accepted(**of_row, jid=key, status=key, http_status=200, attempts=1, elapsed_ms=5),
                Failed(
                    **of_row,
                    error="http_400",
                    http_status=400,
                    detail=key,
                    attempts=1,
                    permanent=True,
                    possible_job=False,
                ),
                Unsent(**of_key, attempt=1),
                JobStatus(at=AT, key=key, jid="j", status="done", next_check_at=None),
                Rejected(at=AT, line=3, error="empty_key"),
                STARTED,
            ]
        )
    )
    content = msgspec.json.encode(record)
    if draw(st.booleans()):
        content = content.replace(b',"plan":null,"sent_when_complete":null', b"")
    return content + b"\n"


def renamed(line: dict[str, Any], naming: KeyNaming) -> dict[str, Any]:
    """What a line is to be, by what is promised."""
    if line["type"] == "run_started":
        return line | {"keys": naming.kind, "pepper_check": naming.pepper_check}
    if "key" in line:
        name = hmac.digest(b"p" * 16, line["key"].encode(), "sha256").hex()
        if "reference" in line:
            line["reference"] = line["reference"].replace(line["key"], name)
        line["key"] = name
    return line


@settings(max_examples=examples(400), deadline=None)
@given(groups=st.lists(st.lists(lines(), min_size=1, max_size=6), max_size=4))
def test_only_names_change(tmp_path_factory: Any, groups: list[list[bytes]]) -> None:
    """Each line has the same members in the same order, and other values only where a key was."""
    folder: Path = tmp_path_factory.mktemp("ledgers")
    old, new, head = folder / "a.ndjson", folder / "b.ndjson", GENESIS
    with old.open("wb") as file:
        for group in [[msgspec.json.encode(STARTED) + b"\n"], *groups]:
            written, head = commit_group(head, b"".join(group), AT)
            file.write(written)
    naming = KeyNaming(b"p" * 16)
    pseudonymize(str(old), str(new), naming)
    was, now = (
        [list(json.loads(line).items()) for line in path.read_bytes().splitlines()]
        for path in (old, new)
    )
    at = [dict(line)["type"] for line in now].index("commit") + 1
    assert dict(now[0])["head"] == head
    for before, after in zip(was, now[at:], strict=True):
        if ("type", "commit") not in before:
            assert after == list(renamed(dict(before), naming).items())


@settings(max_examples=examples(200), deadline=None)
@given(pepper=st.binary(max_size=200), key=keys)
@example(pepper=b"p" * 64, key="k")
@example(pepper=b"p" * 65, key="k")
def test_a_pseudonym_is_the_hmac(pepper: bytes, key: str) -> None:
    """As RFC 2104 has it, also with a secret that is longer than SHA-256's block."""
    assert KeyNaming(pepper).name_of(key) == hmac.new(pepper, key.encode(), "sha256").hexdigest()

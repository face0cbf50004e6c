"""What the ledger says of a key when a run begins, for every way in which it can have got there."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.key_partitions import PARTITIONS, digest_of
from bulk_eraser.ledger import history as history_module
from bulk_eraser.ledger.chain import GENESIS, commit_group
from bulk_eraser.ledger.history import KeyHistory, LedgerFacts
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.ledger.replay import Fold, replay
from bulk_eraser.records import InputFacts, RunStarted

Line = dict[str, Any]

FAILED: Line = {
    "type": "failed",
    "line": 2,
    "http_status": None,
    "detail": None,
    "attempts": 1,
    "possible_job": False,
}
STATUS: Line = {"type": "job_status", "jid": "j1", "next_check_at": None}
LINES: dict[str, Line] = {
    "sent": {"type": "sent", "line": 2, "attempt": 1},
    "unknown": {"type": "unknown", "line": 2, "error": "timeout", "attempts": 6},
    "failed": FAILED | {"error": "http_429", "permanent": False},
    "refused": FAILED | {"error": "http_400", "permanent": True},
    "excluded": {"type": "excluded", "line": 2},
    "accepted": {
        "type": "accepted",
        "line": 2,
        "jid": "j1",
        "status": "created",
        "http_status": 200,
        "attempts": 1,
        "elapsed_ms": 3,
    },
    "done": STATUS | {"status": "done"},
    "lost": STATUS | {"status": "error"},
    "running": STATUS | {"status": "running"},
    "duplicate": {"type": "duplicate", "line": 9, "first_line": 2},
    "later": {"type": "invented_later", "line": 2, "permanent": True},
}

# What a further line (column) makes of a state (row); `unsent` has a test of its own.
TABLE = """
              sent  unknown  failed  refused  excluded     accepted     done         lost         running      duplicate    later
  NOT_SENT    SENT  UNKNOWN  FAILED  REFUSED  EXCLUDED     IN_PROGRESS  NOT_SENT     NOT_SENT     NOT_SENT     NOT_SENT     NOT_SENT
  SENT        SENT  UNKNOWN  FAILED  REFUSED  SENT         IN_PROGRESS  SENT         SENT         SENT         SENT         SENT
  UNKNOWN     SENT  UNKNOWN  FAILED  REFUSED  UNKNOWN      IN_PROGRESS  UNKNOWN      UNKNOWN      UNKNOWN      UNKNOWN      UNKNOWN
  FAILED      SENT  UNKNOWN  FAILED  REFUSED  FAILED       IN_PROGRESS  FAILED       FAILED       FAILED       FAILED       FAILED
  REFUSED     SENT  UNKNOWN  FAILED  REFUSED  REFUSED      IN_PROGRESS  REFUSED      REFUSED      REFUSED      REFUSED      REFUSED
  EXCLUDED    SENT  UNKNOWN  FAILED  REFUSED  EXCLUDED     IN_PROGRESS  EXCLUDED     EXCLUDED     EXCLUDED     EXCLUDED     EXCLUDED
  IN_PROGRESS SENT  UNKNOWN  FAILED  REFUSED  IN_PROGRESS  IN_PROGRESS  ERASED       JOB_FAILED   IN_PROGRESS  IN_PROGRESS  IN_PROGRESS
  ERASED      SENT  UNKNOWN  FAILED  REFUSED  ERASED       IN_PROGRESS  ERASED       JOB_FAILED   IN_PROGRESS  ERASED       ERASED
  JOB_FAILED  SENT  UNKNOWN  FAILED  REFUSED  JOB_FAILED   IN_PROGRESS  ERASED       JOB_FAILED   IN_PROGRESS  JOB_FAILED   JOB_FAILED
"""  # noqa: E501 a table
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
AFTER = {(row[0], name): state for row in ROWS for name, state in zip(HEAD, row[1:], strict=True)}


def replayed(groups: Iterable[bytes], *folds: Fold) -> None:
    """Have the folds take in a ledger of these groups."""
    head, ledger = GENESIS, []
    for lines in groups:
        group, head = commit_group(head, lines, "")
        ledger.append(group)
    replay(LedgerScan(), iter(ledger), folds)


def state_of(history: KeyHistory, key: str) -> str:
    digest = digest_of(key)
    return history.states(digest[0]).get(digest, KeyState.NOT_SENT).name


def state_after(lines: list[Line], key: str = "k") -> str:
    """Replay lines of one key and say in what state it is."""
    history = KeyHistory()
    replayed([encoded([{"key": key} | line for line in lines])], history)
    return state_of(history, key)


def encoded(lines: list[Line]) -> bytes:
    return b"".join(
        json.dumps({"type": line["type"], "at": ""} | line, separators=(",", ":")).encode() + b"\n"
        for line in lines
    )


@pytest.fixture
def history() -> KeyHistory:
    return KeyHistory()


@pytest.fixture
def known() -> LedgerFacts:
    return LedgerFacts()


# ── states ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_sequence_of_lines_ends_where_the_table_says(count: int) -> None:
    """The last line decides, but `excluded` and `job_status` never override an outcome."""
    for names in itertools.product(LINES, repeat=count):
        expected = state_by_the_table(names)
        assert state_after([LINES[name] for name in names]) == expected, names


def state_by_taking_back(names: tuple[str, ...]) -> str:
    """The same by another way: an `unsent` strikes itself and the `sent` before it off the list,
    and a `sent` strikes off the hold that it ended."""
    kept: list[str] = []
    for name in names:
        if name == "sent" and state_by_the_table(kept) == "EXCLUDED":
            kept = ["sent"]
        elif name != "unsent":
            kept.append(name)
        elif kept and kept[-1] == "sent":
            kept.pop()
    return state_by_the_table(kept)


def state_by_the_table(names: Iterable[str]) -> str:
    """Where these lines lead, one after the other."""
    state = "NOT_SENT"
    for name in names:
        state = AFTER[state, name]
    return state


@pytest.mark.parametrize("held_back", [0, 1000])
def test_unsent_takes_back_the_sent_before_it(
    monkeypatch: pytest.MonkeyPatch, held_back: int
) -> None:
    """The key is again what it was, also after a repeat that did not leave."""
    monkeypatch.setattr(history_module, "MOST_JUST_SENT", held_back)
    unsent: Line = {"type": "unsent", "line": 2, "attempt": 1}
    lines = LINES | {"unsent": unsent}
    for before in itertools.product(LINES, repeat=2):
        for names in (
            (*before, "sent", "unsent"),
            (*before, "sent", "sent", "unsent"),
            (*before, "sent", "sent", "unsent", "unsent"),
            (*before, "sent", "sent", "sent", "unsent", "unsent", "unsent"),
            (*before, "sent", "unsent", "sent", "unsent", "accepted", "lost"),
        ):
            history = KeyHistory()
            groups = [encoded([{"key": "k"} | lines[name]]) for name in names]
            replayed(groups, history)
            assert state_of(history, "k") == state_by_taking_back(names), names


@pytest.mark.parametrize("held_back", [1, 2, 3, 1000])
def test_keys_that_were_just_sent_stand_where_they_did(
    monkeypatch: pytest.MonkeyPatch, held_back: int
) -> None:
    """However many `sent` lines wait for their outcome, none is forgotten or comes too late."""
    monkeypatch.setattr(history_module, "MOST_JUST_SENT", held_back)
    orders = list(itertools.product(["sent", "accepted", "excluded", "lost"], repeat=3))
    keys = [f"k{number}" for number in range(len(orders))]
    history = KeyHistory()
    for step in range(3):  # a line of each key in turn
        lines = [LINES[order[step]] | {"key": key} for key, order in zip(keys, orders, strict=True)]
        replayed([encoded(lines)] if step else [encoded(lines[:30]), encoded(lines[30:])], history)
    for key, order in zip(keys, orders, strict=True):
        assert state_of(history, key) == state_by_the_table(order), order


OTHER = {"jid": "j2"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["accepted", LINES["lost"] | OTHER], "IN_PROGRESS"),
        (["accepted", "lost", LINES["done"] | OTHER], "JOB_FAILED"),
        (["accepted", LINES["accepted"] | OTHER, "lost"], "IN_PROGRESS"),
        (["accepted", LINES["accepted"] | OTHER, LINES["lost"] | OTHER], "JOB_FAILED"),
        (["accepted", "lost", LINES["accepted"] | OTHER], "IN_PROGRESS"),
        (["accepted", "lost", LINES["accepted"] | OTHER, "lost"], "IN_PROGRESS"),
        (["accepted", "lost", LINES["accepted"] | OTHER, "done"], "IN_PROGRESS"),
        (["accepted", LINES["lost"] | OTHER, "lost", LINES["done"] | OTHER], "JOB_FAILED"),
        (["accepted", "excluded", "lost"], "JOB_FAILED"),
        (["accepted", "lost", "excluded", "done"], "ERASED"),
    ],
)
def test_only_the_last_jid_of_a_key_counts(lines: list[str | Line], expected: str) -> None:
    """Earlier jids are superseded; what their jobs do neither loses nor saves the key."""
    full = [LINES[line] if isinstance(line, str) else line for line in lines]
    assert state_after(full) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("error", "JOB_FAILED"),
        ("not_found", "JOB_FAILED"),
        ("done", "ERASED"),
        ("created", "IN_PROGRESS"),
        ("started", "IN_PROGRESS"),
        ("ERROR", "IN_PROGRESS"),
        ("", "IN_PROGRESS"),
    ],
)
def test_a_job_is_lost_by_two_words_only(status: str, expected: str) -> None:
    """An unknown word of the service never has a key sent again."""
    assert state_after([LINES["accepted"], LINES["done"] | {"status": status}]) == expected


@pytest.mark.parametrize("status", ["error", "not_found", "done", None])
def test_the_status_in_an_accepted_line_is_only_a_word(status: str | None) -> None:
    """A job that was created with a strange status is created all the same."""
    assert state_after([LINES["accepted"] | {"status": status}]) == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("one", "other"),
    [("K", "k"), ("é", "e\u0301"), ("1", "01"), ("a ", "a"), ("a\u2028", "a"), ("0", "00")],
)
def test_keys_that_look_alike_are_different_customers(one: str, other: str) -> None:
    """An outcome of one says nothing of the other."""
    history = KeyHistory()
    replayed([encoded([LINES["accepted"] | {"key": one}])], history)
    assert (state_of(history, one), state_of(history, other)) == ("IN_PROGRESS", "NOT_SENT")


def test_a_key_is_the_same_however_json_spells_it(history: KeyHistory) -> None:
    """Escapes are read before keys are compared."""
    line = encoded([LINES["accepted"] | {"key": "KEY"}]).replace(b"KEY", b"\\u00e9\\/x")
    replayed([line], history)
    assert state_of(history, "é/x") == "IN_PROGRESS"


def test_keys_do_not_get_into_each_others_way(history: KeyHistory) -> None:
    """Many keys at once, spread over all partitions, each with its own last line."""
    names = [name for name in LINES if AFTER["NOT_SENT", name] != "NOT_SENT"]
    wanted = {f"key-{n}": names[n % len(names)] for n in range(3000)}
    replayed((encoded([LINES[name] | {"key": key}]) for key, name in wanted.items()), history)
    found: dict[bytes, KeyState] = {}
    for partition in range(PARTITIONS):
        found |= history.states(partition)
    assert {digest: state.name for digest, state in found.items()} == {
        digest_of(key): AFTER["NOT_SENT", name] for key, name in wanted.items()
    }


# ── lines that this version does not know ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"paused","at":"","key":7,"line":"x","jid":{},"input":3}',
        b'{"type":"paused","at":"","key":"k","permanent":true,"jid":"j2","status":"error"}',
        b'{"type":"merged","at":"","target":["a"],"exclude_sha256":1}',
        b'{"type":"accepted_v2","at":"","key":"k"}',
        b'{"type":7,"key":"k"}',
        b'{"key":"k"}',
        b"[1,2]",
        b'"sent"',
        b"null",
        b"\xff\xfe",
        b"not JSON",
        b"",
    ],
)
def test_lines_of_a_later_version_are_ignored(line: bytes, history: KeyHistory) -> None:
    """Whatever is in them, the lines around them count as they always did."""
    before, after = (
        encoded([LINES["sent"] | {"key": "k"}]),
        encoded([LINES["accepted"] | {"key": "l"}]),
    )
    replayed([before + line + b"\n" + after], history)
    assert (state_of(history, "k"), state_of(history, "l")) == ("SENT", "IN_PROGRESS")


def test_fields_of_a_later_version_are_ignored() -> None:
    """Further fields, at any depth, change nothing."""
    more = {"x": {"key": "other", "deep": [[[{}]]]}, "y": None, "z": 1e300}
    assert state_after([LINES["sent"] | more, LINES["accepted"] | more]) == "IN_PROGRESS"


@pytest.mark.parametrize(
    "line",
    [
        encoded([LINES["accepted"] | {"key": 7}]),
        encoded([LINES["accepted"] | {"key": "k", "jid": None}]),
        encoded([LINES["accepted"] | {"key": "k"}]).replace(b'"k"', b'"\\ud800"'),
        encoded([LINES["refused"] | {"key": "k", "permanent": "yes"}]),
        encoded([LINES["duplicate"] | {"key": "k", "line": "9"}]),
        b'{"type":"run_started","at":"","target":"c","keys":"raw","input":{"rows":1}}\n',
        b'{"type":"sent","at":"","key":"k"\n',
    ],
)
def test_a_known_line_that_cannot_be_read_is_not_passed_over(
    line: bytes, history: KeyHistory
) -> None:
    """To ignore an outcome might send a key again: 79, and the message holds no key."""
    with pytest.raises(LedgerDamaged) as refused:
        replayed([encoded([LINES["sent"] | {"key": "k"}]) + line], history)
    assert refused.value.exit_code == 79
    assert '"' not in str(refused.value)


# ── runs and their inputs ───────────────────────────────────────────────────────────────────────


def rows_not_sent(*lines: int) -> bytes:
    """Rejected and duplicate rows, in turn."""
    kinds: list[Line] = [
        {"type": "rejected", "error": "empty_key"},
        LINES["duplicate"] | {"key": "d"},
    ]
    return encoded([kinds[number % 2] | {"line": line} for number, line in enumerate(lines)])


@pytest.fixture
def begins(run_started: Callable[..., RunStarted]) -> Callable[..., bytes]:
    """The line of a run that begins."""
    return lambda **fields: msgspec.json.encode(run_started(**fields)) + b"\n"


def test_rows_not_sent_are_known_per_input(
    known: LedgerFacts, begins: Callable[..., bytes], facts: InputFacts
) -> None:
    """Up to the highest recorded line of this input; another input begins at none."""
    other = msgspec.structs.replace(facts, sha256="cd" * 32)
    assert known.recorded_until(facts) == 0
    replayed([begins(input=facts), rows_not_sent(3, 8)], known)
    assert (known.recorded_until(facts), known.recorded_until(other)) == (8, 0)
    replayed([begins(input=other), rows_not_sent(5)], known)
    assert (known.recorded_until(facts), known.recorded_until(other)) == (8, 5)
    replayed([begins(input=facts), rows_not_sent(11, 12)], known)
    assert (known.recorded_until(facts), known.recorded_until(other)) == (12, 5)
    replayed([begins(input=other)], known)
    assert (known.recorded_until(facts), known.recorded_until(other)) == (12, 5)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"name": "renamed.csv"}, True),
        ({"rows": 9, "keys": 9, "rejected": 0, "duplicate": 9}, True),
        ({"sha256": "00" * 32}, False),
        ({"format": "ndjson"}, False),
        ({"key_field": "id"}, False),
        ({"header": False}, False),
        ({"delimiter": ","}, False),
        ({"encoding": "cp1252"}, False),
    ],
)
def test_an_input_is_its_bytes_and_how_they_are_read(
    change: dict[str, Any],
    same: bool,
    known: LedgerFacts,
    begins: Callable[..., bytes],
    facts: InputFacts,
) -> None:
    """The same file under another name is the same input; read in another way it is not."""
    replayed([begins(), rows_not_sent(7)], known)
    assert known.recorded_until(msgspec.structs.replace(facts, **change)) == (7 if same else 0)


def test_a_ledger_belongs_to_the_target_of_its_first_run(
    known: LedgerFacts, begins: Callable[..., bytes], facts: InputFacts
) -> None:
    """What later lines claim changes neither the target nor the kind of keys."""
    assert (known.target, known.keys_kind, known.last_input) == (None, None, None)
    replayed([begins(target="c1"), begins(target="c2", keys="hmac-sha256")], known)
    assert (known.target, known.keys_kind, known.last_input) == ("c1", "raw", facts)


def test_a_ledger_that_had_a_hold_list_keeps_asking_for_it(
    known: LedgerFacts, begins: Callable[..., bytes]
) -> None:
    """Neither a run that follows jobs nor one that had none takes it back."""
    follow = begins(command="follow", input=None)
    assert not known.had_hold_list
    replayed([begins(exclude_sha256="ee" * 32)], known)
    assert known.had_hold_list
    replayed([follow, rows_not_sent(3)], known)
    assert known.had_hold_list
    replayed([begins()], known)
    assert known.had_hold_list


# ── who was not reached ─────────────────────────────────────────────────────────────────────────


def not_reached(groups: Iterable[bytes]) -> int:
    """As who followed the ledger would be told."""
    history, facts = KeyHistory(), LedgerFacts()
    replayed(groups, history, facts)
    states = Counter(
        state for partition in range(PARTITIONS) for state in history.states(partition).values()
    )
    return facts.not_reached(states)


def accepted_keys(*keys: str) -> bytes:
    return encoded([LINES[name] | {"key": key} for key in keys for name in ("sent", "accepted")])


def test_a_run_says_at_its_begin_how_many_it_will_have_sent(begins: Callable[..., bytes]) -> None:
    """Whoever is missing there was not reached, whatever other keys the ledger names: those of an
    earlier input, and those on hold. What was taken back was not reached either."""
    first = [begins(sent_when_complete=3), accepted_keys("a", "b", "c")]
    assert not_reached(first) == 0
    held = encoded([LINES["excluded"] | {"key": key} for key in ("h", "i")])
    broke_off = [*first, begins(sent_when_complete=3 + 4), held, accepted_keys("d")]
    assert not_reached(broke_off) == 3
    sent = [LINES["sent"] | {"key": "e"}, {"type": "unsent", "key": "e", "line": 2, "attempt": 1}]
    assert not_reached([*broke_off, encoded(sent[:1])]) == 2
    assert not_reached([*broke_off, encoded(sent)]) == 3
    assert not_reached([*broke_off, accepted_keys("e", "f", "g")]) == 0


def test_of_an_older_ledger_that_broke_off_only_one_input_can_be_told(
    begins: Callable[..., bytes], facts: InputFacts
) -> None:
    """It does not say how many it will have sent. With keys of two inputs none of the last can be
    shown to be there."""
    other = msgspec.structs.replace(facts, sha256="cd" * 32)
    keys = [f"k{number}" for number in range(facts.keys)]
    assert not_reached([begins(), accepted_keys(*keys[:-1])]) == 1
    assert not_reached([begins(), begins(), accepted_keys(*keys)]) == 0
    assert not_reached([begins(), accepted_keys(*keys), begins(input=other)]) == facts.keys


def test_replay_in_parts_is_replay_of_the_whole(
    groups: list[bytes], begins: Callable[..., bytes]
) -> None:
    """Where one call ends and the next begins makes no difference."""
    lines = [group[: group.rindex(b'{"type":"commit"')] for group in groups]
    whole, parts = KeyHistory(), KeyHistory()
    whole_facts, part_facts = LedgerFacts(), LedgerFacts()
    replayed(lines, whole, whole_facts)
    for group in lines:
        replayed([group], parts, part_facts)
    for key in ("k1", "k2", "é3", "k4", "k5", "k6"):
        assert state_of(whole, key) == state_of(parts, key)
    assert state_of(whole, "k2") == "UNKNOWN"
    assert whole_facts.last_input == part_facts.last_input is not None

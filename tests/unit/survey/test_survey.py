"""Every row gets one decision, counted twice, independently."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from bulk_eraser.errors import BulkEraserError, InputError
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import KeyRow, KeyRows, Reading, RejectedRow
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.hold_list import HoldList
from bulk_eraser.survey.survey import DecidedRow, Survey

Write = Callable[..., Path]
States = Mapping[str, KeyState]


def held(keys: Iterable[str]) -> HoldList:
    """A hold list of these keys."""
    hold_list = HoldList("hold.csv")
    for line, key in enumerate(keys, 2):
        hold_list.add(key, line)
    return hold_list


def known(states: States) -> Callable[[int], dict[bytes, KeyState]]:
    """What a ledger says of these keys, by partition."""
    digests = {digest_of(key): state for key, state in states.items()}
    return lambda part: {digest: s for digest, s in digests.items() if digest[0] == part}


@pytest.fixture
def survey_of(write: Write) -> Iterator[Callable[..., Survey]]:
    """A survey of such a file, read to its end and decided about."""
    surveys = []

    def survey_of(
        text: str | bytes,
        name: str = "keys.csv",
        states: States | None = None,
        hold_list: Iterable[str] | None = None,
        retry_failed: bool = False,
        **reading: object,
    ) -> Survey:
        survey = Survey(InputReader(str(write(text, name)), Reading(**reading)))  # type: ignore[arg-type]
        surveys.append(survey)
        survey.read()
        survey.hold_list = held(hold_list) if hold_list is not None else None
        survey.decide(known(states or {}), retry_failed=retry_failed)
        return survey

    yield survey_of
    for survey in surveys:
        survey.close()


def decided(survey: Survey) -> list[tuple[int, str, int]]:
    """Line, decision and first line of every row, from the second reading."""
    return [(r.row.line, named(r), r.first_line) for r in survey.second_reading()]


def named(row: DecidedRow) -> str:
    """The action, and the state of a key that is sent or kept."""
    action, state = row.decision
    with_state = action in (Action.SEND, Action.KEEP)
    return f"{action.name}_{state.name}" if with_state else action.name


# ── fates ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "decision", "retried"),
    [
        (KeyState.NOT_SENT, "SEND_NOT_SENT", "SEND_NOT_SENT"),
        (KeyState.SENT, "SEND_SENT", "SEND_SENT"),
        (KeyState.UNKNOWN, "SEND_UNKNOWN", "SEND_UNKNOWN"),
        (KeyState.FAILED, "SEND_FAILED", "SEND_FAILED"),
        (KeyState.EXCLUDED, "SEND_EXCLUDED", "SEND_EXCLUDED"),
        (KeyState.REFUSED, "KEEP_REFUSED", "SEND_REFUSED"),
        (KeyState.IN_PROGRESS, "KEEP_IN_PROGRESS", "KEEP_IN_PROGRESS"),
        (KeyState.ERASED, "KEEP_ERASED", "KEEP_ERASED"),
        (KeyState.EXPORTED, "KEEP_EXPORTED", "KEEP_EXPORTED"),
        (KeyState.JOB_FAILED, "KEEP_JOB_FAILED", "SEND_JOB_FAILED"),
    ],
)
def test_what_the_ledger_says_decides(
    survey_of: Callable[..., Survey], state: KeyState, decision: str, retried: str
) -> None:
    """Each state has its decision, and --retry-failed sends what was refused or lost."""
    text = "customerKey\nnew\nk\nnew2\n"
    for retry_failed, expected in ((False, decision), (True, retried)):
        survey = survey_of(text, states={"k": state}, retry_failed=retry_failed)
        assert decided(survey) == [
            (2, "SEND_NOT_SENT", 0),
            (3, expected, 0),
            (4, "SEND_NOT_SENT", 0),
        ]
        assert survey.count(action=Action.SEND) == 2 + expected.startswith("SEND_")


@pytest.mark.parametrize("state", KeyState)
@pytest.mark.parametrize("retry_failed", [False, True])
def test_a_key_on_the_hold_list_is_never_sent(
    survey_of: Callable[..., Survey], state: KeyState, retry_failed: bool
) -> None:
    """The hold list is stronger than whatever the ledger says of the key."""
    survey = survey_of(
        "customerKey\nk\nother\nk\n",
        states={"k": state},
        hold_list=["k", "not in the input"],
        retry_failed=retry_failed,
    )
    assert decided(survey) == [(2, "EXCLUDE", 0), (3, "SEND_NOT_SENT", 0), (4, "DUPLICATE", 2)]


def test_rejected_then_duplicate_then_excluded_then_settled(
    survey_of: Callable[..., Survey],
) -> None:
    """A row is in exactly one count, and the order of the counts is fixed."""
    survey = survey_of(
        'note,customerKey\n\n"a\nb",k1\nx,\n,k2\ny, k1\n,k2 \nz\n,k3\n,k1\n,K1\n',
        states={"k1": KeyState.IN_PROGRESS, "k2": KeyState.IN_PROGRESS},
        hold_list=["k2", ""],
    )
    assert decided(survey) == [
        (3, "KEEP_IN_PROGRESS", 0),
        (5, "REJECT", 0),
        (6, "EXCLUDE", 0),
        (7, "DUPLICATE", 3),
        (8, "DUPLICATE", 6),
        (9, "REJECT", 0),
        (10, "SEND_NOT_SENT", 0),
        (11, "DUPLICATE", 3),
        (12, "SEND_NOT_SENT", 0),
    ]
    facts = survey.facts()
    assert (facts.rows, facts.keys, facts.rejected, facts.duplicate) == (9, 4, 2, 3)
    assert survey.count(action=Action.SEND) == 2
    assert survey.stripped == 2
    assert survey.errors == {"empty_key": 1, "missing_field": 1}
    assert survey.error_lines == {"empty_key": [5], "missing_field": [9]}


def test_lines_and_counts_of_many_rows(survey_of: Callable[..., Survey]) -> None:
    """With thousands of rows each duplicate still points at its own first line."""
    rows, keys = 5000, 1700
    text = "customerKey\n" + "".join(f"k{n * 7 % keys}\n" for n in range(rows))
    survey = survey_of(text)
    for number, row in enumerate(survey.second_reading()):
        duplicate = number >= keys
        assert row.decision.action is (Action.DUPLICATE if duplicate else Action.SEND)
        assert row.first_line == (number % keys + 2 if duplicate else 0)
    assert survey.count(action=Action.SEND) == keys
    assert survey.count(action=Action.DUPLICATE) == rows - keys


def test_examples_are_few(survey_of: Callable[..., Survey]) -> None:
    """Only the first lines of each kind of rejection are kept, all are counted."""
    survey = survey_of("customerKey,n\nk,1\n" + ",1\n" * 1000)
    assert survey.errors == {"empty_key": 1000}
    assert survey.error_lines == {"empty_key": [3, 4, 5]}


def test_facts_are_the_files(survey_of: Callable[..., Survey]) -> None:
    """What `run_started` says of the input is what `sha256sum` and `wc -c` say."""
    text = "\ufeffcustomerKey;n\nk;1\n"
    facts = survey_of(text, name="my keys.csv").facts()
    assert (facts.name, facts.bytes) == ("my keys.csv", len(text.encode()))
    assert facts.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_progress_is_told(write: Write) -> None:
    """A long survey tells how far it is, every 50,000 rows."""
    survey = Survey(InputReader(str(write("customerKey\n" + "k\n" * 100_001)), Reading()))
    told: list[int] = []
    survey.read(told.append)
    assert told == [50_000, 100_000]
    survey.close()


# ── keys that look wrong ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key", ["4,01235E+15", "4.01235E+15", "4E+15", "-1,2E+09", "+1.5e+20", "1E+100"]
)
def test_keys_rounded_by_a_spreadsheet_are_found(
    survey_of: Callable[..., Survey], key: str
) -> None:
    """Keys in scientific notation are not the keys that they once were."""
    found = survey_of(f'customerKey;n\nk;\n"{key}";\n').suspects
    assert found == {"numeric_like": (1, [3])}


@pytest.mark.parametrize(
    "key",
    ["4012350000000000", "1e5", "12E-4", "E+15", "4,01E+15a", "7e4a+10", "1.2.3E+4", "a4E+15"],
)
def test_other_keys_are_not_taken_for_rounded(survey_of: Callable[..., Survey], key: str) -> None:
    """A plain number, or a key that only holds an E, is a key."""
    assert survey_of(f'customerKey;n\n"{key}";\n').suspects.keys() <= {"look_alike"}


def test_keys_that_look_personal_are_counted(survey_of: Callable[..., Survey]) -> None:
    """Every key with an @ is counted, once for each different key."""
    found = survey_of("customerKey\na@example.com\nk\nb@c\na@example.com\n").suspects
    assert found == {"personal": (2, [2, 4, 5])}


@pytest.mark.parametrize("text", ["n;customerKey\n1;\n2; \n3\n", "customerKey;n\n;1\n"])
def test_an_input_without_a_key_is_refused(survey_of: Callable[..., Survey], text: str) -> None:
    """Rows without one usable key are most likely the wrong column: 65 with the reasons."""
    with pytest.raises(InputError, match=r"not one usable key: .*empty_key \(\d\)"):
        survey_of(text)


@pytest.mark.parametrize("text", ["customerKey;n\n", "customerKey;n;m\n\n\n;;\n", "id"])
def test_an_input_without_a_row_is_refused(survey_of: Callable[..., Survey], text: str) -> None:
    """A header alone is nothing to erase."""
    with pytest.raises(InputError, match="holds no rows"):
        survey_of(text)


# ── the second reading ──────────────────────────────────────────────────────────────────────


def test_a_change_between_the_readings_is_noticed(survey_of: Callable[..., Survey]) -> None:
    """Keys that were not surveyed are not handed out."""
    survey = survey_of("customerKey\nk1\nk2\n")
    Path(survey.reader.file.path).write_text("customerKey\nk1\nk3\n")
    with pytest.raises(InputError, match="was changed after it was surveyed"):
        decided(survey)


@pytest.mark.parametrize(
    "rows",
    [
        [KeyRow("k1", 2, False)],
        [KeyRow("k1", 2, False), KeyRow("k2", 3, False), KeyRow("k3", 4, False)],
        [KeyRow("k1", 2, False), RejectedRow("empty_key", 3)],
        [],
        [KeyRows(2, ["k1"])],
        [KeyRows(2, ["k1", "k2", "k3"])],
    ],
)
def test_readings_that_disagree_are_an_internal_error(
    survey_of: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch, rows: list[KeyRow]
) -> None:
    """Should the same bytes ever give other rows, the run does not go on as if they were right."""
    survey = survey_of("customerKey\nk1\nk2\n")
    monkeypatch.setattr(survey.reader, "checked_groups", lambda: iter(rows))
    with pytest.raises(BulkEraserError, match="do not agree") as disagreement:
        decided(survey)
    assert disagreement.value.exit_code == 70


def test_nothing_is_left_in_the_temporary_folder(
    survey_of: Callable[..., Survey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First lines of duplicates are kept in a file without a name."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    survey = survey_of("customerKey\nk\nk\n")
    assert decided(survey) == [(2, "SEND_NOT_SENT", 0), (3, "DUPLICATE", 2)]
    assert os.listdir(folder) == []


# ── the samples ─────────────────────────────────────────────────────────────────────────────

SAMPLES = Path(__file__).parents[3] / "sample_inputs"
README = (SAMPLES / "README.md").read_text()
TABLE = re.findall(
    r"^\| `([\w.]+)` \| [^|]+ \| (?:`([^`]+)` )?\| ([\d,]+) \| ([\d,]+) \| (\d+) \| (\d+) \|$",
    README,
    re.MULTILINE,
)
INVALID = re.findall(r"^\| `([\w.]+)` \| [^|]+ \|$", README, re.MULTILINE)


def survey_file(path: Path, options: str = "") -> Survey:
    """The survey of a file as it is, read with these options and decided."""
    words = re.findall(r"--(\w+-field|sheet) (\S+)", options)
    named = {word.replace("-", "_"): value for word, value in words}
    reading = Reading(header="--no-header" not in options, **named)
    survey = Survey(InputReader(str(path), reading))
    survey.read()
    survey.decide(known({}))
    return survey


def test_every_sample_is_in_the_table() -> None:
    """The README of the samples names all of them."""
    others = (".md", ".py", ".ledger.ndjson", ".rehearsal.ndjson")
    samples = [p.name for p in SAMPLES.iterdir() if p.is_file() and not p.name.endswith(others)]
    assert sorted(samples) == sorted(row[0] for row in TABLE)
    assert sorted(p.name for p in (SAMPLES / "invalid").iterdir()) == sorted(INVALID)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_sample_holds_what_its_readme_says(row: tuple[str, ...]) -> None:
    """Rows, keys, rejected and duplicate rows are those of the table."""
    name, options, *counts = row
    with closing(survey_file(SAMPLES / name, options)) as survey:
        facts = survey.facts()
        assert [facts.rows, facts.keys, facts.rejected, facts.duplicate] == [
            int(count.replace(",", "")) for count in counts
        ]
        assert len(decided(survey)) == facts.rows


@pytest.mark.parametrize("path", sorted((SAMPLES / "invalid").iterdir()), ids=lambda p: p.name)
def test_an_invalid_sample_is_refused(path: Path) -> None:
    """None of them gets as far as a key, or its keys look damaged."""
    if path.name == "rounded_keys.csv":
        with closing(survey_file(path)) as survey:
            assert survey.suspects["numeric_like"].lines == [2, 3, 4]
        return
    with pytest.raises(InputError, match=re.escape(path.name)):
        survey_file(path)

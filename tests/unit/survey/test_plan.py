"""A plan as a value and as a file: what it binds, how it is written, what is read."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import InputError, LedgerWriteError, UsageError
from bulk_eraser.key_partitions import digest_of
from bulk_eraser.ledger.key_state import KeyState
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey import plan as plan_module
from bulk_eraser.survey.checks import Allow, Intake, survey_of
from bulk_eraser.survey.plan import (
    Author,
    Plan,
    PlanFile,
    Said,
    made_from,
    must_be_free,
    read_plan,
    write_plan,
)
from bulk_eraser.survey.survey import Survey

ACME = Target.of_cluster("acme")
OF_PLAN = ("keys", "made_by", "hold_list", "keys_sha256", "target", "api")
ROWS = "customerKey,asked\nk-1,2024-05-01\nk-2,\nk-1,\n,x\nk-3,\n"


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[Callable[..., Survey]]:
    """The decided survey of such a file, with a hold list of these keys."""
    surveys: list[Survey] = []

    def survey(
        content: str | bytes = ROWS,
        name: str = "keys.csv",
        hold: str | None = None,
        known: dict[str, KeyState] | None = None,
        **reading: object,
    ) -> Survey:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        held = None
        if hold is not None:
            (tmp_path / "hold.csv").write_text(hold)
            held = InputReader(str(tmp_path / "hold.csv"), Reading())
        intake = Intake(InputReader(str(path), Reading(**reading)), held)  # type: ignore[arg-type]
        digests = {digest_of(key): state for key, state in (known or {}).items()}
        surveys.append(
            survey_of(intake, lambda part: {d: s for d, s in digests.items() if d[0] == part})
        )
        return surveys[-1]

    yield survey
    for one in surveys:
        one.close()


def made(survey: Survey, **other: Any) -> Plan:
    """The plan for a survey; `other` takes the place of fields of it, or of its `input`."""
    held = survey.hold_list and InputReader(
        str(Path(survey.reader.file.path).parent / "hold.csv"), Reading()
    )
    plan = made_from(
        survey,
        Intake(survey.reader, held or None),
        ACME,
        ApiVersion.V4,
        path="plan.json",
        tool="t",
        author=Author("Ada", "ada", "2030-01-01T00:00:00Z"),
    )
    of_plan = {name: value for name, value in other.items() if name in OF_PLAN}
    facts = {name: value for name, value in other.items() if name not in of_plan}
    changed = msgspec.structs.replace(plan.input, **facts)
    return msgspec.structs.replace(plan, input=changed, **of_plan)


def file_of(plan: Plan) -> PlanFile:
    return PlanFile("plan.json", "0" * 64, plan)


# ── what it binds ───────────────────────────────────────────────────────────────────────────


def test_what_was_planned_matches(survey: Callable[..., Survey]):
    """A plan matches the input that it was made from, read again in the same way."""
    options = {"received_field": "asked", "hold": "customerKey\nk-2\n"}
    plan = file_of(made(survey(**options)))
    again = survey(**options)
    assert plan.target == ACME
    plan.must_match(again)


def test_keys_in_order_each_ended_by_a_newline(survey: Callable[..., Survey]):
    """`keys_sha256` is over the keys that are sent, the first of each, without those on hold."""
    plan = made(survey())
    assert (plan.keys, plan.keys_sha256) == (3, sha256(b"k-1\nk-2\nk-3\n").hexdigest())
    plan = made(survey(hold="customerKey\nk-1\n"))
    assert (plan.keys, plan.keys_sha256) == (2, sha256(b"k-2\nk-3\n").hexdigest())


def test_the_ledger_does_not_make_it_another(survey: Callable[..., Survey]):
    """What earlier runs settled, refused or left changes neither count nor digest."""
    plan = file_of(made(survey(hold="customerKey\nk-2\n")))
    states = [KeyState.IN_PROGRESS, KeyState.REFUSED, KeyState.SENT, KeyState.EXCLUDED]
    for state in states:
        known = dict.fromkeys(["k-1", "k-2", "k-3"], state)
        plan.must_match(survey(hold="customerKey\nk-2\n", known=known))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"sha256": "0" * 64}, "the input was changed"),
        ({"format": "ndjson"}, "--format: 'ndjson' in the plan, 'csv' in this run"),
        ({"sheet": "A"}, "--sheet"),
        ({"key_field": "asked"}, "--key-field"),
        ({"header": False}, "--no-header"),
        ({"header_row": 2}, "--header-row"),
        ({"delimiter": ";"}, "--delimiter"),
        ({"encoding": "cp1252"}, "--encoding"),
        ({"received_field": "asked"}, "--received-field"),
        ({"received_format": "%d.%m.%Y"}, "--received-format"),
        ({"reference_field": "asked"}, "--reference-field"),
        (
            {"hold_list": plan_module.HoldFacts(path="h", name="h", sha256="0" * 64, keys=1)},
            "hold list was changed",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_survey_finds_otherwise(
    survey: Callable[..., Survey], other: dict[str, Any], told: str
):
    """Every difference between the plan and what was read is named."""
    read = survey()
    with pytest.raises(UsageError, match=told):
        file_of(made(read, **other)).must_match(read)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"keys": 4}, "number of keys: 4 in the plan, 3 in this run"),
        ({"keys_sha256": sha256(b"k-2\nk-1\nk-3\n").hexdigest()}, "keys_sha256"),
        ({"keys_sha256": sha256(b"k-1\nk-2\nk-3").hexdigest()}, "keys_sha256"),
    ],
)
def test_keys_that_are_not_the_planned_ones(
    survey: Callable[..., Survey], other: dict[str, Any], told: str
):
    """Count and digest are bound apart from the input's own digest."""
    read = survey()
    with pytest.raises(UsageError, match=told):
        file_of(made(read, **other)).must_match(read)


def test_all_differences_are_named_at_once(survey: Callable[..., Survey]):
    """Who has to look for differences gets all of them."""
    plan = file_of(made(survey(hold="customerKey\nk-2\n")))
    with pytest.raises(UsageError) as caught:
        plan.must_match(survey(ROWS + "k-4,\n", received_field="asked"))
    for told in ("input was changed", "--received-field", "hold list was changed", "2 in the plan"):
        assert told in str(caught.value)
    said = [
        Said("--key-field", "key_field", "id"),
        Said("BULK_ERASER_DELIMITER", "delimiter", ";"),
        Said("--cluster-id", "target", "acme2"),
        Said("--api-version", "api", ApiVersion.V3),
    ]
    with pytest.raises(UsageError) as caught:
        plan.must_suit(said)
    for told in (
        "--key-field says 'id', but the plan has 'customerKey'",
        "BULK_ERASER_DELIMITER says ';', but the plan has ','",
        "--cluster-id says 'acme2', but the plan has 'acme'",
        "--api-version says 'v3', but the plan has 'v4'",
    ):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("content", "planned", "same", "other"),
    [
        (ROWS, "utf-8", ["UTF-8", "utf8", "U8"], ["ascii", "utf-16", "utf-8-sig"]),
        (ROWS, "latin-1", ["ISO-8859-1", "latin1", "l1"], ["cp1252", "utf-8", "iso8859-15"]),
        ("\ufeff" + ROWS, None, ["utf-8", "UTF-8-SIG", "utf_8"], ["utf-16", "cp1252"]),
        (ROWS.encode("utf-16"), None, ["UTF-16", "utf-16le"], ["utf-8", "utf-32"]),
    ],
    ids=["utf-8", "latin-1", "mark", "utf-16"],
)
def test_an_encoding_has_many_names(
    survey: Callable[..., Survey],
    content: str | bytes,
    planned: str | None,
    same: list[str],
    other: list[str],
):
    """Another name of the encoding that was planned is no difference; another encoding is."""
    plan = file_of(made(survey(content, encoding=planned)))
    for encoding in same:
        again = survey(content, encoding=encoding)
        plan.must_suit([Said("--encoding", "encoding", encoding)])
        plan.must_match(again)
    for encoding in other:
        with pytest.raises(UsageError, match="--encoding"):
            plan.must_suit([Said("--encoding", "encoding", encoding)])


def test_an_unknown_encoding_is_for_the_reader_to_tell(survey: Callable[..., Survey]):
    """What no encoding is called is not said to be a difference."""
    file_of(made(survey())).must_suit([Said("--encoding", "encoding", "klingon")])


def test_what_was_found_in_the_file_may_be_said(survey: Callable[..., Survey]):
    """What was not asked for then and is said now agrees if it is what was found."""
    plan = file_of(made(survey()))
    for field, value, other in (
        ("delimiter", ",", ";"),
        ("key_field", "customerKey", "asked"),
        ("header", True, False),
        ("received_field", None, "asked"),
        ("allow", (), (Allow.DATES,)),
        ("hold_list", None, "hold.csv"),
    ):
        plan.must_suit([Said("--it", field, value)])
        with pytest.raises(UsageError, match="--it says"):
            plan.must_suit([Said("--it", field, other)])


def test_an_input_that_changes_under_the_check(survey: Callable[..., Survey], tmp_path: Path):
    """No plan is made of an input that is not what was surveyed."""
    read = survey()
    (tmp_path / "keys.csv").write_text(ROWS.replace("k-3", "k-4"))
    with pytest.raises(InputError, match="changed"):
        made(read)


# ── the file ────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_read(survey: Callable[..., Survey], tmp_path: Path):
    """A plan is read as it was written, with the digest of the file's bytes, and names no key."""
    path, plan = tmp_path / "plan.json", made(survey(hold="customerKey\nk-2\n"))
    write_plan(str(path), plan)
    found = read_plan(str(path))
    assert found == PlanFile(str(path), sha256(path.read_bytes()).hexdigest(), plan)
    assert (found.facts.made_by, found.facts.made_at) == ("Ada", "2030-01-01T00:00:00Z")
    assert found.facts.sha256 == found.sha256
    content = path.read_text()
    assert not any(key in content for key in ("k-1", "k-2", "k-3"))
    assert list(json.loads(content))[:2] == ["type", "format"]


def test_the_content_is_on_disk_before_the_name(
    survey: Callable[..., Survey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The file is written beside, synced, and only then takes the plan's place."""
    path, plan = tmp_path / "plan.json", made(survey())
    synced: list[int] = []
    replaced: list[bytes] = []
    sync, move = os.fsync, os.replace

    def note_sync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        sync(fd)

    def note_move(source: str, to: str) -> None:
        assert synced == [os.stat(source).st_size]
        assert not os.path.exists(to)
        replaced.append(Path(source).read_bytes())
        move(source, to)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_move)
    write_plan(str(path), plan)
    assert replaced == [path.read_bytes()]


def test_a_reader_sees_a_whole_plan_at_any_time(survey: Callable[..., Survey], tmp_path: Path):
    """While plans replace each other, whoever reads gets one of them, never a part."""
    path = str(tmp_path / "plan.json")
    plans = [made(survey(), made_by=name * 3000) for name in ("a", "b")]
    write_plan(path, plans[0])
    done = threading.Event()

    def write() -> None:
        for n in range(100):
            write_plan(path, plans[n % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or not reads:
        assert read_plan(path).plan in plans
        reads += 1
    writer.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_what_breaks_the_writing_leaves_nothing(
    survey: Callable[..., Survey],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Any,
    at: str,
):
    """An error or Ctrl-C on the way leaves the older plan and no other file."""
    path, old = tmp_path / "plan.json", made(survey(), made_by="old")
    write_plan(str(path), old)
    before = sorted(os.listdir(tmp_path))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, at, fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else LedgerWriteError):
        write_plan(str(path), made(survey()))
    assert read_plan(str(path)).plan == old
    assert sorted(os.listdir(tmp_path)) == before


def test_a_plan_takes_the_place_of_no_other_file(survey: Callable[..., Survey], tmp_path: Path):
    """Known before anything is read, and looked at again when it is written."""
    path = tmp_path / "notes.json"
    path.write_text("mine")
    for refuse in (lambda: must_be_free(str(path)), lambda: write_plan(str(path), made(survey()))):
        with pytest.raises(UsageError, match="is not a plan"):
            refuse()
    assert path.read_text() == "mine"
    must_be_free(str(tmp_path / "new.json"))
    for name in ("", "/dev/null", str(tmp_path)):
        with pytest.raises(UsageError):
            must_be_free(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: b"",
        lambda whole: b"null",
        lambda whole: b"[]",
        lambda whole: b"plan",
        lambda whole: b"\xff\xfe" + whole,
        lambda whole: whole[:-3],
        lambda whole: whole + whole,
        lambda whole: whole + b" " * (1 << 20),
        lambda whole: b"[" * 100_000,
        lambda whole: whole.replace(b'"plan"', b'"run_started"'),
        lambda whole: whole.replace(b'"keys": 3', b'"keys": "3"'),
        lambda whole: whole.replace(b'"keys_sha256"', b'"keys_md5"'),
    ],
    ids=[
        *("empty", "null", "list", "text", "bytes", "cut", "twice", "long", "deep"),
        *("type", "kind", "missing"),
    ],
)
def test_what_is_no_plan(
    survey: Callable[..., Survey], tmp_path: Path, change: Callable[[bytes], bytes]
):
    """A file that does not hold exactly what a plan must is none."""
    path = tmp_path / "plan.json"
    write_plan(str(path), made(survey()))
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert path.read_bytes() != whole
    with pytest.raises(UsageError, match="is not a plan"):
        read_plan(str(path))


def test_a_plan_of_a_newer_version(survey: Callable[..., Survey], tmp_path: Path):
    """What it binds may mean something else then: refused, and not replaced."""
    path = tmp_path / "plan.json"
    write_plan(str(path), made(survey()))
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    for refuse in (lambda: read_plan(str(path)), lambda: must_be_free(str(path))):
        with pytest.raises(UsageError, match="newer version"):
            refuse()


def test_a_plan_of_an_older_version(survey: Callable[..., Survey], tmp_path: Path):
    """It does not say all that a run needs: refused, and a new one may take its place."""
    path = tmp_path / "plan.json"
    path.write_text('{"type":"plan","format":1,"tool":"bulk-eraser 0.1"}')
    with pytest.raises(UsageError, match="older version"):
        read_plan(str(path))
    write_plan(str(path), made(survey()))
    assert read_plan(str(path)).plan.format == 2


def test_a_field_that_is_not_known_is_ignored(survey: Callable[..., Survey], tmp_path: Path):
    """A later version may add to a plan what does not bind."""
    path, plan = tmp_path / "plan.json", made(survey())
    write_plan(str(path), plan)
    path.write_bytes(path.read_bytes().replace(b'"type"', b'"note": [1], "type"'))
    assert read_plan(str(path)).plan == plan


@pytest.mark.parametrize(
    "other", [{"target": "other"}, {"base": "https://acme.example.com/api/admin/v4"}]
)
def test_target_and_address_belong_together(survey: Callable[..., Survey], other: dict[str, str]):
    """A plan in which only one of them was changed by hand has no target."""
    plan = file_of(msgspec.structs.replace(made(survey()), **other))
    with pytest.raises(UsageError, match="was changed by hand"):
        _ = plan.target

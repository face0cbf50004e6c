"""The input gate: what refuses an input as a whole, and that nothing is left open."""

import gc
import gzip
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.errors import InputError, TemporaryFolderFull, UsageError
from bulk_eraser.sources.reader import InputReader
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.checks import Allow, Intake, must_be_usable, survey_of
from bulk_eraser.survey.decision import Action

KEYS = "customerKey,n\nk-1,x\nk-2,x\n"


@pytest.fixture
def intake(tmp_path: Path) -> Callable[..., Intake]:
    """An input and a hold list with this content."""

    def reader(name: str, content: str | bytes) -> InputReader:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return InputReader(str(path), Reading())

    def intake(content: str | bytes = KEYS, hold: str | None = None, **asked: Any) -> Intake:
        held = reader("hold.csv", hold) if hold is not None else None
        return Intake(reader("keys.csv", content), held, **asked)

    return intake


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Every test gives back what it opened."""
    gc.collect()  # what earlier tests left for the collector
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


def judge(intake: Intake) -> None:
    survey = survey_of(intake)
    try:
        must_be_usable(survey, intake)
    finally:
        survey.close()


@pytest.mark.parametrize("strict", [False, True])
def test_a_good_input_passes(intake: Callable[..., Intake], strict: bool):
    """Duplicates, blanks and a hold list are no reason to refuse."""
    judge(intake(KEYS + "k-1,x\n k-3,x\n", "customerKey\nk-2\nk-9\n", strict=strict))


def test_strict_names_the_first_rejected_row(intake: Callable[..., Intake]):
    """With `strict` one rejected row refuses, with its line and word; without it does not."""
    content = KEYS + ",x\n" + "k" * 2049 + ",x\n,x\n"
    judge(intake(content))
    with pytest.raises(InputError, match=r"3 rows .*\(line 4: empty_key\)"):
        judge(intake(content, strict=True))


@pytest.mark.parametrize("key", ["4,01235E+15", "4.1e+9", "-7E+20", '="0012"'])
def test_keys_from_a_spreadsheet(intake: Callable[..., Intake], key: str):
    """Rounded or wrapped keys refuse with their lines unless they are allowed, in the input as in
    the hold list."""
    quoted = key.replace('"', '""')
    content = f'{KEYS}"{quoted}",x\n'
    with pytest.raises(InputError, match=r"\(line 4\).*--allow numeric_like"):
        judge(intake(content))
    judge(intake(content, allowed=frozenset({Allow.NUMERIC_LIKE})))
    with pytest.raises(InputError, match=r"hold list hold.csv .*line 4 "):
        judge(intake(KEYS, content))
    judge(intake(KEYS, content, allowed=frozenset({Allow.NUMERIC_LIKE})))


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("dates", ["2026-11-24", "24.11.1964", "11/24/2026"]),
        ("personal", ["a@example.com", "b@example.com", "c@example.com"]),
        ("placeholder", ["NULL", "#N/A", "undefined"]),
    ],
)
def test_the_wrong_column(intake: Callable[..., Intake], word: str, wrong: list[str]):
    """More than half of the different keys are none: refused, for a single one as well. Half of
    them, or the word for it, lets them pass."""
    for keys in (wrong, wrong[:1], [*wrong, "k-1", "k-2"], [*wrong, "k-1", "k-1", "k-2"]):
        content = "\n".join(["customerKey", *keys, ""])
        found = f"of {len(set(keys))} keys .*lines? 2.* use --allow {word}\\.$"
        with pytest.raises(InputError, match=found):
            judge(intake(content))
        judge(intake(content, allowed=frozenset({Allow(word)})))
    judge(intake("\n".join(["customerKey", *wrong, "k-1", "k-2", "k-3", ""])))


def test_columns_that_were_read_as_one(intake: Callable[..., Intake]):
    """A ; or | in every one of three keys is no accident. In some of them, or in two, it may be."""
    content = "customerKey\nC-1;Anna\nC-2;Bo\nC-3|Cleo\n"
    with pytest.raises(
        InputError, match=r"\(lines 2, 3 and 4\).*--delimiter.*--allow separator\.$"
    ):
        judge(intake(content))
    judge(intake(content, allowed=frozenset({Allow.SEPARATOR})))
    judge(intake(f"{content}C-4\n"))
    judge(intake("customerKey\nC-1;Anna\nC-2;Bo\n"))


def test_rows_that_repeat_each_other(intake: Callable[..., Intake]):
    """More than half of the rows are duplicates: no column of keys, such as a country. Half of
    them are not."""
    content = KEYS + "k-1,x\nk-1,x\nk-2,x\n"
    with pytest.raises(InputError, match=r"3 of 5 rows .*--allow duplicates\.$"):
        judge(intake(content))
    judge(intake(content, allowed=frozenset({Allow.DUPLICATES})))
    judge(intake(KEYS + "k-1,x\nk-1,x\n"))


def test_a_wrong_column_of_several_kinds(intake: Callable[..., Intake]):
    """All that is wrong is told at once; to allow a part of it is not enough."""
    content = "customerKey\n" + "2026-11-24\n" * 3
    with pytest.raises(InputError, match=r"--allow dates --allow duplicates\.$"):
        judge(intake(content))
    with pytest.raises(InputError, match=r"use --allow duplicates\.$"):
        judge(intake(content, allowed=frozenset({Allow.DATES})))
    judge(intake(content, allowed=frozenset({Allow.DATES, Allow.DUPLICATES})))


TORN = "customerKey\n8f14e45f-ceea-467f-9c5e-1b2a3c4d5e6f\n97eeab64-ca2c-4"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_torn_end(intake: Callable[..., Intake], encoding: str):
    """A last row without a line end and with a shorter key refuses unless that is allowed; so does
    a hold list with such an end. With a line end, or behind blanks, it is a key like any other."""
    torn = TORN.encode(encoding)
    allowed = frozenset({Allow.TORN_END})
    with pytest.raises(InputError, match=r"last row has no line end.*--allow torn_end"):
        judge(intake(torn))
    judge(intake(torn, allowed=allowed))
    with pytest.raises(InputError, match=r"hold list hold.csv .*line 3 .*--allow torn_end"):
        judge(intake(KEYS, torn))
    judge(intake(KEYS, torn, allowed=allowed))
    for end in ("\n", "\r\n", "\n ", "\n;;", ""):
        judge(intake((TORN[:-15] if not end else TORN + end).encode(encoding)))


def test_a_torn_end_that_is_no_key(intake: Callable[..., Intake]):
    """A last row without a usable key is rejected, and nothing of it is sent."""
    judge(intake(TORN + "\n\x01"))
    judge(intake("id,customerKey\n1,8f14e45f-ceea-467f-9c5e-1b2a3c4d5e6f\n2"))


@pytest.mark.parametrize("entry", ["K-1", "\uff4b-1", "k-\u200b1"])
def test_an_entry_that_would_not_be_held(intake: Callable[..., Intake], entry: str):
    """A hold in another case or Unicode form than the input's refuses with its line."""
    with pytest.raises(InputError, match=r"hold list hold.csv .*line 3\)"):
        judge(intake(KEYS, f"customerKey\nk-2\n{entry}\n"))


def test_a_hold_list_takes_its_keys_out(intake: Callable[..., Intake]):
    """What is on hold is excluded, whatever the order of rows; a duplicate stays one."""
    survey = survey_of(intake(KEYS + "k-1,x\n", "customerKey\nk-1\n"))
    actions = [row.decision.action for row in survey.second_reading()]
    survey.close()
    assert actions == [Action.EXCLUDE, Action.SEND, Action.DUPLICATE]


@pytest.mark.parametrize(
    ("content", "hold", "error"),
    [
        (b"customerKey\n\xfc\n", None, InputError),
        (gzip.compress(KEYS.encode(), mtime=0), None, InputError),
        (KEYS, "customerKey\n\xfc,\n,x\n", InputError),
        (KEYS, "id,n\n1,x\n", InputError),
        (KEYS, "", InputError),
    ],
)
def test_what_cannot_be_read(
    intake: Callable[..., Intake], content: str | bytes, hold: str | None, error: type[Exception]
):
    """An input or a hold list that cannot be read is refused."""
    with pytest.raises(error):
        judge(intake(content, hold))


def test_a_full_temporary_folder(intake: Callable[..., Intake], monkeypatch: pytest.MonkeyPatch):
    """Where nothing can be remembered it is the disk's fault, and the folder is named."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(TemporaryFolderFull, match=r"/nowhere .*TMPDIR"):
        survey_of(intake(KEYS + "k-1,x\n"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError("no"), OSError(5, "broken")])
def test_what_ends_a_survey_gives_the_copy_back(tmp_path: Path, error: type[BaseException]):
    """Ctrl-C, an error, or a disk that fails: the copy of a piped input and all temporary files
    are given back (which is looked for after every test)."""
    fifo = tmp_path / "keys.csv"
    os.mkfifo(fifo)
    feed = threading.Thread(target=lambda: fifo.write_text(KEYS + "k-1,x\n"))
    feed.start()
    intake = Intake(InputReader(str(fifo), Reading()))
    feed.join()

    def states(partition: int) -> dict[bytes, object]:
        if partition == 255:
            raise error
        return {}

    with pytest.raises((KeyboardInterrupt, UsageError, TemporaryFolderFull)):
        survey_of(intake, states)  # type: ignore[arg-type]


def test_progress_is_told(intake: Callable[..., Intake]):
    """A long reading is told of every 50,000 rows."""
    rows = "".join(f"k-{n},x\n" for n in range(100_001))
    told: list[int] = []
    survey_of(intake("customerKey,n\n" + rows), progress=told.append).close()
    assert told == [50_000, 100_000]

"""What is proven, what was torn by a crash, and what no crash can leave behind."""

import gzip
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pytest

from bulk_eraser.errors import LedgerDamaged
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.recovery import LedgerScan
from bulk_eraser.records import Record, Recovered, RunStarted, Sent

AT = "2024-03-01T12:00:01.000Z"
PAGE = 4096
SECTOR = 512
COMMIT = b'{"type":"commit"'


@contextmanager
def opened(path: Path) -> Iterator[LedgerFile]:
    file = LedgerFile(str(path))
    try:
        yield file
    finally:
        file.close()


def recovered_from(path: Path, content: bytes) -> list[Recovered]:
    """Write `content`, recover it as a run does, and return what there is to tell."""
    path.write_bytes(content)
    with opened(path) as file:
        return file.begin()


def tails(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.tail"))


def refuse(path: Path, content: bytes) -> str:
    """`content` must be refused as damage and left alone; returns the message."""
    path.write_bytes(content)
    before = path.stat()
    with pytest.raises(LedgerDamaged) as refused:
        LedgerFile(str(path))
    after = path.stat()
    assert path.read_bytes() == content
    assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode)
    assert list(path.parent.iterdir()) == [path]
    return str(refused.value)


def lines_of(groups: list[bytes]) -> list[bytes]:
    return [line + b"\n" for line in b"".join(groups).split(b"\n")[:-1]]


def lost_pages(
    synced: bytes, group: bytes, written: Callable[[int], bool], size: int | None = None
) -> bytes:
    """What a power loss leaves of `group`, written behind `synced` but not yet synced.

    Of each 4 KiB page either all new bytes reached the disk or none; `size` is what the file
    system knows of the file's new length.
    """
    content = bytearray(synced + bytes(len(group)))
    for page in range(len(synced) // PAGE, (len(content) - 1) // PAGE + 1):
        if written(page):
            begin, end = max(page * PAGE, len(synced)), min((page + 1) * PAGE, len(content))
            content[begin:end] = group[begin - len(synced) : end - len(synced)]
    return bytes(content[: len(synced) + (len(group) if size is None else size)])


# ── a crash ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)])
def test_a_ledger_cut_at_any_byte_goes_on_behind_its_last_valid_commit(
    step: int,
    path: Path,
    groups: list[bytes],
    sent: Callable[[str], Sent],
    verify: Callable[[bytes], str],
) -> None:
    """The tail is moved aside byte for byte, and what is appended then makes a valid ledger."""
    content = b"".join(groups)
    ends = [0, *accumulate(map(len, groups))]
    line_ends = {0, *(place + 1 for place, byte in enumerate(content) if byte == ord("\n"))}
    for cut in range(len(content) + 1):
        if cut % step and not {cut - 1, cut, cut + 1} & line_ends:
            continue
        proven = max(end for end in ends if end <= cut)
        tail = content[proven:cut]
        path.write_bytes(content[:cut])
        with opened(path) as file:
            recovered = file.begin()
            assert path.read_bytes() == content[:proven]
            group, head = encode_group(file.head, [*recovered, sent("next")], AT)
            file.append(group)
        assert path.read_bytes() == content[:proven] + group
        assert verify(path.read_bytes()) == head
        assert [(r.bytes, r.sha256) for r in recovered] == (
            [(len(tail), sha256(tail).hexdigest())] if tail else []
        )
        assert [(found.name, found.read_bytes()) for found in tails(path)] == [
            (r.file, tail) for r in recovered
        ]
        for found in tails(path):
            found.unlink()


def test_a_valid_ledger_is_not_touched_by_opening_it(path: Path, groups: list[bytes]) -> None:
    """Opening proves and reads; the bytes stay, and nothing is moved aside."""
    assert recovered_from(path, b"".join(groups)) == []
    assert path.read_bytes() == b"".join(groups)
    assert tails(path) == []


def test_a_tail_of_many_blocks_is_moved_aside_whole(path: Path, groups: list[bytes]) -> None:
    """A tail that is larger than what is read at once arrives in its file unchanged."""
    tail = random.Random(1).randbytes(3_000_000).replace(b"\n", b"\r")
    (told,) = recovered_from(path, b"".join(groups) + tail)
    assert [found.read_bytes() for found in tails(path)] == [tail]
    assert (told.bytes, told.sha256) == (len(tail), sha256(tail).hexdigest())


def test_zeros_from_any_byte_of_the_last_group_on_are_a_crash(
    path: Path, groups: list[bytes]
) -> None:
    """A power loss that left the last group's length but not its bytes costs that group alone."""
    proven, last = b"".join(groups[:-1]), groups[-1]
    for kept in range(len(last)):
        tail = last[:kept] + bytes(len(last) - kept)
        (told,) = recovered_from(path, proven + tail)
        assert path.read_bytes() == proven
        assert told.bytes == len(tail)


@pytest.mark.parametrize("losses", [100, pytest.param(2000, marks=pytest.mark.soak)])
def test_pages_lost_at_random_cost_at_most_the_group_that_was_not_synced(
    losses: int,
    path: Path,
    groups: list[bytes],
    sent: Callable[[str], Sent],
) -> None:
    """Whichever pages of the unsynced group a power loss took, what was synced is kept."""
    chance = random.Random(20240301)
    synced = b"".join(groups)
    scan = LedgerScan()
    assert len(list(scan.groups(iter([synced])))) == len(groups)
    group, _ = encode_group(scan.head, [sent(f"key-{n:040}") for n in range(300)], AT)
    assert len(group) > 6 * PAGE
    outcomes = set()
    for _ in range(losses):
        share = chance.choice([0.2, 0.5, 0.9, 1.0])
        size = chance.choice([None, None, chance.randrange(len(group) + 1)])
        left = lost_pages(synced, group, lambda _page, share=share: chance.random() < share, size)
        recovered_from(path, left)
        expected = synced + group if left == synced + group else synced
        assert path.read_bytes() == expected
        outcomes.add(len(expected))
    assert len(outcomes) == 2, "the model never lost, or never kept, the group"


def test_a_first_group_with_lost_pages_is_begun_anew(
    path: Path,
    run_started: Callable[..., RunStarted],
    chained: Callable[[list[list[Record]]], list[bytes]],
) -> None:
    """Also without any commit on disk yet, a torn beginning is a crash and not a foreign file."""
    (group,) = chained([[run_started(requester="r" * 9000)]])
    for survivors in ([], [0], [1], [0, 1], [2], [0, 2], [1, 2]):
        left = lost_pages(b"", group, survivors.__contains__)
        (told,) = recovered_from(path, left)
        assert (path.read_bytes(), told.bytes) == (b"", len(group))


def test_a_first_group_with_lost_sectors_is_begun_anew(
    path: Path,
    run_started: Callable[..., RunStarted],
    chained: Callable[[list[list[Record]]], list[bytes]],
) -> None:
    """A run's settings fill some sectors of 512 bytes; each may have arrived by itself."""
    (group,) = chained([[run_started(requester="é" * 300)]])
    assert 2 * SECTOR < len(group) < 3 * SECTOR
    for survivors in ([0], [1], [2], [0, 1], [0, 2], [1, 2]):
        for size in (len(group), 2 * SECTOR + 1, SECTOR + 1):
            pieces = [bytes(SECTOR)] * 3
            for n in survivors:
                pieces[n] = group[n * SECTOR : (n + 1) * SECTOR]
            left = b"".join(pieces)[:size]
            (told,) = recovered_from(path, left)
            assert (path.read_bytes(), told.bytes) == (b"", size)


@pytest.mark.parametrize("arrived", range(1, 30))
def test_a_first_write_of_some_bytes_is_begun_anew(
    path: Path,
    run_started: Callable[..., RunStarted],
    chained: Callable[[list[list[Record]]], list[bytes]],
    arrived: int,
) -> None:
    """A write that was short reached the disk, the rest of it only as a length."""
    (group,) = chained([[run_started()]])
    left = group[:arrived] + bytes(len(group) - arrived)
    (told,) = recovered_from(path, left)
    assert (path.read_bytes(), told.bytes) == (b"", len(group))


def test_a_last_group_in_another_order_is_a_crash(path: Path, groups: list[bytes]) -> None:
    """The lines of the last group prove nothing once their order is lost."""
    lines = lines_of([groups[4]])
    for order in random.Random(3).sample(range(1, 100), 20):
        shuffled = random.Random(order).sample(lines, len(lines))
        if shuffled != lines:
            recovered_from(path, b"".join(groups[:4] + shuffled))
            assert path.read_bytes() == b"".join(groups[:4])


KILLED_AT = {
    "before the tail's file is there": ("open", "*.tail"),
    "before the tail is copied": ("write", 1),
    "before the tail is on disk": ("fsync", 1),
    "before the tail is cut off": ("ftruncate", 1),
    "after the tail was cut off, before that is on disk": ("fdatasync", 1),
    "before `recovered` is committed": ("write", 2),
    "before `recovered` is on disk": ("fdatasync", 2),
}
RECOVERY = """
import os, signal, sys
from bulk_eraser.ledger.chain import encode_group
from bulk_eraser.ledger.file import LedgerFile
name, when, path = sys.argv[1:]
real, calls = getattr(os, name), 0
def or_die(*args):
    global calls
    calls += 1
    if str(args[0]).endswith(".tail") if when == "*.tail" else calls == int(when):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
setattr(os, name, or_die)
file = LedgerFile(path)
group, _ = encode_group(file.head, file.begin(), "2024-03-01T12:00:01.000Z")
file.append(group)
"""


@pytest.mark.parametrize(("call", "when"), KILLED_AT.values(), ids=KILLED_AT.keys())
def test_killed_between_two_steps_of_recovery(
    call: str,
    when: int | str,
    path: Path,
    groups: list[bytes],
    sent: Callable[[str], Sent],
    verify: Callable[[bytes], str],
) -> None:
    """The next run finds a ledger it can go on with, and the torn bytes are in a `.tail` file."""
    content, torn = b"".join(groups[:-1]), groups[-1][:50]
    path.write_bytes(content + torn)
    killed = subprocess.run([sys.executable, "-c", RECOVERY, call, str(when), str(path)])
    assert killed.returncode == -signal.SIGKILL
    with opened(path) as file:
        group, head = encode_group(file.head, [*file.begin(), sent("next")], AT)
        file.append(group)
    assert verify(path.read_bytes()) == head
    assert path.read_bytes().startswith(content)
    assert torn in [found.read_bytes() for found in tails(path)]


# ── damage ──────────────────────────────────────────────────────────────────────────────────────


def edited(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at].replace(b'e":"', b'e":"X', 1), *lines[at + 1 :]]


def last_digit_edited(lines: list[bytes], at: int) -> list[bytes]:
    digits = [place for place, byte in enumerate(lines[at]) if chr(byte).isdigit()]
    line = bytearray(lines[at])
    line[digits[-1]] ^= 1
    return [*lines[:at], bytes(line), *lines[at + 1 :]]


def removed(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], *lines[at + 1 :]]


def swapped(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def duplicated(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[: at + 1], *lines[at:]]


def inserted(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], b'{"type":"sent","at":"","key":"x","line":1,"attempt":1}\n', *lines[at:]]


def joined(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at][:-1] + b" ", *lines[at + 1 :]]


def split(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], lines[at].replace(b",", b",\n", 1), *lines[at + 1 :]]


CHANGES = [edited, last_digit_edited, removed, swapped, duplicated, inserted, joined, split]


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_changed_before_the_last_group_is_damage(
    change: Callable[[list[bytes], int], list[bytes]], path: Path, groups: list[bytes]
) -> None:
    """Whatever line it is, commit lines included: refused, with the last good commit named."""
    lines = lines_of(groups)
    before_last = len(lines) - len(lines_of(groups[-1:]))
    ends = [number for number, line in enumerate(lines) if line.startswith(COMMIT)]
    for at in range(before_last):
        message = refuse(path, b"".join(change(lines, at)))
        good = sum(end < at + (change is duplicated) for end in ends)
        assert f"after commit {good} " in message or (at == 0 and "first line" in message)


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_changed_in_the_last_group_cannot_be_told_from_a_crash(
    change: Callable[[list[bytes], int], list[bytes]], path: Path, groups: list[bytes]
) -> None:
    """The group is moved aside, not kept as evidence and not refused."""
    kept, last = groups[:4], lines_of([groups[4]])
    for at in range(len(last) - (change is swapped)):
        (told,) = recovered_from(path, b"".join(kept + change(last, at)))
        wanted = kept + last if change is duplicated and last[at].startswith(COMMIT) else kept
        assert path.read_bytes() == b"".join(wanted)
        assert told.bytes > 0


def test_a_commit_line_must_count_its_lines_right(path: Path, groups: list[bytes]) -> None:
    """Also where the digest is right, a changed number is a change."""
    for at, group in enumerate(groups):
        changed = group.replace(b'"lines":', b'"lines":1')
        if at < len(groups) - 1:
            refuse(path, b"".join([*groups[:at], changed, *groups[at + 1 :]]))
        else:
            recovered_from(path, b"".join([*groups[:at], changed]))
            assert path.read_bytes() == b"".join(groups[:at])


@pytest.mark.parametrize(
    "change",
    [
        lambda groups: [group.replace(b"\n", b"\r\n") for group in groups],
        lambda groups: [
            *groups[:-2],
            *(group.replace(b'"at"', b'"zz"', 1) for group in groups[-2:]),
        ],
        lambda groups: [*groups[:-2], groups[-1], groups[-2]],
        lambda groups: [*groups[:3], *groups[4:]],
        lambda groups: [*groups, *groups],
        lambda groups: groups[1:],
        lambda groups: [b"\xef\xbb\xbf", *groups],
    ],
    ids=[
        "line ends converted",
        "the last two groups edited",
        "the last two groups swapped",
        "a group removed",
        "appended to itself",
        "the first group removed",
        "a byte order mark before it",
    ],
)
def test_what_no_crash_can_leave_is_damage(
    change: Callable[[list[bytes]], list[bytes]], path: Path, groups: list[bytes]
) -> None:
    """Only one group is unsynced at a time, so more than one broken commit was no crash."""
    refuse(path, b"".join(change(groups)))


@pytest.mark.parametrize(
    "lines", ["-7", "0", "99999999999999999999999", "1.5", '"2"', "null", "18446744073709551615"]
)
def test_a_commit_line_with_a_made_up_number_proves_nothing(
    lines: str, path: Path, groups: list[bytes]
) -> None:
    """Any value for `lines` is a tail when it is the last, and damage with commits behind it."""
    forged = b'{"type":"sent"}\n{"type":"commit","at":"","lines":%b,"sha256":"%b"}\n' % (
        lines.encode(),
        b"0" * 64,
    )
    (told,) = recovered_from(path, b"".join(groups) + forged)
    assert (path.read_bytes(), told.bytes) == (b"".join(groups), len(forged))
    tails(path)[0].unlink()
    refuse(path, b"".join([*groups[:3], forged, *groups[3:]]))


# ── files that are no ledgers ───────────────────────────────────────────────────────────────────

CUSTOMERS = b"customerKey;name\n" + b"".join(b"key-%d;n\n" % number for number in range(2000))


@pytest.mark.parametrize(
    "content",
    [
        CUSTOMERS,
        CUSTOMERS.replace(b"\n", b"\r\n"),
        b'{"customerKey":"a"}\n{"customerKey":"b"}\n',
        b'{"type":"customer"}\n',
        b'[{"type":"run_started"}]\n',
        b"\n",
        b"{}",
        gzip.compress(CUSTOMERS, mtime=0),
        b"\x89PNG\r\n\x1a\n" + bytes(4000),
        bytes(32768) + b"CD001" + bytes(99999),
        bytes((1 << 20) + 1),
        bytes(600) + b"text\0with zeros\0",
        b'{"type"' + bytes((1 << 20) + 1),
        b'{"ty' + bytes(600) + b"text\0with zeros\0",
        b'{"type":"commit","at":"","lines":0,"sha256":""}\n',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    """A customer's file named by mistake keeps every byte and its time."""
    assert "is not a ledger of bulk-eraser" in refuse(path, content)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"type":"run', bytes(10), bytes(3 * PAGE)], ids=repr
)
def test_what_a_crash_leaves_before_the_first_commit_is_a_ledger(
    path: Path, content: bytes, sent: Callable[[str], Sent], verify: Callable[[bytes], str]
) -> None:
    """Empty, torn in its first line or all zeros: a new ledger begins there."""
    path.write_bytes(content)
    with opened(path) as file:
        assert not file.exists
        recovered = file.begin()
        assert [told.bytes for told in recovered] == ([len(content)] if content else [])
        file.append(encode_group(file.head, [*recovered, sent("k")], AT)[0])
    assert verify(path.read_bytes())


# ── the walk itself ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_blocks_may_be_cut_anywhere(groups: list[bytes], size: int) -> None:
    """The result does not depend on how the bytes come in."""
    content = b"".join(groups) + groups[0][:30]
    scan = LedgerScan()
    blocks = (content[place : place + size] for place in range(0, len(content), size))
    found = list(scan.groups(blocks))
    assert found == [b"".join(lines_of([group])[:-1]) for group in groups]
    assert (scan.commits, scan.valid_bytes, scan.tail_bytes) == (
        len(groups),
        sum(map(len, groups)),
        30,
    )


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (COMMIT, COMMIT + b',"signature":{"by":[1]}'),
        (COMMIT + b',"at":', COMMIT + b',"AT":'),
        (COMMIT + b',"at":', COMMIT + b', "at":'),
        (b'"lines":1,', b'"lines":1 ,'),
    ],
)
def test_a_commit_line_is_canonical(groups: list[bytes], written: bytes, instead: bytes) -> None:
    """Byte for byte, since no digest covers it: whoever changed one is found."""
    content = b"".join(groups)
    assert written in content
    with pytest.raises(LedgerDamaged, match="after commit 0"):
        list(LedgerScan().groups(iter([content.replace(written, instead)])))

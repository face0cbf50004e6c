"""Where a ledger lies."""

from pathlib import Path

import pytest

from bulk_eraser.errors import LedgerDamaged, UsageError
from bulk_eraser.ledger.disk import network_file_system
from bulk_eraser.ledger.replay import ledger_blocks

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 30 0:45 / /mnt/share/local rw shared:7 master:2 - xfs /dev/sdb rw
30 21 0:44 / /mnt/share rw - nfs4 server:/export rw
32 21 0:46 / /mnt/two\\040words rw - cifs //host/share rw
33 21 0:47 / /mnt/sharedisk rw - ext4 /dev/sdc rw
34 21 0:48 / /mnt/ssh rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/keys.ledger.ndjson", None),
        ("/mnt/share/keys.ledger.ndjson", "nfs4"),
        ("/mnt/share/local/keys.ledger.ndjson", None),
        ("/mnt/two words/keys.ledger.ndjson", "cifs"),
        ("/mnt/sharedisk/keys.ledger.ndjson", None),
        ("/mnt/share2/keys.ledger.ndjson", None),
        ("/mnt/ssh/deep/down/keys.ledger.ndjson", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_told(tmp_path: Path, path: str, kind: str | None):
    """The innermost mount decides, a name that only begins alike does not."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_file_system(path, str(mounts)) == kind


def test_where_it_cannot_be_told_there_is_no_warning(tmp_path: Path):
    """Another system than Linux has no such table."""
    assert network_file_system("/mnt/share/x", str(tmp_path / "absent")) is None


def test_this_folder_is_on_a_disk_of_this_machine(tmp_path: Path):
    """The real table can be read."""
    assert network_file_system(str(tmp_path / "keys.ledger.ndjson")) is None


def test_what_is_no_ledger_is_not_read(tmp_path: Path):
    """A folder, nothing at all, or a file that never was one: each says what it is."""
    other = tmp_path / "other.txt"
    other.write_text("customerKey\n")
    with pytest.raises(UsageError, match="not a regular file"):
        list(ledger_blocks(str(tmp_path)))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(ledger_blocks(str(tmp_path / "absent")))
    with pytest.raises(LedgerDamaged, match="is not a ledger"):
        list(ledger_blocks(str(other)))


def test_a_ledger_is_read_whole(tmp_path: Path):
    """Its bytes as they are, whatever their number; one that a crash left empty has none."""
    path = tmp_path / "keys.ledger.ndjson"
    content = b'{"type":"run_started"' + b"x" * (5 << 20)
    path.write_bytes(content)
    assert b"".join(ledger_blocks(str(path))) == content
    path.write_bytes(b"")
    assert list(ledger_blocks(str(path))) == []

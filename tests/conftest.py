"""Where the tests keep their files, and how many examples they try."""

import gc
import os
import tempfile

import pytest
from examples import register_profiles

MEMORY = "/dev/shm"
ROOM = 1 << 30
MOST_WORKERS = 8

register_profiles()


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Keep temporary folders in memory where there is room, as nearly every test syncs a ledger.

    TMPDIR keeps them elsewhere. Workers of xdist find what the first process has decided.
    """
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # somebody may have asked already


def pytest_xdist_auto_num_workers() -> int:
    """The number of `-n auto`: two for each core, as half of the tests wait for a service."""
    asked = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(asked) if asked else min(2 * len(os.sched_getaffinity(0)), MOST_WORKERS)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the five thousand tests themselves: a tenth of their time."""
    gc.collect()
    gc.freeze()


def has_room(folder: str) -> bool:
    """Can a run of the tests keep its files there?"""
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK) and space.f_bavail * space.f_frsize >= ROOM

"""Options are checked before anything is done, and the API key is read strictly."""

import os
from dataclasses import FrozenInstanceError, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.cli.options.secrets import read_api_key_file, valid_api_key
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.settings import FailureLimit, RunSettings

KEY = "sentinel-0d9f/+=\"'~!key"
SETTINGS = RunSettings(Target.of_cluster("w1234"), ApiVersion.V4)


# ── the API key ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "api key"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_key_file(key_file: Path, end: bytes) -> None:
    """The key is what stands in the file, without one newline at the end."""
    key_file.write_bytes(KEY.encode() + end)
    assert read_api_key_file(str(key_file)) == (KEY, False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\n\n",
        b" \n",
        b"\r\n",
        KEY.encode() + b"\r\n",
        KEY.encode() + b"\n\n",
        KEY.encode() + b" \n",
        b" " + KEY.encode(),
        b"\t" + KEY.encode(),
        b"\n" + KEY.encode(),
        KEY.encode() + b"\0",
        KEY.encode() + b"\n" + KEY.encode(),
        b"sentinel key",
        b"\xef\xbb\xbf" + KEY.encode(),
        KEY.encode("utf-16"),
        f"“{KEY}”".encode(),
        f"‘{KEY}’\n".encode(),
        f"“{KEY}”".encode("cp1252"),
        "sentinel-kéy".encode(),
        "sentinel-kéy".encode("latin-1"),
        f"{KEY}\u00a0".encode(),
        f"{KEY}\u200b".encode(),
        f"{KEY}\u2028".encode(),
        KEY.encode() + b"\x7f",
        KEY.encode() + b"\x85",
    ],
)
def test_a_key_file_that_holds_no_key(key_file: Path, content: bytes) -> None:
    """What cannot travel in a header as it stands is refused, and not repeated."""
    key_file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        read_api_key_file(str(key_file))
    assert "sentinel" not in repr(refused.value)
    assert str(key_file) in str(refused.value)


@pytest.mark.parametrize(
    ("size", "fits"), [(4095, True), (4096, True), (4097, False), (9999, False)]
)
def test_a_key_file_that_is_too_long(key_file: Path, size: int, fits: bool) -> None:
    """A file that is too long for a key is refused, and never sent in part."""
    key_file.write_bytes(b"k" * size)
    if fits:
        assert read_api_key_file(str(key_file))[0] == "k" * size
    else:
        with pytest.raises(ConfigurationError):
            read_api_key_file(str(key_file))


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A directory, or a file that is not there, is a configuration error that says why."""
    for path, why in ((tmp_path, "directory"), (tmp_path / "none", "No such file")):
        with pytest.raises(ConfigurationError, match=why) as refused:
            read_api_key_file(str(path))
        assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    ("mode", "exposed"),
    [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o644, True), (0o611, False)],
)
def test_a_key_file_that_others_can_read(key_file: Path, mode: int, exposed: bool) -> None:
    """It is told when others can read the key file."""
    key_file.write_text(KEY)
    key_file.chmod(mode)
    assert read_api_key_file(str(key_file)) == (KEY, exposed)


def test_a_key_from_a_pipe() -> None:
    """A pipe in the place of a key file works, and is no file that others could read."""
    reading, writing = os.pipe()
    try:
        os.write(writing, KEY.encode() + b"\n")
        os.close(writing)
        assert read_api_key_file(f"/dev/fd/{reading}") == (KEY, False)
    finally:
        os.close(reading)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\ufeffa", "“a”", "é", "a\x7f", "\x1b"])
def test_a_key_from_the_environment(key: str) -> None:
    """A key that came another way meets the same check, which names where it came from."""
    with pytest.raises(ConfigurationError, match="in ELEVATE_API_KEY"):
        valid_api_key(key, "in ELEVATE_API_KEY")
    assert valid_api_key(KEY, "in ELEVATE_API_KEY") == KEY


# ── options ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("concurrency", [1, 32, 1024], [0, -1, 1025]),
        ("rate", [0, 0.1, 50, 100_000], [-0.1, -1, 100_001, nan, inf]),
        ("max_attempts", [1, 6, 100], [0, -1, 101]),
        ("timeout", [0.05, 30, 3600], [0, -1, 0.01, 3601, nan, inf]),
        ("max_outage", [0, 300, 1e7], [-1, 1e8, nan, inf]),
        ("limit", [None, 1, 10**12], [0, -1, 10**13]),
    ],
)
def test_the_bounds_of_an_option(option: str, good: list[Any], bad: list[Any]) -> None:
    """A number within its bounds is taken; any other is refused with the option's name."""
    for value in good:
        assert getattr(replace(SETTINGS, **{option: value}), option) == value
    for value in bad:
        with pytest.raises(UsageError, match="--" + option.replace("_", "-")):
            replace(SETTINGS, **{option: value})


def test_the_defaults() -> None:
    """The defaults are those of the README."""
    assert SETTINGS.recorded() == {
        "concurrency": 32,
        "rate": 50.0,
        "max_attempts": 6,
        "timeout_s": 30.0,
        "max_outage_s": 300.0,
        "max_failures": "20%",
        "limit": None,
        "retry_failed": False,
    }


def test_settings_do_not_change() -> None:
    """Settings are fixed once they are checked."""
    with pytest.raises(FrozenInstanceError):
        SETTINGS.rate = 1.0  # type: ignore[misc] # which is the point


# ── --max-failures ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "failures", "settled", "exceeded"),
    [
        ("0", 0, 10, False),
        ("0", 1, 1, True),
        ("25", 25, 30, False),
        ("25", 26, 30, True),
        ("20%", 99, 99, False),
        ("20%", 20, 100, False),
        ("20%", 21, 100, True),
        ("20 %", 21, 100, True),
        ("0%", 0, 1000, False),
        ("0%", 1, 1000, True),
        ("100%", 1000, 1000, False),
        ("0.5%", 5, 1000, False),
        ("0.5%", 6, 1000, True),
    ],
)
def test_too_many_failures(text: str, failures: int, settled: int, exceeded: bool) -> None:
    """A number of failures counts at once, a share from 100 keys on; both are allowed to be met."""
    assert FailureLimit.parse(text).is_exceeded(failures, settled) == exceeded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "x",
        "-1",
        "1.5",
        "101%",
        "100.1%",
        "1e2",
        "1_0",
        "٣",
        "20%%",
        "20 percent",
        "20%\n",
        "5\n",
    ],
)
def test_what_is_no_failure_limit(text: str) -> None:
    """What is neither a number nor a share up to 100 % is refused."""
    with pytest.raises(UsageError, match="--max-failures"):
        FailureLimit.parse(text)


def test_the_default_failure_limit() -> None:
    """The default is what its text says."""
    assert SETTINGS.max_failures == FailureLimit.parse("20%")

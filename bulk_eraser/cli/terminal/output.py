"""What is printed, and where: results on stdout, everything else on stderr.

A closed or full output must never end a run, so writes to it cannot fail here. On a terminal lines
are broken between words; elsewhere they stay as they are, for programs that look for them. Two
colours need no library: rich is for the live display, and takes its time to be imported.
"""

import contextlib
import os
import re
import sys
import textwrap
from enum import StrEnum
from typing import IO

__all__ = ["Output", "Progressing"]


class Progressing(StrEnum):
    """How progress is shown: live if there is a terminal, else as lines; as lines; not at all."""

    AUTO = "auto"
    PLAIN = "plain"
    OFF = "off"


_DUMB_TERMINALS = ("dumb", "unknown")
_WARNING, _ERROR = "\x1b[33m", "\x1b[1;31m"
_NORMAL = "\x1b[0m"
_NOT_SHOWN = str.maketrans("", "", "\a\b\v\f\r")
"""What moves a terminal's cursor."""


class _Unbreakable:
    """A text stream that goes quiet instead of raising when nobody reads it any more."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        if self._stream is not None:
            encoding = self.encoding
            try:
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError):
                self._go_quiet()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._go_quiet()

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("closed")
        return self._stream.fileno()

    def _go_quiet(self) -> None:
        """Point the descriptor to nowhere, so that the flush at exit cannot fail either."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # type: ignore[union-attr] # suppressed
            os.close(nowhere)
        self._stream = None


class Output:
    """The two streams of a command. `quiet` keeps errors and the ending only.

    `verdict` is what was said of how it ended.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        json: bool = False,
        progress: Progressing = Progressing.AUTO,
    ) -> None:
        self.quiet = quiet
        self.json = json
        self.progress = progress
        self.verdict: list[str] = []
        self.results = _Unbreakable(sys.stdout)
        self.messages = _Unbreakable(sys.stderr)

    @property
    def is_terminal(self) -> bool:
        """Is there somebody who can be asked?"""
        return self.messages.isatty()

    @property
    def is_live(self) -> bool:
        """Is progress to be drawn, and can it be?"""
        return self.is_terminal and not _is_dumb() and self.progress is Progressing.AUTO

    def result(self, text: str) -> None:
        """A result for people; with --json the one object stands for all of them."""
        if not self.json:
            _print(self.results, text)

    def raw_result(self, text: str) -> None:
        """The one object of --json, exactly as it is."""
        self.results.write(text + "\n")
        self.results.flush()

    def raw_message(self, line: str) -> None:
        """A line for a program that reads the messages, exactly as it is."""
        self.messages.write(line + "\n")
        self.messages.flush()

    def prompt(self, text: str) -> None:
        """What is to be answered on the same line."""
        self.messages.write(text)
        self.messages.flush()

    def say(self, text: str, *, command: str = "") -> None:
        """Something to know, and the command to do next; not with --quiet."""
        if not self.quiet:
            _print(self.messages, text, command=command)

    def warn(self, text: str) -> None:
        _print(self.messages, f"Warning: {text}", style=_WARNING)

    def error(self, text: str) -> None:
        self.verdict.append(text)
        _print(self.messages, f"Error: {text}", style=_ERROR)

    def always(self, text: str, *, command: str = "") -> None:
        if not command:
            self.verdict.append(text)
        _print(self.messages, text, command=command)

    def survey_progress(self, rows: int) -> None:
        """Tell of a long survey now and then: every million rows, or 100,000 on a terminal."""
        step = 100_000 if self.is_terminal else 1_000_000
        if rows % step == 0 and self.progress is not Progressing.OFF:
            self.say(f"Reading the input: {rows:,} rows …")


def _print(stream: _Unbreakable, text: str, *, command: str = "", style: str = "") -> None:
    """The text, broken between words on a terminal, and behind it a command, never broken: it is
    to be copied."""
    text = text.translate(_NOT_SHOWN)
    columns = _columns(stream)
    if columns:
        text = "\n".join(_between_words(line, columns) for line in text.split("\n"))
    if command:
        used = len(text) - text.rfind("\n")
        text += ("\n" if columns and used + len(command) > columns else " ") + command
    if style and _is_coloured(stream):
        text = f"{style}{text}{_NORMAL}"
    stream.write(text + "\n")
    stream.flush()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in _DUMB_TERMINALS


def _is_coloured(stream: _Unbreakable) -> bool:
    """On a terminal that can, unless NO_COLOR is set; elsewhere if FORCE_COLOR asks for it."""
    if os.environ.get("NO_COLOR") or _is_dumb():
        return False
    forced = os.environ.get("FORCE_COLOR")
    return stream.isatty() if forced is None else bool(forced)


def _columns(stream: _Unbreakable) -> int:
    """How wide the terminal is; 0 for none, and where it is not known."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0


def _between_words(line: str, columns: int) -> str:
    """The line as several, none longer than `columns` unless a word is: a path, a digest.

    What follows an indented line stands below its text: behind the number of a table's row, else
    two columns further to the right.
    """
    start = re.match(r" *(?:[\d,]+  )?", line)
    indent = start.end() if start else 0
    if indent and not line[:indent].strip():
        indent += 2
    return textwrap.fill(
        line,
        columns,
        subsequent_indent=" " * min(indent, columns // 2),
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )

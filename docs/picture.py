"""Draw docs/run.svg: a real run against the simulator, as a terminal of 104 columns shows it.

Run it with `.venv/bin/python docs/picture.py` when the words of a run have changed. It starts the
simulator, types the number of keys where `run` asks for it, and keeps what is on the screen twice:
in the middle of the run and at its end.
"""

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import termios
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample_inputs" / "plain.csv"
COLUMNS = 104
"""The longest line of the run; a narrower terminal breaks it."""
MIDDLE = 150
"""The first screen is kept once so many of the 239 keys are settled."""
BIN = Path(sys.executable).parent
PROGRAM = "bulk-eraser"
"""Found on PATH, so that the commands that a run advises begin with this word, too."""
SIMULATOR = ("simulate", "--fault", "http_500=2%", "--fault", "drop_after=1%")
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg"
  xml:space="preserve">
<style>
text {{ font: {char_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As `export_svg` draws it, but without a font from the internet."""


def main() -> None:
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "keys.csv").write_bytes(SAMPLE.read_bytes())
        (place / "elevate.key").write_text("simulated-key\n")
        (place / "elevate.key").chmod(0o600)
        # Port 8080 must be free: the picture should show the address that `simulate` has by itself.
        with subprocess.Popen(  # noqa: S603 our own program
            [PROGRAM, *SIMULATOR], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as simulator:
            assert simulator.stdout is not None  # noqa: S101 it is a pipe, see above
            origin = simulator.stdout.readline().strip()
            middle, end = screens_of_a_run(place, origin)
            simulator.terminate()
    draw(middle, end)


def screens_of_a_run(place: Path, origin: str) -> tuple[list[str], list[str]]:
    """The lines on the screen in the middle and at the end, with their colours."""
    command = ["run", "keys.csv", "--base-url", origin, "--api-key-file", "elevate.key"]
    prompt = f"\x1b[1;32m$\x1b[0m bulk-eraser {' '.join(command)}\n"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        termios.tcsetwinsize(0, (40, COLUMNS))
        os.environ["TERM"] = "xterm-256color"
        os.execvp(PROGRAM, [PROGRAM, *command])  # noqa: S606 our own program
    written, middle, is_confirmed = prompt, None, False
    while chunk := read_from(terminal):
        written += chunk
        asked = re.search(r"Type the number of keys \((\d+)\) to confirm: ", written)
        if asked and not is_confirmed:
            time.sleep(0.2)  # what is typed before the question is thrown away
            os.write(terminal, asked[1].encode() + b"\n")
            is_confirmed = True
        screen = on_screen(written)
        if middle is None and any(reached(line) for line in screen):
            middle = screen
    os.waitpid(pid, 0)
    if middle is None:
        raise SystemExit("The middle of the run was never on the screen.")
    return middle, on_screen(written)


def read_from(terminal: int) -> str:
    """What came within 0.1 s of the first byte; empty at the end."""
    received = b""
    try:
        received = os.read(terminal, 65536)
        while select.select([terminal], [], [], 0.1)[0]:
            received += os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side has closed
        pass
    return received.decode()


def reached(line: str) -> bool:
    done = re.match(r"\d+% · (\d+) of \d+ keys", plain(line))
    return done is not None and int(done[1]) >= MIDDLE


def on_screen(written: str) -> list[str]:
    """The lines that are left once the cursor's movements are carried out.

    Knows what rich's live display does: back to the start of a line, one line up, erase a line.
    """
    lines, row = [""], 0
    for part in re.split(r"(\r\n|\n|\r|\x1b\[\d*A|\x1b\[\d*K|\x1b\[\?25[lh])", written):
        if part in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part.endswith("K") and part.startswith("\x1b["):
            lines[row] = ""
        elif part == "\r" or part.startswith("\x1b[?25"):
            continue  # what follows erases the line, or hides the cursor
        else:
            lines[row] += part
    while lines and not plain(lines[-1]).strip():
        lines.pop()
    return lines


def plain(line: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def draw(middle: list[str], end: list[str]) -> None:
    """Both screens, one above the other; what stands in both only once."""
    same = next(number for number, line in enumerate(end) if line not in middle)
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, highlight=False
    )
    for line in middle:
        console.print(Text.from_ansi(line))
    console.print(Text("\n… and at the end:\n", style="italic dim"))
    for line in end[same:]:
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title="bulk-eraser", code_format=SVG, unique_id="run")
    (HERE / "run.svg").write_text(svg)


if __name__ == "__main__":
    main()

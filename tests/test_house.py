"""The house: floors, exports, and that the README says what the code does."""

import ast
import re
import runpy
from pathlib import Path

import click
import pytest

from bulk_eraser import errors, records
from bulk_eraser.cli.app import COMMANDS, app
from bulk_eraser.cli.fleet.group import COMMANDS as OF_A_FLEET
from bulk_eraser.evidence.findings import FINDINGS
from bulk_eraser.records import ATTEMPT_ERRORS, ROW_ERRORS
from bulk_eraser.simulator.faults import FAULTS
from bulk_eraser.wording import SUSPECTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bulk_eraser"
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    {"errors", "records", "key_partitions", "atomic_file", "shard", "simulator"},
    {"pacing", "ledger", "elevate", "sources"},
    {"settings", "wording"},
    {"survey"},
    {"sending"},
    {"evidence"},
    {"cli"},
)
"""From the bottom up: a module may import from its own folder and from lower floors."""


NO_LINES = (records.Record, records.KeyRecord, records.JobAnswer)
"""What types of lines have in common."""


ALL_COMMANDS = [*COMMANDS, *(f"fleet {name}" for name in OF_A_FLEET)]


def floor_of(place: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if place in names)


def place_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(module: Path) -> set[str]:
    """The places inside the package that a module imports from."""
    tree = ast.parse(module.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[1] for name in names if name.startswith("bulk_eraser.")}


def options_of(command: str) -> set[str]:
    """All long options of a command, as it declares them."""
    return {option for p in command_of(command).params for option in p.opts if option[:2] == "--"}


def command_of(name: str) -> click.Command:
    command: click.Command | None = app
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


def documented(word: str) -> bool:
    return re.search(rf"`{re.escape(word)}(?![\w-])", REFERENCE) is not None


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(module):
    """No module imports from a floor above its own, or from a neighbour on the same floor."""
    place = place_of(module)
    if place in ("__init__", "__main__"):
        return
    for other in imports_of(module) - {place}:
        assert floor_of(other) < floor_of(place), f"{place} imports {other}"


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_every_option_is_in_the_reference(command):
    """An option that the reference does not name does not exist for its users."""
    missing = {o for o in options_of(command) - {"--help"} if not documented(o)}
    assert not missing


def test_the_readme_names_no_option_that_is_not_there():
    """What the README's tables of options promise is there."""
    named = set(re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE))
    assert named <= set().union(*map(options_of, ALL_COMMANDS))


@pytest.mark.parametrize("code", sorted(errors.ExitCode))
def test_every_exit_code_is_in_the_reference(code):
    """Each exit code has its row."""
    assert re.search(rf"^\| {int(code)} \|", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize(
    "word", sorted([*ROW_ERRORS, *ATTEMPT_ERRORS, *FAULTS, *SUSPECTS, *FINDINGS])
)
def test_every_error_word_is_in_the_reference(word):
    """Each word of the closed lists, and each simulated fault, is explained."""
    assert documented(word)


def test_every_error_class_has_a_known_exit_code():
    """The tree of errors and the table of exit codes agree."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.BulkEraserError):
            assert kind.exit_code in set(errors.ExitCode)


def test_argv_and_environment_are_read_in_cli_alone():
    """Below the command nothing depends on how or where it was started."""
    for module in MODULES:
        if place_of(module) != "cli":
            assert not re.search(r"os\.environ|os\.getenv|sys\.argv", module.read_text()), module


def test_the_changelog_speaks_of_this_version():
    """The version that is built has its section."""
    from bulk_eraser import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("name", "text"), [("reference.md", "markdown"), ("bulk-eraser.1", "man_page")]
)
def test_the_reference_is_what_the_code_says(name, text):
    """`make docs` was run after the last change of an option, a word, a field or an exit code."""
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    assert (ROOT / "docs" / name).read_text() == written[text]()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command):
    """Each command is there under its name, and its line in the help is that of its own text."""
    assert re.search(rf"bulk-eraser (?:`)?{command}\b|`{command}`", README)
    text = command_of(command).help or ""
    assert says_the_same(COMMANDS[command], text)


@pytest.mark.parametrize("command", OF_A_FLEET)
def test_the_lines_of_a_fleets_commands_are_theirs(command):
    """The same for each command of `fleet`."""
    assert says_the_same(OF_A_FLEET[command], command_of(f"fleet {command}").help or "")


def says_the_same(line: str, text: str) -> bool:
    words = set(line.rstrip(".").split())
    return len(words & set(text.split())) >= len(words) // 2


def test_every_ledger_field_is_in_the_docs():
    """docs/ledger.md names each type of line, and each field of it."""
    text = (ROOT / "docs" / "ledger.md").read_text()
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type)]
    for kind in kinds:
        if issubclass(kind, records.Record) and kind not in NO_LINES:
            names = [kind.__struct_config__.tag, *kind.__struct_encode_fields__]
            missing = [name for name in names if name != "type" and f"`{name}`" not in text]
            assert not missing, kind


# ── the pages for people ────────────────────────────────────────────────────────────────────────

PAGES = sorted(
    page
    for room in ("", "docs", "sample_inputs", "benchmarks")
    for page in (ROOT / room).glob("*.md")
)
FOR_READING = [
    page for page in PAGES if page.parent.name != "benchmarks" and page.stem != "CHANGELOG"
]
WIDEST = 100
LINK = re.compile(r"\]\(([^)\s]+)\)")


def modules_on_the_map() -> list[str]:
    """The modules that CONTRIBUTING's picture names, as `room/module`, or `module` if in none.

    The picture has two columns. A cell that starts with `room/` opens a room; if it stands alone
    in its line, for both columns.
    """
    picture = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    rooms, named = ["", ""], []
    for line in picture.splitlines()[1:]:
        cells = line.split("│")
        for column, cell in enumerate(cells):
            word = (cell.split() or ["─"])[0]
            if word.endswith("/"):
                room = "" if word == "bulk_eraser/" else word
                rooms = [room, room] if len(cells) == 1 else [*rooms[:column], room, *rooms][:2]
            elif not word.startswith("─"):
                named.append(rooms[column] + word)
    return named


def headings_of(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_map_shows_every_module_and_no_other():
    """CONTRIBUTING's picture of the rooms is whole, and up to date."""
    there = [
        str(module.relative_to(PACKAGE).with_suffix(""))
        for module in MODULES
        if not module.name.startswith("__")
    ]
    assert sorted(modules_on_the_map()) == sorted(there)


def test_the_readme_is_short():
    """It is the first page; what only some readers need has its page in docs/."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", FOR_READING, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_of_a_page_is_too_wide(page):
    """Lines fit a terminal; only rows of tables, and addresses of links, may be longer."""
    lines = page.read_text().splitlines()
    assert not [
        line for line in lines if len(LINK.sub("]", line)) > WIDEST and not line.startswith("|")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """Each relative link names a file that is there, and a heading in it, if it names one."""
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in headings_of(target), link

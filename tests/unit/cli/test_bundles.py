"""Options as fields of dataclasses: what the command line and the environment make of them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import click
import pytest

from bulk_eraser.cli.options.bundles import Bundle, Number, OneOf, argument, command, flag, option


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Things(Bundle):
    things: tuple[str, ...] = argument("THING", "What is painted.", several=True)


@dataclass(frozen=True, kw_only=True)
class Paint(Bundle):
    heading = "Paint"
    colour: Colour = option("COLOUR", "Which.", default=Colour.RED, type=OneOf(Colour))
    coats: int = option("N", "How many.", default=2, type=Number(2))
    litres: float | None = option("N", "How much.", type=Number(1.5), env="PAINT_LITRES")
    instead: tuple[Colour, ...] = option("COLOUR", "Or.", type=OneOf(Colour), multiple=True)
    also_on: tuple[str, ...] = option("PLACE", "Where, too.", multiple=True, env=False)
    wet: bool = flag("Leave it wet.")
    sure: bool = flag("Do it.", env=False)


@dataclass(frozen=True, kw_only=True)
class Brush(Bundle):
    heading = "Brush"
    size: float = option("CM", "How wide.", default=5.0, type=Number(5.0))


HANDED: dict[str, Bundle] = {}


EXAMPLE = "paint door --colour red --coats 2 --also-on roof --also-on wall --size 12"


@command(("Two colours", EXAMPLE))
def paint(what: Things, how: Paint, brush: Brush) -> int:
    """Paint THING."""
    HANDED.update(what=what, how=how, brush=brush)
    return 7


def given(*arguments: str, **env: str) -> dict[str, Bundle]:
    """The bundles that a command is handed for these arguments in this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        assert paint.main(list(arguments), standalone_mode=False) == 7
    return HANDED


def paint_of(*arguments: str, **env: str) -> Any:
    return given("door", *arguments, **env)["how"]


def test_each_bundle_gets_its_own_values_and_what_was_typed_of_it():
    """Values go to the bundle that declares them, with the names that stood on the line."""
    handed = given("door", "wall", "--coats", "3", "--also-on", "roof", "--also-on", "floor")
    assert handed["what"] == Things(things=("door", "wall"), typed=frozenset({"things"}))
    assert handed["how"] == Paint(
        coats=3, also_on=("roof", "floor"), typed=frozenset({"coats", "also_on"})
    )
    assert handed["brush"] == Brush()


def test_the_environment_is_not_typed():
    """A variable sets its option, and it shows that nobody typed it; what is typed is stronger."""
    how = paint_of(BULK_ERASER_COLOUR="blue", PAINT_LITRES="0.5", BULK_ERASER_WET="yes")
    variables = {
        "colour": "BULK_ERASER_COLOUR",
        "litres": "PAINT_LITRES",
        "wet": "BULK_ERASER_WET",
    }
    assert how == Paint(colour=Colour.BLUE, litres=0.5, wet=True, variables=variables)
    assert how.said_by("litres") == "PAINT_LITRES"
    assert how.said_by("coats") is None
    assert paint_of("--also-on", "roof").said_by("also_on") == "--also-on"
    assert paint_of("--colour", "green", BULK_ERASER_COLOUR="blue").colour is Colour.GREEN


@pytest.mark.parametrize("text", ["red,blue", " red blue ", "red, blue", "red,,blue,"])
def test_several_words_in_one_variable(text: str):
    """Commas and blanks separate them; each is looked at as a typed one is."""
    assert paint_of(BULK_ERASER_INSTEAD=text).instead == (Colour.RED, Colour.BLUE)
    assert paint_of(BULK_ERASER_INSTEAD="").instead == ()
    with pytest.raises(click.UsageError, match="BULK_ERASER_INSTEAD must be red, green or blue"):
        paint_of(BULK_ERASER_INSTEAD="red,pink")


def test_what_the_environment_does_not_set():
    """An empty variable is none, and some options have none at all."""
    env = dict.fromkeys(("BULK_ERASER_COATS", "PAINT_LITRES", "BULK_ERASER_WET"), "")
    assert paint_of(**env, BULK_ERASER_SURE="1", BULK_ERASER_ALSO_ON="roof") == Paint()


@pytest.mark.parametrize(("text", "number"), [("1_0", 10), (" 8 ", 8), ("3.0", 3), ("+4", 4)])
def test_whole_numbers_as_people_write_them(text: str, number: int):
    """What is certainly a whole number is taken."""
    assert paint_of("--coats", text).coats == number


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e1", "0x10", "٣", "8,0"])
def test_what_is_no_whole_number_is_refused_in_plain_words(text: str):
    """The refusal names the option as it was typed, and an example."""
    with pytest.raises(click.UsageError, match=r"^--coats must be a whole number, such as 2$"):
        paint_of("--coats", text)


@pytest.mark.parametrize("text", ["x", "1,5", "٣"])
def test_what_is_no_number_is_refused_in_plain_words(text: str):
    """A refusal of a variable's value names the variable."""
    with pytest.raises(click.UsageError, match=r"^PAINT_LITRES must be a number, such as 1\.5$"):
        paint_of(PAINT_LITRES=text)


def test_other_words_are_refused_in_plain_words():
    """The refusal lists the words that are meant, or what a flag's variable may be."""
    with pytest.raises(click.UsageError, match=r"^--colour must be red, green or blue$"):
        paint_of("--colour", "RED")
    with pytest.raises(
        click.UsageError,
        match=r"^BULK_ERASER_WET must be 1 or 0 \(or true or false, yes or no, on or off\)$",
    ):
        paint_of(BULK_ERASER_WET="2")


def test_the_help_shows_defaults_as_they_are_typed():
    """Help has defaults, the texts of arguments, and variables that do not follow the rule."""
    shown = " ".join(paint.get_help(click.Context(paint)).split())
    assert "THING... Paint THING." in shown
    assert "What is painted." in shown
    assert "Which. [default: red]" in shown
    assert "How wide. [default: 5]" in shown
    assert "How much. [env var: PAINT_LITRES]" in shown
    assert "Do it. Brush: --size CM" in shown


def test_the_help_has_examples_groups_and_the_rule_of_the_variables():
    """A command to copy stands on one line however long; each bundle has its heading."""
    shown = paint.get_help(click.Context(paint, terminal_width=60))
    assert f"\nExamples:\n  # Two colours\n  {EXAMPLE}\n" in shown
    assert shown.index("Examples:") < shown.index("Paint:\n  --colour") < shown.index("Brush:\n")
    rule = " ".join(shown[shown.index("Options can also") :].split())
    assert "--colour is BULK_ERASER_COLOUR there" in rule
    assert rule.endswith("Only on the command line: --also-on, --sure.")

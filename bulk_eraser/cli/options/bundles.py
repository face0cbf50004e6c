"""Options as bundles: each option is written once, as a field of a frozen dataclass.

A command is a function whose parameters are such dataclasses. `command` makes a click command of
it: the fields become its options and arguments, and what was given comes back as built objects.

    @dataclass(frozen=True, kw_only=True)
    class PaceOptions(Bundle):
        heading = "Pace"
        rate: float = option("N", "Requests a second.", default=50.0, type=Number(20))

    @command(("send slowly", "bulk-eraser run customers.csv --rate 5"))
    def run(pace: PaceOptions) -> int: ...
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, NoReturn, TypeVar, get_type_hints

import click
from click.core import ParameterSource

from bulk_eraser.cli.terminal.help_page import GroupedCommand
from bulk_eraser.errors import UsageError

__all__ = [
    "Bundle",
    "Number",
    "OneOf",
    "argument",
    "command",
    "flag",
    "from_table",
    "option",
    "parameters_of",
]

ENVIRONMENT = "BULK_ERASER_"
_MAKE = "make"
"""Under this name a field's metadata has the function from the field's name to its parameter."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Options that belong together, under `heading` in the help.

    `typed` names those that stood on the command line; `variables` has those that came from the
    environment, each with its variable.
    """

    heading: ClassVar[str] = "Options"
    typed: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)

    def said_by(self, name: str) -> str | None:
        """What says it, the option or the variable; None if nothing does."""
        return _option_name(name) if name in self.typed else self.variables.get(name)

    def arguments(self, but: Collection[str] = ()) -> list[str]:
        """The options that were said, as they would be typed, without the fields of `but`."""
        words: list[str] = []
        for each in fields(self):
            if _MAKE not in each.metadata or each.name in but or not self.said_by(each.name):
                continue
            value, name = getattr(self, each.name), _option_name(each.name)
            if isinstance(value, bool):
                words += [name] * value
            else:
                for one in value if isinstance(value, tuple) else (value,):
                    words += [name, str(one)]
        return words


# ── one option ──────────────────────────────────────────────────────────────────────────────────


def option(
    metavar: str,
    text: str,
    *,
    default: Any = None,
    type: click.ParamType[Any] = click.STRING,  # noqa: A002 click's own word for it
    env: str | bool = True,
    multiple: bool = False,
) -> Any:
    """A field that is an option: `key_field` is `--key-field`.

    `env` is the environment variable; True for BULK_ERASER_ and the option's name, False for none.
    """

    # For click a default of None is a default; otherwise it is shown as it would be typed.
    shown: Any = {} if default is None else {"default": _as_typed(default), "show_default": True}

    def make(name: str) -> click.Option:
        return click.Option(
            [_option_name(name), name],
            metavar=metavar,
            help=text,
            type=type,
            multiple=multiple,
            envvar=_variable(name, env),
            show_envvar=isinstance(env, str),  # the others follow the rule that the help ends with
            **shown,
        )

    return field(default=() if multiple else default, metadata={_MAKE: make})


def flag(text: str, *, env: bool = True) -> Any:
    """A field that is an option without a value."""

    def make(name: str) -> click.Option:
        return click.Option(
            [_option_name(name), name],
            is_flag=True,
            type=_Switch(),
            help=text,
            envvar=_variable(name, env),
        )

    return field(default=False, metadata={_MAKE: make})


def argument(metavar: str, text: str, *, several: bool = False, required: bool = True) -> Any:
    """A field that is an argument; of `several` at least one is given, of one not `required` the
    empty text is what stands for none."""

    def make(name: str) -> click.Argument:
        return click.Argument(
            [name],
            required=required,
            metavar=f"{metavar}..." if several else metavar if required else f"[{metavar}]",
            help=text,
            nargs=-1 if several else 1,
            **({} if required else {"default": ""}),
        )

    return field(metadata={_MAKE: make})


def _as_typed(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _option_name(name: str) -> str:
    return "--" + name.strip("_").replace("_", "-")  # `except_`, which is a word of Python


def _variable(name: str, env: str | bool) -> str | None:
    return env if isinstance(env, str) else ENVIRONMENT + name.upper() if env else None


# ── what a value must be ────────────────────────────────────────────────────────────────────────


class Number(click.ParamType[float]):
    """A number written in ASCII digits; `such_as` is an example, and a whole one asks for one."""

    name = "number"

    def __init__(self, such_as: float) -> None:
        self.such_as = such_as
        self.is_whole = isinstance(such_as, int)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        text: str = value  # the default as well
        try:
            if not text.isascii():  # float() would take the digits of other scripts
                raise ValueError
            return int(re.sub(r"\.0*\s*$", "", text)) if self.is_whole else float(text)
        except ValueError:
            kind = "a whole number" if self.is_whole else "a number"
            _fail(f"must be {kind}, such as {self.such_as:g}", param, ctx)


class OneOf(click.ParamType[StrEnum]):
    """One of the words of an enumeration; in the environment, several may be separated by commas
    or blanks."""

    name = "word"

    def __init__(self, words: type[StrEnum]) -> None:
        self.words = words

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> StrEnum:
        try:
            return self.words(value)
        except ValueError:
            *first, last = self.words
            _fail(f"must be {', '.join(first)} or {last}", param, ctx)

    def split_envvar_value(self, rv: str) -> list[str]:
        return rv.replace(",", " ").split()


class _Switch(click.types.BoolParamType):
    """A flag's value in the environment: click's words for on and off."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        is_on = self.str_to_bool(value)
        return (
            is_on
            if is_on is not None
            else _fail("must be 1 or 0 (or true or false, yes or no, on or off)", param, ctx)
        )


def _fail(why: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
    """Name what the user has written: the option, or the variable that stands for it."""
    name = param.opts[0] if param else "the value"
    if param and ctx and ctx.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
        name = str(param.envvar)
    raise click.UsageError(f"{name} {why}", ctx)


# ── a command of bundles ────────────────────────────────────────────────────────────────────────


def command(*examples: tuple[str, str]) -> Callable[[Callable[..., int]], click.Command]:
    """Makes a click command of a function that takes bundles; its docstring is the help text.

    `examples` are pairs of what it does and what to type.
    """

    def decorate(execute: Callable[..., int]) -> click.Command:
        bundles: dict[str, type[Bundle]] = get_type_hints(execute)
        del bundles["return"]
        parameters = {name: parameters_of(bundle) for name, bundle in bundles.items()}
        groups: dict[str, list[click.Option]] = {}
        for name, bundle in bundles.items():
            if options := [each for each in parameters[name] if isinstance(each, click.Option)]:
                groups.setdefault(bundle.heading, []).extend(options)
        return GroupedCommand(
            execute.__name__.replace("_", "-"),
            examples=examples,
            groups=groups,
            variable_prefix=ENVIRONMENT,
            callback=partial(_call, execute, bundles),
            params=[each for several in parameters.values() for each in several],
            help=execute.__doc__,
        )

    return decorate


def _call(execute: Callable[..., int], bundles: Mapping[str, type[Bundle]], **values: Any) -> int:
    context = click.get_current_context()
    typed, variables = set(), {}
    for parameter in context.command.params:
        name = parameter.name or ""
        match context.get_parameter_source(name):
            case ParameterSource.COMMANDLINE:
                typed.add(name)
            case ParameterSource.ENVIRONMENT:
                variables[name] = str(parameter.envvar)
    made = {name: _filled(bundle, values, typed, variables) for name, bundle in bundles.items()}
    return execute(**made)


def parameters_of(bundle: type[Bundle]) -> list[click.Parameter]:
    """Its options and arguments."""
    return [each.metadata[_MAKE](each.name) for each in fields(bundle) if _MAKE in each.metadata]


def _filled(
    bundle: type[Bundle], values: Mapping[str, Any], typed: set[str], variables: dict[str, str]
) -> Bundle:
    own = {each.name for each in fields(bundle) if _MAKE in each.metadata}
    return bundle(
        typed=frozenset(typed & own),
        variables={name: variable for name, variable in variables.items() if name in own},
        **{name: values[name] for name in own},
    )


# ── a bundle without a command line ─────────────────────────────────────────────────────────────

B = TypeVar("B", bound=Bundle)


def from_table(bundle: type[B], table: Mapping[str, Any], **more: Any) -> B:
    """The bundle whose options stand in a table, by their fields' names; they count as typed.

    The environment says nothing. `more` are fields that are no options. Raises `UsageError` for a
    value that the option does not take.
    """
    own = {it.name: it for it in parameters_of(bundle) if it.name in table}
    values = {name: _value(parameter, table[name]) for name, parameter in own.items() if name}
    return bundle(typed=frozenset(values), **values, **more)


def _value(parameter: click.Parameter, value: object) -> Any:
    """As the command line has it, from a value as a table has it."""
    name = (parameter.name or "").removesuffix("_path")
    if parameter.multiple:
        several = value if isinstance(value, list) else [value]
        return tuple(_single(parameter, name, it) for it in several)
    return _single(parameter, name, value)


def _single(parameter: click.Parameter, name: str, value: object) -> Any:
    is_flag = isinstance(parameter.type, _Switch)
    if is_flag and isinstance(value, bool):
        return value
    if is_flag or isinstance(value, bool) or not isinstance(value, str | int | float):
        kind = "true or false" if is_flag else "text or a number"
        raise UsageError(f"{name} must be {kind}.")
    try:
        return parameter.type.convert(str(value), None, None)
    except click.UsageError as error:
        raise UsageError(f"{error.message.replace('the value', name)}.") from None

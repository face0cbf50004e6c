"""Help: what a command does, three examples, then its options under headings, or its commands."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

__all__ = ["CommandGroup", "GroupedCommand", "write_examples"]


class CommandGroup(click.Group):
    """Several commands, each in the module of its name in `package`, which is imported when it is
    asked for, so that help and command errors come at once. `commands` has the help line of each.
    """

    def __init__(
        self,
        name: str,
        *,
        commands: Mapping[str, str],
        package: str,
        examples: Sequence[tuple[str, str]],
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        self.lines = commands
        self.package = package
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click hands it over
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click hands it over
        if cmd_name not in self.lines:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{self.package}.{name}"), name)
        return command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click hands it over
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lines.items()))


class GroupedCommand(click.Command):
    """A command whose options stand under headings.

    `examples` are pairs of what it does and what to type; `groups` has the options of each heading,
    in the order in which they are shown; `variable_prefix` is what the environment's names of
    options begin with.
    """

    def __init__(
        self,
        name: str,
        *,
        examples: Sequence[tuple[str, str]],
        groups: Mapping[str, Sequence[click.Option]],
        variable_prefix: str,
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        self.examples = examples
        self.groups = groups
        self.variable_prefix = variable_prefix

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        write_examples(self.examples, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        *_, last = self.groups
        for heading, options in self.groups.items():
            help_option = [each for each in [self.get_help_option(ctx)] if each and heading == last]
            _write_options(heading, [*options, *help_option], ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click hands it over
        """The variables, by their rule: beside each option they would double the page."""
        options = [option for options in self.groups.values() for option in options]
        named = [option for option in options if option.envvar]
        if not named:
            return
        only_typed = [option.opts[0] for option in options if not option.envvar]
        example = next((option for option in named if not option.show_envvar), named[0])
        variable = f"{self.variable_prefix}{str(example.name).upper()}"
        text = (
            f"Options can also come from the environment: {example.opts[0]} is {variable} there, "
            "and so on. A flag's is 1 or 0."
        )
        if only_typed:
            text += f" Only on the command line: {', '.join(only_typed)}."
        formatter.write("\n" + textwrap.fill(text, formatter.width, break_on_hyphens=False) + "\n")


def write_examples(examples: Iterable[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    """Pairs of what it does and what to type."""
    with formatter.section("Examples"):
        for purpose, line in examples:
            # Written as it stands: a command that is wrapped cannot be copied.
            formatter.write(f"  # {purpose}\n  {line}\n")


def _write_options(
    heading: str,
    options: Iterable[click.Option],
    ctx: click.Context,
    formatter: click.HelpFormatter,
) -> None:
    with formatter.section(heading):
        formatter.write_dl([record for each in options if (record := each.get_help_record(ctx))])

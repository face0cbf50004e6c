"""What `run --plan` takes from a plan, what is said besides it, and who made it."""

import getpass
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bulk_eraser.cli.options.shared import InputOptions, TargetOptions
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.survey.plan import Author, PlanFile, Said
from bulk_eraser.wording import printable, time_in_words

__all__ = ["as_planned", "author_of", "login_name", "tell_of_plan"]


def login_name() -> str:
    """Who runs this program."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a name for its user
        return f"uid {os.getuid()}"


def author_of(made_by: str | None) -> Author:
    """Of a plan that is made now; `made_by` if somebody else than who is logged in is named."""
    login = login_name().encode(errors="replace").decode()
    made_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Author(made_by or login, login, made_at)


def as_planned(
    plan: PlanFile, source: InputOptions, target: TargetOptions, *, no_exclude: bool
) -> tuple[InputOptions, TargetOptions]:
    """The options that the plan stands for.

    Raises `UsageError` where other ones are said besides, on the command line or in the
    environment, or where a file of the plan is not there; `ConfigurationError` as `Target` does.
    """
    plan.must_suit([*_said_of_input(source, no_exclude), *_said_of_target(target, plan)])
    reading, api = plan.plan.reading, plan.plan.api
    planned = replace(
        source,
        input_path=source.input_path if source.said_by("input_path") else plan.input_path,
        format=reading.format,
        key_field=reading.key_field,
        no_header=not reading.header,
        header_row=reading.header_row,
        delimiter=reading.delimiter,
        encoding=reading.encoding,
        sheet=reading.sheet,
        received_field=reading.received_field,
        received_format=reading.received_format,
        reference_field=reading.reference_field,
        allow=plan.plan.allow,
        shard=f"{shard.index}/{shard.of}" if (shard := plan.plan.shard) else source.shard,
        exclude=source.exclude if source.said_by("exclude") else plan.hold_list_path,
    )
    where = plan.target
    # `follow` does not know of the plan: a version that is not the default has to be said to it.
    typed = {"api_version"} if api is not ApiVersion.V4 else set()
    return planned, replace(
        target,
        cluster_id=where.name if where.cluster else None,
        base_url=where.named_base,
        api_version=api,
        typed=target.typed | typed,
    )


def tell_of_plan(plan: PlanFile, output: Output) -> None:
    """Who made the plan that matches, and whether that is somebody else."""
    author = plan.plan
    who, when = printable(author.made_by), printable(time_in_words(author.made_at))
    output.say(f"Plan {printable(plan.path)} by {who}, {when}: matches")
    if author.login == login_name():
        output.warn(
            f"the plan was made with the login that runs it ({printable(author.login)}). Four eyes "
            "need a second person."
        )


def _said_of_input(source: InputOptions, no_exclude: bool) -> Iterator[Said]:
    asked = source.reading()
    fields: dict[str, tuple[str, Any]] = {
        "format": ("format", asked.format),
        "key_field": ("key_field", asked.key_field),
        "no_header": ("header", asked.header),
        "header_row": ("header_row", asked.header_row),
        "delimiter": ("delimiter", asked.delimiter),
        "encoding": ("encoding", asked.encoding),
        "sheet": ("sheet", asked.sheet),
        "received_field": ("received_field", asked.received_field),
        "received_format": ("received_format", asked.received_format),
        "reference_field": ("reference_field", asked.reference_field),
        "allow": ("allow", source.allow),
        "exclude": ("hold_list", source.exclude),
        "shard": ("shard", source.part()),
    }
    for option, (field, value) in fields.items():
        if by := source.said_by(option):
            yield Said(by, field, value)
    if no_exclude:
        yield Said("--no-exclude", "hold_list", None)


def _said_of_target(target: TargetOptions, plan: PlanFile) -> Iterator[Said]:
    named = target.named_target()
    if named is not None:
        by = target.said_by("base_url") if target.base_url else target.said_by("cluster_id")
        yield Said(by or "", "target", named.name)
        if named.name == plan.plan.target:
            yield Said(by or "", "base", named.base_of(plan.plan.api))
    if by := target.said_by("api_version"):
        yield Said(by, "api", target.api_version)

"""Pages for people, made of templates (jinja2): hostile text in any field stays text."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bulk_eraser.wording import counted, plural, printable, target_in_words, time_in_words

__all__ = ["rendered"]

_FILTERS: dict[str, Callable[..., Any]] = {
    "count": lambda number: f"{number:,}",
    "counted": counted,
    "plural": plural,
    "when": time_in_words,
    "target": target_in_words,
    "text": lambda value: printable(str(value)),
}


def rendered(package: str, view: dict[str, Any], **filters: Callable[..., Any]) -> str:
    """`page.html.jinja` of a package with what is in `view`; a name that is missing there raises
    `jinja2.UndefinedError`."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS | filters
    return environment.get_template("page.html.jinja").render(view) + "\n"

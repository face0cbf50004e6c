"""A certificate as one page for the person who asked: plain words, and the proof in it.

What the page says comes from the proof alone; how it looks is in `page.html.jinja`, which escapes
whatever it is given.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bulk_eraser.evidence.certificate.check import Checked
from bulk_eraser.evidence.certificate.proof_file import Proof, text_of
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS
from bulk_eraser.wording import printable, stamped_before, target_in_words, time_in_words

__all__ = ["as_page"]


def as_page(proof: Proof, checked: Checked) -> str:
    """`checked` is what the check of `proof` has found."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("bulk_eraser.evidence.certificate", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "when": time_in_words,
        "target": target_in_words,
        "text": lambda value: printable(str(value)),
    }
    return environment.get_template("page.html.jinja").render(_view(proof, checked)) + "\n"


def _view(proof: Proof, checked: Checked) -> dict[str, Any]:
    stamp = checked.stamp
    return {
        "s": checked.statement,
        "c": checked,
        "is_pseudonym": checked.statement.keys == PSEUDONYMS,
        "stamped": stamped_before(stamp.time) if stamp and stamp.time else None,
        "has_stamp": stamp is not None,
        "proof": text_of(proof),
    }

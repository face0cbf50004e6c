"""A certificate as one page for the person who asked: plain words, and the proof in it.

What the page says comes from the proof alone; how it looks is in `page.html.jinja`, which escapes
whatever it is given.
"""

from typing import Any

from bulk_eraser.evidence.certificate.check import Checked
from bulk_eraser.evidence.certificate.proof_file import Proof, text_of
from bulk_eraser.evidence.html_page import rendered
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS
from bulk_eraser.wording import stamped_before

__all__ = ["as_page"]


def as_page(proof: Proof, checked: Checked) -> str:
    """`checked` is what the check of `proof` has found."""
    return rendered("bulk_eraser.evidence.certificate", _view(proof, checked))


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

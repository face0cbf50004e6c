"""A plan: what one person checked, for another to run exactly that.

A JSON file without customer keys. It binds the bytes of the input and how they are read, the hold
list, the number and digest of the keys, the target and the API version. It is not signed: the
ledger names the digest of the plan that was carried out.
"""

import codecs
import os
from hashlib import sha256
from typing import Any

import msgspec

from bulk_eraser.atomic_file import write_document
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.records import InputFacts, PlanFacts
from bulk_eraser.sources.rows import Reading
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.survey import Survey

__all__ = ["HoldFacts", "Plan", "PlanFile", "made_from", "must_be_free", "read_plan", "write_plan"]

MOST_BYTES = 1 << 20
_READING = {
    "format": "--format",
    "sheet": "--sheet",
    "key_field": "--key-field",
    "header": "--no-header",
    "delimiter": "--delimiter",
    "encoding": "--encoding",
    "received_field": "--received-field",
    "reference_field": "--reference-field",
}


class HoldFacts(msgspec.Struct, kw_only=True, frozen=True):
    """The hold list: `sha256` is over the file's raw bytes, `keys` its different keys."""

    name: str
    sha256: str
    keys: int


class Plan(msgspec.Struct, kw_only=True, frozen=True, tag_field="type", tag="plan"):
    """The content of a plan file. `keys` counts the different keys that are not on hold.

    `keys_sha256` is over these keys in order, each ended by a newline. `base` is the URL that all
    calls begin with.
    """

    format: int = 1
    tool: str
    made_by: str
    made_at: str
    input: InputFacts
    hold_list: HoldFacts | None
    keys: int
    keys_sha256: str
    target: str
    base: str
    api: str


class PlanFile(msgspec.Struct, frozen=True):
    """A plan as it was read. `sha256` is over the file's bytes."""

    path: str
    sha256: str
    plan: Plan

    @property
    def facts(self) -> PlanFacts:
        """What `run_started` says of it."""
        return PlanFacts(sha256=self.sha256, made_by=self.plan.made_by, made_at=self.plan.made_at)

    def must_suit(self, asked: Reading, target: Target | None, version: ApiVersion) -> None:
        """Compare what is known before the input is read; `target` None is not looked at.

        Raises `UsageError` that names the differences.
        """
        facts = self.plan.input
        differences = []
        for field, option in _READING.items():
            planned, mine = getattr(facts, field), getattr(asked, field)
            if field == "header" or mine in (None, planned):
                continue
            if field == "encoding" and not _is_other_encoding(facts, mine):
                continue
            made = f"without {option}" if planned is None else f"with {option} {planned!r}"
            differences.append(f"it was made {made}, this run has {mine!r}")
        if facts.header != asked.header:
            given = "without" if facts.header else "with"
            differences.append(f"it was made {given} --no-header")
        if target is not None:
            differences += _unequal("target", self.plan.target, target.name)
        differences += _unequal("API version", self.plan.api, version.value)
        if target is not None and not differences:
            differences += _unequal("address", self.plan.base, target.base_of(version))
        self._must_be_none(differences)

    def must_match(self, survey: Survey) -> None:
        """Compare what the survey found. Raises `UsageError` that names the differences."""
        plan, facts = self.plan, survey.facts()
        differences = []
        if facts.sha256 != plan.input.sha256:
            differences.append("the input was changed since")
        for field, option in _READING.items():
            planned, mine = getattr(plan.input, field), getattr(facts, field)
            differences += _unequal(option, planned, mine)
        hold = _hold_facts(survey)
        if (hold and hold.sha256) != (plan.hold_list and plan.hold_list.sha256):
            differences.append(_other_hold_list(plan.hold_list, hold))
        differences += _unequal("number of keys", plan.keys, _keys_of(survey))
        if not differences and survey.keys_sha256() != plan.keys_sha256:
            differences.append("its keys_sha256 is that of other keys, or of another order")
        self._must_be_none(differences)

    def _must_be_none(self, differences: list[str]) -> None:
        if differences:
            raise UsageError(
                f"The plan {self.path} does not match: {'; '.join(differences)}. Nothing was sent. "
                "Run what was planned, or have it checked again for a new plan."
            )


def made_from(
    survey: Survey, target: Target, version: ApiVersion, *, tool: str, made_by: str, made_at: str
) -> Plan:
    """The plan for a decided survey. Reads the input once more, and raises as that does."""
    return Plan(
        tool=tool,
        made_by=made_by,
        made_at=made_at,
        input=survey.facts(),
        hold_list=_hold_facts(survey),
        keys=_keys_of(survey),
        keys_sha256=survey.keys_sha256(),
        target=target.name,
        base=target.base_of(version),
        api=version.value,
    )


def write_plan(path: str, plan: Plan) -> None:
    """Write the file whole or not at all; an older plan there is replaced, nothing else.

    Raises `UsageError` if there is something else, `LedgerWriteError` if it cannot be written.
    """
    must_be_free(path)
    try:
        write_document(path, plan)
    except OSError as error:
        raise LedgerWriteError(
            f"The plan {path} cannot be written: {error.strerror}. Name another place with --plan."
        ) from None


def must_be_free(path: str) -> None:
    """Raises `UsageError` if a plan cannot be written there without destroying something else."""
    if path and not os.path.lexists(path):
        return
    if path and not os.path.isfile(path):
        raise UsageError(f"A plan cannot be written to {path}, which is no file. Name another.")
    read_plan(path)


def read_plan(path: str) -> PlanFile:
    """Raises `UsageError` when there is no plan of a kind that this version knows."""
    if not path:
        raise UsageError("--plan names no file. Is a variable empty? Nothing was sent.")
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError("no plan is so long")
        plan = msgspec.json.decode(content, type=Plan)
    except OSError as error:
        raise UsageError(f"The plan {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise UsageError(
            f"{path} is not a plan. `bulk-eraser check INPUT --plan FILE` writes one."
        ) from None
    if plan.format != 1:
        raise UsageError(f"The plan {path} was written by a newer version of bulk-eraser.")
    return PlanFile(path, sha256(content).hexdigest(), plan)


def _keys_of(survey: Survey) -> int:
    return survey.facts().keys - survey.count(action=Action.EXCLUDE)


def _is_other_encoding(facts: InputFacts, asked: str) -> bool:
    """Encodings have several names, a byte order mark says more, and a workbook needs none."""
    try:
        name = codecs.lookup(asked).name
    except LookupError:  # which the reader tells
        return False
    if facts.format == "xlsx" or name == facts.encoding:
        return False
    by_mark = facts.encoding in ("utf-8-sig", "utf-16")
    return not (by_mark and facts.encoding.startswith(name[:6]))


def _hold_facts(survey: Survey) -> HoldFacts | None:
    held = survey.hold_list
    if held is None:
        return None
    return HoldFacts(name=held.name, sha256=held.sha256, keys=held.entries)


def _other_hold_list(planned: HoldFacts | None, mine: HoldFacts | None) -> str:
    if planned is None:
        return "it was made without a hold list"
    if mine is None:
        return f"it was made with the hold list {planned.name}, so name that with --exclude"
    return "the hold list is another one, or was changed since"


def _unequal(what: str, planned: Any, mine: Any) -> list[str]:
    if planned == mine:
        return []
    return [f"{what}: {planned!r} in the plan, {mine!r} in this run"]

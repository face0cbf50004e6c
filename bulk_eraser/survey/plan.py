"""A plan: what one person checked, for another to run exactly that.

A JSON file without customer keys. It binds the bytes of the input and how they are read, the hold
list, the number and digest of the keys, the target and the API version. It says where the files
are, so that nothing has to be said again. It is not signed: the ledger names the digest of the plan
that was carried out.
"""

import codecs
import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec

from bulk_eraser.atomic_file import write_document
from bulk_eraser.elevate.endpoints import ApiVersion, Target
from bulk_eraser.errors import LedgerWriteError, UsageError
from bulk_eraser.records import InputFacts, PlanFacts
from bulk_eraser.shard import Shard
from bulk_eraser.sources.address import is_remote
from bulk_eraser.sources.file import InputFile
from bulk_eraser.sources.rows import WITHOUT_ENCODING, Reading
from bulk_eraser.survey.checks import Allow, Intake
from bulk_eraser.survey.decision import Action
from bulk_eraser.survey.survey import Survey

__all__ = [
    "FORMAT",
    "Author",
    "HoldFacts",
    "Plan",
    "PlanFile",
    "Said",
    "decoded",
    "made_from",
    "must_be_free",
    "read_bytes",
    "read_plan",
    "write_plan",
]

FORMAT = 2
"""Plans of format 1 did not say how they are carried out: all options had to be given again."""
MOST_BYTES = 1 << 20
P = TypeVar("P", bound=msgspec.Struct)

_READING = {
    "format": "--format",
    "sheet": "--sheet",
    "key_field": "--key-field",
    "header": "--no-header",
    "header_row": "--header-row",
    "delimiter": "--delimiter",
    "encoding": "--encoding",
    "received_field": "--received-field",
    "received_format": "--received-format",
    "reference_field": "--reference-field",
    "cluster_field": "--cluster-field",
    "cluster": "cluster",
}


class HoldFacts(msgspec.Struct, kw_only=True, frozen=True):
    """The hold list: `sha256` is over the file's raw bytes, `keys` its different keys."""

    path: str | None
    name: str
    sha256: str
    keys: int


class Plan(msgspec.Struct, kw_only=True, frozen=True, tag_field="type", tag="plan"):
    """The content of a plan file. `keys` counts the different keys that are not on hold.

    `keys_sha256` is over these keys in order, each ended by a newline. `base` is the URL that all
    calls begin with. `login` is who was logged in, whoever `made_by` names. A `path` is relative to
    the plan's folder or absolute, as it was typed, and None for a pipe or a name that is not UTF-8.
    `reading` is what was asked for, `input` what was found. With `shard`, `keys` and `keys_sha256`
    are of its keys alone.
    """

    format: int = FORMAT
    tool: str
    made_by: str
    made_at: str
    login: str
    path: str | None
    reading: Reading
    allow: tuple[Allow, ...]
    input: InputFacts
    hold_list: HoldFacts | None
    keys: int
    keys_sha256: str
    target: str
    base: str
    api: ApiVersion
    shard: Shard | None = None


class _Head(msgspec.Struct, frozen=True, tag_field="type", tag="plan"):
    """What the plans of all versions have in common."""

    format: int


class Author(NamedTuple):
    """Who made a plan, and when (UTC)."""

    made_by: str
    login: str
    made_at: str


class Said(NamedTuple):
    """What is said besides a plan: by which option or variable, of which field of the input's facts
    or of the plan, and what."""

    by: str
    field: str
    value: Any


class PlanFile(msgspec.Struct, frozen=True):
    """A plan as it was read. `sha256` is over the file's bytes."""

    path: str
    sha256: str
    plan: Plan

    @property
    def facts(self) -> PlanFacts:
        """What `run_started` says of it."""
        return PlanFacts(sha256=self.sha256, made_by=self.plan.made_by, made_at=self.plan.made_at)

    @property
    def target(self) -> Target:
        """Raises `UsageError` where address and target are not of each other, `ConfigurationError`
        for an address that must not be used."""
        plan = self.plan
        if "://" in plan.target:
            target = Target.of_base_url(plan.base.removesuffix(plan.api.path))
        else:
            target = Target.of_cluster(plan.target)
        if (target.name, target.base_of(plan.api)) != (plan.target, plan.base):
            raise UsageError(
                f"The plan {self.path} was changed by hand: its target {plan.target!r} does not "
                f"belong to its address {plan.base!r}. Nothing was sent. Have a new plan made."
            )
        return target

    @property
    def input_path(self) -> str:
        """Where the input was. Raises `UsageError` if the plan does not say, or it is gone."""
        return self._found(self.plan.path, "input", "INPUT")

    @property
    def hold_list_path(self) -> str | None:
        """The same of the hold list; None if there is none."""
        hold = self.plan.hold_list
        return self._found(hold.path, "hold list", "--exclude") if hold else None

    def _found(self, planned: str | None, what: str, where: str) -> str:
        if planned is None:
            raise UsageError(
                f"The plan {self.path} does not say where its {what} is: it came from a pipe, or "
                f"from a signed address. Name it with {where} (- stands for standard input). "
                "Nothing was sent."
            )
        if is_remote(planned):
            return planned
        path = os.path.normpath(os.path.join(os.path.dirname(self.path), planned))
        if not os.path.exists(path):
            raise UsageError(
                f"The {what} of the plan {self.path} is not where it was: there is no {path}. If "
                f"it was moved, name it with {where}. Nothing was sent."
            )
        return path

    def must_suit(self, said: Iterable[Said]) -> None:
        """Compare what is said besides the plan. Raises `UsageError` that names what disagrees."""
        others = [
            f"{by} says {_in_words(field, value)}, but the plan has "
            f"{_in_words(field, self._planned(field))}"
            for by, field, value in said
            if not self._agrees(field, value)
        ]
        if others:
            raise UsageError(
                f"The plan {self.path} is for something else: {'; '.join(others)}. Nothing was "
                "sent. Leave out what the plan says already, or have the input checked again for a "
                "new plan."
            )

    def _planned(self, field: str) -> Any:
        if field == "hold_list":
            return self.plan.hold_list and self.plan.hold_list.name
        return getattr(self.plan.input if hasattr(self.plan.input, field) else self.plan, field)

    def _agrees(self, field: str, value: Any) -> bool:
        planned = self._planned(field)
        match field:
            case "encoding":
                return not _is_other_encoding(self.plan.input, value)
            case "allow":
                return set(value) <= set(planned)
            case "hold_list":  # another name is no difference; its bytes are compared later
                return (value is None) == (planned is None)
            case "shard":  # a plan of the whole input may be carried out shard by shard
                return planned in (None, value)
        return bool(value == planned)

    def must_match(self, survey: Survey) -> None:
        """Compare what the survey found. Raises `UsageError` that names the differences."""
        plan, facts = self.plan, survey.facts()
        differences = []
        if facts.sha256 != plan.input.sha256:
            differences.append("the input was changed since, or is another one")
        for field, option in _READING.items():
            planned, mine = getattr(plan.input, field), getattr(facts, field)
            differences += _unequal(option, planned, mine)
        hold = survey.hold_list
        if (hold and hold.sha256) != (plan.hold_list and plan.hold_list.sha256):
            differences.append("the hold list was changed since, or is another one")
        if plan.shard is None and survey.part is not None:
            # One shard of a plan for all: the same bytes, read alike and with the same holds.
            differences += _unequal("number of keys of the whole", plan.input.keys, facts.keys)
        else:
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
    survey: Survey,
    intake: Intake,
    target: Target,
    version: ApiVersion,
    *,
    path: str,
    tool: str,
    author: Author,
) -> Plan:
    """The plan for a decided survey of `intake`, to be written to `path`.

    Reads the input once more, and raises as that does.
    """
    return Plan(
        tool=tool,
        made_by=author.made_by,
        made_at=author.made_at,
        login=author.login,
        path=_path_of(intake.reader.file, path),
        reading=intake.reader.asked,
        allow=tuple(sorted(intake.allowed)),
        input=survey.facts(),
        hold_list=_hold_facts(survey, intake, path),
        keys=_keys_of(survey),
        keys_sha256=survey.keys_sha256(),
        target=target.name,
        base=target.base_of(version),
        api=version,
        shard=survey.part if isinstance(survey.part, Shard) else None,
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
    _must_not_be_newer(path, decoded(path, read_bytes(path), _Head))


def read_plan(path: str) -> PlanFile:
    """Raises `UsageError` when there is no plan of a kind that this version knows."""
    if not path:
        raise UsageError("--plan names no file. Is a variable empty? Nothing was sent.")
    content = read_bytes(path)
    head = decoded(path, content, _Head)
    _must_not_be_newer(path, head)
    if head.format < FORMAT:
        raise UsageError(
            f"The plan {path} was written by an older version of bulk-eraser, and does not say all "
            "that a run needs. Have the input checked again for a new plan. Nothing was sent."
        )
    return PlanFile(path, sha256(content).hexdigest(), decoded(path, content, Plan))


def read_bytes(path: str) -> bytes:
    """Raises `UsageError` for what cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The plan {path} cannot be read: {error.strerror}.") from None


def decoded(
    path: str,
    content: bytes,
    type_: type[P],
    written_by: str = "`bulk-eraser check INPUT --plan FILE`",
) -> P:
    """Raises `UsageError` for what is no such plan."""
    try:
        if len(content) > MOST_BYTES:
            raise ValueError("no plan is so long")
        return msgspec.json.decode(content, type=type_)
    except ValueError:
        if use := _of_another_kind(content, type_):
            raise UsageError(f"{path} is {use}. Nothing was sent.") from None
        raise UsageError(f"{path} is not a plan. {written_by} writes one.") from None


class _Typed(msgspec.Struct, frozen=True):
    type: str


_USES = {
    "plan": "a plan for one input: `bulk-eraser run --plan` carries it out",
    "fleet_plan": "a plan for a fleet: `bulk-eraser fleet run FLEET --plan` carries it out",
}


def _of_another_kind(content: bytes, type_: type[msgspec.Struct]) -> str | None:
    """What it is, if it is a plan, but not of this type."""
    try:
        kind = msgspec.json.decode(content, type=_Typed).type
    except ValueError:
        return None
    return None if kind == type_.__struct_config__.tag else _USES.get(kind)


def _must_not_be_newer(path: str, head: _Head) -> None:
    if head.format > FORMAT:
        raise UsageError(f"The plan {path} was written by a newer version of bulk-eraser.")


def _keys_of(survey: Survey) -> int:
    return survey.own_facts().keys - survey.count(action=Action.EXCLUDE)


def _is_other_encoding(facts: InputFacts, asked: str) -> bool:
    """Encodings have several names, a byte order mark says more, and some formats need none."""
    try:
        name = codecs.lookup(asked).name
    except LookupError:  # which the reader tells
        return False
    if facts.format in WITHOUT_ENCODING or name == facts.encoding:
        return False
    by_mark = facts.encoding in ("utf-8-sig", "utf-16")
    return not (by_mark and facts.encoding.startswith(name[:6]))


def _hold_facts(survey: Survey, intake: Intake, plan_path: str) -> HoldFacts | None:
    held = survey.hold_list
    if held is None or intake.hold_list is None:
        return None
    path = _path_of(intake.hold_list.file, plan_path)
    return HoldFacts(path=path, name=held.name, sha256=held.sha256, keys=held.entries)


def _path_of(file: InputFile, plan_path: str) -> str | None:
    """Where it can be found again: folder and plan may be moved together."""
    if file.is_pipe:
        return None
    path = file.path
    if file.address is not None:
        return path if file.address == path else None  # a secret must not be in a plan
    if not os.path.isabs(path):
        path = os.path.relpath(path, os.path.dirname(plan_path) or ".")
    return path if path == path.encode(errors="replace").decode() else None


def _in_words(field: str, value: Any) -> str:
    match field:
        case "header":
            return "a header" if value else "no header"
        case "hold_list" if value is None:
            return "no hold list"
        case "hold_list":
            return f"the hold list {value}"
        case "allow":
            return ", ".join(value) or "none"
    return "none" if value is None else repr(str(value))


def _unequal(what: str, planned: Any, mine: Any) -> list[str]:
    if planned == mine:
        return []
    return [f"{what}: {planned!r} in the plan, {mine!r} in this run"]

"""Does a run suit the ledger that it is to continue? What refuses it, before anything is sent."""

from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.ledger.file import LedgerFile
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.ledger.pseudonyms import PSEUDONYMS, RAW, KeyNaming
from bulk_eraser.sending.request import RunRequest
from bulk_eraser.settings import RunSettings
from bulk_eraser.shard import Part
from bulk_eraser.survey.survey import Survey

__all__ = ["must_be_the_same_batch", "must_belong", "must_keep_no_key"]


def must_belong(
    file: LedgerFile,
    facts: LedgerFacts,
    request: RunRequest,
    settings: RunSettings,
    part: Part | None,
) -> None:
    """Is the ledger of such jobs, this target, this kind of names, and `part` of such an input?
    That can be told before the input is read.

    Raises `UsageError` and `ConfigurationError`. A new ledger, without facts, may become anything.
    """
    _must_have_jobs_of_this_kind(file, facts, request)
    _must_be_the_same_target(file, facts, settings)
    _must_name_keys_alike(file, facts, request.intake.naming)
    _must_be_the_same_shard(file, facts, part)
    _must_be_the_same_cluster(file, facts, request.intake.reader.asked.cluster)


def _must_have_jobs_of_this_kind(file: LedgerFile, facts: LedgerFacts, request: RunRequest) -> None:
    if facts.target is None or (facts.export is None) is (request.export is None):
        return
    what = (
        "that of an export, whose jobs erase nobody"
        if facts.export
        else "that of erasures, which are no exports"
    )
    raise UsageError(
        f"The ledger {file.path} is {what}. Nothing was sent. Name another with --ledger."
    )


def _must_be_the_same_target(file: LedgerFile, facts: LedgerFacts, settings: RunSettings) -> None:
    if facts.target is not None and facts.target != settings.target.name:
        raise ConfigurationError(
            f"The ledger {file.path} belongs to the target {facts.target}, this run to "
            f"{settings.target.name}. A ledger has one target: name another with --ledger."
        )
    base = settings.target.named_base
    if facts.base is not None and base is not None and facts.base != base:
        raise ConfigurationError(
            f"The ledger {file.path} belongs to the address {facts.base}, this run to {base}. "
            "A ledger has one target: name another with --ledger."
        )


def _must_be_the_same_shard(file: LedgerFile, facts: LedgerFacts, part: Part | None) -> None:
    """A ledger has one shard of one number, or the keys of another would look new to it."""
    if facts.last_input is None or facts.shard == part:
        return
    its = f"is that of shard {facts.shard}" if facts.shard else "has the whole input, not a shard"
    mine = f"for shard {part}" if part else "for the whole input"
    raise ConfigurationError(
        f"The ledger {file.path} {its}, and this run is {mine}. Nothing was sent. Use --shard as "
        "before, or name another ledger with --ledger."
    )


def _must_be_the_same_cluster(file: LedgerFile, facts: LedgerFacts, cluster: str | None) -> None:
    """Where a run read the rows of one cluster only, one that reads all would send it the keys of
    others."""
    its = facts.last_input.cluster if facts.last_input else None
    if its not in (None, cluster):
        mine = f"the rows of {cluster}" if cluster else "all rows of its input"
        raise ConfigurationError(
            f"The ledger {file.path} has the rows of {its} of an input for several clusters, and "
            f"this run is for {mine}. Nothing was sent. Use `fleet run` as before, or name another "
            "ledger with --ledger."
        )


def must_be_the_same_batch(file: LedgerFile, survey: Survey) -> None:
    if survey.keys_of_ledger and not survey.keys_in_common:
        raise UsageError(
            f"The ledger {file.path} seems to belong to another batch: none of its keys "
            f"({survey.keys_of_ledger:,}) is in {survey.reader.file.name}. Nothing was sent. Name "
            "another ledger with --ledger. If this input belongs to it, use --same-batch."
        )


def must_keep_no_key(survey: Survey) -> None:
    reading = survey.reader.reading
    if survey.naming.kind != RAW and reading.key_field in (
        reading.reference_field,
        reading.received_field,
    ):
        raise UsageError(
            "--pseudonymize would keep the customer keys all the same: --reference-field names "
            "their column. Name another, or leave it out."
        )


def _must_name_keys_alike(file: LedgerFile, facts: LedgerFacts, naming: KeyNaming) -> None:
    """A ledger has one kind of names, or a key would look new that was sent long ago."""
    if facts.keys_kind is None:
        return
    if facts.keys_kind != naming.kind:
        advice = {
            (RAW, PSEUDONYMS): "holds the customer keys as they are: leave --pseudonymize out, or "
            "convert it with `bulk-eraser pseudonymize`",
            (PSEUDONYMS, RAW): "holds pseudonyms of the keys: use --pseudonymize, with the pepper "
            "that it was started with",
        }.get((facts.keys_kind, naming.kind), "names keys in a way that this version cannot")
        raise ConfigurationError(f"The ledger {file.path} {advice}. Nothing was sent.")
    if facts.pepper_check != naming.pepper_check:
        raise ConfigurationError(
            f"The ledger {file.path} was started with another pepper than the one in "
            "BULK_ERASER_PEPPER_FILE, so its keys would not be recognized. Nothing was sent. Name "
            "the right file."
        )

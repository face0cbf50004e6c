"""`bulk-eraser follow`: ask for the status of every job that is due, until all are done."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from bulk_eraser.cli.export import MOST_BYTES, warn_if_unencrypted
from bulk_eraser.cli.follow_several import follow_each
from bulk_eraser.cli.options.bundles import Number, argument, command, flag, option
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import (
    SIMULATED_KEY,
    ServiceOptions,
    within_file_limit,
)
from bulk_eraser.cli.options.shared import (
    PaceOptions,
    ReceivedOptions,
    TargetOptions,
    VerboseOutputOptions,
    date_of,
    warn_of_version,
)
from bulk_eraser.cli.terminal.display import Display
from bulk_eraser.cli.terminal.ending import command_of, conclude
from bulk_eraser.cli.terminal.event_loop import event_loop_runner
from bulk_eraser.cli.terminal.follow_text import STATUS_MEANINGS, describe, tell_follow
from bulk_eraser.cli.terminal.step_summary import in_a_step
from bulk_eraser.elevate.endpoints import Target
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.evidence.receipt import receipt_must_be_writable
from bulk_eraser.evidence.seal import named_by
from bulk_eraser.evidence.sealed_head import SealedHead
from bulk_eraser.ledger.history import LedgerFacts
from bulk_eraser.sending.deadlines import DAY_S, Calendar
from bulk_eraser.sending.follow import Follow, FollowedLedger
from bulk_eraser.sending.request import REHEARSAL, FollowRequest, FollowResult
from bulk_eraser.settings import RunSettings, must_be_within
from bulk_eraser.wording import counted, printable

__all__ = ["AskingOptions", "FollowOptions", "follow", "request_of", "settings_of"]


@dataclass(frozen=True, kw_only=True)
class AskingOptions(ReceivedOptions):
    """Which jobs are asked about, of one ledger or of many."""

    heading = "What is asked"

    now: bool = flag("Ask about every unfinished job, due or not.", env=False)
    wait: bool = flag("Stay until all jobs are finished; it takes days.", env=False)
    fail_if_overdue: bool = flag(
        "End with 3 if the month for an answer is over for a job.", env=False
    )
    day: float | None = option(
        "SECONDS",
        "How long a day lasts at `simulate`; only for that.",
        type=Number(10.0),
        env=False,
    )


@dataclass(frozen=True, kw_only=True)
class FollowOptions(AskingOptions):
    """What `follow` has and no other command."""

    ledger: str = argument("LEDGER", "The ledger whose jobs are followed, or a seal of several.")
    receipt: str | None = option(
        "FILE",
        "Write head, counts, target and times of this follow to FILE, to be kept elsewhere.",
        env=False,
    )
    output: str | None = option(
        "DIR",
        "Of an export: the folder for the results. [default: that of the last `export`]",
        env=False,
    )
    max_result_bytes: int | None = option(
        "N",
        "Of an export: how large a result may be. [default: as for the last `export`]",
        type=Number(100_000_000),
        env=False,
    )


@command(
    ("Once a day, until it ends with 0", "bulk-eraser follow customers.ledger.ndjson"),
    ("Stay until everybody is erased", "bulk-eraser follow customers.ledger.ndjson --wait"),
    (
        "Count each month from the day of the requests",
        "bulk-eraser follow customers.ledger.ndjson --received 2026-11-02",
    ),
)
def follow(
    given: FollowOptions,
    stamped: StampOptions,
    target: TargetOptions,
    service: ServiceOptions,
    pace: PaceOptions,
    told: VerboseOutputOptions,
) -> int:
    """Ask for the status of every job that is due, and record the answers in LEDGER.

    `accepted` means that a job was created; only `done` means that the data is erased, which takes
    about six days. Run this once a day until it ends with 0. The target is that of the ledger.
    On the ledger of an export, results that are done are downloaded.
    """
    output = told.output()

    def follow_one(given: FollowOptions) -> FollowResult:
        with closing(FollowedLedger(given.ledger)) as ledger:  # whatever refuses it, it is unlocked
            settings = within_file_limit(settings_of(target, pace, ledger), output)
            if given.receipt is not None:
                receipt_must_be_writable(given.receipt, given.ledger)
            proofs = stamped.proofs(given.receipt, service)
            request = request_of(given, service, settings)
            api_key = SIMULATED_KEY if settings.simulated else service.api_key(output)
            warn_of_version(settings.api_version, output)
            pursued = Follow(request, settings, ledger)
            if pursued.export is not None:
                how = "To encrypt them, use the same `export` command first, with --encrypt-to"
                warn_if_unencrypted(pursued.export, output, how)
            describe(pursued, output, verbose=told.verbose)
            with event_loop_runner() as runner:
                shown = Display(output, settings.rate)
                result = runner.run(pursued.carry_out(api_key, shown))
            proofs.leave(output, pursued.run_started, result)
            result.next = _next(result)
            return result

    def follow_and_tell(path: str, sealed: Sequence[SealedHead]) -> FollowResult:
        for it in sealed:
            if it.ledger == path:
                it.must_be_there()
        result = follow_one(replace(given, ledger=path))
        result.next = None  # it is for all of them
        if result.error is None:
            tell_follow(given.wait, output, result)
        return result

    def work() -> FollowResult:
        named = named_by([given.ledger])
        if not named.sealed:
            return follow_one(given)
        _must_suit_a_seal(given)
        total = follow_each(
            given.ledger,
            named.ledgers,
            partial(follow_and_tell, sealed=named.sealed),
            fail_if_overdue=given.fail_if_overdue,
        )
        output.say(f"Seal {printable(given.ledger)}: {counted(len(named.ledgers), 'ledger')}")
        total.next = _next(total)
        return total

    tell = in_a_step("follow", partial(tell_follow, given.wait), STATUS_MEANINGS)
    return conclude(output, FollowResult(ledger=given.ledger), work, tell, tell)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


def settings_of(options: TargetOptions, pace: PaceOptions, ledger: FollowedLedger) -> RunSettings:
    target = _target_of(ledger, options)
    return RunSettings(
        target=target,
        api_version=options.api_version,
        concurrency=pace.concurrency,
        rate=pace.rate,
        max_attempts=pace.max_attempts,
        timeout=pace.timeout,
        max_outage=pace.max_outage,
        simulated=target.name == REHEARSAL,
    )


def _must_suit_a_seal(given: FollowOptions) -> None:
    """Raises `UsageError` for what is of one ledger only."""
    if given.wait or given.receipt is not None:
        option = "--wait" if given.wait else "--receipt"
        raise UsageError(
            f"{option} is for one ledger, and {given.ledger} is a seal of several. Name a ledger, "
            "or leave it out. Nothing was asked."
        )


def request_of(
    given: FollowOptions, service: ServiceOptions, settings: RunSettings
) -> FollowRequest:
    """Raises `UsageError` and `ConfigurationError` for what cannot be used."""
    if given.max_result_bytes is not None:
        must_be_within("--max-result-bytes", given.max_result_bytes, *MOST_BYTES)
    return FollowRequest(
        ledger_path=given.ledger,
        now=given.now,
        wait=given.wait,
        received=date_of("--received", given.received),
        fail_if_overdue=given.fail_if_overdue,
        route=service.route(settings.target, settings.api_version),
        calendar=_calendar(given.day, settings.target),
        output=os.path.abspath(given.output) if given.output else None,
        max_result_bytes=given.max_result_bytes,
    )


def _target_of(ledger: FollowedLedger, options: TargetOptions) -> Target:
    """The ledger's target; what options or environment say of it must agree.

    Raises `UsageError` when there is no ledger, `ConfigurationError` for another target.
    """
    facts, path = ledger.facts, ledger.file.path
    if facts.target is None:
        raise UsageError(
            f"There is no ledger {path}, or nothing in it. Name that of a run, which ends in "
            ".ledger.ndjson."
        )
    named = options.named_target()
    recorded = _recorded_target(facts, facts.target, named)
    if named is None or named == recorded:
        return recorded
    # A variable in the environment may be meant for other commands: where it names a cluster and
    # the ledger has an address, or the other way round, it is not about this ledger. What was
    # typed always is.
    is_typed = bool(options.typed & {"cluster_id", "base_url"})
    if is_typed or named.cluster == recorded.cluster:
        raise ConfigurationError(
            f"The ledger {path} belongs to {facts.base or recorded.name}, not to "
            f"{named.name}. Leave the target out: it is the ledger's."
        )
    return recorded


def _recorded_target(facts: LedgerFacts, name: str, named: Target | None) -> Target:
    """The target that the ledger records under `name`."""
    if name == REHEARSAL:
        return Target(REHEARSAL, "", cluster=False)
    if "://" not in name:
        return Target.of_cluster(name)
    if facts.base is not None:
        return Target.of_base_url(facts.base)
    # An older ledger knows the origin only; the path below it is known to who names it.
    origin = Target.of_base_url(name)
    return named if named is not None and named.name == origin.name else origin


def _calendar(day: float | None, target: Target) -> Calendar:
    if day is None:
        return Calendar(DAY_S)
    if not 0 < day <= DAY_S:
        raise UsageError(f"--day must be more than 0 and at most {DAY_S:.0f} seconds.")
    if target.name != REHEARSAL and not target.is_loopback:
        raise UsageError("--day is only for a simulated service on this computer.")
    return Calendar(day)


def _next(result: FollowResult) -> list[str] | None:
    """The same command as long as jobs are pending. The `run` for what has no job is not known
    here: the ledger has its input's name, but not all options that mattered."""
    is_waiting = result.counts["pending"] or (result.probes and result.probes.waiting)
    return command_of(*sys.argv[1:]) if result.error or is_waiting else None

"""All shards of one input, each by the ordinary command on some worker; one display, one seal.

    survey of all ─► consent ─► plan, held ─► one task a shard ─► sum ─► seal

What is sent, how fast, and what is recorded is decided in the process of each shard, as if it had
been typed there. Here is what they have in common, and what came of them.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bulk_eraser import __version__
from bulk_eraser.atomic_file import content_of
from bulk_eraser.cli.dask.cluster import (
    Attempt,
    Engine,
    WorkerDied,
    engine_at,
    must_be_there,
)
from bulk_eraser.cli.dask.display import ShardsDisplay
from bulk_eraser.cli.dask.held_plan import HeldPlan
from bulk_eraser.cli.dask.parts import all_that_count, latest_part
from bulk_eraser.cli.dask.result import ShardsResult, ShardStanding, add_up
from bulk_eraser.cli.dask.several import Given, Several
from bulk_eraser.cli.options.planned import author_of
from bulk_eraser.cli.options.shared import warn_of_target, warn_of_version
from bulk_eraser.cli.sending import HowToRun
from bulk_eraser.cli.terminal.consent import ask_consent, describe
from bulk_eraser.cli.terminal.ending import as_error, command_of
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.errors import (
    Attention,
    BulkEraserError,
    EngineLost,
    ExitCode,
    Interrupted,
    UsageError,
)
from bulk_eraser.evidence.seal import SealFile, must_be_a_place, seal
from bulk_eraser.ledger.disk import is_being_written
from bulk_eraser.sending.request import RunRequest
from bulk_eraser.settings import RunSettings
from bulk_eraser.shard import Shard, shards_in_words
from bulk_eraser.survey.plan import made_from
from bulk_eraser.wording import counted, printable

if TYPE_CHECKING:
    from bulk_eraser.sending.run import Run

__all__ = ["run_several"]

SHOW_S = 0.2
GREW_S = 2.0
MOST_ATTEMPTS = 5
"""At one shard: what kills its worker again and again is not mended by another one."""
DRAINED_WITHIN_S = 30.0
"""Several times what requests in flight are given."""


def run_several(
    several: Several,
    request: RunRequest,
    settings: RunSettings,
    given: Given,
    how: HowToRun,
    output: Output,
) -> ShardsResult:
    """Survey, consent, shards, seal. `settings` are those of all shards together.

    Raises what refuses it before anything was sent.
    """
    from bulk_eraser.sending.run import prepare

    must_be_a_place(several.seal, [])
    if not how.dry_run:
        must_be_there(several.dask)
    request = replace(request, earlier=several.earlier())
    prepared = prepare(request, settings, dry_run=True, progress=output.survey_progress)
    with closing(prepared):
        _tell_and_ask(prepared, several, how, output)
        if how.dry_run:
            return _dry_result(prepared, output)
        result = ShardsResult(survey_s=prepared.dry_result().survey_s)
        plan = HeldPlan(several.plan, _plan_for(prepared, several))
    with closing(plan), _Stop() as stop:
        _must_be_the_plan(plan, request)
        with engine_at(several.dask, several.of) as engine:
            runs = [_Run(engine, several, shard, given, plan) for shard in several.shards]
            ledgers = [run.standing.ledger for run in runs]
            with ShardsDisplay(output, ledgers, prepared.to_send, settings.rate) as display:
                _go_on(engine, runs, plan, stop, display)
    shards = [run.standing for run in runs]
    for text in dict.fromkeys(text for it in shards if it.end for text in it.end.warnings):
        output.warn(text)
    _conclude(several, result, shards, stop.signum)
    if result.seal is not None:
        output.say(f"Seal {printable(result.seal)}, head {result.head}")
    result.next = _next(several, result, shards, how.follow_options)
    return result


def _tell_and_ask(run: "Run", several: Several, how: HowToRun, output: Output) -> None:
    """Returns if all of it may be sent, or nothing is to be. Raises as `ask_consent`."""
    name = f"Ledgers {several.name}"
    describe(run, output, why_rejected=True, verbose=how.verbose, ledgers=name)
    warn_of_target(run.settings.target, output)
    warn_of_version(run.settings.api_version, output)
    if run.to_send and not how.dry_run:
        ask_consent(run, how.consent, output)


def _dry_result(prepared: "Run", output: Output) -> ShardsResult:
    would = f"{counted(prepared.to_send, 'key')} would be sent"
    output.always(f"Dry run: {would}. Nothing was sent, nothing was written.")
    dry = prepared.dry_result()
    return ShardsResult(
        exit_code=dry.exit_code, counts=dry.counts, attention=dry.attention, survey_s=dry.survey_s
    )


def _must_be_the_plan(plan: HeldPlan, request: RunRequest) -> None:
    if request.plan is not None and request.plan.sha256 != plan.sha256:
        raise UsageError(
            f"The plan {request.plan.path} was changed a moment ago. Nothing was sent. Run the "
            "same command again."
        )


def _plan_for(run: "Run", several: Several) -> bytes:
    """The plan that was given, byte for byte, or one of what was just surveyed and consented to."""
    given = run.request.plan
    if given is not None:
        with open(given.path, "rb") as file:
            return file.read()
    made = made_from(
        run.survey,
        run.request.intake,
        run.settings.target,
        run.settings.api_version,
        path=several.plan,
        tool=f"bulk-eraser {__version__}",
        author=author_of(None)._replace(login=""),  # of this command itself: no second person
    )
    return content_of(made)


# ── while they run ──────────────────────────────────────────────────────────────────────────────


class _Stop:
    """The first signal lets the shards finish what is in flight, a second one waits for nothing."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.hurry = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Stop":
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *_error: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _on_signal(self, signum: int, _frame: object) -> None:
        self.hurry = self.signum is not None
        if self.signum is None:
            self.signum = signum


class _Run:
    """One shard on its way."""

    def __init__(
        self, engine: Engine, several: Several, shard: Shard, given: Given, plan: HeldPlan
    ) -> None:
        self.standing = ShardStanding(shard, several.ledger(shard))
        self.attempt: Attempt | None = None
        self._order = several.order(shard, given, plan)
        self._engine = engine
        self._size, self._grew_at = _size_of(self.standing.ledger), -math.inf

    def begin(self) -> None:
        self.standing.attempts += 1
        try:
            self.attempt = self._engine.submit(self._order)
        except EngineLost as error:
            self.standing.error = error

    def look(self, *, is_stopping: bool) -> None:
        """Note how an attempt ended, and begin another one if its worker or process was killed."""
        if self.attempt is None or not self.attempt.is_over():
            return
        attempt, self.attempt = self.attempt, None
        try:
            end = attempt.end()
        except WorkerDied:
            end = None
        except BulkEraserError as error:
            self.standing.error = error
            return
        if end is not None and end.exit_code >= 0:
            has_begun = "counts" in end.result
            self.standing.end = end if has_begun or not is_stopping else None
        elif is_stopping:
            return
        elif self.standing.attempts < MOST_ATTEMPTS:
            self.begin()
        else:
            self.standing.error = EngineLost(
                f"its worker died {counted(MOST_ATTEMPTS, 'time')}. Find out why (too little "
                "memory?), then run the same command again."
            )

    def is_sending(self) -> bool:
        """Does a process, of this attempt or one whose worker is gone, write the ledger?"""
        ledger, now = latest_part(self.standing.ledger), time.monotonic()
        with suppress(OSError):
            if (size := os.path.getsize(ledger)) != self._size:
                self._size, self._grew_at = size, now
            return is_being_written(ledger) or (self._size > 0 and now - self._grew_at < GREW_S)
        return False


def _size_of(ledger: str) -> int:
    with suppress(OSError):
        return os.path.getsize(latest_part(ledger))
    return 0


def _go_on(
    engine: Engine, runs: Sequence[_Run], plan: HeldPlan, stop: _Stop, display: ShardsDisplay
) -> None:
    """Until the last one has ended; once stopped, no longer than requests in flight are given."""
    for run in runs:
        run.begin()
    until = math.inf
    while time.monotonic() < until and not stop.hurry:
        is_stopping = until < math.inf
        for run in runs:
            run.look(is_stopping=is_stopping)
        plan.touch()
        is_on_its_way = any(run.attempt for run in runs)
        # What an engine ran that is lost ends by itself, and nobody else tells when.
        if not is_on_its_way and not (engine.is_lost() and any(run.is_sending() for run in runs)):
            return
        if not is_stopping and (stop.signum is not None or engine.is_lost()):
            plan.close()
            until = time.monotonic() + DRAINED_WITHIN_S
            display.is_due = True
        display.show(_how_they_stand(runs, is_stopping=until < math.inf))
        time.sleep(SHOW_S)


def _how_they_stand(runs: Sequence[_Run], *, is_stopping: bool) -> str:
    sending = sum(run.is_sending() for run in runs)
    parts = [f"{sending} of {counted(len(runs), 'shard')} running"]
    if is_stopping:
        return f"{parts[0]} · stopping: they finish what is in flight; Ctrl-C again waits no longer"
    if ended := sum(run.attempt is None for run in runs):
        parts.append(f"{ended} ended")
    if again := [run.standing.shard for run in runs if run.standing.attempts > 1]:
        parts.append(f"{shards_in_words(again)} begun again: the worker died")
    bad = [run.standing for run in runs if run.standing.why]
    parts += [f"{shards_in_words([it.shard])} stopped ({it.exit_code})" for it in bad]
    return " · ".join(parts)


# ── how it ended ────────────────────────────────────────────────────────────────────────────────


def _conclude(
    several: Several, result: ShardsResult, shards: Sequence[ShardStanding], stopped_by: int | None
) -> None:
    """Counts, exit code and seal. Whoever stops a command does not wait for a seal."""
    sealed: SealFile | None = None
    trouble: BulkEraserError | None = None
    if stopped_by is not None:
        trouble = Interrupted(stopped_by)
    elif ledgers := [path for it in shards for path in all_that_count(it.ledger)]:
        try:
            sealed = seal(several.seal, ledgers)
        except (BulkEraserError, KeyboardInterrupt) as error:
            trouble = as_error(error)
    if sealed is not None:
        result.seal, result.head = several.seal, sealed.head
        by_shard = {(it.shard.index if it.shard else 0): it.counts for it in sealed.ledgers}
        for it in shards:
            it.recorded = by_shard.get(it.shard.index)
            it.ledger = latest_part(it.ledger)
    add_up(result, shards)
    if sealed is not None and (twice := sealed.seal.accepted_twice):
        result.attention.append(Attention("key_with_several_jids", twice))
        if result.exit_code == ExitCode.COMPLETE:
            result.outcome, result.exit_code = "incomplete", ExitCode.SOME_ROWS
    if trouble is not None and (stopped_by is not None or result.error is None):
        result.fail(trouble, begun=True)


def _next(
    several: Several, result: ShardsResult, shards: Sequence[ShardStanding], follow: list[str]
) -> list[str] | None:
    """The same command as long as one shard would send something, else as `run` says."""
    again = command_of(*sys.argv[1:])
    if any(it.end is None or it.why for it in shards):
        return again
    commands = [it.end.result.get("next") or [] for it in shards if it.end]
    runs = [words for words in commands if words and "follow" not in words[1:4]]
    if any(words[-1] != "--retry-failed" for words in runs):
        return again
    if runs:
        return [*again, "--retry-failed"]
    return command_of("follow", several.seal, *follow) if any(commands) and result.seal else None

"""`run --shards N --dask`: which shards, which files, and what each of them is told to run."""

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bulk_eraser import __version__
from bulk_eraser.cli.dask.held_plan import HeldPlan
from bulk_eraser.cli.dask.parts import latest_part
from bulk_eraser.cli.dask.shard_task import Order
from bulk_eraser.cli.options.bundles import Bundle, Number, option
from bulk_eraser.cli.options.ledger_path import LEDGER_SUFFIX, stem_of_ledger
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.cli.options.shared import InputOptions, PaceOptions
from bulk_eraser.cli.sending import RecordOptions, SendingOptions
from bulk_eraser.errors import ConfigurationError, UsageError
from bulk_eraser.shard import MOST_SHARDS, Part, Shard
from bulk_eraser.sources.address import is_remote, without_secrets

__all__ = ["LOCAL", "Given", "Several", "SeveralOptions", "several_of"]

LOCAL = "local"
"""What `--dask` says for this computer."""


@dataclass(frozen=True, kw_only=True)
class SeveralOptions(Bundle):
    """All shards of an input at once."""

    heading = "Several shards at once"

    # Not from the environment: in how many ledgers a batch is must be said each time.
    shards: int | None = option(
        "N", "Run all N shards, each with its own ledger. Needs --dask.", type=Number(4), env=False
    )
    dask: str | None = option(
        "SCHEDULER|local",
        "Where the shards run: the workers of this Dask scheduler (its address, or its scheduler "
        "file), or this computer.",
        env=False,
    )

    @property
    def is_asked_for(self) -> bool:
        return self.shards is not None or self.dask is not None


@dataclass(frozen=True)
class Given:
    """What was said of the run, for the shards to be told again."""

    source: InputOptions
    sending: SendingOptions
    recorded: RecordOptions
    stamped: StampOptions
    pace: PaceOptions
    service: ServiceOptions


@dataclass(frozen=True)
class Several:
    """N shards, and where their files are: `stem` is what all their names begin with, once it is
    known."""

    of: int
    dask: str
    stem: str = ""

    def beside(self, whole: str) -> "Several":
        """With files where the ledger of the whole input would be."""
        return replace(self, stem=stem_of_ledger(whole))

    @property
    def shards(self) -> list[Shard]:
        return [Shard(index, self.of) for index in range(1, self.of + 1)]

    @property
    def seal(self) -> str:
        return f"{self.stem}.seal.ndjson"

    @property
    def plan(self) -> str:
        return f"{self.stem}.running.plan.json"

    @property
    def name(self) -> str:
        """What their ledgers are called together."""
        return f"{self.stem}.*of{self.of}{LEDGER_SUFFIX}"

    def ledger(self, shard: Shard) -> str:
        return f"{self.stem}.{shard.index}of{shard.of}{LEDGER_SUFFIX}"

    def earlier(self) -> Mapping[str, Part | None]:
        """The ledgers that are there. Raises `ConfigurationError` for those of something else,
        whose keys would be sent once more."""
        whole = self.stem + LEDGER_SUFFIX
        if os.path.exists(whole):
            raise ConfigurationError(
                f"There is a ledger of the whole input, {whole}. Nothing was sent. Continue that "
                "one without --shards, or name another place with --ledger."
            )
        for path in sorted(glob.glob(f"{glob.escape(self.stem)}.*of*{LEDGER_SUFFIX}")):
            name = path[len(self.stem) : -len(LEDGER_SUFFIX)]
            found = re.fullmatch(r"\.\d+of(\d+)(?:\.part\d+)?", name)
            if found and int(found[1]) != self.of:
                raise ConfigurationError(
                    f"The ledger {path} is of {found[1]} shards, not of {self.of}. Nothing was "
                    f"sent. Finish those with --shards {found[1]}, or name another place with "
                    "--ledger."
                )
        of_shards = ((latest_part(self.ledger(shard)), shard) for shard in self.shards)
        return {path: shard for path, shard in of_shards if os.path.exists(path)}

    def order(self, shard: Shard, given: Given, plan: HeldPlan) -> Order:
        """What a worker is told of one shard: all that was said, and the plan for the rest. Paths
        are absolute, since nobody knows in which folder a worker is."""
        source, service = given.source, given.service
        service = replace(
            service,
            api_key_file=service.api_key_file and os.path.abspath(service.api_key_file),
            ca_file=service.ca_file and os.path.abspath(service.ca_file),
        )
        after = getattr(given.sending, "after_export", None)
        ledger = os.path.abspath(self.ledger(shard))
        arguments = [
            *("run", _anywhere(source.input_path), "--plan", os.path.abspath(plan.path)),
            *("--shard", f"{shard.index}/{shard.of}", "--json", "--quiet"),
            *(("--exclude", _anywhere(source.exclude)) if source.exclude else ()),
            *(("--after-export", os.path.abspath(after)) if after else ()),
            *source.arguments(_OF_THE_PLAN),
            *given.sending.arguments(("yes", "plan", "after_export")),
            *given.recorded.arguments(("ledger",)),
            *given.stamped.arguments(),
            *given.pace.arguments(),
            *service.arguments(),
        ]
        pepper = os.environ.get("BULK_ERASER_PEPPER_FILE") if given.recorded.pseudonymize else None
        return Order(
            version=__version__,
            plan=os.path.abspath(plan.path),
            plan_sha256=plan.sha256,
            ledger=ledger,
            arguments=arguments,
            pepper_file=pepper and os.path.abspath(pepper),
        )


def _anywhere(path: str) -> str:
    """What names it in whatever folder a worker is."""
    return path if is_remote(path) else os.path.abspath(path)


_OF_THE_PLAN = (
    *("input_path", "format", "key_field", "no_header", "header_row", "delimiter", "encoding"),
    *("sheet", "received_field", "received_format", "reference_field", "allow", "exclude", "shard"),
)


def several_of(asked: SeveralOptions, given: Given) -> Several:
    """Raises `UsageError` for options that do not go together."""
    if asked.shards is None or asked.dask is None:
        raise UsageError(
            "--shards N and --dask belong together: say both. For one shard, use --shard i/N."
        )
    if not 1 <= asked.shards <= MOST_SHARDS:
        raise UsageError(f"--shards must be between 1 and {MOST_SHARDS}, not {asked.shards}.")
    of_one = {
        "--shard": given.source.shard is not None,
        "--limit": given.sending.limit is not None,
        "--receipt": given.recorded.receipt is not None,
        "--rehearse": getattr(given.sending, "rehearse", False),
    }
    for name, is_said in of_one.items():
        if is_said:
            raise UsageError(
                f"{name} cannot be used with --shards, which runs all shards for real. Nothing was "
                "sent. Leave it out, or run one shard by itself with --shard i/N."
            )
    path = given.source.input_path
    for address in (path, given.source.exclude or ""):
        if address != without_secrets(address):
            raise UsageError(
                "The address holds what may be a secret, and would pass through Dask's scheduler. "
                "Nothing was sent. Fetch it into a file, and name that."
            )
    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        raise UsageError(
            "A pipe cannot be read by several shards. Nothing was sent. Put the input into a file."
        )
    return Several(asked.shards, asked.dask)

"""FLEET.toml: which clusters there are, and for each what `run` would be told by options.

    cluster_field = "brand"                # what stands above the tables is for all of them
    input = "customers.csv"

    [cluster.uk]
    cluster_id = "w1234abcd"
    api_key_file = "uk.key"

A key is an option of `run` with underscores, and is validated where that option is. Paths are
relative to the file's folder. The environment says nothing of a cluster: what it says, it would say
of all of them.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from bulk_eraser.cli.options.bundles import Bundle, argument, from_table, option, parameters_of
from bulk_eraser.cli.options.ledger_path import LEDGER_SUFFIX
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.cli.options.shared import InputOptions, PaceOptions, ReadingOptions, TargetOptions
from bulk_eraser.cli.sending import RecordOptions, SendingOptions
from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.errors import BulkEraserError, ConfigurationError, Interrupted, UsageError
from bulk_eraser.sources.address import is_remote
from bulk_eraser.sources.rows import Reading
from bulk_eraser.wording import printable

__all__ = ["ALL", "Cluster", "ClusterInput", "Fleet", "FleetOptions", "about", "read_fleet"]

B = TypeVar("B", bound=Bundle)

ALL = "all"
"""What the sum of a fleet is called where clusters have lines, so that none has this name."""
_PATHS = ("INPUT", "FILE", "PATH")
"""What options call a value that is a path."""
_A_SECRET = re.compile(r"(?i)(?:api_?)?key|.*secret.*|.*password.*|.*token.*")
_A_NAME = re.compile(r"[^\W_](?:[\w .&+-]{0,38}[\w&+])?")
MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ClusterInput(InputOptions):
    """The input of a cluster; of one with several, the rows whose `cluster_field` names it."""

    cluster_field: str | None = None
    cluster: str | None = None

    def reading(self) -> Reading:
        return replace(super().reading(), cluster_field=self.cluster_field, cluster=self.cluster)


_BUNDLES: tuple[type[Bundle], ...] = (
    ClusterInput,
    TargetOptions,
    ServiceOptions,
    PaceOptions,
    RecordOptions,
    StampOptions,
    SendingOptions,
)
_OF_A_COMMAND = {"shard", "yes", "dry_run", "limit", "retry_failed", "no_exclude", "same_batch"}
"""What is decided anew each time, and would be forgotten in a file."""
_KEYS = {
    "input" if it.name == "input_path" else str(it.name): it
    for bundle in _BUNDLES
    for it in parameters_of(bundle)
    if it.name not in _OF_A_COMMAND
}
_OF_ALL = "cluster_field"
_OF_THE_INPUT = {"input", *(str(it.name) for it in parameters_of(ReadingOptions))}


@dataclass(frozen=True, kw_only=True)
class FleetOptions(Bundle):
    """Which clusters are meant."""

    heading = "Which clusters"

    fleet: str = argument("FLEET", "The file that names the clusters, such as fleet.toml.")
    only: tuple[str, ...] = option(
        "NAME,…", "Only these clusters. Can be repeated.", multiple=True, env=False
    )
    except_: tuple[str, ...] = option(
        "NAME,…", "All clusters but these. Can be repeated.", multiple=True, env=False
    )
    cluster_field: str | None = option(
        "NAME",
        "Column that names the cluster of each row, where all have one input. [default: that of "
        "the file]",
        env=False,
    )

    def for_the_next_command(self) -> list[str]:
        """The file and what else was typed of these, in words."""
        words = [self.fleet]
        for names in self.only:
            words += ["--only", names]
        for names in self.except_:
            words += ["--except", names]
        return words + (["--cluster-field", self.cluster_field] if self.cluster_field else [])


@dataclass(frozen=True)
class Cluster:
    """One cluster, and what the file says of it; paths can be opened as they are."""

    name: str
    table: Mapping[str, Any]
    cluster_field: str | None = None

    def of(self, bundle: type[B], **more: Any) -> B:
        """These options as the file says them. Raises `UsageError`."""
        return from_table(bundle, self.table, **more)

    @property
    def source(self) -> ClusterInput:
        name = None if self.cluster_field is None else self.name
        return self.of(ClusterInput, cluster_field=self.cluster_field, cluster=name)

    @property
    def recorded(self) -> RecordOptions:
        return self.of(RecordOptions)

    @property
    def ledger(self) -> str:
        return str(self.table["ledger"])

    def ledger_must_exist(self) -> None:
        """Raises `UsageError` where there is none, which the file names, not the command."""
        if not os.path.exists(self.ledger):
            raise UsageError(
                f"there is no ledger {self.ledger}. `fleet run` makes it; if one was made already, "
                "put it back there."
            )

    def service(self) -> ServiceOptions:
        """Raises `ConfigurationError` where the file with the API key is not named, or not there.

        That file's name is not told: who has put the key itself there must not read it in a log.
        """
        service = self.of(ServiceOptions)
        if not service.api_key_file:
            raise ConfigurationError(
                "api_key_file is missing. Put the cluster's private API key into a file, and name "
                "that. (ELEVATE_API_KEY is not used, because it would be the same for all.)"
            )
        if not os.path.exists(service.api_key_file):
            raise ConfigurationError(
                "the file that api_key_file names does not exist. Its path starts from the folder "
                "of the fleet file. Put the cluster's private API key into such a file."
            )
        return service


@dataclass(frozen=True)
class Fleet:
    """A fleet file as it was read. `clusters` are those that are meant, in their order; `names`
    those of all. `shared_input` is the one of which all have their rows, if there is one."""

    path: str
    clusters: Sequence[Cluster]
    names: Sequence[str]
    cluster_field: str | None
    shared_input: ClusterInput | None

    @property
    def left_out(self) -> list[str]:
        """The names of the others."""
        meant = {it.name for it in self.clusters}
        return [it for it in self.names if it not in meant]


@contextmanager
def about(cluster: Cluster, advice: str = "") -> Iterator[None]:
    """An error within says of which cluster it is, and what else can be done."""
    try:
        yield
    except Interrupted:
        raise
    except BulkEraserError as error:
        raise type(error)(f"{cluster.name}: {error}{advice}") from error.__cause__


def read_fleet(given: FleetOptions) -> Fleet:
    """Raises `UsageError` for a file that cannot be meant, and as `Target` does."""
    path = given.fleet
    whole = _parsed(path)
    tables = whole.pop("cluster", None)
    if not isinstance(tables, dict) or not all(isinstance(it, dict) for it in tables.values()):
        raise UsageError(
            f"{path} names no clusters. Each has a table of its own, such as [cluster.uk]."
        )
    field = _cluster_field(path, whole, given.cluster_field)
    _must_be_known(path, "above the clusters", whole)
    defaults = _located(path, whole)
    clusters = []
    for name, table in tables.items():
        _must_be_a_name(path, name)
        _must_be_known(path, f"[cluster.{name}]", table)
        if field is not None and (own := sorted(_OF_THE_INPUT & table.keys())):
            raise UsageError(
                f"{path}: [cluster.{name}] says {own[0]}, but all clusters have their rows in one "
                f"input, by the column {field}. Move it above the clusters, or leave cluster_field "
                "out."
            )
        ledger = {"ledger": os.path.join(os.path.dirname(path), name + LEDGER_SUFFIX)}
        clusters.append(Cluster(name, ledger | defaults | _located(path, table), field))
    for cluster in clusters:
        with about(cluster):
            _must_be_usable(cluster)
    _must_differ(path, clusters)
    names = [it.name for it in clusters]
    chosen = _chosen(path, names, given)
    shared = replace(clusters[0].source, cluster=None) if field else None
    return Fleet(path, [it for it in clusters if it.name in chosen], names, field, shared)


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def _parsed(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES)
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"The fleet file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"The fleet file {path} is not UTF-8. Save it as UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"The fleet file {path} is not valid TOML: {error}.") from None


def _located(path: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table by the names of fields, its paths seen from where the command is.

    Raises `UsageError` for what cannot be a path.
    """
    folder, located = os.path.dirname(path), {}
    for key, value in table.items():
        parameter = _KEYS[key]
        is_path = parameter.metavar in _PATHS and isinstance(value, str) and value not in ("", "-")
        if is_path and "\0" in value:
            raise UsageError(f"{path}: {key} holds a NUL, which no path does.")
        if is_path and not is_remote(value):
            value = os.path.normpath(os.path.join(folder, value))
        located[str(parameter.name)] = value
    return located


def _cluster_field(path: str, whole: dict[str, Any], typed: str | None) -> str | None:
    """Takes it out of what stands above the clusters."""
    said = whole.pop(_OF_ALL, None)
    if said is not None and (not isinstance(said, str) or not said):
        raise UsageError(f"{path}: cluster_field must be the name of a column.")
    if typed is not None and said not in (None, typed):
        raise UsageError(
            f"--cluster-field is {typed!r}, but {path} says {said!r}. Leave one of them out."
        )
    field = said if typed is None else typed
    if field == "":
        raise UsageError("--cluster-field names no column. Is a variable empty?")
    if field is not None and "input" not in whole:
        raise UsageError(
            f"{path} has no input for all clusters, which cluster_field splits. Name the file "
            'above the clusters: input = "customers.csv".'
        )
    if field is None and "input" in whole:
        raise UsageError(
            f"{path} names an input above the clusters, so each of them would be sent all of its "
            "keys. If a column says which cluster a row is for, name it with cluster_field; else "
            "name the input of each cluster in its own table."
        )
    return field


def _must_be_known(path: str, where: str, table: Mapping[str, Any]) -> None:
    for key in table:
        if key in _KEYS:
            continue
        if _A_SECRET.fullmatch(key):
            raise UsageError(
                f"{path}, {where}: {printable(key)} must not stand in this file, where others can "
                "read it. Put the key alone into a file of its own (chmod 600), and name that with "
                "api_key_file."
            )
        if key == _OF_ALL:
            raise UsageError(f"{path}, {where}: cluster_field must stand above the clusters.")
        if key in _OF_A_COMMAND:
            name = key.replace("_", "-")
            raise UsageError(
                f"{path}, {where}: {key} cannot stand in a file. Use --{name} on the command line."
                if key != "shard"
                else f"{path}, {where}: a fleet has no shards."
            )
        meant = get_close_matches(key, [*_KEYS, _OF_ALL], 1)
        hint = f" Did you mean {meant[0]}?" if meant else " See docs/fleet.md for what it can say."
        raise UsageError(f"{path}, {where}: {printable(key)} is not known.{hint}")


def _must_be_a_name(path: str, name: str) -> None:
    if not _A_NAME.fullmatch(name) or name.casefold() == ALL:
        raise UsageError(
            f"{path}: {printable(name)!r} cannot be a cluster's name, which is also that of its "
            "ledger: at most 40 letters, digits, blanks and - _ . & +, and not “all”."
        )


def _must_be_usable(cluster: Cluster) -> None:
    """Raises what the options raise that say it."""
    for bundle in _BUNDLES:
        if bundle is not ClusterInput:
            cluster.of(bundle)
    if not cluster.table.get("input_path"):
        raise UsageError('input is missing: name the file with its customer keys, input = "…".')
    _must_be_read_again(cluster)
    if not (cluster.table.get("cluster_id") or cluster.table.get("base_url")):
        raise UsageError("cluster_id is missing (or base_url).")
    if cluster.table.get("cluster_id") and cluster.table.get("base_url"):
        raise UsageError("cluster_id and base_url contradict each other: say one of them.")
    if not cluster.ledger:
        raise UsageError("ledger names no file.")
    cluster.of(TargetOptions).target()
    cluster.source.reading()


def _must_be_read_again(cluster: Cluster) -> None:
    """Raises `UsageError` for a pipe: one cluster would empty it, and the next wait for it."""
    for key, value in (("input", cluster.source.input_path), ("exclude", cluster.source.exclude)):
        if not value or is_remote(value):
            continue
        is_there = os.path.exists(value) and not os.path.isdir(value)  # those are told of later
        if value == "-" or (is_there and not os.path.isfile(value)):
            raise UsageError(
                f"{key} must be a file: a fleet does not read standard input or pipes, because it "
                "reads a file several times."
            )


def _must_differ(path: str, clusters: Sequence[Cluster]) -> None:
    """No two may write one file, be one target, or be taken for each other."""
    for what, of in (
        ("the same ledger or receipt", _written),
        ("the same target", lambda it: [it.of(TargetOptions).target().base_of(ApiVersion.V4)]),
        ("names that differ in case only", lambda it: [it.name.casefold()]),
    ):
        seen: dict[object, str] = {}
        for cluster in clusters:
            for value in of(cluster):
                other = seen.setdefault(value, cluster.name)
                if other != cluster.name:
                    raise UsageError(f"{path}: {other} and {cluster.name} have {what}.")


def _written(cluster: Cluster) -> list[str]:
    """The files that its runs write."""
    return [os.path.realpath(it) for it in (cluster.ledger, cluster.recorded.receipt) if it]


def _chosen(path: str, names: Sequence[str], given: FleetOptions) -> set[str]:
    only, but = (
        {name.strip() for text in texts for name in text.split(",")}
        for texts in (given.only, given.except_)
    )
    for name in [*only, *but]:
        if name not in names:
            meant = get_close_matches(name, names, 1)
            hint = f" Did you mean {meant[0]}?" if meant else f" It has {', '.join(names)}."
            raise UsageError(f"{path} has no cluster {printable(name)!r}.{hint}")
    chosen = (only or set(names)) - but
    if not chosen:
        raise UsageError("--only and --except leave no cluster. Nothing was sent.")
    return chosen

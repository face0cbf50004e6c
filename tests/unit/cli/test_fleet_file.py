"""FLEET.toml: the options of `run` in tables, and what cannot be meant."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulk_eraser.cli.fleet.each import SharedRows
from bulk_eraser.cli.fleet.file import Cluster, FleetOptions, read_fleet
from bulk_eraser.cli.options.bundles import parameters_of
from bulk_eraser.cli.options.proofs import StampOptions
from bulk_eraser.cli.options.service import ServiceOptions
from bulk_eraser.cli.options.shared import InputOptions, PaceOptions, TargetOptions
from bulk_eraser.cli.sending import RecordOptions, SendingOptions
from bulk_eraser.cli.terminal.output import Output
from bulk_eraser.elevate.endpoints import ApiVersion
from bulk_eraser.errors import ConfigurationError, InputError, UsageError
from bulk_eraser.survey.checks import Allow, survey_of

UK = '[cluster.uk]\ncluster_id = "w1111aaaa"\ninput = "uk.csv"\napi_key_file = "uk.key"\n'
DE = '[cluster.de]\ncluster_id = "w2222bbbb"\ninput = "de.csv"\napi_key_file = "de.key"\n'


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    """Reads a text as the file of a fleet."""

    def read(text: str | bytes, **options: Any) -> Any:
        path = tmp_path / "sub" / "fleet.toml"
        path.parent.mkdir(exist_ok=True)
        if not (pipe := path.parent / "pipe.csv").exists():
            os.mkfifo(pipe)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_fleet(FleetOptions(fleet=str(path), **options))

    return read


def of(read: Any, name: str) -> Cluster:
    cluster: Cluster = next(it for it in read.clusters if it.name == name)
    return cluster


def test_each_has_the_options_of_a_run(fleet: Any, tmp_path: Path, monkeypatch: Any):
    """What stands above the tables is for all, unless a table says otherwise; paths start from the
    file's folder; defaults are those of `run`; the environment says nothing."""
    monkeypatch.setenv("BULK_ERASER_RATE", "1")
    above = (
        'rate = 20\nexclude = "hold/list.csv"\nmax_failures = 5\nallow = ["dates"]\n'
        'api_version = "v3"\npseudonymize = true\nkey_field = 2\n'
    )
    read = fleet(f'\ufeff{above}{UK}rate = 7.5\nledger = "/elsewhere/uk.ndjson"\n{DE}'.encode())
    folder = str(tmp_path / "sub")
    uk, de = of(read, "uk"), of(read, "de")
    assert (uk.of(PaceOptions).rate, de.of(PaceOptions).rate) == (7.5, 20)
    assert uk.of(PaceOptions).concurrency == PaceOptions().concurrency
    assert uk.source.input_path == os.path.join(folder, "uk.csv")
    elsewhere = fleet(UK.replace("uk.csv", "s3://bucket/uk.csv"))
    assert of(elsewhere, "uk").source.input_path == "s3://bucket/uk.csv"
    assert uk.source.exclude == os.path.join(folder, "hold", "list.csv")
    assert (uk.ledger, de.ledger) == ("/elsewhere/uk.ndjson", f"{folder}/de.ledger.ndjson")
    assert uk.source.allow == (Allow.DATES,)
    assert uk.source.key_field == "2"
    assert uk.of(TargetOptions).api_version is ApiVersion.V3
    assert uk.of(TargetOptions).target().name == "w1111aaaa"
    assert uk.of(SendingOptions).max_failures == "5"
    assert uk.recorded.pseudonymize
    assert uk.source.said_by("exclude") == "--exclude"
    assert uk.source.said_by("sheet") is None


def test_every_option_of_a_run_may_stand_there(fleet: Any):
    """But for those that are decided anew each time."""
    bundles = (InputOptions, TargetOptions, ServiceOptions, PaceOptions, RecordOptions)
    names = {
        str(it.name)
        for bundle in (*bundles, StampOptions, SendingOptions)
        for it in parameters_of(bundle)
    }
    anew = {"shard", "yes", "dry_run", "limit", "retry_failed", "no_exclude", "same_batch"}
    for name in names - {"input_path"}:
        with pytest.raises(UsageError) as refused:
            fleet(f"{UK}{name} = [[1]]\n")
        is_known = "is not known" not in str(refused.value)
        is_allowed = is_known and "cannot stand" not in str(refused.value)
        assert is_allowed is (name not in anew) or name == "shard" or "twice" in str(refused.value)
    for name in anew - {"shard"}:
        with pytest.raises(UsageError, match=f"Use --{name.replace('_', '-')} on the command"):
            fleet(f"{UK}{name} = true\n")


SECRET = "ek-live-0f5b6d1c7e"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rate = 5\n", "names no clusters"),
        ("cluster = 5\n", "names no clusters"),
        ("[cluster]\nuk = 5\n", "names no clusters"),
        ("[cluster.uk\n", "is not valid TOML"),
        (UK + UK, "is not valid TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (UK + "raet = 5\n", r"\[cluster.uk\]: raet is not known. Did you mean rate\?"),
        ("raet = 5\n" + UK, r"above the clusters: raet is not known. Did you mean rate\?"),
        (UK + f'api_key = "{SECRET}"\n', "api_key must not stand in this file"),
        (f'key = "{SECRET}"\n' + UK, "key must not stand in this file"),
        (UK + 'rate = "fast"\n', "uk: rate must be a number, such as 20"),
        (UK + "rate = true\n", "uk: rate must be text or a number"),
        (UK + 'pseudonymize = "yes"\n', "uk: pseudonymize must be true or false"),
        (UK + 'allow = "everything"\n', "uk: allow must be numeric_like, "),
        (UK + 'cluster_field = "x"\n', "cluster_field must stand above"),
        (UK.replace('input = "uk.csv"\n', ""), "uk: input is missing"),
        (UK.replace("uk.csv", "-"), "uk: input must be a file"),
        (UK.replace('cluster_id = "w1111aaaa"\n', ""), "uk: cluster_id is missing"),
        (UK + 'base_url = "https://x.example"\n', "uk: cluster_id and base_url contradict"),
        (UK + 'ledger = ""\n', "uk: ledger names no file"),
        (UK.replace("w1111aaaa", "not.an.id"), "uk: The cluster id 'not.an.id' is not valid"),
        (UK + DE.replace("w2222bbbb", "W1111AAAA"), "uk and de have the same target"),
        (
            UK + DE.replace('cluster_id = "w2222bbbb"', 'base_url = "https://w1111aaaa.elevate-api'
                            '.cloud/"'),
            "uk and de have the same target",
        ),
        (UK + DE + 'ledger = "x/../uk.ledger.ndjson"\n', "uk and de have the same ledger"),
        ('receipt = "r.json"\n' + UK + DE, "uk and de have the same ledger or receipt"),
        (UK + 'receipt = "de.ledger.ndjson"\n' + DE, "uk and de have the same ledger or receipt"),
        (UK + 'exclude = "-"\n', "exclude must be a file"),
        (UK.replace("uk.csv", "pipe.csv"), "input must be a file"),
        (UK + 'exclude = "pipe.csv"\n', "exclude must be a file"),
        (UK + 'ledger = "a\\u0000b"\n', "ledger holds a NUL"),
        (UK.replace("uk.csv", "\\u0000"), "input holds a NUL"),
        (UK + DE.replace("cluster.de", "cluster.UK"), "names that differ in case only"),
        (UK.replace("cluster.uk", 'cluster."a/b"'), "'a/b' cannot be a cluster's name"),
        (UK.replace("cluster.uk", "cluster.All"), "'All' cannot be a cluster's name"),
        ('input = "all.csv"\n' + UK, "each of them would be sent all of its keys"),
        ('cluster_field = "shop"\n' + UK, "has no input for all clusters"),
        ('input = "all.csv"\ncluster_field = "shop"\n' + UK, "says input, but all clusters"),
        ("cluster_field = 5\n" + UK, "must be the name of a column"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(fleet: Any, text: str | bytes, told: str):
    """With the place and what to do; never with a secret that was put there."""
    with pytest.raises(UsageError, match=told) as refused:
        fleet(text)
    assert SECRET not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    """With its name."""
    with pytest.raises(UsageError, match=r"none.toml cannot be read: No such file"):
        read_fleet(FleetOptions(fleet=str(tmp_path / "none.toml")))


def test_some_of_the_clusters(fleet: Any):
    """Chosen by name, with commas or one by one; a name that is not there is refused."""
    more = UK.replace("uk", "se").replace("w1111aaaa", "w3333cccc")

    def names(**options: Any) -> list[str]:
        return [it.name for it in fleet(UK + DE + more, **options).clusters]

    assert names() == ["uk", "de", "se"]
    assert names(only=("se, uk",)) == ["uk", "se"]
    assert names(only=("se", "uk"), except_=("uk",)) == ["se"]
    assert names(except_=("uk,de",)) == ["se"]
    with pytest.raises(UsageError, match=r"no cluster 'uks'. Did you mean uk\?"):
        names(only=("uks",))
    with pytest.raises(UsageError, match="leave no cluster"):
        names(only=("uk",), except_=("uk",))


def test_the_column_from_the_command_line(fleet: Any):
    """It says the same as the file, or is refused."""
    text = 'input = "all.csv"\n' + UK.replace('input = "uk.csv"\n', "")
    read = fleet(text, cluster_field="shop")
    assert of(read, "uk").source.reading().cluster_field == "shop"
    assert of(read, "uk").source.reading().cluster == "uk"
    assert read.shared_input.reading().cluster is None
    with pytest.raises(UsageError, match="--cluster-field is 'shop', but"):
        fleet(f'cluster_field = "brand"\n{text}', cluster_field="shop")
    with pytest.raises(UsageError, match="names no column"):
        fleet(text, cluster_field="")


def test_the_api_key_is_in_a_file_that_is_there(fleet: Any, tmp_path: Path, monkeypatch: Any):
    """The environment's is not used, and what was put in the place of a name is not told."""
    monkeypatch.setenv("ELEVATE_API_KEY", SECRET)
    for text, told in (
        (UK.replace('api_key_file = "uk.key"\n', ""), "api_key_file is missing"),
        (UK.replace("uk.key", SECRET), "api_key_file names does not exist"),
    ):
        with pytest.raises(ConfigurationError, match=told) as refused:
            of(fleet(text), "uk").service()
        assert SECRET not in str(refused.value)
    (tmp_path / "sub" / "uk.key").write_text(SECRET)
    assert of(fleet(UK), "uk").service().api_key_file == str(tmp_path / "sub" / "uk.key")


def test_a_shared_input_that_changes_between_two_surveys_is_refused(fleet: Any, tmp_path: Path):
    """A row could otherwise be sent to two clusters, or to none; also if as many rows are left."""
    text = 'input = "all.csv"\ncluster_field = "shop"\n' + UK.replace('input = "uk.csv"\n', "")
    read = fleet(text + DE.replace('input = "de.csv"\n', ""))
    path = tmp_path / "sub" / "all.csv"
    path.write_text("customerKey,shop\nk-1,uk\nk-2,de\n")
    shared = SharedRows(read, Output())
    with closing(survey_of(of(read, "uk").source.intake())) as survey:
        shared.must_be_those_of(survey)
    path.write_text("customerKey,shop\nk-2,uk\nk-1,de\n")
    with (
        closing(survey_of(of(read, "de").source.intake())) as survey,
        pytest.raises(InputError, match=r"all\.csv was changed while it was read"),
    ):
        shared.must_be_those_of(survey)

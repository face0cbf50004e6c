"""What else could read a ledger: programs that look at its bytes, at its lines, at their fields."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from measure import Figures, measured

JQ = 'select(.type == "run_finished") | .outcome'
DUCKDB = """
import duckdb, sys
print(duckdb.execute(
    "select type, count(*), count(distinct key) from read_json(?, format = 'newline_delimited', "
    "columns = {type: 'varchar', key: 'varchar', line: 'bigint', jid: 'varchar'}) group by type",
    [sys.argv[1]],
).fetchall())
"""


def read_by_others(ledger: Path, keys: int) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of each that is there, and how to install those that are not."""
    file = str(ledger)
    commands = {
        "sha256sum": ["sha256sum", file],
        "jq -c, one field": ["jq", "-c", JQ, file],
        "DuckDB read_json, group by": [sys.executable, "-c", DUCKDB, file],
    }
    missing = {
        name: f"apt install {package}"
        for name, package in zip(commands, ("coreutils", "jq"), strict=False)
        if shutil.which(package if package == "jq" else "sha256sum") is None
    }
    if find_spec("duckdb") is None:
        missing["DuckDB read_json, group by"] = "pip install duckdb"
    there = {name: command for name, command in commands.items() if name not in missing}
    return {name: measured(command, keys) for name, command in there.items()}, missing

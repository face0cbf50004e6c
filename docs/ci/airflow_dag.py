"""Airflow 3: one batch in four mapped tasks, each with a shard and a ledger of its own.

The workers mount one folder, with the input and the ledgers (docs/shards.md). `run` is started by
hand, because it cannot be undone; `follow` each night. Run by us with Airflow 3.3 on one computer.
"""

from datetime import UTC, datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

FOLDER = "/srv/erasure"
SHARDS = 4
KEY = "--api-key-file /etc/bulk-eraser/elevate.key"  # read by each worker; Airflow never sees it
RUN = f'exec bulk-eraser run keys.csv --shard "$SHARD" --rate 50 {KEY} --yes --quiet'
SEAL = "exec bulk-eraser seal keys.seal.ndjson keys.*of*.ledger.ndjson"
FOLLOW = f"bulk-eraser follow keys.seal.ndjson {KEY} --quiet || test $? -eq 75"  # 75: jobs pending

with DAG("erasure_run", schedule=None, max_active_runs=1):
    # No retries: Airflow may start a task again whose process it only lost sight of. Clear the
    # failed ones by hand; each continues its ledger. ELEVATE_CLUSTER_ID is the workers'.
    shards = BashOperator.partial(
        task_id="run", bash_command=RUN, cwd=FOLDER, append_env=True, retries=0
    ).expand(env=[{"SHARD": f"{index}/{SHARDS}"} for index in range(1, SHARDS + 1)])
    # Also if a shard failed: the seal then says what is missing.
    seal = BashOperator(
        task_id="seal", bash_command=SEAL, cwd=FOLDER, retries=0, trigger_rule="all_done"
    )
    shards >> seal

with DAG(
    "erasure_follow",
    schedule="15 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
):
    BashOperator(task_id="follow", bash_command=FOLLOW, cwd=FOLDER, append_env=True, retries=0)

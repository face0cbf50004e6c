"""A Dask cluster on this computer, in a process of its own: `--dask local`.

    python -m bulk_eraser.cli.dask.local WORKERS SHARDS_OF_EACH

Prints the scheduler's address, and ends when its standard input does. It has a process of its own
so that Ctrl-C, which a terminal sends to all that belongs to the command, does not reach it.
"""

import logging
import sys
import tempfile

SHARD = "shard"
"""The resource that a worker offers, one for each shard that it may run at a time."""


def _serve(workers: int, shards_of_each: int) -> None:
    import dask
    from distributed import LocalCluster

    # Each worker that dies is told to whoever submits, who counts: nothing is repeated unseen.
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with (
        tempfile.TemporaryDirectory(prefix="bulk-eraser-dask-") as folder,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=shards_of_each,
            processes=True,
            resources={SHARD: shards_of_each},
            dashboard_address=None,
            memory_limit=0,
            local_directory=folder,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))

"""The process of a shard on a worker: the command, which ends as soon as its worker does.

    python -m bulk_eraser.cli.dask.shard_process run keys.csv --shard 2/4 …

Standard input is a pipe that the worker holds open and never writes to. A worker that was killed,
or wants the shard to stop, lets go of it; then requests in flight are finished, as after SIGTERM.
"""

import os
import signal
import threading

from bulk_eraser.cli.app import main

LIFELINE = 0


def _stop_with_the_worker() -> None:
    while os.read(LIFELINE, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_the_worker, daemon=True).start()
    main()

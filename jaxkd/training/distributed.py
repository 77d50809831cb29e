"""Jobs of several processes: how they find each other, and what one process does for all."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils

_NOTHING_FOUND = "coordinator_address should be defined"


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 60,
) -> None:
    """Joins the processes of a job; call it before anything else of JAX.

    Without arguments JAX looks for a cluster that it knows (TPU pods, SLURM, Open MPI, Kubernetes);
    where there is none, this is a process of its own and nothing happens. A process whose peer dies
    is ended with an error: at once if it waits for the peer's numbers, else when the peer's
    heartbeats have been missing for the time given.

    Args:
      coordinator: `host:port` of process 0, the same in every process.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      heartbeat_timeout_seconds: seconds without heartbeats after which a peer counts as dead.

    Raises:
      ValueError: some of the three and not the others, or an id beyond the number of processes.
      RuntimeError: JAX was used before, or the coordinator is not reached (from JAX).

    Example:
      >>> initialize("localhost:9876", num_processes=2)
      Traceback (most recent call last):
        ...
      ValueError: {'coordinator': 'localhost:9876', 'num_processes': 2} without process_id: give ...
    """
    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        known = {name: value for name, value in given.items() if value is not None}
        raise ValueError(
            f"{known} without {' and '.join(missing)}: give all three, or none of them where the "
            "cluster says so itself"
        )
    if num_processes is not None and process_id is not None and num_processes <= process_id:
        raise ValueError(
            f"process_id={process_id} is not one of num_processes={num_processes}: they count from "
            "0"
        )
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
        )
    except ValueError as error:
        if missing and _NOTHING_FOUND in str(error):
            return
        raise


def is_main_process() -> bool:
    """Returns whether this is the first process, which writes logs and results for all.

    Example:
      >>> if is_main_process():
      ...     print("written once, whatever the number of processes")
      written once, whatever the number of processes
    """
    return jax.process_index() == 0


def sync_processes(name: str) -> None:
    """Waits until every process has called this; returns at once where there is one.

    Args:
      name: name of the barrier, the same in every process.

    Example:
      >>> sync_processes("caches are built")  # of one process it returns at once
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_processes(value: bool) -> bool:
    """Returns whether every process has called this with True.

    Args:
      value: this process's own.
    """
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.asarray(value)).all())

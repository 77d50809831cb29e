"""How every experiment starts: its flags, the processes of its job, quiet libraries."""

import pathlib
import sys
from collections.abc import Callable
from typing import TypeVar

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from jaxkd.training import Partitioning, Preempted, initialize, make_mesh

ConfigT = TypeVar("ConfigT")

YES = flags.DEFINE_bool("yes", False, "Build large caches without asking.")
PROFILE = flags.DEFINE_integer(
    "profile", None, "Trace so many steps of every training run into its work directory."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0; not needed on TPU pods and under SLURM."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes in all.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_FSDP = flags.DEFINE_integer("fsdp", 1, "Devices that share the parameters.")
_MODEL = flags.DEFINE_integer("model", 1, "Devices that share the computation of a layer.")


def partitioning() -> Partitioning | None:
    """All devices of all processes, as `--fsdp` and `--model` say; None for a single device."""
    if jax.device_count() == 1 and _FSDP.value == _MODEL.value == 1:
        return None
    return Partitioning(make_mesh(fsdp=_FSDP.value, model=_MODEL.value))


def run(main: Callable[[ConfigT, pathlib.Path], None], config: ConfigT, workdir: str) -> None:
    """Parses the flags, joins the job and runs an experiment.

    Each field of the configuration is a flag `--config.field=value`. Asked to stop by SIGTERM, an
    experiment saves what it is at and ends with the exit code 75: the same command goes on.

    Args:
      main: called with the configuration and the work directory.
      config: a dataclass with its defaults.
      workdir: the default work directory.
    """
    chosen = config_flags.DEFINE_config_dataclass("config", config)
    directory = flags.DEFINE_string("workdir", workdir, "Everything is written below it.")

    def start(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"not a flag: {argv[1:]}")
        # Orbax and tensorflow-datasets tell each of their steps; --verbosity=0 shows them.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        try:
            main(chosen.value, pathlib.Path(directory.value))
        except Preempted as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(stopped.exit_code)

    app.run(start)

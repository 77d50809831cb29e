"""How every experiment starts: its flags, the processes of its job, quiet libraries."""

import pathlib
import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from experiments.common import flag_help
from experiments.common.validation import validate
from jaxkd._files import local_path, print_any_text
from jaxkd.study import Report
from jaxkd.study.runtime import Runtime
from jaxkd.training import (
    Partitioning,
    Preempted,
    initialize,
    is_main_process,
    make_mesh,
    own_workdir,
)

ConfigT = TypeVar("ConfigT")

_INTERRUPTED = 130
_YES = flags.DEFINE_bool("yes", False, "Build large caches without asking.")
_PROFILE = flags.DEFINE_integer(
    "profile", None, "Trace this number of steps of every training into its work directory."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0; not needed on TPU pods and under SLURM."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_FSDP = flags.DEFINE_integer("fsdp", 1, "Devices that share the parameters.")
_MODEL = flags.DEFINE_integer("model", 1, "Devices that share the computation of a layer.")


def run(
    main: Callable[[ConfigT, pathlib.Path, Runtime], None], config: ConfigT, workdir: str
) -> None:
    """Parses the flags, joins the job and runs an experiment.

    Each field of the configuration is a flag `--config.field=value`. When SIGTERM asks it to stop,
    an experiment saves its state and ends with the exit code 75: the same command resumes it. A
    second one in the same work directory is refused. `--help` lists all flags; a wrong one is a
    line and the exit code 2, Ctrl-C the exit code 130.

    Args:
      main: called with the configuration, the work directory and the runtime.
      config: a dataclass with its defaults.
      workdir: the default work directory.
    """
    flag_help.check_fields(sys.argv[1:], config)  # before absl looks for them
    chosen = config_flags.DEFINE_config_dataclass("config", config)
    directory = flags.DEFINE_string("workdir", workdir, "Everything is written below it.")

    def start(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"not a flag: {argv[1:]}")
        # Orbax and tensorflow-datasets log each of their steps; --verbosity=0 shows them.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        print_any_text()
        try:
            validate(chosen.value)
        except ValueError as error:
            flag_help.refuse(f"--config.{error}")
        initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        place = local_path(directory.value)
        try:
            with own_workdir(place):
                main(chosen.value, place, runtime())
        except Preempted as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(stopped.exit_code)
        except KeyboardInterrupt:
            command = shlex.join(["python", "-m", flag_help.module_name(), *sys.argv[1:]])
            print(f"\nstopped; to go on: {command}", file=sys.stderr)
            sys.exit(_INTERRUPTED)

    modules = [sys.modules["__main__"], sys.modules[__name__]]
    app.run(start, flags_parser=lambda arguments: flag_help.parse(arguments, config, modules))


def publish(write: Callable[[], Report], workdir: pathlib.Path) -> None:
    """Writes and prints a report, in the first process of a job alone.

    Args:
      write: function that writes the report below the work directory and returns it.
      workdir: work directory.
    """
    if not is_main_process():
        return
    write().print()
    print(f"\nThe report: {workdir / 'report.html'}")


def runtime() -> Runtime:
    """Returns the runtime that the flags describe, on all devices of all processes."""
    partitioning = None
    if jax.device_count() > 1 or _FSDP.value > 1 or _MODEL.value > 1:
        partitioning = Partitioning(make_mesh(fsdp=_FSDP.value, model=_MODEL.value))
    return Runtime(partitioning, profile=_PROFILE.value, yes=_YES.value)

"""How every experiment starts: its flags, quiet libraries."""

import pathlib
from collections.abc import Callable
from typing import TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

ConfigT = TypeVar("ConfigT")

YES = flags.DEFINE_bool("yes", False, "Build large caches without asking.")


def define_flags(config: ConfigT, workdir: str) -> Callable[[], tuple[ConfigT, pathlib.Path]]:
    """Defines `--config.field=value` for each field of a dataclass, and `--workdir`.

    Args:
      config: a dataclass with its defaults.
      workdir: the default work directory.

    Returns:
      A function that, once flags are parsed, gives the configuration and the work directory's path.
    """
    chosen = config_flags.DEFINE_config_dataclass("config", config)
    directory = flags.DEFINE_string("workdir", workdir, "Everything is written below it.")
    return lambda: (chosen.value, pathlib.Path(directory.value))


def run(main: Callable[[], None]) -> None:
    """Parses the flags and runs an experiment."""

    def start(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"not a flag: {argv[1:]}")
        # Orbax and tensorflow-datasets tell each of their steps; --verbosity=0 shows them.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)
        main()

    app.run(start)

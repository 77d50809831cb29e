"""An experiment that kills itself by SIGKILL in the midst of a training.

Usage, from the root: python -m tests.killed_experiment NAME FOLDER STEP --workdir=… OPTIONS

It dies when it reads the batch of a step, or of a later one, while the training's folder is there.
"""

import os
import pathlib
import runpy
import signal
import sys

from jaxkd.data import Loader


def main() -> None:
    """Runs the experiment until it is killed, or to its end if it never comes so far."""
    name, folder, last = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    read = Loader.__getitem__

    def read_or_die(self, step):
        if step >= last and folder.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, step)

    Loader.__getitem__ = read_or_die
    sys.argv[1:4] = []
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""A teacher in PyTorch: its outputs fill a cache, a JAX student learns from it.

A small convolutional network is trained in PyTorch on the very views that the student will see;
put your own module in its place. JAX and PyTorch only meet in NumPy arrays.

Commands:
  pip install torch
  python -m experiments.torch_teacher --workdir=runs/torch_teacher

Expected: teacher about 98 %, a student of 4,810 parameters that saw no label about 94 %.
"""

import dataclasses
import pathlib

from experiments.common import external_teacher, launch
from experiments.common.validation import validate
from experiments.torch_teacher.config import Config
from experiments.torch_teacher.run import teacher, train_teacher
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    validate(config)
    bind_config(workdir, dataclasses.asdict(config))
    file = workdir / "teacher.pt"
    external_teacher.train_once(file, lambda file: train_teacher(file, config.epochs))
    external_teacher.distil(workdir, teacher(file), runtime)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/torch_teacher")

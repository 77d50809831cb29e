"""A teacher in ONNX Runtime: its outputs fill a cache, a JAX student learns from it.

Any ONNX file that maps images [batch, 8, 8, 1] to logits [batch, 10] will do; without one, a
perceptron is trained in scikit-learn and saved as ONNX first.

Commands:
  pip install onnx onnxruntime
  python -m experiments.onnx_teacher --workdir=runs/onnx_teacher [--config.onnx=teacher.onnx]

Expected: teacher about 97 %, a student of 4,810 parameters that saw no label about 95 %.
"""

import dataclasses
import pathlib

from experiments.common import external_teacher, launch
from experiments.common.validation import validate
from experiments.onnx_teacher.config import Config
from experiments.onnx_teacher.run import train_teacher
from jaxkd.study.runtime import Runtime
from jaxkd.teachers import from_onnx
from jaxkd.training import bind_config


def main(config: Config, workdir: pathlib.Path, runtime: Runtime) -> None:
    """Runs the experiment."""
    validate(config)
    file = pathlib.Path(config.onnx) if config.onnx else workdir / "teacher.onnx"
    if config.onnx and not file.exists():
        raise SystemExit(f"there is no file {file}")
    bind_config(workdir, dataclasses.asdict(config))
    external_teacher.train_once(file, train_teacher)
    external_teacher.distil(workdir, from_onnx(file), runtime)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/onnx_teacher")

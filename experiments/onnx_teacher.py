"""A teacher in ONNX Runtime: its answers fill a cache, a JAX student learns from it.

Any ONNX file that maps images [batch, 8, 8, 1] to logits [batch, 10] will do; without one, a
perceptron is trained in scikit-learn and written as ONNX first.

Commands:
  pip install onnx onnxruntime
  python -m experiments.onnx_teacher --workdir=runs/onnx_teacher [--config.onnx=teacher.onnx]

Expected: teacher about 97 %, a student of 4,810 parameters that saw no label about 95 %.
"""

import dataclasses
import pathlib
import warnings

import numpy as np

from experiments import elsewhere, launch
from jaxkd.data import digits


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      onnx: file of the teacher; empty to train one.
    """

    onnx: str = ""


def train_teacher(file: pathlib.Path, width: int = 256, epochs: int = 60, views: int = 8) -> None:
    """Trains a perceptron with scikit-learn and writes it as ONNX, from images to logits."""
    import onnx
    from onnx import helper, numpy_helper
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    data = digits.load("train")
    images = np.concatenate(
        [elsewhere.rendered(data, elsewhere.VIEWS, data.ids, view) for view in range(views)]
    )
    model = MLPClassifier((width,), max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are enough
        model.fit(images.reshape(len(images), -1), np.tile(data.labels, views))
    first, second = model.coefs_
    weights = {"w1": first, "b1": model.intercepts_[0], "w2": second, "b2": model.intercepts_[1]}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
        ],
        "teacher",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 8, 8, 1])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    version = [helper.make_opsetid("", 17)]
    model_proto = helper.make_model(graph, opset_imports=version, ir_version=8)
    onnx.checker.check_model(model_proto)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model_proto, str(file))


def teacher(file: pathlib.Path) -> elsewhere.Answer:
    """The network in a file, run by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def answer(inputs: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run(None, {name: inputs.astype(np.float32)})[0]
        return logits

    return answer


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    file = pathlib.Path(config.onnx) if config.onnx else workdir / "teacher.onnx"
    if config.onnx and not file.exists():
        raise SystemExit(f"there is no file {file}")
    elsewhere.train_once(file, train_teacher)
    elsewhere.distil(
        workdir,
        elsewhere.fingerprint_of("onnx", file),
        teacher(file),
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )


if __name__ == "__main__":
    launch.run(main, Config(), "runs/onnx_teacher")

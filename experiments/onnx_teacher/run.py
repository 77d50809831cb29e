"""Training of experiments.onnx_teacher."""

import pathlib
import warnings

import numpy as np

from experiments.common.external_teacher import VIEWS, rendered
from jaxkd.data import digits


def train_teacher(file: pathlib.Path, width: int = 256, epochs: int = 60, views: int = 8) -> None:
    """Trains a perceptron with scikit-learn and writes it as ONNX, from images to logits."""
    import onnx
    from onnx import helper, numpy_helper
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    data = digits.load("train")
    images = np.concatenate([rendered(data, VIEWS, data.ids, view) for view in range(views)])
    model = MLPClassifier((width,), max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # these epochs are enough
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

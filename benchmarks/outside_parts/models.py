"""Models of other libraries as teachers."""

import os
import pathlib
import tempfile

import jax
import numpy as np

import jaxkd
from benchmarks.outside_parts.comparing import IMAGES, KEY, ROWS, Case, Compared, as_teacher
from jaxkd import teachers

os.environ.setdefault("KERAS_BACKEND", "jax")


def equinox_perceptron() -> Compared:
    import equinox as eqx

    model = eqx.nn.MLP(6, 3, 16, 2, key=KEY)
    # What one writes:
    params, static = eqx.partition(model, eqx.is_array)
    network = jaxkd.from_function(lambda p, x: jax.vmap(eqx.combine(p, static))(x), params)
    # To here.
    return as_teacher(network, ROWS, jax.vmap(model)(ROWS))


def equinox_state_and_dropout() -> Compared:
    import equinox as eqx

    def make(key):
        norm = eqx.nn.BatchNorm(6, "batch", mode="batch")
        return eqx.nn.Sequential([norm, eqx.nn.Dropout(0.5), eqx.nn.Linear(6, 3, key=key)])

    model, state = eqx.nn.make_with_state(make)(KEY)
    # What one writes:
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def apply(params, state, x, train, key):
        one = eqx.nn.inference_mode(eqx.combine(params, static), not train)
        keys = None if key is None else jax.random.split(key, len(x))
        call = lambda row, k: one(row, state, key=k)  # noqa: E731
        return jax.vmap(call, (0, None if key is None else 0), (0, None), axis_name="batch")(
            x, keys
        )

    network = jaxkd.from_function(apply, params, state=state)
    # To here.
    call = jax.vmap(eqx.nn.inference_mode(model), (0, None), (0, None), axis_name="batch")
    return as_teacher(network, ROWS, call(ROWS, state)[0])


def haiku_perceptron() -> Compared:
    import haiku as hk

    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([16, 3])(x)))
    params = model.init(KEY, ROWS)
    # What one writes:
    network = jaxkd.from_function(model.apply, params)
    # To here.
    return as_teacher(network, ROWS, model.apply(params, ROWS))


def haiku_state_and_dropout() -> Compared:
    import haiku as hk

    def forward(x, train):
        x = hk.BatchNorm(True, True, 0.9)(x, train)
        x = hk.dropout(hk.next_rng_key(), 0.5, x) if train else x
        return hk.Linear(3)(x)

    model = hk.transform_with_state(forward)
    params, state = model.init(KEY, ROWS, True)
    # What one writes:
    network = jaxkd.from_function(
        lambda p, s, x, train, key: model.apply(p, s, key, x, train), params, state=state
    )
    # To here.
    return as_teacher(network, ROWS, model.apply(params, state, None, ROWS, False)[0])


def keras_with_state() -> Compared:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(3),
        ]
    )
    # What one writes:
    params = [variable.value for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]
    network = jaxkd.from_function(
        lambda p, s, x, train: model.stateless_call(p, s, x, training=train), params, state=state
    )
    # To here.
    return as_teacher(network, IMAGES, np.asarray(model(IMAGES, training=False)))


def keras_two_inputs() -> Compared:
    import keras

    layers = keras.layers
    one, two = layers.Input((6,), name="a"), layers.Input((6,), name="b")
    joined = layers.Concatenate()([one, two])
    outputs = {"logits": layers.Dense(3)(joined), "hidden": joined}
    model = keras.Model({"a": one, "b": two}, outputs)
    inputs = {"a": ROWS, "b": -ROWS}
    # What one writes:
    params = [variable.value for variable in model.trainable_variables]
    network = jaxkd.from_function(lambda p, x: model.stateless_call(p, [], x)[0], params)
    # To here.
    return as_teacher(network, inputs, np.asarray(model(inputs)["logits"]))


def torch_convolutions() -> Compared:
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(3),
    )
    channels_first = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        own = module.eval()(channels_first).numpy()
    # What one writes:
    teacher = teachers.from_torch(module)
    # To here.
    return as_teacher(teacher, IMAGES, own)


def onnx_session() -> Compared:
    import onnx
    import onnxruntime

    weights = onnx.numpy_helper.from_array(np.ones((6, 3), np.float32), "weights")
    tensor, shape = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weights"], ["logits"])],
        "linear",
        [tensor("x", shape, ["batch", 6])],
        [tensor("logits", shape, ["batch", 3])],
        [weights],
    )
    versions = [onnx.helper.make_opsetid("", 17)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "teacher.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=versions, ir_version=9), path)
        own = onnxruntime.InferenceSession(path).run(None, {"x": ROWS})[0]
        # What one writes:
        teacher = teachers.from_onnx(path)
        # To here.
        return as_teacher(teacher, ROWS, own)


def numpy_function() -> Compared:
    def scores(x):
        return x.reshape(len(x), -1)[:, :3] ** 2

    # What one writes:
    teacher = teachers.from_callable(scores, name="squares")
    # To here.
    return as_teacher(teacher, ROWS, scores(ROWS))


def module_cases() -> list[Case]:
    """Returns the modules of Flax's examples and of bonsai, as the tests have them."""
    import outside_checks
    import test_outside_modules

    def compared(make, inputs):
        return lambda: as_teacher(
            make(), jax.tree.map(lambda x: np.tile(x, (2,) + (1,) * (x.ndim - 1)), inputs)
        )

    flax = ("vae", "lm1b", "nlp_seq", "bert", "scanned", "synchronized")
    return [
        Case(
            f"{'Linen' if make.__name__ in flax else 'NNX'}: {make.__name__.replace('_', ' ')}",
            ("flax",),
            compared(make, inputs),
            outside_checks.lines_of(make),
        )
        for make, (inputs, _) in test_outside_modules.CASES.items()
    ]


def cases() -> list[Case]:
    """Returns all cases of models."""
    return [
        Case.of("Equinox: a perceptron", equinox_perceptron, "equinox"),
        Case.of("Equinox: BatchNorm with its state, dropout", equinox_state_and_dropout, "equinox"),
        Case.of("Haiku: a perceptron", haiku_perceptron, "dm-haiku"),
        Case.of("Haiku: BatchNorm with its state, dropout", haiku_state_and_dropout, "dm-haiku"),
        Case.of("Keras 3: convolution, BatchNorm, dropout", keras_with_state, "keras"),
        Case.of("Keras 3: two inputs and two outputs by name", keras_two_inputs, "keras"),
        *module_cases(),
        Case.of("PyTorch: convolution, BatchNorm", torch_convolutions, "torch"),
        Case.of("ONNX Runtime: a session", onnx_session, "onnx", "onnxruntime"),
        Case.of("NumPy: a function", numpy_function, "numpy"),
    ]

"""Students made of their teacher's layers, and parameters that stay."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.strategies import (
    evenly_spaced_layers,
    freeze,
    from_teacher_layers,
    layer_mapping,
    multi_optimizer,
)
from jaxkd.training import fit
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


def convnet(seed, widths=(4, 4, 4), num_classes=5):
    strides = (1,) * len(widths)
    model = jaxkd.models.ConvNet(
        1, num_classes, widths=widths, strides=strides, rngs=nnx.Rngs(seed)
    )
    network = jaxkd.from_nnx(model)
    moved = {path: value + seed for path, value in network.state.items()}
    return network.replace(params=network.params, state=moved)


@given(st.integers(1, 60), st.integers(1, 60))
def test_picked_layers_are_spread_evenly(a, b):
    teacher, student = max(a, b), min(a, b)
    layers = evenly_spaced_layers(teacher, student)
    assert len(layers) == student and layers == sorted(set(layers))
    assert layers[0] == 0 and (student == 1 or layers[-1] == teacher - 1)
    if student > 1:
        exact = [i * (teacher - 1) / (student - 1) for i in range(student)]
        assert max(abs(x - y) for x, y in zip(layers, exact, strict=True)) <= 0.5


def text_network(kind, depth, seed):
    make = {"decoder": jaxkd.models.Decoder, "encoder": jaxkd.models.Encoder}[kind]
    return jaxkd.from_nnx(make(20, 8, depth, 2, rngs=nnx.Rngs(seed)))


def test_a_decoder_of_spread_layers_is_its_teacher_without_the_others():
    teacher, student = text_network("decoder", 4, 0), text_network("decoder", 2, 1)
    mapping = layer_mapping(student, teacher)
    assert mapping["layers.0"] == "layers.0" and mapping["layers.1"] == "layers.3"
    made = from_teacher_layers(student, teacher, mapping)
    # A layer whose last products are 0 leaves its tokens as they are.
    idle = {
        path: value * (not path.startswith(("layers.1.", "layers.2.")) or "norm" in path)
        for path, value in teacher.params.items()
    }
    tokens = jnp.arange(10).reshape(2, 5)
    outputs = jax.jit(made)(tokens)["logits"]
    expected = jax.jit(teacher.replace(params=idle, state={}))(tokens)["logits"]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert np.abs(outputs - jax.jit(student)(tokens)["logits"]).max() > 1e-3


def test_encoders_are_spread_by_path():
    teacher, student = text_network("encoder", 6, 0), text_network("encoder", 3, 1)
    mapping = layer_mapping(student, teacher)
    made = from_teacher_layers(student, teacher, mapping)
    sources = {"0": "0", "1": "3", "2": "5"}
    for path, value in made.params.items():
        head, number, *rest = path.split(".")
        source = ".".join((head, sources[number], *rest)) if head == "layers" else path
        np.testing.assert_array_equal(value, teacher.params[source])
    with pytest.raises(ValueError, match="6 layers cannot be chosen from 3"):
        layer_mapping(teacher, student)
    with pytest.raises(ValueError, match=r"no numbered layers under 'blocks', but \['embeddings'"):
        layer_mapping(student, teacher, "blocks")


def test_layers_are_copied_with_their_statistics():
    teacher, student = convnet(3, (4, 4, 4, 4, 4)), convnet(1)
    layers = {"head": "head"}
    for own, other in enumerate(evenly_spaced_layers(5, 3)):
        layers |= {f"convs.{own}": f"convs.{other}", f"norms.{own}": f"norms.{other}"}
    made = from_teacher_layers(student, teacher, layers)
    np.testing.assert_array_equal(made.params["convs.1.kernel"], teacher.params["convs.2.kernel"])
    np.testing.assert_array_equal(made.state["norms.2.mean"], teacher.state["norms.4.mean"])
    np.testing.assert_array_equal(made.params["head.bias"], teacher.params["head.bias"])
    assert jax.tree.structure((made.params, made.state)) == jax.tree.structure(
        (student.params, student.state)
    )
    partly = from_teacher_layers(student, teacher, {"norms.0": "norms.3"})
    np.testing.assert_array_equal(partly.state["norms.0.var"], teacher.state["norms.3.var"])
    np.testing.assert_array_equal(partly.state["norms.1.var"], student.state["norms.1.var"])
    np.testing.assert_array_equal(partly.params["head.bias"], student.params["head.bias"])


def test_a_teacher_of_as_many_layers_is_copied_whole():
    teacher, student = convnet(2), convnet(1)
    made = from_teacher_layers(student, teacher, {p: p for p in ("convs", "norms", "head")})
    inputs = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(made(inputs)["logits"], teacher(inputs)["logits"])


class Linen(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        for number in range(self.depth):
            x = nn.Dense(6, name=f"dense{number}")(x)
            x = nn.BatchNorm(use_running_average=not train, name=f"norm{number}")(x)
        return nn.Dense(3, name="head")(x)


def linen(depth, seed):
    module = Linen(depth)
    variables = module.init(jax.random.key(seed), jnp.ones((1, 6)))
    stats = jax.tree.map(lambda x: x + seed, variables["batch_stats"])
    return jaxkd.from_linen(module, {**variables, "batch_stats": stats})


def test_linen_layers_too():
    teacher, student = linen(3, 1), linen(2, 2)
    layers = {"dense1": "dense2", "norm1": "norm2", "head": "head"}
    made = from_teacher_layers(student, teacher, layers)
    jax.tree.map(np.testing.assert_array_equal, made.params["dense1"], teacher.params["dense2"])
    jax.tree.map(np.testing.assert_array_equal, made.params["dense0"], student.params["dense0"])
    statistics = (network.state["batch_stats"] for network in (made, teacher, student))
    mine, theirs, before = statistics
    jax.tree.map(np.testing.assert_array_equal, mine["norm1"], theirs["norm2"])
    jax.tree.map(np.testing.assert_array_equal, mine["norm0"], before["norm0"])


def test_what_does_not_fit_is_listed():
    teacher, student = convnet(2, (8, 4, 4)), convnet(1, (4, 4))
    with pytest.raises(ValueError, match=r"convs.0.kernel is \(3, 3, 1, 4\) in the student, "
                       r"convs.0.kernel \(3, 3, 1, 8\) in the teacher"):  # fmt: skip
        from_teacher_layers(student, teacher, {"convs.0": "convs.0"})
    with pytest.raises(ValueError, match="the student has no convs.2.kernel"):
        from_teacher_layers(student, teacher, {"convs.2": "convs.2"})
    with pytest.raises(ValueError, match="the teacher has no norms.7.bias; .*norms.7.mean"):
        from_teacher_layers(student, teacher, {"norms.1": "norms.7"})
    with pytest.raises(ValueError, match="the student has no blocks, the teacher no block"):
        from_teacher_layers(student, teacher, {"blocks": "block"})
    with pytest.raises(ValueError, match="The student has .*'convs.1'.*the teacher .*'convs.2'"):
        from_teacher_layers(student, teacher, {"blocks": "block"})
    with pytest.raises(ValueError, match="4 layers cannot be chosen from 3"):
        evenly_spaced_layers(3, 4)


def test_frozen_parts_stay_and_others_learn(images, tmp_path):
    student, objective = convnet(1), recipes.labels()
    optimizer = freeze(optax.adamw(1e-2), "head", "convs.1")
    step = make_train_step(student, objective, optimizer, views=VIEWS)

    def run(steps, workdir):
        state = step.init()
        return fit(
            step, state, Loader(images, VIEWS, 32), steps=steps, log_every=5, workdir=workdir,
            tensorboard=False, progress=None,
        ).state  # fmt: skip

    state = run(10, None)
    for path, value in state.params["student"].items():
        still = path.startswith(("head.", "convs.1."))
        assert np.array_equal(value, student.params[path]) == still, path
    for steps in (5, 10):
        resumed = run(steps, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, state.params)


def test_parts_have_optimizers_of_their_own():
    student = convnet(1)
    optimizer = multi_optimizer(
        optax.sgd(1.0), {"convs": optax.sgd(0.1), "convs.1": optax.sgd(0.01)}
    )
    params = {"student": student.params, "connectors": {"kd": {"kernel": jnp.ones(2)}}}
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    for path, rate in (("convs.0.kernel", 0.1), ("convs.1.kernel", 0.01), ("head.bias", 1.0)):
        np.testing.assert_allclose(updates["student"][path], -rate, rtol=1e-6)
    np.testing.assert_allclose(updates["connectors"]["kd"]["kernel"], -1)
    with pytest.raises(ValueError, match=r"lies under \['conv'\]; there are \['convs.0', "):
        freeze(optax.sgd(1.0), "conv").init(params)
    with pytest.raises(ValueError, match="nothing to freeze"):
        freeze(optax.sgd(1.0))

"""Modules that return anything, and are called in any way."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd.networks._outputs import logits_of, named

X = jnp.ones((2, 4))


class Pair(NamedTuple):
    logits: object
    features: object


@dataclasses.dataclass
class Result:
    logits: object
    hidden: object = None


def shapes(network, inputs=X):
    return {n: v.shape for n, v in jax.eval_shape(network, inputs).items()}


def returning(make, outputs=None):
    return jaxkd.from_function(lambda params, inputs: make(inputs), {}, outputs=outputs)


def test_what_has_names_keeps_them_and_nested_names_get_dots():
    x = np.zeros((2, 3))
    assert list(named(x)) == ["logits"]
    assert sorted(named((x, {"a": x, "b": {"c": x}}))) == ["a", "b.c", "logits"]
    assert sorted(named(Pair(x, {"s1": x, "s2": [x, x]}))) == [
        "features.s1",
        "features.s2.0",
        "features.s2.1",
        "logits",
    ]
    assert list(named(Result(x))) == ["logits"]
    assert sorted(named({"embedding": x, "loss": 0.5})) == ["embedding", "loss"]


def test_a_selection_names_places_and_a_function_anything():
    def make(x):
        return x, [{"stage.1": x[:, :2]}, Pair(x[:, :1], None)]

    assert shapes(returning(make, {"logits": "1.1.logits", "stage": "1.0.stage.1"})) == {
        "logits": (2, 1),
        "stage": (2, 2),
    }
    assert shapes(returning(make, {"all": "1"})) == {
        "all.0.stage.1": (2, 2),
        "all.1.logits": (2, 1),
    }
    assert shapes(returning(make, lambda result: {"z": result[0]})) == {"z": (2, 4)}


@pytest.mark.parametrize(
    ("make", "outputs", "error", "match"),
    [
        (
            lambda x: [x, x],
            None,
            TypeError,
            r"list\(0: float32\[2, 4\], .*'logits': '0', 'output1'",
        ),
        (lambda x: (x, x), {"logits": "2"}, ValueError, r"'logits'.*nothing at '2', but tuple\("),
        (
            lambda x: {"a.b": x, "a": {"b": x}},
            None,
            ValueError,
            r"several outputs called \['a.b'\]",
        ),
        (lambda x: {"a": None}, None, TypeError, "no arrays"),
        (lambda x: {"a": object()}, None, TypeError, "object as 'a', which is no array"),
    ],
)
def test_what_has_no_names_is_refused_with_its_structure(make, outputs, error, match):
    with pytest.raises(error, match=match):
        shapes(returning(make, outputs))


def test_outputs_of_another_kind_are_refused():
    for wrong in ("logits", ("logits", "hint"), {"logits": 0}):
        with pytest.raises(TypeError, match="outputs maps names to dotted places"):
            returning(lambda x: x, wrong)
    with pytest.raises(ValueError, match=r"accuracy needs an output 'logits'; .*\['z'\].*outputs="):
        logits_of({"z": X}, "accuracy")


class Encoder(nnx.Module):
    """A module of several inputs, with another method, whose dropout holds no stream."""

    def __init__(self, rngs):
        self.layer, self.drop = nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(0.5)

    def __call__(self, x, rngs):
        return self.drop(self.layer(x), rngs=rngs)

    def encode(self, tokens, *, mask, rngs=None):
        return self.layer(tokens * mask), (tokens,)


def test_an_nnx_module_is_called_by_a_function_of_its_inputs():
    model = Encoder(nnx.Rngs(0))
    network = jaxkd.from_nnx(
        model,
        call=lambda module, inputs: module.encode(inputs["tokens"], mask=inputs["mask"]),
        outputs={"logits": "0", "seen": "1.0"},
        features={"hidden": "layer"},
    )
    outputs = network({"tokens": 2 * X, "mask": jnp.zeros((2, 4))})
    np.testing.assert_array_equal(outputs["logits"], model.layer(0 * X))
    np.testing.assert_array_equal(outputs["hidden"], outputs["logits"])
    np.testing.assert_array_equal(outputs["seen"], 2 * X)


def test_a_required_argument_rngs_gets_streams():
    network = jaxkd.from_nnx(Encoder(nnx.Rngs(0)))

    def logits(seed):
        key = jax.random.key(seed)
        return network.apply(network.params, network.state, X, train=True, key=key)[0]["logits"]

    np.testing.assert_array_equal(logits(0), logits(0))
    assert not np.array_equal(logits(0), logits(1))
    np.testing.assert_array_equal(network(X)["logits"], Encoder(nnx.Rngs(0)).layer(X))
    with pytest.raises(ValueError, match="pass key="):
        network.apply(network.params, network.state, X, train=True)


def test_a_call_gets_mode_key_and_streams_by_name():
    seen = []

    def call(module, inputs, *, train, key, rngs):
        seen.append((train, key is not None, type(rngs)))
        return module.layer(inputs)

    network = jaxkd.from_nnx(Encoder(nnx.Rngs(0)), call=call)
    network.apply(network.params, network.state, X, train=True, key=jax.random.key(0))
    network(X)
    assert seen == [(True, True, nnx.Rngs), (False, False, nnx.Rngs)]


class LinenEncoder(nn.Module):
    def setup(self):
        self.layer, self.drop = nn.Dense(4), nn.Dropout(0.5)

    def __call__(self, x):
        return self.layer(x)

    def encode(self, x, train):
        return self.drop(self.layer(x), deterministic=not train), x


def test_a_linen_module_is_called_by_a_method_of_the_users():
    module = LinenEncoder()
    network = jaxkd.from_linen(
        module,
        module.init(jax.random.key(0), X),
        call=lambda module, inputs, train: module.encode(inputs["x"], train),
        outputs={"logits": "0"},
        features={"hidden": "layer"},
    )
    outputs = network({"x": X})
    np.testing.assert_array_equal(outputs["logits"], outputs["hidden"])
    key = jax.random.key(0)
    trained = network.apply(network.params, network.state, {"x": X}, train=True, key=key)[0]
    assert (trained["logits"] == 0).any()


class Difference(nnx.Module):
    def __call__(self, left, right):
        return left - right


class LinenDifference(nn.Module):
    def __call__(self, left, right):
        return left - right


@pytest.mark.parametrize(
    "network",
    [jaxkd.from_nnx(Difference()), jaxkd.from_linen(LinenDifference(), {})],
    ids=["nnx", "linen"],
)
def test_a_module_of_two_arguments_is_told_how_it_gets_them(network):
    with pytest.raises(TypeError) as caught:
        network({"left": X, "right": X})
    notes = "".join(caught.value.__notes__)  # JAX adds one, too
    assert "call=lambda module, inputs: module(inputs['left'], inputs['right'])" in notes
    with pytest.raises(TypeError) as caught:
        network(X)
    assert "give a dictionary of inputs" in "".join(caught.value.__notes__)


def test_calls_that_would_make_the_variables_constants_are_refused():
    model = Encoder(nnx.Rngs(0))
    for call, match in [
        ("encode", "module.encode"),
        (model.encode, "bound to this Encoder.*call=Encoder.encode"),
        (lambda module, inputs: model.encode(inputs, mask=1), "reads the Encoder 'model'"),
        (lambda inputs: inputs, "takes the module and the inputs"),
    ]:
        with pytest.raises(TypeError, match=match):
            jaxkd.from_nnx(model, call=call)


def test_fingerprints_distinguish_calls_and_outputs():
    model = Encoder(nnx.Rngs(0))
    ways = [
        {},
        {"call": lambda module, x: module.layer(x)},
        {"call": lambda module, x: module.drop(x)},
        {"call": lambda module, x: module.layer(2 * x)},
        {"outputs": {"logits": "0"}},
        {"outputs": {"logits": "1"}},
        {"outputs": lambda result: result[0]},
        {"outputs": lambda result: result[1]},
    ]
    prints = [jaxkd.from_nnx(model, **way).architecture for way in ways]
    assert len(set(prints)) == len(ways)
    assert not any("0x" in text for text in prints)


class Tuples(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.layer(x), {"a": x}


class Outer(nnx.Module):
    def __init__(self, rngs):
        self.inner = Tuples(rngs)

    def __call__(self, x):
        return self.inner(x)[0]


def test_a_part_of_what_a_submodule_returns_is_a_feature():
    model = Outer(nnx.Rngs(0))
    network = jaxkd.from_nnx(model, features={"first": "inner:0", "a": "inner:1.a"})
    assert shapes(network) == {"logits": (2, 3), "first": (2, 3), "a": (2, 4)}
    with pytest.raises(ValueError, match=r"returns tuple\(0: float32\[2, 3\].*as in 'inner:0'"):
        shapes(jaxkd.from_nnx(model, features={"first": "inner"}))
    with pytest.raises(ValueError, match="nothing at '2'"):
        shapes(jaxkd.from_nnx(model, features={"first": "inner:2"}))
    with pytest.raises(TypeError, match="features maps names"):
        jaxkd.from_nnx(model, features=["inner"])


class Scanned(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def layers(rngs):
            return nnx.Linear(4, 4, rngs=rngs)

        self.layers = layers(rngs)

    def __call__(self, x):
        scan = nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return scan(lambda x, layer: layer(x))(x, self.layers)


class LinenLayer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(4, name="dense")(x), None


class LinenScanned(nn.Module):
    hand_on: bool = True

    @nn.compact
    def __call__(self, x):
        axes = {"params": 0, **({"intermediates": 0} if self.hand_on else {})}
        scan = nn.scan(LinenLayer, variable_axes=axes, split_rngs={"params": True}, length=3)
        return scan(name="layers")(x, None)[0]


def linen_scanned(feature, **options):
    module = LinenScanned(**options)
    variables = {"params": module.init(jax.random.key(0), X)["params"]}
    return jaxkd.from_linen(module, variables, features={"layers": feature})


def test_a_feature_from_inside_a_scan_is_refused_or_stacked():
    model = Scanned(nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"scan or vmap of \[3\]: 'layers:stacked'"):
        shapes(jaxkd.from_nnx(model, features={"layers": "layers"}))
    outputs = jaxkd.from_nnx(model, features={"layers": "layers:stacked"})(X)
    assert outputs["layers"].shape == (2, 3, 4)
    np.testing.assert_array_equal(outputs["layers"][:, 2], outputs["logits"])
    with pytest.raises(ValueError, match=r"scan or vmap of \[3\]: 'layers.dense:stacked'"):
        shapes(linen_scanned("layers.dense"))
    assert shapes(linen_scanned("layers.dense:stacked"))["layers"] == (2, 3, 4)
    assert shapes(linen_scanned("layers:stacked.0"))["layers"] == (2, 3, 4)
    with pytest.raises(ValueError, match=r"hands on no intermediates.*'layers.dense:stacked'"):
        shapes(linen_scanned("layers.dense", hand_on=False))

"""Mode by declaration: what sets training mode, which streams are random, which axes are bound."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd

INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 16)), jnp.float32)


class Base(nnx.Module):
    """A layer and dropout, which subclasses call in ways of their own."""

    def __init__(self):
        self.layer = nnx.Linear(16, 3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def run(self, x, train):
        return self.layer(self.dropout(x, deterministic=not train))


class ByFlag(Base):
    def __call__(self, x, is_train=True):
        return self.run(x, is_train)


class ByWord(Base):
    def __call__(self, x, *, mode="train"):
        return self.run(x, mode == "train")


class ByKeywords(Base):
    def __call__(self, x, **kwargs):
        return self.run(x, kwargs.get("train", True))


class Inverted(Base):
    def __call__(self, x, frozen=False):
        return self.run(x, not frozen)


class ByAttribute(Base):
    def __init__(self):
        super().__init__()
        self.training = True

    def __call__(self, x):
        return self.run(x, self.training)


class ByClassAttribute(Base):
    training = True

    def __call__(self, x):
        return self.run(x, self.training)


class Outer(nnx.Module):
    def __init__(self):
        self.inner = ByAttribute()

    def __call__(self, x):
        return self.inner(x)


class LinenNet(nn.Module):
    """A scanned layer with dropout, and what `kind` adds."""

    kind: str = "plain"
    training: bool = True

    @nn.compact
    def __call__(self, x, is_train: bool = True):
        if self.kind == "field":
            return nn.Dense(3)(nn.Dropout(0.5, deterministic=not self.training)(x))
        if self.kind == "streams" and is_train:
            assert self.has_rng("dropout")
            x = x + jax.random.normal(self.make_rng("own"), x.shape)
            x = x + jax.random.normal(self.make_rng("other"), x.shape)
        if self.kind == "sown":
            self.sow("intermediates", "seen", x)
            self.sow("losses", "size", (x**2).mean())
        if self.kind == "norm":
            x = nn.BatchNorm(use_running_average=not is_train, axis_name="batch")(x)
        if self.kind == "bridge":
            x = nn.BatchNorm(use_running_average=not is_train)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not is_train)(x))


def linen(kind, **options):
    module = LinenNet(kind)
    streams = {name: jax.random.key(0) for name in ("params", "dropout", "own", "other")}
    variables = module.init(streams, INPUTS, is_train=kind == "sown")
    options = {"train_mode": "is_train"} | options
    return jaxkd.from_linen(module, variables, **options)


def trained(network, seed=0, inputs=INPUTS):
    return network.apply(
        network.params, network.state, inputs, train=True, key=jax.random.key(seed)
    )


@pytest.mark.parametrize(
    ("make", "train_mode"),
    [
        (ByFlag, "is_train"),
        (ByWord, {"mode": ("train", "eval")}),
        (ByKeywords, "train"),
        (Inverted, {"frozen": (False, True)}),
        (ByAttribute, "self.training"),
        (ByClassAttribute, "self.training"),
        (Outer, "self.training"),
    ],
)
def test_declared_modes_set_training_and_evaluation(make, train_mode):
    model = make()
    network = jaxkd.from_nnx(model, train_mode=train_mode)
    layer = (model.inner if make is Outer else model).layer
    np.testing.assert_allclose(network(INPUTS)["logits"], layer(INPUTS), atol=1e-6)
    assert not np.array_equal(trained(network)[0]["logits"], trained(network, 1)[0]["logits"])
    assert not np.array_equal(trained(network)[0]["logits"], network(INPUTS)["logits"])


def test_the_fingerprint_does_not_depend_on_the_attribute_at_hand():
    model = ByAttribute()
    network = jaxkd.from_nnx(model, train_mode="self.training")
    model.training = False
    assert jaxkd.from_nnx(model, train_mode="self.training").fingerprint() == network.fingerprint()


def test_functions_and_linen_fields_have_declared_modes():
    def function(params, inputs, is_train=True, rngs=None):
        return inputs * jax.random.normal(rngs["own"], inputs.shape) if is_train else inputs

    network = jaxkd.from_function(function, {}, train_mode="is_train", rngs="own")
    np.testing.assert_array_equal(network(INPUTS)["logits"], INPUTS)
    assert not np.array_equal(trained(network)[0]["logits"], trained(network, 1)[0]["logits"])
    network = linen("field", train_mode="self.training")
    np.testing.assert_array_equal(network(INPUTS)["logits"], network(INPUTS)["logits"])
    assert not np.array_equal(trained(network)[0]["logits"], trained(network, 1)[0]["logits"])


def test_a_function_gets_no_key_in_evaluation():
    def function(params, inputs, key=None):
        return inputs if key is None else inputs * jax.random.normal(key, inputs.shape)

    network = jaxkd.from_function(function, {})
    outputs, _ = network.apply({}, {}, INPUTS, key=jax.random.key(0))
    np.testing.assert_array_equal(outputs["logits"], INPUTS)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: jaxkd.from_nnx(ByFlag(), train_mode="train"), ValueError, "'x', 'is_train'"),
        (lambda: jaxkd.from_nnx(ByFlag(), train_mode="self.mode"), ValueError, "attribute 'mode'"),
        (lambda: jaxkd.from_nnx(ByFlag(), train_mode="self.run"), ValueError, "attribute 'run'"),
        (
            lambda: jaxkd.from_nnx(ByFlag(), train_mode={"is_train": 1}),
            TypeError,
            "'train', 'eval'",
        ),
        (lambda: jaxkd.from_nnx(ByFlag(), rngs="own"), ValueError, r"'own'.*has \['default'\]"),
        (lambda: linen("field", train_mode="self.mode"), ValueError, "no such field"),
        (lambda: jaxkd.from_function(jnp.dot, {}, train_mode="self.a"), ValueError, "attributes"),
        (
            lambda: jaxkd.from_function(lambda p, x: x, {}, rngs="own"),
            ValueError,
            r"\['p', 'x'\] and no 'rngs'",
        ),
        (lambda: jaxkd.from_nnx(ByFlag(), rngs=nnx.Rngs(0)), TypeError, "names of streams"),
        (lambda: jaxkd.from_nnx(ByFlag(), axis_name=3), TypeError, "not 3"),
        (lambda: jaxkd.from_nnx(ByFlag(), train_mode={1: (1, 0)}), TypeError, "train_mode is"),
        # Streams would be dropped, and seeded anew.
        (lambda: linen("plain", rngs={"dropout": jax.random.key(0)}), TypeError, "of each call"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_linen_streams_are_passed_by_name_and_found():
    network = linen("streams")
    logits = trained(network)[0]["logits"]
    np.testing.assert_array_equal(logits, trained(network)[0]["logits"])
    assert not np.array_equal(logits, trained(network, 1)[0]["logits"])
    trained(linen("streams", rngs=("dropout", "own", "other")))
    with pytest.raises(ValueError, match=r'needs PRNG for "other".*from_linen'):
        trained(linen("streams", rngs=("dropout", "own")))
    network = linen("plain")
    with pytest.raises(ValueError, match="pass key="):
        network.apply(network.params, network.state, INPUTS, train=True)


def test_scanned_linen_layers_have_masks_of_their_own():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return x, nn.Dropout(0.5, deterministic=False)(jnp.ones((64,)))

    class Scanned(nn.Module):
        split: bool

        @nn.compact
        def __call__(self, x, train: bool = False):
            self.param("scale", nn.initializers.ones, ())
            split_rngs = {"params": True, **({"dropout": True} if self.split else {})}
            scan = nn.scan(Layer, {"params": 0}, split_rngs=split_rngs, length=2)
            return x, {"masks": scan()(x, None)[1] if train else x}

    for split in (True, False):
        module = Scanned(split)
        network = jaxkd.from_linen(module, module.init(jax.random.key(0), INPUTS))
        if split:
            one, two = trained(network)[0]["masks"]
            assert not np.array_equal(one, two)
        else:
            with pytest.raises(ValueError, match="split_rngs"):
                trained(network)


def test_sown_values_are_no_state():
    network = linen("sown")
    assert not network.state
    assert not trained(network)[1]

    class Sows(Base):
        def __call__(self, x, train=False):
            self.sow(nnx.Intermediate, "seen", x)
            self.sow(nnx.Cache, "kept", x)
            return self.run(x, train)

    model = Sows()
    with pytest.warns(DeprecationWarning, match="sow"):
        model(INPUTS)
        network = jaxkd.from_nnx(model)
        assert not network.state
        assert not trained(network)[1]


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_batch_norm_with_an_axis_name_trains(kind):
    class Normalized(nnx.Module):
        def __init__(self, axis_name):
            self.norm = nnx.BatchNorm(16, axis_name=axis_name, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(x)

    if kind == "linen":
        network, unbound = linen("norm", axis_name="batch"), linen("norm")
    else:
        network = jaxkd.from_nnx(Normalized("batch"), axis_name="batch")
        unbound = jaxkd.from_nnx(Normalized("batch"))
        whole = trained(jaxkd.from_nnx(Normalized(None)))
        np.testing.assert_allclose(trained(network)[0]["logits"], whole[0]["logits"], atol=1e-6)
    state = trained(network)[1]
    mean = state["norm.mean"] if kind == "nnx" else state["batch_stats"]["BatchNorm_0"]["mean"]
    momentum = 0.99
    np.testing.assert_allclose(mean, (1 - momentum) * INPUTS.mean(0), atol=1e-5)
    assert network(INPUTS)["logits"].shape[0] == 6
    with pytest.raises(ValueError, match=r"axis_name='…'"):
        trained(unbound)


def test_a_linen_module_in_a_bridge_has_its_modes():
    module = LinenNet("bridge")
    model = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(INPUTS, is_train=False)
    network = jaxkd.from_nnx(model, train_mode="is_train")
    np.testing.assert_array_equal(network(INPUTS)["logits"], network(INPUTS)["logits"])
    outputs, state = trained(network)
    assert not np.array_equal(outputs["logits"], trained(network, 1)[0]["logits"])
    assert state.keys() == network.state.keys()
    assert any(not np.array_equal(state[path], network.state[path]) for path in state)
    with pytest.raises(ValueError, match=r"train_mode"):
        jaxkd.from_nnx(model)(INPUTS)


def test_linen_modules_that_are_not_in_evaluation_mode_are_refused():
    for kind, what in (("plain", "random numbers"), ("bridge", "moving statistics")):
        with pytest.raises(ValueError, match=rf"wants {what}.*train_mode='is_train'"):
            linen(kind, train_mode={"is_train": (True, True)})(INPUTS)

import enum

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Small, small_network
from flax import nnx

import jaxkd
from jaxkd import networks, strategies

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 1)), jnp.float32)


class LinenSmall(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(4, (3, 3), name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(5, name="head")(x.reshape(x.shape[0], -1))


def test_a_linen_module_alone_is_told_where_its_variables_come_from():
    with pytest.raises(TypeError, match=r"the variables of Dense, .*module.init\(jax.random.key"):
        jaxkd.from_linen(nn.Dense(3))


def linen_small(features=None):
    module = LinenSmall()
    return jaxkd.from_linen(module, module.init(jax.random.key(0), IMAGES), features=features)


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_batch_statistics_move_in_training_alone(kind, small):
    network = small() if kind == "nnx" else linen_small()
    key = jax.random.key(0)
    outputs, after = network.apply(network.params, network.state, IMAGES)
    assert outputs["logits"].shape == (6, 5)
    chex.assert_trees_all_equal(after, network.state)
    _, moved = jax.jit(
        lambda k: network.apply(network.params, network.state, IMAGES, train=True, key=k)
    )(key)
    chex.assert_trees_all_equal_shapes(moved, network.state)
    assert all(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(network.state), strict=True)
    )


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_dropout_depends_on_the_key_alone(kind, small):
    network = small() if kind == "nnx" else linen_small()

    def logits(seed):
        return network.apply(
            network.params, network.state, IMAGES, train=True, key=jax.random.key(seed)
        )[0]["logits"]

    np.testing.assert_array_equal(logits(1), logits(1))
    assert not np.array_equal(logits(1), logits(2))
    np.testing.assert_array_equal(network(IMAGES)["logits"], network(IMAGES)["logits"])


def test_two_dropout_layers_have_different_masks():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.first(x), {"second": self.second(x)}

    network = jaxkd.from_nnx(Twice(nnx.Rngs(0)))
    outputs, _ = network.apply({}, {}, jnp.ones((1, 64)), train=True, key=jax.random.key(0))
    assert not np.array_equal(outputs["logits"], outputs["second"])


def test_named_features_are_the_submodules_outputs(small):
    network = small(features={"map": "conv", "normed": "norm"})
    outputs = network(IMAGES)
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (6, 5),
        "map": (6, 8, 8, 4),
        "normed": (6, 8, 8, 4),
    }
    kernel, bias = network.params["conv.kernel"], network.params["conv.bias"]
    expected = jax.lax.conv_general_dilated(
        IMAGES, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(outputs["map"], expected + bias, atol=1e-5)
    assert linen_small({"map": "conv"})(IMAGES)["map"].shape == (6, 8, 8, 4)


def test_unknown_features_are_refused_with_the_known_ones(small):
    with pytest.raises(ValueError, match=r"'stage9'.*'conv', 'dropout', 'head', 'norm'"):
        small(features={"hint": "stage9"})
    with pytest.raises(ValueError, match="'stage9' was called 0 times"):
        linen_small({"hint": "stage9"})(IMAGES)


def test_a_feature_called_twice_is_refused():
    class Shared(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return self.layer(self.layer(x))

    network = jaxkd.from_nnx(Shared(nnx.Rngs(0)), features={"hidden": "layer"})
    with pytest.raises(ValueError, match="called 2 times"):
        network(jnp.ones((1, 4)))


def test_a_bare_function_with_state_and_features():
    def function(params, state, inputs, *, train):
        hidden = inputs @ params
        return {"logits": hidden, "hidden": hidden}, {"calls": state["calls"] + train}

    network = jaxkd.from_function(function, jnp.ones((4, 3)), state={"calls": 0})
    outputs, state = network.apply(network.params, network.state, jnp.ones((2, 4)), train=True)
    assert sorted(outputs) == ["hidden", "logits"] and state == {"calls": 1}
    assert network.apply(network.params, network.state, jnp.ones((2, 4)))[1] == {"calls": 0}


def test_outputs_need_names_and_no_logits():
    network = jaxkd.from_function(lambda params, inputs: {"probabilities": inputs}, {})
    assert list(network(jnp.ones((1, 2)))) == ["probabilities"]
    with pytest.raises(TypeError, match="returns list"):
        jaxkd.from_function(lambda params, inputs: [inputs], {})(jnp.ones((1, 2)))


def test_a_network_that_samples_needs_a_key(small):
    network = small()
    with pytest.raises(ValueError, match="pass key="):
        network.apply(network.params, network.state, IMAGES, train=True)


def test_constants_and_leftovers_of_a_module_do_no_harm():
    class Normalized(nnx.Module):
        def __init__(self, rngs):
            self.mean = nnx.data(jnp.full((4,), 2.0))
            self.layer = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            self.sow(nnx.Intermediate, "seen", x)
            return self.layer(x - self.mean)

    model = Normalized(nnx.Rngs(0))
    with pytest.warns(DeprecationWarning, match="sow"):
        model(jnp.ones((1, 4)))
    network = jaxkd.from_nnx(model)
    outputs, state = network.apply(network.params, network.state, jnp.ones((2, 4)), train=True)
    chex.assert_trees_all_equal_shapes(state, network.state)
    np.testing.assert_allclose(outputs["logits"], model.layer(-jnp.ones((2, 4))), rtol=1e-6)


def test_fingerprints_see_private_attributes_enums_and_closures():
    class Pooling(enum.Enum):
        MEAN = 1
        MAX = 2

    class Model(nnx.Module):
        def __init__(self, activation, pooling):
            self._activation, self.pooling = activation, pooling

    def closure(scale):
        return jaxkd.from_function(lambda params, inputs: scale * inputs, {})

    prints = [
        jaxkd.from_nnx(Model(nnx.relu, Pooling.MEAN)),
        jaxkd.from_nnx(Model(nnx.gelu, Pooling.MEAN)),
        jaxkd.from_nnx(Model(nnx.relu, Pooling.MAX)),
        closure(1.0),
        closure(2.0),
    ]
    assert len({network.fingerprint()["architecture"] for network in prints}) == 5
    assert closure(1.0).fingerprint() == closure(1.0).fingerprint()


def test_fingerprints_distinguish_networks(small):
    assert small(0).fingerprint() == small(0).fingerprint()
    assert small(0).fingerprint()["parameters"] != small(1).fingerprint()["parameters"]
    other = small(0, activation=nnx.gelu).fingerprint()
    assert other["parameters"] == small(0).fingerprint()["parameters"]
    assert other["architecture"] != small(0).fingerprint()["architecture"]
    assert "0x" not in small(0).architecture + linen_small().architecture


def test_the_padding_of_a_vocabulary_is_cut_from_logits_and_head():
    def apply(params, inputs):
        return {"logits": inputs @ params, "head": params, "hidden": inputs}

    network = jaxkd.from_function(apply, jnp.ones((3, 8)))
    cut = networks.valid_classes(network, 5)
    outputs = cut(jnp.ones((2, 4, 3)))
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (2, 4, 5),
        "head": (3, 5),
        "hidden": (2, 4, 3),
    }
    assert cut.params is network.params
    assert cut.fingerprint()["architecture"] != network.fingerprint()["architecture"]
    with pytest.raises(ValueError, match=r"9 valid classes, the .* \(.*8\) are 8"):
        networks.valid_classes(network, 9)(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        networks.valid_classes(network, 0)


def test_networks_know_how_many_tokens_they_have_embeddings_for(small):
    class Bag(nn.Module):
        vocab_size: int

        @nn.compact
        def __call__(self, tokens):
            return nn.Dense(3)(nn.Embed(self.vocab_size, 4)(tokens).mean(1))

    bag = Bag(9)
    linen = jaxkd.from_linen(bag, bag.init(jax.random.key(0), jnp.zeros((1, 2), int)))
    wide = jaxkd.from_nnx(jaxkd.models.StaticEmbedder(12, 3, rngs=nnx.Rngs(0)))
    longer = networks.extend(wide, nnx.Linear(3, 3, rngs=nnx.Rngs(0)), "embedding")
    assert (linen.vocab_size, wide.vocab_size, longer.vocab_size) == (9, 12, 12)
    assert small().vocab_size is None
    assert strategies.with_moving_average(wide).vocab_size == 12
    # Of several networks the one with the fewest decides.
    assert strategies.joint_network({"a": linen, "b": wide, "c": small()}).vocab_size == 9


def test_a_module_with_a_networks_variables_is_a_copy(small):
    trained, model = small_network(3), Small(5, rngs=nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    before = from_nnx_logits(model, images)
    made = networks.to_nnx(trained, model)
    np.testing.assert_allclose(made(images), trained(images)["logits"], rtol=1e-6)
    np.testing.assert_array_equal(from_nnx_logits(model, images), before)
    assert jaxkd.from_nnx(made).fingerprint() == trained.fingerprint()
    with pytest.raises(ValueError, match=r"conv.bias: shape \(4,\) in the network, shape \(8,\)"):
        networks.to_nnx(trained, Small(5, width=8, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="head.bias: nothing in the network"):
        network = trained.replace(params={}, state={})
        networks.to_nnx(network, Small(5, rngs=nnx.Rngs(0)))


def from_nnx_logits(model, images):
    return np.asarray(jaxkd.from_nnx(model)(images)["logits"])

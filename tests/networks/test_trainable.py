import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Small
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, losses, networks, strategies

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32)
BATCH = {"inputs": X, "labels": jnp.arange(4)}


class LinenSmall(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(3, name="body")(x))
        return nn.Dense(5, name="head")(x.mean((1, 2)))


def linen(trainable=None):
    module = LinenSmall()
    variables = module.init(jax.random.key(0), X)
    return jaxkd.from_linen(module, variables, trainable=trainable)


def function(trainable=None):
    def apply(params, state, inputs, *, train):
        hidden = inputs.mean((1, 2)) * params["body"][0] + params["body"][1]
        return hidden @ params["head"], {"calls": state["calls"] + train}

    params = {"body": [jnp.ones((1,)), jnp.zeros((1,))], "head": jnp.ones((1, 5))}
    state = {"calls": jnp.zeros(())}
    return jaxkd.from_function(apply, params, state=state, trainable=trainable)


def module(trainable=None):
    return jaxkd.from_nnx(Small(5, rngs=nnx.Rngs(0)), trainable=trainable)


@pytest.mark.parametrize("make", [module, linen, function])
def test_training_moves_what_is_trainable_and_nothing_else(make):
    network, everything = make("head"), make()
    np.testing.assert_array_equal(network(X)["logits"], everything(X)["logits"])
    assert jax.tree.structure(network.all_params()) == jax.tree.structure(everything.params)
    assert network.architecture != everything.architecture
    objective, adam = Objective(ce=Term(losses.cross_entropy)), optax.adamw(1e-2)
    step = jaxkd.make_train_step(network, objective, adam)
    state, _ = step(step.init(0), BATCH)
    trained = network.replace(params=state.params["student"], state=state.model_state["student"])
    before = jax.tree_util.tree_leaves_with_path(everything.params)
    after = jax.tree.leaves(trained.all_params())
    moved = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for (path, old), new in zip(before, after, strict=True)
        if not np.array_equal(old, new)
    }
    assert moved and all(path.startswith("head") for path in moved)
    assert jax.tree.structure(trained.state) == jax.tree.structure(network.state)
    assert not all(  # the statistics
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(trained.state), jax.tree.leaves(network.state), strict=True)
    )


def test_networks_around_one_that_is_trained_in_part_have_all_its_parameters():
    part, everything = module("head"), jax.tree.structure(module().params)
    longer = networks.extend(part, nnx.Linear(5, 3, rngs=nnx.Rngs(0)), "logits").all_params()
    assert jax.tree.structure(longer["network"]) == everything
    assert sorted(longer["extension"]) == ["bias", "kernel"]
    joint = strategies.joint_network({"a": part, "b": function()}).all_params()
    assert jax.tree.structure(joint["a"]) == everything and joint["b"]["head"].shape == (1, 5)
    averaged = strategies.with_moving_average(part)
    assert jax.tree.structure(averaged.all_params()) == everything
    of_no_data, _ = strategies.data_free(part, function(), module(), latent=2)
    assert jax.tree.structure(of_no_data.all_params()["student"]) == everything


def test_lora_parameters_alone_are_trained_by_a_filter():
    model = nnx.Sequential(nnx.LoRALinear(4, 3, lora_rank=2, rngs=nnx.Rngs(0)), nnx.relu)
    network = jaxkd.from_nnx(model, trainable=nnx.LoRAParam)
    assert sorted(network.params) == ["layers.0.lora.lora_a", "layers.0.lora.lora_b"]
    again = networks.to_nnx(network, model)
    np.testing.assert_array_equal(again(jnp.ones((1, 4))), model(jnp.ones((1, 4))))
    with pytest.raises(ValueError, match=r"matches no parameter of Sequential.*'LoRAParam'"):
        jaxkd.from_nnx(model, trainable=nnx.BatchStat)


def test_patterns_and_functions_choose_by_path():
    assert sorted(module("*.bias").params) == ["conv.bias", "head.bias", "norm.bias"]
    assert sorted(module(("conv", "head.bias")).params) == ["conv.bias", "conv.kernel", "head.bias"]
    assert sorted(linen("head.bias").params) == ["head"]
    assert sorted(module(lambda path, leaf: leaf.ndim > 1).params) == ["conv.kernel", "head.kernel"]
    with pytest.raises(ValueError, match=r"'tail.\*' matches no parameter of Small.*'head.kernel'"):
        module("tail.*")
    with pytest.raises(TypeError, match="trainable is a path pattern"):
        linen(3)
    with pytest.raises(ValueError, match="'steps of int32'.*no gradients"):
        params = {"steps": jnp.zeros((), jnp.int32)}
        jaxkd.from_function(lambda params, inputs: inputs, params, trainable="steps")


def test_a_head_that_is_not_trained_is_found():
    assert networks.head_weights(module("conv").all_params())[0].shape[1] == 5
    network = networks.add_outputs(module("conv"), lambda p, _: {"bias": p["head.bias"]})
    assert network(X)["bias"].shape == (5,)

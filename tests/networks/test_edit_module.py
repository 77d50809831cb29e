import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxkd
from jaxkd import compression, networks
from jaxkd.models import MLP

INPUTS = jax.random.normal(jax.random.key(0), (4, 6))


def make(**options):
    return jaxkd.from_nnx(MLP(6, (8,), 3, rngs=nnx.Rngs(0)), **options)


def zero_head(module):
    module.head.bias[...] = jnp.full(3, 7.0)
    return module


def test_the_changed_module_has_the_trained_variables_and_the_features():
    student = make(features={"hidden": "layers.0"})
    trained = student.replace(params=jax.tree.map(lambda x: 2 * x, student.params), state={})
    edited = networks.edit_module(trained, zero_head)
    np.testing.assert_array_equal(edited.params["head.bias"], 7.0)
    np.testing.assert_array_equal(edited(INPUTS)["hidden"], trained(INPUTS)["hidden"])
    np.testing.assert_array_equal(trained.params["head.bias"], 2 * student.params["head.bias"])
    again = networks.edit_module(edited, lambda module: compression.factorize(module, {"head": 1}))
    assert again(INPUTS)["hidden"].shape == (4, 8) and "head.layers.1.bias" in again.params


def test_what_is_not_trained_stays_so():
    edited = networks.edit_module(make(trainable="head.*"), zero_head)
    assert set(edited.params) == {"head.kernel", "head.bias"}
    np.testing.assert_array_equal(edited.params["head.bias"], 7.0)


@pytest.mark.parametrize("kind", ["remat", "function", "linen"])
def test_what_is_no_module_alone_is_refused(kind):
    if kind == "remat":
        network = networks.remat(make())
    elif kind == "function":
        network = jaxkd.from_function(lambda w, x: x @ w, jnp.ones((6, 3)))
    else:
        module = linen.Dense(3)
        network = jaxkd.from_linen(module, module.init(jax.random.key(0), INPUTS))
    with pytest.raises(ValueError, match=r"write jaxkd.from_nnx\(module\), and what"):
        networks.edit_module(network, zero_head)


def test_what_returns_no_module_is_refused():
    with pytest.raises(TypeError, match=r"must return a module, not an object of the class tuple"):
        networks.edit_module(make(), lambda module: (module, "report"))
    with pytest.raises(TypeError, match="network must be a Network"):
        networks.edit_module(make, zero_head)

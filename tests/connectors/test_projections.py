import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import connectors


@pytest.mark.parametrize("shape", [(4, 8), (4, 5, 8), (4, 3, 3, 8)])
def test_linear_keeps_examples_apart(shape):
    network = jaxkd.from_nnx(connectors.Linear(8, 6, rngs=nnx.Rngs(0)))
    features = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    outputs = network(features)["logits"]
    assert outputs.shape == (*shape[:-1], 6)
    np.testing.assert_allclose(network(features[1:2])["logits"], outputs[1:2], rtol=1e-5)


def test_conv1x1_is_linear_at_each_pixel():
    network = jaxkd.from_nnx(connectors.Conv1x1(8, 6, rngs=nnx.Rngs(0)))
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 8)), jnp.float32)
    expected = features @ network.params["conv.kernel"][0, 0] + network.params["conv.bias"]
    np.testing.assert_allclose(network(features)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_conv1x1_with_norm_has_statistics():
    network = jaxkd.from_nnx(connectors.Conv1x1(8, 6, norm=True, rngs=nnx.Rngs(0)))
    features = jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
    outputs, state = network.apply(network.params, network.state, features, train=True)
    assert (outputs["logits"] >= 0).all()
    assert not np.array_equal(state["norm.mean"], network.state["norm.mean"])


def test_conv1x1_may_norm_without_relu():
    features = jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
    both, signed = (
        connectors.Conv1x1(8, 6, norm=True, relu=relu, rngs=nnx.Rngs(0))(features)
        for relu in (True, False)
    )
    assert (signed < 0).any()
    np.testing.assert_array_equal(both, np.maximum(signed, 0))


def test_wrong_ranks_and_widths_are_refused():
    with pytest.raises(ValueError, match=r"not \(2, 8\)"):
        connectors.Conv1x1(8, 6, rngs=nnx.Rngs(0))(jnp.ones((2, 8)))
    with pytest.raises(ValueError, match="not 0 and 6"):
        connectors.Linear(0, 6, rngs=nnx.Rngs(0))


def test_mlp_is_two_affine_maps():
    module = connectors.MLP(8, 12, 6, rngs=nnx.Rngs(0))
    features = jax.random.normal(jax.random.key(0), (4, 8))
    expected = module.second(jnp.maximum(module.first(features), 0))
    np.testing.assert_allclose(module(features), expected, rtol=1e-6)


@pytest.mark.parametrize("widths", [(5, 8), (8, 5), (6, 6)])
def test_orthogonal_stays_orthonormal(widths):
    network = jaxkd.from_nnx(connectors.OrthogonalProjection(*widths, rngs=nnx.Rngs(0)))
    features = jax.random.normal(jax.random.key(0), (4, widths[0]))

    @jax.jit
    def matrix_and_gradient(params):
        def value(params):
            outputs, _ = network.apply(params, network.state, features)
            return jnp.mean(jnp.square(outputs["logits"] - 1))

        identity = network.apply(params, network.state, jnp.eye(widths[0]))[0]["logits"]
        return identity, jax.grad(value)(params)

    before, gradient = matrix_and_gradient(network.params)
    assert all(jnp.isfinite(leaf).all() for leaf in gradient.values())
    stepped = jax.tree.map(lambda p, g: p - 0.5 * g, network.params, gradient)
    after, _ = matrix_and_gradient(stepped)
    assert jnp.abs(after - before).max() > 1e-3
    for matrix in (before, after):
        gram = matrix @ matrix.T if widths[0] <= widths[1] else matrix.T @ matrix
        np.testing.assert_allclose(gram, np.eye(min(widths)), atol=1e-5)

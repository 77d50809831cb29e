import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.networks import as_connector

STUDENT = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
TEACHER = jax.random.normal(jax.random.key(1), (2, 5, 5, 6))


def test_only_the_reconstruction_trains_the_paraphraser():
    connector = as_connector(connectors.FactorTransfer(3, 6, rngs=nnx.Rngs(0)))

    @jax.jit
    def gradients(params):
        def values(params):
            arguments, _ = connector.apply(
                params, connector.state, STUDENT, train=True, teacher=TEACHER
            )
            error = jnp.square(arguments["reconstruction"] - arguments["target"])
            return jnp.sum(losses.ft(arguments["student"], arguments["teacher"])), jnp.sum(error)

        _, pullback = jax.vjp(values, params)
        return [pullback(pair)[0] for pair in ((1.0, 0.0), (0.0, 1.0))]

    factors, rebuilt = gradients(connector.params)
    for name in connector.params:
        ours, theirs = (bool(jnp.any(tree[name] != 0)) for tree in (factors, rebuilt))
        assert (ours, theirs) == (name.startswith("translator"), not name.startswith("translator"))


@pytest.mark.parametrize(("rate", "width"), [(0.5, 3), (2.0, 12)])
def test_rate_is_the_width_of_the_factors(rate, width):
    connector = as_connector(connectors.FactorTransfer(3, 6, rate=rate, rngs=nnx.Rngs(0)))
    assert connector.requires == {"teacher"}
    arguments, _ = jax.eval_shape(
        lambda: connector.apply(connector.params, connector.state, STUDENT, teacher=TEACHER)
    )
    assert arguments["student"].shape == (2, 4, 4, width)
    assert arguments["teacher"].shape == (2, 5, 5, width)
    assert arguments["reconstruction"].shape == arguments["target"].shape == TEACHER.shape


def test_a_rate_without_factors_is_refused():
    with pytest.raises(ValueError, match=r"rate 0.1 of 6 channels"):
        connectors.FactorTransfer(3, 6, rate=0.1, rngs=nnx.Rngs(0))

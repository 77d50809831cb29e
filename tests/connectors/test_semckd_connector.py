import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.networks import as_connector


def _maps(*shapes):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


STUDENT = _maps((4, 8, 8, 3), (4, 4, 4, 5))
TEACHER = _maps((4, 4, 4, 6), (4, 8, 8, 2), (4, 2, 2, 7))


@functools.cache
def _semckd(**options):
    return connectors.SemCKD([3, 5], [6, 2, 7], batch_size=4, rngs=nnx.Rngs(0), **options)


@jax.jit
def _called(scale):
    """SemCKD's arguments and loss, with scaled parameters of its projections."""
    connector = as_connector(_semckd())
    params = {
        name: leaf * scale if name.startswith("projections") else leaf
        for name, leaf in connector.params.items()
    }
    arguments, _ = connector.apply(params, connector.state, STUDENT, train=True, teacher=TEACHER)
    return arguments, losses.semckd(**arguments)


def test_semckd_pairs_all_layers_at_the_smaller_size():
    arguments, loss = _called(1.0)
    assert [[x.shape for x in row] for row in arguments["student"]] == [
        [(4, 4, 4, 6), (4, 8, 8, 2), (4, 2, 2, 7)],
        [(4, 4, 4, 6), (4, 4, 4, 2), (4, 2, 2, 7)],
    ]
    np.testing.assert_array_equal(arguments["teacher"][0][0], TEACHER[0])
    np.testing.assert_allclose(jnp.sum(arguments["attention"], axis=-1), 1, rtol=1e-6)
    squares = [
        [jnp.mean(jnp.square(s - t), axis=(1, 2, 3)) for s, t in zip(*rows, strict=True)]
        for rows in zip(arguments["student"], arguments["teacher"], strict=True)
    ]
    expected = jnp.einsum("bst,stb->b", arguments["attention"], jnp.array(squares)) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_semckd_attention_is_one_of_similarities():
    """The projections have no part in it."""
    arguments, _ = _called(1.0)
    scaled, _ = _called(2.0)
    np.testing.assert_array_equal(scaled["attention"], arguments["attention"])


def test_semckd_is_for_one_batch_size():
    with pytest.raises(ValueError, match="batches of 4 and got one of 3"):
        _semckd()(tuple(x[:3] for x in STUDENT), teacher=tuple(x[:3] for x in TEACHER))
    with pytest.raises(ValueError, match="batch size 4, not 5"):
        _semckd(factor=5)
    with pytest.raises(ValueError, match="3 outputs of the teacher"):
        _semckd()(STUDENT, teacher=TEACHER[:2])
    with pytest.raises(ValueError, match="soft must be positive, not 0"):
        _semckd(soft=0.0)

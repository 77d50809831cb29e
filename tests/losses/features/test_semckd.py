import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attention(*shape):
    return np.asarray(jax.nn.softmax(array(*shape, seed=9)))


def test_semckd_weighs_all_pairs_and_divides_by_student_layers():
    shapes = [[(3, 2, 2, 4), (3, 5)], [(3, 1, 2, 4), (3, 6, 5)], [(3, 4), (3, 2)]]
    student, teacher = (
        [[array(*shape, seed=10 * seed + len(shape)) for shape in row] for row in shapes]
        for seed in (0, 1)
    )
    weights = attention(3, 3, 2)
    expected = np.zeros(3)
    for i in range(3):
        for j in range(2):
            squares = np.square(student[i][j] - teacher[i][j]).reshape(3, -1).mean(1)
            expected += weights[:, i, j] * squares / 3
    value = jax.jit(losses.semckd)(student, teacher, attention=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_semckd_trains_the_attention():
    student, teacher = [[array(2, 4), array(2, 3)]], [[array(2, 4, seed=1), array(2, 3, seed=1)]]
    gradient = jax.grad(lambda a: jnp.sum(losses.semckd(student, teacher, attention=a)))(
        jnp.ones((2, 1, 2))
    )
    distances = [losses.feature_mse(*pair) for pair in zip(student[0], teacher[0], strict=True)]
    np.testing.assert_allclose(gradient[:, 0], np.stack(distances, 1), rtol=1e-5)


def test_masked_examples_never_enter():
    where = np.array([True, False, True])

    def loss(layer, weights, teacher, where=None):
        return jnp.sum(losses.semckd([[layer]], [[teacher]], attention=weights, where=where))

    layer, teacher, weights = array(3, 2, 2, 4), array(3, 2, 2, 4, seed=1), attention(3, 1, 1)
    spoiled = [np.where(where.reshape(3, 1, 1, 1), layer, np.nan), weights.copy()]
    spoiled[1][1] = np.nan
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, gradients = compiled(*spoiled, teacher, where)
    expected, expected_gradients = compiled(layer[where], weights[where], teacher[where])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient[where], wanted, rtol=1e-4, atol=1e-7)
        assert not gradient[1].any()


def test_errors():
    layer = array(2, 2, 2, 4)
    with pytest.raises(ValueError, match=r"\(2, 1, 2\) of batch and layers, got \(2, 2, 1\)"):
        losses.semckd([[layer, layer]], [[layer, layer]], attention=attention(2, 2, 1))
    with pytest.raises(ValueError, match=r"teacher\[1\] must be a tuple of 1 arrays, got 2"):
        losses.semckd([[layer], [layer]], [[layer], [layer, layer]], attention=1.0)

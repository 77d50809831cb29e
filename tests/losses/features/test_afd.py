import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attention(*shape):
    return np.asarray(jax.nn.softmax(array(*shape, seed=9)))


def saliency(maps, pool=1):
    energy = np.square(maps).mean(-1)
    batch, height, width = energy.shape
    energy = energy.reshape(batch, height // pool, pool, width // pool, pool).mean((2, 4))
    energy = energy.reshape(batch, -1)
    return energy / np.linalg.norm(energy, axis=1, keepdims=True)


def test_afd_pools_the_student_to_each_teacher_layer():
    student = [array(3, 4, 4, 5), array(3, 4, 4, 2, seed=1), array(3, 4, 4, 7, seed=2)]
    teacher = [array(3, 4, 4, 6, seed=3), array(3, 2, 2, 3, seed=4)]
    weights = attention(3, 2, 3)
    expected = np.zeros(3)
    for t, pool in enumerate((1, 2)):
        for s in range(3):
            squares = np.square(saliency(student[s], pool) - saliency(teacher[t])).mean(1)
            expected += weights[:, t, s] * squares
    afd = jax.jit(losses.afd)
    value = afd(student, teacher, attention=weights)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    scaled = [1e15 * layer for layer in student]
    np.testing.assert_allclose(afd(scaled, teacher, attention=weights), expected, rtol=1e-4)


def test_afd_of_dead_maps_is_finite():
    student, teacher = [jnp.zeros((2, 4, 4, 3))], [jnp.zeros((2, 2, 2, 3))]
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s: jnp.sum(losses.afd(s, teacher, attention=jnp.ones((2, 1, 1)))))
    )(student)
    assert value == 0
    assert not gradient[0].any()


def test_masked_examples_never_enter():
    where = np.array([True, False, True])

    def loss(layer, weights, teacher, where=None):
        return jnp.sum(losses.afd([layer], [teacher], attention=weights, where=where))

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
        losses.afd([layer, layer], [layer], attention=attention(2, 2, 1))
    with pytest.raises(ValueError, match="student must be a tuple of one map.*got ndarray"):
        losses.afd(layer, [layer], attention=1.0)
    with pytest.raises(ValueError, match="teacher must be a tuple of one map.*got 0 elements"):
        losses.afd([layer], [], attention=1.0)
    with pytest.raises(ValueError, match=r"\[batch, height, width, channels\].*\(2, 4\)"):
        losses.afd([layer], [layer[:, 0, 0]], attention=1.0)

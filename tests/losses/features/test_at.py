import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd.ops import adaptive_average_pool


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attention(features, p):
    sums = np.sum(np.abs(features) ** p, axis=-1).reshape(len(features), -1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_is_the_mean_of_squares_or_the_norm(p):
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 2, seed=1)
    difference = attention(student, p) - attention(teacher, p)
    np.testing.assert_allclose(
        losses.at(student, teacher, p=p), np.mean(difference**2, axis=1), rtol=1e-4
    )
    np.testing.assert_allclose(
        losses.at(student, teacher, p=p, squared=False),
        np.linalg.norm(difference, axis=1),
        rtol=1e-4,
    )


def test_the_larger_map_is_pooled_before_the_power():
    student, teacher = maps(2, 7, 4, 3), maps(2, 4, 6, 5, seed=1)
    pooled = (adaptive_average_pool(jnp.asarray(x), (4, 4)) for x in (student, teacher))
    np.testing.assert_allclose(losses.at(student, teacher), losses.at(*pooled), rtol=1e-5)


def test_tokens_are_positions():
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=1)
    np.testing.assert_allclose(
        losses.at(student.reshape(2, 12, 5), teacher.reshape(2, 12, 5)),
        losses.at(student, teacher),
        rtol=1e-6,
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_scale_does_not_matter(scale):
    student, teacher = maps(2, 3, 3, 4), maps(2, 3, 3, 4, seed=1)
    expected = losses.at(student, teacher, p=4)
    np.testing.assert_allclose(
        losses.at(student * np.float32(scale), teacher, p=4), expected, rtol=1e-5
    )


@pytest.mark.parametrize("squared", [True, False])
def test_nothing_at_the_teacher_and_at_zeros(squared):
    def loss(student, teacher):
        return jnp.sum(losses.at(student, teacher, squared=squared))

    student = maps(2, 4, 4, 6)
    compiled = jax.jit(jax.value_and_grad(loss))
    value, gradient = compiled(student, student)
    chex.assert_trees_all_equal((value, gradient), (jnp.zeros(()), jnp.zeros_like(student)))
    value, gradient = compiled(jnp.zeros_like(student), student)
    assert value > 0
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(student))


def test_pooled_on_an_explicit_mesh():
    devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )
    student, teacher = jnp.asarray(maps(4, 8, 8, 3)), jnp.asarray(maps(4, 4, 4, 5, seed=1))
    gradient = jax.jit(jax.grad(lambda s, t: jnp.sum(losses.at(s, t))))
    expected = gradient(student, teacher)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    with jax.set_mesh(mesh):
        sharded = gradient(*jax.device_put((student, teacher), sharding))
    chex.assert_trees_all_close(jax.device_get(sharded), expected, rtol=1e-5, atol=1e-7)


def test_errors():
    with pytest.raises(ValueError, match="p must be 1 or more, got 0.5"):
        losses.at(maps(2, 3, 3, 4), maps(2, 3, 3, 4), p=0.5)
    with pytest.raises(ValueError, match=r"\(2, 9, 4\) and \(2, 8, 4\) have no positions"):
        losses.at(maps(2, 9, 4), maps(2, 8, 4))
    with pytest.raises(ValueError, match=r"\(2, 9, 4\) and \(2, 3, 3, 4\) have no positions"):
        losses.at(maps(2, 9, 4), maps(2, 3, 3, 4))
    with pytest.raises(ValueError, match=r"maps .* or tokens .*\(2, 9\)"):
        losses.at(maps(2, 9), maps(2, 9))
    with pytest.raises(ValueError, match="different batch sizes"):
        losses.at(maps(2, 3, 3, 4), maps(3, 3, 3, 4))

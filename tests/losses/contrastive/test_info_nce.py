import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@jax.jit
def compiled(student, teacher, where, temperature=0.07):
    def total(student):
        values = losses.info_nce(student, teacher, where=where, temperature=temperature)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(student)
    return values, gradient


def example():
    return np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


EVERYONE = np.ones(6, bool)


def test_is_the_cross_entropy_of_the_own_key():
    student, teacher = example()
    cosines = (student @ teacher.T) / np.outer(
        np.linalg.norm(student, axis=1), np.linalg.norm(teacher, axis=1)
    )
    expected = -jnp.diag(jax.nn.log_softmax(cosines / 0.2))
    values, _ = compiled(student, teacher, EVERYONE, 0.2)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_padding_is_no_key():
    student, teacher = example()
    where = np.array([True, False, True, True, False, True])
    expected = losses.info_nce(student[where], teacher[where])
    student[~where], teacher[~where] = np.nan, np.inf
    values, gradient = compiled(student, teacher, where)
    np.testing.assert_allclose(values[where], expected, rtol=1e-5)
    chex.assert_trees_all_equal(
        (values[~where], gradient[~where]), (jnp.zeros(2), np.zeros((2, 4)))
    )


def test_a_single_example_and_zero_rows():
    student, teacher = example()
    values, gradient = compiled(student, teacher, np.arange(6) == 3)
    chex.assert_trees_all_equal((values, gradient), (jnp.zeros(6), jnp.zeros((6, 4))))
    student[1], teacher[2] = 0, 0
    values, gradient = compiled(student, teacher, EVERYONE, 1e-3)
    chex.assert_tree_all_finite((values, gradient))
    np.testing.assert_allclose(values[1], np.log(6), rtol=1e-6)
    chex.assert_trees_all_equal(gradient[1], jnp.zeros(4))


def test_never_negative_at_a_match():
    student, _ = example()
    values, _ = compiled(student, 3 * student, EVERYONE, 1e-3)
    np.testing.assert_array_less(-1e-30, values)
    np.testing.assert_allclose(values, 0, atol=1e-6)


def test_explicitly_sharded_over_the_batch():
    devices = jax.devices()[: 2 if len(jax.devices()) >= 2 else 1]
    kind = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((len(devices),), ("data",), kind, devices=devices)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    where = np.arange(6) != 2
    expected = compiled(*example(), where)
    with jax.set_mesh(mesh):
        got = compiled(*jax.device_put((*example(), where), sharding))
    assert got[0].sharding.spec[0] == "data"
    chex.assert_trees_all_close(jax.device_get(got), expected, rtol=1e-4, atol=1e-5)


def test_errors():
    student, teacher = example()
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(6, 3\).*connector"):
        losses.info_nce(student, teacher[:, :3])
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.info_nce(student, teacher, temperature=0.0)

"""What every relation promises, whatever it relates."""

import functools

import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest

RELATIONS = {
    "rkd_distance": losses.rkd_distance,
    "rkd_angle": losses.rkd_angle,
    "rkd_normalize_squared": functools.partial(losses.rkd, normalize=True, squared=True),
    "pkt": losses.pkt,
    "sp": losses.sp,
    "sp_l1": functools.partial(losses.sp, norm="l1"),
    "cka": losses.cka,
    "cc": losses.cc,
    "cc_kernel": losses.cc_kernel,
    "cc_bilinear": functools.partial(losses.cc_kernel, kernel="bilinear"),
    "itrd_correlation": losses.itrd_correlation,
    "itrd_mutual": losses.itrd_mutual,
}
NEED_EQUAL_SHAPES = {"cc", "itrd_correlation"}
NOT_ZERO_AT_EQUALITY = {"itrd_correlation", "itrd_mutual"}
SHAPE = (6, 4)


def relations(but=frozenset()):
    return pytest.mark.parametrize("name", [name for name in RELATIONS if name not in but])


def example(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)


@functools.cache
def compiled(name):
    return jax.jit(jax.value_and_grad(RELATIONS[name]))


@pytest.mark.exhaustive
@relations()
def test_padding_does_not_count(name):
    student, teacher = example((4, 4))
    where = np.array([True, False, True, True, False, True])
    padded = np.full((2, *SHAPE), np.nan, np.float32)
    padded[:, where] = student, teacher
    value, gradient = compiled(name)(padded[0], padded[1], where=where)
    expected, expected_gradient = compiled(name)(student, teacher)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], expected_gradient, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_equal(gradient[~where], jnp.zeros((2, 4)))
    nobody, no_gradient = compiled(name)(padded[0], padded[1], where=np.zeros(6, bool))
    chex.assert_tree_all_finite(nobody)
    chex.assert_trees_all_equal(no_gradient, jnp.zeros(SHAPE))


def hard_inputs():
    student, teacher = example()
    zero_rows = student.copy()
    zero_rows[[1, 3]] = 0
    dead = student.copy()
    dead[:, 2] = 0.1
    duplicates = student.copy()
    duplicates[3:] = duplicates[:3]
    return {
        "zero rows": (zero_rows, teacher),
        "zero rows of the teacher": (student, zero_rows),
        "a constant feature": (dead, teacher),
        "a constant feature of the teacher": (student, dead),
        "duplicates": (duplicates, teacher),
        "duplicates on both sides": (duplicates, duplicates),
        "equal rows": (np.full(SHAPE, 0.1, np.float32), teacher),
        "equal rows of the teacher": (student, np.full(SHAPE, 0.1, np.float32)),
        "all zero": (np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)),
        "opposite rows": (np.concatenate([student[:3], -student[:3]]), teacher),
        "a gap of 500": (500 * np.eye(6, 4, dtype=np.float32), -500 * np.eye(6, 4, k=1)),
    }


@relations()
@pytest.mark.parametrize("case", hard_inputs())
def test_hard_inputs(name, case):
    student, teacher = (side.astype(np.float32) for side in hard_inputs()[case])
    value, gradient = compiled(name)(student, teacher, where=np.ones(6, bool))
    chex.assert_tree_all_finite((value, gradient))
    # Rows are of length 2 and numbers of order 1; what explodes is a division by an epsilon.
    if case != "a gap of 500":
        assert jnp.max(jnp.abs(gradient)) < 100


@relations()
def test_a_single_example(name):
    where = np.arange(6) == 2
    value, gradient = compiled(name)(*example(), where=where)
    chex.assert_tree_all_finite((value, gradient))
    if name.startswith(("rkd", "pkt", "sp", "cc")) and name not in ("cc_bilinear", "cc_kernel"):
        np.testing.assert_allclose(value, 0, atol=1e-7)


@relations(NOT_ZERO_AT_EQUALITY)
def test_zero_at_equality(name):
    student, _ = example()
    value, gradient = compiled(name)(student, student, where=np.ones(6, bool))
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@relations(NEED_EQUAL_SHAPES)
def test_shapes_may_differ_and_maps_are_flattened(name):
    student, _ = example()
    teacher = example((6, 2, 3))[0]
    value = RELATIONS[name](student.reshape(6, 2, 2), teacher)
    chex.assert_trees_all_close(value, RELATIONS[name](student, teacher.reshape(6, 6)))


@pytest.mark.exhaustive
@relations()
def test_explicitly_sharded_over_the_batch(name):
    devices = jax.devices()[: 2 if len(jax.devices()) >= 2 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    where = np.array([True, True, False, True, True, True])
    expected = compiled(name)(*example(), where=where)
    with jax.set_mesh(mesh):
        student, teacher, where = jax.device_put((*example(), where), rows)
        got = compiled(name)(student, teacher, where=where)
    chex.assert_trees_all_close(jax.device_get(got), expected, rtol=1e-4, atol=1e-6)


@relations()
def test_errors(name):
    student, teacher = example()
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(5, 4\)"):
        RELATIONS[name](student, teacher[:5])
    with pytest.raises(ValueError, match="feature axis"):
        RELATIONS[name](student[:, 0], teacher[:, 0])
    with pytest.raises(ValueError, match=r"mask of examples \[batch\].*\(6, 4\)"):
        RELATIONS[name](student, teacher, where=np.ones(SHAPE, bool))
    if name in NEED_EQUAL_SHAPES:
        with pytest.raises(ValueError, match="connector"):
            RELATIONS[name](student, teacher[:, :3])

import chex
import compiled_losses as losses
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("student", "teacher", "cost"),
    [
        (0.5, 2.0, 2.25),
        (2.5, 0.1, 0.0),
        (-1.0, 3.0, 9.0),
        (0.5, -2.0, 6.25),
        (-2.5, -0.1, 0.0),
        (0.5, 0.0, 6.25),
    ],
)
def test_one_neuron(student, teacher, cost):
    value = losses.ab(jnp.full((1, 1), student), jnp.full((1, 1), teacher), margin=2.0)
    np.testing.assert_allclose(value, [cost])


def test_is_a_sum_over_all_but_the_batch():
    student, teacher = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 5)).astype(np.float32)
    apart = np.array(
        [
            losses.ab(s.reshape(-1, 1), t.reshape(-1, 1)).sum()
            for s, t in zip(student, teacher, strict=True)
        ]
    )
    np.testing.assert_allclose(losses.ab(student, teacher), apart, rtol=1e-5)


def test_only_the_side_of_the_teacher_counts():
    student, teacher = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    chex.assert_trees_all_equal(losses.ab(student, teacher), losses.ab(student, 9 * teacher))


def test_errors():
    student = jnp.zeros((2, 3))
    for margin in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="margin must be positive"):
            losses.ab(student, student, margin=margin)
    with pytest.raises(ValueError, match=r"margin must be a scalar, got shape \(3,\)"):
        losses.ab(student, student, margin=jnp.ones(3))
    with pytest.raises(ValueError, match="connector"):
        losses.ab(student, jnp.zeros((2, 4)))

import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)


def _softmax(x):
    x = np.exp(np.asarray(x, np.float64))
    return x / x.sum(-1, keepdims=True)


def test_dist_is_pearsons_correlation_of_rows_and_of_columns(logits):
    q, p = (_softmax(x / 2) for x in logits)
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q, p, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(q.T, p.T, strict=True)])
    got = losses.dist(*logits, beta=2.0, gamma=3.0, temperature=2.0)
    np.testing.assert_allclose(got, 4 * (2 * inter + 3 * intra), rtol=1e-4)


def test_dist_is_blind_to_a_scale_of_the_probabilities_between_classes():
    """Two classes whose probabilities move together correlate fully, whatever their spread."""
    teacher = jnp.array([[0.0, 3.0], [0.0, 1.0], [0.0, -2.0]])
    student = jnp.array([[0.0, 0.3], [0.0, 0.1], [0.0, -0.2]])
    assert float(losses.dist(student, teacher, temperature=1.0)) < 0.02
    assert float(losses.dist(-student, teacher, temperature=1.0)) > 3.9


def test_dist_of_the_selected_rows_is_that_of_them_alone(logits):
    where = jnp.array([True, False, True, True, False, True])
    spoiled = jnp.where(where[:, None], logits[0], jnp.nan)
    value, gradient = jax.jit(jax.value_and_grad(losses.dist))(spoiled, logits[1], where=where)
    alone, expected = jax.jit(jax.value_and_grad(losses.dist))(*(x[where] for x in logits))
    np.testing.assert_allclose(value, alone, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], expected, rtol=1e-3, atol=1e-6)
    assert not np.any(gradient[~where])


def test_dist_of_nothing_is_zero(logits):
    value, gradient = jax.jit(jax.value_and_grad(losses.dist))(*logits, where=jnp.zeros(6, bool))
    assert value == 0
    assert not np.any(gradient)


@pytest.mark.parametrize(
    "student", [np.zeros((3, 4)), np.full((3, 4), 7.0), np.eye(3, 4) * 500.0], ids=str
)
def test_dist_is_finite_where_nothing_varies(student):
    teacher = np.tile(np.float32([1.0, 0.0, -1.0, 0.5]), (3, 1))
    value, gradient = jax.jit(jax.value_and_grad(losses.dist))(student.astype(np.float32), teacher)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_dist_of_one_example_has_no_correlation_between_examples():
    row = jnp.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(losses.dist(row, row, temperature=1.0), 1.0, atol=1e-5)


def test_dist_refuses_what_is_no_batch_of_logits(logits):
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        losses.dist(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"\(6, 4\)"):
        losses.dist(*logits, where=jnp.ones((6, 4), bool))
    with pytest.raises(ValueError, match="4 classes and teacher 3"):
        losses.dist(logits[0], logits[1][:, :3])
    with pytest.raises(ValueError, match="temperature"):
        losses.dist(*logits, temperature=0.0)

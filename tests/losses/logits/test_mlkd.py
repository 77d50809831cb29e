import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

COUPLED = [losses.mlkd_batch, losses.mlkd_class, losses.mlkd]


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)


def _softmax(x):
    x = np.exp(np.asarray(x, np.float64))
    return x / x.sum(-1, keepdims=True)


def test_levels_are_squared_differences_of_gram_matrices(logits):
    q, p = (_softmax(x / 2) for x in logits)
    of_batch = np.sum((p @ p.T - q @ q.T) ** 2) / 5
    of_class = np.sum((p.T @ p - q.T @ q) ** 2) / 4
    np.testing.assert_allclose(losses.mlkd_batch(*logits, temperature=2.0), of_batch, rtol=1e-4)
    np.testing.assert_allclose(losses.mlkd_class(*logits, temperature=2.0), of_class, rtol=1e-4)


def test_the_class_level_sums_over_the_batch(logits):
    doubled = np.concatenate([logits, logits], axis=1)
    ratio = losses.mlkd_class(*doubled) / losses.mlkd_class(*logits)
    np.testing.assert_allclose(ratio, 4, rtol=1e-3)


def test_levels_know_examples_and_classes_by_their_relations_alone():
    """Swapping two classes changes no product between examples, and the other way round."""
    teacher = jnp.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.5], [1.0, 0.0, 3.0]])
    assert float(losses.mlkd_batch(teacher[:, ::-1], teacher)) < 1e-10
    assert float(losses.mlkd_class(teacher[::-1], teacher)) < 1e-10
    assert float(losses.mlkd_batch(teacher[::-1], teacher)) > 1e-4
    assert float(losses.mlkd_class(teacher[:, ::-1], teacher)) > 1e-4


def test_mlkd_adds_three_levels_over_the_temperatures(logits):
    expected = sum(
        losses.masked_mean(losses.kd(*logits, temperature=temperature))
        + losses.mlkd_batch(*logits, temperature=temperature)
        + losses.mlkd_class(*logits, temperature=temperature)
        for temperature in (2.0, 3.0, 4.0, 5.0, 6.0)
    )
    np.testing.assert_allclose(losses.mlkd(*logits), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", COUPLED)
def test_the_loss_of_the_selected_rows_is_that_of_them_alone(loss, logits):
    if loss is losses.mlkd:
        loss = functools.partial(loss, temperatures=(2.0, 3.0))
    where = jnp.array([True, False, True, True, False])
    spoiled = jnp.where(where[:, None], logits[0], jnp.nan)
    value, gradient = jax.jit(jax.value_and_grad(loss))(spoiled, logits[1], where=where)
    alone, expected = jax.jit(jax.value_and_grad(loss))(*(x[where] for x in logits))
    np.testing.assert_allclose(value, alone, rtol=1e-4)
    np.testing.assert_allclose(gradient[where], expected, rtol=1e-3, atol=1e-6)
    assert not np.any(gradient[~where])


def _published(student, teacher, temperature):
    """The authors' procedure, term by term, on NumPy's doubles."""
    (weak_s, strong_s), (weak_t, strong_t) = student, teacher

    def kd(s, t, temperature):
        q, p = _softmax(s / temperature), _softmax(t / temperature)
        return temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=1))

    p = _softmax(weak_t)
    confidence, of_class = p.max(1), p.sum(0)
    examples = np.mean(confidence <= np.percentile(confidence, 50))
    classes = np.mean(of_class <= np.percentile(of_class, 50))
    total = 0.0
    for level in (temperature, 2.0, 3.0, 5.0, 6.0):
        weak = kd(weak_s, weak_t, level)
        total += weak if level in (2.0, 6.0) else kd(strong_s, strong_t, level)
        q, p = _softmax(weak_s / level), _softmax(weak_t / level)
        total += examples * (weak + np.sum((p @ p.T - q @ q.T) ** 2) / len(p))
        total += classes * np.sum((p.T @ p - q.T @ q) ** 2) / p.shape[1]
    return total


def test_two_views_follow_the_published_procedure():
    """With every number of examples, odd and even, selected from the same batch."""
    views = np.random.default_rng(1).normal(size=(2, 2, 5, 3)).astype(np.float32)
    gradients = jax.jit(jax.value_and_grad(losses.mlkd_two_views))
    for selected in ((0, 1, 2, 3, 4), (0, 1, 2, 4), (0, 2, 3), (1, 4), (2,), ()):
        where = np.isin(np.arange(5), selected)
        spoiled = np.where(where[:, None], views, np.float32(np.nan))
        value, gradient = gradients(*spoiled, where=where)
        expected = _published(*views[:, :, where], temperature=4.0) if selected else 0.0
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.all(np.isfinite(gradient))
        assert not np.any(gradient[:, ~where])
    got = losses.mlkd_two_views(*views, temperature=1.0)
    np.testing.assert_allclose(got, _published(*views, temperature=1.0), rtol=1e-5)


def test_what_cannot_be_is_refused(logits):
    with pytest.raises(ValueError, match="at least one"):
        losses.mlkd(*logits, temperatures=())
    with pytest.raises(ValueError, match="got 1 and 2"):
        losses.mlkd_two_views((logits[0],), (logits[1], logits[1]))
    for loss in COUPLED:
        with pytest.raises(ValueError, match=r"\(2, 5, 4\)"):
            loss(logits, logits)

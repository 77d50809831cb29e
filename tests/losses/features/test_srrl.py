import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest


def array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_srrl_is_the_sum_of_its_terms():
    features, teacher_features = array(3, 4, 4, 5), array(3, 2, 3, 5, seed=1)
    logits, teacher_logits = array(3, 6, seed=2), array(3, 6, seed=3)
    statistics = np.square(features.mean((1, 2)) - teacher_features.mean((1, 2))).mean(-1)
    regression = np.square(logits - teacher_logits).mean(-1)
    value = losses.srrl((features, logits), (teacher_features, teacher_logits), weight=0.5)
    np.testing.assert_allclose(value, statistics + 0.5 * regression, rtol=1e-4)


def test_srrl_takes_pooled_vectors_and_is_zero_at_the_teacher():
    teacher = array(3, 5), array(3, 6, seed=1)
    loss = jax.jit(jax.value_and_grad(lambda s: jnp.sum(losses.srrl(s, teacher))))
    value, gradient = loss(teacher)
    assert value == 0
    assert all(not part.any() for part in gradient)


def test_srrl_classes_that_the_teacher_rules_out_leave_the_mean():
    features, logits = array(1, 5), np.array([[1.0, 2.0, -np.inf]])
    value = losses.srrl((features, np.array([[0.0, 0.0, 0.0]])), (features, logits))
    np.testing.assert_allclose(value, [2.5], rtol=1e-6)


def test_masked_examples_never_enter():
    where = np.array([True, False])
    features = np.where(where[:, None], array(2, 5), np.nan)
    logits = np.where(where[:, None], array(2, 4, seed=1), np.nan)

    def loss(student):
        return jnp.sum(losses.srrl(student, (array(2, 5), array(2, 4)), where=where))

    gradient = jax.jit(jax.grad(loss))((features, logits))
    assert all(np.isfinite(part).all() and not part[1].any() for part in gradient)


def test_errors():
    features, logits = array(2, 5), array(2, 4)
    with pytest.raises(ValueError, match=r"student must be a tuple of \(features, logits\)"):
        losses.srrl(features, (features, logits))
    with pytest.raises(ValueError, match="teacher must be a tuple .*got 1 elements"):
        losses.srrl((features, logits), (features,))
    with pytest.raises(ValueError, match=r"\(2, 4\) and teacher \(2, 5\).*connector"):
        losses.srrl((features[:, :4], logits), (features, logits))
    with pytest.raises(ValueError, match=r"batch 2, got \(1, 4\)"):
        losses.srrl((features, logits[:1]), (features, logits[:1]))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def test_expected_gradient_is_that_of_the_reverse_divergence():
    student, teacher = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    every_token = jnp.arange(5)[None]

    def log_probs(logits):
        return jax.nn.log_softmax(logits)[every_token]

    def expected(student):
        log_q = log_probs(student)
        advantages = losses.reverse_kl_advantage(log_q, log_probs(teacher), coefficient=0.5)
        q = jax.lax.stop_gradient(jnp.exp(log_q))
        return jnp.sum(q * losses.policy_gradient(log_q, advantages))

    divergence = jax.grad(losses.reverse_kl_divergence)(student, teacher)
    np.testing.assert_allclose(jax.grad(expected)(student), 0.5 * divergence, atol=1e-6)


def test_advantages_are_constants():
    gradient = jax.grad(lambda x: jnp.sum(losses.reverse_kl_advantage(x, 2 * x)))(jnp.ones((1, 2)))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.1, 1.0, -1.1, -1.1),
        (1.5, 1.0, -1.2, 0.0),
        (0.5, 1.0, -0.5, -0.5),
        (1.5, -2.0, 3.0, 3.0),
        (0.5, -2.0, 1.6, 0.0),
        (1e30, 0.0, 0.0, 0.0),
    ],
)
def test_clips_in_the_direction_of_the_advantage(ratio, advantage, loss, slope):
    def of_one(log_prob):
        return losses.policy_gradient(
            log_prob,
            jnp.full((1, 1), advantage),
            old_log_probs=jnp.full((1, 1), -1.0),
            importance=jnp.full((1, 1), 0.5),
        )[0, 0]

    value, gradient = jax.value_and_grad(of_one)(jnp.full((1, 1), np.log(2 * ratio) - 1))
    np.testing.assert_allclose(value, loss, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient[0, 0], slope, rtol=1e-5, atol=1e-7)


def test_a_clipped_ratio_may_be_beyond_all_numbers():
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(
            losses.policy_gradient(x, jnp.ones((1, 1)), old_log_probs=jnp.full((1, 1), -500.0))
        )
    )(jnp.zeros((1, 1)))
    np.testing.assert_allclose(value, -1.2, rtol=1e-6)
    assert gradient[0, 0] == 0


def test_padding_changes_nothing():
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    padded = np.concatenate([values, np.full((3, 2), np.nan, np.float32)], axis=1)
    where = np.isfinite(padded)

    def loss(log_probs):
        return jnp.sum(losses.policy_gradient(log_probs, padded, where=where))

    gradient = jax.grad(loss)(padded)
    np.testing.assert_allclose(gradient[:, :4], -values, rtol=1e-6)
    np.testing.assert_array_equal(gradient[:, 4:], 0)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="of one shape"):
        losses.policy_gradient(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="clip"):
        losses.policy_gradient(np.zeros((1, 3)), np.zeros((1, 3)), clip=-0.1)

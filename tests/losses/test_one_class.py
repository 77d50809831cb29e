"""A softmax over one class is 1 whatever the logit: a loss of it would always be 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

ONE = jnp.array([[2.0], [-1.0]])
REFUSED = (
    r"one class, whose softmax is 1 .*losses\.binary_kd.*losses\.binary_cross_entropy.*"
    r"recipes\.create\('binary_kd', pair\).*logit_mse"
)


@pytest.mark.parametrize(
    "name",
    ["kd", "kl_divergence", "reverse_kl_divergence", "js_divergence", "total_variation", "hard_kd"],
)
def test_one_class_is_refused(name):
    with pytest.raises(ValueError, match=REFUSED):
        getattr(losses, name)(ONE, -ONE)


def test_one_class_is_refused_with_labels():
    for loss in (losses.cross_entropy, lambda x, y: losses.dkd(x, -x, y)):
        with pytest.raises(ValueError, match=REFUSED):
            loss(ONE, jnp.array([0, 0]))


def test_losses_of_a_sigmoid_are_those_of_two_classes():
    def two(logits):
        return jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)

    teacher, labels = jnp.array([[0.5], [4.0]]), jnp.array([1, 0])
    np.testing.assert_allclose(
        jax.jit(losses.binary_kd)(ONE, teacher, temperature=3.0)[:, 0],
        jax.jit(losses.kd)(two(ONE), two(teacher), temperature=3.0),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        jax.jit(losses.binary_cross_entropy)(ONE, labels)[:, 0],
        jax.jit(losses.cross_entropy)(two(ONE), labels),
        rtol=1e-5,
    )
    np.testing.assert_allclose(losses.logit_mse(ONE, -ONE), [16.0, 4.0])

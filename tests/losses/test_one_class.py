"""A softmax over one class is 1 whatever the logit: a loss of it would always be 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

ONE = jnp.array([[2.0], [-1.0]])
REFUSED = "one class, whose softmax is 1 .*jnp.concatenate.*logit_mse"


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


def test_the_line_to_write_has_the_probabilities_of_the_sigmoid():
    def two(logits):
        return jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)

    temperature, teacher = 3.0, jnp.array([[0.5], [4.0]])
    p, q = (jax.nn.sigmoid(x[:, 0] / temperature) for x in (teacher, ONE))
    expected = p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))
    np.testing.assert_allclose(
        losses.kd(two(ONE), two(teacher), temperature=temperature),
        temperature**2 * expected,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.cross_entropy(two(ONE), jnp.array([1, 0])),
        -jnp.log(jax.nn.sigmoid(jnp.array([2.0, 1.0]))),
        rtol=1e-5,
    )
    np.testing.assert_allclose(losses.logit_mse(ONE, -ONE), [16.0, 4.0])

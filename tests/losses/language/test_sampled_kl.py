import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

STUDENT = np.array([0.3, -1.0, 2.0, 0.5], np.float32)
P = np.array([0.5, 0.25, 0.2, 0.05])
SAMPLES = np.array(list(itertools.product(range(4), repeat=2)))


@pytest.mark.parametrize("exponent", [1.0, 0.5], ids=["from the teacher", "at temperature 2"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_expected_value_and_gradient_are_those_of_the_full_divergence(exponent, temperature):
    proposal = P**exponent / np.sum(P**exponent)
    weights = (P / proposal)[SAMPLES] / 2
    probability = np.prod(proposal[SAMPLES], axis=1)

    def expected(student):
        each = losses.sampled_kl(
            jnp.broadcast_to(student, (len(SAMPLES), 4)), SAMPLES, weights, temperature=temperature
        )
        return jnp.sum(probability * each)

    def full(student):
        teacher = temperature * jnp.log(P)
        divergence = losses.kl_divergence(student, teacher, temperature=temperature)
        return divergence - np.sum(P * np.log(P))

    got, reference = (jax.value_and_grad(f)(jnp.asarray(STUDENT)) for f in (expected, full))
    np.testing.assert_allclose(got[0], reference[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], reference[1], atol=1e-6)


def test_a_repeated_token_is_one_with_the_sum_of_the_weights():
    np.testing.assert_allclose(
        losses.sampled_kl(STUDENT, np.array([2, 2, 0]), np.array([0.25, 0.25, 0.5])),
        losses.sampled_kl(STUDENT, np.array([2, 0]), np.array([0.5, 0.5])),
        rtol=1e-6,
    )


def test_padding_and_masked_rows_do_not_count():
    student = jnp.stack([STUDENT, jnp.full(4, jnp.nan), jnp.array([0.0, 500.0, -jnp.inf, 0.0])])
    ids, weights = np.array([[2, -7], [0, 1], [0, 2]]), np.array([[1.0, 0.0], [0.5, 0.5], [1, 0]])
    where = np.array([True, False, True])

    def loss(student):
        return losses.sampled_kl(student, ids, weights, where=where)

    alone = losses.sampled_kl(STUDENT, np.array([2]), np.array([1.0]))
    np.testing.assert_allclose(loss(student), [alone, 0, 500], rtol=1e-6)
    gradient = jax.grad(lambda s: jnp.sum(loss(s)))(student)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[1], 0)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="integers"):
        losses.sampled_kl(STUDENT, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        losses.sampled_kl(STUDENT, np.ones(3, int), np.ones(2))

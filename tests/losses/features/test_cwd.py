import chex
import compiled_losses as losses
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cwd_is_a_divergence_over_positions(temperature):
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 6, seed=1)
    log_q, log_p = (
        special.log_softmax(x.reshape(3, 20, 6) / temperature, axis=1) for x in (student, teacher)
    )
    divergence = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    np.testing.assert_allclose(
        losses.cwd(student, teacher, temperature=temperature),
        temperature**2 * np.mean(divergence, axis=-1),
        rtol=1e-4,
    )


def test_cwd_ignores_offsets_of_channels_and_survives_large_gaps():
    student, teacher = maps(3, 4, 5, 6), maps(3, 4, 5, 6, seed=1)
    np.testing.assert_allclose(
        losses.cwd(student + maps(6, seed=2), teacher), losses.cwd(student, teacher), rtol=1e-4
    )
    loss = jax.value_and_grad(lambda s: jnp.sum(losses.cwd(s, -1000 * teacher, temperature=1.0)))
    chex.assert_tree_all_finite(loss(1000 * student))


def test_errors():
    with pytest.raises(ValueError, match=r"maps .* or tokens .*\(2, 4\)"):
        losses.cwd(maps(2, 4), maps(2, 4))
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.cwd(maps(2, 3, 4), maps(2, 3, 4), temperature=0.0)

import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)


def test_logit_mse(logits):
    student, teacher = logits
    np.testing.assert_allclose(
        losses.logit_mse(student, teacher), np.mean((student - teacher) ** 2, axis=-1), rtol=1e-5
    )
    jax.test_util.check_grads(
        lambda x: losses.logit_mse(x, teacher), (student,), order=1, modes=("rev",), rtol=1e-2
    )


def test_logit_mse_averages_over_the_classes_that_take_part():
    student, teacher = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 0.0, 0.0])
    where = jnp.array([True, False, True])
    np.testing.assert_allclose(losses.logit_mse(student, teacher, where=where), 5.0)
    masked = teacher.at[0].set(-jnp.inf)
    np.testing.assert_allclose(losses.logit_mse(student, masked), 6.5)


def test_logit_mse_of_sparse_logits_is_refused():
    sparse = losses.SparseLogits(
        indices=jnp.zeros((2, 1), jnp.int32),
        logits=jnp.zeros((2, 1)),
        tail=jnp.zeros((2, 1)),
        temperatures=(1.0,),
        num_classes=3,
    )
    with pytest.raises(TypeError, match="got SparseLogits.*others have no target"):
        losses.logit_mse(jnp.zeros((2, 3)), sparse)

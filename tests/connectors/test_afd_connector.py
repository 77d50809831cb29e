import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.networks import as_connector


def _maps(*shapes):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


STUDENT = _maps((4, 8, 8, 3), (4, 4, 4, 5))
TEACHER = _maps((4, 4, 4, 6), (4, 8, 8, 2), (4, 2, 2, 7))


def test_afd_attends_to_student_layers_and_trains_no_teacher():
    connector = as_connector(connectors.AFD([3, 5], [6, 2, 7], qk_dim=8, rngs=nnx.Rngs(0)))

    @jax.jit
    def evaluate(student, teacher):
        def value(student, teacher):
            arguments, state = connector.apply(
                connector.params, connector.state, student, train=True, teacher=teacher
            )
            return jnp.sum(losses.afd(teacher=teacher, **arguments)), (
                arguments["attention"],
                state,
            )

        return jax.grad(value, argnums=(0, 1), has_aux=True)(student, teacher)

    gradients, (attention, state) = evaluate(STUDENT, TEACHER)
    assert attention.shape == (4, 3, 2)
    np.testing.assert_allclose(jnp.sum(attention, axis=-1), 1, rtol=1e-6)
    assert all(jnp.isfinite(g).all() and jnp.any(g != 0) for g in gradients[0])
    assert not any(jnp.any(g != 0) for g in gradients[1])
    assert all(not np.array_equal(state[name], connector.state[name]) for name in state)


def test_afd_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="student_channels must have one width"):
        connectors.AFD([], [6], rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="qk_dim must be positive, not 0"):
        connectors.AFD([3], [6], qk_dim=0, rngs=nnx.Rngs(0))
    module = connectors.AFD([3], [6], rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        module((jnp.ones((4, 3)),), teacher=(jnp.ones((4, 2, 2, 6)),))

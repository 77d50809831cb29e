import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import connectors, losses, ops


def maps(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def vid(**options):
    return connectors.VID(3, 5, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(("variance", "epsilon"), [(5.0, 1e-5), (0.01, 1e-3), (500.0, 1e-5)])
def test_training_starts_at_the_given_variance(variance, epsilon):
    module = vid(initial_variance=variance, epsilon=epsilon)
    result = module(maps(2, 3), teacher=maps(2, 5))["variance"]
    np.testing.assert_allclose(result, np.full(5, variance), rtol=1e-5)
    expected = losses.vid_log_scale(variance, epsilon)
    np.testing.assert_allclose(module.log_scale[...], np.full(5, expected), rtol=1e-5)


def test_the_mean_is_that_of_three_matrices():
    module = vid(mid_features=4)
    first, second, last = (layer.kernel[...] for layer in module.layers)
    assert [x.shape for x in (first, second, last)] == [(3, 4), (4, 4), (4, 5)]
    student = maps(2, 3, 3, 3)
    hidden = np.maximum(np.maximum(student @ first, 0) @ second, 0)
    mean = module(student, teacher=maps(2, 3, 3, 5))["student"]
    np.testing.assert_allclose(mean, hidden @ last, rtol=1e-4, atol=1e-6)


def test_a_larger_student_is_pooled_before_the_regressor():
    module, student, teacher = vid(), maps(2, 8, 3, 3), maps(2, 4, 6, 5)
    pooled = ops.adaptive_average_pool(student, (4, 3))
    np.testing.assert_allclose(
        module(student, teacher=teacher)["student"], module(pooled, teacher=teacher)["student"]
    )
    assert losses.vid(teacher=teacher, **module(student, teacher=teacher)).shape == (2,)


def test_mean_and_variance_are_trained():
    student, teacher = maps(8, 3), maps(8, 5, seed=1)
    network = jaxkd.from_function(lambda params, inputs: inputs + params, jnp.zeros(3))
    term = jaxkd.Term(losses.vid, teacher="logits", connector=vid())
    objective = jaxkd.Objective(vid=term)
    step = jaxkd.make_train_step(network, objective, optax.sgd(0.1))
    before = step.init()
    old = jax.tree.map(np.asarray, before.params["connectors"]["vid"])
    after, _ = step(before, {"inputs": student, "teacher": {"logits": teacher}})
    for name, value in after.params["connectors"]["vid"].items():
        assert np.any(value != old[name]), name


def test_errors():
    with pytest.raises(ValueError, match="above epsilon.*not 1e-06 and 1e-05"):
        vid(initial_variance=1e-6)
    with pytest.raises(ValueError, match="not 3 and 0 and 5"):
        vid(mid_features=0)

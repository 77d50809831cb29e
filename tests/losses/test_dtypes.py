import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

REAL = np.ones((2, 3))
LOSSES = {
    "kd": losses.kd,
    "kl_divergence": losses.kl_divergence,
    "feature_mse": losses.feature_mse,
    "cross_entropy": losses.cross_entropy,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_complex_numbers_are_refused(loss):
    with pytest.raises(TypeError, match=r"student must be real .*complex128.*student\.real"):
        loss(REAL * 1j, REAL)
    with pytest.raises(TypeError, match=r"must be real numbers, not complex64"):
        loss(REAL, jnp.asarray(REAL * 1j))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("value", [1e300, -1e300])
def test_numbers_that_overflow_on_their_way_to_jax_are_refused(loss, value):
    with pytest.raises(ValueError, match=r"student has -?1e\+300 as float64, which overflows in"):
        loss(np.full((2, 3), value), REAL)
    with pytest.raises(ValueError, match=r"has -?1e\+300 as float64, which overflows in float32"):
        loss(REAL, np.full((2, 3), value))


def test_masks_of_classes_are_no_overflow():
    masked = np.array([[0.0, 1.0, -np.inf]])
    assert np.isfinite(losses.kl_divergence(masked, masked)).all()


def test_integers_that_wrap_and_texts_are_refused():
    with pytest.raises(ValueError, match=r"labels has .*e\+12 as int64, which overflows in int32"):
        losses.cross_entropy(np.ones((1, 3)), np.array([10**12]))
    with pytest.raises(TypeError, match="labels must be an array of numbers, not of dtype <U3"):
        losses.cross_entropy(np.ones((1, 3)), np.array(["cat"]))

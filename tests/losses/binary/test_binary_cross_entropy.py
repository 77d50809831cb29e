import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

from jaxkd import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
# Compiled: one program costs less than its operations one by one.
bce = jax.jit(losses.binary_cross_entropy)
of_optax = jax.jit(optax.sigmoid_binary_cross_entropy)
LABELS = np.array([[1, 0, -1], [0, 0, 0], [1, 1, 1], [-1, -1, -1], [0, 1, 0]], np.int32)


def test_known_entries_are_those_of_optax_and_unknown_ones_cost_nothing():
    @jax.jit
    def slope(logits):
        value, pullback = jax.vjp(lambda x: losses.binary_cross_entropy(x, LABELS), logits)
        return value, pullback(jnp.ones_like(value))[0]

    value, gradient = slope(LOGITS)
    known = LABELS >= 0
    expected = of_optax(LOGITS, LABELS.astype(np.float32))
    np.testing.assert_allclose(value, np.where(known, expected, 0), rtol=1e-5)
    expected = np.where(known, 1 / (1 + np.exp(-LOGITS)) - LABELS, 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_floats_are_probabilities_and_booleans_are_labels():
    shares = np.random.default_rng(1).uniform(size=LOGITS.shape).astype(np.float32).round(1)
    np.testing.assert_allclose(bce(LOGITS, shares), of_optax(LOGITS, shares), rtol=1e-5)
    known = LABELS == 1
    np.testing.assert_array_equal(bce(LOGITS, known), bce(LOGITS, known.astype(np.float32)))


@few("shape", [(5, 1), (5,)])
def test_one_logit(shape):
    """Logits [batch, 1] take labels [batch], too."""
    value = bce(LOGITS[:, 0].reshape(shape), LABELS[:, 0])
    assert value.shape == shape
    np.testing.assert_array_equal(value.ravel(), bce(LOGITS, LABELS)[:, 0])


def test_pos_weight_multiplies_the_label_1():
    plain = bce(LOGITS, LABELS)
    for weight in (5.0, np.array([2.0, 0.5, 7.0])):
        factor = np.where(LABELS == 1, np.broadcast_to(weight, LABELS.shape), 1)
        weighted = bce(LOGITS, LABELS, pos_weight=weight)
        np.testing.assert_allclose(weighted, factor * plain, rtol=1e-6)
    share = bce(LOGITS, np.full((5, 3), 0.25, np.float32), pos_weight=4.0)
    p = 1 / (1 + np.exp(-LOGITS))
    np.testing.assert_allclose(share, -np.log(p) - 0.75 * np.log(1 - p), rtol=1e-5)


def test_label_smoothing_spreads_over_both():
    smooth = bce(LOGITS, LABELS, label_smoothing=0.2)
    expected = of_optax(LOGITS, (0.8 * LABELS + 0.1).astype(np.float32))
    np.testing.assert_allclose(smooth, np.where(LABELS >= 0, expected, 0), rtol=1e-5)


def test_masks_of_examples_and_of_entries():
    rows = np.arange(5) % 2 == 0
    plain = bce(LOGITS, LABELS)
    for where in (rows, np.broadcast_to(rows[:, None], (5, 3))):
        masked = bce(LOGITS, LABELS, where=where)
        np.testing.assert_array_equal(masked, np.where(rows[:, None], plain, 0))
    ones = np.ones((5, 2, 2), np.int32)
    maps = bce(np.zeros((5, 2, 2, 1), np.float32), ones, where=rows)
    np.testing.assert_array_equal(np.any(maps[..., 0], (1, 2)), rows)


def test_logits_of_any_size():
    """In log space: neither infinite nor rounded to 0; a masked logit of the label 0 costs 0."""
    sizes = np.array([30.0, 80.0, 200.0, 1e30], np.float32)
    logits = np.append(np.concatenate([sizes, -sizes, sizes, -sizes]), np.float32(-np.inf))
    labels = np.repeat([1, 0, 0, 1, 0], [4, 4, 4, 4, 1])
    slopes = jax.jit(jax.vmap(jax.value_and_grad(losses.binary_cross_entropy)))
    value, gradient = slopes(logits, labels)
    small = np.exp(-sizes)
    expected = np.concatenate([small, small, sizes, sizes, [0]])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    expected = np.concatenate([-small, small, np.ones(4), -np.ones(4), [0]])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_wrong_arguments_name_what_is_wrong():
    call = losses.binary_cross_entropy
    wrong = np.where(np.arange(5)[:, None] == 2, 2, LABELS)
    assert np.isnan(bce(LOGITS, wrong)).all(1).tolist() == [False, False, True, False, False]
    # Of floats, too, where the loss would fall without end.
    floats = np.where(LABELS < 0, 0.5, wrong).astype(np.float32)
    assert np.isnan(bce(LOGITS, floats)).all(1).tolist() == [False, False, True, False, False]
    assert np.all(np.isfinite(bce(LOGITS, np.full((5, 3), 1 + 1e-6, np.float32))))
    with pytest.raises(ValueError, match=r"\(5, 3\) need labels 0, 1 or -1.*int32 .*shape \(5,\)"):
        call(LOGITS, LABELS[:, 0])
    with pytest.raises(ValueError, match=r"\(5,\) need labels.*float32 labels of shape \(5, 1\)"):
        call(LOGITS[:, 0], LOGITS[:, :1])
    with pytest.raises(ValueError, match=r"num_classes\], got shape \(2,\) for .*\(5, 3\)"):
        call(LOGITS, LABELS, pos_weight=np.ones(2))
    for weight in (0.0, -1.0, np.nan, [1.0, np.inf, 1.0]):
        with pytest.raises(ValueError, match="pos_weight must be positive and finite"):
            call(LOGITS, LABELS, pos_weight=weight)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        call(LOGITS, LABELS, label_smoothing=1.5)
    for where in (np.array(True), np.ones((5, 3, 1), bool)):
        with pytest.raises(ValueError, match=r"mask of the entries \(5, 3\) or of their first"):
            call(LOGITS, LABELS, where=where)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxkd import losses

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([[1, 0, -1], [0, 0, 0], [1, 1, 1], [-1, -1, -1], [0, 1, 0]], np.int32)


def test_known_entries_are_those_of_optax_and_unknown_ones_cost_nothing():
    value, pullback = jax.vjp(lambda x: losses.binary_cross_entropy(x, LABELS), LOGITS)
    (gradient,) = pullback(jnp.ones_like(value))
    known = LABELS >= 0
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, LABELS)
    np.testing.assert_allclose(value, np.where(known, expected, 0), rtol=1e-5)
    slope = np.where(known, np.asarray(jax.nn.sigmoid(LOGITS)) - LABELS, 0)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-7)


def test_floats_are_probabilities_and_booleans_are_labels():
    shares = np.array([[0.0, 0.3, 1.0]], np.float32)
    np.testing.assert_allclose(
        losses.binary_cross_entropy(LOGITS[:1], shares),
        optax.sigmoid_binary_cross_entropy(LOGITS[:1], shares),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        losses.binary_cross_entropy(LOGITS, LABELS == 1),
        losses.binary_cross_entropy(LOGITS, (LABELS == 1).astype(np.float32)),
    )


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_logit(shape):
    """Of labels [batch] for [batch, 1], too."""
    labels = LABELS[:, 0]
    value = losses.binary_cross_entropy(LOGITS[:, 0].reshape(shape), labels)
    expected = losses.binary_cross_entropy(LOGITS[:, :1], labels[:, None])
    assert value.shape == shape
    np.testing.assert_array_equal(value.ravel(), expected[:, 0])


def test_pos_weight_multiplies_the_label_1():
    plain = losses.binary_cross_entropy(LOGITS, LABELS)
    for weight in (5.0, np.array([2.0, 0.5, 7.0])):
        weighted = losses.binary_cross_entropy(LOGITS, LABELS, pos_weight=weight)
        factor = np.where(LABELS == 1, np.broadcast_to(weight, LABELS.shape), 1)
        np.testing.assert_allclose(weighted, factor * plain, rtol=1e-6)
    share = losses.binary_cross_entropy(LOGITS, np.full((5, 3), 0.25), pos_weight=4.0)
    p = jax.nn.sigmoid(LOGITS)
    np.testing.assert_allclose(share, -jnp.log(p) - 0.75 * jnp.log(1 - p), rtol=1e-5)


def test_label_smoothing_spreads_over_both():
    smooth = losses.binary_cross_entropy(LOGITS, LABELS, label_smoothing=0.2)
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, 0.8 * LABELS + 0.1)
    np.testing.assert_allclose(smooth, np.where(LABELS >= 0, expected, 0), rtol=1e-5)


def test_masks_of_examples_and_of_entries():
    rows = np.arange(5) % 2 == 0
    plain = losses.binary_cross_entropy(LOGITS, LABELS)
    for where in (rows, rows[:, None], np.broadcast_to(rows[:, None], (5, 3))):
        masked = losses.binary_cross_entropy(LOGITS, LABELS, where=where)
        np.testing.assert_array_equal(masked, np.where(rows[:, None], plain, 0))
    maps = losses.binary_cross_entropy(
        jnp.zeros((5, 2, 2, 1)), jnp.ones((5, 2, 2), int), where=rows
    )
    np.testing.assert_array_equal(maps[..., 0].any((1, 2)), rows)


@pytest.mark.parametrize("size", [30.0, 200.0, 1e30])
def test_large_logits(size):
    """In log space: neither infinite nor rounded to 0."""
    logits = jnp.array([size, -size, size, -size])
    labels = jnp.array([1, 0, 0, 1])
    value, gradient = jax.vmap(jax.value_and_grad(losses.binary_cross_entropy))(logits, labels)
    small = np.exp(-np.float32(size))
    np.testing.assert_allclose(value, [small, small, size, size], rtol=1e-5)
    np.testing.assert_allclose(gradient, [-small, small, 1, -1], rtol=1e-5)


def test_masked_logits_of_the_label_0_cost_nothing():
    call = jax.value_and_grad(lambda x: losses.binary_cross_entropy(x, jnp.array(0)))
    assert call(-jnp.inf) == (0, 0)


def test_wrong_arguments_name_what_is_wrong():
    call = losses.binary_cross_entropy
    assert np.isnan(call(LOGITS[0], np.array([0, 2, 1]))).tolist() == [False, True, False]
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

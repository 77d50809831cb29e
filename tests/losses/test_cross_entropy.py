import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import optax
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int8, jnp.uint8])
def test_class_ids(logits, dtype):
    labels = jnp.array([0, 4, 2, 2], dtype)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels),
        optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32)),
        rtol=1e-5,
    )


def test_distributions(logits):
    labels = jax.nn.softmax(logits[::-1])
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels), optax.softmax_cross_entropy(logits, labels), rtol=1e-5
    )
    one_hot = jax.nn.one_hot([0, 4, 2, 2], 5, dtype=jnp.int32)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, one_hot),
        losses.cross_entropy(logits, jnp.array([0, 4, 2, 2])),
        rtol=1e-5,
    )


def test_gradients(logits):
    for labels in (jnp.array([0, 4, 2, -1]), jax.nn.softmax(logits[::-1])):
        jax.test_util.check_grads(
            lambda x, labels=labels: losses.cross_entropy(x, labels, label_smoothing=0.1),
            (logits,),
            order=1,
            modes=("rev",),
            rtol=2e-2,
        )


def test_negative_ids_are_unlabeled(logits):
    labels = jnp.array([1, -1, -100, 3])
    bad = jnp.asarray(logits).at[1].set(jnp.nan)
    value, pullback = jax.vjp(lambda x: losses.cross_entropy(x, labels), bad)
    expected = losses.cross_entropy(logits, jnp.array([1, 0, 0, 3]))
    chex.assert_trees_all_close(value, expected * jnp.array([1, 0, 0, 1]), rtol=1e-6)
    (gradient,) = pullback(jnp.ones(4))
    chex.assert_trees_all_equal(gradient[1:3], jnp.zeros((2, 5)))
    chex.assert_tree_all_finite(gradient)
    assert jnp.all(gradient[0] != 0)


def test_unlabeled_and_masked_add_up(logits):
    value = losses.cross_entropy(
        logits, jnp.array([1, -1, 2, 3]), where=jnp.array([True, True, False, True])
    )
    chex.assert_trees_all_equal(value == 0, jnp.array([False, True, True, False]))


def test_smoothing_of_szegedy(logits):
    labels = jnp.array([0, 4, 2, 2])
    smooth = optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)
    expected = optax.softmax_cross_entropy(logits, smooth)
    for given in (labels, jax.nn.one_hot(labels, 5)):
        np.testing.assert_allclose(
            losses.cross_entropy(logits, given, label_smoothing=0.1), expected, rtol=1e-5
        )


@pytest.mark.parametrize("by", ["where", "logits"])
def test_smoothing_stays_within_the_classes_that_take_part(logits, by):
    keep = np.array([True, True, False, True, False])
    labels = jnp.array([0, 3, 1, 1])
    small = jnp.array([0, 2, 1, 1])
    expected = losses.cross_entropy(logits[:, keep], small, label_smoothing=0.2)
    if by == "where":
        value = losses.cross_entropy(logits, labels, label_smoothing=0.2, where=keep[None])
    else:
        masked = np.where(keep, logits, -np.inf)
        value = losses.cross_entropy(masked, labels, label_smoothing=0.2)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_labels_outside_the_mask():
    student, keep = jnp.zeros((1, 3)), jnp.array([[True, True, False]])
    assert losses.cross_entropy(student, jnp.array([2]), where=keep) == jnp.inf
    # What a distribution puts outside is dropped, not redistributed.
    value = losses.cross_entropy(student, jnp.array([[0.25, 0.25, 0.5]]), where=keep)
    np.testing.assert_allclose(value, 0.5 * np.log(2), rtol=1e-6)


def test_a_class_id_that_is_too_large_is_loud(logits):
    assert jnp.isnan(losses.cross_entropy(logits, jnp.array([0, 5, 1, 1]))[1])


def test_labels_that_fit_neither_way_are_refused(logits):
    for labels in (jnp.zeros(4), jnp.zeros(3, jnp.int32), jnp.zeros((4, 6)), jnp.zeros(4, bool)):
        with pytest.raises(ValueError, match=r"\(4, 5\) need integer labels of shape \(4,\)"):
            losses.cross_entropy(logits, labels)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_smoothing_outside_its_range_is_refused(logits, smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing must lie in .*{smoothing}"):
        losses.cross_entropy(logits, jnp.zeros(4, jnp.int32), label_smoothing=smoothing)


def test_sparse_logits_are_no_labels(logits):
    sparse = losses.SparseLogits(
        indices=jnp.zeros((4, 1), jnp.int32),
        logits=jnp.zeros((4, 1)),
        tail=jnp.zeros((4, 1)),
        temperatures=(1.0,),
        num_classes=5,
    )
    with pytest.raises(TypeError, match="labels must be an array.*kl_divergence"):
        losses.cross_entropy(logits, sparse)


def test_without_smoothing_the_program_does_what_one_by_hand_does():
    """More would slow the steps of small networks and of large vocabularies."""
    logits, labels = jnp.zeros((4, 1000)), jnp.zeros(4, jnp.int32)

    def cost(loss):
        gradient = jax.value_and_grad(lambda logits: loss(logits, labels).sum())
        return jax.jit(gradient).lower(logits).compile().cost_analysis()["flops"]

    by_hand = cost(optax.softmax_cross_entropy_with_integer_labels)
    plain = cost(losses.cross_entropy)
    smoothed = cost(lambda *x: losses.cross_entropy(*x, label_smoothing=0.1))
    assert plain < 1.3 * by_hand < smoothed  # the selection of labeled rows

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

LABELS = np.array([0, 4, 2, 1])


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 4, 5)), jnp.float32)


@functools.partial(jax.jit, static_argnames="axis")
def uskd(student, labels, where=None, **keywords):
    return losses.uskd(tuple(student), labels, where=where, **keywords)


uskd_and_gradient = jax.jit(jax.value_and_grad(uskd))


@pytest.fixture
def mixed():
    """Labels as mixup makes them: two classes an example."""
    labels = np.zeros((4, 5), np.float32)
    for row, (first, second, share) in zip(
        labels, [(0, 1, 0.7), (4, 2, 0.6), (2, 0, 0.9), (1, 3, 0.55)], strict=True
    ):
        row[first], row[second] = share, 1 - share
    return labels


def softmax(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


def uskd_by_hand(logits, weak_logits, slots, alpha, beta, mu):
    """`slots`, for each example: pairs of a class and its share, in the same number throughout."""
    logits, weak_logits = (np.asarray(x, np.float64) for x in (logits, weak_logits))
    q, w = softmax(logits), softmax(weak_logits)
    num_classes = logits.shape[-1]
    squares = np.array([[q[i, c] ** 2 for c, _ in pairs] for i, pairs in enumerate(slots)])
    total = 0.0
    for i, pairs in enumerate(slots):
        classes = [c for c, _ in pairs]
        for slot, (c, share) in enumerate(pairs):
            soft_label = share + squares[i, slot] - squares[:, slot].mean()
            total -= alpha * soft_label * np.log(q[i, c])
        rank = w[i] / (1 - w[i, classes].sum() + 1e-6)
        rank += np.log(q[i]) / (1 - np.log(q[i, classes]).sum() + 1e-6)
        zipf = np.empty(num_classes)
        zipf[np.argsort(-rank)] = 1 / np.arange(1, num_classes + 1)
        z, rest = np.delete(zipf, classes), np.delete(logits[i], classes)
        total -= beta * np.sum(z / z.sum() * np.log(softmax(rest)))
        smooth = np.full(num_classes, 0.1 / num_classes)
        for c, share in pairs:
            smooth[c] += 0.9 * share
        total -= mu * np.sum(smooth * np.log(w[i]))
    return total / len(slots)


WEIGHTS = {"alpha": 0.7, "beta": 0.4, "mu": 0.2}


def test_uskd_by_hand(logits, mixed):
    hard = [[(label, 1.0)] for label in LABELS]
    value = uskd(logits, LABELS, **WEIGHTS)
    chex.assert_shape(value, ())
    np.testing.assert_allclose(value, uskd_by_hand(*logits, hard, **WEIGHTS), rtol=1e-5)
    soft = [[(c, row[c]) for c in np.argsort(-row)[:2]] for row in mixed]
    value = uskd(logits, mixed, **WEIGHTS)
    np.testing.assert_allclose(value, uskd_by_hand(*logits, soft, **WEIGHTS), rtol=1e-5)


def test_uskd_one_hot_labels_are_class_ids(logits):
    one_hot = jax.nn.one_hot(LABELS, 5)
    value = uskd(logits, one_hot)
    np.testing.assert_allclose(value, uskd(logits, LABELS), rtol=1e-6)


def test_uskd_gradient_is_that_of_cross_entropies(logits):
    """Soft labels and ranks are constants: the weak head learns from its own term alone."""

    def value(student, weak, **weights):
        return uskd((student, weak), LABELS, **weights)

    weak_gradient = jax.jit(jax.grad(value, argnums=1))(*logits, alpha=1.0, beta=1.0, mu=0.0)
    chex.assert_trees_all_equal(weak_gradient, jnp.zeros((4, 5)))
    gradient = jax.jit(jax.grad(value))(*logits, alpha=1.0, beta=0.0, mu=0.0)
    q = jax.nn.softmax(logits[0])
    one_hot = jax.nn.one_hot(LABELS, 5)
    squares = jnp.sum(q * one_hot, axis=-1, keepdims=True) ** 2
    expected = (1 + squares - jnp.mean(squares)) * (q - one_hot) / 4
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["ids", "mixed"])
def test_uskd_sees_only_the_examples_that_take_part(logits, mixed, kind):
    labels = LABELS if kind == "ids" else mixed
    where = np.array([True, False, True, True])

    expected = uskd_and_gradient(logits[:, where], labels[where])
    padded = jnp.where(where[None, :, None], logits, jnp.nan)
    unlabeled = labels.copy()
    unlabeled[1] = -1 if kind == "ids" else 0
    for result in (
        uskd_and_gradient(padded, labels, where),
        uskd_and_gradient(padded, unlabeled),
    ):
        got = result[0], result[1][:, where]
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_equal(result[1][:, ~where], jnp.zeros((2, 1, 5)))
    nothing, gradient = uskd_and_gradient(padded, labels, np.zeros(4, bool))
    assert nothing == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros((2, 4, 5)))


def test_uskd_masked_classes_are_as_if_removed(logits, mixed):
    keep = np.array([True, True, False, True, True, True, False])
    wide = jnp.full((2, 4, 7), jnp.nan).at[:, :, keep].set(logits)
    ids = np.flatnonzero(keep)[LABELS]
    np.testing.assert_allclose(
        uskd(wide, ids, where=keep[None]),
        uskd(logits, LABELS),
        rtol=1e-5,
    )
    soft = np.zeros((4, 7), np.float32)
    soft[:, keep] = mixed
    np.testing.assert_allclose(
        uskd(wide, soft, where=keep[None]),
        uskd(logits, mixed),
        rtol=1e-5,
    )


def test_uskd_class_axis_and_leading_axes(logits, mixed):
    expected = uskd(logits, mixed)
    moved = uskd(logits.swapaxes(1, 2), mixed.T, axis=0)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)
    folded = uskd(logits.reshape(2, 2, 2, 5), mixed.reshape(2, 2, 5))
    np.testing.assert_allclose(folded, expected, rtol=1e-6)


def test_uskd_hard_logits(mixed):
    infinity = jnp.inf
    student = jnp.array(
        [[500.0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, -1e4, 0, 0, -infinity], [0, 300, 0, 0, 0]]
    )
    weak = jnp.array(
        [[0.0, 500, 0, 0, 0], [2, 2, 2, 2, 2], [-500, 0, 0, 0, -infinity], [0, 300, 0, 0, 0]]
    )
    for labels in (np.array([1, 4, 2, 1]), mixed):
        chex.assert_tree_all_finite(uskd_and_gradient((student, weak), labels))
    two_classes = jnp.stack([student[:1, :2]] * 2)
    chex.assert_tree_all_finite(uskd_and_gradient(two_classes, mixed[:1, :2]))


def test_uskd_on_an_explicit_mesh(logits, mixed):
    devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for labels in (jnp.asarray(LABELS), jnp.asarray(mixed)):
        expected = uskd_and_gradient(tuple(logits), labels)
        with jax.set_mesh(mesh):
            sharded = uskd_and_gradient(*jax.device_put((tuple(logits), labels), sharding))
        chex.assert_trees_all_close(jax.device_get(sharded), expected, rtol=1e-5, atol=1e-6)


def test_uskd_arguments_that_are_refused(logits):
    student, weak = logits
    with pytest.raises(ValueError, match=r"pair \(logits, weak_logits\)"):
        losses.uskd(student, LABELS)
    with pytest.raises(ValueError, match=r"\(4, 5\) and its weak logits \(4, 3\)"):
        losses.uskd((student, weak[:, :3]), LABELS)
    with pytest.raises(ValueError, match=r"integer labels of shape \(4,\) or distributions"):
        losses.uskd((student, weak), LABELS[:3])
    value = uskd((student, weak), np.array([0, 5, 1, 2]))
    assert jnp.isnan(value), "a class id that is too large must not pass for none"

"""What the losses that take the label beside student and teacher have in common."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

LOSSES = {
    "dkd": losses.dkd,
    "nkd": losses.nkd,
    "wsld": losses.wsld,
    "rld": losses.rld,
    "rld_standardized": functools.partial(losses.rld, standardize=True),
    "ofa": functools.partial(losses.ofa, epsilon=1.5),
}
labeled_losses = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@pytest.fixture
def logits():
    return jnp.asarray(2 * np.random.default_rng(0).normal(size=(2, 4, 5)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(loss, student, teacher, labels):
    value, pullback = jax.vjp(lambda x: loss(x, teacher, labels), student)
    return value, pullback(jnp.ones_like(value))[0]


@labeled_losses
def test_negative_labels_are_none(loss, logits):
    student, teacher = logits
    labels = jnp.array([1, -1, -100, 3])
    if loss is not LOSSES["ofa"]:
        student, teacher = (x.at[1:3].set(jnp.nan) for x in (student, teacher))
    value, gradient = value_and_gradient(loss, student, teacher, labels)
    expected = value_and_gradient(loss, *logits, jnp.array([1, 0, 0, 3]))
    chex.assert_trees_all_close(
        (value[::3], gradient[::3]), (expected[0][::3], expected[1][::3]), rtol=1e-6
    )
    chex.assert_tree_all_finite((value, gradient))
    if loss is not LOSSES["ofa"]:
        chex.assert_trees_all_equal((value[1:3], gradient[1:3]), (jnp.zeros(2), jnp.zeros((2, 5))))


@labeled_losses
def test_a_label_that_is_too_large_gives_nan(loss, logits):
    value, _ = value_and_gradient(loss, *logits, jnp.array([0, 5, 4, 100]))
    np.testing.assert_array_equal(jnp.isnan(value), [False, True, False, True])


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8])
def test_labels_narrower_than_the_number_of_classes(logits, dtype):
    labels = np.array([0, 4, 2, 2])
    wide = jnp.pad(logits, ((0, 0), (0, 0), (0, 300)))
    dkd = jax.jit(losses.dkd)
    chex.assert_trees_all_close(dkd(*wide, labels.astype(dtype)), dkd(*wide, labels), rtol=1e-6)


@labeled_losses
def test_labels_that_do_not_fit_are_refused(loss, logits):
    with pytest.raises(ValueError, match=r"\(4, 5\) need integer labels of shape \(4,\).*\(3,\)"):
        loss(*logits, jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match=r"one class an example, got float32 labels.*\(4, 5\)"):
        loss(*logits, jax.nn.softmax(logits[0]))
    with pytest.raises(ValueError, match="got float32 labels"):
        loss(*logits, jnp.zeros(4))


@labeled_losses
def test_sparse_teachers_are_refused(loss, logits):
    sparse = losses.SparseLogits(
        indices=jnp.zeros((4, 1), jnp.int32),
        logits=jnp.zeros((4, 1)),
        tail=jnp.zeros((4, 1)),
        temperatures=(1.0,),
        num_classes=5,
    )
    with pytest.raises(TypeError, match="teacher must be an array.*without a logit.*store dense"):
        loss(logits[0], sparse, jnp.zeros(4, jnp.int32))


@pytest.mark.exhaustive
@labeled_losses
def test_hard_logits(loss):
    """Large gaps, constants and impossible classes, with each class as the label."""
    infinity = np.inf
    student, teacher = jnp.array(
        [
            ([500, 0, 0, 0], [0, 0, 500, 0]),
            ([0, -1e4, 0, 0], [-1e4, 0, 0, -1e4]),
            ([3, 3, 3, 3], [-1, -1, -1, -1]),
            ([1, 300, 0, 2], [0, -infinity, 3, 1]),
            ([2, 0, 1, 0], [0, -infinity, -infinity, -infinity]),
            ([-500, 0, 500, 0], [-infinity, 2, 0, -infinity]),
        ],
        jnp.float32,
    ).swapaxes(0, 1)
    student, teacher = (jnp.tile(x, (4, 1)) for x in (student, teacher))
    labels = jnp.repeat(jnp.arange(4), len(student) // 4)

    def total(student, temperature):
        values = loss(student, teacher, labels, temperature=temperature)
        return jnp.sum(values), values

    gradients, values = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(student, 2.0)
    chex.assert_tree_all_finite((gradients, values))


@pytest.mark.exhaustive
@labeled_losses
def test_two_classes_and_one_example_without_axes(loss):
    value, gradient = value_and_gradient(
        loss, jnp.array([1.0, -1.0]), jnp.array([0.0, 3.0]), jnp.array(1)
    )
    chex.assert_shape(value, ())
    chex.assert_tree_all_finite((value, gradient))
    assert value > 0

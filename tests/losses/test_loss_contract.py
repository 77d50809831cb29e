"""What every loss of the room promises, whatever it computes."""

import dataclasses
import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses


@dataclasses.dataclass(frozen=True)
class Entry:
    """A loss under test.

    Attributes:
      name: of the test.
      loss: called `loss(student, target, **keywords)`.
      target: what the second argument is: "logits", "features", "ids" or "distribution".
      zero_at_equality: whether student = teacher costs nothing.
    """

    name: str
    loss: Callable[..., jax.Array]
    target: str = "logits"
    zero_at_equality: bool = True

    @property
    def on_classes(self) -> bool:
        return self.target != "features"

    @property
    def has_teacher(self) -> bool:
        return self.target in ("logits", "features")

    @property
    def has_temperature(self) -> bool:
        return self.target == "logits" and self.loss is not losses.logit_mse


ENTRIES = [
    Entry("kl", losses.kl_divergence),
    Entry("reverse_kl", losses.reverse_kl_divergence),
    Entry("symmetric_kl", losses.symmetric_kl_divergence),
    Entry("js", losses.js_divergence),
    Entry("js_0", functools.partial(losses.js_divergence, beta=0)),
    Entry("js_0.9", functools.partial(losses.js_divergence, beta=0.9)),
    Entry("js_1", functools.partial(losses.js_divergence, beta=1)),
    Entry("skew_kl", losses.skew_kl_divergence),
    Entry("skew_kl_0", functools.partial(losses.skew_kl_divergence, skew=0)),
    Entry("skew_reverse_kl", losses.skew_reverse_kl_divergence),
    Entry("skew_reverse_kl_0", functools.partial(losses.skew_reverse_kl_divergence, skew=0)),
    Entry("total_variation", losses.total_variation),
    Entry("kd", losses.kd),
    Entry("logit_mse", losses.logit_mse),
    Entry("feature_mse", losses.feature_mse, "features"),
    Entry("feature_cosine", losses.feature_cosine, "features"),
    Entry("cross_entropy_ids", losses.cross_entropy, "ids", zero_at_equality=False),
    Entry(
        "cross_entropy_distribution",
        functools.partial(losses.cross_entropy, label_smoothing=0.1),
        "distribution",
        zero_at_equality=False,
    ),
]


def entries(condition=lambda entry: True):
    chosen = [entry for entry in ENTRIES if condition(entry)]
    return pytest.mark.parametrize("entry", chosen, ids=lambda entry: entry.name)


def target_for(entry, logits):
    """Turns logits into what the loss takes as its second argument."""
    if entry.target == "ids":
        return jnp.argmax(logits, axis=-1)
    if entry.target == "distribution":
        return jax.nn.softmax(logits)
    return logits


def example(entry, shape=(4, 7), seed=0):
    student, teacher = 2 * jax.random.normal(jax.random.key(seed), (2, *shape))
    return student, target_for(entry, teacher)


def student_gradient(entry, student, target, **keywords):
    return jax.grad(lambda x: jnp.sum(entry.loss(x, target, **keywords)))(student)


@entries()
def test_one_float32_number_an_example(entry):
    value = entry.loss(*example(entry))
    chex.assert_shape(value, (4,))
    chex.assert_type(value, jnp.float32)


@entries()
def test_jit(entry):
    student, target = example(entry)
    chex.assert_trees_all_close(
        jax.jit(entry.loss)(student, target), entry.loss(student, target), rtol=1e-5, atol=1e-6
    )


@entries()
def test_vmap(entry):
    student, target = example(entry, (3, 4, 7))
    one_by_one = jnp.stack([entry.loss(s, t) for s, t in zip(student, target, strict=True)])
    chex.assert_trees_all_close(
        jax.vmap(entry.loss)(student, target), one_by_one, rtol=1e-5, atol=1e-6
    )


@entries()
def test_gradient_is_that_of_the_value(entry):
    with jax.enable_x64(True):
        student, target = example(entry)
        student = student.astype(jnp.float64)
        jax.test_util.check_grads(
            lambda x: entry.loss(x, target), (student,), order=1, modes=("rev",), rtol=1e-6
        )


@entries()
def test_bfloat16_is_upcast(entry):
    student, target = example(entry, (64, 7))
    low = student.astype(jnp.bfloat16)
    low_target = target if entry.target == "ids" else target.astype(jnp.bfloat16)
    value = entry.loss(low, low_target)
    chex.assert_type(value, jnp.float32)
    # Nothing but the rounding of the inputs: the arithmetic is float32's.
    upcast = entry.loss(low.astype(jnp.float32), low_target.astype(jnp.float32)) if (
        entry.target != "ids"
    ) else entry.loss(low.astype(jnp.float32), target)
    chex.assert_trees_all_equal(value, upcast)
    np.testing.assert_allclose(jnp.mean(value), jnp.mean(entry.loss(student, target)), rtol=0.01)
    assert student_gradient(entry, low, low_target).dtype == jnp.bfloat16


@entries(lambda entry: entry.zero_at_equality)
def test_zero_at_equality(entry):
    student, _ = example(entry)
    np.testing.assert_allclose(entry.loss(student, student), 0, atol=1e-6)
    np.testing.assert_allclose(student_gradient(entry, student, student), 0, atol=1e-6)


@entries(lambda entry: entry.has_teacher)
def test_teacher_gradient_only_when_asked_for(entry):
    student, teacher = example(entry)

    def gradient(**keywords):
        return jax.grad(lambda t: jnp.sum(entry.loss(student, t, **keywords)))(teacher)

    chex.assert_trees_all_equal(gradient(), jnp.zeros_like(teacher))
    assert jnp.max(jnp.abs(gradient(teacher_gradient=True))) > 1e-3


@entries(lambda entry: entry.target == "distribution")
def test_labels_are_constants(entry):
    student, labels = example(entry)
    gradient = jax.grad(lambda t: jnp.sum(entry.loss(student, t)))(labels)
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(labels))


@entries()
@pytest.mark.parametrize("rubbish", [jnp.nan, jnp.inf, -jnp.inf])
def test_masked_examples_touch_nothing(entry, rubbish):
    student, target = example(entry)
    value, gradient = entry.loss(student, target), student_gradient(entry, student, target)
    where = jnp.array([True, False, True, False])
    student = jnp.where(where[:, None], student, rubbish)
    if entry.target != "ids":
        target = jnp.where(where[:, None], target, rubbish)
    chex.assert_trees_all_equal(
        entry.loss(student, target, where=where), jnp.where(where, value, 0)
    )
    chex.assert_trees_all_close(
        student_gradient(entry, student, target, where=where),
        jnp.where(where[:, None], gradient, 0),
        rtol=1e-6,
    )


@entries(lambda entry: entry.on_classes)
def test_masked_classes_are_as_if_removed(entry):
    student, teacher = 2 * jax.random.normal(jax.random.key(1), (2, 4, 7))
    keep = jnp.array([True, True, False, True, False, True, True])
    target = target_for(entry, jnp.where(keep, teacher, -jnp.inf))
    small = target_for(entry, teacher[:, keep])
    expected = entry.loss(student[:, keep], small)
    student = jnp.where(keep, student, jnp.nan)
    for where in (keep[None], jnp.broadcast_to(keep, student.shape)):
        chex.assert_trees_all_close(
            entry.loss(student, target, where=where), expected, rtol=1e-5, atol=1e-6
        )
        gradient = student_gradient(entry, student, target, where=where)
        chex.assert_trees_all_close(
            gradient[:, keep], student_gradient(entry, student[:, keep], small), atol=1e-6
        )
        chex.assert_trees_all_equal(gradient[:, ~keep], jnp.zeros((4, 2)))


@entries(lambda entry: entry.on_classes)
def test_no_class_selected_is_no_loss(entry):
    student, target = example(entry)
    where = jnp.ones_like(student, dtype=bool).at[1].set(False)
    value = entry.loss(student, target, where=where)
    gradient = student_gradient(entry, student, target, where=where)
    assert value[1] == 0
    chex.assert_trees_all_equal(gradient[1], jnp.zeros(7))
    chex.assert_tree_all_finite((value, gradient))


@entries(lambda entry: entry.on_classes)
def test_class_axis(entry):
    student, target = example(entry, (2, 3, 7))
    expected = entry.loss(student, target)
    moved = target if entry.target == "ids" else jnp.moveaxis(target, -1, 1)
    for axis in (1, -2):
        value = entry.loss(jnp.moveaxis(student, -1, 1), moved, axis=axis)
        chex.assert_trees_all_close(value, expected, rtol=1e-6, atol=1e-7)


HARD_LOGITS = {
    "gap_500": ([[500.0, 0.0, 0.0], [0.0, 0.0, 500.0]], [[0.0, 500.0, 0.0], [500.0, 0.0, 0.0]]),
    "negative_gap": ([[-500.0, 0.0], [0.0, -1e4]], [[0.0, -500.0], [-1e4, 0.0]]),
    "constant": ([[3.0] * 4] * 2, [[-1.0] * 4] * 2),
    "two_classes": ([[1.0, 2.0], [0.0, 0.0]], [[2.0, -1.0], [0.0, 5.0]]),
    "batch_of_1": ([[0.1, 0.2, 0.3]], [[0.3, 0.1, 0.2]]),
    "masked_on_both": (
        [[1.0, -np.inf, 0.0, 2.0], [-np.inf, 0.0, 1.0, -np.inf]],
        [[0.0, -np.inf, 3.0, 1.0], [-np.inf, 2.0, 0.0, -np.inf]],
    ),
    "masked_in_teacher": (
        [[1.0, 300.0, 0.0, 2.0], [5.0, 0.0, 1.0, 0.0]],
        [[0.0, -np.inf, 3.0, 1.0], [-np.inf, 2.0, 0.0, -np.inf]],
    ),
    "one_class_left": ([[1.0, -np.inf], [2.0, 0.0]], [[0.0, -np.inf], [0.0, -np.inf]]),
    "lowest_float": ([[1.0, -3e38, 0.0]], [[0.0, -3e38, 2.0]]),
    "equal": ([[700.0, 0.0, -3.0]], [[700.0, 0.0, -3.0]]),
}


@entries(lambda entry: entry.on_classes)
@pytest.mark.parametrize("case", HARD_LOGITS)
def test_hard_logits_are_finite(entry, case):
    student, teacher = (jnp.array(x, jnp.float32) for x in HARD_LOGITS[case])
    target = target_for(entry, teacher)
    chex.assert_tree_all_finite(entry.loss(student, target))
    chex.assert_tree_all_finite(student_gradient(entry, student, target))
    if entry.has_teacher:
        gradient = jax.grad(lambda t: jnp.sum(entry.loss(student, t, teacher_gradient=True)))
        chex.assert_tree_all_finite(gradient(target))
    if entry.has_temperature:
        gradient = jax.grad(lambda t: jnp.sum(entry.loss(student, target, temperature=t)))
        chex.assert_tree_all_finite(gradient(2.0))


HARD_FEATURES = {
    "zeros": (0.0, 0.0),
    "zero_student": (0.0, 1.0),
    "zero_teacher": (1.0, 0.0),
    "constant": (2.0, 3.0),
    "opposite": (1e3, -1e3),
    "tiny": (1e-12, 1e-12),
}


@entries(lambda entry: entry.target == "features")
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (2, 3, 4), (2, 3, 3, 4)])
@pytest.mark.parametrize("case", HARD_FEATURES)
def test_hard_features_are_finite(entry, shape, case):
    student, teacher = (jnp.full(shape, x) for x in HARD_FEATURES[case])
    value = entry.loss(student, teacher)
    chex.assert_shape(value, shape[:1])
    chex.assert_tree_all_finite(value)
    chex.assert_tree_all_finite(student_gradient(entry, student, teacher))


@entries(lambda entry: entry.has_temperature)
def test_traced_temperature(entry):
    student, teacher = example(entry)
    traced = jax.jit(lambda t: entry.loss(student, teacher, temperature=t))
    for temperature in (0.5, 1.0, 4.0):
        chex.assert_trees_all_close(
            traced(temperature),
            entry.loss(student, teacher, temperature=temperature),
            rtol=1e-5,
            atol=1e-6,
        )


@entries(lambda entry: entry.has_temperature)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), np.float32(0)])
def test_impossible_temperatures_are_refused(entry, temperature):
    student, teacher = example(entry)
    with pytest.raises(ValueError, match=f"positive and finite, got {float(temperature)}"):
        entry.loss(student, teacher, temperature=temperature)
    with pytest.raises(ValueError, match="scalar"):
        entry.loss(student, teacher, temperature=jnp.ones(4))


@entries(lambda entry: entry.has_temperature)
@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 5)),
    temperature=st.floats(0.1, 100.0),
    scale=st.floats(0.0, 1000.0),
    seed=st.integers(0, 2**31 - 1),
)
def test_never_negative(entry, shape, temperature, scale, seed):
    student, teacher = scale * np.random.default_rng(seed).normal(size=(2, *shape))
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(entry.loss(x, teacher, temperature=temperature))
    )(student.astype(np.float32))
    chex.assert_tree_all_finite((value, gradient))
    # Rounding error grows with temperature**2 in the one loss that has the factor.
    assert value >= -1e-6 * shape[0] * max(1, temperature**2)


@entries()
def test_shapes_that_differ_are_refused(entry):
    student, target = example(entry)
    with pytest.raises(ValueError, match=r"\(4, 7\).*\(3,"):
        entry.loss(student, target[:3])


@entries(lambda entry: entry.on_classes)
@pytest.mark.parametrize("where", [np.ones((2, 4, 7), bool), np.array(True)])
def test_masks_of_another_rank_are_refused(entry, where):
    with pytest.raises(ValueError, match="rank of the logits"):
        entry.loss(*example(entry), where=where)


@entries()
def test_masks_that_do_not_fit_are_refused(entry):
    with pytest.raises(ValueError, match="broadcast"):
        entry.loss(*example(entry), where=np.ones(3, bool))
    with pytest.raises(ValueError, match="boolean"):
        entry.loss(*example(entry), where=np.ones(4, np.float32))


@entries()
@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_sharded_over_the_batch(entry, axis_type):
    mesh = jax.make_mesh((1,), ("data",), (axis_type,), devices=jax.devices()[:1])
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    student, target = example(entry)
    with jax.set_mesh(mesh):
        placed = jax.device_put((student, target), sharding)
        where = jax.device_put(jnp.ones(4, bool), sharding)
        value = jax.jit(entry.loss)(*placed, where=where)
        gradient = jax.jit(functools.partial(student_gradient, entry))(*placed)
    chex.assert_trees_all_close(value, entry.loss(student, target), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(gradient, student_gradient(entry, student, target), atol=1e-6)

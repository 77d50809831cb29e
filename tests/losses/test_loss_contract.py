"""What every loss of the room promises, whatever it computes."""

import dataclasses
import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
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


# Rows of four logits, student and teacher.
HARD_ROWS = {
    "gap of 500": ([500.0, 0.0, 0.0, 0.0], [0.0, 0.0, 500.0, 0.0]),
    "gap of 500, same side": ([-500.0, 0.0, 1.0, 0.0], [-500.0, 1.0, 0.0, 0.0]),
    "gap of 10,000": ([0.0, -1e4, 0.0, 0.0], [-1e4, 0.0, 0.0, -1e4]),
    "constant": ([3.0] * 4, [-1.0] * 4),
    "equal": ([700.0, 0.0, -3.0, 0.0], [700.0, 0.0, -3.0, 0.0]),
    "masked on both sides": ([1.0, -np.inf, 0.0, 2.0], [0.0, -np.inf, 3.0, 1.0]),
    "two masked on both sides": ([-np.inf, 0.0, 1.0, -np.inf], [-np.inf, 2.0, 0.0, -np.inf]),
    "masked in the teacher": ([1.0, 300.0, 0.0, 2.0], [0.0, -np.inf, 3.0, 1.0]),
    "two masked in the teacher": ([5.0, 0.0, 1.0, 0.0], [-np.inf, 2.0, 0.0, -np.inf]),
    "one class left": ([-np.inf, 1.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf, -np.inf]),
    "one class left in the teacher": ([2.0, 0.0, 1.0, 0.0], [0.0, -np.inf, -np.inf, -np.inf]),
    "lowest float as a mask": ([1.0, -3e38, 0.0, 0.0], [0.0, -3e38, 2.0, 0.0]),
}

ENTRIES = [
    Entry("kl", losses.kl_divergence),
    Entry("reverse_kl", losses.reverse_kl_divergence),
    Entry("symmetric_kl", losses.symmetric_kl_divergence),
    Entry("js", losses.js_divergence),
    Entry("skew_kl", losses.skew_kl_divergence),
    Entry("skew_reverse_kl", losses.skew_reverse_kl_divergence),
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


# Most tests share one shape, for which each loss is compiled once.
SHAPE = (len(HARD_ROWS), 4)


def example(entry, shape=SHAPE, seed=0):
    student, teacher = 2 * jax.random.normal(jax.random.key(seed), (2, *shape))
    return student, target_for(entry, teacher)


@functools.cache
def compiled(entry):
    """The losses and the gradient of their sum to the student."""

    def evaluate(student, target, keywords):
        def total(x):
            values = entry.loss(x, target, **keywords)
            return jnp.sum(values), values

        gradient, values = jax.grad(total, has_aux=True)(student)
        return values, gradient

    return jax.jit(evaluate)


def value_and_gradient(entry, student, target, **keywords):
    return compiled(entry)(student, target, keywords)


@functools.cache
def teacher_gradient(entry):
    """The gradient to the teacher when it is asked for."""
    return jax.jit(jax.grad(lambda t, s: jnp.sum(entry.loss(s, t, teacher_gradient=True))))


@entries()
def test_one_float32_number_an_example_eager_and_jitted(entry):
    student, target = example(entry)
    value = entry.loss(student, target)
    chex.assert_shape(value, SHAPE[:1])
    chex.assert_type(value, jnp.float32)
    jitted, _ = value_and_gradient(entry, student, target)
    chex.assert_trees_all_close(jitted, value, rtol=1e-5, atol=1e-6)


@entries()
def test_vmap(entry):
    student, target = example(entry, (3, *SHAPE))
    one_by_one = [value_and_gradient(entry, *pair)[0] for pair in zip(student, target, strict=True)]
    batched = jax.jit(jax.vmap(entry.loss))(student, target)
    chex.assert_trees_all_close(batched, jnp.stack(one_by_one), rtol=1e-5, atol=1e-6)


@entries()
def test_bfloat16_is_upcast(entry):
    def low(x):
        return x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(jnp.bfloat16)

    def high(x):
        return x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(jnp.float32)

    student, target = example(entry)
    value, gradient = value_and_gradient(entry, low(student), low(target))
    chex.assert_type(value, jnp.float32)
    chex.assert_type(gradient, jnp.bfloat16)
    exact, _ = value_and_gradient(entry, student, target)
    np.testing.assert_allclose(jnp.mean(value), jnp.mean(exact), rtol=0.01)
    # Nothing but the inputs was rounded.
    rounded, _ = value_and_gradient(entry, high(low(student)), high(low(target)))
    chex.assert_trees_all_close(value, rounded, rtol=1e-5, atol=1e-6)


@entries(lambda entry: entry.zero_at_equality)
def test_zero_at_equality(entry):
    student, _ = example(entry)
    value, gradient = value_and_gradient(entry, student, student)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@entries(lambda entry: entry.has_teacher)
def test_teacher_gradient_only_when_asked_for(entry):
    student, teacher = example(entry)

    silent = jax.grad(lambda t: jnp.sum(entry.loss(student, t)))(teacher)
    chex.assert_trees_all_equal(silent, jnp.zeros_like(teacher))
    assert jnp.max(jnp.abs(teacher_gradient(entry)(teacher, student))) > 1e-3


@entries(lambda entry: entry.target == "distribution")
def test_labels_are_constants(entry):
    student, labels = example(entry)
    gradient = jax.grad(lambda t: jnp.sum(entry.loss(student, t)))(labels)
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(labels))


@entries()
def test_masked_examples_touch_nothing(entry):
    student, target = example(entry)
    everything = jnp.ones(SHAPE[0], bool)
    value, gradient = value_and_gradient(entry, student, target, where=everything)
    chex.assert_trees_all_close(
        value, value_and_gradient(entry, student, target)[0], rtol=1e-5, atol=1e-6
    )
    where = jnp.arange(SHAPE[0]) % 3 != 1
    expected = jnp.where(where, value, 0), jnp.where(where[:, None], gradient, 0)
    for rubbish in (jnp.nan, jnp.inf, -jnp.inf):
        student = jnp.where(where[:, None], student, rubbish)
        if entry.target != "ids":
            target = jnp.where(where[:, None], target, rubbish)
        masked = value_and_gradient(entry, student, target, where=where)
        chex.assert_trees_all_equal(masked, expected)


@entries(lambda entry: entry.on_classes)
def test_masked_classes_are_as_if_removed(entry):
    small_student, small_teacher = 2 * jax.random.normal(jax.random.key(1), (2, *SHAPE))
    expected = value_and_gradient(entry, small_student, target_for(entry, small_teacher))
    keep = jnp.array([True, True, False, True, False, True])
    student = jnp.full((SHAPE[0], 6), jnp.nan, jnp.float32).at[:, keep].set(small_student)
    teacher = jnp.full((SHAPE[0], 6), -jnp.inf, jnp.float32).at[:, keep].set(small_teacher)
    target = target_for(entry, teacher)
    where = jnp.broadcast_to(keep, student.shape)
    value, gradient = value_and_gradient(entry, student, target, where=where)
    chex.assert_trees_all_close((value, gradient[:, keep]), expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(gradient[:, ~keep], jnp.zeros((SHAPE[0], 2)))
    broadcast = entry.loss(student, target, where=keep[None])
    chex.assert_trees_all_close(broadcast, value, rtol=1e-5, atol=1e-6)


@entries(lambda entry: entry.on_classes)
def test_no_class_selected_is_no_loss(entry):
    student, target = example(entry, (SHAPE[0], 6))
    where = jnp.ones_like(student, dtype=bool).at[1].set(False)
    value, gradient = value_and_gradient(entry, student, target, where=where)
    assert value[1] == 0
    chex.assert_trees_all_equal(gradient[1], jnp.zeros(6))
    chex.assert_tree_all_finite((value, gradient))


@entries(lambda entry: entry.on_classes)
def test_class_axis(entry):
    student, target = example(entry)
    moved = target if entry.target == "ids" else target.T
    for axis in (0, -2):
        value = entry.loss(student.T, moved, axis=axis)
        chex.assert_trees_all_close(value, entry.loss(student, target), rtol=1e-6)
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"axis {axis} is out of range"):
            entry.loss(student, target, axis=axis)


def finite_rows(names, array):
    return {name: bool(jnp.all(jnp.isfinite(x))) for name, x in zip(names, array, strict=True)}


@entries(lambda entry: entry.on_classes)
def test_hard_logits_are_finite(entry):
    student, teacher = jnp.array(list(HARD_ROWS.values()), jnp.float32).swapaxes(0, 1)
    target = target_for(entry, teacher)
    value, gradient = value_and_gradient(entry, student, target)
    fine = dict.fromkeys(HARD_ROWS, True)
    assert finite_rows(HARD_ROWS, value) == fine
    assert finite_rows(HARD_ROWS, gradient) == fine
    if entry.has_teacher:
        assert finite_rows(HARD_ROWS, teacher_gradient(entry)(target, student)) == fine


# Student and teacher, both constant.
HARD_FEATURES = {
    "zeros": (0.0, 0.0),
    "zero student": (0.0, 1.0),
    "zero teacher": (1.0, 0.0),
    "constant": (2.0, 3.0),
    "opposite": (1e3, -1e3),
    "tiny": (1e-12, 1e-12),
}


@entries(lambda entry: entry.target == "features")
@pytest.mark.parametrize("shape", [(1,), (3, 4), (3, 3, 4)], ids=str)
def test_hard_features_are_finite(entry, shape):
    student, teacher = (
        jnp.stack([jnp.full(shape, pair[side]) for pair in HARD_FEATURES.values()])
        for side in (0, 1)
    )
    value, gradient = value_and_gradient(entry, student, teacher)
    chex.assert_shape(value, (len(HARD_FEATURES),))
    assert finite_rows(HARD_FEATURES, value) == dict.fromkeys(HARD_FEATURES, True)
    assert finite_rows(HARD_FEATURES, gradient) == dict.fromkeys(HARD_FEATURES, True)


@entries(lambda entry: entry.has_temperature)
def test_traced_temperature(entry):
    student, teacher = example(entry)
    for temperature in (0.5, 1.0, 4.0):
        traced, _ = value_and_gradient(entry, student, teacher, temperature=temperature)
        concrete = entry.loss(student, teacher, temperature=temperature)
        chex.assert_trees_all_close(traced, concrete, rtol=1e-5, atol=1e-6)


@entries(lambda entry: entry.has_temperature)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), np.float32(0)])
def test_impossible_temperatures_are_refused(entry, temperature):
    with pytest.raises(ValueError, match=f"positive and finite, got {float(temperature)}"):
        entry.loss(*example(entry), temperature=temperature)


@entries(lambda entry: entry.has_temperature)
def test_temperature_is_a_scalar(entry):
    with pytest.raises(ValueError, match="scalar"):
        entry.loss(*example(entry), temperature=jnp.ones(4))


@jax.jit
def all_logit_losses(student, teacher, temperature):
    """The losses by name, and the gradient of their sum."""

    def total(x):
        values = {}
        for entry in ENTRIES:
            keywords = {"temperature": temperature} if entry.has_temperature else {}
            if entry.on_classes:
                values[entry.name] = entry.loss(x, target_for(entry, teacher), **keywords)
        return sum(map(jnp.sum, values.values())), values

    gradient, values = jax.grad(total, has_aux=True)(student)
    return values, gradient


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(1, 2), (2, 2, 5)]),
    temperature=st.floats(0.125, 100.0, width=32),
    scale=st.floats(0.0, 1000.0),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_logits_give_finite_losses_that_are_not_negative(shape, temperature, scale, seed):
    """Two classes and a batch of one included."""
    student, teacher = scale * np.random.default_rng(seed).normal(size=(2, *shape))
    values, gradient = all_logit_losses(student, teacher, temperature)
    chex.assert_tree_all_finite((values, gradient))
    for name, value in values.items():
        chex.assert_shape(value, shape[:-1])
        # The rounding error of a divergence, which `kd` multiplies.
        lowest = -1e-6 * (max(1, temperature**2) if name == "kd" else 1)
        assert jnp.min(value) >= lowest, name


@entries()
def test_shapes_that_differ_are_refused(entry):
    student, target = example(entry)
    with pytest.raises(ValueError, match=r"\(12, 4\).*\(3,"):
        entry.loss(student, target[:3])


@entries(lambda entry: entry.target == "logits")
def test_class_counts_that_differ_are_named(entry):
    student, teacher = example(entry)
    with pytest.raises(ValueError, match=r"4 classes and teacher 3.*\(12, 4\).*\(12, 3\)"):
        entry.loss(student, teacher[:, :3])
    with pytest.raises(ValueError, match="rank"):
        entry.loss(student, teacher[0])


@entries(lambda entry: entry.on_classes)
@pytest.mark.parametrize("where", [np.ones((2, *SHAPE), bool), np.array(True)], ids=["3", "0"])
def test_masks_of_another_rank_are_refused(entry, where):
    with pytest.raises(ValueError, match="rank of the logits"):
        entry.loss(*example(entry), where=where)


@entries()
def test_masks_that_do_not_fit_are_refused(entry):
    with pytest.raises(ValueError, match=r"\(3,\) does not broadcast to .*\(12,\)"):
        entry.loss(*example(entry), where=np.ones(3, bool))
    with pytest.raises(ValueError, match="boolean"):
        entry.loss(*example(entry), where=np.ones(SHAPE[0], np.float32))


@entries()
def test_explicitly_sharded_over_the_batch(entry):
    devices = jax.devices()[: 4 if len(jax.devices()) >= 4 else 1]
    mesh = jax.make_mesh(
        (len(devices),), ("data",), (jax.sharding.AxisType.Explicit,), devices=devices
    )
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    student, target = example(entry)
    where = jnp.arange(SHAPE[0]) != 2
    expected = value_and_gradient(entry, student, target, where=where)
    with jax.set_mesh(mesh):
        placed = jax.device_put((student, target, {"where": where}), sharding)
        sharded = compiled(entry)(*placed)
    assert sharded[0].sharding.spec[0] == "data"
    chex.assert_trees_all_close(jax.device_get(sharded), expected, rtol=1e-5, atol=1e-6)

"""A teacher represented by classes sampled from it: in expectation it is the teacher."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import BATCH, Entry, entries

from jaxkd import losses

STUDENT = np.array([0.3, -1.0, 2.0, 0.5], np.float32)
P = np.array([0.5, 0.25, 0.2, 0.05])
# All outcomes of two independent samples, and their probabilities.
SAMPLES = np.array(list(itertools.product(range(4), repeat=2)))
PROBABILITIES = np.prod(P[SAMPLES], axis=1)
ENTROPY = -np.sum(P * np.log(P))


def sampled(indices=SAMPLES, entropy=None, temperature=2.0, num_classes=4):
    indices = jnp.asarray(indices)
    entropy = jnp.full(indices.shape[:-1], ENTROPY, jnp.float32) if entropy is None else entropy
    return losses.SampledClasses(indices, entropy, temperature, num_classes)


def students():
    return jnp.broadcast_to(STUDENT, (len(SAMPLES), 4))


@pytest.mark.parametrize("loss", [losses.kl_divergence, losses.kd])
def test_value_and_gradient_are_right_in_the_mean(loss):
    def expected(student):
        values = loss(jnp.broadcast_to(student, (len(SAMPLES), 4)), sampled(), temperature=2.0)
        return jnp.sum(PROBABILITIES * values)

    def dense(student):
        return loss(student, 2.0 * jnp.log(P), temperature=2.0)

    got, reference = (jax.value_and_grad(f)(jnp.asarray(STUDENT)) for f in (expected, dense))
    np.testing.assert_allclose(got[0], reference[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], reference[1], atol=1e-6)


def test_is_sampled_kl_without_the_entropy():
    weights = np.full(SAMPLES.shape, 1 / 2)
    np.testing.assert_allclose(
        losses.kl_divergence(students(), sampled(), temperature=2.0),
        losses.sampled_kl(students(), SAMPLES, weights, temperature=2.0) - ENTROPY,
        rtol=1e-6,
    )


def test_masked_examples_class_axis_and_vmap():
    where = jnp.arange(len(SAMPLES)) != 3
    student = students().at[3].set(jnp.nan)
    teacher = sampled(
        jnp.asarray(SAMPLES).at[3].set(99), jnp.full(len(SAMPLES), ENTROPY).at[3].set(jnp.nan)
    )

    def total(student):
        values = losses.kd(student, teacher, temperature=2.0, where=where)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(student)
    full = losses.kd(students(), sampled(), temperature=2.0)
    np.testing.assert_allclose(values, jnp.where(where, full, 0), rtol=1e-6)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[3], 0)
    across = losses.kd(students().T, sampled(), temperature=2.0, axis=0)
    one_by_one = jax.vmap(lambda s, t: losses.kd(s, t, temperature=2.0))(students(), sampled())
    np.testing.assert_allclose(across, full, rtol=1e-6)
    np.testing.assert_allclose(one_by_one, full, rtol=1e-5)


def test_another_temperature_is_refused_or_loud():
    with pytest.raises(
        ValueError, match=r"sampled at temperature 2\.0.*cannot be used at temperature 3\.0"
    ):
        losses.kd(students(), sampled(), temperature=3.0)
    traced = jax.jit(lambda t: losses.kd(students(), sampled(), temperature=t))
    assert np.all(np.isnan(traced(3.0)))
    np.testing.assert_allclose(
        traced(2.0 + 1e-7), losses.kd(students(), sampled(), temperature=2.0), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("message", "student", "teacher", "keywords"),
    [
        ("have 5 classes.*num_classes=4", np.zeros((16, 5)), sampled(), {}),
        (r"\(3, 'num_samples'\)", np.zeros((3, 4)), sampled(), {}),
        (r"entropy of shape \(16,\), got .* \(\)", students(), sampled(entropy=np.ones(())), {}),
        ("must be integers", students(), sampled(SAMPLES / 2), {}),
        ("masks classes", students(), sampled(), {"where": np.ones((16, 4), bool)}),
    ],
)
def test_what_does_not_fit_is_refused(message, student, teacher, keywords):
    with pytest.raises(ValueError, match=message):
        losses.kl_divergence(student, teacher, temperature=2.0, **keywords)


def test_its_temperature_is_checked():
    with pytest.raises(ValueError, match="positive and finite"):
        sampled(temperature=0.0)
    assert sampled(temperature=1).temperatures == (1.0,)


def test_is_a_pytree_of_arrays():
    chex.assert_tree_all_finite(sampled())
    assert len(jax.tree.leaves(sampled())) == 2
    half = jax.eval_shape(lambda s: jax.tree.map(lambda x: x[:8], s), sampled())
    assert (half.indices.shape, half.temperature, half.num_classes) == ((8, 2), 2.0, 4)


def refused(entry: Entry, teacher, match: str) -> None:
    """While tracing, before anything runs."""
    inputs = entry.inputs()
    teacher = jax.tree.map(lambda _: teacher, inputs.teacher)

    def call(student):
        return entry.loss(student, teacher, *inputs[2:])

    with pytest.raises(TypeError, match=match):
        jax.eval_shape(call, inputs.student)


@entries(lambda entry: entry.has_teacher and entry.name not in ("kl_divergence", "kd"))
def test_every_other_loss_refuses_samples(entry):
    samples = np.zeros((BATCH, 3), np.int32)
    teacher = losses.SampledClasses(samples, np.zeros(BATCH, np.float32), 1.0, 4)
    refused(entry, teacher, "SampledClasses: .*forward KL.*kl_divergence or kd.*TopK or Dense")


SPARSE = [
    "kl_divergence",
    "reverse_kl_divergence",
    "symmetric_kl_divergence",
    "js_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "total_variation",
    "adaptive_kl",
    "kd",
    "hard_kd",
]


def needs_all_logits(entry: Entry) -> bool:
    # Without relevances, which leave some out, candidates are classes.
    candidates = entry.name == "listwise_kl" and not entry.variant
    return entry.has_teacher and entry.name not in SPARSE and not candidates


@entries(needs_all_logits)
def test_losses_that_need_all_logits_refuse_some(entry):
    some = np.zeros((BATCH, 2), np.int32), np.zeros((BATCH, 2)), np.zeros((BATCH, 1))
    teacher = losses.SparseLogits(*some, temperatures=(1.0,), num_classes=4)
    refused(entry, teacher, "SparseLogits: ")


@pytest.mark.parametrize("loss", [losses.kl_divergence, losses.kd, losses.sampled_kl])
def test_a_student_is_never_sampled(loss):
    others = (SAMPLES, np.ones(SAMPLES.shape)) if loss is losses.sampled_kl else (students(),)
    with pytest.raises(TypeError, match="student must be"):
        loss(sampled(), *others)

"""Sampled: classes sampled from the teacher, unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from codec_calls import QUICK, encode, roundtrip

from jaxkd import losses
from jaxkd.targets import Sampled

SAMPLES = 4000


def sampled_often(logits, num_samples, temperature=1.0, seed=0):
    """The same row sampled often."""
    codec, shape = Sampled(num_samples, temperature), logits.shape
    rows = jnp.broadcast_to(logits, (SAMPLES, *shape))
    return roundtrip(codec, rows, keys=jax.random.split(jax.random.key(seed), SAMPLES))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_class_is_sampled_in_proportion_to_its_probability(temperature):
    logits = 2 * jax.random.gumbel(jax.random.key(0), (20,))
    teacher = sampled_often(logits, 8, temperature)
    p = np.asarray(jax.nn.softmax(logits / temperature), np.float64)
    counts = np.sum(np.asarray(teacher.indices)[..., None] == np.arange(20), axis=1)
    # No count is further from its mean than rounding up or down, except for rounding at the edge.
    assert np.all(counts >= np.floor(8 * p - 1e-5))
    assert np.all(counts <= np.ceil(8 * p + 1e-5))
    fraction = 8 * p - np.floor(8 * p)
    error = np.abs(counts.mean(0) - 8 * p)
    assert np.all(error <= 5 * np.sqrt(fraction * (1 - fraction) / SAMPLES) + 1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_loss_and_gradient_are_those_of_the_dense_teacher_in_the_mean(temperature):
    logits = jax.random.normal(jax.random.key(1), (20,))
    student = logits + jax.random.normal(jax.random.key(2), (20,))
    teacher = sampled_often(logits, 6, temperature)

    def value(x, t):
        return losses.kd(x, t, temperature=temperature)

    both = jax.jit(jax.vmap(jax.value_and_grad(value), (None, 0)), compiler_options=QUICK)
    values, gradients = both(student, teacher)
    expected, slope = jax.value_and_grad(value)(student, logits)
    for each, mean in ((values, expected), (gradients, slope)):
        deviation = np.std(each, axis=0) / np.sqrt(SAMPLES)
        assert np.all(np.abs(np.mean(each, axis=0) - mean) <= 5 * deviation + 1e-5)
    assert np.std(values) > 0.01


def test_the_mean_comes_closer_with_the_square_root_of_the_samples():
    """Over many rows; a bias would be left over."""
    logits = 2 * jax.random.gumbel(jax.random.key(3), (32, 300))
    codec, repeats = Sampled(4), (16, 1024)
    p = jax.nn.softmax(logits)

    def error(count):
        def row(x, key):
            keys = jax.random.split(key, count)
            ids = codec.encode(jnp.broadcast_to(x, (count, 300)), keys=keys)["indices"]
            return jnp.zeros(300).at[ids.ravel()].add(1 / ids.size)

        mean = jax.lax.map(lambda a: row(*a), (logits, jax.random.split(jax.random.key(4), 32)))
        return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(mean - p), axis=-1)))

    few, many = (float(error(count)) for count in repeats)
    assert 6 < few / many < 10  # 8 is the root of 1,024 / 16


def test_classes_without_probability_are_never_sampled():
    """Among many, where cumulated sums round."""
    logits = jax.random.normal(jax.random.key(5), (9_000,))
    allowed = jax.random.bernoulli(jax.random.key(6), 0.5, (9_000,)).at[-1].set(False)
    rows = jnp.broadcast_to(jnp.where(allowed, logits, -jnp.inf), (8, 9_000))
    codec = Sampled(900)
    teacher = roundtrip(codec, rows, keys=jax.random.split(jax.random.key(7), 8))
    assert np.all(allowed[teacher.indices])


def test_the_entropy_is_that_at_the_temperature():
    logits = jnp.array([[0.0, 1.0, -jnp.inf, 3.0]])
    keys = jax.random.split(jax.random.key(0), 1)
    p = np.asarray(jax.nn.softmax(logits / 2.0), np.float64)[0, [0, 1, 3]]
    entropy = encode(Sampled(1, 2.0), logits, {"keys": keys})["entropy"]
    np.testing.assert_allclose(entropy, [-np.sum(p * np.log(p))], rtol=1e-6)


def test_each_record_and_token_is_sampled_independently():
    rows = jnp.zeros((2, 3, 1000))
    keys = jax.random.split(jax.random.key(0), 2)
    ids = encode(Sampled(1), rows, {"keys": keys})["indices"]
    assert len(set(np.asarray(ids).ravel().tolist())) == 6
    alone = encode(Sampled(1), rows[1:], {"keys": keys[1:]})["indices"]
    np.testing.assert_array_equal(ids[1:], alone)

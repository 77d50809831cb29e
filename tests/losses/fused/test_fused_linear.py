"""Fused losses against the same losses on all logits, in float64."""

import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses
from jaxkd.targets import TopK

TOKENS, WIDTH, TEACHER_WIDTH, CLASSES, VALID = (3, 7), 5, 4, 16, 13


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def drawn(seed=0, tokens=TOKENS, dtype=np.float64, scale=1.0):
    generator = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(scale * generator.normal(size=shape), dtype)

    student = normal(*tokens, WIDTH), normal(WIDTH, CLASSES)
    teacher = normal(*tokens, TEACHER_WIDTH), normal(TEACHER_WIDTH, CLASSES)
    labels = jnp.asarray(generator.integers(-1, VALID, tokens), jnp.int32)
    where = jnp.asarray(generator.random(tokens) < 0.8)
    return student, teacher, labels, where


def sampled(logits, temperature):
    indices = jax.random.categorical(
        jax.random.key(0), logits[..., None, :] / temperature, shape=(*logits.shape[:-1], 6)
    )
    return losses.SampledClasses(
        indices=indices.astype(jnp.int32),
        entropy=jnp.ones(logits.shape[:-1], logits.dtype),
        temperature=temperature,
        num_classes=logits.shape[-1],
    )


def sparse(logits, temperature, k=4):
    top, indices = jax.lax.top_k(logits, k)
    kept = jnp.sum(jax.nn.one_hot(indices, logits.shape[-1], dtype=bool), axis=-2) > 0
    tail = jax.nn.logsumexp(jnp.where(kept, -jnp.inf, logits / temperature), axis=-1)
    return losses.SparseLogits(
        indices=indices.astype(jnp.int32),
        logits=top,
        tail=tail[..., None],
        temperatures=(temperature,),
        num_classes=logits.shape[-1],
    )


KINDS = {
    "dense": lambda logits, temperature: logits,
    "top-k": sparse,
    "sampled": sampled,
    "hidden": None,
}


def mixed(student, teacher, labels, *, temperature=1.0):
    taught = losses.reverse_kl_divergence(student, teacher, temperature=temperature)
    return 0.3 * taught + 0.7 * losses.cross_entropy(student, labels, label_smoothing=0.1)


LOSSES = {
    "kl": losses.kl_divergence,
    "kd": losses.kd,
    "reverse": losses.reverse_kl_divergence,
    "symmetric": losses.symmetric_kl_divergence,
    "js": functools.partial(losses.js_divergence, beta=0.3),
    "skew": functools.partial(losses.skew_kl_divergence, skew=0.2),
    "skew reverse": losses.skew_reverse_kl_divergence,
    "total variation": losses.total_variation,
    "mixed": mixed,
    "logit mse": losses.logit_mse,
}
# Of which each is known.
CASES = [
    (name, kind)
    for name in LOSSES
    for kind in KINDS
    if not (kind == "sampled" and name not in ("kl", "kd"))
    and not (kind == "top-k" and name == "logit mse")
]


def capped(logits, cap):
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def both(name, kind, *, temperature=2.0, cap=None, teacher_cap=None, valid=CLASSES, **options):
    """The fused loss and the naive one, as functions of hidden states and head."""
    student, teacher, labels, where = drawn()
    loss = LOSSES[name]
    takes = inspect.signature(loss).parameters
    keywords = {"temperature": temperature} if "temperature" in takes else {}
    if "labels" in takes:
        keywords["labels"] = labels
    logits = capped(teacher[0] @ teacher[1], teacher_cap)[..., :valid]
    answer = logits if kind == "hidden" else KINDS[kind](logits, temperature)
    fused = losses.fused_linear(
        loss,
        soft_cap=cap,
        teacher_soft_cap=teacher_cap,
        valid_classes=None if valid == CLASSES else valid,
        **options,
    )

    def ours(hidden, head):
        given = teacher if kind == "hidden" else answer
        return fused((hidden, head), given, where=where, **keywords)

    def naive(hidden, head):
        values = loss(capped(hidden @ head, cap)[..., :valid], answer, **keywords)
        counted = where
        if "labels" in takes and not options.get("unlabelled"):
            counted &= labels >= 0
        return losses.masked_sum_and_count(values, counted)

    return ours, naive, student


def assert_same(ours, naive, student, atol=1e-10):
    for function in (ours, naive):
        assert function(*student)[0].dtype == jnp.float64
    (a, count), (b, expected) = (jax.jit(f)(*student) for f in (ours, naive))
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)
    assert count == expected > 0

    def mean(function, *arguments):
        total, count = function(*arguments)
        return total / count

    # The mean, so that what the backward pass scales by is not 1.
    found, wanted = (
        jax.jit(jax.value_and_grad(functools.partial(mean, f), (0, 1)))(*student)
        for f in (ours, naive)
    )
    chex.assert_trees_all_close(found, wanted, rtol=0, atol=atol)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(wanted))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_value_and_gradients_are_those_of_all_logits(name, kind):
    assert_same(*both(name, kind, chunk_size=6))


@pytest.mark.parametrize("kind", KINDS)
def test_soft_caps_and_a_padded_vocabulary(kind):
    name = "kd" if kind == "sampled" else "mixed"
    assert_same(*both(name, kind, chunk_size=6, cap=1.5, teacher_cap=2.5, valid=VALID))


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 9, 12, 20, 21, 1000, None])
def test_chunks_of_any_size(chunk_size):
    assert_same(*both("mixed", "top-k", chunk_size=chunk_size, unlabelled=True))

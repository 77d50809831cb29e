"""Distillation and label cross entropy in one pass."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses

TOKENS, WIDTH, CLASSES = (2, 6), 5, 11


def examples():
    generator = np.random.default_rng(1)
    hidden, head, logits = (
        jnp.asarray(generator.normal(size=shape), jnp.float32)
        for shape in ((*TOKENS, WIDTH), (WIDTH, CLASSES), (*TOKENS, CLASSES))
    )
    labels = jnp.asarray(generator.integers(-1, CLASSES, TOKENS).astype(np.int32)).at[0, 0].set(-1)
    return (hidden, head), logits, labels


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_both_parts_are_divided_by_the_count_of_where(alpha):
    student, teacher, labels = examples()
    where = jnp.ones(TOKENS, bool).at[1, 3:].set(False)
    loss = losses.fused_kd(alpha=alpha, temperature=3.0, chunk_size=4)

    def ours(student):
        total, count = loss(student, teacher, labels, where=where)
        return total / count

    def naive(student):
        logits = student[0] @ student[1]
        kd = losses.kd(logits, teacher, temperature=3.0)
        # 0 where there is no label
        label = losses.cross_entropy(logits, labels)
        return losses.masked_mean(alpha * kd + (1 - alpha) * label, where)

    found, wanted = (jax.jit(jax.value_and_grad(f))(student) for f in (ours, naive))
    chex.assert_trees_all_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert loss(student, teacher, labels, where=where)[1] == where.sum()


def test_without_labels_at_alpha_1():
    student, teacher, labels = examples()
    loss = losses.fused_kd(temperature=2.0)
    expected = losses.kd(student[0] @ student[1], teacher, temperature=2.0).sum()
    np.testing.assert_allclose(loss(student, teacher)[0], expected, rtol=1e-5)
    other = losses.kd(student[0] @ student[1], teacher, temperature=5.0).sum()
    np.testing.assert_allclose(loss(student, teacher, temperature=5.0)[0], other, rtol=1e-5)
    with pytest.raises(TypeError, match="too many positional arguments"):
        loss(student, teacher, labels)

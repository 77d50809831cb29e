import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


def sparse(dense, k, **changes):
    values, indices = jax.lax.top_k(dense, k)
    fields = {
        "indices": indices,
        "logits": values,
        "tail": jnp.zeros((*dense.shape[:-1], 1)),
        "temperatures": (4.0,),
        "num_classes": dense.shape[-1],
    }
    return losses.SparseLogits(**fields | changes)


@pytest.fixture
def logits():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 5)), jnp.float32)


def test_is_the_cross_entropy_with_the_teachers_class(logits):
    student, teacher = logits
    expected = -jax.nn.log_softmax(student)[jnp.arange(12), teacher.argmax(-1)]
    np.testing.assert_allclose(losses.hard_kd(student, teacher), expected, rtol=1e-6)


def test_the_first_of_equal_classes_counts():
    student = jnp.array([3.0, 1.0, 0.0])
    first = losses.hard_kd(student, jnp.array([-1.0, 2.0, 2.0]))
    np.testing.assert_allclose(first, losses.cross_entropy(student, jnp.array(1)), rtol=1e-6)


def test_a_masked_class_is_not_chosen(logits):
    student, teacher = logits
    where = teacher < teacher.max(-1, keepdims=True)
    second = jnp.argsort(teacher, axis=-1)[:, -2]
    expected = losses.cross_entropy(student, second, where=where)
    np.testing.assert_allclose(losses.hard_kd(student, teacher, where=where), expected, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_sparse_teachers_decide_alike_whatever_their_temperatures(logits, k):
    student, teacher = logits
    dense = losses.hard_kd(student, teacher, where=jnp.arange(12) != 2)
    few = losses.hard_kd(student, sparse(teacher, k), where=jnp.arange(12) != 2)
    np.testing.assert_array_equal(few, dense)
    assert few[2] == 0
    turned = losses.hard_kd(student.T, sparse(teacher, k), axis=0)
    np.testing.assert_allclose(turned, losses.hard_kd(student, teacher), rtol=1e-6)


def test_empty_entries_of_sparse_teachers_are_never_chosen(logits):
    student, teacher = logits[0, :1], logits[1, :1]
    best = int(teacher[0].argmax())
    gap = sparse(teacher, 2, indices=jnp.array([[5, best]]), logits=jnp.array([[9.0, -3.0]]))
    np.testing.assert_allclose(
        losses.hard_kd(student, gap), losses.hard_kd(student, teacher), rtol=1e-6
    )


def test_what_cannot_decide_is_refused(logits):
    student, teacher = logits
    with pytest.raises(ValueError, match=r"\(12, 5\) masks classes, but a SparseLogits teacher"):
        losses.hard_kd(student, sparse(teacher, 2), where=jnp.ones((12, 5), bool))
    with pytest.raises(ValueError, match="num_classes=5"):
        losses.hard_kd(student[:, :4], sparse(teacher, 2))
    samples = losses.SampledClasses(
        indices=jnp.zeros((12, 2), jnp.int32), entropy=jnp.zeros(12), temperature=1.0, num_classes=5
    )
    with pytest.raises(TypeError, match="SampledClasses"):
        losses.hard_kd(student, samples)

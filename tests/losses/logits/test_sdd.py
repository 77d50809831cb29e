import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import losses


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)


@pytest.fixture
def labels():
    return jnp.array([0, 3, 1])


def test_a_region_weighs_twice_where_the_teacher_is_right_elsewhere_only(logits, labels):
    student, teacher = logits
    right = np.argmax(teacher, -1) == np.asarray(labels)[:, None]
    weights = np.where(right == right[:, :1], 1, 2)
    assert {1, 2} == set(weights.ravel())
    expected = np.mean(weights * losses.kd(student, teacher, temperature=2.0), axis=1)
    got = losses.sdd(student, teacher, labels, temperature=2.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_both_kinds_of_disagreement_count_twice_and_two_errors_once():
    right, wrong, wrong_too = [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]
    teacher = jnp.array([[right, wrong], [wrong, right], [wrong, wrong_too], [right, right]])
    plain = losses.kd(jnp.zeros_like(teacher), teacher).mean(1)
    got = losses.sdd(jnp.zeros_like(teacher), teacher, jnp.zeros(4, int))
    np.testing.assert_allclose(got / plain, [1.5, 1.5, 1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.nkd, functools.partial(losses.dkd, beta=2.0)])
def test_a_loss_that_takes_labels_gets_them_in_every_region(loss, logits, labels):
    one = tuple(np.repeat(x[:, :1], 5, axis=1) for x in logits)
    got = losses.sdd(*one, labels, loss=loss)
    expected = loss(logits[0][:, 0], logits[1][:, 0], labels)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_loss_keeps_its_own_temperature_unless_given_one(logits, labels):
    warm = functools.partial(losses.kd, temperature=7.0)
    expected = losses.sdd(*logits, labels, loss=warm)
    np.testing.assert_array_equal(expected, losses.sdd(*logits, labels, temperature=7.0))
    np.testing.assert_array_equal(
        losses.sdd(*logits, labels, loss=warm, temperature=4.0), losses.sdd(*logits, labels)
    )


def test_an_unlabeled_example_weighs_all_regions_alike(logits):
    unlabeled = jnp.full(3, -1)
    expected = losses.kd(*logits).mean(1)
    np.testing.assert_allclose(losses.sdd(*logits, unlabeled), expected, rtol=1e-5)
    assert not np.any(losses.sdd(*logits, unlabeled, loss=losses.dkd))


@pytest.mark.parametrize("loss", [losses.kd, losses.dkd])
def test_rows_that_take_no_part_never_enter(loss, logits, labels):
    where = jnp.array([True, False, True])
    spoiled = jnp.where(where[:, None, None], logits[0], jnp.nan)

    def total(student):
        values = losses.sdd(student, logits[1], labels, loss=loss, where=where)
        return jnp.sum(values), values

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(spoiled)
    assert values[1] == 0
    assert not np.any(gradient[1])
    expected = losses.sdd(*logits, labels, loss=loss)
    np.testing.assert_allclose(values[where], expected[where], rtol=1e-5)


def test_what_does_not_fit_is_refused(logits, labels):
    with pytest.raises(ValueError, match=r"\[batch, regions, num_classes\]"):
        losses.sdd(logits[0][:, 0], logits[1][:, 0], labels)
    with pytest.raises(ValueError, match=r"\(3, 5, 3\)"):
        losses.sdd(logits[0], logits[1][..., :3], labels)
    with pytest.raises(ValueError, match="labels must be integers"):
        losses.sdd(*logits, labels.astype(float))
    with pytest.raises(ValueError, match="one number a region"):
        losses.sdd(*logits, labels, loss=lambda s, t: jnp.sum(s * t))
